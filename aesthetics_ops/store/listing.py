"""Listings as every store returns them: key, size and ETag, in the order of keys."""

from collections.abc import Iterator
from itertools import islice

import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["in_key_order", "listing"]

_LISTING = pa.schema([("key", pa.string()), ("size", pa.int64()), ("etag", pa.string())])
_ROWS_AT_ONCE = 64_000


def listing(skip: int, objects: Iterator[tuple[str, int, str]]) -> pa.Table:
    """Gather (key, size, etag) as `Store.list` returns them, cutting `skip` characters off each key."""
    batches = []
    while page := list(islice(objects, _ROWS_AT_ONCE)):
        keys, sizes, etags = zip(*page, strict=True)
        batches.append(pa.record_batch([[key[skip:] for key in keys], sizes, etags], schema=_LISTING))
    return in_key_order(pa.Table.from_batches(batches, _LISTING))


def in_key_order(table: pa.Table) -> pa.Table:
    """Return a listing ordered by key."""
    keys = table["key"]
    if pc.all(pc.less_equal(keys[:-1], keys[1:])).as_py() is False:
        return table.sort_by("key")
    return table
