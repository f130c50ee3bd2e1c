"""The tables of a dataset: their columns, and how they are read and written as Parquet."""

import hashlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from aesthetics_ops.store import Store

__all__ = [
    "NEAR_DUPLICATES_SCHEMA",
    "PLAN_SCHEMA",
    "RECORDS_SCHEMA",
    "REJECTS_SCHEMA",
    "put_rows",
    "read_parquet",
    "write_parquet",
]

PLAN_SCHEMA = pa.schema(
    [
        ("key", pa.string()),  # relative to the photos prefix
        ("etag", pa.string()),
        ("size", pa.int64()),  # bytes of the source
        ("id", pa.string()),
        ("split", pa.string()),  # null for a rejected photo, as are the next three
        ("slot", pa.int32()),  # number of the shard inside its split; kept from version to version
        ("digest", pa.string()),  # of the shard's recipe
        ("label", pa.float32()),  # after scaling
        ("distribution", pa.list_(pa.float32())),  # null where the labels have none
        ("reason", pa.string()),  # null for a photo in a shard
        ("detail", pa.string()),
    ]
)

RECORDS_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("key", pa.string()),  # of the source photo, relative to the photos prefix
        ("etag", pa.string()),
        ("split", pa.string()),
        ("shard", pa.string()),  # key of the TFRecord file, relative to the dataset
        ("offset", pa.int64()),  # of the framed record in it, bytes
        ("length", pa.int64()),
        ("label", pa.float32()),
        ("width", pa.int64()),  # px
        ("height", pa.int64()),
        ("bytes", pa.int64()),  # of the JPEG
        ("transforms", pa.list_(pa.string())),
        ("phash", pa.string()),  # 16 hex digits
    ]
)

REJECTS_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("key", pa.string()),  # null for a label row without photo
        ("etag", pa.string()),
        ("bytes", pa.int64()),  # of the source
        ("split", pa.string()),  # null where planning rejected it, as is the next
        ("shard", pa.string()),  # whose recipe holds it
        ("reason", pa.string()),
        ("detail", pa.string()),
    ]
)

NEAR_DUPLICATES_SCHEMA = pa.schema(
    [
        ("group", pa.string()),  # the id of the photo that it began with; unique, and kept from version to version
        ("id", pa.string()),
        ("key", pa.string()),  # of the source photo, relative to the photos prefix
        ("etag", pa.string()),
        ("split", pa.string()),
        ("shard", pa.string()),  # key of the TFRecord file, relative to the dataset
    ]
)

_ROWS_OF_GROUP: Final = 1 << 17  # in a Parquet file; what one takes in memory while it is written


def read_parquet(store: Store, key: str, columns: Sequence[str] | None = None) -> pa.Table:
    """Read a Parquet object: all of it, or some columns."""
    # in one thread, which takes a third of the memory, and that goes back to the system
    table = pq.ParquetFile(pa.BufferReader(store.get(key).data)).read(columns=columns, use_threads=False)
    pa.default_memory_pool().release_unused()
    return table


def write_parquet(table: pa.Table) -> bytes:
    """Return a table as a Parquet file; equal tables give equal bytes."""
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue()


def put_rows(store: Store, key: str, rows: pa.Table, scratch: Path) -> str:
    """Write a table as a Parquet object, some rows at a time; return the object's sha256.

    Args:
        store: to write to.
        key: of the object.
        rows: the table; equal tables give equal bytes.
        scratch: a folder for the file on its way.
    """
    path = scratch / f"rows-{key.replace('/', '-')}"
    pq.write_table(rows, path, compression="zstd", row_group_size=_ROWS_OF_GROUP)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    store.upload(key, path)
    path.unlink()
    return digest
