"""Rows of a version's Parquet tables as records: what the pages show of a photo, and of what was left out.

In: rows read from a table that anybody may have written.  Out: records whose fields are what they say, or an error.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Final

import pyarrow as pa

from aesthetics_ops.dataset.tables import RECORDS, REJECTS, Table, all_columns
from aesthetics_ops.errors import IntegrityError

__all__ = [
    "NOTED_LATER",
    "PHOTO_COLUMNS",
    "REJECT_COLUMNS",
    "FoundPhoto",
    "PhotoRow",
    "RejectRow",
    "photo_rows",
    "reject_rows",
]


@dataclass(frozen=True, slots=True)
class PhotoRow:
    """One row of `records.parquet`; tables.RECORDS says what each field is."""

    id: str
    key: str
    etag: str
    split: str
    shard: str
    offset: int
    length: int
    label: float
    width: int
    height: int
    bytes: int
    transforms: tuple[str, ...]
    phash: str
    progressive: bool | None
    sampling: str | None


@dataclass(frozen=True, slots=True)
class FoundPhoto:
    """A photo that a search found.

    Attributes:
        photo: its row.
        split: that its shard is in, by the manifest.
        number: of its shard in the split, from 0.
        record: its place in the shard, from 0.
    """

    photo: PhotoRow
    split: str
    number: int
    record: int


@dataclass(frozen=True, slots=True)
class RejectRow:
    """One row of `rejects.parquet`; tables.REJECTS says what each field is, and a row of the score file has few."""

    id: str | None
    key: str | None
    bytes: int | None
    split: str | None
    reason: str
    detail: str | None


NOTED_LATER: Final = ("progressive", "sampling")
"""The columns that records.parquet of an earlier release does not have."""
PHOTO_COLUMNS: Final = tuple(field.name for field in fields(PhotoRow) if field.name not in NOTED_LATER)
_AMOUNTS: Final = ("offset", "length", "width", "height", "bytes")
REJECT_COLUMNS: Final = tuple(field.name for field in fields(RejectRow))


def photo_rows(table: pa.Table) -> list[PhotoRow]:
    """Return the rows of a table with PHOTO_COLUMNS, and NOTED_LATER where the release knew them.

    Raises:
        IntegrityError: a column is not of its type, or a value is missing or out of range.
    """
    columns = [*PHOTO_COLUMNS, *NOTED_LATER]
    rows = _checked(all_columns(table, RECORDS), RECORDS, columns, required=PHOTO_COLUMNS)
    for row in rows:
        if wrong := [name for name in _AMOUNTS if row[name] < 0] + ["transforms"] * (None in row["transforms"]):
            raise IntegrityError(f"a row of records.parquet has a {wrong[0]} that none can have; verify the version")
    return [PhotoRow(**{**row, "transforms": tuple(row["transforms"])}) for row in rows]


def reject_rows(table: pa.Table) -> list[RejectRow]:
    """Return the rows of a table with REJECT_COLUMNS.

    Raises:
        IntegrityError: as `photo_rows`.
    """
    return [RejectRow(**row) for row in _checked(table, REJECTS, REJECT_COLUMNS, required=["reason"])]


def _checked(table: pa.Table, kind: Table, columns: Sequence[str], required: Sequence[str]) -> list[dict[str, Any]]:
    schema = pa.schema([kind.schema.field(name) for name in columns])
    try:
        rows: list[dict[str, Any]] = table.select(columns).cast(schema).to_pylist()
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise IntegrityError(
            f"a row of {kind.name}.parquet is not what it must be: {error}; verify the version"
        ) from error
    for row in rows:
        if missing := [name for name in required if row[name] is None]:
            raise IntegrityError(f"a row of {kind.name}.parquet has no {', '.join(missing)}; verify the version")
    return rows
