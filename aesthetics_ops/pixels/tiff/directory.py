"""Read the directories of a TIFF or BigTIFF: which images a file holds, and how each is stored.

In: bytes that start like a TIFF.  Out: tags and their values.  Pure; nothing is allocated that the bytes only declare.

Source:
    TIFF 6.0 (Adobe, 1992), section 2; BigTIFF (libtiff).
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final

from aesthetics_ops.rejects import Refusal, RejectReason

__all__ = ["Directory", "Tag", "directories"]

_MOST_DIRECTORIES: Final = 1_000
_FORMATS: Final = {1: "B", 3: "H", 4: "I", 5: "II", 6: "b", 8: "h", 9: "i", 10: "ii", 11: "f", 12: "d", 13: "I"} | {
    16: "Q", 17: "q", 18: "Q"
}  # fmt: skip
_RATIONALS: Final = frozenset({5, 10})
_BYTES: Final = frozenset({2, 7})


class Tag(IntEnum):
    """The tags that are read; all others are left alone."""

    SUBFILE_TYPE = 254
    OLD_SUBFILE_TYPE = 255
    WIDTH = 256
    HEIGHT = 257
    BITS = 258
    COMPRESSION = 259
    PHOTOMETRIC = 262
    FILL_ORDER = 266
    STRIP_OFFSETS = 273
    ORIENTATION = 274
    SAMPLES = 277
    ROWS_PER_STRIP = 278
    STRIP_BYTES = 279
    MAX_SAMPLE = 281
    PLANAR = 284
    FAX3_OPTIONS = 292
    FAX4_OPTIONS = 293
    PREDICTOR = 317
    COLOUR_MAP = 320
    TILE_WIDTH = 322
    TILE_HEIGHT = 323
    TILE_OFFSETS = 324
    TILE_BYTES = 325
    SUB_DIRECTORIES = 330
    INK_SET = 332
    EXTRA_SAMPLES = 338
    SAMPLE_FORMAT = 339
    JPEG_TABLES = 347
    YCBCR_COEFFICIENTS = 529
    YCBCR_SAMPLING = 530
    BLACK_AND_WHITE = 532
    ICC = 34675
    DNG_VERSION = 50706


@dataclass(frozen=True, slots=True)
class Directory:
    """One image of a TIFF.

    Attributes:
        order: of bytes in numbers, as `struct` has it: `<` or `>`.
        values: by tag, what stands there; bytes for text and undefined types, else a tuple of numbers.
        has_next: whether another one follows.
    """

    order: str
    values: dict[int, tuple[Any, ...] | bytes]
    has_next: bool

    def number(self, tag: Tag, default: int = 0) -> int:
        """Return the first value of a tag, or the default where it is absent or no whole number."""
        values = self.numbers(tag)
        return int(values[0]) if values else default

    def numbers(self, tag: Tag) -> tuple[Any, ...]:
        """Return all values of a tag; none where it is absent or text."""
        values = self.values.get(tag, ())
        return () if isinstance(values, bytes) else values

    def raw(self, tag: Tag) -> bytes | None:
        """Return a tag's bytes; None where it is absent."""
        values = self.values.get(tag)
        return values if values is None or isinstance(values, bytes) else bytes(value & 0xFF for value in values)


def directories(data: bytes) -> Iterator[Directory]:
    """Yield the images of a file in their order, each read when it is asked for.

    Raises:
        Refusal: `corrupt`, a directory or a value of a tag that is read lies outside the file.
    """
    order = "<" if data[:2] == b"II" else ">"
    is_big = data[2:4] in (b"+\0", b"\0+")
    seen: set[int] = set()
    try:
        (at,) = struct.unpack_from(order + ("Q" if is_big else "I"), data, 8 if is_big else 4)
        while at and at not in seen and len(seen) < _MOST_DIRECTORIES:
            seen.add(at)
            values, following = _read(data, at, order, is_big)
            yield Directory(order, values, following != 0)
            at = following
    except struct.error as error:
        raise Refusal(RejectReason.CORRUPT, "tiff: a directory lies outside the file") from error


def _read(data: bytes, at: int, order: str, is_big: bool) -> tuple[dict[int, tuple[Any, ...] | bytes], int]:
    """Return the values of a directory, and where the next one lies; 0 where there is none."""
    count_format, entry_format, field = ("Q", "HHQ", "Q") if is_big else ("H", "HHI", "I")
    (entries,) = struct.unpack_from(order + count_format, data, at)
    at += struct.calcsize(order + count_format)
    entry_bytes = struct.calcsize(order + entry_format + field)
    values: dict[int, tuple[Any, ...] | bytes] = {}
    wanted = {int(tag) for tag in Tag}
    for entry in range(min(entries, 1 + (len(data) - at) // entry_bytes)):
        here = at + entry * entry_bytes
        tag, kind, count = struct.unpack_from(order + entry_format, data, here)
        if tag in wanted and tag not in values and (kind in _FORMATS or kind in _BYTES):
            values[tag] = _value(data, here + struct.calcsize(order + entry_format), (order, field), (tag, kind, count))
    end = at + entries * entry_bytes
    following = struct.unpack_from(order + field, data, end)[0] if end + struct.calcsize(field) <= len(data) else 0
    return values, following


def _value(data: bytes, at: int, fields: tuple[str, str], entry: tuple[int, int, int]) -> tuple[Any, ...] | bytes:
    (order, field), (tag, kind, count) = fields, entry
    one = order + _FORMATS.get(kind, "B")
    size = count * struct.calcsize(one)
    if size > struct.calcsize(order + field):
        (at,) = struct.unpack_from(order + field, data, at)
    if at + size > len(data):
        if tag == Tag.ICC:
            return b""
        raise Refusal(RejectReason.CORRUPT, f"tiff: the value of tag {tag} lies outside the file")
    if kind in _BYTES:
        return data[at : at + size]
    values = struct.unpack_from(f"{order}{count * (len(one) - 1)}{one[1]}", data, at)
    if kind in _RATIONALS:
        return tuple(values[index] / (values[index + 1] or 1) for index in range(0, len(values), 2))
    return values
