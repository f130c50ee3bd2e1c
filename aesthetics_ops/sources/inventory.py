"""Take the listing of the photos from S3 Inventory, where asking S3 itself would take hours.

In: the folder that S3 writes the inventories of one configuration to: `<time>/manifest.json` and, last of all,
`<time>/manifest.checksum`; `data/…` as CSV, Parquet or ORC.  Out: Parquet files as planning wants them (key relative to the
photos prefix, size, etag), with the keys that a listing would give and no others.
Promised: every file is what the manifest says (size and MD5); a column that is missing is named; memory does not grow
with the number of photos.

An inventory is older than the plan that uses it.  What happened to a photo since is found when it is read: one that is
gone becomes `source_missing`, one with another ETag `source_changed`; one that is new waits for the next inventory.

Source:
    Amazon S3 User Guide, "Cataloging and analyzing your data with S3 Inventory" (layout, columns, manifest.checksum).
"""

import hashlib
import re
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import duckdb
import pyarrow as pa
from pyarrow import orc
from pydantic import BaseModel, Field, ValidationError

from aesthetics_ops.dataset.database import connect
from aesthetics_ops.dataset.source_inventory import SourceInventory
from aesthetics_ops.errors import IntegrityError, ObjectMissingError, PlanError, SettingsError
from aesthetics_ops.sources.places import INVENTORY_MANIFEST
from aesthetics_ops.store import Store, StoreThreads

__all__ = ["read_inventory"]

_CHECKSUM: Final = "manifest.checksum"
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d-\d\dZ")
_FILES_AT_ONCE: Final = 4
_MEMORY_LIMIT: Final = "1GiB"  # of DuckDB's own

# How S3 writes the columns that matter: in CSV, and in Parquet and ORC.  The first three must be there.
_KEY, _SIZE, _ETAG = ("Key", "key"), ("Size", "size"), ("ETag", "e_tag")

_IS_LATEST, _IS_DELETED = ("IsLatest", "is_latest"), ("IsDeleteMarker", "is_delete_marker")


class _File(BaseModel):
    key: str
    size: int
    md5: str = Field(alias="MD5checksum")

    @property
    def name(self) -> str:
        """The key as it is below the configuration's folder, wherever that was copied to."""
        return "data/" + self.key.rpartition("/data/")[2]


class _Manifest(BaseModel):
    bucket: str = Field(alias="sourceBucket")
    created_ms: int = Field(alias="creationTimestamp")  # since 1970
    format: str = Field(alias="fileFormat")
    file_schema: str = Field(alias="fileSchema")
    files: list[_File]

    @property
    def columns(self) -> list[str]:
        match self.format:
            case "CSV":
                return [name.strip() for name in self.file_schema.split(",")]
            case "ORC":
                return re.findall(r"(\w+)\s*:", self.file_schema.removeprefix("struct<"))
            case _:
                return re.findall(r"(?:required|optional)\s+\w+\s+(\w+)", self.file_schema)


def read_inventory(folder: Store, url: str, *, photos: str, listing: Path) -> SourceInventory:
    """Write what an inventory says of the photos, as a listing.

    Args:
        folder: what `folder_of(url)` of `places` names.
        url: the `inventory` setting: of a manifest.json, or of the folder, whose newest finished inventory is taken.
        photos: URL of the photos prefix.
        listing: a folder that is made, and gets Parquet files of key (string, unique), size (int64, bytes), etag (string).

    Raises:
        PlanError: there is no finished inventory, or it lacks a column, or lists a key twice.
        SettingsError: it is of another bucket, or of a format that is not known.
        IntegrityError: a file is not what the manifest says.
        StoreRefusedError, StoreUnavailableError: the store says no, or nothing.
    """
    time = url.rstrip("/").split("/")[-2] if url.endswith("/" + INVENTORY_MANIFEST) else _newest(folder, url)
    source = folder.url_of(f"{time}/{INVENTORY_MANIFEST}")
    manifest = _read_manifest(folder, time, source)
    bucket, _, prefix = photos.partition("://")[2].partition("/")
    if manifest.bucket != bucket:
        raise SettingsError(
            f"inventory {source!r} is of bucket {manifest.bucket!r}, but photos is {photos!r}; "
            "name an inventory of the photos' bucket, or leave inventory empty"
        )
    for csv_name, name in (_KEY, _SIZE, _ETAG):
        if not {csv_name, name} & set(manifest.columns):
            raise PlanError(
                f"inventory {source!r} has no column {name if manifest.format != 'CSV' else csv_name!r}; "
                f"add {csv_name!r} to OptionalFields of its configuration and wait for the next one, or leave inventory empty"
            )
    listing.mkdir()
    with closing(connect(memory_limit=_MEMORY_LIMIT, temp_directory=str(listing / "spill"))) as db:
        for first in range(0, len(manifest.files), _FILES_AT_ONCE):
            some = manifest.files[first : first + _FILES_AT_ONCE]
            _take(db, folder, manifest, some, prefix, listing / f"{first:06}.parquet")
        _check(db, listing, source)
    return SourceInventory(manifest=source, created_at=datetime.fromtimestamp(manifest.created_ms / 1000, UTC))


def _newest(folder: Store, url: str) -> str:
    """Return the newest time whose inventory is finished."""
    times = sorted(filter(_TIME.fullmatch, folder.folders("")), reverse=True)
    for time in times:
        if folder.head(f"{time}/{_CHECKSUM}") is not None:
            return time
    raise PlanError(
        f"inventory {url!r} has {len(times)} folders such as 2026-01-31T01-00Z, none with a {_CHECKSUM}, so none is finished; "
        "the first comes up to 48 hours after it was configured: wait, correct the URL, or leave inventory empty"
    )


def _read_manifest(folder: Store, time: str, source: str) -> _Manifest:
    try:
        data = bytes(folder.get(f"{time}/{INVENTORY_MANIFEST}").data)
        checksum = bytes(folder.get(f"{time}/{_CHECKSUM}").data)
    except ObjectMissingError as error:
        raise PlanError(
            f"inventory {source!r} is not finished or not there: {error}; S3 writes {_CHECKSUM} last: name a finished one, "
            "or the folder above, whose newest finished one is taken"
        ) from error
    found, expected = hashlib.md5(data, usedforsecurity=False).hexdigest(), checksum.decode(errors="replace").strip()
    if found != expected.lower():
        raise IntegrityError(
            f"inventory {source!r} has MD5 {found}, but {_CHECKSUM} beside it says {expected[:40]!r}; "
            "copy it again, or take another inventory"
        )
    try:
        manifest = _Manifest.model_validate_json(data)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in error.errors())
        raise PlanError(
            f"{source!r} is not the manifest of an S3 inventory ({problems}); correct the inventory setting"
        ) from error
    if manifest.format not in ("CSV", "Parquet", "ORC"):
        raise SettingsError(
            f"inventory {source!r} is in format {manifest.format!r}, not CSV, Parquet or ORC; configure one of these"
        )
    return manifest


def _take(
    db: duckdb.DuckDBPyConnection, folder: Store, manifest: _Manifest, files: list[_File], prefix: str, target: Path
) -> None:
    """Write the photos that some files of the inventory list."""
    paths = [target.with_name(f"{target.stem}-{number}.data") for number in range(len(files))]
    with StoreThreads(_FILES_AT_ONCE) as pool:
        list(pool.map(lambda file, path: _download(folder, file, path), files, paths))
    is_csv = manifest.format == "CSV"

    def column(names: tuple[str, str]) -> str:
        name = next((name for name in names if name in manifest.columns), None)
        # all is text in CSV, quoted, and what is not there is an empty text
        return "NULL" if name is None else f"nullif(\"{name}\", '')" if is_csv else f'"{name}"'

    # in CSV alone keys are URL-encoded, with + for a blank
    key = f"url_decode(replace({column(_KEY)}, '+', '%20'))" if is_csv else column(_KEY)
    try:
        source = _rows(db, manifest, paths)
        db.execute(
            f"""
            COPY (
                SELECT substr(key, length($prefix) + 1) AS key, size, etag
                FROM (SELECT {key} AS key, {column(_SIZE)}::BIGINT AS size, trim({column(_ETAG)}, '"') AS etag,
                    coalesce({column(_IS_LATEST)}::BOOLEAN, true) AND NOT coalesce({column(_IS_DELETED)}::BOOLEAN, false) AS is_there
                    FROM {source})
                WHERE is_there AND starts_with(key, $prefix) AND key <> $prefix AND NOT (size = 0 AND key LIKE '%/')
            ) TO '{str(target).replace("'", "''")}' (FORMAT parquet, COMPRESSION zstd)""",  # noqa: S608
            {"prefix": prefix},
        )
    except (duckdb.Error, pa.ArrowException, OSError) as error:
        names = ", ".join(repr(folder.url_of(file.name)) for file in files)
        raise PlanError(
            f"inventory files {names} cannot be read as {manifest.format} with columns {manifest.columns}: {error}; "
            "take another inventory, or leave inventory empty"
        ) from error
    for path in paths:
        path.unlink()


def _rows(db: duckdb.DuckDBPyConnection, manifest: _Manifest, paths: list[Path]) -> str:
    """Return what SQL calls the rows of the files."""
    names = "[" + ", ".join("'" + str(path).replace("'", "''") + "'" for path in paths) + "]"
    match manifest.format:
        case "Parquet":
            return f"read_parquet({names}, union_by_name = true)"
        case "ORC":
            wanted = [name for _, name in (_KEY, _SIZE, _ETAG, _IS_LATEST, _IS_DELETED) if name in manifest.columns]
            db.register("orc_rows", pa.concat_tables(orc.ORCFile(path).read(columns=wanted) for path in paths))
            return "orc_rows"
        case _:
            columns = ", ".join(f"'{name}': 'VARCHAR'" for name in manifest.columns)
            kind = "gzip" if all(_is_gzip(path) for path in paths) else "none"
            return (
                f"read_csv({names}, columns = {{{columns}}}, auto_detect = false, header = false, delim = ',', quote = '\"', "
                f"escape = '\"', compression = '{kind}')"
            )


def _is_gzip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


def _download(folder: Store, file: _File, path: Path) -> None:
    url = folder.url_of(file.name)
    try:
        folder.download(file.name, path)
    except ObjectMissingError as error:
        raise IntegrityError(
            f"inventory file {url!r} is in the manifest but not in the store; take a newer inventory"
        ) from error
    with path.open("rb") as content:
        found = hashlib.file_digest(content, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    if (path.stat().st_size, found) != (file.size, file.md5.lower()):
        raise IntegrityError(
            f"inventory file {url!r} has {path.stat().st_size} bytes with MD5 {found}, but the manifest says {file.size} bytes "
            f"with MD5 {file.md5}; take another inventory"
        )


def _check(db: duckdb.DuckDBPyConnection, listing: Path, source: str) -> None:
    """Refuse keys without size or ETag, and keys that come twice."""
    if not any(listing.glob("*.parquet")):
        empty = "SELECT '' AS key, 0::BIGINT AS size, '' AS etag LIMIT 0"
        db.execute(
            f"COPY ({empty}) TO '{str(listing / 'empty.parquet').replace(chr(39), chr(39) * 2)}' (FORMAT parquet)"
        )
    files = str(listing / "*.parquet").replace("'", "''")
    db.execute(f"CREATE VIEW listed AS FROM read_parquet('{files}')")
    bare = db.sql("SELECT key FROM listed WHERE size IS NULL OR coalesce(etag, '') = '' LIMIT 1").fetchall()
    if bare:
        raise PlanError(
            f"inventory {source!r} gives no size or no ETag for {bare[0][0]!r}; take another inventory, or leave inventory empty"
        )
    twice = db.sql("""
        SELECT key FROM listed WHERE hash(key) IN (SELECT hash(key) FROM listed GROUP BY ALL HAVING count(*) > 1)
        GROUP BY key HAVING count(*) > 1 LIMIT 1""").fetchall()
    if twice:
        raise PlanError(
            f"inventory {source!r} lists {twice[0][0]!r} more than once; it must say which version is the latest: include "
            "current versions only, or the column IsLatest"
        )
