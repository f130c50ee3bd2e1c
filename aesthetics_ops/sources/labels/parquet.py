"""Read scores from a Parquet file."""

from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from aesthetics_ops.sources.labels.columns import find_columns
from aesthetics_ops.sources.labels.file import LabelFile, LabelRows
from aesthetics_ops.sources.labels.format import LabelFormat

__all__ = ["PARQUET"]


def _read(file: LabelFile) -> LabelRows:
    """Read a Parquet file; row numbers count its rows from 1."""
    try:
        parquet = pq.ParquetFile(pa.BufferReader(file.data))
        columns = parquet.schema_arrow.names
        places = find_columns(file, columns)
        table = parquet.read(columns=[columns[place] for place in places])
        table.validate(full=True)  # reading alone does not look whether text is UTF-8
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise file.error(f"is not readable as Parquet: {error}; write it again") from error
    found = [_plain(file, columns[place], table[columns[place]]) for place in places]
    if not _is_number(found[1].type):
        found[1] = _text(file, columns[places[1]], found[1])
    for place in (0, *range(2, len(found))):
        found[place] = _text(file, columns[places[place]], found[place])
    return LabelRows(pa.array(np.arange(1, table.num_rows + 1)), *found)


def _is_number(kind: Any) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def _plain(file: LabelFile, name: str, column: Any) -> Any:
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    texts = (pa.string(), pa.large_string(), pa.string_view(), pa.binary(), pa.large_binary(), pa.null())
    if kind not in texts and not _is_number(kind):
        raise file.error(f"has column {name!r} of type {kind}; it must hold text or numbers")
    return column.cast(kind)


def _text(file: LabelFile, name: str, column: Any) -> Any:
    """Text of any plain column; whole numbers without a fraction or exponent, as they stand in file names."""
    try:
        if not pa.types.is_floating(column.type):
            return column.cast(pa.string())
        whole = pc.and_(pc.equal(pc.floor(column), column), pc.less(pc.abs(column), 2.0**63))
        integers = pc.if_else(whole, column, pa.scalar(None, column.type)).cast(pa.int64())
        return pc.coalesce(integers.cast(pa.string()), column.cast(pa.string()))
    except pa.ArrowInvalid as error:
        raise file.error(f"has column {name!r} of type {column.type} that is not text: {error}; store text") from error


PARQUET: Final = LabelFormat(
    name="parquet",
    title="Parquet rows",
    recognises=lambda file: file.data.startswith(b"PAR1"),
    read=_read,
    is_text=False,
    has_columns=True,
)
