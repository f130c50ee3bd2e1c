"""Write a version into a directory as another tool's container, one file per shard; no photo is encoded anew.

In: a version, wherever it lies.  Out: `SPLIT/00000.tar` and so on, and, written last, `export.json`, which says what the
directory holds.
Promised: memory does not grow with the version.  Files lie in a hidden folder until all of them are whole, so no tool finds a part.
An export that was cut off goes on with the file that it was at.  Nobody else's file is touched.
"""

import errno
import fcntl
import json
import logging
import os
import shutil
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final

import numpy as np

from aesthetics_ops.dataset.documents import parse_json
from aesthetics_ops.dataset.example import Example
from aesthetics_ops.dataset.latest import is_published, peek_latest
from aesthetics_ops.dataset.manifest import Manifest, Shard
from aesthetics_ops.errors import DatasetBusyError, IntegrityError, NoSuchVersionError, ScratchSpaceError, SettingsError
from aesthetics_ops.machine import naming, sync
from aesthetics_ops.readers.exporting.container import Container, Field, Part, ShardRecords, WrittenFile, fields_of
from aesthetics_ops.readers.exporting.mds import Mds
from aesthetics_ops.readers.exporting.parquet import Parquet
from aesthetics_ops.readers.exporting.webdataset import WebDataset
from aesthetics_ops.readers.fetching.split import Asked, Keeping, SplitReader
from aesthetics_ops.readers.opened import PublishedVersion, Version

__all__ = ["FORMATS", "Exported", "export"]

_log = logging.getLogger(__name__)

FORMATS: Final[Mapping[str, type[Container]]] = {"webdataset": WebDataset, "parquet": Parquet, "mds": Mds}
_EXPORT: Final = "export.json"
_LOCK: Final = ".aesthetics-ops-lock"
_WORK: Final = ".aesthetics-ops-export"
_JOB: Final = "job.json"
_JOURNAL: Final = "journal"
_NO_LOCKS: Final = frozenset({errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EINVAL})
_SCHEMA: Final = 1  # rises when a writer writes other bytes, so that no export is finished by another release
_AT_ONCE_BYTES: Final = 4 << 20  # of records that are asked for together
_AHEAD: Final = 4  # such requests, while one is written


@dataclass(frozen=True, slots=True)
class Exported:
    """An export that is whole.

    Attributes:
        manifest: of the version.
        directory: where it lies.
        files: all of them, by split; what lies beside the splits is under "".
        written_bytes: by this call; what an earlier one wrote is not written again.
    """

    manifest: Manifest
    directory: Path
    files: dict[str, list[WrittenFile]]
    written_bytes: int


def export(
    version: Version, directory: Path, *, container: str, splits: Sequence[str], progress: Callable[[int], None]
) -> Exported:
    """Write splits of a version as files of another tool.

    Args:
        version: to read.
        directory: new, empty, or of an export of this version and format that was cut off or is whole.
        container: one of FORMATS.
        splits: that the version has.
        progress: called with the number of bytes of shards that are written.

    Raises:
        SettingsError: no such format, or no record; or the directory holds something else.
        NoSuchVersionError: the version is a candidate, or has expired meanwhile.
        IntegrityError: a record is damaged, or an export that was whole is not any more.
        DatasetBusyError: another export is at work in the directory.
        ScratchSpaceError: the disk has no room.
        OSError: the directory cannot be written, or the disk is full; names the file.
    """
    if container not in FORMATS:
        raise SettingsError(f"{container!r} is not a format of exports; the formats are {', '.join(FORMATS)}")
    _refuse_candidate(version)
    chosen = tuple(split for split in version.manifest.splits if split in splits)
    if not any(version.manifest.splits[split].records for split in chosen):
        raise SettingsError(
            f"there is nothing to export: {', '.join(map(repr, chosen)) + ' has no records' if chosen else 'no split was chosen'}"
        )
    work = _Export(version, directory, container, chosen)
    work.refuse_foreign()
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(directory)) from error
    with _locked(directory):
        work.refuse_foreign()
        return work.run(progress)


class _Export:
    """One export of a version into a directory."""

    def __init__(self, version: Version, directory: Path, container: str, splits: tuple[str, ...]) -> None:
        self.version, self.directory, self.splits = version, directory, splits
        self.manifest = version.manifest
        self.writer = FORMATS[container]()
        self.work = directory / _WORK
        self.job = {
            "schema": _SCHEMA,
            "format": container,
            "dataset": self.manifest.dataset,
            "version": self.manifest.version,
            "manifest_sha256": version.manifest_sha256,
            "splits": list(splits),
        }

    def refuse_foreign(self) -> None:
        """Refuse a directory that holds anything but this very export, begun or whole.

        Raises:
            SettingsError: it does; says what.
            OSError: it cannot be read.
        """
        if not self.directory.is_dir():
            return
        names = {path.name for path in self.directory.iterdir()} - {_LOCK}
        if not names:
            return
        found = _read_json(self.directory / _EXPORT) or _read_json(self.work / _JOB)
        if found is None and names == {_WORK}:
            return  # cut off before its first file
        if found is None or "manifest_sha256" not in found:
            raise SettingsError(
                f"{str(self.directory)!r} is not empty: it holds {min(names)!r}; name a directory that is new or empty"
            )
        if {name: found.get(name) for name in self.job} != self.job:
            of = f"splits {', '.join(found.get('splits', []))} of version {found.get('version')!r} as {found.get('format')}"
            raise SettingsError(
                f"{str(self.directory)!r} holds an export of {of}; name another directory, or delete it"
            )

    def run(self, progress: Callable[[int], None]) -> Exported:
        """Write what is not there yet."""
        whole = _read_json(self.directory / _EXPORT)
        if whole is not None:
            shutil.rmtree(self.work, ignore_errors=True)
            progress(sum(self.manifest.splits[split].bytes for split in self.splits))
            return Exported(self.manifest, self.directory, self._checked(whole), 0)
        self.work.mkdir(exist_ok=True)
        if _read_json(self.work / _JOB) is None:
            self._beside("", {_JOB: json.dumps(self.job).encode()})
        journal = _Journal(self.work, self.directory)
        self._require_room(journal)
        files: dict[str, list[WrittenFile]] = {}
        fields: tuple[Field, ...] = ()
        written = 0
        for split in self.splits:
            if not self.manifest.splits[split].shards:
                continue
            with _Shards(self.version, split) as shards:
                fields = fields or shards.fields
                there = [self._shard(shards, number, journal, progress) for number in range(len(shards.entries))]
            written += sum(file.bytes for file, is_new in there if is_new)
            files[split] = [file for file, _ in there]
            files[split] += self._beside(split, self.writer.beside_split(files[split], fields))
        for split in files:
            if (self.work / split).is_dir():
                (self.work / split).replace(self.directory / split)
        return Exported(self.manifest, self.directory, self._finish(files, fields), written)

    def _finish(self, files: dict[str, list[WrittenFile]], fields: tuple[Field, ...]) -> dict[str, list[WrittenFile]]:
        """Write what lies beside the splits, and say that all is whole."""
        beside = self.writer.beside_splits(self.manifest, files, fields)
        files[""] = self._beside("", beside)
        for name in beside:
            (self.work / name).replace(self.directory / name)
        every = [file.document() for some in files.values() for file in some]
        text = json.dumps(self.job | {"files": every}, indent=1) + "\n"
        self._beside("", {_EXPORT: text.encode()})
        sync(self.directory)
        (self.work / _EXPORT).replace(self.directory / _EXPORT)
        sync(self.directory)
        shutil.rmtree(self.work)
        return files

    def _shard(
        self, shards: "_Shards", number: int, journal: "_Journal", progress: Callable[[int], None]
    ) -> tuple[WrittenFile, bool]:
        """Write the file of one shard, unless it is there; say whether it was written."""
        entry = shards.entries[number]
        path = f"{shards.split}/{number:05d}{self.writer.suffix}"
        found = journal.find(path)
        if found is not None:
            progress(entry.bytes)
            return found, False
        if self.writer.most_bytes is not None and entry.bytes >= self.writer.most_bytes:
            raise SettingsError(
                f"shard {entry.path} has {entry.bytes:,} bytes, and a file of this format holds {self.writer.most_bytes:,}; export as "
                "webdataset or parquet, or build with a smaller shard_bytes"
            )
        target = self.work / path
        target.parent.mkdir(exist_ok=True)
        with Part(target.with_suffix(".part")) as part:
            self.writer.write(part, shards.records(number, progress))
        part.path.replace(target)
        made = WrittenFile(path, part.size, part.sha256, entry.records)
        journal.add(made)
        return made, True

    def _beside(self, folder: str, contents: Mapping[str, bytes]) -> list[WrittenFile]:
        """Write small files into a folder, while it is hidden."""
        made = []
        for name, data in contents.items():
            home = self.directory / folder if folder and (self.directory / folder).is_dir() else self.work / folder
            with Part(home / f"{name}.part") as part:
                part.write(data)
            part.path.replace(home / name)
            made.append(WrittenFile(f"{folder}/{name}".lstrip("/"), part.size, part.sha256, 0))
        return made

    def _require_room(self, journal: "_Journal") -> None:
        needed = sum(self.manifest.splits[split].bytes for split in self.splits) - journal.bytes
        free = shutil.disk_usage(self.directory).free
        if free < needed:
            raise ScratchSpaceError(
                f"{str(self.directory)!r} has {free:,} bytes free, but what is still to write has about {needed:,}; free some, or "
                "export fewer splits"
            )

    def _checked(self, whole: Mapping[str, Any]) -> dict[str, list[WrittenFile]]:
        """Return the files of an export that is whole, whose sizes are as they were."""
        files: dict[str, list[WrittenFile]] = {}
        for document in whole["files"]:
            file = WrittenFile(**document)
            path = self.directory / file.path
            if not path.is_file() or path.stat().st_size != file.bytes:
                raise IntegrityError(
                    f"{str(path)!r} is not the file of {file.bytes:,} bytes that was exported; delete {str(self.directory)!r}, and "
                    "export again"
                )
            files.setdefault(file.path.rpartition("/")[0], []).append(file)
        return files


class _Journal:
    """The files of an export that are whole, one line each, written after the file."""

    def __init__(self, work: Path, directory: Path) -> None:
        self._path = work / _JOURNAL
        self._files: dict[str, WrittenFile] = {}
        lines = self._path.read_bytes().splitlines() if self._path.exists() else []
        for line in lines:
            try:
                file = WrittenFile(**parse_json(line))
                places = [place for place in (work / file.path, directory / file.path) if place.is_file()]
            except (ValueError, TypeError):
                continue  # cut off
            if places and places[0].stat().st_size == file.bytes:
                self._files[file.path] = file

    @property
    def bytes(self) -> int:
        """Size of the files that are whole."""
        return sum(file.bytes for file in self._files.values())

    def find(self, path: str) -> WrittenFile | None:
        """Return a file that is whole; None for one that is to be written."""
        return self._files.get(path)

    def add(self, file: WrittenFile) -> None:
        """Say that a file is whole."""
        with naming(self._path), self._path.open("a") as journal:
            journal.write(f"\n{json.dumps(asdict(file))}\n")
            journal.flush()
            os.fsync(journal.fileno())


class _Shards:
    """The shards of a split, read one record after another, some of them ahead."""

    def __init__(self, version: Version, split: str) -> None:
        self.version, self.split = version, split
        self._reader = SplitReader(version, split, Keeping())
        self._reader.want(["bytes"])
        self.entries: Sequence[Shard] = self._reader.entry.shards
        self.fields = fields_of(self._reader.ask(np.array([0])).example(0))

    def __enter__(self) -> "_Shards":
        return self

    def __exit__(self, *_: object) -> None:
        self._reader.close()

    def records(self, number: int, progress: Callable[[int], None]) -> ShardRecords:
        """Return one shard's records."""
        index, count = self._reader.index, self.entries[number].records
        first = int(index.firsts[number])
        rows = np.arange(first, first + count)
        return ShardRecords(
            self.version.manifest,
            self._examples(rows, progress),
            self.fields,
            index.ids.slice(first, count).to_pylist(),
            self._reader.column("bytes")[rows].tolist(),
        )

    def _examples(self, rows: Any, progress: Callable[[int], None]) -> Iterator[Example]:
        lengths = self._reader.index.lengths[rows].astype(np.int64)
        groups = np.split(rows, np.flatnonzero(np.diff((np.cumsum(lengths) - lengths) // _AT_ONCE_BYTES)) + 1)
        left = iter(groups)
        coming: deque[tuple[Any, Asked]] = deque()
        try:
            while True:
                for group in islice(left, 1 + _AHEAD - len(coming)):
                    coming.append((group, self._reader.ask(group)))
                if not coming:
                    return
                group, asked = coming.popleft()
                for at in range(len(group)):
                    yield asked.example(at)
                progress(int(self._reader.index.lengths[group].sum()))
        finally:
            for _, asked in coming:
                asked.cancel()


def _refuse_candidate(version: Version) -> None:
    """Refuse a version that a gate refused and nobody promoted: what is exported is looked at by nobody's gates any more."""
    if not isinstance(version, PublishedVersion):
        return
    name = version.manifest.version
    latest = peek_latest(version.store)[0]
    if (latest is None or latest.version != name) and not is_published(version.store, name):
        raise NoSuchVersionError(
            f"version {name!r} of {version.store.url} is a candidate, which gates refused; `aesthetics-ops promote` publishes it, then "
            "export it"
        )


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Let one export at a time work in a directory; the system ends the lock of a process that dies."""
    with (directory / _LOCK).open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DatasetBusyError(
                f"{str(directory)!r}: another export is at work there; wait for it, or name another directory"
            ) from error
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            _log.warning("%s: its file system knows no locks; let one export at a time write there", directory)
        yield


def _read_json(path: Path) -> dict[str, Any] | None:
    """Return the document in a file; None where there is none, or none that is whole."""
    try:
        found = parse_json(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return found if isinstance(found, dict) else None
