"""Files that have the columns of a known kind and are none: the values say so, and the build says what it did."""

import json

import pytest

from aesthetics_ops.errors import LabelError
from aesthetics_ops.sources.labels.layouts import LAYOUTS
from tests.support.labels import read
from tests.support.sheets import xlsx


def table(header: str, *rows: str) -> bytes:
    return "\n".join([header, *rows, ""]).encode()


def numbered(name: str, count: int) -> str:
    return ",".join(f"{name}{number}" for number in range(1, count + 1))


TEN_SHARES = ",".join(["0.3"] * 10)
JUDGES = [f"{photo}.jpg,3,4,5,3,4,19" for photo in range(6)]
HALVES = ",".join(f"aestheticScore_{half / 2:.1f}" for half in range(2, 11))

# a file with the columns of each kind; why it is none; the scores that are read all the same, or what is refused
IMPOSTORS: dict[str, tuple[bytes, str, list[float | None] | str]] = {
    "TANet's AVA": (
        table("image_id," + ",".join(f"score{n}" for n in range(2, 12)) + ",score", f"a,{TEN_SHARES},7", f"b,{TEN_SHARES},8"),
        "score2 to score11 have 0.3, 0.3, 0.3, 0.3, 0.3, 0.3, 0.3, 0.3, 0.3, 0.3, which are neither counts nor shares", [7, 8]),
    "AVA with vote_1 to vote_10": (
        table("image_num," + numbered("vote_", 10), *(f"{n},7,8,6,7,9,5,7,8,6,7" for n in range(6))),
        "every value of its columns of votes is a rating from 1 to 10, and none is 0, as where each column is one person's vote",
        "has no column 'score' or 'label'"),
    "NIMA's lists of votes": (
        json.dumps([{"image_id": n, "label": [-0.5, 1.5] * 5, "mean": 3} for n in range(2)]).encode(),
        "label[0] to label[9] have -0.5, 1.5", [3, 3]),
    "KonIQ-10k": (
        table(f"image_name,{numbered('c', 5)},c_total", *JUDGES), "every value of its columns of votes is a rating from 1 to 5",
        "has no column 'score' or 'label'"),
    "PARA": (
        table(f"sessionId,imageName,aestheticScore_mean,{HALVES},score", "s,a,4.5,9,0,0,0,0,0,0,0,1,1", "s,b,4.6,9,0,0,0,0,0,0,0,1,2"),
        "the mean of its votes is 1.4, but aestheticScore_mean is 4.5", [4.5, 4.6]),
    "PARA's means": (
        table("sessionId,imageName,aestheticScore_mean,score", "s,a,45,1", "s,b,88,2"),
        "aestheticScore_mean '45' is not a number from 1 to 5", [1, 2]),
    "PARA by person": (
        table("sessionId,imageName,userId,aestheticScore", "s,a,u,45", "s,b,u,3.25", "s,c,u,88"),
        "aestheticScore '45' is not one of the 9 ratings 1 to 5", [45, 3.25, 88]),
    "EVA's votes": (
        table("image_id,user_id,score", "a,u,47", "b,v,80.5", "c,w,9"),
        "score '47' is not one of the 11 ratings 0 to 10", [47, 80.5, 9]),
    "Flickr-AES by worker": (
        table("worker,imagePair,score,image", "w,x,0.25,a", "w,y,0.5,b"),
        "score '0.25' is not one of the 5 ratings 1 to 5", [0.25, 0.5]),
    "MLSP's AVA": (
        table("image_name,MOS,set", "a,5,red", "b,6,blue", "c,7,test"), "set 'red' is no split", [5, 6, 7]),
}  # fmt: skip


@pytest.mark.parametrize("kind", IMPOSTORS)
def test_a_file_with_the_columns_of_a_kind_and_other_values_is_none_of_it(kind: str) -> None:
    data, why, expected = IMPOSTORS[kind]
    said = f"has the columns of {kind}, but is of another kind: {why}"
    if isinstance(expected, str):
        with pytest.raises(LabelError) as caught:
            read(data)
        assert expected in str(caught.value)
        assert said in str(caught.value)
        return
    labels = read(data)
    assert said in labels.notes[0]
    assert labels.layout != kind
    assert (labels.ratings, labels.table["score"].to_pylist()) == ((), expected)


def test_every_kind_has_an_impostor() -> None:
    assert set(IMPOSTORS) == {layout.name for layout in LAYOUTS}


@pytest.mark.parametrize("score", ["47", "3.5"])
@pytest.mark.parametrize("form", ["csv", "equals", "json", "jsonl", "xlsx"])
def test_values_are_looked_at_in_every_format(form: str, score: str) -> None:
    rows = [{"image_id": name, "user_id": "u", "score": float(score)} for name in ("a", "b", "c")]
    lines = ["image_id,user_id,score", *(f"{row['image_id']},u,{score}" for row in rows)]
    data = {
        "csv": table(*lines),
        "equals": table(*lines).replace(b",", b"="),
        "json": json.dumps(rows).encode(),
        "jsonl": "\n".join(map(json.dumps, rows)).encode(),
        "xlsx": xlsx({"S": [["image_id", "user_id", "score"], *([row["image_id"], "u", score] for row in rows)]}),
    }[form]
    labels = read(data)
    assert (labels.layout, labels.table["score"].to_pylist()) == (None, [float(score)] * 3)
    assert "has the columns of EVA's votes, but is of another kind" in labels.notes[0]


@pytest.mark.parametrize(
    "rows", [["a,u,7", "b,u,47", "c,u,8"], ["a,u,7", "b,u,"], ["a,u,7", "b,u,x"], ["a,u,0", "a,v,10"], ["a,u, 7 "]]
)
def test_a_few_odd_rows_make_no_other_kind(rows: list[str]) -> None:
    labels = read(table("image_id,user_id,score", *rows))
    assert labels.layout == "EVA's votes"
    assert labels.notes == ()


def test_a_kind_whose_values_do_not_fit_leaves_room_for_the_next() -> None:
    labels = read(table(f"image_name,{numbered('c', 5)},c_total,MOS,set", *(f"{row},61.5,test" for row in JUDGES)))
    assert (labels.layout, labels.table["score"].to_pylist()) == ("MLSP's AVA", [61.5] * 6)
    assert "has the columns of KonIQ-10k, but is of another kind" in labels.notes[0]


def test_votes_that_use_half_of_a_kinds_ratings_are_told() -> None:
    votes = table("image_id,user_id,score", *(f"{n},u,{n % 5 + 1}" for n in range(40)))
    (note,) = read(votes).notes
    assert "was taken for EVA's votes, from 0 to 10, but none of its 40 votes is above 5; set label_max to 5" in note
    assert read(table("image_id,user_id,score", *(f"{n},u,{n % 9}" for n in range(40)))).notes == ()


def test_settings_go_before_any_kind() -> None:
    labels = read(IMPOSTORS["KonIQ-10k"][0], vote_columns="c1..c5")
    assert (labels.ratings, labels.layout) == ((1, 2, 3, 4, 5), None)
    assert "has nothing but ratings from 1 to 5 as counts of votes" in labels.notes[0]
