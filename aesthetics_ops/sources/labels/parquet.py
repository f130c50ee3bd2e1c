"""Read scores from a Parquet file."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from aesthetics_ops.errors import LabelError
from aesthetics_ops.sources.labels.blocks import some_rows
from aesthetics_ops.sources.labels.columns import FoundColumns, find_columns
from aesthetics_ops.sources.labels.file import LabelFile, LabelRows
from aesthetics_ops.sources.labels.fitting import SAMPLE_ROWS
from aesthetics_ops.sources.labels.format import LabelFormat
from aesthetics_ops.sources.labels.parsing import EXACT_BELOW

__all__ = ["PARQUET"]

_FEW_ROWS: Final = 500_000  # are read at once
_ROWS_AT_ONCE: Final = 1 << 17
_LONGEST_LIST: Final = 100  # of votes; longer lists are features


def _read(file: LabelFile) -> LabelRows:
    """Read a Parquet file; row numbers count its rows from 1."""
    with _explained(file):
        parquet, columns, found = _opened(file)
        table = _chosen(parquet.read(columns=_fields(columns, found), use_threads=False), columns, found)
    return found.rows(pa.array(np.arange(1, table.num_rows + 1)), _values(file, table, found))


def _read_blocks(file: LabelFile) -> Iterator[LabelRows] | None:
    with _explained(file):
        parquet, columns, found = _opened(file)
    return _some_rows(file, parquet, columns, found) if parquet.metadata.num_rows > _FEW_ROWS else None


def _some_rows(
    file: LabelFile, parquet: pq.ParquetFile, columns: Sequence["_Column"], found: FoundColumns
) -> Iterator[LabelRows]:
    first, rows = 1, parquet.metadata.num_rows
    held: list[pa.RecordBatch] = []
    for batch in parquet.iter_batches(_ROWS_AT_ONCE, columns=_fields(columns, found), use_threads=False):
        held.append(batch)
        count = sum(len(one) for one in held)
        if count < _ROWS_AT_ONCE or 0 < rows - first + 1 - count < _ROWS_AT_ONCE:  # the last ones are not few
            continue
        with _explained(file):
            table = _chosen(pa.Table.from_batches(held), columns, found)
        yield some_rows(found, pa.array(np.arange(first, first + count)), _values(file, table, found))
        first, held = first + count, []


def _opened(file: LabelFile) -> tuple[pq.ParquetFile, Sequence["_Column"], FoundColumns]:
    """Return the file, its columns, and which of them are read."""
    parquet = pq.ParquetFile(pa.BufferReader(file.data))
    columns = [column for field in parquet.schema_arrow for column in _columns_of(parquet, field)]
    found = find_columns(
        file,
        [column.name for column in columns],
        lambda places: _sample(parquet, [columns[place] for place in places]),
    )
    return parquet, columns, found


def _fields(columns: Sequence["_Column"], found: FoundColumns) -> list[str]:
    return list(dict.fromkeys(columns[place].field for place in found.places))


def _chosen(table: pa.Table, columns: Sequence["_Column"], found: FoundColumns) -> pa.Table:
    table.validate(full=True)  # reading alone does not look whether text is UTF-8
    return pa.table({columns[place].name: columns[place].of(table) for place in found.places})


@contextmanager
def _explained(file: LabelFile) -> Iterator[None]:
    """Turn what Arrow raises into an error about the file."""
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise file.error(f"is not readable as Parquet: {error}; write it again") from error


@dataclass(frozen=True, slots=True)
class _Column:
    """A column, or one element of a column of lists or structs: its name, the field it is in, and which element of how many."""

    name: str
    field: str
    element: int | None = None
    elements: int = 0
    member: int | None = None

    def of(self, table: pa.Table) -> Any:
        """Take it out of a table; null where a list has another length."""
        column = table[self.field]
        if self.member is not None:
            return pc.struct_field(column, self.member)
        if self.element is None:
            return column
        fits = pc.fill_null(pc.equal(pc.list_value_length(column), self.elements), False)
        if pc.all(fits).as_py():
            return pc.list_element(column, self.element)
        lists = pc.if_else(fits, column, pa.scalar(None, column.type)).drop_null()
        place = pa.array(np.cumsum(np.asarray(fits)) - 1, mask=~np.asarray(fits))
        return pc.list_element(lists, self.element).combine_chunks().take(place)


def _sample(parquet: pq.ParquetFile, columns: Sequence[_Column]) -> list[list[Any]]:
    """Return the columns' values in the first rows; of other things than text and numbers, such as photos, none is read."""
    read = [
        column.field
        for column in columns
        if column.element is not None
        or column.member is not None
        or _is_plain(parquet.schema_arrow.field(column.field).type)
    ]
    for batch in (
        parquet.iter_batches(SAMPLE_ROWS, columns=list(dict.fromkeys(read)), use_threads=False) if read else ()
    ):
        first = pa.Table.from_batches([batch])
        return [column.of(first).to_pylist() if column.field in read else [None] * len(first) for column in columns]
    return [[] for _ in columns]


def _columns_of(parquet: pq.ParquetFile, field: pa.Field) -> list[_Column]:
    """Return the field as a column, or as one column per element where it holds short lists or structs of numbers."""
    kind = field.type
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    if is_list and _is_number(kind.value_type):
        for batch in parquet.iter_batches(1, columns=[field.name], use_threads=False):
            first = batch.column(0)[0].as_py()
            if first is not None and 1 < len(first) <= _LONGEST_LIST:
                return [_Column(f"{field.name}[{place}]", field.name, place, len(first)) for place in range(len(first))]
            break
    if pa.types.is_struct(kind) and 1 < kind.num_fields <= _LONGEST_LIST and all(_is_number(one.type) for one in kind):
        return [_Column(f"{field.name}.{one.name}", field.name, member=place) for place, one in enumerate(kind)]
    return [_Column(field.name, field.name)]


def _values(file: LabelFile, table: pa.Table, found: FoundColumns) -> dict[int, Any]:
    """Return the columns by position: scores and what is kept as numbers or text, the others as text.

    Of several columns that may name the photos, those that hold neither text nor numbers are left out.
    """
    values: dict[int, Any] = {}
    refused: list[LabelError] = []
    for place in found.places:
        name = found.names[place]
        try:
            column = _plain(file, name, _kept(table[name]) if place in found.kept.values() else table[name])
            is_number = place in found.numbers and place not in found.ids and _is_number(column.type)
            values[place] = column if is_number else _text(file, name, column)
        except LabelError as error:
            if place not in found.ids or found.is_joined:
                raise
            refused.append(error)
    if not values.keys() & set(found.ids):
        raise refused[0]
    return values


def _is_plain(kind: Any) -> bool:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return kind in (pa.string(), pa.large_string(), pa.string_view()) or _is_number(kind)


def _is_number(kind: Any) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def _kept(column: Any) -> Any:
    """Return truth values, dates and times as text, as JSON and ISO 8601 write them: they are kept, and no score."""
    kind = column.type
    if pa.types.is_boolean(kind) or pa.types.is_date(kind) or pa.types.is_time(kind) or pa.types.is_timestamp(kind):
        return column.cast(pa.string())
    return column


def _plain(file: LabelFile, name: str, column: Any) -> Any:
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    texts = (pa.string(), pa.large_string(), pa.string_view(), pa.binary(), pa.large_binary(), pa.null())
    if kind not in texts and not _is_number(kind):
        raise file.error(f"has column {name!r} of type {kind}; it must hold text or numbers: store it as one of them")
    return column.cast(kind)


def _text(file: LabelFile, name: str, column: Any) -> Any:
    """Text of any plain column; whole numbers without a fraction or exponent, as they stand in file names."""
    try:
        if pa.types.is_decimal(column.type):
            return pc.replace_substring_regex(column.cast(pa.string()), r"\.0+$", "")
        if not pa.types.is_floating(column.type):
            return column.cast(pa.string())
        if pa.types.is_float16(column.type):
            column = column.cast(pa.float32())  # Arrow can neither round nor compare halves
        whole = pc.and_(pc.equal(pc.floor(column), column), pc.less(pc.abs(column), EXACT_BELOW))
        integers = pc.if_else(whole, column, pa.scalar(None, column.type)).cast(pa.int64())
        return pc.coalesce(integers.cast(pa.string()), column.cast(pa.string()))
    except pa.ArrowInvalid as error:
        raise file.error(f"has column {name!r} of type {column.type} that is not text: {error}; store text") from error


PARQUET: Final = LabelFormat(
    name="parquet",
    title="Parquet rows",
    recognises=lambda file: file.data.startswith(b"PAR1"),
    read=_read,
    blocks=_read_blocks,
    is_text=False,
    has_columns=True,
)
