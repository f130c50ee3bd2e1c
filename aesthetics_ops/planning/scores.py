"""The rows of the score file on their way through a plan: in memory, or in Parquet files of scratch, with votes as bytes.

In: what the score file says.  Out: a view in SQL, each row with its place, from 0; and the columns that a plan takes of a row.
A photo's shares and counts of votes are 120 bytes in two lists.  They go through the database as one text of bytes, which it
joins, sorts and spills at a fraction of the price of lists, and come out as they went in.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from aesthetics_ops.dataset.tables import PLAN
from aesthetics_ops.planning.database import ROWS_AT_ONCE, attach
from aesthetics_ops.sources.labels import Labels

__all__ = ["SCORES", "Scores"]

SCORES: Final = ("votes_packed", "label_std", "extra_scores")
"""The columns of a row that become columns of the plan, as `Scores.columns` takes them."""

_LISTS: Final = ("distribution", "votes")
_PLAIN: Final = ("row", "name", "by_key", "score", "split", "problem", "excluded")


@dataclass(frozen=True, slots=True)
class Scores:
    """A score file.

    Attributes:
        labels: what it says, but for its rows and their alternatives.
        rows: how many it has.
        packed: how shares and counts of votes stand in `votes_packed`: a structure of numpy with the bits `is_there` and these lists.
        table: _PLAIN and extra_scores, as `Labels.table` has them, `label_std` (float32), and `votes_packed` (bytes, null where a row has no shares); or a Parquet file.
        alternatives: the same, named by another column.
    """

    labels: Labels
    rows: int
    packed: np.dtype
    table: pa.Table | Path
    alternatives: "tuple[Scores, ...]" = ()

    @classmethod
    def of(cls, labels: Labels, scratch: Path | None = None) -> "Scores":
        """Take the rows of a score file, so that nothing of them needs to stay in memory.

        Args:
            labels: what the file says.
            scratch: a folder, where the rows become files `scores-<number>.parquet`; None keeps them in memory.

        Raises:
            OSError: the disk is full.
        """
        first, *others = (
            cls._of(choice, None if scratch is None else scratch / f"scores-{number}.parquet")
            for number, choice in enumerate((labels, *labels.alternatives))
        )
        return replace(first, alternatives=tuple(others))

    @classmethod
    def _of(cls, labels: Labels, path: Path | None) -> "Scores":
        table, packed = labels.table, _packed_as(labels)
        parts = (_packed(table.slice(at, ROWS_AT_ONCE), packed) for at in range(0, table.num_rows, ROWS_AT_ONCE))
        bare = replace(labels, table=None, alternatives=())
        if path is None:
            return cls(bare, table.num_rows, packed, pa.concat_tables(parts))
        with pq.ParquetWriter(path, _schema(table.schema), compression="lz4", use_dictionary=False) as writer:
            for part in parts:
                writer.write_table(part)
        return cls(bare, table.num_rows, packed, path)

    @property
    def has_more(self) -> bool:
        """Whether rows have anything of SCORES."""
        return self.labels.has_distribution or self.labels.has_votes or bool(self.labels.extra_scores)

    def attach(self, db: duckdb.DuckDBPyConnection, name: str) -> None:
        """Give the rows a name in SQL; `place` is the number of a row from 0."""
        if isinstance(self.table, Path):
            rows = db.sql(
                "SELECT * EXCLUDE file_row_number, file_row_number AS place FROM read_parquet($path, file_row_number = true)",
                params={"path": str(self.table)},
            )
            rows.create_view(name)
        else:
            attach(db, name, self.table.append_column("place", pa.array(np.arange(self.rows))))

    def columns(self, rows: pa.Table) -> dict[str, pa.Array]:
        """Return the plan's columns distribution, votes, label_std and extra_scores of rows with the columns SCORES."""
        found = dict(self._lists(rows)) if self.labels.has_distribution or self.labels.has_votes else {}
        if self.labels.has_distribution:
            found["label_std"] = _one(rows["label_std"])
        if self.labels.extra_scores:
            found["extra_scores"] = _one(rows["extra_scores"]).cast(_kind("extra_scores"), safe=False)
        columns = (*_LISTS, "label_std", "extra_scores")
        return {name: found[name] if name in found else pa.nulls(rows.num_rows, _kind(name)) for name in columns}

    def _lists(self, rows: pa.Table) -> Iterator[tuple[str, pa.Array]]:
        packed = _one(rows["votes_packed"])
        is_row = np.asarray(packed.is_valid())
        values = np.zeros(len(packed), self.packed)
        values[is_row] = np.frombuffer(_bytes_of(packed.drop_null()), self.packed)
        for bit, name in enumerate(_LISTS):
            if name not in (self.packed.names or ()):
                continue
            is_there = values["is_there"] >> bit & 1 == 1
            numbers = values[name][is_there]
            offsets = np.r_[0, np.cumsum(is_there * values[name].shape[1])].astype(np.int32)
            kind = _kind(name)
            inner = pa.array(numbers.ravel().astype(kind.value_type.to_pandas_dtype()))
            yield name, pa.ListArray.from_arrays(offsets, inner, type=kind, mask=pa.array(~is_there))


def _kind(column: str) -> Any:
    return PLAN.schema.field(column).type


def _one(column: pa.ChunkedArray) -> Any:
    """Return a column as one array."""
    array = column.combine_chunks()
    return pa.concat_arrays(array.chunks) if isinstance(array, pa.ChunkedArray) else array


def _bytes_of(texts: pa.BinaryArray) -> memoryview:
    """Return texts without a null one after the other."""
    _, offsets, data = texts.buffers()
    ends = np.frombuffer(offsets, np.int32)[texts.offset : texts.offset + len(texts) + 1]
    return memoryview(data)[ends[0] : ends[-1]] if len(texts) else memoryview(b"")


def _packed_as(labels: Labels) -> np.dtype:
    """Return how shares and counts of votes become bytes: counts in as few as the largest one needs."""
    fields: list[Any] = [("is_there", np.uint8)]
    for name, is_there in zip(_LISTS, (labels.has_distribution, labels.has_votes), strict=True):
        if not is_there:
            continue
        column = labels.table[name]
        number = np.dtype(np.float32)
        if name == "votes":
            largest = max((pc.max(chunk.values).as_py() or 0 for chunk in column.chunks), default=0)
            number = np.min_scalar_type(largest)
        fields.append((name, number, (column.type.list_size,)))
    return np.dtype(fields)


def _schema(found: pa.Schema) -> pa.Schema:
    more = [("extra_scores", pa.list_(pa.float64())), ("label_std", pa.float32()), ("votes_packed", pa.binary())]
    return pa.schema([*(found.field(name) for name in _PLAIN), *more])


def _packed(rows: pa.Table, packed: np.dtype) -> pa.Table:
    """Return rows of `Labels.table` with their votes as bytes."""
    values = np.zeros(rows.num_rows, packed)
    for bit, name in enumerate(_LISTS):
        if name in (packed.names or ()):
            column = _one(rows[name])
            width = column.type.list_size
            numbers = column.values.slice(column.offset * width, len(column) * width).fill_null(0)
            values[name] = np.asarray(numbers).reshape(-1, width)
            values["is_there"] |= np.asarray(column.is_valid()).astype(np.uint8) << bit
    if len(packed.names or ()) > 1:
        offsets = pa.array(np.arange(rows.num_rows + 1, dtype=np.int32) * packed.itemsize)
        is_row = pa.array(values["is_there"] > 0)
        buffers = [is_row.buffers()[1], offsets.buffers()[1], pa.py_buffer(values)]
        texts = pa.BinaryArray.from_buffers(pa.binary(), rows.num_rows, buffers)
    else:
        texts = pa.nulls(rows.num_rows, pa.binary())
    schema = _schema(rows.schema)
    more = [rows[name].cast(schema.field(name).type, safe=False) for name in ("extra_scores", "label_std")]
    return pa.Table.from_arrays([*(rows[name] for name in _PLAIN), *more, pa.chunked_array([texts])], schema=schema)
