"""What people give in place of a score file, or a score file that went wrong: each is one line, or a problem of its row."""

import gzip
import json
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest

from tests.support.labels import parquet, read, refusal, rows
from tests.support.sheets import xlsx

MIB = 1 << 20
TANET = "image_id," + ",".join(f"score{n}" for n in range(2, 12)) + "\n"
AVA = b"1 953619 0 1 5 17 38 36 15 6 5 1 1 22 1396"


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\n", "a PDF"),
        (b"\n <!DOCTYPE html>\n<html><body>id,score</body></html>", "a web page"),
        (b'// scores\n// of May\n[{"id": "a", "score": 1}]', "JSON with comments"),
        (b'\xef\xbb\xbf/* scores\n of May */\n{"id": "a", "score": 1}', "JSON with comments"),
        (b"<HTML><head><title>Sign in</title>", "a web page"),
        (b"<?xml version='1.0'?>\n<Error><Code>NoSuchKey</Code></Error>", "XML"),
        (b"\xff\xd8\xff\xe0\x00\x10JFIF\x00", "a JPEG"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", "a PNG"),
        (b"SQLite format 3\x00", "an SQLite database"),
        (b"\x93NUMPY\x01\x00v\x00", "a NumPy array"),
    ],
)
def test_a_file_of_another_kind_is_called_what_it_is(data: bytes, what: str) -> None:
    assert f"is {what}, not a file of scores; check its URL, or save the scores as CSV" in refusal(data)


@pytest.mark.parametrize("name", ["gif8.jpg", "rar!.jpg", "orchid.jpg", "arrow1.jpg", "7z.jpg"])
def test_names_that_begin_like_another_kind_are_names(name: str) -> None:
    assert rows(read(f"{name},1\nb,2\n".encode()), "name") == [(name,), ("b",)]


CUT = parquet(id=["a"] * 5000, score=[1.0] * 5000)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (CUT[:-100], "is not readable as Parquet"),
        (CUT[:300] + b"PAR1", "is not readable as Parquet"),
        (b'id,score\n"a,1\nb,2\nc,3\n', "has a quote that is not closed in the row at line 2"),
        (b"id,score\na,1\nb;2\n", "has 1 fields in line 3, 'b;2', but its header has 2; put quotes around a value with ','"),
        (b"id\tscore\na\t1\nb,2\n", "has 1 fields in line 3, 'b,2', but its header has 2"),
        (b"id,score\na,1\nb\x00,2\n", "is no text: byte 14 is 0x00; give a file of scores, or save it as CSV in UTF-8"),
        (b"id,score\na,1\n" + bytes(100), "is no text: byte 13 is 0x00"),
        ("id,score\na,1\n".encode("utf-16-le"), "looks like UTF-16 without its mark; give a file of scores, or save it as CSV"),
        (b"id,score,score\na,1,2\n", "has 2 columns named 'score'; rename all but one, or set score_column to another"),
        (b"id,score\n", "has a header but no rows"),
        (b"[]", "has no rows"),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)  # fmt: skip
def test_what_went_wrong_is_said_in_one_line(data: bytes, message: str) -> None:
    assert message in refusal(data)


# Made when its test runs: each process that collects tests would make them all.
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: b"id,score\na,1\n" + b"x" * (10 * MIB) + b",2\n", "has more than 1048576 bytes in line 3; leave out columns that are no"),
        (lambda: b'id,score,note\na,1,"' + b"x\n" * (5 * MIB) + b'"\n', "has more than 1048576 bytes in a value between quotes; leave out"),
        (lambda: b"id,score\n" + b"a" * (40 * MIB), "has more than 1048576 bytes in line 2"),
        (lambda: b"a" * (40 * MIB), "has more than 1048576 bytes in its first line"),
        (lambda: b"1 " * (20 * MIB), "has more than 4096 bytes in line 1; an AVA line has 15 integers"),
        (lambda: AVA + b"\n" + b"1 " * MIB, "has more than 4096 bytes in line 2; an AVA line has 15 integers"),
        (lambda: b'{"id": "' + b"a" * (40 * MIB), "is not JSON in line 1"),
        (lambda: b"id," + b"x," * 500_000 + b"score\na\n", "has 500002 columns; at most 10000 are read"),
        (lambda: b"id," + b",".join(b"%d" % n for n in range(1_000_000)), "has more than 1048576 bytes in its first line"),
        (lambda: json.dumps({"id": "a"} | {f"x{n}": 1 for n in range(199_999)}).encode(), "has 200000 columns; at most 10000 are read"),
        (lambda: parquet(**{f"x{n}": [1] for n in range(10_001)}), "has 10001 columns; at most 10000 are read"),
        (lambda: xlsx({"S": [[f"x{n}" for n in range(10_001)]]}), "has 10001 columns; at most 10000 are read"),
        (lambda: pa.compress(bytes(80 * MIB), "zstd", asbytes=True), "and more than 67108864 unpacked from zstd; unpack it yourself"),
        (lambda: gzip.compress(bytes(80 * MIB)), "and more than 67108864 unpacked from gzip; unpack it yourself"),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)  # fmt: skip
def test_what_is_too_large_is_said_in_one_line(make: Callable[[], bytes], message: str) -> None:
    assert message in refusal(make())


def test_a_pair_of_quotes_that_swallows_rows_is_told() -> None:
    (note,) = read(b'id,score\n"a,1\nb,2\n"c,3\nd,4\n').notes
    assert (
        "has 1 names with line breaks, first in row 2, 'a,1\\nb,2\\nc': a quote that is not closed took the rows"
        in note
    )


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"id,score\ra,1\rb,2\r", [(2, "a"), (3, "b")]),
        (AVA + b"\r" + AVA.replace(b"953619", b"7"), [(1, "953619"), (2, "7")]),
        (b'{"id": "a", "score": 1}\r{"id": "b", "score": 2}', [(1, "a"), (2, "b")]),
        (b"a 1\rb 2\r", [(1, "a"), (2, "b")]),
    ],
)
def test_lines_may_end_with_a_return_alone(data: bytes, expected: list[tuple[int, str]]) -> None:
    assert rows(read(data), "row", "name") == expected


@pytest.mark.parametrize("before", ["", "\ufeff"])
def test_byte_order_marks_in_the_middle_are_left_out_and_told(before: str) -> None:
    labels = read(f"{before}id,score\na,1\n\ufeffid,score\n\ufeffb,2\n".encode())
    assert rows(labels, "row", "name", "problem") == [
        (2, "a", None), (3, "id", "score 'score' is not a number"), (4, "b", None)
    ]  # fmt: skip
    assert "has 2 byte order marks in the middle, as where files were put together" in labels.notes[0]


@pytest.mark.parametrize(
    "data",
    [
        f"id,score\na,{'9' * 400}\nb,1\n".encode(),
        (b'{"id": "a", "score": ' + b"9" * 400 + b'}\n{"id": "b", "score": 1}'),
        xlsx({"S": [["id", "score"], ["a", "9" * 400], ["b", 1]]}),
        parquet(id=["a", "b"], score=["9" * 400, "1"]),
    ],
    ids=["csv", "jsonl", "xlsx", "parquet"],
)
def test_numbers_of_400_digits_are_a_problem_of_their_row(data: bytes) -> None:
    assert rows(read(data), "problem") == [(f"score '{'9' * 40}' is not finite",), (None,)]


@pytest.mark.parametrize(
    ("counts", "problem"),
    [
        (["-1", *"111111111"], "negative vote count"),
        (["", *"111111111"], "vote count is missing"),
        (["0"] * 10, "no votes"),
    ],
)
def test_counts_that_cannot_be_are_a_problem_of_their_row(counts: list[str], problem: str) -> None:
    assert rows(read(f"{TANET}a,{','.join(counts)}\nb,{','.join('1' * 10)}\n".encode()), "problem") == [
        (problem,),
        (None,),
    ]


COUNTS = ",4,18,2,8,3,15,14,15,20,12"


@pytest.mark.parametrize(
    ("data", "hint"),
    [
        ("id," + ",".join(f"score{n}" for n in (10, *range(1, 10))) + f"\na{COUNTS}\n", "score1..score10"),
        ("id,r0,r2,r4\na,1,2,3\n", "r0, r2, r4"),
        ("id,r08,r09,r10\na,1,2,3\n", "r08, r09, r10"),
        ("id,1,2,3\na,1,2,3\n", "1..3"),
        ('{"id": "a", "label": [1, 2, 3]}', "label[0]..label[2]"),
    ],
)
def test_columns_of_counts_without_a_score_are_named_for_the_setting(data: str, hint: str) -> None:
    assert f"set score_column to one of them, or vote_columns to {hint} if these count votes" in refusal(data.encode())
    names = tuple(name.strip() for name in hint.split(","))
    assert read(data.encode(), vote_columns=names).columns["votes"].split(" to ")[0] == names[0].split("..")[0]


def test_a_count_that_is_taken_for_a_score_is_told_with_all_columns_in_any_order() -> None:
    header = ",".join(f"score{n}" for n in (1, 10, *range(2, 10)))
    (note,) = read(f"id,{header}\na{COUNTS}\n".encode(), score_column="score3").notes
    assert note.endswith("set vote_columns to score1..score10 if it is")


@pytest.mark.parametrize(
    ("names", "values", "said"),
    [
        ("r0, r1, r2", (), "set vote_values to 0, 1, 2 if these are the ratings"),
        ("r2, r1, r0", (), "set vote_values to 2, 1, 0 if these are the ratings"),
        ("r1, r2, r3", (), None),
        ("r0, r1, r2", (1, 2, 3), None),
        ("bad, fair, good", (), None),
    ],
)
def test_ratings_that_are_not_the_numbers_in_the_names_are_told(
    names: str, values: tuple[float, ...], said: str | None
) -> None:
    columns = tuple(names.split(", "))
    labels = read(f"id,{','.join(columns)}\na,1,2,5\n".encode(), vote_columns=columns, vote_values=values)
    assert labels.ratings == (1, 2, 3)
    assert [note.endswith(str(said)) for note in labels.notes] == ([True] if said else [])


def test_numbers_of_columns_without_a_header_are_no_ratings() -> None:
    labels = read(b"7,a,1,2,5\n8,b,1,2,5\n", id_column="2", vote_columns=("3..5",))
    (note,) = labels.notes
    assert "vote_values" not in note


@pytest.mark.parametrize("kind", [pa.list_, pa.large_list])
def test_lists_of_any_length_type_are_columns(kind: Any) -> None:
    data = parquet(id=["a", "b"], votes=pa.array([[1, 0, 1], None], kind(pa.int64())))
    labels = read(data, vote_columns=("votes[0]..votes[2]",))
    assert rows(labels, "score", "problem") == [(2.0, None), (None, "vote count is missing")]


@pytest.mark.parametrize(
    ("scores", "wanted"),
    [
        (("3,5", "n.a.", "k.A."), [(3.5, None), (None, "score 'n.a.' is not a number"), (None, "score 'k.A.' is not a number")]),
        (("3,5", "2.5"), [(None, "score '3,5' has a comma, where other scores have decimal points"), (2.5, None)]),
        (("1.234,5", "2,5"), [(None, "score '1.234,5' has signs between thousands; write it without them"), (2.5, None)]),
        (("1.234.567", "2,5"), [(None, "score '1.234.567' has signs between thousands; write it without them"), (2.5, None)]),
        (("1,234.5", "2,5"), [(None, "score '1,234.5' has signs between thousands; write it without them"), (None, "score '2,5' has a comma, where other scores have decimal points")]),
        (("1.234,5", "2,5", "3.5"), [(None, "score '1.234,5' has signs between thousands; write it without them"), (None, "score '2,5' has a comma, where other scores have decimal points"), (3.5, None)]),
    ],
)  # fmt: skip
def test_a_comma_is_a_decimal_point_unless_a_number_has_a_point_before_a_fraction(
    scores: tuple[str, ...], wanted: list[tuple[Any, ...]]
) -> None:
    data = "id;score\n" + "".join(f"{row};{score}\n" for row, score in enumerate(scores))
    assert rows(read(data.encode()), "score", "problem") == wanted


@pytest.mark.parametrize(("score", "is_told"), [("1,234", True), ("1,23", False), ("0,234", False), ("1234", False)])
def test_a_comma_that_may_stand_between_thousands_is_told(score: str, is_told: bool) -> None:
    labels = read(f"id;score\na;{score}\nb;9\n".encode())
    assert [
        note.endswith("which is read as 1.234; write 1234 if the comma is none of a fraction") for note in labels.notes
    ] == [True] * is_told


def test_a_column_without_a_name_is_told() -> None:
    assert "set id_column to one of them, or write a name above column 1, which has none" in refusal(b",score\na,5\n")


def test_utf_32_is_called_so() -> None:
    assert refusal("id,score\na,5\n".encode("utf-32")).endswith("is UTF-32 text; save it as CSV in UTF-8")


@pytest.mark.parametrize("first", ["sep=;\r\n", '"sep=;"\n', "SEP=;\n"])
def test_a_line_for_excel_alone_is_passed_over(first: str) -> None:
    assert rows(read(f"{first}id;score\na;5,5\nb;x\n".encode()), "row", "score") == [(3, 5.5), (4, None)]


@pytest.mark.parametrize("header", ["", '"image" "score"\n', "image score\n"])
def test_blanks_between_quotes_are_no_ends_of_fields(header: str) -> None:
    data = f'{header}"x y.jpg" 5\n"b.jpg"   6\n'.encode()
    assert rows(read(data), "name", "score") == [("x y.jpg", 5.0), ("b.jpg", 6.0)]


def test_nan_in_a_kept_column_of_numbers_is_null() -> None:
    kept = read(b"id,score,k,m\na,1,nan,nan\nb,2,3,x\n", keep_columns=("k", "m")).kept
    assert kept is not None
    assert kept.to_pydict() == {"k": [None, 3], "m": ["nan", "x"]}


@pytest.mark.parametrize(
    ("data", "end"),
    [
        ({"a.jpg": "5", "b.jpg": "6"}, "; the file is one object: write one for each photo"),
        ([{"id": "a", "made": {"q": 5}}, {"id": "b"}], "; 'made' holds an object, whose members are not read: write them beside the others"),
        ([{"id": "a", "q": 5}, {"id": "b"}], "set score_column to one of them"),
    ],
)  # fmt: skip
def test_json_of_another_shape_is_told(data: Any, end: str) -> None:
    assert refusal(json.dumps(data).encode()).endswith(end)


ROW = '{"id": "a.jpg", "score": 5}'
TWICE = '{"id": "b.jpg", "score": 6, "score": 7}'
NESTED = '{"id": "b.jpg", "score": 6, "more": {"x": 1, "x": 2}}'


@pytest.mark.parametrize(("row", "name"), [(TWICE, "score"), (NESTED, "x")])
@pytest.mark.parametrize("before", [1, 3_000])
def test_a_name_that_stands_twice_in_an_object_is_told_with_its_place(row: str, name: str, before: int) -> None:
    """Which of the two is meant nothing says, and programs differ in which they take."""
    said = f"{before + 1}, that is no row: {name!r} stands more than once in an object; keep one of them"
    found = [ROW] * before + [row]
    assert refusal("\n".join(found).encode()).endswith(f"has a line, {said}")
    assert refusal(f"[{','.join(found)}]".encode()).endswith(f"has an object, {said}")


@pytest.mark.parametrize("votes", ['{"1": 1, "2": 2, "1": 3}', '{"1": 1, "2": 2, "1.0": 3}', "{1: 1, 2: 2, 1: 3}"])
def test_a_rating_that_stands_twice_in_a_cell_of_votes_is_a_problem_of_its_row(votes: str) -> None:
    data = f'id;votes\na;{{"1": 1, "2": 2}}\nb;{votes}\n'.encode()
    found = rows(read(data, vote_columns=("votes",)), "name", "problem")
    assert found[0] == ("a", None)
    assert found[1][1] == f"votes {votes!r} are no counts"


LIST, OBJECT = [1, 2, 3], {"1": 1, "2": 2, "3": 3}


@pytest.mark.parametrize("written", ["lines", "array", "text", "parquet"])
@pytest.mark.parametrize(
    "votes", [[LIST, LIST, OBJECT], [OBJECT, OBJECT, LIST], [LIST, OBJECT], [OBJECT, LIST], [LIST] * 20_000 + [OBJECT]]
)
def test_votes_that_are_lists_in_some_rows_and_objects_in_others_are_one_line(written: str, votes: list[Any]) -> None:
    found = [{"id": f"p{number}", "votes": one} for number, one in enumerate(votes)]
    row = next(number for number, one in enumerate(votes) if type(one) is not type(votes[0]))
    match written:
        case "lines":
            data, first = "\n".join(map(json.dumps, found)).encode(), 1
        case "array":
            data, first = json.dumps(found).encode(), 1
        case "text":
            data, first = (
                ("id;votes\n" + "".join(f"{one['id']};{json.dumps(one['votes'])}\n" for one in found)).encode(),
                2,
            )
        case _:
            texts = [json.dumps(one) for one in votes]
            data, first = parquet(id=[one["id"] for one in found], votes=texts), 1
    kind, others = ("a list", "objects") if type(votes[row]) is list else ("an object", "lists")
    said = refusal(data, vote_columns=("votes",))
    assert f"has {kind} of votes in row {row + first}, and {others} in others; write them in one way" in said
    alike = [{**one, "votes": LIST} for one in found[:3]]
    assert rows(read(json.dumps(alike).encode(), vote_columns=("votes",)), "problem") == [(None,)] * len(alike)
