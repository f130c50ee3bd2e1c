"""Read scores from tables with named columns: CSV (commas, semicolons or tabs), Parquet and JSON lines.

In: the file.  Out: its rows, in the columns that the settings name, or that have one of the usual names.
"""

import csv
import io
import json
import re
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from aesthetics_ops.label_file import LabelFile, LabelRows, skip_blank

__all__ = ["read_csv", "read_jsonl", "read_parquet"]

_BLOCK_BYTES: Final = 16 << 20
_ROWS_AT_ONCE: Final = 1 << 16
_ID_COLUMNS = ("key", "path", "filename", "id", "image_id")
_SCORE_COLUMNS = ("score", "label", "mean", "mos")


def read_csv(file: LabelFile) -> LabelRows:
    """Read a CSV file; row numbers are its lines."""
    header = re.compile(rb"([^\r\n]*)(?:\r\n|\r|\n)?").match(file.data, file.start)
    if header is None:
        raise file.error("has no header; its first line must name the columns")
    rows = [next(csv.reader([header[1].decode()], delimiter=delimiter)) for delimiter in ",;\t"]
    columns = max(rows, key=len)
    delimiter = ",;\t"[rows.index(columns)]
    wanted = [str(place) for place in _columns(file, [column.strip() for column in columns])]
    body = header.end()
    if skip_blank(file.data, body) == len(file.data):
        raise file.error("has a header but no rows; it must have one row per scored photo")
    _check_quotes(file, body, delimiter)
    table, blank = _parse_csv(file, body, delimiter, len(columns), wanted)
    records = table.num_rows + len(blank)
    lines = _record_lines(file.data, body)
    if len(lines) != records:  # quotes stand where CSV gives them no meaning: just count
        lines = np.arange(records) + file.data.count(b"\n", 0, body) + 1
    return LabelRows(pa.array(np.delete(lines, blank)), *(table[place] for place in wanted))


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
        if not broken:
            raise file.error(f"is not readable as CSV: {error}; write it again") from error
        record, count = broken[0]
        lines = _record_lines(file.data, body)
        where = f"line {lines[record]}" if record < len(lines) else f"row {record + 1}"
        raise file.error(
            f"has {count} fields in {where}, but its header has {width}; put quotes around a value with "
            f"{delimiter!r} in it, or correct the line"
        ) from error
    return table, blank


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


def read_parquet(file: LabelFile) -> LabelRows:
    """Read a Parquet file; row numbers count its rows from 1."""
    try:
        parquet = pq.ParquetFile(pa.BufferReader(file.data))
        columns = parquet.schema_arrow.names
        places = _columns(file, columns)
        table = parquet.read(columns=[columns[place] for place in places])
        table.validate(full=True)  # reading alone does not look whether text is UTF-8
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise file.error(f"is not readable as Parquet: {error}; write it again") from error
    found = [_plain(file, columns[place], table[columns[place]]) for place in places]
    if not _is_number(found[1].type):
        found[1] = _text(file, columns[places[1]], found[1])
    for place in (0, *range(2, len(found))):
        found[place] = _text(file, columns[places[place]], found[place])
    return LabelRows(pa.array(np.arange(1, table.num_rows + 1)), *found)


def _is_number(kind: Any) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def _plain(file: LabelFile, name: str, column: Any) -> Any:
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    texts = (pa.string(), pa.large_string(), pa.string_view(), pa.binary(), pa.large_binary(), pa.null())
    if kind not in texts and not _is_number(kind):
        raise file.error(f"has column {name!r} of type {kind}; it must hold text or numbers")
    return column.cast(kind)


def _text(file: LabelFile, name: str, column: Any) -> Any:
    """Text of any plain column; whole numbers without a fraction or exponent, as they stand in file names."""
    try:
        if not pa.types.is_floating(column.type):
            return column.cast(pa.string())
        whole = pc.and_(pc.equal(pc.floor(column), column), pc.less(pc.abs(column), 2.0**63))
        integers = pc.if_else(whole, column, pa.scalar(None, column.type)).cast(pa.int64())
        return pc.coalesce(integers.cast(pa.string()), column.cast(pa.string()))
    except pa.ArrowInvalid as error:
        raise file.error(f"has column {name!r} of type {column.type} that is not text: {error}; store text") from error


def read_jsonl(file: LabelFile) -> LabelRows:
    """Read JSON lines: one object per line; row numbers are its lines."""
    # twice, since objects take many times the memory of what is wanted of them
    columns: dict[str, None] = {}
    for _, parsed in _objects(file):
        columns |= dict.fromkeys(parsed)
    names = list(columns)
    found = [names[place] for place in _columns(file, names)]
    objects, blocks = _objects(file), []
    while block := list(islice(objects, _ROWS_AT_ONCE)):
        texts = {name: pa.array([_json_text(parsed.get(name)) for _, parsed in block], pa.string()) for name in found}
        blocks.append((pa.array([line for line, _ in block], pa.int64()), *(texts[name] for name in found)))
    return LabelRows(*(pa.chunked_array(parts) for parts in zip(*blocks, strict=True)))


def _objects(file: LabelFile) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield each line's number and object."""
    number, start = file.data.count(b"\n", 0, file.start), file.start
    while start < len(file.data):
        end = file.data.find(b"\n", start + _BLOCK_BYTES) + 1 or len(file.data)
        for line in file.data[start:end].splitlines():
            number += 1
            if not line.strip():
                continue
            try:
                parsed = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise file.error(f"is not JSON in line {number}: {error}; write one object per line") from error
            if not isinstance(parsed, dict):
                raise file.error(
                    f"has {line[:80].decode(errors='replace')!r} in line {number}; every line must be an object"
                )
            yield number, parsed
        start = end


def _json_text(found: Any) -> str | None:
    match found:
        case None:
            return None
        case str():
            return found.encode(errors="replace").decode()  # half a surrogate pair is no text
        case float() if found.is_integer() and abs(found) < 2.0**63:
            return str(int(found))
        case _:
            return json.dumps(found)


def _columns(file: LabelFile, columns: Sequence[str]) -> list[int]:
    """Where the id, the score and, if one is set, the split are among `columns`."""
    settings = file.settings
    found = [
        _column(file, columns, "id_column", (settings.id_column,) if settings.id_column else _ID_COLUMNS),
        _column(file, columns, "score_column", (settings.score_column,) if settings.score_column else _SCORE_COLUMNS),
    ]
    if settings.split_column:
        found.append(_column(file, columns, "split_column", (settings.split_column,)))
    return found


def _column(file: LabelFile, columns: Sequence[str], setting: str, wanted: Sequence[str]) -> int:
    for name in wanted:
        same = [place for place, column in enumerate(columns) if column == name]
        same = same or [place for place, column in enumerate(columns) if column.casefold() == name.casefold()]
        if len(same) > 1:
            raise file.error(f"has {len(same)} columns named {name!r}; rename all but one, or set {setting} to another")
        if same:
            return same[0]
    shown = ", ".join(repr(column[:80]) for column in columns[:50])
    raise file.error(
        f"has no column {' or '.join(map(repr, wanted))}; its columns are {shown}; set {setting} to one of them"
    )
