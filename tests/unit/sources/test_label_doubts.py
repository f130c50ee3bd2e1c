"""Scores that look like something else are warned of, and read all the same."""

import io
import json
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aesthetics_ops.settings import BuildSettings
from aesthetics_ops.sources.labels import Labels, read_labels
from tests.support.sheets import xlsx

NAMES = ["id", "bad", "fair", "good", "total"]
COUNTS: list[list[Any]] = [[f"p{row}", row, 20 - 2 * row, row, 20] for row in range(1, 9)]


def read(data: bytes, **values: Any) -> Labels:
    urls = {"photos": "s3://bucket/photos/", "labels": "s3://bucket/x", "dataset": "s3://bucket/dataset/"}
    return read_labels(data, source="x", settings=BuildSettings(**urls, **values))


def csv_of(names: list[str], rows: list[list[Any]]) -> bytes:
    return "\n".join(",".join(map(str, row)) for row in [names, *rows]).encode()


def parquet_of(names: list[str], rows: list[list[Any]]) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table(dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))), file)
    return file.getvalue()


FORMS = {
    "csv": csv_of,
    "parquet": parquet_of,
    "jsonl": lambda names, rows: "\n".join(json.dumps(dict(zip(names, row, strict=True))) for row in rows).encode(),
    "xlsx": lambda names, rows: xlsx({"Sheet1": [names, *rows]}),
}


@pytest.mark.parametrize("form", FORMS)
def test_columns_that_add_up_to_one_number_look_like_counts(form: str) -> None:
    labels = read(FORMS[form](NAMES, COUNTS), score_column="good")
    (note,) = labels.notes
    assert note == (
        "label file 'x' has whole numbers in 'good', and with those of the columns beside it they add up to about 20 in each row: it looks "
        "like a count of votes, not a score; set vote_columns to bad, fair, good if it is"
    )
    assert labels.table["score"].to_pylist() == [float(row[3]) for row in COUNTS]
    assert read(FORMS[form](NAMES, COUNTS), vote_columns="bad, fair, good").notes == ()


def test_a_total_that_varies_a_little_is_no_count_of_its_own() -> None:
    rows = [[name, bad, fair, good + row % 2, 20 + row % 2] for row, (name, bad, fair, good, _) in enumerate(COUNTS)]
    (note,) = read(csv_of(NAMES, rows), score_column="bad").notes
    assert "set vote_columns to bad, fair, good if" in note


def test_the_name_says_it_alone_and_only_once() -> None:
    (note,) = read(csv_of(["id", "r1", "r2", "r3", "n"], COUNTS), score_column="r2").notes
    assert note.endswith("set vote_columns to r1..r3 if it is")
    assert "add up" not in note


RATINGS: list[list[Any]] = [[f"p{row}", 1 + row % 5, 1 + row * row % 5, 1 + row * 3 % 5, 7] for row in range(8)]
NOT_COUNTS = {
    "ratings whose sums differ": (RATINGS, {}),
    "a fraction": ([*COUNTS[:-1], ["p9", 8, 4, 8.5, 20]], {}),
    "a negative one": ([*COUNTS[:-1], ["p9", 30, -10, -1, 20]], {}),
    "few rows": (COUNTS[:4], {}),
    "the same in every row": ([[row[0], row[1], row[2], 3, 20] for row in COUNTS], {}),
    "beside a split": (COUNTS, {"split_column": "fair"}),
    "a blank": ([*COUNTS[:-1], ["p9", 8, 4, "", 20]], {}),
    "a number beyond floats": ([*COUNTS[:-1], ["p9", 8, 4, "9" * 400, 20]], {}),
}


@pytest.mark.parametrize("case", NOT_COUNTS)
def test_what_does_not_look_like_counts_is_not_warned_of(case: str) -> None:
    rows, values = NOT_COUNTS[case]
    if "split_column" in values:
        rows = [[name, bad, ("train", "test")[bad % 2], good, total] for name, bad, _, good, total in rows]
    assert read(csv_of(NAMES, rows), score_column="good", **values).notes == ()


def test_two_columns_are_a_score_and_its_complement() -> None:
    assert (
        read(csv_of(["id", "likes", "dislikes"], [[f"p{n}", n, 20 - n] for n in range(9)]), score_column="likes").notes
        == ()
    )


def test_wide_files_are_looked_at_around_the_score_only() -> None:
    names = ["id", "score", *(f"x_{n}_y" for n in range(500))]
    rows = [[f"p{n}", n, *(n * place % 7 for place in range(500))] for n in range(6)]
    labels = read(csv_of(names, rows))
    assert (labels.notes, labels.table.num_rows) == ((), 6)
