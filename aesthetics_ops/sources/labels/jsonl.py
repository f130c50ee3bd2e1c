"""Read scores from JSON lines: one object per line."""

import json
from collections.abc import Iterator
from itertools import islice
from typing import Any, Final

import pyarrow as pa

from aesthetics_ops.sources.labels.columns import find_columns
from aesthetics_ops.sources.labels.file import LabelFile, LabelRows, skip_blank
from aesthetics_ops.sources.labels.format import LabelFormat

__all__ = ["JSON_LINES"]

_BLOCK_BYTES: Final = 16 << 20
_ROWS_AT_ONCE: Final = 1 << 16


def _recognises(file: LabelFile) -> bool:
    return file.data.startswith((b"{", b"["), skip_blank(file.data, file.start))


def _read(file: LabelFile) -> LabelRows:
    """Read JSON lines: one object per line; row numbers are its lines."""
    if file.data.startswith(b"[", skip_blank(file.data, file.start)):
        raise file.error("is a JSON array; write JSON lines: one object per line, without brackets and commas around")
    # twice, since objects take many times the memory of what is wanted of them
    columns: dict[str, None] = {}
    for _, parsed in _objects(file):
        columns |= dict.fromkeys(parsed)
    names = list(columns)
    found = find_columns(file, names)
    objects, blocks = _objects(file), []
    while block := list(islice(objects, _ROWS_AT_ONCE)):
        texts = [
            pa.array([_json_text(parsed.get(names[place])) for _, parsed in block], pa.string())
            for place in found.places
        ]
        blocks.append((pa.array([line for line, _ in block], pa.int64()), *texts))
    row, *values = (pa.chunked_array(parts) for parts in zip(*blocks, strict=True))
    return found.rows(row, dict(zip(found.places, values, strict=True)))


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
