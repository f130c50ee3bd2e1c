"""Read scores from a JSON array of objects."""

import json
import re
from collections.abc import Iterator
from typing import Any, Final

from aesthetics_ops.parsing import RepeatedNameError, each_name_once
from aesthetics_ops.sources.labels.file import LabelFile, LabelRows, skip_blank
from aesthetics_ops.sources.labels.format import LabelFormat
from aesthetics_ops.sources.labels.jsonl import read_objects, whole_number

__all__ = ["JSON_ARRAY"]

_CHARACTERS_AT_ONCE: Final = 1 << 18
_BETWEEN: Final = re.compile(r"[\s,]*")


def _read(file: LabelFile) -> LabelRows:
    """Read a JSON array; row numbers count its objects from 1."""
    text = file.data[skip_blank(file.data, file.start) :].decode()
    return read_objects(file, lambda: _objects(file, text))


def _objects(file: LabelFile, text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield each object's number and itself, some at once: all of them at once would take much memory."""
    decode = json.JSONDecoder(parse_int=whole_number, object_pairs_hook=each_name_once).raw_decode
    number, place, singly_until = 0, 1, 0
    while True:
        match = _BETWEEN.match(text, place)
        place = match.end() if match else place
        if text.startswith("]", place):
            break
        if place >= singly_until:
            end = text.rfind("}", place, place + _CHARACTERS_AT_ONCE) + 1
            if (several := _parse_some(text, place, end)) is not None:
                yield from enumerate(several, number + 1)
                number, place = number + len(several), end
                continue
            singly_until = end
        number += 1
        try:
            parsed, end = decode(text, place)
        except RepeatedNameError as error:
            raise file.error(f"has an object, {number}, that is no row: {error}; keep one of them") from error
        except (ValueError, RecursionError) as error:
            raise file.error(f"is not JSON in object {number}: {error}; write an array of objects") from error
        if not isinstance(parsed, dict):
            raise file.error(
                f"has {text[place:end][:80]!r} as element {number}; every element must be an object, such as "
                '{"image_id": "a.jpg", "score": 5}'
            )
        yield number, parsed
        place = end
    if text[place + 1 :].strip():
        raise file.error(f"has {text[place + 1 :].strip()[:80]!r} after its array; write one array of objects")


def _parse_some(text: str, place: int, end: int) -> list[dict[str, Any]] | None:
    """Return the objects from `place` to `end`; None where these are not some whole ones with commas between."""
    try:
        parsed = json.loads(f"[{text[place:end]}]", object_pairs_hook=each_name_once)
    except (ValueError, RecursionError):
        return None
    return parsed if parsed and all(type(one) is dict for one in parsed) else None


JSON_ARRAY: Final = LabelFormat(
    name="json",
    title="JSON objects",
    recognises=lambda file: file.data.startswith(b"[", skip_blank(file.data, file.start)),
    read=_read,
    has_columns=True,
)
