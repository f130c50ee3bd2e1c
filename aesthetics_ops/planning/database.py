"""Rows on their way into and out of the database where plans are worked out."""

from collections.abc import Iterable
from pathlib import Path
from typing import Final

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

__all__ = ["FEW_ROWS", "ROWS_AT_ONCE", "attach", "gather", "lay_down"]

ROWS_AT_ONCE: Final = 1 << 17
FEW_ROWS: Final = 500_000
"""Of a listing or score file: so many stay in memory, up to 100 MB, which saves a tenth of the time."""


def attach(db: duckdb.DuckDBPyConnection, name: str, rows: pa.Table | Path) -> None:
    """Give rows a name in SQL: a table, a Parquet file, or a folder of such."""
    if isinstance(rows, Path):
        db.read_parquet(str(rows / "*.parquet" if rows.is_dir() else rows)).create_view(name)
    else:
        db.register(name, rows)


def lay_down(rows: pa.Table, path: Path) -> pa.Table | Path:
    """Write rows to a Parquet file and return its path; few rows are returned as they are."""
    if rows.num_rows <= FEW_ROWS:
        return rows
    pq.write_table(rows, path, compression="lz4", use_dictionary=False)
    return path


def gather(tables: Iterable[pa.Table], schema: pa.Schema, scratch: Path | None, name: str = "plan") -> pa.Table:
    """Return the tables as one: in memory, or in a file of that name in scratch that is mapped."""
    if scratch is None:
        return pa.concat_tables([schema.empty_table(), *tables])
    path = scratch / f"{name}.arrow"
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, schema) as writer:
        for table in tables:
            writer.write_table(table.combine_chunks())
    return pa.ipc.open_file(pa.memory_map(str(path))).read_all()
