"""Listings as every store returns them: key, size and ETag, in the order of keys.

Whoever opens a store loads this, so it does without `pyarrow.compute`, a tenth of a CPU second, unless keys must be sorted.
"""

import threading
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from operator import le
from pathlib import Path
from typing import Final
from uuid import uuid4

import pyarrow as pa

from aesthetics_ops.machine import explaining_full_scratch

__all__ = ["LISTING", "Batches", "batch_of", "listing"]

LISTING = pa.schema([("key", pa.string()), ("size", pa.int64()), ("etag", pa.string())])
_ROWS_AT_ONCE = 64_000
_FEW_ROWS: Final = 100_000
"""So many stay in memory, about 8 MB."""


class Batches:
    """The batches of a listing while it is read: in memory, or in a file of scratch once they have many rows.

    `add` may be called from many threads at once.
    """

    def __init__(self, scratch: Path | None) -> None:
        """Begin.

        Args:
            scratch: a folder for a file, whose name is gone once it is mapped; None keeps everything in memory.
        """
        self._path = None if scratch is None else scratch / f"listing-{uuid4().hex}.arrow"
        self._lock = threading.Lock()
        self._held: list[pa.RecordBatch] = []
        self._count = self._rows = 0
        self._file: pa.OSFile | None = None
        self._writer: pa.ipc.RecordBatchFileWriter | None = None

    def add(self, batch: pa.RecordBatch) -> int:
        """Keep a batch of LISTING; return its number.

        Raises:
            ScratchSpaceError: the disk is full.
        """
        with self._lock:
            self._count, self._rows = self._count + 1, self._rows + batch.num_rows
            self._held.append(batch)
            if self._path is not None and self._rows > _FEW_ROWS:
                with explaining_full_scratch():
                    self._write(self._path)
            return self._count - 1

    def _write(self, path: Path) -> None:
        """Write what is held to the file."""
        if self._writer is None:
            self._file = pa.OSFile(str(path), "wb")
            self._writer = pa.ipc.new_file(self._file, LISTING)
        for batch in self._held:
            self._writer.write_batch(batch)
        self._held.clear()

    def table(self, numbers: Iterable[int] | None = None) -> pa.Table:
        """Return the batches of these numbers, in this order; None takes all.  A file of them is mapped; nothing is added afterwards.

        Raises:
            ScratchSpaceError: the disk is full.
        """
        wanted = range(self._count) if numbers is None else numbers
        if self._path is None or self._file is None or self._writer is None:
            return pa.Table.from_batches([self._held[number] for number in wanted], LISTING)
        with explaining_full_scratch():
            self._writer.close()
            self._file.close()
        mapped = pa.ipc.open_file(pa.memory_map(str(self._path)))
        self._path.unlink()
        return pa.Table.from_batches([mapped.get_batch(number) for number in wanted], LISTING)


def listing(skip: int, objects: Iterator[tuple[str, int, str]], scratch: Path | None = None) -> pa.Table:
    """Gather (key, size, etag) as `Store.list` returns them, cutting `skip` characters off each key."""
    batches = Batches(scratch)
    is_ordered, last = True, ""
    while page := list(islice(objects, _ROWS_AT_ONCE)):
        keys = [last, *(key[skip:] for key, _, _ in page)]
        is_ordered = is_ordered and all(map(le, keys, islice(keys, 1, None)))  # as their UTF-8 bytes are
        last = keys[-1]
        batches.add(batch_of(skip, page))
    table = batches.table()
    return table if is_ordered else table.sort_by("key")


def batch_of(skip: int, objects: Sequence[tuple[str, int, str]]) -> pa.RecordBatch:
    """Make (key, size, etag) a batch of a listing, cutting `skip` characters off each key."""
    keys, sizes, etags = zip(*objects, strict=True) if objects else ((), (), ())
    return pa.record_batch([[key[skip:] for key in keys], sizes, etags], schema=LISTING)
