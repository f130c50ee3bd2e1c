"""Listings as every store returns them: key, size and ETag, in the order of keys.

Whoever opens a store loads this, so it does without `pyarrow.compute`, a tenth of a CPU second, unless keys must be sorted.
"""

from collections.abc import Iterator, Sequence
from itertools import islice
from operator import le

import pyarrow as pa

__all__ = ["LISTING", "batch_of", "listing"]

LISTING = pa.schema([("key", pa.string()), ("size", pa.int64()), ("etag", pa.string())])
_ROWS_AT_ONCE = 64_000


def listing(skip: int, objects: Iterator[tuple[str, int, str]]) -> pa.Table:
    """Gather (key, size, etag) as `Store.list` returns them, cutting `skip` characters off each key."""
    batches = []
    is_ordered, last = True, ""
    while page := list(islice(objects, _ROWS_AT_ONCE)):
        keys = [last, *(key[skip:] for key, _, _ in page)]
        is_ordered = is_ordered and all(map(le, keys, islice(keys, 1, None)))  # as their UTF-8 bytes are
        last = keys[-1]
        batches.append(batch_of(skip, page))
    table = pa.Table.from_batches(batches, LISTING)
    return table if is_ordered else table.sort_by("key")


def batch_of(skip: int, objects: Sequence[tuple[str, int, str]]) -> pa.RecordBatch:
    """Make (key, size, etag) a batch of a listing, cutting `skip` characters off each key."""
    keys, sizes, etags = zip(*objects, strict=True) if objects else ((), (), ())
    return pa.record_batch([[key[skip:] for key in keys], sizes, etags], schema=LISTING)
