"""Bring a version to local disk, every shard checked.

In: an opened version.  Out: a directory of shards, `records.parquet` and, written last, the manifest as it is stored.
Promised: several processes may pull into one directory at once.  They take turns; each finds what the one before it brought.
A pull that was cut off goes on: nothing that arrived is fetched again.  A second pull reads no file whose looks are those
that it had when it was checked.
"""

import errno
import hashlib
import os
import shutil
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aesthetics_ops.dataset.layout import (
    LATEST_KEY,
    PULLED_MANIFEST,
    PULLED_RECORDS,
    VersionFile,
    pulled_shard_name,
    split_of_pulled_shard,
    version_key,
)
from aesthetics_ops.dataset.manifest import Manifest, Shard
from aesthetics_ops.dataset.sidecars import of_version
from aesthetics_ops.dataset.tables import parse_parquet
from aesthetics_ops.errors import IntegrityError, ScratchSpaceError, SettingsError
from aesthetics_ops.machine import naming
from aesthetics_ops.readers.opened import Version
from aesthetics_ops.readers.pulling.companions import (
    COLUMNS,
    TOOLS,
    companions_of,
    drop_companions,
    refuse_foreign,
    tools_in,
)
from aesthetics_ops.readers.pulling.locking import LOCK, locked
from aesthetics_ops.readers.pulling.stamps import STAMPS, Stamps
from aesthetics_ops.readers.pulling.transfer import Arriving, arrived_bytes, transfer

__all__ = ["CONNECTIONS", "Pulled", "pull"]

CONNECTIONS: Final = 16  # one gives 50 to 90 MB/s of S3: this many fill a network of 10 Gbit/s
_MOST_CONNECTIONS: Final = 256
_OWN: Final = ".aesthetics-ops-"  # no store of files lists such names
_WHOLE: Final = ".shard"  # named by its sha256: checked, and not yet at its place
_TABLE: Final = ".table"  # named by the manifest's sha256: records.parquet, not yet at its place
_CUT: Final = ".part"
_HASHED_AT_ONCE: Final = 4


@dataclass(frozen=True, slots=True)
class Pulled:
    """A version on local disk.

    Attributes:
        manifest: of the version.
        files: per split, its shards in reading order.
        downloaded_bytes: of shards, fetched by this call; what was there already is not fetched again.
    """

    manifest: Manifest
    files: dict[str, list[Path]]
    downloaded_bytes: int


def pull(
    version: Version,
    directory: Path,
    *,
    splits: Sequence[str],
    connections: int = CONNECTIONS,
    verify: bool = False,
    tools: Sequence[str] = (),
    progress: Callable[[int], None],
) -> Pulled:
    """Bring a version's shards to local disk, each checked by its sha256, its table of records, and its manifest last.

    A directory that holds another version becomes this one, once all its shards have arrived: equal shards are kept, the
    others deleted.  Other splits of the same version stay.  Who finds another pull at work in the directory waits for it.

    Args:
        version: to bring.
        directory: made if it does not exist.
        splits: to bring; the version has them.
        connections: requests at once, 1 to 256.
        verify: hash every file that is there, whatever it looks like.
        tools: some of TOOLS: for which to lay beside the shards what they want there; later pulls keep that up.
        progress: called with the number of bytes of shards that were there or have just arrived.

    Raises:
        SettingsError: no such number of connections, or no such tool; or what is in the directory was not pulled there.
        NoSuchVersionError: the version has expired meanwhile.
        IntegrityError: a shard or the table is not what the manifest says, or is missing.
        ScratchSpaceError: the disk has no room for what is missing.
        OSError: the directory cannot be written, or the disk is full; names the file.
    """
    if type(connections) is not int or not 1 <= connections <= _MOST_CONNECTIONS:
        raise SettingsError(f"connections is {connections!r}, but must be 1 to {_MOST_CONNECTIONS}")
    if unknown := [tool for tool in tools if tool not in TOOLS]:
        raise SettingsError(f"{unknown[0]!r} is no tool that a pull knows; it knows {', '.join(TOOLS)}")
    manifest = version.manifest
    named = {split: list(_named(directory, split, manifest.splits[split].shards)) for split in splits}
    wanted = {path: shard for pairs in named.values() for path, shard in pairs}
    _check_places(directory, wanted)
    _refuse_foreign(directory)
    refuse_foreign(directory, tools)
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(directory)) from error
    with locked(directory) as is_locked:
        there = _Directory.look(directory, wanted.values(), version.manifest_sha256, verify=verify)
        if is_locked:
            there.clean(wanted.values())
        coming = _Coming.of(version, there, wanted, is_locked=is_locked)
        downloaded = coming.fetch(version, connections, progress)
        there.become(version, wanted, splits, tools)
    return Pulled(manifest, {split: [path for path, _ in pairs] for split, pairs in named.items()}, downloaded)


@dataclass(frozen=True, slots=True)
class _Directory:
    """What a directory holds of the version that is wanted.

    Attributes:
        path: of the directory.
        manifest_sha256: of the version that is wanted.
        is_this_version: its manifest is that one.
        has_table: its table of records belongs to it, or one waits that does.
        found: sha256 to the files that have it, at whatever place.
        stamps: how its files looked when they were checked.
    """

    path: Path
    manifest_sha256: str
    is_this_version: bool
    has_table: bool
    found: dict[str, list[Path]]
    stamps: Stamps

    @classmethod
    def look(cls, directory: Path, shards: Iterable[Shard], manifest_sha256: str, *, verify: bool) -> "_Directory":
        """Find what may be a wanted shard, and hash what is not known by its looks, or everything."""
        stamps = Stamps(directory / STAMPS)
        sizes = {shard.bytes for shard in shards}
        files = [path for path in directory.iterdir() if _is_shard(path) and _size_of(path) in sizes]

        def digest_of(path: Path) -> str:
            known = None if verify else _digest_in(path.name) or stamps.digest_of(path)
            return known or _sha256(path)

        found: dict[str, list[Path]] = {}
        with ThreadPoolExecutor(_HASHED_AT_ONCE, thread_name_prefix="hash") as pool:
            for path, digest in zip(files, pool.map(digest_of, files), strict=True):
                found.setdefault(digest, []).append(path)
                if not path.name.startswith(_OWN):
                    stamps.note(path, digest)
        is_this_version = _manifest_in(directory) == manifest_sha256
        table = directory / PULLED_RECORDS
        has_table = is_this_version and _size_of(table) is not None and stamps.digest_of(table) is not None
        if has_table and verify:
            has_table = _sha256(table) == stamps.noted(table)
        has_table = has_table or (directory / f"{_OWN}{manifest_sha256}{_TABLE}").exists()
        return cls(directory, manifest_sha256, is_this_version, has_table, found, stamps)

    @property
    def waiting_table(self) -> Path:
        """Where the table of records is until it gets its place."""
        return self.path / f"{_OWN}{self.manifest_sha256}{_TABLE}"

    def clean(self, shards: Iterable[Shard]) -> None:
        """Delete what pulls that were cut off left, but for what is wanted."""
        wanted = {shard.sha256 for shard in shards}
        useful = {path for digest in wanted for path in self.found.get(digest, ())} | {self.waiting_table}
        useful |= {self.path / f"{_OWN}{digest}{_CUT}" for digest in wanted - self.found.keys()}
        if not self.has_table:
            useful.add(self.path / f"{_OWN}{self.manifest_sha256}{_CUT}")
        for path in list(self.path.iterdir()):
            if path.name.startswith(_OWN) and path.suffix in (_WHOLE, _CUT, _TABLE) and path not in useful:
                path.unlink()

    def become(
        self, version: Version, wanted: dict[Path, Shard], splits: Sequence[str], tools: Sequence[str] = ()
    ) -> None:
        """Put every file at its place, delete what belongs to another version, and write the manifest.

        A kill in between costs no shard: a file has its place or a name of its own, and is found by its sha256.
        """
        kept_up = tools_in(self.path) | set(tools)
        if not self.is_this_version:
            (self.path / PULLED_MANIFEST).unlink(missing_ok=True)
            drop_companions(self.path)
        kept = {path for path, shard in wanted.items() if path in self.found[shard.sha256]}
        if self.is_this_version:
            kept |= {path for path in self.path.iterdir() if split_of_pulled_shard(path.name) not in (None, *splits)}
        waiting = [(path, self._freed(shard.sha256, kept)) for path, shard in wanted.items() if path not in kept]
        for path in list(self.path.iterdir()):
            if split_of_pulled_shard(path.name) and path not in kept and path not in wanted:
                path.unlink()
        for path, whole in reversed(waiting):  # a split's first shard last: who finds it there finds all of them
            whole.replace(path)
            self.stamps.note(path, wanted[path].sha256)
        if self.waiting_table.exists():
            table = self.waiting_table.replace(self.path / PULLED_RECORDS)
            self.stamps.note(table, _sha256(table))
        self.stamps.write(_new(self.path, _CUT))
        if kept_up:
            self._write_companions(version.manifest, kept_up)
        if not self.is_this_version:
            self._write_manifest(version.stored)

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

    def _write_companions(self, manifest: Manifest, tools: Collection[str]) -> None:
        """Lay beside the shards what other tools want there, where it is not there already."""
        splits = [
            name
            for name, split in manifest.splits.items()
            if split.shards and (self.path / pulled_shard_name(name, 0, len(split.shards))).exists()
        ]
        table = parse_parquet(self.path / PULLED_RECORDS, COLUMNS, name=PULLED_RECORDS)
        for name, data in companions_of(manifest, table, splits, tools):
            path = self.path / name
            if not path.is_file() or path.read_bytes() != data:
                new = _new(self.path, _CUT)
                with naming(new):
                    new.write_bytes(data)
                new.replace(path)

    def _write_manifest(self, stored: bytes) -> None:
        new = _new(self.path, _CUT)
        with naming(new):
            new.write_bytes(stored)
        new.replace(self.path / PULLED_MANIFEST)


@dataclass(frozen=True, slots=True)
class _Coming:
    """What a directory lacks.

    Attributes:
        there: the directory.
        shards: to fetch, each once.
        table: to fetch; None where it is there.
        there_bytes: of wanted shards that need no fetching.
        is_locked: nobody else pulls into the directory, so what is cut off may stay for the next pull.
    """

    there: _Directory
    shards: list[Arriving]
    table: Arriving | None
    there_bytes: int
    is_locked: bool

    @classmethod
    def of(cls, version: Version, there: _Directory, wanted: dict[Path, Shard], *, is_locked: bool) -> "_Coming":
        """Find out what is lacking."""
        missing = {shard.sha256: shard for shard in wanted.values() if shard.sha256 not in there.found}

        def arriving(key: str, size: int, sha256: str | None, whole: Path) -> Arriving:
            part = whole.with_suffix(_CUT) if is_locked else _new(there.path, _CUT)
            return Arriving(key, size, sha256, part, whole)

        shards = [
            arriving(shard.path, shard.bytes, shard.sha256, there.path / f"{_OWN}{shard.sha256}{_WHOLE}")
            for shard in missing.values()
        ]
        table = None
        if not there.has_table:
            key = version_key(version.manifest.version, VersionFile.RECORDS)
            found = version.head(key)
            if found is None:
                raise version.explain_missing(key)
            stated = (version.manifest.files or {}).get(VersionFile.RECORDS)
            table = arriving(key, found[0], stated.sha256 if stated else None, there.waiting_table)
        there_bytes = sum(shard.bytes for shard in wanted.values()) - sum(shard.bytes for shard in missing.values())
        return cls(there, shards, table, there_bytes, is_locked)

    def fetch(self, version: Version, connections: int, progress: Callable[[int], None]) -> int:
        """Fetch it; return the bytes of shards that were fetched."""
        self._require_room()
        if self.there_bytes:
            progress(self.there_bytes)
        try:
            if self.table is not None:
                transfer(version, [self.table], connections=connections, progress=lambda size: None)
                self._check_table(version, self.table)
            downloaded = transfer(version, self.shards, connections=connections, progress=progress)
        finally:
            if not self.is_locked:
                for file in self._all():
                    file.part.unlink(missing_ok=True)
        for file in self.shards:
            if file.sha256 is not None:
                self.there.found[file.sha256] = [file.whole]
        return downloaded

    def _all(self) -> list[Arriving]:
        return [*self.shards, *([self.table] if self.table is not None else [])]

    def _require_room(self) -> None:
        needed = sum(max(0, file.bytes - arrived_bytes(file.part)) for file in self._all())
        free = shutil.disk_usage(self.there.path).free
        if free < needed:
            raise ScratchSpaceError(
                f"{str(self.there.path)!r} has {free:,} bytes free, but what is still to fetch has {needed:,}; free some, or "
                "pull fewer splits"
            )

    def _check_table(self, version: Version, table: Arriving) -> None:
        """Refuse, and delete, a table that is not the version's."""
        name, expected = version.url_of(table.key), version.manifest.records
        try:
            with of_version():
                rows = parse_parquet(table.whole, ["split"], name=name).num_rows
                if rows != expected:
                    raise IntegrityError(f"{name} has {rows:,} records, and its manifest states {expected:,}")
        except IntegrityError:
            table.whole.unlink()
            raise


def _check_places(directory: Path, wanted: Iterable[Path]) -> None:
    """Refuse, before anything is fetched, a directory that lies where a file should."""
    for path in (directory / PULLED_MANIFEST, directory / PULLED_RECORDS, *wanted):
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))


def _refuse_foreign(directory: Path) -> None:
    """Refuse, before anything is written, a directory with files that a pull would replace and no pull has made."""
    if (directory / LATEST_KEY).exists():
        raise SettingsError(f"{str(directory)!r} is a published dataset; name another directory to pull into")
    if not directory.is_dir() or (directory / LOCK).exists():
        return
    names = (PULLED_MANIFEST, PULLED_RECORDS)
    in_the_way = [p for p in directory.iterdir() if (p.name in names or split_of_pulled_shard(p.name)) and p.exists()]
    if not in_the_way:
        return
    try:  # a copy of a pulled directory, without its hidden files
        Manifest.parse((directory / PULLED_MANIFEST).read_bytes(), name=PULLED_MANIFEST)
    except (OSError, IntegrityError) as error:
        raise SettingsError(
            f"{str(min(in_the_way))!r} is in the way, and no pull has made it; move it away, or name another directory"
        ) from error


def _named(directory: Path, split: str, shards: Sequence[Shard]) -> Iterator[tuple[Path, Shard]]:
    for number, shard in enumerate(shards):
        yield directory / pulled_shard_name(split, number, len(shards)), shard


def _is_shard(path: Path) -> bool:
    is_waiting = path.name.startswith(_OWN) and path.suffix == _WHOLE
    return is_waiting or split_of_pulled_shard(path.name) is not None


def _digest_in(name: str) -> str | None:
    """Return the sha256 in the name of a shard that waits: it got the name once it was checked."""
    digest = name.removeprefix(_OWN).removesuffix(_WHOLE)
    return digest if name == f"{_OWN}{digest}{_WHOLE}" and len(digest) == 64 else None


def _size_of(path: Path) -> int | None:
    """Return a file's size, None for a link that leads nowhere."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None


def _manifest_in(directory: Path) -> str | None:
    """Return the sha256 of the manifest that a directory holds; None where an earlier pull was cut off or never was."""
    try:
        return hashlib.sha256((directory / PULLED_MANIFEST).read_bytes()).hexdigest()
    except FileNotFoundError:
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
