"""A large score file in blocks, so that its rows need not be in memory together.

In: text, or some rows of a file's columns.  Out: what the same rows are among all, or the answer that they need the others.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from aesthetics_ops.sources.labels.columns import FoundColumns
from aesthetics_ops.sources.labels.file import LabelRows

__all__ = ["FEW_BYTES", "NeedsAllRowsError", "blocks_of_lines", "some_rows"]

FEW_BYTES: Final = 32 << 20
"""Of text: a file of fewer is read at once, which takes less time than blocks of it."""

_BLOCK_BYTES: Final = 16 << 20  # of text; its rows take several times that
_FEW_ROWS: Final = 100  # with votes; of fewer nothing is said


class NeedsAllRowsError(Exception):
    """Some rows cannot be read without the others, for what one means depends on what the others hold."""


def blocks_of_lines(data: bytes, start: int) -> Iterator[tuple[int, int]]:
    """Yield where blocks of whole lines begin and end; none but that of a short file is short."""
    while start < len(data):
        end = data.find(b"\n", start + _BLOCK_BYTES) + 1 or len(data)
        end = end if len(data) - end > _BLOCK_BYTES // 2 else len(data)
        yield start, end
        start = end


def some_rows(found: FoundColumns, row: Any, values: Mapping[int, Any]) -> LabelRows:
    """Return some rows of a file, as `FoundColumns.rows` returns them among all.

    Args:
        found: the columns that are read.
        row: int64, numbers of the rows.
        values: the columns by position.

    Raises:
        NeedsAllRowsError: other rows may decide what these hold.  A comma may be a decimal point, single votes are put
            together, kept columns have one type, and several columns may name the photos.
    """
    texts = [
        values[place] for place in {*found.counted, *found.extra.values()} if pa.types.is_string(values[place].type)
    ]
    if found.kept or (found.ratings and not found.votes) or (len(found.ids) > 1 and not found.is_joined):
        raise NeedsAllRowsError
    if any(pc.any(pc.match_substring(column, ",")).as_py() for column in texts):
        raise NeedsAllRowsError
    rows = found.rows(row, values)
    if rows.distribution is not None and len(row) - rows.distribution.null_count < _FEW_ROWS:
        raise NeedsAllRowsError
    return rows
