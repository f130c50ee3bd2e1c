"""Excel sheets: what a cell becomes, which sheet is read, and what is refused."""

import io
import struct
import sys
import zipfile
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as given_settings
from hypothesis import strategies as st

from aesthetics_ops.errors import LabelError
from tests.support.labels import read, refusal, rows
from tests.support.sheets import DATE, error, formula, sheet_xml, xlsx

HEADER = ["Image name", "MOS", "Brightness"]
SPAQ: list[list[Any]] = [HEADER, ["00001.jpg", 35.25, 4], ["00002.jpg", 71, 5]]


def sheet(*rows: Any, **more: Any) -> bytes:
    return xlsx({"Sheet1": rows}, **more)


def test_spaqs_sheet_works_as_it_is() -> None:
    labels = read(sheet(*SPAQ))
    assert (labels.format, labels.columns) == ("xlsx", {"id": "Image name", "score": "MOS"})
    assert rows(labels, "row", "name", "score", "problem") == [
        (2, "00001.jpg", 35.25, None),
        (3, "00002.jpg", 71, None),
    ]
    assert labels.notes == ()


def test_a_known_kind_is_known_in_a_sheet_too() -> None:
    koniq = ["image_name", "c1", "c2", "c3", "c4", "c5", "c_total"]
    labels = read(sheet(koniq, ["11.jpg", 0, 1, 4, 5, 0, 10], ["22.jpg", 0, "x", 4, 5, 0, 10]))
    assert (labels.layout, labels.ratings) == ("KonIQ-10k", (1, 2, 3, 4, 5))
    assert rows(labels, "score", "problem") == [(pytest.approx(3.4), None), (None, "vote count 'x' is not a number")]


def test_single_votes_of_a_sheet_are_put_together() -> None:
    labels = read(sheet(["image_id", "user_id", "score"], ["a", "u", 7], ["a", "v", error("#N/A")], ["b", "u", 3]))
    assert rows(labels, "row", "name", "score", "problem") == [
        (2, "a", None, "row 3 has vote '#N/A, cell C3', which is not one of the 11 ratings 0 to 10"),
        (4, "b", 3, None),
    ]


@pytest.mark.parametrize(
    ("cell", "score", "problem"),
    [
        (3.5, 3.5, None),
        (7, 7.0, None),
        ("4.5", 4.5, None),
        (" 4,5 ", 4.5, None),
        (formula("1+2", "3"), 3.0, None),
        (None, None, "score is missing"),
        ("", None, "score is missing"),
        ("good", None, "score 'good' is not a number"),
        (formula("1+2"), None, "score 'formula without value, cell B2' is not a number"),
        (error("#N/A"), None, "score '#N/A, cell B2' is not a number"),
        (error("#DIV/0!"), None, "score '#DIV/0!, cell B2' is not a number"),
        (True, None, "score 'TRUE' is not a number"),
        (DATE, None, "score 'date 2020-01-02' is not a number"),
        ("9" * 400, None, "score '9999999999999999999999999999999999999999' is not finite"),
        ('<c r="{cell}"><v>1e400</v></c>', None, "score 'inf' is not finite"),
        ('<c r="{cell}"><v>NaN</v></c>', None, "score 'nan' is not finite"),
        ("1,234.5", None, "score '1,234.5' has signs between thousands; write it without them"),
    ],
)  # fmt: skip
def test_a_cell_is_a_score_or_a_problem_of_its_row(cell: Any, score: float | None, problem: str | None) -> None:
    labels = read(sheet(["id", "score"], ["a", cell], ["b", 2.25]))
    assert rows(labels, "name", "score", "problem") == [("a", score, problem), ("b", 2.25, None)]


@pytest.mark.parametrize(
    ("cell", "name"),
    [(123, "123"), (1.5, "1.5"), ("007", "007"), ("x/a.jpg", "x/a.jpg"), (True, "TRUE"), (" é ", "é"), (2**53 - 1, str(2**53 - 1))],
)  # fmt: skip
def test_a_name_is_what_a_person_sees(cell: Any, name: str) -> None:
    assert rows(read(sheet(["id", "score"], [cell, 1])), "name") == [(name,)]


def test_formulas_are_told_of_and_without_values_named() -> None:
    (note,) = read(sheet(["id", "score"], ["a", formula("1+2", "3")], ["b", 1])).notes
    assert note.endswith("has formulas; the values that they had when it was saved are used")
    (note,) = read(sheet(["id", "score"], ["a", 1], ["b", formula("1+2")])).notes
    assert "it has formulas without a value, first in cell B3; open it in Excel or LibreOffice and save it" in note


def test_a_name_that_was_never_calculated_is_refused_with_its_cell() -> None:
    message = refusal(sheet(["id", "score"], [formula('"a" &amp; ".jpg"'), 1]))
    assert (
        "has a formula without a value in cell A2 of sheet 'Sheet1', where a photo's name should be; open it" in message
    )


def test_prefixed_elements_and_cells_without_their_place_are_understood() -> None:
    xml = (
        '<x:worksheet xmlns:x="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><x:sheetData>'
        '<x:row><x:c t="inlineStr"><x:is><x:t>id</x:t></x:is></x:c><x:c t="inlineStr"><x:is><x:t>score</x:t></x:is></x:c></x:row>'
        '<x:row><x:c t="inlineStr"><x:is><x:t>a</x:t></x:is></x:c><x:c><x:f>1+1</x:f></x:c></x:row>'
        "</x:sheetData></x:worksheet>"
    )
    labels = read(sheet(more={"xl/worksheets/sheet1.xml": xml.encode()}))
    assert rows(labels, "name", "problem") == [("a", "score 'formula without value, cell B2' is not a number")]


def test_blank_rows_before_and_between_are_skipped_and_counted() -> None:
    labels = read(
        sheet([], [None, None], [None, "id", "score"], [], [None, "a", 1], [None, None, None], [None, "b", 2])
    )
    assert rows(labels, "row", "name", "score") == [(5, "a", 1), (7, "b", 2)]


def test_a_row_with_something_else_in_it_is_no_blank_row() -> None:
    labels = read(sheet(["id", "score", "x"], ["a", 1, None], [None, None, "total"]))
    assert rows(labels, "row", "problem") == [(2, None), (3, "no name")]


def test_merged_cells_have_one_value_and_the_build_says_so() -> None:
    labels = read(sheet(["id", "score"], ["a", 1], ["b", None], merged=["B2:B3", "F1:G9"]))
    assert rows(labels, "name", "problem") == [("a", None), ("b", "score is missing")]
    assert "has merged cells, first B2:B3; only the first cell of each has the value" in labels.notes[0]
    assert read(sheet(["id", "score"], ["a", 1], merged=["F1:G9"])).notes == ()


def test_hidden_rows_are_read_and_told() -> None:
    rows: list[list[Any]] = [["id", "score"], ["a", 1], ["b", 2]]
    shown = sheet(*rows)
    assert read(shown).notes == ()
    xml = sheet_xml(rows).replace('<row r="3">', '<row r="3" spans="1:2" hidden="1">').encode()
    labels = read(xlsx({"S": rows}, more={"xl/worksheets/sheet1.xml": xml}))
    assert labels.table["name"].to_pylist() == ["a", "b"]
    assert "has hidden rows, which are read, too; delete them if they are not meant" in labels.notes[0]


def test_a_sheet_may_have_no_header() -> None:
    labels = read(sheet(["a.jpg", 1.5], ["b.jpg", 2]))
    assert rows(labels, "row", "name", "score") == [(1, "a.jpg", 1.5), (2, "b.jpg", 2)]
    assert "has no header; its columns were taken as id, score" in labels.notes[0]


# which sheet

SEVERAL: dict[str, Any] = {
    "About": [["Scores of the survey"], ["made in", 2024]],
    "MOS": [["id", "score"], ["a", 1]],
    "Second": [["id", "score"], ["b", 2]],
    "Old": [["id", "score"], ["c", 3]],
}


@pytest.mark.parametrize(
    ("sheet", "name"), [(None, "a"), ("Second", "b"), ("3", "b"), ("Old", "c"), ("MOS", "a"), ("2", "a")]
)
def test_the_first_sheet_that_has_the_columns_is_read_or_the_one_that_is_set(sheet: str | None, name: str) -> None:
    labels = read(xlsx(SEVERAL, hidden=["Old"]), **({} if sheet is None else {"sheet": sheet}))
    assert rows(labels, "name") == [(name,)]
    assert "was read from sheet" in labels.notes[0]
    assert "'About'" in labels.notes[0]


@pytest.mark.parametrize("sheet", ["Third", "4", "0", "²"])
def test_a_sheet_that_is_not_there_is_refused_with_those_that_are(sheet: str) -> None:
    message = refusal(xlsx(SEVERAL, hidden=["Old"]), sheet=sheet)
    assert f"has no sheet {sheet!r}; its sheets are 'About', 'MOS', 'Second', 'Old' (hidden): set sheet" in message


def test_a_hidden_sheet_is_not_read_by_itself() -> None:
    assert "none of its 2 sheets has them; its sheets are 'About', 'Notes', 'Old' (hidden): set sheet" in refusal(
        xlsx({"About": SEVERAL["About"], "Notes": [["x"], ["y"]], "Old": SEVERAL["Old"]}, hidden=["Old"])
    )
    assert "has no sheet of cells that is shown; its sheets are 'Old' (hidden)" in refusal(
        xlsx({"Old": SEVERAL["Old"]}, hidden=["Old"])
    )


def test_a_sheet_of_another_format_is_no_setting() -> None:
    with pytest.raises(LabelError, match="is csv, but sheet needs Excel sheets; leave sheet empty or give a file of"):
        read(b"id,score\na,1\n", sheet="1")


# what is refused


def zipped(**files: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in files.items():
            archive.writestr(name.replace("__", "/").replace("_dot_", "."), content)
    return packed.getvalue()


OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (OLE + bytes(600), "is an old Excel file, .xls, or another of Office's; save the sheet as .xlsx or as CSV"),
        (OLE + bytes(600) + "EncryptedPackage".encode("utf-16-le"), "is an Excel file with a password; save it without"),
        (zipped(a_dot_csv=b"id,score\na,1"), "is a zip file with 'a.csv' in it, and no Excel sheet; unpack it"),
        (zipped(xl__workbook_dot_bin=b""), "is an Excel file in binary, .xlsb; save it as .xlsx"),
        (zipped(mimetype=b"", content_dot_xml=b""), "is an OpenDocument sheet; save it as .xlsx or as CSV"),
        (b"PK\x03\x04" + bytes(30), "is not readable as Excel or zip: File is not a zip file; save it again"),
        (sheet(*SPAQ)[:-200], "is not readable as Excel or zip"),
        (sheet(*SPAQ, more={"xl/workbook.xml": b"<"}), "is not readable as Excel"),
        (sheet(HEADER), "has a header but no rows in sheet 'Sheet1'"),
        (sheet(), "has nothing in sheet 'Sheet1'; its first row must name the columns"),
        (sheet(["photo no", "value"], ["a", 1]),
         "set id_column to one of them; sheet 'Sheet1' was read, whose first row with cells is row 1"),
        (sheet([], ["photo", "points"], ["a", 1]), "set score_column to one of them; sheet 'Sheet1' was read, whose first row with cells is row 2"),
        (sheet(["image_name", "Image Name", "mos"], ["a", "b", 1]), "has 2 columns named 'image_name'; rename all but one"),
        (sheet([1, 2, 3], [4, 5, 6]), "has no header, and its first line has 3 fields: '1', '2', '3'; set id_column"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused_in_one_line(data: bytes, message: str) -> None:
    assert message in refusal(data)


def test_without_the_library_the_message_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "python_calamine", None)
    assert "run: pip install 'aesthetics-ops[excel]', or save the sheet as CSV" in refusal(sheet(*SPAQ))


# what is bounded


def test_a_sheet_that_unpacks_to_too_much_is_refused() -> None:
    bomb = sheet(*SPAQ, more={"xl/sharedStrings.xml": bytes(600 << 20)})
    assert len(bomb) < 1 << 20
    assert "and more than 67108864 unpacked from Excel; save the sheet as CSV" in refusal(bomb)


def test_what_an_archive_says_of_its_sizes_is_not_believed() -> None:
    bomb = bytearray(sheet(*SPAQ, more={"xl/sharedStrings.xml": bytes(80 << 20)}))
    at = bomb.rindex(b"PK\x01\x02", 0, bomb.rindex(b"xl/sharedStrings.xml"))
    struct.pack_into("<I", bomb, at + 24, 100)  # the size unpacked, in the directory at the end
    assert "more than 67108864 unpacked" in refusal(bytes(bomb))


@pytest.mark.parametrize(
    "reference", ['r="B99999999"', "r='ZZZZ300'", 'r = "XFD1048576"', '\nr\t=\t"b99999999"', 't="n"r="ZZZZ99"']
)
def test_two_cells_that_lie_far_apart_do_not_stand_for_all_between_them(reference: str) -> None:
    xml = sheet_xml([["id", "score"], ["a", 1]]).replace(
        "</row></sheetData>", f"<c {reference}><v>1</v></c></row></sheetData>"
    )
    assert reference in xml
    data = sheet(more={"xl/worksheets/sheet1.xml": xml.encode()})
    assert "at most 30000000 cells are read, blank ones between them too; delete what lies outside" in refusal(data)


def test_many_columns_are_no_harm() -> None:
    labels = read(sheet(["id", "score", *(f"x{n}" for n in range(900))], ["a", 1, *range(900)]))
    assert rows(labels, "name", "score") == [("a", 1)]


SMALL = sheet(*SPAQ)


def read_or_refuse(data: bytes) -> None:
    said = ""
    try:
        read(data)
    except LabelError as error:
        said = str(error)
    assert "\n" not in said


@given_settings(deadline=None, max_examples=150)
@given(st.lists(st.tuples(st.integers(0, len(SMALL) - 1), st.integers(0, 255)), min_size=1, max_size=6))
def test_a_damaged_workbook_is_read_or_refused_but_never_crashes(damage: list[tuple[int, int]]) -> None:
    data = bytearray(SMALL)
    for place, value in damage:
        data[place] = value
    read_or_refuse(bytes(data))


SHEET = sheet_xml(SPAQ)


@given_settings(deadline=None, max_examples=150)
@given(st.integers(0, len(SHEET)), st.integers(0, 30), st.text('<>/"= crtvfs019AZ&;\n', max_size=12))
def test_odd_xml_is_read_or_refused_but_never_crashes(start: int, length: int, text: str) -> None:
    odd = SHEET[:start] + text + SHEET[start + length :]
    read_or_refuse(sheet(more={"xl/worksheets/sheet1.xml": odd.encode()}))
