"""Listings as every store returns them: key, size and ETag, in the order of keys."""

from collections.abc import Iterator, Sequence
from itertools import islice

import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["LISTING", "batch_of", "in_key_order", "listing"]

LISTING = pa.schema([("key", pa.string()), ("size", pa.int64()), ("etag", pa.string())])
_ROWS_AT_ONCE = 64_000


def listing(skip: int, objects: Iterator[tuple[str, int, str]]) -> pa.Table:
    """Gather (key, size, etag) as `Store.list` returns them, cutting `skip` characters off each key."""
    batches = []
    while page := list(islice(objects, _ROWS_AT_ONCE)):
        batches.append(batch_of(skip, page))
    return in_key_order(pa.Table.from_batches(batches, LISTING))


def batch_of(skip: int, objects: Sequence[tuple[str, int, str]]) -> pa.RecordBatch:
    """Make (key, size, etag) a batch of a listing, cutting `skip` characters off each key."""
    keys, sizes, etags = zip(*objects, strict=True) if objects else ((), (), ())
    return pa.record_batch([[key[skip:] for key in keys], sizes, etags], schema=LISTING)


def in_key_order(table: pa.Table) -> pa.Table:
    """Return a listing ordered by key."""
    keys = table["key"]
    if pc.all(pc.less_equal(keys[:-1], keys[1:])).as_py() is False:
        return table.sort_by("key")
    return table
