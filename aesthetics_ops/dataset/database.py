"""A database in scratch, for questions about tables that do not fit in memory."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import duckdb
import pyarrow as pa

__all__ = ["connect", "open_database"]

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


def connect(file: str | Path = ":memory:", **config: str | bool | float | list[str]) -> duckdb.DuckDBPyConnection:
    """Open a database that prints nothing: by itself DuckDB draws a bar on stdout when a query takes two seconds.

    Args:
        file: of the database; by default it is in memory.
        config: DuckDB's settings.
    """
    db = duckdb.connect(file, config=config)
    db.execute("SET enable_progress_bar_print = false")
    return db


@contextmanager
def open_database(
    scratch: Path | None, *, memory_limit: str = _MEMORY_LIMIT, threads: int | None = None
) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open a database in scratch, where tables are compressed and need not stay in memory; or one in memory.

    Args:
        scratch: a folder for its file `rows.duckdb`; None for one in memory, which has no limit.
        memory_limit: what the one in scratch holds in memory at most, as DuckDB writes it.
        threads: how many work; None for one a core.

    Raises:
        OSError: the disk is full, too many files are open, or whatever else the system says no to; names the folder.
        MemoryError: there is too little.
    """
    limits: dict[str, str | bool | float | list[str]] = {"preserve_insertion_order": scratch is None}
    if scratch is not None:
        limits |= {"memory_limit": memory_limit, "temp_directory": str(scratch / "spill")}
    if threads is not None:
        limits["threads"] = threads
    try:
        with connect(":memory:" if scratch is None else scratch / "rows.duckdb", **limits) as db:
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
