"""Where plans are worked out: a database in scratch, and the table that comes out of it."""

import errno
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import duckdb
import pyarrow as pa

__all__ = ["ROWS_AT_ONCE", "attach", "gather", "open_database"]

ROWS_AT_ONCE: Final = 1 << 17
_ERRNOS: Final = (
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EMFILE,
    errno.ENFILE,
    errno.EIO,
    errno.EROFS,
    errno.EACCES,
)
_MEMORY_LIMIT: Final = "2GiB"  # of DuckDB's own; what is more goes to scratch


@contextmanager
def open_database(scratch: Path | None) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open a database in scratch, where tables are compressed and need not stay in memory; or one in memory.

    Raises:
        OSError: the disk is full, too many files are open, or whatever else the system says no to; names the folder.
        MemoryError: there is too little.
    """
    limits: dict[str, str | bool | int | float | list[str]] = {"preserve_insertion_order": scratch is None}
    if scratch is not None:
        limits |= {"memory_limit": _MEMORY_LIMIT, "temp_directory": str(scratch / "spill")}
    try:
        with duckdb.connect(":memory:" if scratch is None else scratch / "plan.duckdb", config=limits) as db:
            yield db
    except (duckdb.Error, pa.ArrowException) as error:
        raise _of_the_system(error, scratch) or error from error


def _of_the_system(error: Exception, scratch: Path | None) -> Exception | None:
    """Return what an error of DuckDB or Arrow says of the machine; None where it says nothing of it.

    Both tell the errno in their text only.
    """
    text = str(error)
    number = next((number for number in _ERRNOS if os.strerror(number) in text), None)
    if number is not None:
        return OSError(number, os.strerror(number), str(scratch))
    if "max_temp_directory_size" in text:  # what DuckDB says of a disk that was full when it looked
        return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(scratch))
    is_memory = isinstance(error, duckdb.OutOfMemoryException | pa.ArrowMemoryError)
    return MemoryError(text) if is_memory or "Allocation failure" in text else None


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
