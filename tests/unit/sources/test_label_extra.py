"""Scores beside the score, and columns that are kept: read from every format, with what is wrong named."""

from typing import Any

import pyarrow as pa
import pytest

from aesthetics_ops.errors import LabelError, SettingsError
from aesthetics_ops.settings import BuildSettings
from aesthetics_ops.sources.labels import check_label_settings, combine_labels
from tests.support.labels import PLACES, URL, parquet, read

FILES = {
    "csv": b"id,score,Quality,year,who\na,1,0.5,2010,ann\nb,2,7,2011,\n",
    "semicolons": b"id;score;Quality;year;who\na;1;0,5;2010;ann\nb;2;7;2011;\n",
    "jsonl": b'{"id":"a","score":1,"Quality":0.5,"year":2010,"who":"ann"}\n{"id":"b","score":2,"Quality":7,"year":2011}\n',
    "json": b'[{"id":"a","score":1,"Quality":0.5,"year":2010,"who":"ann"},{"id":"b","score":2,"Quality":"7","year":2011}]',
    "parquet": parquet(id=["a", "b"], score=[1, 2], Quality=[0.5, 7], year=[2010, 2011], who=["ann", None]),
}


@pytest.mark.parametrize("data", FILES.values(), ids=FILES)
def test_every_format_gives_the_same_extra_scores_and_kept_columns(data: bytes) -> None:
    labels = read(data, extra_scores=["quality"], keep_columns=["year", "who"])
    assert labels.extra_scores == ("quality",)
    assert labels.table["extra_scores"].to_pylist() == [[0.5], [7.0]]
    assert labels.kept.to_pydict() == {"year": [2010, 2011], "who": ["ann", None]}
    assert labels.kept.schema.types == [pa.int64(), pa.string()]
    assert not labels.has_distribution


@pytest.mark.parametrize(
    ("found", "problem"),
    [
        ("", "extra score 'b' is missing"),
        ("x", "extra score 'b' 'x' is not a number"),
        ("nan", "extra score 'b' 'nan' is not finite"),
        ("-inf", "extra score 'b' '-inf' is not finite"),
        ("9" * 400, f"extra score 'b' '{'9' * 40}' is not finite"),
        ("1e39", "extra score 'b' '1e39' does not fit a float32"),
    ],
)
def test_a_row_without_an_extra_score_says_which_and_why(found: str, problem: str) -> None:
    labels = read(f"id,score,a,b\np,1,2,3\nq,1,2,{found}\n", extra_scores=["a", "b"])
    assert labels.table["problem"].to_pylist() == [None, problem]
    assert labels.table["extra_scores"].to_pylist() == [[2, 3], None]
    assert labels.table["score"].to_pylist() == [1, None]


def test_numbers_of_a_parquet_file_that_are_none_are_named_too() -> None:
    data = parquet(id=["a", "b", "c"], score=[1, 1, 1], x=pa.array([1.0, None, float("nan")], pa.float32()))
    assert read(data, extra_scores=["x"]).table["problem"].to_pylist() == [
        None, "extra score 'x' is missing", "extra score 'x' 'nan' is not finite",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        (["7", "-8", ""], pa.int64(), [7, -8, None]),
        (["7", "0.5", ".5"], pa.float64(), [7.0, 0.5, 0.5]),
        (["007", "8", "9"], pa.string(), ["007", "8", "9"]),
        (["1e999", "8", "9"], pa.string(), ["1e999", "8", "9"]),
        (["x", " ", "9"], pa.string(), ["x", None, "9"]),
        (["1234567890123456789012", "8", "9"], pa.string(), ["1234567890123456789012", "8", "9"]),
        (["", "", ""], pa.string(), [None, None, None]),
    ],
)
def test_a_kept_column_has_numbers_where_all_its_values_are_such(
    values: list[str], kind: Any, expected: list[Any]
) -> None:
    rows = "".join(f"p{number},1,{value}\n" for number, value in enumerate(values))
    kept = read(f"id,score,k\n{rows}", keep_columns=["k"]).kept
    assert (kept.schema.field("k").type, kept["k"].to_pylist()) == (kind, expected)


def test_a_column_that_is_not_there_is_named_with_those_that_are() -> None:
    for setting in ("extra_scores", "keep_columns"):
        with pytest.raises(
            LabelError, match=rf"has no column 'qualty'; its columns are 'id', 'score', 'a'; set {setting}"
        ):
            read("id,score,a\np,1,2\n", **{setting: ["qualty"]})


def test_ava_has_no_columns_to_name() -> None:
    line = "1 953619 0 1 5 17 38 36 15 6 5 1 1 22 1396\n"
    with pytest.raises(LabelError, match="AVA scores, which have no columns, but extra_scores is set"):
        read(line, extra_scores=["x"])


@pytest.mark.parametrize("setting", ["extra_scores", "keep_columns"])
@pytest.mark.parametrize("name", ["a/b", "", "a\x00", "x" * 101, "a\nb"])
def test_a_name_that_no_feature_or_column_can_have_is_refused(setting: str, name: str) -> None:
    with pytest.raises(SettingsError, match=f"{setting} names "):
        BuildSettings(**PLACES, **{setting: (name,)})


def test_a_column_twice_is_refused() -> None:
    with pytest.raises(SettingsError, match="extra_scores names 'a' twice"):
        BuildSettings(**PLACES, extra_scores=["a", "A"])


@pytest.mark.parametrize("name", ["id", "Label", "votes"])
def test_a_kept_column_must_not_be_called_as_one_of_the_tables(name: str) -> None:
    with pytest.raises(SettingsError, match=f"keep_columns names '{name}', but records.parquet has"):
        check_label_settings(BuildSettings(**PLACES, keep_columns=[name]))


EVA = "image_id=user_id=score=difficulty=shown\n1=u1=8=2=a\n1=u2=5=4=a\n2=u1=3=1=b\n"


def test_of_single_votes_an_extra_score_is_the_mean_and_a_kept_column_what_all_rows_say() -> None:
    labels = read(EVA, extra_scores=["difficulty"], keep_columns=["shown"])
    assert labels.table["extra_scores"].to_pylist() == [[3.0], [1.0]]
    assert labels.table["votes"].to_pylist() == [[0, 0, 0, 0, 0, 1, 0, 0, 1, 0, 0], [0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]]
    assert labels.table["label_std"].to_pylist() == [1.5, 0.0]
    assert labels.kept.to_pydict() == {"shown": ["a", "b"]}


def test_of_single_votes_a_row_without_an_extra_score_is_its_photos_problem() -> None:
    labels = read(EVA.replace("=5=4=", "=5=?="), extra_scores=["difficulty"])
    assert labels.table["problem"].to_pylist() == ["row 3: extra score 'difficulty' '?' is not a number", None]


def test_of_single_votes_a_kept_column_that_says_something_of_the_vote_is_refused() -> None:
    with pytest.raises(LabelError, match=r"'user_id' of keep_columns differs .*: row 2 has 'u1', row 3 'u2'"):
        read(EVA, keep_columns=["user_id"])


COUNTS = "id,c1,c2\na,1,3\nb,2,2\n"
SHARES = "id,c1,c2\na,0.25,0.75\nb,0.5,0.5\n"
VOTES = {"vote_columns": ["c1", "c2"]}


def test_counts_shares_and_their_deviation_are_those_of_the_votes() -> None:
    labels = read(COUNTS, **VOTES)
    assert labels.has_votes
    assert labels.table["votes"].to_pylist() == [[1, 3], [2, 2]]
    assert labels.table["label_std"].to_pylist() == [pytest.approx(0.75**0.5 / 2), 0.5]


def test_shares_alone_give_no_votes() -> None:
    labels = read(SHARES, **VOTES)
    assert (labels.has_votes, labels.has_distribution, labels.notes) == (False, True, ())
    assert labels.table["votes"].to_pylist() == [None, None]
    assert labels.table["label_std"].to_pylist() == [pytest.approx(0.75**0.5 / 2), 0.5]


def test_one_row_of_shares_leaves_the_votes_out_of_all_and_is_named() -> None:
    labels = read(COUNTS + "c,0.5,0.5\n", **VOTES)
    assert (labels.has_votes, labels.table["votes"].to_pylist()) == (False, [None] * 3)
    assert labels.notes == (
        f"label file '{URL}' has shares instead of whole counts of votes in 1 of 3 rows, such as row 4: no record gets image/votes",
    )


def test_a_broken_row_does_not_make_counts_into_shares() -> None:
    labels = read(COUNTS + "c,-1,x\n", **VOTES)
    assert labels.has_votes
    assert labels.table["votes"].to_pylist()[2] is None


def test_of_several_files_one_with_shares_leaves_the_votes_out_of_all() -> None:
    both = combine_labels({"a": read(COUNTS, **VOTES), "b": read(SHARES, **VOTES)}, BuildSettings(**PLACES))
    assert (both.has_votes, both.table["votes"].null_count, both.table["distribution"].null_count) == (False, 4, 0)
    assert both.notes == (
        "label file 'b' has shares instead of whole counts of votes, and others have counts: no record gets image/votes",
    )


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [("1", "2", [1, 2]), ("1", "2.5", [1.0, 2.5]), ("1", "x", ["1", "x"])],
)
def test_a_kept_column_of_several_files_has_the_type_that_fits_all(one: str, other: str, expected: list[Any]) -> None:
    files = {
        name: read(f"id,score,k\n{name},1,{value}\n", keep_columns=["k"]) for name, value in (("a", one), ("b", other))
    }
    assert combine_labels(files, BuildSettings(**PLACES)).kept["k"].to_pylist() == expected
