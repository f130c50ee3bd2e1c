"""The tables of a dataset: their columns, and how they are read and written as Parquet.

A column that is added at the end is no new schema: readers ask for columns by name.  docs/format.md shows each table, and a
test holds it to what stands here.
"""

import hashlib
import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from aesthetics_ops.errors import IntegrityError
from aesthetics_ops.store import Store

__all__ = [
    "BEFORE",
    "EXTRA_SCORE",
    "NEAR_DUPLICATES",
    "PLAN",
    "RECORDS",
    "REJECTS",
    "ROWS_AT_ONCE",
    "ROWS_OF_GROUP",
    "TABLES",
    "UNMATCHED",
    "Column",
    "Table",
    "all_columns",
    "is_label",
    "iterate_rows",
    "parse_parquet",
    "put_file",
    "put_rows",
    "read_parquet",
    "readable",
    "record_columns",
    "require_types",
    "require_values",
    "require_whole",
    "write_parquet",
    "write_rows",
]


@dataclass(frozen=True, slots=True)
class Column:
    """One column.

    Attributes:
        name: in the file.
        type: Arrow's.
        description: one sentence; docs/format.md and croissant.json show it.
        is_late: earlier releases do not write it.
        may_be_null: some rows have no value.
    """

    name: str
    type: pa.DataType
    description: str
    is_late: bool = False
    may_be_null: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """One table.

    Attributes:
        name: of its file, without `.parquet`.
        rows: what a row stands for, and the order of the rows.
        columns: in the file's order.
        optional: columns that follow where there is something to say.
    """

    name: str
    rows: str
    columns: tuple[Column, ...]
    optional: tuple[Column, ...] = ()

    @property
    def schema(self) -> pa.Schema:
        """The columns without their descriptions, as Arrow wants them."""
        return pa.schema([(column.name, column.type) for column in self.columns])

    @property
    def names(self) -> tuple[str, ...]:
        """The columns' names."""
        return tuple(column.name for column in self.columns)


PLAN: Final = Table(
    "plan",
    "One row per listed photo: first the shards' photos, shard by shard in reading order, then the rejected ones.",
    (
        Column("key", pa.string(), "Key of the source photo, relative to the photos prefix."),
        Column("etag", pa.string(), "ETag of the source photo.", may_be_null=True),
        Column("size", pa.int64(), "Size of the source photo, bytes.", may_be_null=True),
        Column("id", pa.string(), "What names the photo."),
        Column("split", pa.string(), "train, validation or test; null for a rejected photo.", may_be_null=True),
        Column(
            "slot",
            pa.int32(),
            "Number of the shard in its split, kept from version to version; null likewise.",
            may_be_null=True,
        ),
        Column("digest", pa.string(), "Digest of the shard's recipe, sha256 in hex; null likewise.", may_be_null=True),
        Column("label", pa.float32(), "The score, after the scaling in the settings; null likewise.", may_be_null=True),
        Column(
            "distribution",
            pa.list_(pa.float32()),
            "Shares of the votes, one for each rating of the manifest; null without votes.",
            is_late=True,
            may_be_null=True,
        ),
        Column(
            "reason", pa.string(), "Why planning rejected the photo; null for a photo in a shard.", may_be_null=True
        ),
        Column("detail", pa.string(), "What exactly was found, in words; null likewise.", may_be_null=True),
        Column(
            "votes",
            pa.list_(pa.int64()),
            "The votes, one count for each rating; null where the score file has no whole counts in every row.",
            is_late=True,
            may_be_null=True,
        ),
        Column(
            "label_std",
            pa.float32(),
            "Population standard deviation of the votes, in the ratings' units whatever the scaling; null without votes.",
            is_late=True,
            may_be_null=True,
        ),
        Column(
            "extra_scores",
            pa.list_(pa.float32()),
            "One number for each column of the setting extra_scores, in its order; null without such columns.",
            is_late=True,
            may_be_null=True,
        ),
    ),
)
RECORDS: Final = Table(
    "records",
    "One row per record, in reading order.",
    (
        Column("id", pa.string(), "What names the photo."),
        Column("key", pa.string(), "Key of the source photo, relative to the photos prefix."),
        Column("etag", pa.string(), "ETag of the source photo."),
        Column("split", pa.string(), "train, validation or test."),
        Column("shard", pa.string(), "Key of the TFRecord file that holds the record, relative to the dataset."),
        Column("offset", pa.int64(), "Bytes before the framed record in that file."),
        Column("length", pa.int64(), "Bytes of the framed record."),
        Column("label", pa.float32(), "The score, after the scaling in the settings."),
        Column("width", pa.int64(), "Width of the JPEG, px."),
        Column("height", pa.int64(), "Height of the JPEG, px."),
        Column("bytes", pa.int64(), "Size of the JPEG, bytes."),
        Column("transforms", pa.list_(pa.string()), "What was done to the photo on its way here."),
        Column("phash", pa.string(), "Perceptual hash of the photo, 16 hex digits."),
        Column(
            "progressive",
            pa.bool_(),
            "Whether the JPEG is not baseline in one scan: progressive, or rarely extended or in several scans; "
            "null for a shard of a release that did not note it.",
            is_late=True,
            may_be_null=True,
        ),
        Column(
            "sampling",
            pa.string(),
            "Chroma sampling of the JPEG: 4:4:4, 4:2:2, 4:2:0, 4:4:0, 4:1:1, 4:1:0, gray, or else the factors; "
            "null likewise.",
            is_late=True,
            may_be_null=True,
        ),
        Column(
            "brightness",
            pa.float32(),
            "Mean luma of the JPEG, 0 (black) to 255 (white), of its gray picture at up to 1/8 of the size; "
            "null for a record of a release that did not measure it.",
            is_late=True,
            may_be_null=True,
        ),
        Column(
            "contrast",
            pa.float32(),
            "Standard deviation of luma in the same picture, 0 to 127.5 levels; null likewise.",
            is_late=True,
            may_be_null=True,
        ),
    ),
    optional=(
        Column("distribution", pa.list_(pa.float32()), "Shares of the votes, one for each rating of the manifest."),
        Column("votes", pa.list_(pa.int64()), "The votes, one count for each rating of the manifest."),
        Column("label_std", pa.float32(), "Population standard deviation of the votes, in the ratings' units."),
    ),
)
REJECTS: Final = Table(
    "rejects",
    "One row per photo or label row that was left out: photos in the plan's order, then label rows.",
    (
        Column("id", pa.string(), "What names the photo, or the name in the label row."),
        Column(
            "key",
            pa.string(),
            "Key of the source photo, relative to the photos prefix; null for a label row.",
            may_be_null=True,
        ),
        Column("etag", pa.string(), "ETag of the source photo.", may_be_null=True),
        Column("bytes", pa.int64(), "Size of the source photo, bytes.", may_be_null=True),
        Column(
            "split",
            pa.string(),
            "Split that the photo was planned for; null where planning rejected it.",
            may_be_null=True,
        ),
        Column(
            "shard",
            pa.string(),
            "Key of the TFRecord file whose recipe holds the photo; null likewise.",
            may_be_null=True,
        ),
        Column("reason", pa.string(), "One of the closed list of reasons."),
        Column("detail", pa.string(), "What exactly was found, in words."),
    ),
)
NEAR_DUPLICATES: Final = Table(
    "near_duplicates",
    "One row per record that has a near-duplicate, by group and id.  A group of one row is a photo whose "
    "near-duplicates are gone; the manifest does not count it.",
    (
        Column("group", pa.string(), "Name of the group; unique, and kept from version to version."),
        Column("id", pa.string(), "What names the photo."),
        Column("key", pa.string(), "Key of the source photo, relative to the photos prefix."),
        Column("etag", pa.string(), "ETag of the source photo."),
        Column("split", pa.string(), "train, validation or test."),
        Column("shard", pa.string(), "Key of the TFRecord file that holds the record, relative to the dataset."),
    ),
)
UNMATCHED: Final = Table(
    "unmatched",
    "State of a build: one row per label row that names no photo, in the file's order.",
    (
        Column("row", pa.int64(), "Number of the row in the score file, from 1."),
        Column("name", pa.string(), "What it names."),
    ),
)
TABLES: Final = (RECORDS, REJECTS, NEAR_DUPLICATES, PLAN, UNMATCHED)

BEFORE: Final = "before"
"""The column that a partition's rows have beside those of PLAN: digest of the parent's shard that has the same photo; null where none has."""

EXTRA_SCORE: Final = "label/"
"""What the names of the columns of `extra_scores` begin with in `records.parquet`."""

ROWS_AT_ONCE: Final = 1 << 16
"""Most rows of a batch where a table is read some rows at a time."""

ROWS_OF_GROUP: Final = 1 << 17
"""Of a row group in a Parquet file; what one takes in memory while it is written."""

_BUFFER_BYTES: Final = 1 << 16  # of a column that is read some rows at a time; by default the whole file would be held


def read_parquet(store: Store, key: str, columns: Sequence[str] | None = None) -> pa.Table:
    """Read a Parquet object: all of it, or some columns.

    Raises:
        IntegrityError: not a whole Parquet file, or without these columns.
    """
    return parse_parquet(store.get(key).data, columns, name=store.url_of(key))


def parse_parquet(
    source: bytes | memoryview | Path,
    columns: Sequence[str] | None = None,
    *,
    name: str,
    repeated: Sequence[str] = (),
    if_there: Sequence[str] = (),
) -> pa.Table:
    """Read a Parquet file: all of it, or some columns.

    Args:
        source: its bytes, or where it lies on this machine.
        columns: to read; None reads all.
        name: of the file, for messages.
        repeated: text columns that come as dictionaries, which is how the file has them.
        if_there: columns to read beside these, where the file has them.

    Raises:
        IntegrityError: not a whole Parquet file, or without these columns.
    """
    whole = source if isinstance(source, Path) else pa.BufferReader(source)
    with readable(name), pq.ParquetFile(whole, read_dictionary=list(repeated)) as file:
        _require_columns(file, columns or (), name)
        if columns is not None:
            there = file.schema_arrow.names
            columns = [*columns, *(column for column in if_there if column in there and column not in columns)]
        # in one thread, which takes a third of the memory, and that goes back to the system
        table = file.read(columns=columns, use_threads=False)
    pa.default_memory_pool().release_unused()
    return table


def record_columns(schema: pa.Schema) -> tuple[Column, ...]:
    """Return the columns of a `records.parquet`, each with its description.

    After those of RECORDS come what votes there are, extra scores, and kept columns of the score file.
    """
    known = {column.name: column for column in (*RECORDS.columns, *RECORDS.optional)}
    return tuple(known.get(field.name) or _of_score_file(field) for field in schema)


def _of_score_file(field: pa.Field) -> Column:
    if field.name.startswith(EXTRA_SCORE):
        what = f"Column {field.name.removeprefix(EXTRA_SCORE)!r} of the score file: a score, not scaled."
    else:
        what = f"Column {field.name!r} of the score file, as it is."
    kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
    return Column(field.name, kind, what)


def is_label(column: str) -> bool:
    """Whether a column of `records.parquet` repeats what a record holds beside its label: votes or an extra score."""
    return column in _OPTIONAL or column.startswith(EXTRA_SCORE)


_OPTIONAL: Final = frozenset(column.name for column in RECORDS.optional)


def all_columns(rows: pa.Table, table: Table) -> pa.Table:
    """Return rows that an earlier release may have written, with nulls in the columns that it did not know.

    Args:
        rows: all columns of the table that the release knew, and nothing else that is wanted.
        table: whose columns are missing at most.
    """
    for column in table.columns:
        if column.name not in rows.column_names:
            rows = rows.append_column(column.name, pa.nulls(rows.num_rows, column.type))
    return rows


def require_types(found: pa.Schema, table: Table, name: str) -> None:
    """Make sure that columns are of the types that a table has; those that it does not know are passed over.

    Raises:
        IntegrityError: names the first that is not, or that stands twice.
    """
    _require_once(found, name)
    for column in table.columns:
        if column.name in found.names and found.field(column.name).type != column.type:
            kind = found.field(column.name).type
            raise IntegrityError(f"{name}: column {column.name} is {kind}, where {column.type} belongs")


def _require_once(found: pa.Schema, name: str) -> None:
    if len(set(found.names)) < len(found.names):
        twice = next(column for column in found.names if found.names.count(column) > 1)
        raise IntegrityError(f"{name} has two columns {twice!r}")


def iterate_rows(
    path: Path, columns: Sequence[str] | None, *, name: str, at_once: int = ROWS_AT_ONCE
) -> Iterator[pa.RecordBatch]:
    """Read some columns of a local Parquet file, some rows at a time.

    Args:
        path: of the file.
        columns: to read; None reads all.
        name: of the table, for the message.
        at_once: most rows of a batch.

    Raises:
        IntegrityError: not a whole Parquet file, or without these columns.
    """
    with readable(name), pq.ParquetFile(path, pre_buffer=False, buffer_size=_BUFFER_BYTES) as file:
        _require_columns(file, columns or (), name)
        wanted = None if columns is None else list(columns)
        try:
            yield from file.iter_batches(at_once, columns=wanted, use_threads=False)
        finally:
            pa.default_memory_pool().release_unused()


def require_whole(found: pa.Schema, table: Table, name: str) -> None:
    """Make sure that a table has the columns that every release writes, each once, and of their types.

    Raises:
        IntegrityError: names the first that is not.
    """
    for column in table.columns:
        times = found.names.count(column.name)
        if times > 1 or (times == 0 and not column.is_late):
            raise IntegrityError(f"{name} has {times or 'no'} column{'s' * (times > 1)} {column.name}")
    require_types(found, table, name)


def require_values(found: pa.Table | pa.RecordBatch, table: Table, name: str) -> None:
    """Make sure that no value is missing in the columns that have one in every row; `found` may have some of them.

    Raises:
        IntegrityError: names the first column where one is.
    """
    for column in table.columns:
        if not column.may_be_null and column.name in found.schema.names and found[column.name].null_count:
            raise IntegrityError(f"{name}: column {column.name} has rows without a value")


def _require_columns(file: pq.ParquetFile, columns: Sequence[str], name: str) -> None:
    _require_once(file.schema_arrow, name)
    missing = set(columns) - set(file.schema_arrow.names)
    if missing:
        raise IntegrityError(f"{name} has no column {', '.join(sorted(missing))}")


@contextmanager
def readable(name: str) -> Iterator[None]:
    """Say of a Parquet file that cannot be read that it is not whole, as an IntegrityError with its name."""
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise IntegrityError(f"{name} is not a whole Parquet file: {str(error).partition(chr(10))[0]}") from error


def write_parquet(table: pa.Table) -> bytes:
    """Return a table as a Parquet file; equal tables give equal bytes."""
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd", row_group_size=ROWS_OF_GROUP)
    return sink.getvalue()


def write_rows(rows: pa.Table, path: Path) -> None:
    """Write a table to a local Parquet file, some rows at a time; equal tables give equal bytes."""
    pq.write_table(rows, path, compression="zstd", row_group_size=ROWS_OF_GROUP)


def put_rows(store: Store, key: str, rows: pa.Table, scratch: Path) -> str:
    """Write a table as a Parquet object, some rows at a time; return the object's sha256.

    Args:
        store: to write to.
        key: of the object.
        rows: the table; equal tables give equal bytes.
        scratch: a folder for the file on its way.
    """
    path = scratch / f"rows-{key.replace('/', '-')}"
    write_rows(rows, path)
    return put_file(store, key, path)


def put_file(store: Store, key: str, path: Path) -> str:
    """Upload a file of scratch, which is gone then; return the object's sha256."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    store.upload(key, path)
    path.unlink()
    return digest
