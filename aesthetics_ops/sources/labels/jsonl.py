"""Read scores from JSON lines: one object per line."""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

import numpy as np
import pyarrow as pa

from aesthetics_ops.sources.labels.columns import find_columns
from aesthetics_ops.sources.labels.file import LabelFile, LabelRows, skip_blank
from aesthetics_ops.sources.labels.format import LabelFormat

__all__ = ["JSON_LINES", "read_objects"]

_BLOCK_BYTES: Final = 16 << 20
_ROWS_AT_ONCE: Final = 1 << 14
_LONGEST_LIST: Final = 100  # of votes; longer lists are features


def _recognises(file: LabelFile) -> bool:
    return file.data.startswith(b"{", skip_blank(file.data, file.start))


def _read(file: LabelFile) -> LabelRows:
    """Read JSON lines: one object per line; row numbers are its lines."""
    return read_objects(file, lambda: _objects(file))


def read_objects(file: LabelFile, objects: Callable[[], Iterator[tuple[int, dict[str, Any]]]]) -> LabelRows:
    """Return the rows of a file that holds objects.

    Args:
        file: the file.
        objects: returns each row's number and object; it is called twice, since objects take many times the memory of
            what is wanted of them.
    """
    shapes = Counter(
        tuple((name, len(value) if type(value) is list else -1) for name, value in parsed.items())
        for _, parsed in objects()
    )
    lengths: dict[str, int] = {}  # of lists, the most common one
    for shape, _ in reversed(shapes.most_common()):
        lengths |= dict(shape)
    columns = {
        column.name: column
        for name in dict.fromkeys(name for shape in shapes for name, _ in shape)
        for column in _columns_of(name, lengths[name])
    }
    if not columns:
        raise file.error("has no rows; it must have one per scored photo")
    found = find_columns(file, list(columns))
    wanted = [list(columns.values())[place] for place in found.places]
    numbered, blocks = objects(), []
    while block := list(islice(numbered, _ROWS_AT_ONCE)):
        rows = [parsed for _, parsed in block]
        blocks.append((pa.array([row for row, _ in block], pa.int64()), *_values(rows, wanted)))
    row, *values = map(_chunked, zip(*blocks, strict=True))
    return found.rows(row, dict(zip(found.places, values, strict=True)))


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
            yield pa.array([_json_text(row.get(column.member)) for row in rows], pa.string())
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
    lists = [values if type(values) is list and len(values) == column.elements else missing for values in found]
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


JSON_LINES: Final = LabelFormat(
    name="jsonl",
    title="JSON lines",
    recognises=_recognises,
    read=_read,
    has_columns=True,
)
