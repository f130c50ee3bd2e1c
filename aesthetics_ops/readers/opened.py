"""A version, opened where it lies: in the dataset that it is published in, or in a directory that it was pulled into.

In: a dataset's store, or a directory.  Out: `PublishedVersion` or `PulledVersion`, which readers and pulls take alike: the
manifest, the table of records, and where the bytes of shards are.
Promised: a pulled directory is opened without network, and only if the pull was finished and no file changed its size.
"""

import hashlib
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pyarrow as pa

from aesthetics_ops.dataset.documents import parse_json
from aesthetics_ops.dataset.latest import is_published, peek_latest, read_latest
from aesthetics_ops.dataset.layout import (
    BUILDS,
    LATEST_KEY,
    PUBLISHED,
    PULLED_MANIFEST,
    PULLED_RECORDS,
    VERSIONS,
    VersionFile,
    pulled_shard_name,
    split_of_pulled_shard,
    version_key,
)
from aesthetics_ops.dataset.manifest import Manifest
from aesthetics_ops.dataset.pointers import resolve_version
from aesthetics_ops.dataset.reading_manifests import manifest_in, nothing_published, stored_manifest
from aesthetics_ops.dataset.sidecars import of_version, read_sidecar
from aesthetics_ops.dataset.tables import parse_parquet
from aesthetics_ops.errors import (
    AestheticsOpsError,
    IntegrityError,
    NoSuchSplitError,
    NoSuchVersionError,
    ObjectMissingError,
    StoreRefusedError,
)
from aesthetics_ops.readers.pulling.stamps import STAMPS, Stamps
from aesthetics_ops.store import S3Access, Store, open_store

__all__ = ["KEPT_RECORDS", "PublishedVersion", "PulledVersion", "Version", "is_pulled", "open_published", "open_pulled"]

KEPT_RECORDS: Final = "kept-records"  # in a directory that fills itself
_REPEATED: Final = ("split", "shard")  # text that many rows share


@dataclass(frozen=True, slots=True)
class PublishedVersion:
    """A version in the dataset that it is published in.

    Attributes:
        store: of the dataset.
        stored: the manifest's bytes.
        manifest: what they say.
        s3: how the store was reached; it is opened again so where this object is unpickled.
    """

    store: Store
    stored: bytes = field(repr=False)
    manifest: Manifest = field(repr=False)
    s3: S3Access | None = None

    @property
    def manifest_sha256(self) -> str:
        """Digest of the manifest as it is stored: names the version's content."""
        return hashlib.sha256(self.stored).hexdigest()

    def url_of(self, key: str) -> str:
        """Return what names a file of the version in messages."""
        return self.store.url_of(key)

    def table(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Return records.parquet: all splits, in reading order; `split` and `shard` are dictionaries.

        Args:
            columns: to read; None reads all.

        Raises:
            NoSuchVersionError: the version has expired meanwhile.
            IntegrityError: the table is missing, damaged or not this version's.
        """
        key = version_key(self.manifest.version, VersionFile.RECORDS)
        try:
            data = read_sidecar(self.store, self.manifest, VersionFile.RECORDS)
        except ObjectMissingError as error:
            raise self.explain_missing(key) from error
        with of_version():
            return _table(data, columns, self.manifest, self.url_of(key))

    def head(self, key: str) -> tuple[int, str] | None:
        """Return a file's size in bytes and its ETag; None where it is missing."""
        return self.store.head(key)

    def get_range(self, key: str, offset: int, length: int) -> bytes | memoryview:
        """Return bytes of a file, as `Store.get_range` does.

        Raises:
            IntegrityError: the file ends before.
            StoreRefusedError, StoreUnavailableError: as there.
        """
        try:
            return self.store.get_range(key, offset, length)
        except StoreRefusedError as error:
            found = self.store.head(key)
            if found is None or found[0] >= offset + length:
                raise
            with of_version():
                raise IntegrityError(
                    f"{self.url_of(key)} has {found[0]:,} bytes, and version {self.manifest.version!r} has records in it up to byte "
                    f"{offset + length:,}"
                ) from error

    def local_shard(self, split: str, number: int) -> Path | None:
        """Return the file of a shard where the dataset lies on this machine; None where the store has to be asked."""
        return self.store.local_path(self.manifest.splits[split].shards[number].path)

    def explain_missing(self, key: str) -> AestheticsOpsError:
        """Return the error for a file of the version that is not there: has the version expired, or was it damaged?"""
        version, dataset = self.manifest.version, self.store
        latest = peek_latest(dataset)[0]
        if (latest is None or latest.version != version) and not is_published(dataset, version):
            return NoSuchVersionError(
                f"version {version!r} of {dataset.url} has expired since it was opened: {dataset.url_of(key)} is gone; "
                "take one of `aesthetics-ops versions`, which shares most shards with it"
            )
        return IntegrityError(
            f"{dataset.url_of(key)} is missing, though version {version!r} names it; `aesthetics-ops verify` says what else "
            "is, or roll back"
        )

    def __reduce__(self) -> tuple[object, ...]:
        return _reopen, (self.store.url, self.stored, self.s3)


@dataclass(frozen=True, slots=True)
class PulledVersion:
    """A version in a directory that it was pulled into.

    Attributes:
        path: of the directory, absolute.
        stored: the manifest's bytes.
        manifest: what they say.
        names: of the files in the directory, by their keys in the dataset.
    """

    path: Path
    stored: bytes = field(repr=False)
    manifest: Manifest = field(repr=False)
    names: dict[str, str] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        names = {version_key(self.manifest.version, VersionFile.RECORDS): PULLED_RECORDS}
        for split, content in self.manifest.splits.items():
            for number, shard in enumerate(content.shards):
                names[shard.path] = pulled_shard_name(split, number, len(content.shards))
        object.__setattr__(self, "names", names)

    @property
    def store(self) -> None:
        """No store: everything lies in the directory."""
        return

    @property
    def manifest_sha256(self) -> str:
        """Digest of the manifest as it is stored: names the version's content."""
        return hashlib.sha256(self.stored).hexdigest()

    def url_of(self, key: str) -> str:
        """Return what names a file of the version in messages."""
        return str(self._place_of(key))

    def table(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Return records.parquet: all splits, in reading order; `split` and `shard` are dictionaries.

        Args:
            columns: to read; None reads all.

        Raises:
            IntegrityError: the table is missing, damaged or not this version's.
        """
        path = self.path / PULLED_RECORDS
        if not path.is_file():
            raise IntegrityError(f"{str(path)!r} is missing; {self.pull_again()}")
        try:
            table = _table(path, columns, self.manifest, str(path))
        except IntegrityError as error:
            raise IntegrityError(f"{error}; {self.pull_again(verify=True)}") from error
        stated = (self.manifest.files or {}).get(VersionFile.RECORDS)
        if stated is not None and stated.sha256 != (Stamps(self.path / STAMPS).digest_of(path) or _sha256(path)):
            raise IntegrityError(
                f"{str(path)!r} has not the sha256 that its manifest states; {self.pull_again(verify=True)}"
            )
        return table

    def local_shard(self, split: str, number: int) -> Path | None:
        """Return the file of a shard.

        Raises:
            NoSuchSplitError: the split was not pulled.
            IntegrityError: the shard is missing.
        """
        count = len(self.manifest.splits[split].shards)
        path = self.path / pulled_shard_name(split, number, count)
        if path.exists():
            return path
        if any(split_of_pulled_shard(other.name) == split for other in self.path.iterdir()):
            raise IntegrityError(f"{str(path)!r} is missing; {self.pull_again(split)}")
        raise NoSuchSplitError(f"{str(self.path)!r} holds no shards of split {split!r}; {self.pull_again(split)}")

    def head(self, key: str) -> tuple[int, str] | None:
        """Return a file's size in bytes, and no ETag; None where it is missing."""
        path = self._place_of(key)
        return (path.stat().st_size, "") if path.is_file() else None

    def get_range(self, key: str, offset: int, length: int) -> bytes | memoryview:
        """Return bytes of a file; fewer where it is shorter.

        Raises:
            ObjectMissingError: it is missing.
        """
        path = self._place_of(key)
        if not path.is_file():
            raise ObjectMissingError(f"{str(path)!r} does not exist; {self.pull_again()}")
        with path.open("rb") as file:
            file.seek(offset)
            return file.read(length)

    def explain_missing(self, key: str) -> AestheticsOpsError:
        """Return the error for a file that is not there."""
        return IntegrityError(f"{self.url_of(key)!r} is missing; {self.pull_again()}")

    def pull_again(self, split: str | None = None, *, verify: bool = False) -> str:
        """Return the next step where a file is missing or damaged: the command that brings it, and nothing that was not there.

        Args:
            split: that the file belongs to; None names those that are there.
            verify: whether the file may look as it should.
        """
        manifest = self.manifest
        there = {split_of_pulled_shard(path.name) for path in self.path.iterdir()}
        wanted = [name for name in manifest.splits if name == split or (split is None and name in there)]
        words = ["aesthetics-ops", "pull", manifest.dataset, str(self.path), "--version", manifest.version]
        if len(wanted) < len(manifest.splits):
            words += [word for name in wanted for word in ("--split", name)]
        return f"what brings it: {shlex.join(words + ['--verify'] * verify)}"

    def require_sizes(self) -> None:
        """Make sure that every shard of the splits that were pulled has its size.

        A pull puts a split's first shard at its place last.  So where that is missing, the split may be on its way.

        Raises:
            IntegrityError: a shard is missing, or is cut off.
        """
        for name, split in self.manifest.splits.items():
            count = len(split.shards)
            paths = [self.path / pulled_shard_name(name, number, count) for number in range(count)]
            if paths and paths[0].exists():
                for path, shard in zip(paths, split.shards, strict=True):
                    self._require_size(path, shard.bytes, name)

    def _require_size(self, path: Path, expected: int, split: str) -> None:
        try:
            size = path.stat().st_size
        except FileNotFoundError as error:
            raise IntegrityError(f"{str(path)!r} is missing; {self.pull_again(split)}") from error
        if size != expected:
            raise IntegrityError(
                f"{str(path)!r} has {size:,} bytes, and its manifest states {expected:,}; {self.pull_again(split)}"
            )

    def _place_of(self, key: str) -> Path:
        return self.path / self.names.get(key, key)


Version = PublishedVersion | PulledVersion


def open_published(store: Store, version: str | None, s3: S3Access | None = None) -> PublishedVersion:
    """Open a version of a published dataset; by default the one that LATEST names.

    Args:
        store: of the dataset.
        version: its name, or the name of a pointer, such as `prod`.
        s3: how the store was reached.

    Raises:
        NoSuchVersionError: nothing is published there, or not this version.
        IntegrityError: the manifest is not the one that LATEST promises, or cannot be read.
    """
    version = resolve_version(store, version)
    if version is not None:
        latest = peek_latest(store)[0]
    else:
        found = read_latest(store)
        if found is None:
            raise nothing_published(store)
        latest, version = found[0], found[0].version
    stored = stored_manifest(store, version, latest)
    return PublishedVersion(store, bytes(stored.data), manifest_in(store, version, stored), s3)


def is_pulled(directory: Path) -> bool:
    """Say whether a directory is to be opened as a pulled one: it holds something, and nothing of a published dataset."""
    try:
        names = {path.name for path in directory.iterdir()}
    except OSError:  # not there, no directory, or not to be read: the store of files says which
        return False
    return bool(names) and names.isdisjoint(key.strip("/") for key in (LATEST_KEY, PUBLISHED, VERSIONS, BUILDS))


def open_pulled(directory: Path, version: str | None = None) -> PulledVersion:
    """Open a pulled directory, without network.

    Args:
        directory: that a version was pulled into.
        version: that it must hold; None takes the one that it holds.

    Raises:
        NoSuchVersionError: no pull was finished there, or the directory holds another version.
        IntegrityError: the manifest cannot be read, or a shard or the table of records is missing or cut off.
    """
    directory = directory.absolute()
    try:
        stored = (directory / PULLED_MANIFEST).read_bytes()
    except (FileNotFoundError, IsADirectoryError) as error:
        raise NoSuchVersionError(_no_pull(directory)) from error
    name = str(directory / PULLED_MANIFEST)
    if not _looks_like_a_manifest(stored):
        raise IntegrityError(f"{name!r} is not the manifest of a version; check the path, or pull again into it")
    opened = PulledVersion(directory, stored, Manifest.parse(stored, name=name))
    found = opened.manifest.version
    if version not in (None, found):
        raise NoSuchVersionError(
            f"{str(directory)!r} holds version {found!r}, not {version!r}; open the dataset's URL, or pull that version there"
        )
    opened.require_sizes()
    if not (directory / PULLED_RECORDS).is_file():
        raise IntegrityError(f"{str(directory / PULLED_RECORDS)!r} is missing; {opened.pull_again()}")
    return opened


def _no_pull(directory: Path) -> str:
    is_begun = any(
        split_of_pulled_shard(path.name) or path.name.startswith(".aesthetics-ops-") for path in directory.iterdir()
    )
    if is_begun:
        return (
            f"{str(directory)!r} has no {PULLED_MANIFEST}: its pull was not finished; the same `aesthetics-ops pull` goes on "
            "where it stopped"
        )
    if (directory / KEPT_RECORDS).is_dir():
        return (
            f"{str(directory)!r} holds what readers kept of a store, and no version; open the dataset's URL, and give this as "
            "directory"
        )
    return (
        f"{str(directory)!r} is neither a published dataset, which has {LATEST_KEY}, nor a pulled one, which has "
        f"{PULLED_MANIFEST}; check the path"
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _looks_like_a_manifest(stored: bytes) -> bool:
    try:
        found = parse_json(stored)
    except ValueError:
        return False
    return isinstance(found, dict) and {"schema_version", "version", "splits"} <= found.keys()


def _table(source: memoryview | bytes | Path, columns: Sequence[str] | None, manifest: Manifest, name: str) -> pa.Table:
    table = parse_parquet(source, columns, name=name, repeated=_REPEATED)
    if table.num_rows != manifest.records:
        raise IntegrityError(
            f"{name} has {table.num_rows:,} records, and the manifest of version {manifest.version!r} {manifest.records:,}"
        )
    return table


def _reopen(url: str, stored: bytes, s3: S3Access | None) -> PublishedVersion:
    return PublishedVersion(open_store(url, s3=s3), stored, Manifest.parse(stored, name=url), s3)
