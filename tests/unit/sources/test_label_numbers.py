"""Numbers that may be read in two ways are refused, and none loses digits."""

import io
import json
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aesthetics_ops.settings import BuildSettings
from aesthetics_ops.sources.labels import Labels, combine_labels, read_labels
from tests.support.sheets import DATE, xlsx

PLACES = {"photos": "memory://p/", "labels": "memory://l/x", "dataset": "memory://d/"}
UNCERTAIN = "'1,234' may have its comma between thousands or before a fraction; write it without one"


def read(data: bytes | str, **values: Any) -> Labels:
    content = data.encode() if isinstance(data, str) else data
    return read_labels(content, source="x", settings=BuildSettings(**PLACES, **values))


def parquet(**columns: Any) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue()


def column(labels: Labels, name: str) -> list[Any]:
    found: list[Any] = labels.table[name].to_pylist()
    return found


@pytest.mark.parametrize(
    "data",
    [
        'id,score\na,"1,234"\nb,5\n',
        json.dumps([{"id": "a", "score": "1,234"}, {"id": "b", "score": 5}]),
        xlsx({"S": [["id", "score"], ["a", "1,234"], ["b", 5]]}),
        parquet(id=["a", "b"], score=["1,234", "5"]),
        "id;score\na;1,234\nb;987\nc;5\n",
    ],
    ids=["csv", "json", "xlsx", "parquet", "large"],
)
def test_a_comma_that_may_stand_between_thousands_is_no_score(data: bytes | str) -> None:
    labels = read(data)
    assert column(labels, "problem")[0] == f"score {UNCERTAIN}, or set label_max if it is below 1000"
    assert (column(labels, "score")[0], column(labels, "score")[-1]) == (None, 5.0)


@pytest.mark.parametrize(
    ("data", "values", "is_told"),
    [
        ('id,score\na,"1,234"\nb,5\n', {"label_max": 10}, False),
        ("id;score\na;1,234\nb;5\n", {}, True),
        ("id\tscore\na\t1,234\nb\t5\n", {}, True),
        ('id,score\na,"1,234"\nb,5\nc,"2,5"\n', {}, False),
    ],
    ids=["range", "semicolons", "tabs", "fractions"],
)
def test_a_comma_is_a_decimal_point_where_something_says_so(data: str, values: dict[str, Any], is_told: bool) -> None:
    labels = read(data, **values)
    assert column(labels, "score")[:2] == [1.234, 5.0]
    assert any("'1,234' in 'score', which is read as 1.234" in note for note in labels.notes) == is_told


def test_votes_with_signs_between_thousands_are_refused() -> None:
    labels = read('id,v1,v2\na,"1,234",2\nb,3,4\n', vote_columns="v1..v2")
    assert column(labels, "problem") == [f"vote count {UNCERTAIN}", None]


def test_shares_with_decimal_commas_are_read() -> None:
    labels = read("id;v1;v2\na;0,125;0,875\nb;0,25;0,75\n", vote_columns="v1..v2")
    assert column(labels, "score") == [1.875, 1.75]


def test_extra_scores_with_signs_between_thousands_are_refused() -> None:
    labels = read('id,score,views\na,1,"1,234"\nb,2,7\n', extra_scores="views")
    assert column(labels, "problem") == [f"extra score 'views' {UNCERTAIN}", None]


def test_one_vote_per_row_may_have_a_decimal_comma() -> None:
    labels = read('id,score\na,"1,125"\na,"1,250"\n', one_row_per_vote=True, vote_values="1.125, 1.25")
    assert column(labels, "score") == [1.1875]


@pytest.mark.parametrize(
    "score",
    ["1,234.5", "1.234,5", "1,234,567", "1.234.567", "1 234.5", "1 234,5", "1\u00a0234", "1\u202f234,5", "1'234"],
)
def test_a_score_with_signs_between_thousands_says_so(score: str) -> None:
    labels = read(f'id;score\na;"{score}"\nb;2.5\n')
    assert column(labels, "problem") == [
        f"score '{score}' has signs between thousands; write it without them",
        None,
    ]


# digits


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (parquet(id=["a", "b"], score=[1, 2], k=pa.array([2**63 + 1, 3], pa.uint64())), ["9223372036854775809", "3"]),
        (
            parquet(
                id=["a", "b"], score=[1, 2], k=pa.array(["12345678901234567890.5", "1.0"]).cast(pa.decimal128(30, 1))
            ),
            ["12345678901234567890.5", "1.0"],
        ),
        ("id,score,k\na,1,12345678901234567890\nb,2,3\n", ["12345678901234567890", "3"]),
        ("id,score,k\na,1,9007199254740993\nb,2,1.5\n", ["9007199254740993", "1.5"]),
        ('[{"id":"a","score":1,"k":12345678901234567890},{"id":"b","score":2,"k":3}]', ["12345678901234567890", "3"]),
        ("id,score,k\na,1,9007199254740993\nb,2,3\n", [9007199254740993, 3]),
        (parquet(id=["a", "b"], score=[1, 2], k=pa.array(["1.50", "2.25"]).cast(pa.decimal128(9, 2))), [1.5, 2.25]),
    ],
)
def test_a_kept_column_keeps_all_digits(data: bytes | str, expected: list[Any]) -> None:
    kept = read(data, keep_columns="k").kept
    assert kept["k"].to_pylist() == expected


def test_kept_columns_of_several_files_keep_all_digits() -> None:
    files = {"a": "id,score,k\na,1,9007199254740993\n", "b": "id,score,k\nb,2,1.5\n"}
    found = {name: read(text, keep_columns="k") for name, text in files.items()}
    labels = combine_labels(found, BuildSettings(**PLACES, keep_columns="k"))
    assert labels.kept["k"].to_pylist() == ["9007199254740993", "1.5"]


def test_dates_and_truth_values_of_a_sheet_are_kept_as_other_formats_write_them() -> None:
    labels = read(
        xlsx({"S": [["id", "score", "on", "ok"], ["a", 1, DATE, True], ["b", 2, "x", False]]}), keep_columns="on, ok"
    )
    assert labels.kept.to_pydict() == {"on": ["2020-01-02", "x"], "ok": ["true", "false"]}


@pytest.mark.parametrize("form", ["parquet", "json", "xlsx"])
def test_a_number_that_has_lost_digits_names_no_photo(form: str) -> None:
    number = float(2**53)  # also what 2**53 + 1 became
    match form:
        case "parquet":
            data = parquet(id=[number, 7.0], score=[1, 2])
        case "json":
            data = json.dumps([{"id": number, "score": 1}, {"id": 7.0, "score": 2}]).encode()
        case _:
            data = xlsx({"S": [["id", "score"], [number, 1], [7.0, 2]]})
    first, second = column(read(data), "name")
    assert first != str(2**53)
    assert second == "7"
