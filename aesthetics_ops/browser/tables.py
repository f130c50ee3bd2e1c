"""Rows of a version's Parquet tables, found by looking at one column and read without the others.

In: a Parquet file's bytes.  Out: where matching rows stand, and those rows.  The file is decoded in pieces, so a table
of a million rows costs no more memory than its bytes and the rows asked for.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from aesthetics_ops.dataset.tables import RECORDS, REJECTS, require_types
from aesthetics_ops.errors import IntegrityError

__all__ = ["containing", "equal_to", "find_rows", "read_rows", "row_count"]

_ROWS_AT_ONCE: Final = 32_768


def find_rows(data: bytes, columns: Sequence[str], matches: Callable[[pa.RecordBatch], Any]) -> NDArray[np.int64]:
    """Return the numbers of the rows that match, in file order.

    Args:
        data: a Parquet file.
        columns: those that `matches` looks at.
        matches: returns a boolean array for a batch of rows; null counts as no.

    Raises:
        IntegrityError: not a Parquet file, or without these columns.
    """
    found = []
    first = 0
    for batch in _batches(data, columns):
        mask = pc.fill_null(matches(batch), False)
        found.append(pc.indices_nonzero(mask).to_numpy().astype(np.int64) + first)
        first += batch.num_rows
    return np.concatenate(found) if found else np.empty(0, np.int64)


def row_count(data: bytes) -> int:
    """Return how many rows a table has.

    Raises:
        IntegrityError: as `find_rows`.
    """
    with _explained():
        return int(pq.read_metadata(pa.BufferReader(data)).num_rows)


def read_rows(data: bytes, places: NDArray[np.int64], columns: Sequence[str], if_there: Sequence[str] = ()) -> pa.Table:
    """Return the rows with these numbers, in this order.

    Args:
        data: the table, a Parquet file.
        places: numbers of rows, from 0.
        columns: to read.
        if_there: columns that an earlier release did not write.

    Raises:
        IntegrityError: as `find_rows`.
    """
    order = np.argsort(places, kind="stable")
    wanted = places[order]
    pieces = []
    first = 0
    for batch in _batches(data, columns, if_there):
        low, high = np.searchsorted(wanted, (first, first + batch.num_rows))
        pieces.append(batch.take(pa.array(wanted[low:high] - first)))
        first += batch.num_rows
        if high == wanted.size:
            break
    return pa.Table.from_batches(pieces).take(np.argsort(order)) if pieces else pa.table({c: [] for c in columns})


def equal_to(column: str, value: str) -> Callable[[pa.RecordBatch], Any]:
    """Return a test for `find_rows`: the column has exactly this value."""
    return lambda batch: pc.equal(batch[column], value)


def containing(columns: Sequence[str], text: str) -> Callable[[pa.RecordBatch], Any]:
    """Return a test for `find_rows`: one of the columns contains the text, in whatever case."""

    def matches(batch: pa.RecordBatch) -> Any:
        masks = [pc.fill_null(pc.match_substring(batch[name], text, ignore_case=True), False) for name in columns]
        found = masks[0]
        for mask in masks[1:]:
            found = pc.or_(found, mask)
        return found

    return matches


def _batches(data: bytes, columns: Sequence[str], if_there: Sequence[str] = ()) -> Any:
    with _explained():
        file = pq.ParquetFile(pa.BufferReader(data))
        there = file.schema_arrow.names
        missing = set(columns) - set(there)
        if missing:
            raise IntegrityError(f"a table of this version has no column {', '.join(sorted(missing))}; verify it")
        for table in (RECORDS, REJECTS):  # columns of one name are of one type in both
            require_types(file.schema_arrow, table, "a table of this version")
        yield from file.iter_batches(_ROWS_AT_ONCE, columns=[*columns, *(name for name in if_there if name in there)])


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise IntegrityError(f"a table of this version cannot be read: {error}; verify it") from error
