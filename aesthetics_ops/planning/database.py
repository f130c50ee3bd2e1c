"""Rows on their way into and out of the database where plans are worked out."""

from collections.abc import Iterable
from pathlib import Path
from typing import Final

import duckdb
import pyarrow as pa

__all__ = ["ROWS_AT_ONCE", "attach", "gather"]

ROWS_AT_ONCE: Final = 1 << 17


def attach(db: duckdb.DuckDBPyConnection, name: str, rows: pa.Table | Path) -> None:
    """Give rows a name in SQL: a table, a Parquet file, or a folder of such."""
    if isinstance(rows, Path):
        db.read_parquet(str(rows / "*.parquet" if rows.is_dir() else rows)).create_view(name)
    else:
        db.register(name, rows)


def gather(tables: Iterable[pa.Table], schema: pa.Schema, scratch: Path | None, name: str = "plan") -> pa.Table:
    """Return the tables as one: in memory, or in a file of that name in scratch that is mapped."""
    if scratch is None:
        return pa.concat_tables([schema.empty_table(), *tables])
    path = scratch / f"{name}.arrow"
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, schema) as writer:
        for table in tables:
            writer.write_table(table.combine_chunks())
    return pa.ipc.open_file(pa.memory_map(str(path))).read_all()
