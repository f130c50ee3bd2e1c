"""Bring a published version to local disk, every shard checked.

In: a version's manifest and the store that it lies in.  Out: a directory of shards and, written last, the manifest.
Promised: several processes may pull into one directory at once.  They take turns; each finds what the one before it brought.
A pull that was cut off goes on: what it finished is recognised by its sha256, and not fetched again.
"""

import errno
import fcntl
import hashlib
import json
import logging
import os
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aesthetics_ops.dataset.layout import PULLED_MANIFEST, pulled_shard_name, split_of_pulled_shard
from aesthetics_ops.dataset.manifest import Manifest, Shard
from aesthetics_ops.errors import IntegrityError, ScratchSpaceError
from aesthetics_ops.machine import naming
from aesthetics_ops.store import Store

__all__ = ["Pulled", "pull"]

_log = logging.getLogger(__name__)

_OWN: Final = ".aesthetics-ops-"  # no store of files lists such names
_LOCK: Final = f"{_OWN}lock"
_WHOLE: Final = ".shard"  # checked, and not yet at its place
_CUT: Final = ".part"
_HASHED_AT_ONCE: Final = 4
_NO_LOCKS: Final = frozenset({errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EINVAL})


@dataclass(frozen=True, slots=True)
class Pulled:
    """A version on local disk.

    Attributes:
        manifest: of the version.
        files: per split, its shards in reading order.
        downloaded_bytes: fetched by this call; what was there already is not fetched again.
    """

    manifest: Manifest
    files: dict[str, list[Path]]
    downloaded_bytes: int


def pull(
    dataset: Store,
    manifest: Manifest,
    directory: Path,
    *,
    splits: Sequence[str],
    progress: Callable[[int], None],
) -> Pulled:
    """Bring a version's shards to local disk, each checked by its sha256, and its manifest last.

    A directory that holds another version becomes this one, once all its shards have arrived: equal shards are kept, the
    others deleted.  Other splits of the same version stay.  Who finds another pull at work in the directory waits for it.

    Args:
        dataset: where it is published.
        manifest: of the version.
        directory: made if it does not exist.
        splits: to bring; the version has them.
        progress: called with the number of bytes just finished.

    Raises:
        IntegrityError: a shard is not what the manifest says.
        ScratchSpaceError: the disk has no room for what is missing.
        OSError: the directory cannot be written; names the file.
    """
    directory.mkdir(parents=True, exist_ok=True)
    named = {split: list(_named(directory, split, manifest.splits[split].shards)) for split in splits}
    wanted = {path: shard for pairs in named.values() for path, shard in pairs}
    _check_places(directory, wanted)
    with _locked(directory) as is_locked:
        there = _Directory.look(directory, wanted.values(), manifest.version)
        if is_locked:
            there.clean(wanted.values())
        downloaded = _fetch(dataset, there, wanted, progress)
        there.become(manifest, wanted, splits)
    return Pulled(manifest, {split: [path for path, _ in pairs] for split, pairs in named.items()}, downloaded)


@dataclass(frozen=True, slots=True)
class _Directory:
    """What a directory holds of the shards that are wanted.

    Attributes:
        path: of the directory.
        is_this_version: its manifest names the version that is wanted.
        found: sha256 to the files that have it, at whatever place.
    """

    path: Path
    is_this_version: bool
    found: dict[str, list[Path]]

    @classmethod
    def look(cls, directory: Path, shards: Iterable[Shard], version: str) -> "_Directory":
        """Hash what may be a wanted shard."""
        sizes = {shard.bytes for shard in shards}
        files = [path for path in directory.iterdir() if _is_shard(path) and _size_of(path) in sizes]
        found: dict[str, list[Path]] = {}
        with ThreadPoolExecutor(_HASHED_AT_ONCE, thread_name_prefix="hash") as pool:
            for path, digest in zip(files, pool.map(_sha256, files), strict=True):
                found.setdefault(digest, []).append(path)
        return cls(directory, _version_in(directory) == version, found)

    def clean(self, shards: Iterable[Shard]) -> None:
        """Delete what pulls that were cut off left, but for shards that are wanted."""
        useful = {path for shard in shards for path in self.found.get(shard.sha256, ())}
        for path in list(self.path.iterdir()):
            if path.name.startswith(_OWN) and path.suffix in (_WHOLE, _CUT) and path not in useful:
                path.unlink()

    def add(self, sha256: str, whole: Path) -> None:
        """Take note of a shard that has arrived."""
        self.found.setdefault(sha256, []).append(whole)

    def become(self, manifest: Manifest, wanted: dict[Path, Shard], splits: Sequence[str]) -> None:
        """Put every shard at its place, delete what belongs to another version, and write the manifest.

        A kill in between costs no shard: a file has its place or a name of its own, and is found by its sha256.
        """
        if not self.is_this_version:
            (self.path / PULLED_MANIFEST).unlink(missing_ok=True)
        kept = {path for path, shard in wanted.items() if path in self.found[shard.sha256]}
        if self.is_this_version:
            kept |= {path for path in self.path.iterdir() if split_of_pulled_shard(path.name) not in (None, *splits)}
        waiting = [(path, self._freed(shard.sha256, kept)) for path, shard in wanted.items() if path not in kept]
        for path in list(self.path.iterdir()):
            if split_of_pulled_shard(path.name) and path not in kept and path not in wanted:
                path.unlink()
        for path, whole in waiting:
            whole.replace(path)
        self._write_manifest(manifest)

    def _freed(self, sha256: str, kept: set[Path]) -> Path:
        """Return a file with this content that has no place; from the next call on it is taken."""
        whole = _new(self.path, _WHOLE)
        files = self.found[sha256]
        free = next((path for path in files if path not in kept), None)
        if free is not None:
            free.replace(whole)
            files.remove(free)
            files.append(whole)
            kept.add(whole)  # for a second place of equal content it is copied
        else:
            _link_or_copy(files[0], whole)
        return whole

    def _write_manifest(self, manifest: Manifest) -> None:
        new = _new(self.path, _CUT)
        with naming(new):
            new.write_text(manifest.model_dump_json(indent=1), encoding="utf-8")
        new.replace(self.path / PULLED_MANIFEST)


def _check_places(directory: Path, wanted: Iterable[Path]) -> None:
    """Refuse, before anything is fetched, a directory that lies where a file should."""
    for path in (directory / PULLED_MANIFEST, *wanted):
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))


def _fetch(dataset: Store, there: _Directory, wanted: dict[Path, Shard], progress: Callable[[int], None]) -> int:
    """Download the shards that the directory lacks; return their bytes."""
    missing = {shard.sha256: shard for shard in wanted.values() if shard.sha256 not in there.found}
    needed = sum(shard.bytes for shard in missing.values())
    free = shutil.disk_usage(there.path).free
    if free < needed:
        raise ScratchSpaceError(
            f"{str(there.path)!r} has {free:,} bytes free, but the shards still to fetch have {needed:,}; free some, or "
            "pull fewer splits"
        )
    for shard in wanted.values():
        if missing.pop(shard.sha256, None):
            there.add(shard.sha256, _download(dataset, shard, there.path))
        progress(shard.bytes)
    return needed


def _download(dataset: Store, shard: Shard, directory: Path) -> Path:
    """Return the file of a shard that has arrived whole."""
    part = _new(directory, _CUT)
    try:
        with naming(part):
            dataset.download(shard.path, part)
        if _sha256(part) != shard.sha256:
            raise IntegrityError(
                f"{dataset.url_of(shard.path)} has not the sha256 that its manifest states; pull again, or run verify"
            )
        return part.replace(_new(directory, _WHOLE))
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def _locked(directory: Path) -> Iterator[bool]:
    """Wait until no other process pulls into a directory; the system ends the lock of a process that dies.

    Gives False where the file system knows no locks.
    """
    with (directory / _LOCK).open("ab") as lock:
        try:
            _wait_for(lock.fileno(), directory)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            _log.warning("%s: its file system knows no locks; let one pull at a time write there", directory)
            yield False
        else:
            yield True


def _wait_for(lock: int, directory: Path) -> None:
    with suppress(BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return
    _log.warning("%s: another pull is at work there; waiting for it", directory)
    fcntl.flock(lock, fcntl.LOCK_EX)


def _named(directory: Path, split: str, shards: Sequence[Shard]) -> Iterator[tuple[Path, Shard]]:
    for number, shard in enumerate(shards):
        yield directory / pulled_shard_name(split, number, len(shards)), shard


def _is_shard(path: Path) -> bool:
    is_waiting = path.name.startswith(_OWN) and path.suffix == _WHOLE
    return is_waiting or split_of_pulled_shard(path.name) is not None


def _size_of(path: Path) -> int | None:
    """Return a file's size, None for a link that leads nowhere."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None


def _version_in(directory: Path) -> str | None:
    """Return the version that a directory holds whole, None where an earlier pull was cut off or never was."""
    try:
        return str(json.loads((directory / PULLED_MANIFEST).read_text(encoding="utf-8"))["version"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _new(directory: Path, suffix: str) -> Path:
    return directory / f"{_OWN}{uuid.uuid4().hex}{suffix}"


def _link_or_copy(source: Path, new: Path) -> None:
    """Give a file a second name; where its file system has no such thing, copy it."""
    try:
        os.link(source, new)
    except OSError:
        with naming(new):
            shutil.copyfile(source, new)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
