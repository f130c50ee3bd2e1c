"""A filter is one condition over the table: it chooses rows in their order, reads nothing else, and says why it cannot be used."""

import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aesthetics_ops.errors import SettingsError
from aesthetics_ops.readers.where import matching_rows

ROWS = pa.table(
    {
        "id": ["a", "b'", "c", "d"],
        "label": pa.array([0.1, None, 0.7, 0.9], pa.float32()),
        "width": [640, 480, 640, 100],
        "transforms": [["turned"], [], None, ["turned", "resized"]],
        "split": pa.array(["train", "train", "test", "test"]).dictionary_encode(),
        "_row": [3, 2, 1, 0],
    }
)


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("label > 0.5", [2, 3]),
        ("label > 0.5 AND width >= 640", [2]),
        ("label IS NULL", [1]),
        ("NOT label > 0.5", [0]),
        ("label > 2", []),
        ("true", [0, 1, 2, 3]),
        ("id = 'b'''", [1]),
        ("split = 'test'", [2, 3]),
        ("'turned' IN transforms", [0, 3]),
        ("list_contains(transforms, 'resized')", [3]),
        ("len(transforms) = 0", [1]),
        ("transforms IS NULL", [2]),
        ("label > (SELECT avg(label) FROM records)", [2, 3]),
        ("id IN (SELECT max(id) FROM records GROUP BY split)", [1, 3]),
        ("_row > 1", [0, 1]),
        ("label > 0.5 -- a remark", [2, 3]),
    ],
)
def test_rows_that_a_condition_holds_for_come_in_their_order(where: str, expected: list[int]) -> None:
    found = matching_rows(ROWS, where)
    assert found.dtype == np.int64
    assert found.tolist() == expected


@pytest.mark.parametrize(
    ("where", "reason"),
    [
        ("", "it is empty"),
        (" \n", "it is empty"),
        ("label >", "syntax error"),
        ("size > 3", 'column "size" not found'),
        ("label", "it is a FLOAT, not a condition that is true or false"),
        ("id", "it is a VARCHAR, not a condition"),
        ("NULL", "it is a NULL, not a condition"),
        ("id::INT > 1", "Could not convert string"),
        ("count(*) > 1", "WHERE clause cannot contain aggregates"),
        ("row_number() OVER () = 1", "WHERE clause cannot contain window functions"),
        ("label > 0.5, true", "only a single expression"),
        ("label > 0.5 ORDER BY id", "it holds a modifier"),
        ("label > ?", "Values were not provided"),
        ("\ud800", "it is not text"),
        # what would do more than choose rows
        ("1=1; drop", "syntax error"),
        ("1=1; DROP TABLE records", "more than one statement"),
        ("1=1) UNION SELECT 7 --", "syntax error"),
        ("true) OR (true", "syntax error"),
        ("id IN (SELECT content FROM read_text('/etc/passwd'))", "file system operations are disabled"),
        ("EXISTS (FROM '/etc/passwd')", "does not exist"),
        ("id IN (SELECT id FROM secret)", "Table with name secret does not exist"),
        ("getenv('HOME') = ''", "getenv does not exist"),
    ],
)
def test_what_is_no_condition_is_one_line_with_the_reason_and_the_columns(where: str, reason: str) -> None:
    secret = ROWS  # noqa: F841 - DuckDB would find it by its name
    with pytest.raises(SettingsError) as caught:
        matching_rows(ROWS, where)
    message = str(caught.value)
    assert message.startswith(f"the filter {where!r} cannot be used: ")
    assert reason in message
    assert message.endswith("; the columns are id, label, width, transforms, split, _row")
    assert "\n" not in message


def test_an_empty_table_has_no_matching_rows() -> None:
    assert matching_rows(ROWS.slice(0, 0), "label > 0").tolist() == []


@given(st.lists(st.floats(0, 1, width=32), max_size=300), st.floats(0, 1, width=32))
def test_the_rows_are_those_that_python_finds(labels: list[float], limit: float) -> None:
    table = pa.table({"label": pa.array(labels, pa.float32())})
    expected = [row for row, label in enumerate(labels) if label > limit]
    assert matching_rows(table, f"label > {limit!r}::FLOAT").tolist() == expected


def test_rows_of_many_chunks_are_numbered_through() -> None:
    table = pa.concat_tables([ROWS] * 1000)
    assert matching_rows(table, "width = 480").tolist() == list(range(1, 4000, 4))


def test_duckdb_is_imported_for_a_filter_only() -> None:
    code = "import sys, aesthetics_ops.readers.dataset; print('duckdb' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
