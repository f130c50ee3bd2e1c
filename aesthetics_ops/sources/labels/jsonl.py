"""Read scores from JSON lines: one object per line."""

import json
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, Final

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
    columns: dict[str, None] = {}
    for _, parsed in objects():
        if not columns.keys() >= parsed.keys() or any(type(value) is list for value in parsed.values()):
            columns |= dict.fromkeys(_flat(parsed))
    if not columns:
        raise file.error("has no rows; it must have one per scored photo")
    names = list(columns)
    found = find_columns(file, names)
    wanted = [names[place] for place in found.places]
    is_flat = not any(name.endswith("]") for name in wanted)
    numbered, blocks = objects(), []
    while block := list(islice(numbered, _ROWS_AT_ONCE)):
        flat = [parsed if is_flat else _flat(parsed) for _, parsed in block]
        texts = [pa.array([_json_text(parsed.get(name)) for parsed in flat], pa.string()) for name in wanted]
        blocks.append((pa.array([row for row, _ in block], pa.int64()), *texts))
    row, *values = (pa.chunked_array(parts) for parts in zip(*blocks, strict=True))
    return found.rows(row, dict(zip(found.places, values, strict=True)))


def _flat(parsed: dict[str, Any]) -> dict[str, Any]:
    """Return the object with a short list of numbers as that many columns: `label[0]`, `label[1]`."""
    if not any(type(value) is list for value in parsed.values()):
        return parsed
    flat: dict[str, Any] = {}
    for name, value in parsed.items():
        if type(value) is list and 0 < len(value) <= _LONGEST_LIST:
            flat |= {f"{name}[{place}]": number for place, number in enumerate(value)}
        else:
            flat[name] = value
    return flat


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
