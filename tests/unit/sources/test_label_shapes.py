"""Shapes of files that are none of the known ones: refused in one line, or read as they mean; what is not used is told."""

import bz2
import gzip
import io
import json
import tarfile
from typing import Any

import pytest

from aesthetics_ops.errors import LabelError
from aesthetics_ops.settings import BuildSettings
from aesthetics_ops.sources.labels import Labels, read_labels

PLACES = {"photos": "memory://p/", "labels": "memory://l/x", "dataset": "memory://d/"}


def read(data: bytes | str, **values: Any) -> Labels:
    content = data.encode() if isinstance(data, str) else data
    return read_labels(content, source="x", settings=BuildSettings(**PLACES, **values))


def refusal(data: bytes | str, **values: Any) -> str:
    with pytest.raises(LabelError) as caught:
        read(data, **values)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize(
    ("parsed", "shown"),
    [
        (
            {"images": [{"id": 1, "file_name": "a.jpg"}], "annotations": [{"image_id": 1, "score": 4}]},
            "'images', 'annotations'",
        ),
        ({"a.jpg": 5, "b.jpg": 4.5}, "'a.jpg', 'b.jpg'"),
        ({"a.jpg": {"score": 5}, "b.jpg": {"score": 4}}, "'a.jpg', 'b.jpg'"),
        ({"image_id": {"0": "a"}, "score": {"0": 5}}, "'image_id', 'score'"),
        ({"columns": ["image", "score"], "data": [["a.jpg", 5]]}, "'columns', 'data'"),
        ({"data": [{"image": "a.jpg", "score": 5}]}, "'data'"),
    ],
    ids=["coco", "scores by name", "objects by name", "pandas", "table", "wrapped"],
)
def test_one_object_with_all_rows_is_refused_with_what_to_write(parsed: Any, shown: str, indent: int | None) -> None:
    said = refusal(json.dumps(parsed, indent=indent))
    assert (
        f"is one JSON object of {len(parsed)} members, {shown}; write an array with one object for each photo" in said
    )


def test_one_line_with_one_photo_is_a_row() -> None:
    labels = read('{"id": "a.jpg", "score": 5, "camera": {"iso": 100}}\n')
    assert labels.table["score"].to_pylist() == [5.0]
    assert read('{"Foto": "a.jpg", "Wert": 5}', id_column="Foto", score_column="Wert").table.num_rows == 1


def test_rows_that_are_lists_are_refused_with_what_to_write() -> None:
    assert refusal('[["a.jpg", 5]]').endswith(
        'every element must be an object, such as {"image_id": "a.jpg", "score": 5}'
    )


@pytest.mark.parametrize("packed", [False, True])
def test_archives_are_called_so(packed: bool) -> None:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("scores.csv"))
    data = gzip.compress(sink.getvalue()) if packed else sink.getvalue()
    assert "is a tar archive, not a file of scores" in refusal(data)
    assert "is packed with bzip2, not a file of scores" in refusal(bz2.compress(b"id,score\na,5\n"))


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("blank", [",,", " , ,", '"","",""', ", \t,"])
def test_rows_with_signs_between_fields_alone_are_none(blank: str, end: str) -> None:
    labels = read(end.join(["id,score,x", "a,5,1", blank, "b,4,", blank, blank, ""]))
    assert labels.table.select(["row", "name", "problem"]).to_pylist() == [
        {"row": 2, "name": "a", "problem": None},
        {"row": 4, "name": "b", "problem": None},
    ]


def test_a_row_with_a_remark_alone_stays_a_problem() -> None:
    assert read("id,score,x\na,5,1\n,,why?\n").table["problem"].to_pylist() == [None, "no name"]


AVA_LINE = "1 953619 0 1 5 17 38 36 15 6 5 1 1 22 1396"


def test_comments_may_stand_before_avas_lines() -> None:
    labels = read(f"# index, id, votes, tags, challenge\n\n# of 2012\n{AVA_LINE}\n")
    assert (labels.format, labels.table["row"].to_pylist()) == ("ava", [4])


@pytest.mark.parametrize("fields", [12, 14])
def test_avas_lines_without_tags_are_read_with_the_settings_that_the_message_names(fields: int) -> None:
    line = " ".join(AVA_LINE.split()[:fields])
    assert (
        "set id_column and score_column to the numbers of their columns, such as 1 and 2, or vote_columns"
        in refusal(line)
    )
    labels = read(line, id_column="2", vote_columns="3..12")
    assert labels.table["score"].to_pylist() == read(AVA_LINE).table["score"].to_pylist()
    assert labels.table["name"].to_pylist() == ["953619"]


# votes in one cell


@pytest.mark.parametrize(
    ("cell", "votes"),
    [
        ("[1, 0, 4]", [1, 0, 4]),
        ("1 0 4", [1, 0, 4]),
        ("['1', '0', '4']", [1, 0, 4]),
        ("1|0|4", [1, 0, 4]),
        ("[1, 0, 4,]", [1, 0, 4]),
        ("0,25|0,5|0,25", [0.25, 0.5, 0.25]),
        ("0,25; 0,5; 0,25", [0.25, 0.5, 0.25]),
        ("{1: 1, 3: 4}", [1, 0, 4]),
        ("{'1': 1, '3': 4}", [1, 0, 4]),
        ("1,,4", None),
        ("1||4", None),
        ("0,25 0,5 0,25", None),
        ("{1, 0, 4}", None),
        ("{1: None}", None),
        ("{1: exit()}", None),
        ("{" * 3000, None),
    ],
)
def test_a_cell_has_one_sign_between_counts_and_none_is_dropped(cell: str, votes: list[float] | None) -> None:
    labels = read(f'id\tvotes\na\t"{cell}"\n', vote_columns="votes", vote_values="1, 2, 3")
    (shares,) = labels.table["distribution"].to_pylist()
    assert (shares and [round(share, 6) for share in shares]) == (
        votes and [round(vote / sum(votes), 6) for vote in votes]
    )


# what is told


@pytest.mark.parametrize(
    ("data", "values", "said"),
    [
        (
            "id,score,split\na,5,train\nb,4,test\n",
            {},
            "has splits in column 'split', which are not used; set split_column",
        ),
        ("id,score,Subset\na,5,training\nb,4,dev\n", {}, "has splits in column 'Subset', which are not used"),
        ("id,score,split\na,5,left\nb,4,right\n", {}, None),
        ("id,score,split\na,5,train\nb,4,test\n", {"split_column": "split"}, None),
        (
            "id,score,weight\na,5,0.5\na,4,2\n",
            {"one_row_per_vote": True, "vote_values": "4, 5"},
            "has a column 'weight', which is not used: each row counts as one vote",
        ),
        (
            "id,r1,r2,r3\n" + "".join(f"p{row},1,2,3\n" for row in range(5)),
            {"vote_columns": "r1..r3"},
            "has nothing but ratings from 1 to 3 as counts of votes, and no 0",
        ),
        ("id,r1,r2,r3\n" + "".join(f"p{row},1,2,0\n" for row in range(5)), {"vote_columns": "r1..r3"}, None),
        ("id,-1,0,1\na,2,3,4\n", {"vote_columns": "-1, 0, 1"}, "set vote_values to -1, 0, 1 if these are the ratings"),
        ("id,0.5,1.5\na,2,3\n", {"vote_columns": "0.5, 1.5"}, "set vote_values to 0.5, 1.5 if these are the ratings"),
    ],
)
def test_what_is_not_used_is_told(data: str, values: dict[str, Any], said: str | None) -> None:
    notes = read(data, **values).notes
    assert any(said in note for note in notes) if said else not notes
