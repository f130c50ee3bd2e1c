"""The rows of the score file on their way through a plan: in memory, or in Parquet files of scratch, with votes as bytes.

In: what the score file says.  Out: a view in SQL, each row with its place, from 0; and the columns that a plan takes of a row.
A photo's shares and counts of votes are 120 bytes in two lists.  They go through the database as one text of bytes, which it
joins, sorts and spills at a fraction of the price of lists, and come out as they went in.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from aesthetics_ops.dataset.tables import PLAN
from aesthetics_ops.planning.database import FEW_ROWS, ROWS_AT_ONCE, attach
from aesthetics_ops.sources.labels import Labels

__all__ = ["Scores"]

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
        parts = _parts(table, packed)
        bare = replace(labels, table=None, alternatives=())
        if path is None:
            return cls(bare, table.num_rows, packed, pa.concat_tables(parts))
        with _writer(path, _schema(table.schema)) as writer:
            for part in parts:
                writer.write_table(part)
        return cls(bare, table.num_rows, packed, path)

    @classmethod
    def read(
        cls, read: Callable[[Callable[[Iterator[Labels]], None]], tuple[Labels, str]], scratch: Path
    ) -> "tuple[Scores, str]":
        """Take the rows of score files while they are read: of a large one block by block, straight into scratch.

        Args:
            read: reads, and gives the blocks to what it gets, as `read_score_files` does.
            scratch: a folder for files `scores-<number>.parquet`; few rows stay in memory.

        Returns:
            The rows, and the ETag that `read` returned.

        Raises:
            OSError: the disk is full.
        """
        spilled: list[tuple[int, np.dtype]] = []
        path = scratch / "scores-0.parquet"
        labels, etag = read(lambda blocks: spilled.append(_spill(blocks, path)))
        if labels.table is None:
            return cls(labels, *spilled[0], path), etag
        return cls.of(labels, scratch if labels.table.num_rows > FEW_ROWS else None), etag

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


def _spill(blocks: Iterator[Labels], path: Path) -> tuple[int, np.dtype]:
    """Write the rows of blocks to a Parquet file; return how many they are, and how their votes became bytes.

    Counts take as many bytes as the largest one so far needs.  Where a later block needs more, what is there is written anew.
    """
    rows, packed = 0, np.dtype([("is_there", np.uint8)])
    writer: pq.ParquetWriter | None = None
    try:
        for block in blocks:
            wider = _wider(packed, _packed_as(block))
            if writer is not None and wider != packed:
                writer.close()
                writer = _written_anew(path, packed, wider)
            writer = writer or _writer(path, _schema(block.table.schema))
            packed = wider
            for part in _parts(block.table, packed):
                writer.write_table(part)
            rows += block.table.num_rows
    finally:
        if writer is not None:
            writer.close()
    return rows, packed


def _writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    return pq.ParquetWriter(path, schema, compression="lz4", use_dictionary=False)


def _wider(one: np.dtype, other: np.dtype) -> np.dtype:
    """Return a structure with the lists of the second one, and numbers that hold those of both."""
    fields: list[Any] = []
    for name in other.names or ():
        number, shape = other[name].base, other[name].shape
        fields.append((name, np.promote_types(number, one[name].base) if name in (one.names or ()) else number, shape))
    return np.dtype(fields)


def _written_anew(path: Path, packed: np.dtype, wider: np.dtype) -> pq.ParquetWriter:
    """Write a file of rows again with larger numbers in its votes; return what writes to it further."""
    before = path.rename(path.with_suffix(".narrow"))
    with pq.ParquetFile(before) as file:
        writer = _writer(path, file.schema_arrow)
        for batch in file.iter_batches(ROWS_AT_ONCE, use_threads=False):
            texts = batch["votes_packed"]
            values = np.zeros(len(texts), wider)
            is_row = np.asarray(texts.is_valid())
            narrow = np.frombuffer(_bytes_of(texts.drop_null()), packed)
            for name in packed.names or ():
                values[name][is_row] = narrow[name]
            place = batch.schema.get_field_index("votes_packed")
            writer.write_batch(batch.set_column(place, "votes_packed", _texts(values)))
    before.unlink()
    return writer


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


def _texts(values: np.ndarray) -> pa.BinaryArray:
    """Return structures as texts of bytes, null where nothing is there."""
    offsets = pa.array(np.arange(len(values) + 1, dtype=np.int32) * values.dtype.itemsize)
    is_row = pa.array(values["is_there"] > 0)
    buffers = [is_row.buffers()[1], offsets.buffers()[1], pa.py_buffer(values)]
    return pa.BinaryArray.from_buffers(pa.binary(), len(values), buffers)


def _parts(table: pa.Table, packed: np.dtype) -> Iterator[pa.Table]:
    """Yield the rows of `Labels.table` with their votes as bytes, some at a time."""
    return (_packed(table.slice(at, ROWS_AT_ONCE), packed) for at in range(0, table.num_rows, ROWS_AT_ONCE))


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
    texts = _texts(values) if len(packed.names or ()) > 1 else pa.nulls(rows.num_rows, pa.binary())
    schema = _schema(rows.schema)
    more = [rows[name].cast(schema.field(name).type, safe=False) for name in ("extra_scores", "label_std")]
    return pa.Table.from_arrays([*(rows[name] for name in _PLAIN), *more, pa.chunked_array([texts])], schema=schema)
