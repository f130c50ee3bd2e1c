"""Read scores from a JSON array of objects."""

import json
import re
from collections.abc import Iterator
from typing import Any, Final

from aesthetics_ops.sources.labels.file import LabelFile, LabelRows, skip_blank
from aesthetics_ops.sources.labels.format import LabelFormat
from aesthetics_ops.sources.labels.jsonl import read_objects

__all__ = ["JSON_ARRAY"]

_BETWEEN: Final = re.compile(r"[\s,]*")


def _read(file: LabelFile) -> LabelRows:
    """Read a JSON array; row numbers count its objects from 1."""
    text = file.data[skip_blank(file.data, file.start) :].decode()
    return read_objects(file, lambda: _objects(file, text))


def _objects(file: LabelFile, text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield each object's number and itself, one after the other: all of them at once would take much memory."""
    decode, number, place = json.JSONDecoder().raw_decode, 0, 1
    while True:
        match = _BETWEEN.match(text, place)
        place = match.end() if match else place
        if text.startswith("]", place):
            break
        number += 1
        try:
            parsed, end = decode(text, place)
        except (ValueError, RecursionError) as error:
            raise file.error(f"is not JSON in object {number}: {error}; write an array of objects") from error
        if not isinstance(parsed, dict):
            raise file.error(f"has {text[place:end][:80]!r} as element {number}; every element must be an object")
        yield number, parsed
        place = end
    if text[place + 1 :].strip():
        raise file.error(f"has {text[place + 1 :].strip()[:80]!r} after its array; write one array of objects")


JSON_ARRAY: Final = LabelFormat(
    name="json",
    title="JSON objects",
    recognises=lambda file: file.data.startswith(b"[", skip_blank(file.data, file.start)),
    read=_read,
    has_columns=True,
)
