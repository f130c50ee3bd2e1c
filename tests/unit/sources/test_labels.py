"""Label files in every format: what a row becomes, and which files are refused."""

import json
import math
import sys
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aesthetics_ops.errors import LabelError
from tests.support.labels import URL, parquet, read

AVA = (
    b"1 953619 0 1 5 17 38 36 15 6 5 1 1 22 1396\n"
    b"2 953958 10 7 15 26 26 21 10 8 1 2 15 21 1396\n"
    b"3 954184 0 0 4 8 41 56 10 3 4 0 0 0 1395\n"
)
TAGS = b"1 Abstract\n15 Nature\n21 Black and White\n22 Nude\n66 Nude Study\n"
CHALLENGES = "1395 Déjà Vu\n1396 Portraits [2]\n".encode()
LISTS = ["distribution", "votes", "label_std", "extra_scores"]
COLUMNS = ["row", "name", "by_key", "score", *LISTS, "split", "problem", "excluded"]


def column(labels, name):
    return labels.table[name].to_pylist()


def jsonl(*rows):
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


# AVA.txt


def test_an_ava_row_becomes_its_mean_and_its_shares():
    labels = read(AVA)
    counts = np.array([0, 1, 5, 17, 38, 36, 15, 6, 5, 1])
    assert (labels.format, labels.has_distribution, labels.table.column_names) == ("ava", True, COLUMNS)
    first = labels.table.to_pylist()[0]
    assert first["score"] == pytest.approx((counts * range(1, 11)).sum() / counts.sum(), rel=1e-15)
    assert first["distribution"] == (counts / counts.sum()).astype(np.float32).tolist()
    assert (labels.has_votes, first["votes"]) == (True, counts.tolist())
    assert first["label_std"] == pytest.approx(np.repeat(np.arange(1, 11), counts).std(), rel=1e-12)
    assert (first["row"], first["name"], first["by_key"], first["problem"]) == (1, "953619", False, None)


@pytest.mark.parametrize(
    "data",
    [
        b"\xef\xbb\xbf" + AVA, AVA.replace(b"\n", b"\r\n"), AVA[:-1], AVA.replace(b" ", b"\t"),
        AVA.replace(b" ", b"   "), AVA.replace(b"\n", b" \n "), AVA + b"\n  \n",
    ],
    ids=["bom", "crlf", "no final newline", "tabs", "many blanks", "blanks around", "blank lines after"],
)  # fmt: skip
def test_ava_text_may_be_laid_out_in_any_way(data):
    assert read(data).table.equals(read(AVA).table)


def test_blank_ava_lines_are_skipped_but_counted():
    assert column(read(b"\n" + AVA.replace(b"\n", b"\n\n")), "row") == [2, 4, 6]


def test_an_ava_id_keeps_its_zeros():
    assert column(read(b"1 007 0 1 5 17 38 36 15 6 5 1 1 22 1396"), "name") == ["007"]


@pytest.mark.parametrize(
    ("votes", "problem"),
    [("0 0 0 0 0 0 0 0 0 0", "no votes"), ("1 2 3 -1 0 0 0 0 0 9", "negative vote count")],
)
def test_an_ava_row_without_usable_votes_has_a_problem(votes, problem):
    labels = read(AVA + f"4 5 {votes} 0 0 1\n".encode())
    assert column(labels, "problem") == [None, None, None, problem]
    assert (column(labels, "score")[3], column(labels, "distribution")[3]) == (None, None)


def test_an_ava_mean_outside_the_declared_range_has_a_problem():
    assert column(read(AVA, label_min=5.5), "problem")[1].endswith(" is below label_min 5.5")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"4 5 0 1 5 17 38 36 15 6 5 1 1 22", "14 fields in line 4: '4 5 0 1 5 17 38 36 15 6 5 1 1 22'; an AVA"),
        (b"4 5 0 1 5 17 38 36 15 6 5 1 1 22 1 1", "has 16 fields in line 4"),
        (b"4 5 0 1 5 17 38 x6 15 6 5 1 1 22 1396", "has 'x6' in line 4, which is not an integer; an AVA line"),
        (b"4 5 0 1 5 17 38 3.5 15 6 5 1 1 22 1396", "'3.5' in line 4"),
        (b"4 5 0 1 5 17 38 1-2 15 6 5 1 1 22 1396", "'1-2' in line 4"),
        (b"4 - 0 1 5 17 38 36 15 6 5 1 1 22 1396", "'-' in line 4"),
        (b"4 5 0 1 5 17 38 9999999999999999999 15 6 5 1 1 22 1396", "'9999999999999999999' in line 4"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("declared", ["auto", "ava"])
def test_a_broken_ava_line_is_named(line, message, declared):
    with pytest.raises(LabelError) as caught:
        read(AVA + line + b"\n" + AVA, label_format=declared)
    assert message in str(caught.value)
    assert URL in str(caught.value)


@pytest.mark.parametrize(
    ("excluded", "expected"),
    [
        ({"exclude_tags": ("nude",)}, ["tag 22 'Nude'", None, None]),
        ({"exclude_tags": ("*N?ture", "Black*")}, [None, "tag 15 'Nature'", None]),
        ({"exclude_tags": ("22", "21")}, ["tag 22 'Nude'", "tag 21 'Black and White'", None]),
        ({"exclude_tags": ("Nude Study",)}, [None, None, None]),
        ({"exclude_challenges": ("portraits [2]",)}, ["challenge 1396 'Portraits [2]'"] * 2 + [None]),
        ({"exclude_challenges": ("d?jà*",)}, [None, None, "challenge 1395 'Déjà Vu'"]),
        ({"exclude_tags": ("Nude",), "exclude_challenges": ("P*", "1395")},
         ["tag 22 'Nude'", "challenge 1396 'Portraits [2]'", "challenge 1395 'Déjà Vu'"]),
    ],
)  # fmt: skip
def test_tags_and_challenges_are_excluded_by_name_wildcard_or_number(excluded, expected):
    labels = read(AVA, beside={"tags.txt": TAGS, "challenges.txt": CHALLENGES}, **excluded)
    assert column(labels, "excluded") == expected
    assert column(labels, "problem") == [None] * 3


def test_numbers_are_excluded_without_the_files_of_names():
    labels = read(AVA, exclude_tags=("22",), exclude_challenges=("1395",))
    assert column(labels, "excluded") == ["tag 22", None, "challenge 1395"]


def test_names_that_are_not_utf8_are_read_as_latin_1():
    names = {"challenges.txt": "1395 Déjà Vu".encode("latin-1")}
    labels = read(AVA, beside=names, exclude_challenges=("Déjà*",))
    assert column(labels, "excluded")[2] == "challenge 1395 'Déjà Vu'"


@pytest.mark.parametrize(
    ("files", "excluded", "message"),
    [
        ({}, {"exclude_tags": ("Nude",)}, "no tags.txt beside it to resolve exclude_tags 'Nude'"),
        ({}, {"exclude_challenges": ("Por*",)}, "no challenges.txt beside it"),
        ({"tags.txt": TAGS}, {"exclude_tags": ("Nudes",)}, "no tag that matches exclude_tags 'Nudes'; close: 'Nude'"),
        ({"tags.txt": TAGS}, {"exclude_tags": ("zzz*",)}, "no tag that matches exclude_tags 'zzz*'; give a name"),
        ({"tags.txt": TAGS}, {"exclude_tags": ("99",)}, "no tag that matches exclude_tags '99'"),
        ({}, {"exclude_tags": ("0",)}, "no tag that matches exclude_tags '0'"),
        ({"tags.txt": b"1 Abstract\nNude 22\n"}, {"exclude_tags": ("Nude",)}, "'Nude 22' in line 2 of the tags.txt"),
    ],
)
def test_an_exclusion_that_matches_nothing_is_refused(files, excluded, message):
    with pytest.raises(LabelError) as caught:
        read(AVA, beside=files, **excluded)
    assert message in str(caught.value)


# named columns

ROWS = {"id": ["a", "b", "c"], "score": [1.5, 2.0, 3.25]}
TABLES = {
    "comma": b"id,score\na,1.5\nb,2.0\nc,3.25\n",
    "semicolon": b"id;score\na;1.5\nb;2.0\nc;3.25\n",
    "bar": b"id|score\na|1.5\nb|2.0\nc|3.25\n",
    "bar, for Excel": b"sep=|\n id | score|note\na | 1.5|x\nb|2.0|\nc|3.25|y\n",
    "bars within a field": b"id,score,tags|of|it\na,1.5,x|y\nb,2.0,\nc,3.25,z\n",
    "tab": b"id\tscore\na\t1.5\nb\t2.0\nc\t3.25\n",
    "bom": b"\xef\xbb\xbfid,score\na,1.5\nb,2.0\nc,3.25\n",
    "two boms": b"\xef\xbb\xbf\xef\xbb\xbfid,score\na,1.5\nb,2.0\nc,3.25\n",
    "crlf": b"id,score\r\na,1.5\r\nb,2.0\r\nc,3.25\r\n",
    "cr": b"id,score\ra,1.5\rb,2.0\rc,3.25\r",
    "no final newline": b"id,score\na,1.5\nb,2.0\nc,3.25",
    "quoted": b'"id","score","note"\n"a","1.5","x, y"\n"b",2.0,"say ""hi"""\n"c",3.25,\n',
    "blanks": b" id , score \n a , 1.5\n b,\t2.0 \nc, +3.25\n",
    "other columns first": b"\tscore\tx\tid\n0\t1.5\t\ta\n1\t2.0\t\tb\n2\t3.25\t\tc\n",
    "parquet": parquet(**ROWS),
    "parquet of text": parquet(id=ROWS["id"], score=["1.5", "2.0", "3.25"]),
    "parquet of categories": parquet(
        id=pa.array(ROWS["id"]).dictionary_encode(), score=pa.array(ROWS["score"], pa.float32())),
    "parquet of decimals": parquet(
        id=pa.array(ROWS["id"], pa.large_string()), score=pa.array(["1.5", "2", "3.25"]).cast(pa.decimal128(5, 2))),
    "jsonl": jsonl({"id": "a", "score": 1.5}, {"x": [1], "score": 2, "id": "b"}, {"id": "c", "score": "3.25"}),
    "jsonl with bom": b"\xef\xbb\xbf" + jsonl(
        {"id": "a", "Mos": 1.5}, {"id": "b", "Mos": 2}, {"id": "c", "Mos": 3.25})[:-1],
}  # fmt: skip


@pytest.mark.parametrize("data", TABLES.values(), ids=TABLES)
def test_every_format_gives_the_same_table(data):
    labels = read(data)
    assert (column(labels, "name"), column(labels, "score")) == (ROWS["id"], ROWS["score"])
    assert labels.table.column_names == COLUMNS
    assert labels.table.schema.types == read(AVA).table.schema.types
    assert not labels.has_distribution
    assert all(column(labels, name) == [None] * 3 for name in (*LISTS, "split", "problem", "excluded"))


@pytest.mark.parametrize(
    ("data", "rows"),
    [
        (TABLES["comma"], [2, 3, 4]),
        (b"\n\nid,score\n\na,1\n  \nb,2\r\n\r\nc,3\n", [5, 7, 9]),
        (b'id,score,note\na,1,"two\n\nlines"\nb,2,\n\nc,3,x', [2, 5, 7]),
        (b'id,score\na 5" b,1\n\nb,2\nc,3\n', [2, 3, 4]),  # a quote that means nothing: lines are only counted
        (parquet(**ROWS), [1, 2, 3]),
        (b'\n{"id":"a","score":1}\n\n{"id":"b","score":2}\n{"id":"c","score":3}', [2, 4, 5]),
    ],
)
def test_rows_are_numbered_as_a_person_finds_them(data, rows):
    assert column(read(data), "row") == rows


@pytest.mark.parametrize(
    ("header", "settings_", "chosen"),
    [
        ("id,KEY,mos,Label", {}, ("1", "3")),
        ("image_id,filename,mean,x", {}, ("1", "2")),
        ("Path,id,MOS,mean", {}, ("0", "3")),
        ("x,id,y,score", {"id_column": "x", "score_column": "Y"}, ("0", "2")),
        ("ID,id,score,Score", {"id_column": "id", "score_column": "Score"}, ("1", "3")),
    ],
)
def test_columns_are_found_in_order_whatever_their_case_or_as_told(header, settings_, chosen):
    labels = read(f"{header}\n0,1,2,3\n".encode(), **settings_)
    assert (column(labels, "name"), column(labels, "score")) == ([chosen[0]], [float(chosen[1])])


@pytest.mark.parametrize(
    ("found", "name", "by_key"),
    [
        ("a", "a", False), ("a.jpg", "a.jpg", False), ("x/a", "x/a", True), ("/x/a.jpg", "x/a.jpg", True),
        ("./a.jpg", "a.jpg", True), ("/a", "a", True), (" b.JPEG ", "b.JPEG", False), ("IMG.2024", "IMG.2024", False),
        ("a.toolongsuffix", "a.toolongsuffix", False), ("é.jpg", "é.jpg", False), ("e\u0301", "e\u0301", False),
    ],
)  # fmt: skip
def test_a_name_with_a_slash_can_only_be_a_key(found, name, by_key):
    for labels in (read(f"id,score\n{found},1\n".encode()), read(jsonl({"id": found, "score": 1}))):
        assert (column(labels, "name"), column(labels, "by_key")) == ([name], [by_key])


@pytest.mark.parametrize(
    ("ids", "names"),
    [
        (pa.array([1, 2**62]), ["1", str(2**62)]),
        (pa.array([7.0, 12345678901.0]), ["7", "12345678901"]),
        (pa.array([7.0, None]), ["7", ""]),
        (pa.array([1.5, 2.0]), ["1.5", "2"]),
        (pa.array([b"a", b"b"]), ["a", "b"]),
        (pa.array(np.array([7, 1.5], np.float16)), ["7", "1.5"]),
        (pa.array([7, 12.5], pa.float32()), ["7", "12.5"]),
        (pa.array(["7.00", "-1.50"]).cast(pa.decimal128(5, 2)), ["7", "-1.50"]),
        (pa.array([2**64 - 1, 1], pa.uint64()), [str(2**64 - 1), "1"]),
        (pa.array(["a", "b"], pa.string_view()), ["a", "b"]),
    ],
)
def test_parquet_ids_become_text_without_a_fraction(ids, names):
    assert column(read(parquet(id=ids, score=[1, 2])), "name") == names


def test_parquet_scores_may_be_of_any_number():
    for kind in (pa.float16(), pa.float32(), pa.int8(), pa.uint64(), pa.decimal128(21, 2)):
        assert column(read(parquet(id=["a", "b"], score=pa.array([1, 2], pa.int64()).cast(kind))), "score") == [1, 2]


@pytest.mark.parametrize("odd", [[[1], [2]], [True, False], [{"x": 1}, {"x": 2}], [b"\xff", b"a"]], ids=str)
def test_a_second_column_of_ids_that_holds_none_is_passed_over(odd):
    labels = read(parquet(key=pa.array(odd), image_id=["a", "b"], score=[1, 2]))
    assert (column(labels, "name"), labels.columns, labels.alternatives) == (
        ["a", "b"], {"id": "image_id", "score": "score"}, (),
    )  # fmt: skip


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_the_columns_in_use_are_named_and_others_that_may_hold_ids_are_kept(form):
    rows = {
        "id": ["1", "2"],
        "Filename": ["a.jpg", "b.jpg"],
        "mos": [5, 6],
        "part": ["test", "train"],
        "path": ["a.jpg", "b.jpg"],
    }
    match form:
        case "csv":
            lines = zip(*rows.values(), strict=True)
            data = "\n".join([",".join(rows), *(",".join(map(str, line)) for line in lines)]).encode()
        case "jsonl":
            data = jsonl(*(dict(zip(rows, line, strict=True)) for line in zip(*rows.values(), strict=True)))
        case _:
            data = parquet(**rows)
    labels = read(data, split_column="Part")
    assert labels.columns == {"id": "path", "score": "mos", "split": "part"}
    (other,) = labels.alternatives  # Filename says the same as path
    assert (column(other, "name"), other.columns["id"]) == (["1", "2"], "id")
    assert column(other, "score") == [5.0, 6.0]
    assert read(data, id_column="id").alternatives == ()


def test_json_ids_become_text_without_a_fraction():
    labels = read(jsonl(*({"id": number, "score": 1} for number in (7, 7.0, 10**30, 1.5))))
    assert column(labels, "name") == ["7", "7", "1" + "0" * 30, "1.5"]


SCORES = {
    "": "score is missing", "   ": "score is missing", "10": None, "0": None, " 5. ": None, "1e0": None,
    "x": "score 'x' is not a number", "1_000": "score '1_000' is not a number", "5 6": "score '5 6' is not a number",
    "0x10": "score '0x10' is not a number", "nan": "score 'nan' is not finite", "-inf": "score '-inf' is not finite",
    "1e999": "score '1e999' is not finite", "1e39": "score 1e39 does not fit a float32",
    "11.0": "score 11.0 is above label_max 10.0", "-0.1": "score -0.1 is below label_min 0.0",
    "y" * 99: f"score '{'y' * 40}' is not a number",
}  # fmt: skip


@pytest.mark.parametrize(("text", "problem"), SCORES.items())
def test_a_bad_score_is_a_problem_of_its_row_alone(text, problem):
    maximum = None if "1e39" in text else 10.0
    for data in (f"id,score\na,{text}\nb,5\n".encode(), jsonl({"id": "a", "score": text}, {"id": "b", "score": 5})):
        labels = read(data, label_min=0.0, label_max=maximum)
        assert column(labels, "problem") == [problem, None]
        assert column(labels, "score") == [None if problem else float(text), 5.0]


def test_numbers_that_cannot_be_scores_are_problems_in_parquet_and_json():
    found = [1.0, None, math.nan, math.inf, 1e300, 11.0]
    problems = [None, "score is missing", "score 'nan' is not finite", "score 'inf' is not finite"]
    assert column(read(parquet(id=list("abcdef"), score=found), label_max=10.0), "problem") == [
        *problems, "score 1e+300 does not fit a float32", "score 11 is above label_max 10.0",
    ]  # fmt: skip
    labels = read(b'{"id":"a","score":true}\n{"id":"b"}\n{"id":"c","score":NaN}\n{"id":"d","score":[1]}\n')
    assert [text and text.removeprefix("score ") for text in column(labels, "problem")] == [
        "'true' is not a number", "is missing", "'NaN' is not finite", "'[1]' is not a number",
    ]  # fmt: skip


@settings(deadline=None)
@given(st.lists(st.text(max_size=8) | st.floats().map(str) | st.text("0123456789.eE+- ", max_size=8), min_size=1))
def test_a_score_is_read_as_python_reads_it_or_is_a_problem(texts):
    labels = read(jsonl(*({"id": "a", "score": text} for text in texts)))
    for text, score, problem in zip(texts, column(labels, "score"), column(labels, "problem"), strict=True):
        assert (score is None) == (problem is not None)
        assert score is None or score == float(text)


def test_a_blank_name_is_a_problem():
    labels = read(b"id,score\n ,5\n/,5\nb,5\n")
    assert column(labels, "problem") == ["no name", "no name", None]
    assert (column(labels, "name"), column(labels, "score")) == (["", "", "b"], [None, None, 5.0])


def test_split_names_are_understood_and_others_are_problems():
    names = ["train", "Training", "validation", "VALID", "val", " dev ", "test", "holdout", ""]
    labels = read(("id,score,Set\n" + "".join(f"a,5,{name}\n" for name in names)).encode(), split_column="set")
    assert column(labels, "split") == ["train"] * 2 + ["validation"] * 4 + ["test", None, None]
    assert column(labels, "problem")[7:] == [
        "split 'holdout' is not one of train, validation, test",
        "split is missing",
    ]
    assert column(labels, "score")[6:] == [5.0, None, None]


def test_duplicate_names_are_left_for_planning():
    assert column(read(b"id,score\na,1\na,2\n"), "score") == [1.0, 2.0]


UNIT = {"label_scale": "unit"}
REFUSED = [
    (b"", {}, "is empty"),
    (b"\xef\xbb\xbf \r\n", {}, "is empty"),
    (b"id,score\n", {}, "has a header but no rows"),
    (b"id,score\n\n \n", {}, "has a header but no rows"),
    (parquet(id=pa.array([], pa.string()), score=pa.array([], pa.float64())), {}, "has no rows"),
    (b"\xff\xfei", {}, "is not readable as UTF-16"),
    (b"id,score\n\xe9,1\x00\n", {}, "is no text: byte 12 is 0x00; give a file of scores"),
    (b"\x1f\x8b\x08", {}, "is not readable as gzip"),
    (b"\x28\xb5\x2f\xfd\x08", {}, "is not readable as zstd"),
    (b"PK\x03\x04", {}, "is not readable as Excel or zip"),
    (b"PAR1" + bytes(50), {}, "is not readable as Parquet"),
    (b'[{"id": 1, "score": 2}]', {"label_format": "jsonl"}, "looks like json, but label_format is 'jsonl'"),
    (b"[]", {}, "has no rows"),
    (b'[{"id": 1, "score": 2},\n 7]', {}, "has '7' as element 2; every element must be an object"),
    (b'[{"id": 1, "score": 2}, {"id"]', {}, "is not JSON in object 2"),
    (b'[{"id": 1, "score": 2}', {}, "is not JSON in object 2"),
    (b'[{"id": 1, "score": 2}] {}', {}, "has '{}' after its array; write one array of objects"),
    (b'{"id": 1,\n"score": 2}', {}, "is one JSON object of 2 members, 'id', 'score'; write an array"),
    (b'{"id": 1, "score": 2}\n7\n', {}, "has '7' in line 2; every line must be an object"),
    (b'{"id": 1, "score": ' + b"[" * 100_000, {}, "is not JSON in line 1"),
    (b"who,score\na,1\n", {}, "or 'url' or 'image_url'; its columns are 'who', 'score'; set id_column"),
    (b"id,points\na,1\n", {}, "column 'score' or 'label' or 'mean' or 'mos' or"),
    (b"id,points\na,1\n", {}, "or 'rating'; its columns are 'id', 'points'; set score_column"),
    (b"id,score\na,1\n", {"id_column": "photo"}, "has no column 'photo'; its columns are 'id', 'score'; set id_column"),
    (b"id,score\na,1\n", {"split_column": "set"}, "has no column 'set'; its columns are 'id', 'score'; set split"),
    (b"id,ID,score\na,b,1\n", {"id_column": "Id"}, "has 2 columns named 'Id'"),
    (b"id,score\na,1\nb,2,3\n", {}, "has 3 fields in line 3, 'b,2,3', but its header has 2"),
    (b"id,score\n\na,1\nb\n", {}, "has 1 fields in line 4, 'b', but its header has 2"),
    (b'id,score,note\na,1,x\nb,2,"y\nc,3,z\n', {}, "has a quote that is not closed in the row at line 3"),
    (parquet(id=["a"], score=[[1]]), {}, "has column 'score' of type list"),
    (parquet(id=["a"], score=[True]), {}, "has column 'score' of type bool; it must hold text or numbers"),
    (parquet(id=[b"\xff"], score=[1]), {}, "has column 'id' of type binary that is not text"),
    (parquet(id=pa.array([b"\xff"]).view(pa.string()), score=[1]), {}, "is not readable as Parquet"),
    (AVA, {"label_format": "csv"}, "looks like ava, but label_format is 'csv'; set label_format to auto or ava"),
    (parquet(**ROWS), {"label_format": "jsonl"}, "looks like parquet, but label_format is 'jsonl'"),
    (TABLES["jsonl"], {"label_format": "ava"}, "looks like jsonl, but label_format is 'ava'"),
    (TABLES["comma"], {"label_format": "parquet"}, "looks like csv, but label_format is 'parquet'"),
    (TABLES["comma"], {"label_format": "ava"}, "has 1 fields in line 1: 'id,score'; an AVA line has 15 integers"),
    (TABLES["comma"], UNIT, "is csv without a declared range, but label_scale is 'unit'; set label_min and label_max"),
    (TABLES["jsonl"], {**UNIT, "label_min": 1.0}, "set label_min and label_max"),
    (TABLES["comma"], {"exclude_tags": ("Nude",)}, "is csv, but exclude_tags needs AVA scores"),
    (AVA, {"split_column": "set"}, "is AVA scores, which have no columns, but split_column is 'set'"),
]  # fmt: skip


@pytest.mark.parametrize(("data", "values", "message"), REFUSED, ids=[str(number) for number in range(len(REFUSED))])
def test_a_file_that_cannot_be_used_is_refused_with_thing_rule_and_next_step(data, values, message):
    with pytest.raises(LabelError) as caught:
        read(data, **values)
    assert message in str(caught.value)
    assert f"label file '{URL}'" in str(caught.value)


def test_unit_scale_takes_the_range_that_ava_has_or_that_is_declared():
    assert read(AVA, **UNIT).format == "ava"
    assert read(TABLES["comma"], label_min=0.0, label_max=5.0, **UNIT).format == "csv"


@settings(deadline=None)
@given(st.binary(max_size=60) | st.text('id,score\n"a1.5;{}[]: \t\r', max_size=60).map(str.encode))
def test_any_bytes_are_read_or_refused_but_never_crash(data):
    for start in (b"", b"id,score\n", b"PAR1", b"{", b"1 2 3", AVA):
        try:
            labels = read(start + data)
        except LabelError:
            continue
        assert len(labels.table)


@pytest.mark.parametrize("rows", [AVA, AVA.replace(b" ", b"  ")], ids=["plain", "any blanks"])
def test_ava_rows_are_not_read_one_by_one(rows):
    def calls(data):
        counted: Counter[str] = Counter()
        sys.setprofile(lambda _, event, __: counted.update([event]))
        try:
            read(data)
        finally:
            sys.setprofile(None)
        return counted["call"]

    read(rows)  # what is done once, on the first call, is done
    assert calls(rows * 10_000) <= calls(rows * 100) + 20
