"""Tables in files of scratch: the same rows, the same bytes, however many came at a time."""

import itertools
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aesthetics_ops.dataset.spilled import ROWS_OF_CHUNK, spill, spill_parquet, take_rows
from aesthetics_ops.dataset.tables import ROWS_OF_GROUP, write_rows
from aesthetics_ops.errors import IntegrityError


def numbered(rows: int) -> pa.Table:
    numbers = np.arange(rows)
    texts = pa.array(numbers % 1000).cast(pa.string())
    lists = pa.ListArray.from_arrays(pa.array(np.arange(rows + 1, dtype=np.int32)), texts)
    kinds = pa.DictionaryArray.from_arrays(pa.array(numbers % 3, pa.int8()), ["a", "b", "c"])
    return pa.table({"number": numbers, "text": texts, "list": lists, "kind": kinds})


def in_pieces(table: pa.Table, *sizes: int) -> list[pa.Table]:
    pieces: list[pa.Table] = []
    first = 0
    for size in itertools.cycle(sizes):
        if first >= table.num_rows:
            return pieces
        pieces.append(table.slice(first, size))
        first += size
    return pieces


@pytest.mark.parametrize("sizes", [(ROWS_OF_CHUNK,), (65_536, 1), (400_000,)])
@pytest.mark.parametrize("rows", [0, 1, ROWS_OF_GROUP, 5 * ROWS_OF_GROUP + 17])
def test_the_bytes_of_a_parquet_file_depend_on_the_rows_alone(
    tmp_path: Path, rows: int, sizes: tuple[int, ...]
) -> None:
    """They are those of a table that DuckDB gave in one go, which is how versions were written before."""
    table = numbered(rows)
    as_before = pa.concat_tables([table.slice(0, 0), *in_pieces(table, ROWS_OF_CHUNK)]).unify_dictionaries()
    write_rows(as_before, tmp_path / "expected")
    spilled = spill(in_pieces(table, *sizes), table.schema, tmp_path / "rows.arrow")
    spilled.write_parquet(tmp_path / "found")
    assert spilled.table.equals(table)
    assert (tmp_path / "found").read_bytes() == (tmp_path / "expected").read_bytes()


def test_columns_can_be_read_once_in_any_order(tmp_path: Path) -> None:
    table = numbered(ROWS_OF_CHUNK + 5)
    spilled = spill([table], table.schema, tmp_path / "rows.arrow")
    assert spilled.read_once(["kind", "number"]).read_all().equals(table.select(["kind", "number"]))


def test_a_parquet_file_is_spilled_with_the_columns_that_are_asked_for(tmp_path: Path) -> None:
    table = numbered(70_000)
    pq.write_table(table, tmp_path / "rows.parquet")
    spilled = spill_parquet(
        tmp_path / "rows.parquet", tmp_path / "rows.arrow", ["text", "number"], if_there=["kind", "no"], name="rows"
    )
    assert spilled.table.equals(table.select(["text", "number", "kind"]))
    pq.write_table(table.slice(0, 0), tmp_path / "none.parquet")
    none = spill_parquet(tmp_path / "none.parquet", tmp_path / "none.arrow", name="none").table
    assert none.equals(table.slice(0, 0))


def test_a_parquet_file_without_a_column_is_named(tmp_path: Path) -> None:
    pq.write_table(numbered(1), tmp_path / "rows.parquet")
    with pytest.raises(IntegrityError, match=r"^the rows has no column key$"):
        spill_parquet(tmp_path / "rows.parquet", tmp_path / "rows.arrow", ["key"], name="the rows")
    (tmp_path / "cut.parquet").write_bytes(b"PAR1")
    with pytest.raises(IntegrityError, match=r"^the rows is not a whole Parquet file"):
        spill_parquet(tmp_path / "cut.parquet", tmp_path / "rows.arrow", name="the rows")


@pytest.mark.parametrize("rows", [[], [0], [299, 0, 150, 150, 7, 299], list(range(300))[::-1], list(range(100, 200))])
@pytest.mark.parametrize("sizes", [(300,), (100,), (1, 7)])
def test_rows_are_taken_in_their_order_from_whatever_chunks(rows: list[int], sizes: tuple[int, ...]) -> None:
    table = numbered(300)
    found = take_rows(pa.concat_tables(in_pieces(table, *sizes)), np.array(rows, np.int64))
    assert found.schema == table.schema
    assert found.to_pylist() == table.take(rows if rows else pa.array([], pa.int64())).to_pylist()
