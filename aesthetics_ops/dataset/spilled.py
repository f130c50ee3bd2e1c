"""Tables in files of a scratch folder, which are mapped: a reader holds in memory what it looks at.

In: rows, some at a time.  Out: a table like any other.  Equal rows give equal chunks, whatever came at a time: the pages of a
Parquet file are cut where a chunk ends, so chunks decide about its bytes.
"""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from aesthetics_ops.dataset.tables import ROWS_OF_GROUP, iterate_rows, readable

__all__ = ["ROWS_OF_CHUNK", "Spilled", "spill", "spill_parquet", "take_rows"]

ROWS_OF_CHUNK: Final = 122_880
"""What DuckDB gives at a time of an ordered result; versions of earlier releases were written of such chunks."""

_GROUPS_OF_MAPPING: Final = 4


@dataclass(frozen=True, slots=True)
class Spilled:
    """A table in a file of this machine.

    Attributes:
        path: of the Arrow IPC file.
    """

    path: Path

    @property
    def table(self) -> pa.Table:
        """The rows, mapped anew: memory that an earlier mapping took goes back with it."""
        return pa.ipc.open_file(pa.memory_map(str(self.path))).read_all()

    def read_once(self, columns: Sequence[str]) -> pa.RecordBatchReader:
        """Return some columns of the rows for one pass: what was passed is not held, and nothing is mapped."""
        schema = pa.ipc.open_file(pa.OSFile(str(self.path))).schema
        fields = [schema.get_field_index(column) for column in columns]
        file = pa.ipc.open_file(pa.OSFile(str(self.path)), options=pa.ipc.IpcReadOptions(included_fields=fields))
        batches = (file.get_batch(number).select(columns) for number in range(file.num_record_batches))
        return pa.RecordBatchReader.from_batches(pa.schema([schema.field(column) for column in columns]), batches)

    def write_parquet(self, path: Path) -> None:
        """Write the rows to a Parquet file, with the bytes that `write_rows` writes; memory does not grow with them."""
        rows = self.table
        if rows.num_rows <= ROWS_OF_GROUP:
            pq.write_table(rows, path, compression="zstd", row_group_size=ROWS_OF_GROUP)
            return
        step = ROWS_OF_GROUP * _GROUPS_OF_MAPPING
        with pq.ParquetWriter(path, rows.schema, compression="zstd") as writer:
            for first in range(0, rows.num_rows, step):
                rows = self.table
                writer.write_table(rows.slice(first, step), row_group_size=ROWS_OF_GROUP)


def spill(tables: Iterable[pa.Table], schema: pa.Schema, path: Path) -> Spilled:
    """Write rows to a file.

    Args:
        tables: rows of the schema, any number at a time.
        schema: of them.
        path: of the file.

    Raises:
        OSError: the disk is full.
    """
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, schema) as writer:
        for chunk in _chunks(tables, schema):
            writer.write_table(chunk.combine_chunks())
    return Spilled(path)


def take_rows(table: pa.Table, rows: np.ndarray) -> pa.Table:
    """Return some rows of a table, in their order; of a mapped one nothing else is read.

    Arrow's own `take` puts the chunks of a column of texts or lists together first, which is all of it in memory.

    Args:
        table: of any number of chunks.
        rows: numbers of rows, int64, shape (n,).
    """
    order = np.argsort(rows, kind="stable")
    wanted, first, found = rows[order], 0, []
    for batch in table.to_batches():
        begin, end = np.searchsorted(wanted, (first, first + batch.num_rows))
        if begin < end:
            found.append(batch.take(pa.array(wanted[begin:end] - first)))
        first += batch.num_rows
    back = np.empty(len(rows), np.int64)
    back[order] = np.arange(len(rows))
    return pa.Table.from_batches(found, table.schema).combine_chunks().take(pa.array(back))


def _chunks(tables: Iterable[pa.Table], schema: pa.Schema) -> Iterator[pa.Table]:
    held = schema.empty_table()
    for table in tables:
        held = pa.concat_tables([held, table])
        while held.num_rows >= ROWS_OF_CHUNK:
            yield held.slice(0, ROWS_OF_CHUNK)
            held = held.slice(ROWS_OF_CHUNK)
    if held.num_rows:
        yield held


def spill_parquet(
    path: Path, target: Path, columns: Sequence[str] | None = None, *, if_there: Sequence[str] = (), name: str
) -> Spilled:
    """Write the rows of a Parquet file to a file that can be mapped; some rows are in memory at a time.

    Args:
        path: of the Parquet file.
        target: of the file to write.
        columns: to take; None takes all.
        if_there: columns to take beside these, where the file has them.
        name: of the table, for the message.

    Raises:
        IntegrityError: not a whole Parquet file, or without these columns.
        OSError: the disk is full.
    """
    with readable(name):
        schema = pq.read_schema(path)
    wanted = schema.names
    if columns is not None:
        wanted = [*columns, *(column for column in if_there if column in schema.names and column not in columns)]
    batches = iterate_rows(path, wanted, name=name)
    first = next(batches, None)
    if first is None:
        return spill([], pa.schema([schema.field(column) for column in wanted]), target)
    tables = (pa.Table.from_batches([batch]).select(wanted) for batch in itertools.chain([first], batches))
    return spill(tables, pa.schema([first.schema.field(column) for column in wanted]), target)
