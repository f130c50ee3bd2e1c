"""The objects of a version beside its shards: written so that they are there as meant, read so that they are the version's.

In: a store, a key, the bytes.  Out: what the manifest says of each object (`StoredFile`), and later its bytes, compared with
that.  A store, or something before it, may answer well and keep something else; so what is written is read back.  What comes
damaged is read once more, since the way may have spoiled it; then it is an error that names the object.
A manifest of an earlier release says nothing of these objects: they are then taken as they come.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from aesthetics_ops.dataset.layout import VersionFile, version_key
from aesthetics_ops.dataset.manifest import Manifest, StoredFile
from aesthetics_ops.dataset.spilled import Spilled, spill_parquet
from aesthetics_ops.dataset.tables import TABLES, Table, parse_parquet, readable, require_types, require_whole
from aesthetics_ops.errors import IntegrityError, ObjectMissingError
from aesthetics_ops.store import Store

__all__ = [
    "download_sidecar",
    "download_table",
    "is_kept",
    "of_version",
    "put_proven",
    "read_sidecar",
    "read_table",
    "spill_table",
    "stored_file",
    "upload_proven",
]

_Read = TypeVar("_Read")

_READINGS: Final = 2
_WRITINGS: Final = 3
_PIECE_BYTES: Final = 16 << 20
_WAY_OUT: Final = "do not use it: `aesthetics-ops verify` says what else differs, and `aesthetics-ops rollback` goes to another version"


@contextmanager
def of_version() -> Iterator[None]:
    """Say of a table of a version that cannot be used, and is as its manifest states, what there is to do.

    Raises:
        IntegrityError: one that was raised inside, with that.
    """
    try:
        yield
    except IntegrityError as error:
        raise IntegrityError(f"{error}; {_WAY_OUT}") from error


def stored_file(content: bytes | memoryview | Path) -> StoredFile:
    """Return what a manifest says of some bytes, or of a file of this machine."""
    if isinstance(content, Path):
        with content.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return StoredFile(bytes=content.stat().st_size, sha256=digest)
    return StoredFile(bytes=len(content), sha256=hashlib.sha256(content).hexdigest())


def put_proven(store: Store, key: str, data: bytes) -> StoredFile:
    """Write an object, and make sure that the store keeps these bytes.

    Raises:
        IntegrityError: it keeps others, however often it is sent them.
        StoreRefusedError, StoreUnavailableError: the store says no, or nothing.
    """
    return _proven(store, key, stored_file(data), lambda: store.put(key, data))


def upload_proven(store: Store, key: str, path: Path) -> StoredFile:
    """Write an object from a file of this machine; errors as `put_proven`."""
    return _proven(store, key, stored_file(path), lambda: store.upload(key, path))


def is_kept(store: Store, key: str, expected: StoredFile) -> bool:
    """Say whether the store has exactly these bytes; memory does not grow with them."""
    found = store.head(key)
    if found is None or found[0] != expected.bytes:
        return False
    digest = hashlib.sha256()
    try:
        for first in range(0, expected.bytes, _PIECE_BYTES):
            digest.update(store.get_range(key, first, min(_PIECE_BYTES, expected.bytes - first)))
    except ObjectMissingError:
        return False
    return digest.hexdigest() == expected.sha256


def read_sidecar(dataset: Store, manifest: Manifest, file: VersionFile) -> bytes | memoryview:
    """Return a file of a version, as its manifest says that it is.

    Raises:
        ObjectMissingError: it is not there.
        IntegrityError: it is another one.
    """
    key = version_key(manifest.version, file)

    def read() -> tuple[bytes | memoryview, StoredFile | None]:
        data = dataset.get(key).data
        return data, stored_file(data) if manifest.files is not None else None

    return _as_stated(dataset.url_of(key), manifest, file, read)


def download_sidecar(dataset: Store, manifest: Manifest, file: VersionFile, path: Path) -> None:
    """Copy a file of a version to this machine; errors as `read_sidecar`."""
    key = version_key(manifest.version, file)

    def read() -> tuple[None, StoredFile | None]:
        dataset.download(key, path)
        return None, stored_file(path) if manifest.files is not None else None

    _as_stated(dataset.url_of(key), manifest, file, read)


def download_table(dataset: Store, manifest: Manifest, file: VersionFile, path: Path) -> Path:
    """Copy a table of a version to this machine, for a reader that does not hold all of it; errors as `read_sidecar`."""
    download_sidecar(dataset, manifest, file, path)
    name = dataset.url_of(version_key(manifest.version, file))
    with of_version():
        with readable(name):
            schema = pq.read_schema(path)
        _require_table(schema, file, name, require_whole)
    return path


def spill_table(
    dataset: Store,
    manifest: Manifest,
    file: VersionFile,
    scratch: Path,
    columns: Sequence[str],
    *,
    if_there: Sequence[str] = (),
) -> Spilled:
    """Read some columns of a table as `read_table` does, into a file of `scratch`, so that they are not held in memory.

    Raises:
        OSError: the disk is full; others as `read_sidecar`.
    """
    path = scratch / f"{manifest.version}-{file}"
    download_table(dataset, manifest, file, path)
    name = dataset.url_of(version_key(manifest.version, file))
    with of_version():
        spilled = spill_parquet(path, path.with_suffix(".arrow"), columns, if_there=if_there, name=name)
    path.unlink()
    return spilled


def read_table(
    dataset: Store,
    manifest: Manifest,
    file: VersionFile,
    columns: Sequence[str] | None = None,
    *,
    if_there: Sequence[str] = (),
) -> pa.Table:
    """Read a table of a version, or some columns of it; errors as `read_sidecar`.

    Args:
        dataset: that the version lies in.
        manifest: of the version.
        file: one of its tables.
        columns: to read; None reads all.
        if_there: columns to read beside these, where the table has them.
    """
    name = dataset.url_of(version_key(manifest.version, file))
    data = read_sidecar(dataset, manifest, file)
    with of_version():
        rows = parse_parquet(data, columns, name=name, if_there=if_there)
        _require_table(rows.schema, file, name, require_types if columns is not None else require_whole)
    return rows


def _require_table(
    schema: pa.Schema, file: VersionFile, name: str, require: Callable[[pa.Schema, Table, str], None]
) -> None:
    for table in TABLES:
        if file == f"{table.name}.parquet":
            require(schema, table, name)


def _proven(store: Store, key: str, meant: StoredFile, write: Callable[[], None]) -> StoredFile:
    for _ in range(_WRITINGS):
        write()
        if is_kept(store, key, meant):
            return meant
    raise IntegrityError(
        f"{store.url_of(key)} was written {_WRITINGS} times with {meant.bytes} bytes and sha256 {meant.sha256}, and the store "
        "holds something else: it, or something before it, changes or loses what is uploaded; correct that, then build again"
    )


def _as_stated(
    name: str, manifest: Manifest, file: VersionFile, read: Callable[[], tuple[_Read, StoredFile | None]]
) -> _Read:
    expected = (manifest.files or {}).get(file)
    found = None
    for _ in range(_READINGS):
        content, found = read()
        if found is None or found == expected:
            return content
    said = "nothing" if expected is None else f"{expected.bytes} and {expected.sha256}"
    raise IntegrityError(
        f"{name} has {found.bytes if found else 0} bytes and sha256 {found.sha256 if found else ''}, the manifest of version "
        f"{manifest.version!r} says {said} of it; {_WAY_OUT}"
    )
