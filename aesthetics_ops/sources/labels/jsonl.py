"""Read scores from JSON lines: one object per line."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Final

import numpy as np
import pyarrow as pa

from aesthetics_ops.errors import LabelError
from aesthetics_ops.parsing import RepeatedNameError, each_name_once
from aesthetics_ops.sources.labels.cells import mixes_votes
from aesthetics_ops.sources.labels.columns import find_columns, is_known_name
from aesthetics_ops.sources.labels.file import LabelFile, LabelRows, skip_blank
from aesthetics_ops.sources.labels.fitting import SAMPLE_ROWS
from aesthetics_ops.sources.labels.format import LabelFormat
from aesthetics_ops.sources.labels.named import check_width
from aesthetics_ops.sources.labels.parsing import EXACT_BELOW

__all__ = ["JSON_LINES", "read_objects", "whole_number"]

_BLOCK_BYTES: Final = 16 << 20
_ROWS_AT_ONCE: Final = 1 << 14
_LINES_AT_ONCE: Final = 1 << 10
_MOST_DIGITS: Final = 4300  # sys.int_info.default_max_str_digits
_LONGEST_LIST: Final = 100  # of votes; longer lists are features


def _recognises(file: LabelFile) -> bool:
    return file.data.startswith(b"{", skip_blank(file.data, file.start))


def _read(file: LabelFile) -> LabelRows:
    """Read JSON lines: one object per line; row numbers are its lines."""
    _refuse_one_object(file)
    return read_objects(file, lambda: _objects(file))


def _refuse_one_object(file: LabelFile) -> None:
    """Refuse a file that is one object with all rows in it, as of COCO, pandas and tables of trainings, or by the names of photos."""
    end = file.data.find(b"\n", file.start) + 1 or len(file.data)
    is_line = skip_blank(file.data, end) == len(file.data)
    try:
        if not is_line:
            json.loads(file.data[file.start : end])
            return
    except (ValueError, RecursionError):
        pass
    try:
        parsed = json.loads(file.data[file.start :], parse_int=whole_number)
    except (ValueError, RecursionError):
        return  # reading it says what is wrong, and where
    if not isinstance(parsed, dict) or (is_line and not _holds_rows(parsed)):
        return
    shown = ", ".join(repr(name[:40]) for name in list(parsed)[:5])
    raise file.error(
        f"is one JSON object of {len(parsed)} members, {shown}{' ...' if len(parsed) > 5 else ''}; write an array with one object for each "
        'photo, such as [{"image_id": "a.jpg", "score": 5}]'
    )


def _holds_rows(parsed: Mapping[str, Any]) -> bool:
    """Whether an object is none of one photo: what should be its name or score holds others, or nothing has such a name."""
    known = [value for name, value in parsed.items() if is_known_name(name)]
    if known:
        return any(type(value) is dict for value in known)
    return bool(parsed) and not any(isinstance(value, str) for value in parsed.values())


def read_objects(file: LabelFile, objects: Callable[[], Iterator[tuple[int, dict[str, Any]]]]) -> LabelRows:
    """Return the rows of a file that holds objects.

    The first objects nearly always have the members that all have.  Where they do not, all are looked at before they are
    read, and so are parsed twice: kept, they would take many times the memory of what is wanted of them.

    Args:
        file: the file.
        objects: returns each row's number and object; it is called two or three times.
    """
    first = [parsed for _, parsed in islice(objects(), _ROWS_AT_ONCE)]
    file = replace(file, seen=_seen(first))
    columns = _columns_in(first)
    check_width(file, len(columns))
    try:
        rows = _read_members(file, objects(), columns, first, trusts=False)
    except LabelError:  # the whole file may have other columns, or a mistake further on that comes first
        rows = None
    if rows is None:
        columns = _columns_in(parsed for _, parsed in objects())
        rows = _read_members(file, objects(), columns, first, trusts=True)
    if rows is None:
        raise file.error("has no rows; it must have one per scored photo")
    return rows


def _seen(first: Sequence[dict[str, Any]]) -> str:
    """Say what may keep columns from being found; empty where nothing does."""
    nested = next((name for parsed in first[:1] for name, value in parsed.items() if type(value) is dict), None)
    said = "; the file is one object: write one for each photo" if len(first) == 1 else ""
    if nested is not None:
        said += f"; {nested[:80]!r} holds an object, whose members are not read: write them beside the others"
    return said


def _columns_in(objects: Iterable[dict[str, Any]]) -> "dict[str, _Column]":
    """Return the columns that objects have, by name; lists have the length that most of them have."""
    shapes = Counter(
        tuple((name, len(value) if type(value) is list else -1) for name, value in parsed.items()) for parsed in objects
    )
    lengths: dict[str, int] = {}
    for shape, _ in reversed(shapes.most_common()):
        lengths |= dict(shape)
    return {
        column.name: column
        for name in dict.fromkeys(name for shape in shapes for name, _ in shape)
        for column in _columns_of(name, lengths[name])
    }


def _read_members(
    file: LabelFile,
    numbered: Iterator[tuple[int, dict[str, Any]]],
    columns: "dict[str, _Column]",
    first: Sequence[dict[str, Any]],
    *,
    trusts: bool,
) -> LabelRows | None:
    """Return the rows; None where there are no columns or, unless `trusts`, where an object has others or lists of another length."""
    if not columns:
        return None
    all_columns = list(columns.values())
    found = find_columns(file, list(columns), lambda places: _sample(first, [all_columns[place] for place in places]))
    wanted = [all_columns[place] for place in found.places]
    members, lengths = {column.member for column in all_columns}, {column.member: column.elements for column in wanted}
    blocks = []
    while block := list(islice(numbered, _ROWS_AT_ONCE)):
        rows = [parsed for _, parsed in block]
        if not trusts and not (members.issuperset(set().union(*rows)) and _have_lengths(rows, lengths)):
            return None
        if trusts:
            _refuse_mixture(file, block, [member for member, length in lengths.items() if length])
        blocks.append((pa.array([row for row, _ in block], pa.int64()), *_values(rows, wanted)))
    row, *values = map(_chunked, zip(*blocks, strict=True))
    return found.rows(row, dict(zip(found.places, values, strict=True)))


def _refuse_mixture(file: LabelFile, block: Sequence[tuple[int, dict[str, Any]]], members: Sequence[str]) -> None:
    """Refuse members that most objects have as lists, and some as objects: both are votes, and would be left out as missing ones."""
    for member in members:
        row = next((number for number, parsed in block if type(parsed.get(member)) is dict), None)
        if row is not None:
            raise file.error(mixes_votes(row, is_list=False))


def _have_lengths(rows: Sequence[dict[str, Any]], lengths: Mapping[str, int]) -> bool:
    """Whether lists have these lengths in all objects; 0 stands for what is no list."""
    return all(_are_lists([row.get(member) for row in rows], length) for member, length in lengths.items() if length)


def _are_lists(found: Sequence[Any], length: int) -> bool:
    """Whether all are lists of one length; without a loop in Python, since there are many."""
    return set(map(type, found)) <= {list} and set(map(len, found)) <= {length}


def _sample(first: Sequence[dict[str, Any]], columns: "Sequence[_Column]") -> list[list[Any]]:
    """Return the columns' values in the first objects."""
    return [values.to_pylist() for values in _values(first[:SAMPLE_ROWS], columns)]


@dataclass(frozen=True, slots=True)
class _Column:
    """A column, or one element of lists as a column: its name, that of the member, and which element of how many."""

    name: str
    member: str
    element: int | None = None
    elements: int = 0


def _columns_of(name: str, length: int) -> list[_Column]:
    """Return a member as a column; a short list as one column for each element: `label[0]`, `label[1]`."""
    if 0 < length <= _LONGEST_LIST:
        return [_Column(f"{name}[{place}]", name, place, length) for place in range(length)]
    return [_Column(name, name)]


def _values(rows: Sequence[dict[str, Any]], wanted: Sequence[_Column]) -> Iterator[Any]:
    """Yield the columns of a block of objects: text, or numbers where they are elements of lists of numbers."""
    lists: dict[str, Any] = {}
    for column in wanted:
        if column.element is None:
            yield _json_texts([row.get(column.member) for row in rows])
            continue
        if column.member not in lists:
            lists[column.member] = _lists(rows, column)
        found = lists[column.member]
        if isinstance(found, np.ndarray):
            yield pa.array(found[:, column.element], mask=np.isnan(found[:, column.element]))
        else:
            yield pa.array([_json_text(values[column.element]) for values in found], pa.string())


def _lists(rows: Sequence[dict[str, Any]], column: _Column) -> Any:
    """Return one list for each object, shape (rows, elements): nulls where it has none of this length."""
    missing = [None] * column.elements
    found = [row.get(column.member) for row in rows]
    lists = (
        found
        if _are_lists(found, column.elements)
        else [values if type(values) is list and len(values) == column.elements else missing for values in found]
    )
    try:
        return np.array(lists, np.float64)
    except (TypeError, ValueError, OverflowError):
        return lists


def _chunked(parts: Sequence[Any]) -> Any:
    """Return blocks as one column: text if one of them is text."""
    if any(pa.types.is_string(part.type) for part in parts):
        parts = [part.cast(pa.string()) for part in parts]
    return pa.chunked_array(parts)


def _objects(file: LabelFile) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield each line's number and object."""
    number, start = file.data.count(b"\n", 0, file.start), file.start
    while start < len(file.data):
        end = file.data.find(b"\n", start + _BLOCK_BYTES) + 1 or len(file.data)
        lines = file.data[start:end].splitlines()
        for begin in range(0, len(lines), _LINES_AT_ONCE):
            filled = [
                (place, line)
                for place, line in enumerate(lines[begin : begin + _LINES_AT_ONCE], number + begin + 1)
                if line.strip()
            ]
            yield from _parse_lines(filled) or _parse_each(file, filled)
        number, start = number + len(lines), end


def _parse_lines(lines: Sequence[tuple[int, bytes]]) -> list[tuple[int, dict[str, Any]]] | None:
    """Parse lines as one array, which takes half the time; None where they are not one object each."""
    try:
        parsed = json.loads(b"[" + b",".join(line for _, line in lines) + b"]", object_pairs_hook=each_name_once)
    except (ValueError, RecursionError):
        return None
    if len(parsed) != len(lines) or not all(type(one) is dict for one in parsed):
        return None
    return [(number, one) for (number, _), one in zip(lines, parsed, strict=True)]


def _parse_each(file: LabelFile, lines: Sequence[tuple[int, bytes]]) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in lines:
        try:
            parsed = json.loads(line, parse_int=whole_number, object_pairs_hook=each_name_once)
        except RepeatedNameError as error:
            raise file.error(f"has a line, {number}, that is no row: {error}; keep one of them") from error
        except (ValueError, RecursionError) as error:
            raise file.error(f"is not JSON in line {number}: {error}; write one object per line") from error
        if not isinstance(parsed, dict):
            raise file.error(
                f"has {line[:80].decode(errors='replace')!r} in line {number}; every line must be an object"
            )
        yield number, parsed


def whole_number(digits: str) -> int | str:
    """Return the number; the digits themselves where Python reads no more of them, so that the row alone has a problem."""
    return int(digits) if len(digits) <= _MOST_DIGITS else digits


def _json_texts(found: Sequence[Any]) -> Any:
    """Return values as a column of text."""
    kinds = set(map(type, found)) - {type(None)}
    if kinds <= {int}:
        return pa.array([None if one is None else str(one) for one in found], pa.string())
    if kinds <= {str}:
        with suppress(UnicodeError, pa.ArrowException):  # half a surrogate pair is no text
            return pa.array(found, pa.string())
    return pa.array([_json_text(one) for one in found], pa.string())


def _json_text(found: Any) -> str | None:
    match found:
        case None:
            return None
        case str():
            return found.encode(errors="replace").decode()  # half a surrogate pair is no text
        case float() if found.is_integer() and abs(found) < EXACT_BELOW:
            return str(int(found))
        case _:
            return json.dumps(found)


JSON_LINES: Final = LabelFormat(
    name="jsonl",
    title="JSON lines",
    recognises=_recognises,
    read=_read,
    has_columns=True,
)
