"""An Excel workbook: which sheets it has, their rows, and the cells that a reader of values alone would take for blank.

In: the file.  Out: rows of values as they were when it was saved.
Safe: all that it unpacks is counted before it is opened, and so is how far its cells lie apart, since rows are kept without gaps.
"""

import html
import io
import re
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from aesthetics_ops.errors import LabelError
from aesthetics_ops.sources.labels.file import LabelFile

__all__ = ["Workbook", "cell_name", "open_workbook"]

_MOST_BYTES: Final = 64 << 20  # that any workbook may have unpacked
_MOST_TIMES: Final = 30  # its size that a larger one may have; sheets of numbers have 7 to 15 times
_MOST_CELLS: Final = 30_000_000  # between the first and the last row and column; 24 bytes each
_ROW_OF_7_DIGITS_OR_COLUMN_OF_2_LETTERS: Final = (
    rb"(?:[A-Za-z]{2}|[A-Za-z]?\d{7})"  # neither: no more than 26 x 999,999
)
_FAR: Final = re.compile(rb' r="' + _ROW_OF_7_DIGITS_OR_COLUMN_OF_2_LETTERS)
_FAR_IN_ANY_SPELLING: Final = re.compile(rb"[\s\"']r\s*=\s*[\"']" + _ROW_OF_7_DIGITS_OR_COLUMN_OF_2_LETTERS)
_OTHER_SPELLINGS: Final = (
    b"='",
    b"= ",
    b" =",
    b"\t",
    b"\n",
    b"\r",
    b'"r=',
)  # of attributes; without them the quick search sees all
_REFERENCE: Final = re.compile(rb"[\s\"']r\s*=\s*[\"']([A-Za-z]*)(\d+)")
_CELLS: Final = re.compile(rb"<(?:\w+:)?(?:row\b([^>]*)|c\b([^>]*?)(?:/>|>(.*?)</(?:\w+:)?c>))", re.DOTALL)
_HIDDEN_ROW: Final = re.compile(rb"<(?:\w+:)?row\b[^>]*\shidden\s*=\s*[\"'](?:1|true)[\"']")
_BROKEN: Final = (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, NotImplementedError, ValueError)


@dataclass(frozen=True, slots=True)
class _Part:
    """What is known of a sheet's XML: whether it has formulas, errors such as #N/A, and rows that are not shown."""

    has_formulas: bool
    has_errors: bool
    has_hidden_rows: bool


class Workbook:
    """An open workbook.

    Attributes:
        visible: names of the sheets of cells that are shown, in order.
        hidden: names of those that are not.
    """

    def __init__(self, file: LabelFile, book: Any, archive: zipfile.ZipFile, parts: Mapping[str, _Part]) -> None:
        self._file, self._book, self._archive, self._parts = file, book, archive, parts
        self._entries = _entries_of_sheets(archive)
        sheets = [sheet for sheet in book.sheets_metadata if str(sheet.typ).endswith("WorkSheet")]
        self.visible = tuple(sheet.name for sheet in sheets if str(sheet.visible).endswith(".Visible"))
        self.hidden = tuple(sheet.name for sheet in sheets if sheet.name not in self.visible)

    def sheet(self, name: str) -> Any:
        """Return a sheet as python-calamine has it.

        Raises:
            LabelError: it cannot be read.
        """
        with _explained(self._file):
            return self._book.get_sheet_by_name(name)

    def has_formulas(self, name: str) -> bool:
        """Whether a sheet has cells that are calculated."""
        part = self._parts.get(self._entries.get(name, ""))
        return part is not None and part.has_formulas

    def has_hidden_rows(self, name: str) -> bool:
        """Whether a sheet has rows that are not shown, as where a filter is set."""
        part = self._parts.get(self._entries.get(name, ""))
        return part is not None and part.has_hidden_rows

    def odd_cells(self, name: str) -> dict[tuple[int, int], str]:
        """Return, by row and column from 0, the cells that have no value but are not blank: what they are, in a few words."""
        entry = self._entries.get(name, "")
        part = self._parts.get(entry)
        if part is None or not (part.has_formulas or part.has_errors):
            return {}
        found: dict[tuple[int, int], str] = {}
        row, column = -1, -1
        for of_row, of_cell, content in _CELLS.findall(self._archive.read(entry)):
            if not of_cell and not content:
                row, column = _place(of_row, row + 1, 0)[0], -1
                continue
            row, column = _place(of_cell, row, column + 1)
            if re.search(rb"\bt\s*=\s*[\"']e[\"']", of_cell):
                found[row, column] = _text_of(content, b"v") or "error"
            elif re.search(rb"<(?:\w+:)?f\b", content) and not _text_of(content, b"v"):
                found[row, column] = "formula without value"
        return found


@contextmanager
def open_workbook(file: LabelFile) -> Iterator[Workbook]:
    """Open a workbook.

    Raises:
        LabelError: it is none, is broken, unpacks to too much, or python-calamine is not installed.
    """
    try:
        archive = zipfile.ZipFile(io.BytesIO(file.data))
    except _BROKEN as error:
        raise file.error(f"is not readable as Excel or zip: {error}; save it again") from error
    with archive:
        _require_workbook(file, archive)
        try:
            import python_calamine
        except ImportError as error:
            raise file.error(
                f"is an Excel sheet, and python-calamine, which reads it, is not installed ({error}); run: pip install "
                "'aesthetics-ops[excel]', or save the sheet as CSV"
            ) from error
        parts = _examine(file, archive)
        with _explained(file):
            book = python_calamine.CalamineWorkbook.from_filelike(io.BytesIO(file.data))
        with book:
            yield Workbook(file, book, archive, parts)


def cell_name(row: int, column: int) -> str:
    """Return what Excel calls a cell, from its row and column, from 0: B3."""
    letters, rest = "", column + 1
    while rest:
        rest, letter = divmod(rest - 1, 26)
        letters = chr(ord("A") + letter) + letters
    return f"{letters}{row + 1}"


def _require_workbook(file: LabelFile, archive: zipfile.ZipFile) -> None:
    """Refuse a zip file that is something else."""
    names = archive.namelist()
    if any(re.fullmatch(r"xl/worksheets/.+\.xml", name, re.IGNORECASE) for name in names):
        return
    if any(name.casefold().endswith(".bin") and name.startswith("xl/") for name in names):
        raise file.error("is an Excel file in binary, .xlsb; save it as .xlsx or as CSV")
    if "content.xml" in names:
        raise file.error("is an OpenDocument sheet; save it as .xlsx or as CSV")
    shown = f"with {names[0][:80]!r} in it" if names else "with nothing in it"
    raise file.error(f"is a zip file {shown}, and no Excel sheet; unpack it, and give the file of scores")


def _examine(file: LabelFile, archive: zipfile.ZipFile) -> dict[str, _Part]:
    """Return what is known of each sheet's XML, once all that the file holds was unpacked, and found bounded."""
    most = max(_MOST_BYTES, _MOST_TIMES * len(file.data))
    parts, unpacked = {}, 0
    for info in archive.infolist():
        info.file_size = most + 1  # what it says of its size may be wrong
        try:
            with archive.open(info) as stream:
                xml = stream.read(most + 1 - unpacked)
        except _BROKEN as error:
            raise file.error(f"is not readable as Excel: {info.filename!r} in it: {error}; save it again") from error
        unpacked += len(xml)
        if unpacked > most:
            raise file.error(
                f"has {len(file.data)} bytes, and more than {most} unpacked from Excel; save the sheet as CSV, if it is what "
                "you mean"
            )
        if b"sheetData" in xml:
            _check_extent(file, xml)
            has_formulas = b"<f" in xml or b":f>" in xml or b":f " in xml
            has_hidden_rows = b"hidden" in xml and _HIDDEN_ROW.search(xml) is not None
            parts[info.filename] = _Part(has_formulas, b't="e"' in xml or b"t='e'" in xml, has_hidden_rows)
    return parts


def _check_extent(file: LabelFile, xml: bytes) -> None:
    """Refuse a sheet whose cells lie far apart: two cells may stand for billions."""
    far = _FAR_IN_ANY_SPELLING if any(spelling in xml for spelling in _OTHER_SPELLINGS) else _FAR
    if far.search(xml) is None:
        return
    rows = columns = 1
    for letters, digits in (
        _REFERENCE.findall(xml) if len(xml) < _MOST_BYTES else map(re.Match.groups, _REFERENCE.finditer(xml))
    ):
        rows = max(rows, int(digits[:20]))
        if len(letters) > 1:
            columns = max(columns, _column_number(letters[:20]))
    columns = max(columns, 26)
    if rows * columns > _MOST_CELLS:
        raise file.error(
            f"has cells in row {rows} and in column {columns} of a sheet: at most {_MOST_CELLS} cells are read, blank ones "
            "between them too; delete what lies outside the table, or save it as CSV"
        )


def _column_number(letters: bytes) -> int:
    number = 0
    for letter in letters.upper():
        number = 26 * number + letter - ord("A") + 1
    return number


def _place(attributes: bytes, row: int, column: int) -> tuple[int, int]:
    """Return where a row or cell stands, from 0: where it says, or else where it comes next."""
    said = _REFERENCE.search(b" " + attributes)
    if said is None:
        return row, column
    return int(said[2]) - 1, _column_number(said[1]) - 1 if said[1] else column


def _text_of(content: bytes, element: bytes) -> str:
    found = re.search(rb"<(?:\w+:)?" + element + rb"\b[^>]*>([^<]*)<", content)
    return html.unescape(found[1].decode(errors="replace")).strip() if found else ""


def _entries_of_sheets(archive: zipfile.ZipFile) -> dict[str, str]:
    """Return which file of the archive holds the sheet of a name, where that is written as usual."""
    names = set(archive.namelist())
    if not {"xl/workbook.xml", "xl/_rels/workbook.xml.rels"} <= names:
        return {}
    targets = {
        of.get("Id", ""): of.get("Target", "")
        for of in _attributes(archive.read("xl/_rels/workbook.xml.rels"), b"Relationship")
    }
    entries = {}
    for of in _attributes(archive.read("xl/workbook.xml"), b"sheet"):
        target = targets.get(of.get("id", ""), "")
        entries[of.get("name", "")] = target.lstrip("/") if target.startswith("/") else f"xl/{target}"
    return {name: entry for name, entry in entries.items() if entry in names}


def _attributes(xml: bytes, element: bytes) -> Sequence[dict[str, str]]:
    """Return the attributes of all elements of a name, without the names' prefixes."""
    found = []
    for text in re.findall(rb"<(?:\w+:)?" + element + rb"\s([^>]*)>", xml):
        pairs = re.findall(r"([\w:]+)\s*=\s*(?:\"([^\"]*)\"|'([^']*)')", text.decode(errors="replace"))
        found.append({name.rpartition(":")[2]: html.unescape(one or other) for name, one, other in pairs})
    return found


@contextmanager
def _explained(file: LabelFile) -> Iterator[None]:
    """Turn what python-calamine raises into an error about the file."""
    import python_calamine

    try:
        yield
    except LabelError:
        raise
    except (python_calamine.CalamineError, *_BROKEN) as error:
        raise file.error(f"is not readable as Excel: {error}; save it again, or as CSV") from error
