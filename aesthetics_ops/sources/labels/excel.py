"""Read scores from an Excel sheet, .xlsx or .xlsm.

In: a workbook.  Out: the rows of one of its sheets, with the values that its cells had when it was saved: no formula is
calculated, and no macro is run.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from functools import partial
from itertools import islice
from typing import Any, Final

import pyarrow as pa

from aesthetics_ops.errors import LabelError
from aesthetics_ops.sources.labels.columns import FoundColumns, find_columns
from aesthetics_ops.sources.labels.file import LabelFile, LabelRows
from aesthetics_ops.sources.labels.fitting import SAMPLE_ROWS
from aesthetics_ops.sources.labels.format import LabelFormat
from aesthetics_ops.sources.labels.parsing import EXACT_BELOW, parse_numbers
from aesthetics_ops.sources.labels.table_text import name_fields
from aesthetics_ops.sources.labels.workbook import Workbook, cell_name, open_workbook

__all__ = ["EXCEL"]

_ZIP: Final = b"PK\x03\x04"
_OLE: Final = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"  # .xls, and what has a password


@dataclass(frozen=True, slots=True)
class _Sheet:
    """A sheet whose columns are known.

    Attributes:
        name: of the sheet.
        sheet: as python-calamine has it.
        body: number of the first row below the header, from 0.
        found: the columns to read.
        note: what was taken for granted; None where nothing was.
    """

    name: str
    sheet: Any
    body: int
    found: FoundColumns
    note: str | None

    @property
    def first_column(self) -> int:
        """Number of the first column that has cells, from 0."""
        return int(self.sheet.start[1])


def _read(file: LabelFile) -> LabelRows:
    """Read a sheet; row numbers are the sheet's."""
    if file.data.startswith(_OLE):
        if "EncryptedPackage".encode("utf-16-le") in file.data:
            raise file.error("is an Excel file with a password; save it without one, or as CSV")
        raise file.error("is an old Excel file, .xls, or another of Office's; save the sheet as .xlsx or as CSV")
    with open_workbook(file) as workbook:
        sheet = _choose_sheet(file, workbook)
        numbers, columns = _cells(sheet)
        if not numbers:
            raise file.error(f"has a header but no rows in sheet {sheet.name!r}; it must have one per scored photo")
        notes = [*_notes_about(workbook, sheet), *_name_odd_cells(file, workbook, sheet, numbers, columns)]
    is_number = sheet.found.numbers - set(sheet.found.ids)
    kept = set(sheet.found.kept.values())
    columns = {place: list(map(_kept, cells)) if place in kept else cells for place, cells in columns.items()}
    values = {place: (_numbers if place in is_number else _texts)(column) for place, column in columns.items()}
    rows = sheet.found.rows(pa.array(numbers, pa.int64()), values)
    return replace(rows, sheet=sheet.name, note="; it ".join(filter(None, (*notes, rows.note))) or None)


def _choose_sheet(file: LabelFile, workbook: Workbook) -> _Sheet:
    """Return the sheet that is set, or else the first one that is shown and has the columns."""
    refused: list[LabelError] = []
    for name in _named(file, workbook) or workbook.visible:
        try:
            return _open_sheet(file, workbook, name)
        except LabelError as error:
            refused.append(error)
    if len(refused) == 1:
        raise refused[0]
    if not refused:
        raise file.error(f"has no sheet of cells that is shown{_others(workbook, ())}")
    raise LabelError(f"{refused[0]}; none of its {len(refused)} sheets has them{_others(workbook, ())}") from refused[0]


def _named(file: LabelFile, workbook: Workbook) -> tuple[str, ...]:
    """Return the name of the sheet that is set, by name or by number from 1; nothing where none is."""
    wanted = file.settings.sheet
    if wanted is None:
        return ()
    names = (*workbook.visible, *workbook.hidden)
    if wanted in names:
        return (wanted,)
    if wanted.isascii() and wanted.isdecimal() and 1 <= int(wanted[:9]) <= len(workbook.visible):
        return (workbook.visible[int(wanted) - 1],)
    raise file.error(f"has no sheet {wanted!r}{_others(workbook, ())}")


def _others(workbook: Workbook, without: Sequence[str]) -> str:
    names = [repr(name) for name in workbook.visible if name not in without]
    names += [f"{name!r} (hidden)" for name in workbook.hidden if name not in without]
    which = "other sheets" if without else "sheets"
    return f"; its {which} are {', '.join(names[:50])}: set sheet to one of them" if names else "; save it as CSV"


def _open_sheet(file: LabelFile, workbook: Workbook, name: str) -> _Sheet:
    sheet = workbook.sheet(name)
    for number, cells in enumerate(sheet.iter_rows()):
        fields = tuple((_text(cell) or "").strip() for cell in cells)
        if not any(fields):
            continue
        about = replace(file, seen=f"; sheet {name!r} was read, whose first row with cells is row {number + 1}")
        columns, note = name_fields(about, fields)
        body = number + (note is None)
        found = find_columns(about, columns, partial(_sample, sheet, body))
        return _Sheet(name, sheet, body, found, note)
    raise file.error(f"has nothing in sheet {name!r}; its first row must name the columns")


def _sample(sheet: Any, body: int, places: Sequence[int]) -> list[list[Any]]:
    """Return the columns' values in the first rows that are not blank."""
    rows = (cells for cells in islice(sheet.iter_rows(), body, None) if any(map(_is_filled, cells)))
    first = list(islice(rows, SAMPLE_ROWS))
    return [[_text(cells[place]) for cells in first] for place in places]


def _cells(sheet: _Sheet) -> tuple[list[int], dict[int, list[Any]]]:
    """Return the numbers of the rows that are not blank, from 1, and their cells in the columns to read."""
    places = sheet.found.places
    numbers: list[int] = []
    columns: dict[int, list[Any]] = {place: [] for place in places}
    into = [(place, columns[place].append) for place in places]
    for number, cells in enumerate(sheet.sheet.iter_rows(), 1):
        if number <= sheet.body or (cells[places[0]] == "" and not any(map(_is_filled, cells))):
            continue
        numbers.append(number)
        for place, append in into:
            append(cells[place])
    return numbers, columns


def _is_filled(cell: Any) -> bool:
    return bool(cell != "")


def _notes_about(workbook: Workbook, sheet: _Sheet) -> list[str | None]:
    others = [name for name in workbook.visible if name != sheet.name]
    chosen = f"was read from sheet {sheet.name!r}{_others(workbook, (sheet.name,))}" if others else None
    calculated = workbook.has_formulas(sheet.name)
    return [
        chosen,
        sheet.note,
        "has hidden rows, which are read, too; delete them if they are not meant"
        if workbook.has_hidden_rows(sheet.name)
        else None,
        "has formulas; the values that they had when it was saved are used" if calculated else None,
    ]


def _name_odd_cells(
    file: LabelFile, workbook: Workbook, sheet: _Sheet, numbers: Sequence[int], columns: dict[int, list[Any]]
) -> list[str]:
    """Put words where a cell looks blank and is not, since they are no score; return what has to be said about it."""
    blank = {
        (numbers[place] - 1, sheet.first_column + column): (column, place)
        for column, cells in columns.items()
        for place, cell in enumerate(cells)
        if cell == ""
    }
    if not blank:
        return []
    notes = []
    odd = {cell: what for cell, what in workbook.odd_cells(sheet.name).items() if cell in blank}
    for cell, what in odd.items():
        column, place = blank[cell]
        if what.startswith("formula") and column in sheet.found.ids:
            raise file.error(
                f"has a formula without a value in cell {cell_name(*cell)} of sheet {sheet.name!r}, where a photo's name should "
                "be; open it in Excel or LibreOffice and save it, which calculates it"
            )
        if column not in sheet.found.ids:
            columns[column][place] = f"{what}, cell {cell_name(*cell)}"
    if (first := next((cell for cell, what in odd.items() if what.startswith("formula")), None)) is not None:
        notes.append(
            f"has formulas without a value, first in cell {cell_name(*first)}; open it in Excel or LibreOffice and save it, "
            "which calculates them"
        )
    covered = _covered(sheet, blank)
    if covered:
        notes.append(f"has merged cells, first {covered[0]}; only the first cell of each has the value")
    return notes


def _covered(sheet: _Sheet, blank: dict[tuple[int, int], tuple[int, int]]) -> list[str]:
    """Return the merged ranges that make a cell blank which is to be read."""
    return [
        f"{cell_name(*first)}:{cell_name(*last)}"
        for first, last in sheet.sheet.merged_cell_ranges or ()
        if any(first[0] <= row <= last[0] and first[1] <= column <= last[1] for row, column in blank)
    ]


def _text(cell: Any) -> str | None:
    """Return a cell as text; None where it is blank.  Numbers are as in file names: without a fraction that says nothing."""
    match cell:
        case "":
            return None
        case str():
            return cell.encode(errors="replace").decode()
        case bool():
            return str(cell).upper()
        case float() if cell.is_integer() and abs(cell) < EXACT_BELOW:
            return str(int(cell))
        case date() | time():
            return f"date {cell.isoformat()}" if isinstance(cell, date) else f"time {cell.isoformat()}"
        case timedelta():
            return f"time {cell}"
        case _:
            return repr(cell)


def _kept(cell: Any) -> Any:
    """Return truth values, dates and times as text, as JSON and ISO 8601 write them: they are kept, and no score."""
    match cell:
        case bool():
            return str(cell).lower()
        case datetime():
            return cell.isoformat(sep=" ")
        case date() | time():
            return cell.isoformat()
        case timedelta():
            return str(cell)
        case _:
            return cell


def _texts(cells: Sequence[Any]) -> Any:
    return pa.array([_text(cell) for cell in cells], pa.string())


def _numbers(cells: Sequence[Any]) -> Any:
    """Return cells as numbers, or as text where some are none.  Text may be a number, with a comma where no text has a point."""
    kinds = set(map(type, cells))
    if kinds <= {float, int}:
        return pa.array(cells, pa.float64())
    if kinds <= {float, int, str} and all(cell == "" for cell in cells if type(cell) is str):
        return pa.array([None if cell == "" else cell for cell in cells], pa.float64())
    written = [cell.strip() if type(cell) is str else "" for cell in cells]
    parsed = parse_numbers(pa.array(written, pa.string())).to_pylist()
    return pa.array(
        [
            repr(number) if number is not None and math.isfinite(number) else _text(cell)
            for cell, number in zip(cells, parsed, strict=True)
        ],
        pa.string(),
    )


EXCEL: Final = LabelFormat(
    name="xlsx",
    title="Excel sheets",
    recognises=lambda file: file.data.startswith((_ZIP, _OLE)),
    read=_read,
    is_text=False,
    has_columns=True,
    settings=("sheet",),
)
