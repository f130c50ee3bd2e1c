"""What DuckDB says of the machine is said as the system says it: no user reads of its files, or of a mistake in this program."""

import errno
import os
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from aesthetics_ops.dataset.database import connect, open_database
from tests.support.paths import ROOT


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EMFILE, errno.EIO])
@pytest.mark.parametrize(
    "kind", [duckdb.IOException, duckdb.TransactionException, duckdb.FatalException, pa.ArrowException]
)
def test_an_error_of_the_system_is_one(tmp_path: Path, kind: type[Exception], number: int) -> None:
    with pytest.raises(OSError, match=os.strerror(number)) as caught, open_database(tmp_path):
        raise kind(f'IO Error: Could not write file "{tmp_path}/rows.duckdb": {os.strerror(number)}')
    assert (caught.value.errno, caught.value.filename) == (number, str(tmp_path))


def test_a_disk_that_was_full_when_it_was_looked_at_is_full(tmp_path: Path) -> None:
    said = "could not allocate block of size 256.0 KiB; max_temp_directory_size"
    with pytest.raises(OSError, match="No space left") as caught, open_database(tmp_path):
        raise duckdb.OutOfMemoryException(said)
    assert caught.value.errno == errno.ENOSPC


@pytest.mark.parametrize("error", [duckdb.OutOfMemoryException("Allocation failure"), pa.ArrowMemoryError("malloc")])
def test_too_little_memory_is_that(tmp_path: Path, error: Exception) -> None:
    with pytest.raises(MemoryError), open_database(tmp_path):
        raise error


def test_a_mistake_in_a_query_stays_one(tmp_path: Path) -> None:
    with pytest.raises(duckdb.CatalogException), open_database(tmp_path) as db:
        db.sql("SELECT * FROM nowhere")


def test_no_query_draws_a_bar_on_stdout(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """DuckDB draws one when a query takes two seconds, between the lines of a program that prints JSON."""
    with open_database(tmp_path) as one, open_database(None) as two, connect(threads=1) as three:
        for db in (one, two, three):
            db.sql("SET progress_bar_time = 0")
            assert db.sql("SELECT sum(hash(range)) > 0 FROM range(20_000_000)").fetchall() == [(True,)]
    assert capfd.readouterr().out == ""


def test_every_database_is_opened_in_one_place() -> None:
    files = (ROOT / "aesthetics_ops").rglob("*.py")
    opening = {file.name for file in files if "duckdb.connect(" in file.read_text(encoding="utf-8")}
    assert opening == {"database.py"}
