"""Tables are counted and read without more than is asked for, and a damaged one is named."""

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from aesthetics_ops.dataset.tables import iterate_rows, read_parquet, write_parquet
from aesthetics_ops.errors import IntegrityError
from aesthetics_ops.store import Store, open_store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(tmp_path.as_uri())


def cut(data: bytes) -> bytes:
    return data[:-2]


def emptied(data: bytes) -> bytes:
    return b""


def of_another_kind(data: bytes) -> bytes:
    return b"{}"


def with_a_long_footer(data: bytes) -> bytes:
    return data[:-8] + (1 << 30).to_bytes(4, "little") + data[-4:]


def with_a_wrong_footer(data: bytes) -> bytes:
    length = int.from_bytes(data[-8:-4], "little")
    return data[: -8 - length] + b"\xff" * length + data[-8:]


@pytest.mark.parametrize("damaged", [cut, emptied, of_another_kind, with_a_long_footer, with_a_wrong_footer])
def test_a_damaged_table_is_named(store: Store, tmp_path: Path, damaged: Callable[[bytes], bytes]) -> None:
    store.put("t.parquet", damaged(write_parquet(pa.table({"id": ["a"]}))))
    for ask in (
        lambda: read_parquet(store, "t.parquet"),
        lambda: list(iterate_rows(tmp_path / "t.parquet", ["id"], name=store.url_of("t.parquet"))),
    ):
        with pytest.raises(IntegrityError, match=r"t\.parquet is not a whole Parquet file"):
            ask()


def test_a_column_that_is_not_there_is_named(store: Store, tmp_path: Path) -> None:
    store.put("t.parquet", write_parquet(pa.table({"id": ["a"]})))
    for ask in (
        lambda: read_parquet(store, "t.parquet", ["id", "key"]),
        lambda: list(iterate_rows(tmp_path / "t.parquet", ["id", "key"], name="t.parquet")),
    ):
        with pytest.raises(IntegrityError, match=r"t\.parquet has no column key"):
            ask()


def test_some_columns_are_read_in_some_rows_at_a_time(store: Store, tmp_path: Path) -> None:
    table = pa.table({"id": [str(number) for number in range(100_000)], "size": range(100_000)})
    store.put("t.parquet", write_parquet(table))
    batches = list(iterate_rows(tmp_path / "t.parquet", ["id"], name="t.parquet"))
    assert len(batches) > 1
    assert pa.Table.from_batches(batches) == table.select(["id"])
