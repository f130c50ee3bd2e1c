"""Score files as people write them by hand: comments, one row per vote, a column `set`, truth values and dates, endless numbers."""

import io
from datetime import date, datetime
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aesthetics_ops.errors import LabelError, SettingsError
from aesthetics_ops.settings import BuildSettings, parse_settings
from aesthetics_ops.sources.labels import Labels
from tests.support.labels import PLACES, parquet, read


def found(labels: Labels) -> dict[str, float | None]:
    return dict(zip(labels.table["name"].to_pylist(), labels.table["score"].to_pylist(), strict=True))


@pytest.mark.parametrize(
    "text",
    [
        "# scores of March\nid,score\na,1\nb,2.5\n",
        "# one\n#two, three\r\n\r\nid,score\r\na,1\r\nb,2.5\r\n",
        "\ufeff# a byte order mark before it\nid;score\na;1\nb;2,5\n",
        "# id score\na 1\nb 2.5\n",
        "# made by savetxt\n#id,score\na,1\nb,2.5\n",
        "#,id,score\n0,a,1\n1,b,2.5\n",
        "# made by hand, in 2024\na,1\nb,2.5\n",
    ],
)
def test_lines_of_comment_before_the_rows_are_passed_over(text: str) -> None:
    assert found(read(text)) == {"a": 1.0, "b": 2.5}


def test_a_header_in_a_comment_names_the_columns() -> None:
    labels = read("# MOS image_name other\n1 a 7\n2.5 b 8\n")
    assert found(labels) == {"a": 1.0, "b": 2.5}
    assert any("has its header in a comment: MOS, image_name, other" in note for note in labels.notes)


@pytest.mark.parametrize("text", ["#1.jpg,5\n#2.jpg,6\n", "#1.jpg,5\n2.jpg,6\n"])
def test_photos_whose_names_begin_with_the_sign_are_no_comments(text: str) -> None:
    assert list(found(read(text)).values()) == [5.0, 6.0]


@pytest.mark.parametrize("text", ["# nothing else", "# nothing else\n"])
def test_a_file_of_comments_has_no_rows(text: str) -> None:
    with pytest.raises(LabelError):
        read(text)


VOTES = "photo,rating\na,1\nb,3\na,2\na,2\n"


@pytest.mark.parametrize("values", [{"vote_values": "1, 2, 3"}, {"label_min": 1, "label_max": 3}])
def test_rows_that_are_votes_make_means_and_counts(values: dict[str, Any]) -> None:
    labels = read(VOTES, one_row_per_vote=True, **values)
    assert found(labels) == {"a": pytest.approx(5 / 3), "b": 3.0}
    assert labels.ratings == (1, 2, 3)
    assert labels.table["votes"].to_pylist() == [[1, 2, 0], [0, 0, 1]]


def test_rows_that_are_votes_may_come_as_json_and_have_a_split() -> None:
    rows = ",".join(f'{{"id":"{name}","score":{score},"part":"{split}"}}' for name, score, split in
                    [("a", 1, "train"), ("a", 2, "train"), ("b", 2, "test")])  # fmt: skip
    labels = read(f"[{rows}]", one_row_per_vote=True, vote_values="1, 2", split_column="part")
    assert found(labels) == {"a": 1.5, "b": 2.0}
    assert labels.table["split"].to_pylist() == ["train", "test"]
    with pytest.raises(
        LabelError, match="'part' as the split differs between the rows of one photo: row 1 has 'train', row 2"
    ):
        read(f"[{rows}]".replace('2,"part":"train"', '2,"part":"test"'), one_row_per_vote=True, vote_values="1, 2",
             split_column="part")  # fmt: skip


def test_a_vote_of_no_rating_is_a_problem_of_its_photo() -> None:
    labels = read(VOTES.replace("b,3", "b,4"), one_row_per_vote=True, vote_values="1, 2, 3")
    assert labels.table["problem"][0].as_py() is None
    assert "4" in labels.table["problem"][1].as_py()


@pytest.mark.parametrize(
    ("text", "values", "message"),
    [
        (VOTES, {}, "set vote_values, such as 1, 2, 3, or label_min and label_max"),
        (VOTES, {"label_min": 0.5, "label_max": 3}, "set vote_values"),
        (VOTES, {"label_min": 0, "label_max": 1000}, "set vote_values"),
        ("id,image_id,score\n1,a,2\n", {"vote_values": "1, 2"}, "'id', 'image_id'; set id_column"),
    ],
)
def test_votes_of_which_too_little_is_known_are_refused(text: str, values: dict[str, Any], message: str) -> None:
    with pytest.raises(LabelError, match=message):
        read(text, one_row_per_vote=True, **values)


def test_columns_of_counts_are_not_one_row_per_vote() -> None:
    with pytest.raises(SettingsError, match="one_row_per_vote is on, but vote_columns 'a, b' count votes"):
        parse_settings({**PLACES, "one_row_per_vote": True, "vote_columns": "a, b"}, where="flags")


def test_the_new_setting_changes_no_digest_where_it_is_off() -> None:
    assert BuildSettings(**PLACES).digest == BuildSettings(**PLACES, one_row_per_vote=False).digest
    assert BuildSettings(**PLACES).digest != BuildSettings(**PLACES, one_row_per_vote=True).digest


@pytest.mark.parametrize(("sets", "expected"), [
    (["training", "validation", "test"], ["train", "validation", "test"]),
    (["1", "2", "3"], [None] * 3),
])  # fmt: skip
def test_a_set_of_koniqs_is_the_split_where_it_names_splits(sets: list[str], expected: list[str | None]) -> None:
    rows = "".join(f"{number}.jpg,0,1,4,5,0,10,3.4,{name}\n" for number, name in enumerate(sets))
    labels = read(f"image_name,c1,c2,c3,c4,c5,c_total,MOS,set\n{rows}")
    assert labels.layout == "KonIQ-10k"
    assert labels.table["split"].to_pylist() == expected


def test_truth_values_and_dates_are_kept_as_text() -> None:
    columns = {
        "id": ["a", "b"], "score": [1, 2], "is_raw": [True, None], "day": [date(2024, 2, 29), None],
        "at": pa.array([datetime(2024, 2, 29, 12, 30), None], pa.timestamp("ms")),
    }  # fmt: skip
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink)
    kept = read(sink.getvalue(), keep_columns="is_raw, day, at").kept.to_pydict()
    assert kept == {"is_raw": ["true", None], "day": ["2024-02-29", None], "at": ["2024-02-29 12:30:00.000", None]}
    assert read('{"id":"a","score":1,"is_raw":true}\n', keep_columns="is_raw").kept.to_pydict() == {"is_raw": ["true"]}
    with pytest.raises(LabelError, match="'is_raw' of type bool; it must hold text or numbers"):
        read(sink.getvalue(), score_column="is_raw")


@pytest.mark.parametrize("form", ["{}\n{}\n", "[{},{}]"])
@pytest.mark.parametrize("digits", [400, 4300, 4301, 100_000])
def test_endless_numbers_are_a_problem_of_their_row(form: str, digits: int) -> None:
    labels = read(form.format(f'{{"id":"a","score":{"9" * digits}}}', '{"id":"b","score":2}'))
    assert labels.table["problem"][1].as_py() is None
    assert "99" in labels.table["problem"][0].as_py()


COUNTS = [[1, 0, 4], [0, 2, 2]]
CELLS = {
    "a list": ["[1, 0, 4]", "[0, 2, 2]"], "blanks": ["1 0 4", "0 2  2"], "numpy": ["[1. 0. 4.]", "[0 2 2]"],
    "a tuple": ["(1, 0, 4)", "(0, 2, 2)"], "bars": ["1|0|4", "0|2|2"],
}  # fmt: skip


@pytest.mark.parametrize("values", [{}, {"vote_values": "1, 2, 3"}])
@pytest.mark.parametrize("cells", CELLS.values(), ids=CELLS)
def test_votes_may_stand_in_one_cell(cells: list[str], values: dict[str, Any]) -> None:
    for data in (f'id,votes\na,"{cells[0]}"\nb,"{cells[1]}"\n'.encode(), parquet(id=["a", "b"], votes=cells)):
        labels = read(data, vote_columns="votes", **values)
        assert labels.ratings == (1, 2, 3)
        assert labels.table["votes"].to_pylist() == COUNTS
        assert found(labels) == {"a": 2.6, "b": 2.5}
        assert labels.columns["votes"] == "votes"


JSON_VOTES = {
    "objects": '{"id":"a","votes":{"1":1,"3":4}}\n{"id":"b","votes":{"2":2,"3":2}}\n',
    "lists": '{"id":"a","votes":[1,0,4]}\n{"id":"b","votes":[0,2,2]}\n',
    "text": '{"id":"a","votes":"[1,0,4]"}\n{"id":"b","votes":"0 2 2"}\n',
}


@pytest.mark.parametrize("text", JSON_VOTES.values(), ids=JSON_VOTES)
def test_votes_in_json_may_be_objects_lists_or_text(text: str) -> None:
    for data in (text, f"[{text.strip().replace(chr(10), ',')}]"):
        assert read(data, vote_columns="votes").table["votes"].to_pylist() == COUNTS


@pytest.mark.parametrize("votes", [
    pa.array(COUNTS, pa.list_(pa.int64())),
    pa.array(COUNTS, pa.list_(pa.float32(), 3)),
    pa.array([{"3": 4, "1": 1, "2": 0}, {"1": 0, "2": 2, "3": 2}]),
])  # fmt: skip
def test_votes_in_parquet_may_be_lists_or_structs(votes: Any) -> None:
    labels = read(parquet(id=["a", "b"], votes=votes), vote_columns="votes")
    assert labels.table["votes"].to_pylist() == COUNTS
    assert labels.ratings == (1, 2, 3)


@pytest.mark.parametrize(
    ("cell", "problem"),
    [
        ("[1, 2]", "2 counts of votes, where there are 3 ratings"),
        ('{""1"": 1, ""7"": 2}', "votes for 7, which is none of the 3 ratings"),
        ("", "vote count is missing"),
        ("many", "votes 'many' are no counts"),
        ("[1, nan, 2]", "votes '[1, nan, 2]' are no counts"),
        ("[0, 0, 0]", "no votes"),
        ("[1, -1, 2]", "negative vote count"),
        ("{" * 5000, "votes '" + "{" * 40 + "' are no counts"),
    ],
)
def test_a_cell_that_has_no_votes_is_a_problem_of_its_row(cell: str, problem: str) -> None:
    other = '{""1"": 1, ""2"": 2}' if cell.startswith('{"') else "[1, 2, 3]"
    labels = read(f'id,votes\na,"{cell}"\nb,"{other}"\n', vote_columns="votes", vote_values="1, 2, 3")
    assert labels.table["problem"].to_pylist() == [problem, None]


@pytest.mark.parametrize("text", ["id,votes\na,5\n", "id,votes\na,x\n"])
def test_one_column_without_votes_is_refused(text: str) -> None:
    with pytest.raises(
        LabelError, match=r"by vote_columns, and 0 ratings; name at least two, each once, or one column that has"
    ):
        read(text, vote_columns="votes")
