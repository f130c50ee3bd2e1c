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
    "VoteBar",
    "photo_rows",
    "reject_rows",
    "vote_bars",
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
    brightness: float | None
    contrast: float | None
    distribution: tuple[float, ...] | None = None
    votes: tuple[int, ...] | None = None
    label_std: float | None = None


@dataclass(frozen=True, slots=True)
class VoteBar:
    """How many people gave a photo one rating.

    Attributes:
        rating: in the score file's units.
        share: of all votes, 0 to 1.
        count: None where the score file has shares alone.
    """

    rating: float
    share: float
    count: int | None


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


_VOTES: Final = tuple(column.name for column in RECORDS.optional)
NOTED_LATER: Final = ("progressive", "sampling", "brightness", "contrast", *_VOTES)
"""The columns that records.parquet of an earlier release, or of a score file without votes, does not have."""
PHOTO_COLUMNS: Final = tuple(field.name for field in fields(PhotoRow) if field.name not in NOTED_LATER)
_LISTS: Final = ("distribution", "votes")
_AMOUNTS: Final = ("offset", "length", "width", "height", "bytes")
REJECT_COLUMNS: Final = tuple(field.name for field in fields(RejectRow))


def photo_rows(table: pa.Table) -> list[PhotoRow]:
    """Return the rows of a table with PHOTO_COLUMNS, and NOTED_LATER where the release knew them.

    Raises:
        IntegrityError: a column is not of its type, or a value is missing or out of range.
    """
    for column in RECORDS.optional:
        if column.name not in table.column_names:
            table = table.append_column(column.name, pa.nulls(table.num_rows, column.type))
    columns = [*PHOTO_COLUMNS, *NOTED_LATER]
    rows = _checked(all_columns(table, RECORDS), RECORDS, columns, required=PHOTO_COLUMNS)
    for row in rows:
        wrong = [name for name in _AMOUNTS if row[name] < 0] + ["transforms"] * (None in row["transforms"])
        if wrong := wrong + [name for name in _LISTS if None in (row[name] or ())]:
            raise IntegrityError(f"a row of records.parquet has a {wrong[0]} that none can have; verify the version")
    return [
        PhotoRow(**row | {name: tuple(row[name]) for name in ("transforms", *_LISTS) if row[name] is not None})
        for row in rows
    ]


def vote_bars(photo: PhotoRow, ratings: Sequence[float]) -> list[VoteBar]:
    """Return a photo's votes, one bar for each rating; none where it has none.

    Raises:
        IntegrityError: there are more or fewer than ratings, or a share is none.
    """
    if photo.distribution is None:
        return []
    counts = photo.votes if photo.votes is not None else (None,) * len(ratings)
    if not len(photo.distribution) == len(counts) == len(ratings) or not all(
        0 <= one <= 1 for one in photo.distribution
    ):
        raise IntegrityError(
            f"the votes of photo {photo.id[:80]!r} in records.parquet are not one for each of the {len(ratings)} ratings of its manifest; "
            "verify the version"
        )
    return [VoteBar(*bar) for bar in zip(ratings, photo.distribution, counts, strict=True)]


def reject_rows(table: pa.Table) -> list[RejectRow]:
    """Return the rows of a table with REJECT_COLUMNS.

    Raises:
        IntegrityError: as `photo_rows`.
    """
    return [RejectRow(**row) for row in _checked(table, REJECTS, REJECT_COLUMNS, required=["reason"])]


def _checked(table: pa.Table, kind: Table, columns: Sequence[str], required: Sequence[str]) -> list[dict[str, Any]]:
    kinds = {column.name: column.type for column in (*kind.columns, *kind.optional)}
    schema = pa.schema([(name, kinds[name]) for name in columns])
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
