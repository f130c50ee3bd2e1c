"""What a text of rows and fields is: what stands between fields, and whether its first line names the columns.

In: the file.  Out: the same rows with one sign between fields, and the names of their columns.
"""

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from aesthetics_ops.sources.labels.columns import is_known_name, name_columns
from aesthetics_ops.sources.labels.file import LONGEST_LINE, LabelFile, line_at, skip_blank
from aesthetics_ops.sources.labels.named import check_width

__all__ = ["TableText", "name_fields", "table_text"]

_DELIMITERS: Final = "\t;,"  # of equally many fields the first: a comma may be a decimal point
_SIGNS: Final = {",": "commas", ";": "semicolons", "\t": "tabs or blanks", "=": "equals signs", "|": "bars"}
_EXCELS_SIGN: Final = re.compile(rb'"?sep=[,;\t|]"?(\r\n|\r|\n)', re.IGNORECASE)  # a first line for Excel alone
_NUMBER: Final = re.compile(r"[+-]?(\d+[.,]?\d*|[.,]\d+)(e[+-]?\d+)?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class TableText:
    """A text of rows and fields.

    Attributes:
        file: with one sign between fields.
        delimiter: that sign.
        columns: the columns' names.
        body: where the rows begin.
        note: what was taken for granted; None where nothing was.
    """

    file: LabelFile
    delimiter: str
    columns: tuple[str, ...]
    body: int
    note: str | None


def table_text(file: LabelFile) -> TableText:
    """Find out how rows are written.

    Raises:
        LabelError: the first line is endless, or says neither what the columns are called nor which two there are.
    """
    if (sign := _EXCELS_SIGN.match(file.data, file.start)) is not None:
        file = replace(file, start=sign.end())
    file, comments = _after_comments(file)
    line = re.compile(rb"([^\r\n]{0,%d})(\r\n|\r|\n)?" % LONGEST_LINE).match(file.data, file.start)
    if line is None or line.end(1) == file.start:
        raise file.error("has no header; its first line must name the columns")
    if line[2] is None and line.end(1) < len(file.data):
        raise file.error(f"has more than {LONGEST_LINE} bytes in its first line; give a file with one line per photo")
    delimiter, fields = _split(file, line[1].decode(errors="replace"))
    if delimiter == " ":
        delimiter, file = "\t", _with_tabs(file, fields)
    if comments and (names := _names_in(comments[-1], delimiter, fields)) is not None:
        return TableText(file, delimiter, names, file.start, f"has its header in a comment: {', '.join(names)}")
    columns, note = name_fields(file, fields)
    if note is None:
        end = re.compile(rb"[^\r\n]*(\r\n|\r|\n)?").match(file.data, file.start)
        body = end.end() if end else len(file.data)
        row = line_at(file, skip_blank(file.data, body))[:80]
        seen = f"; fields stand between {_SIGNS[delimiter]}, and the first row is {row!r}" if row else ""
        return TableText(replace(file, seen=seen), delimiter, columns, body, None)
    return TableText(file, delimiter, columns, file.start, note)


def _after_comments(file: LabelFile) -> tuple[LabelFile, list[str]]:
    """Pass over the lines at the beginning that are comments, as of NumPy and pandas; return them without their sign."""
    comments, after = [], file
    while file.data.startswith(b"#", after.start):
        line = re.compile(rb"#+([^\r\n]{0,%d})(\r\n|\r|\n)+" % LONGEST_LINE).match(file.data, after.start)
        if line is None:  # nothing follows
            break
        comments.append(line[1].decode(errors="replace").strip())
        after = replace(after, start=line.end())
    rows = [_split(file, text)[1] for text in (*comments, line_at(after, after.start))]
    are_rows = any(len(row) == len(rows[-1]) > 1 and any(map(_is_number, row)) for row in rows[:-1])
    return (
        (file, []) if are_rows or after.start == len(file.data) else (after, comments)
    )  # names of photos may begin with the sign


def _names_in(comment: str, delimiter: str, fields: Sequence[str]) -> tuple[str, ...] | None:
    """Return the names of the columns where a comment has them: as many as the first row has fields, and one of them is known."""
    if not any(map(_is_number, fields)) or any(map(is_known_name, fields)):
        return None
    names = [
        name.strip().strip('"') for name in (comment.split(delimiter) if delimiter in comment else comment.split())
    ]
    return tuple(names) if len(names) == len(fields) and any(map(is_known_name, names)) else None


def name_fields(file: LabelFile, first_row: Sequence[str]) -> tuple[tuple[str, ...], str | None]:
    """Return the columns' names, and what has to be said where the first row is no header.

    Raises:
        LabelError: it is none, and says not either which columns there are.
    """
    check_width(file, len(first_row))
    if _is_header(file, first_row):
        return tuple(first_row), None
    columns = _names_of_columns(file, first_row)
    return columns, f"has no header; its columns were taken as {', '.join(columns)}"


def _split(file: LabelFile, line: str) -> tuple[str, tuple[str, ...]]:
    """Return what stands between the fields of a line, a blank for any number of them, and the fields."""
    rows = {sign: _fields(line, sign) for sign in _DELIMITERS}
    found = max(rows, key=lambda sign: len(rows[sign]))
    if len(rows[found]) > 1:
        return found, rows[found]
    if len(fields := _fields(line, "|")) > 1:  # where other signs are, bars stand between the words of one field
        return "|", fields
    if line.count("=") > 1:
        return "=", tuple(field.strip().strip('"') for field in line.split("="))
    words = [word.strip('"') for word in re.findall(r'(?:"[^"]*"|[^\s"])+', line)] if '"' in line else line.split()
    if len(words) > 1:
        return " ", (" ".join(words[:-1]), words[-1]) if _is_name_and_number(words) else tuple(words)
    return ",", (line.strip().strip('"'),)


def _fields(line: str, sign: str) -> tuple[str, ...]:
    """Return the fields of a line between signs; none where one has more than 128 KiB: another sign stands between them."""
    try:
        return tuple(field.strip() for field in next(csv.reader([line], delimiter=sign), []))
    except csv.Error:
        return ()


def _is_name_and_number(fields: Sequence[str]) -> bool:
    """Whether only the last field is a number: those before it are words of one name."""
    return _is_number(fields[-1]) and not any(map(_is_number, fields[:-1]))


def _with_tabs(file: LabelFile, fields: Sequence[str]) -> LabelFile:
    """Put a tab where blanks stand between fields; a name may hold blanks where it and one number make the row."""
    rows = re.sub(rb"(?m)^[ \t]+|[ \t]+(?=\r?$)", b"", file.data[file.start :])
    between = rb"[ \t]+(?=[^ \t\r\n]+\r?$)" if _is_name_and_number(fields) else rb"[ \t]+"
    if b'"' not in rows:
        with_tabs = re.sub(re.compile(between, re.MULTILINE), b"\t", rows)
    else:  # what stands between quotes is one field
        quoted_or_between = re.compile(rb'"[^"\r\n]*"|' + between, re.MULTILINE)
        with_tabs = quoted_or_between.sub(lambda found: found[0] if found[0].startswith(b'"') else b"\t", rows)
    return replace(file, data=file.data[: file.start] + with_tabs)


def _is_number(field: str) -> bool:
    return _NUMBER.fullmatch(field) is not None


def _is_header(file: LabelFile, fields: Sequence[str]) -> bool:
    if not any(map(_is_number, fields)) or any(map(is_known_name, fields)):
        return True
    settings = file.settings
    wanted = {name.casefold() for name in (settings.id_column, settings.score_column, settings.split_column) if name}
    return bool(wanted & {field.casefold() for field in fields} - {*map(str, range(1, len(fields) + 1))})


def _names_of_columns(file: LabelFile, fields: Sequence[str]) -> tuple[str, ...]:
    """Names for the columns of a file without a header: of a known kind, name and number, or numbers from 1."""
    numbers = tuple(str(place) for place in range(1, len(fields) + 1))
    settings = file.settings
    if settings.id_column or settings.score_column or settings.split_column or settings.vote_columns:
        return numbers
    if (known := name_columns(fields)) is not None:
        return known
    if len(fields) == 2:
        return ("score", "id") if _is_number(fields[0]) and not _is_number(fields[1]) else ("id", "score")
    shown = ", ".join(repr(field[:40]) for field in fields[:12])
    raise file.error(
        f"has no header, and its first line has {len(fields)} fields: {shown}; set id_column and score_column to the numbers of "
        "their columns, such as 1 and 2, or vote_columns to those that count votes, such as 3..12, or put a line of names before it"
    )
