"""Read scores from text with one row per line: fields between commas, semicolons, tabs, bars, blanks or equals signs."""

import csv
import io
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from aesthetics_ops.sources.labels.blocks import FEW_BYTES, NeedsAllRowsError, blocks_of_lines, some_rows
from aesthetics_ops.sources.labels.columns import FoundColumns, find_columns
from aesthetics_ops.sources.labels.file import LONGEST_LINE, LabelFile, LabelRows, skip_blank
from aesthetics_ops.sources.labels.fitting import SAMPLE_ROWS
from aesthetics_ops.sources.labels.format import LabelFormat
from aesthetics_ops.sources.labels.table_text import TableText, table_text

__all__ = ["CSV"]


def _read(file: LabelFile) -> LabelRows:
    """Read a CSV file; row numbers are its lines."""
    text = table_text(file)
    file, delimiter, columns, body = text.file, text.delimiter, text.columns, text.body
    found = find_columns(file, columns, lambda places: _sample(file, body, delimiter, places))
    if skip_blank(file.data, body) == len(file.data):
        raise file.error("has a header but no rows; it must have one row per scored photo")
    _check_quotes(file, body, delimiter)
    wanted = [str(place) for place in found.places]
    table, blank = _parse_csv(file, body, delimiter, len(columns), wanted)
    records = table.num_rows + len(blank)
    lines = _record_lines(file.data, body)
    if len(lines) != records:  # quotes stand where CSV gives them no meaning: just count
        lines = np.arange(records) + file.data.count(b"\n", 0, body) + 1
    table, lines = _without_blank(file, table, np.delete(lines, blank), delimiter)
    found = replace(found, has_decimal_commas=delimiter != ",")
    rows = found.rows(pa.array(lines), {place: table[str(place)] for place in found.places})
    return replace(rows, note="; it ".join(filter(None, (text.note, _broken_names(rows), rows.note))) or None)


def _read_blocks(file: LabelFile) -> Iterator[LabelRows] | None:
    """Return the rows in blocks; None of a short file, and of one with quotes, between which lines may end."""
    if len(file.data) < FEW_BYTES:
        return None
    text = table_text(file)
    if text.file.data.find(b'"', text.body) >= 0:
        return None
    found = find_columns(text.file, text.columns, lambda places: _sample(text.file, text.body, text.delimiter, places))
    return _some_rows(text, replace(found, has_decimal_commas=text.delimiter != ","))


def _some_rows(text: TableText, found: FoundColumns) -> Iterator[LabelRows]:
    lines_before = text.file.data.count(b"\n", 0, text.body)
    for start, end in blocks_of_lines(text.file.data, text.body):
        part = replace(text.file, data=text.file.data[start:end], start=0)
        table, blank = _parse_csv(part, 0, text.delimiter, len(text.columns), [str(place) for place in found.places])
        lines = _record_lines(part.data, 0)
        if len(lines) != table.num_rows + len(blank):
            raise NeedsAllRowsError
        table, lines = _without_blank(part, table, np.delete(lines, blank), text.delimiter)
        if table.num_rows:
            rows = some_rows(
                found, pa.array(lines + lines_before), {place: table[str(place)] for place in found.places}
            )
            yield replace(rows, note="; it ".join(filter(None, (text.note, rows.note))) or None)
        lines_before += part.data.count(b"\n")


def _sample(file: LabelFile, body: int, delimiter: str, places: Sequence[int]) -> list[list[str]]:
    """Return the columns' values in the first rows that are whole."""
    text = file.data[body : body + LONGEST_LINE].decode(errors="replace")
    rows: list[list[str]] = []
    with suppress(csv.Error):  # reading all of it says what is wrong
        for row in islice(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), SAMPLE_ROWS):
            if len(row) > max(places):
                rows.append(row)
    return [[row[place] for row in rows] for place in places]


def _parse_csv(file: LabelFile, body: int, delimiter: str, width: int, wanted: list[str]) -> tuple[Any, list[int]]:
    """Read the `wanted` of `width` columns as text; also which records are blank and were left out, from 0."""
    blank: list[int] = []
    broken: list[tuple[int, int]] = []

    def judge(row: Any) -> str:
        if not row.text.strip():
            blank.append(row.number - 1)
            return "skip"
        broken.append((row.number - 1, row.actual_columns))
        return "error"

    names = [str(place) for place in range(width)]
    quoted = file.data.find(b'"', body) >= 0
    try:
        table = pa_csv.read_csv(
            pa.BufferReader(pa.py_buffer(file.data).slice(body)),
            pa_csv.ReadOptions(column_names=names, use_threads=False),  # threads would lose the row numbers
            pa_csv.ParseOptions(delimiter=delimiter, newlines_in_values=quoted, invalid_row_handler=judge),
            pa_csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()), include_columns=wanted),
        )
    except pa.ArrowInvalid as error:
        lines = _record_lines(file.data, body)
        if not broken:
            _check_lengths(file, body)
            raise file.error(f"is not readable as CSV: {error}; write it again") from error
        record, count = broken[0]
        where = f"line {lines[record]}" if record < len(lines) else f"row {record + 1}"
        if record < len(lines):
            where += f", {_line(file.data, int(lines[record]))[:80]!r}"
        raise file.error(
            f"has {count} fields in {where}, but its header has {width}; put quotes around a value with "
            f"{delimiter!r} in it, or correct the line"
        ) from error
    return table, blank


def _without_blank(file: LabelFile, table: Any, lines: Any, delimiter: str) -> tuple[Any, Any]:
    """Return the rows, and their lines, without those that have signs between fields and nothing else, as spreadsheets write them."""
    is_empty = np.ones(table.num_rows, bool)
    for column in table.columns:
        is_empty &= np.asarray(pc.equal(pc.utf8_trim_whitespace(column), ""))
    if not is_empty.any():
        return table, lines
    ends = np.flatnonzero(np.frombuffer(file.data, np.uint8) == ord("\n"))
    bounds = np.concatenate(([0], ends + 1, [len(file.data)]))
    for row in np.flatnonzero(is_empty).tolist():
        start, end = bounds[lines[row] - 1], bounds[lines[row]]
        is_empty[row] = not file.data[start:end].strip(f'{delimiter}" \t\r\n'.encode())
    return table.filter(pa.array(~is_empty)), lines[~is_empty]


def _line(data: bytes, number: int) -> str:
    """Return a line by its number, from 1, or the beginning of a long one."""
    start = 0
    for _ in range(number - 1):
        start = data.find(b"\n", start) + 1
    return data[start : start + 1000].partition(b"\n")[0].decode(errors="replace").rstrip("\r")


def _check_lengths(file: LabelFile, body: int) -> None:
    """Refuse an endless line or value: the reader keeps a block at a time, and says of it what helps nobody."""
    found = re.search(rb"[^\n]{%d}" % LONGEST_LINE, memoryview(file.data)[body:])
    if found is None and file.data.find(b'"', body) < 0:
        return
    where = "a value between quotes" if found is None else f"line {file.data.count(10, 0, body + found.start()) + 1}"
    raise file.error(
        f"has more than {LONGEST_LINE} bytes in {where}; leave out columns that are no scores, and close every quote"
    )


def _broken_names(rows: LabelRows) -> str | None:
    """Say that a name has a line break, as where a quote that was not closed took rows with it; None where none has."""
    broken = pc.match_substring(rows.name, "\n")
    if not pc.any(broken).as_py():
        return None
    first = pc.index(broken, True).as_py()
    return (
        f"has {pc.sum(broken).as_py()} names with line breaks, first in row {rows.row[first]}, {rows.name[first].as_py()[:60]!r}: a quote "
        "that is not closed took the rows below it; close or double it"
    )


def _check_quotes(file: LabelFile, body: int, delimiter: str) -> None:
    """Refuse a quote that is never closed: it would swallow the rest of the file in one value."""
    if file.data.count(b'"', body) % 2 == 0:
        return
    reader = csv.reader(io.StringIO(file.data[body:].decode(), newline=""), delimiter=delimiter, strict=True)
    line = first_line = file.data.count(b"\n", 0, body) + 1
    try:
        for _ in reader:
            line = first_line + reader.line_num
    except csv.Error as error:
        raise file.error(
            f"has a quote that is not closed in the row at line {line} ({error}); close or double it"
        ) from error


def _record_lines(data: bytes, body: int) -> Any:
    """Line numbers of CSV records: blank lines, and line breaks inside quotes, do not start one."""
    first_line = data.count(b"\n", 0, body) + 1
    text = np.frombuffer(data, np.uint8)[body:]
    breaks = np.flatnonzero(text == ord("\n"))
    if text[-1] != ord("\n"):
        breaks = np.append(breaks, len(text))
    quotes = np.flatnonzero(text == ord('"'))
    ends = breaks[np.searchsorted(quotes, breaks) % 2 == 0]
    begins = np.concatenate(([0], ends[:-1] + 1))
    empty = (ends == begins) | (ends - begins == 1) & (text[begins] == ord("\r"))
    return first_line + np.searchsorted(breaks, begins[~empty])


CSV: Final = LabelFormat(
    name="csv",
    title="CSV rows",
    recognises=lambda _: True,  # text is CSV where no other format recognises it
    read=_read,
    blocks=_read_blocks,
    has_columns=True,
)
