"""What still images and films inside an ISO base media file have in common: a first box that lists brands."""

import struct
from collections.abc import Iterator
from typing import Final

__all__ = ["has_brand", "turns_its_first_image"]

_LOOK_BYTES: Final = 2048  # how far a list of brands is read
_CANON_RAW: Final = b"crx "
_MOST_BOXES: Final = 10_000  # in one box
_LARGE_SIZE: Final = 1  # the size stands behind the name


Place = tuple[int, int]  # start and end of a box's content, bytes


def has_brand(data: bytes, wanted: frozenset[bytes]) -> bool:
    """Tell whether a file is an ISO base media file with one of these brands, and no camera's RAW file.

    Source:
        ISO/IEC 14496-12, section 4.3: size, `ftyp`, the major brand, its version, compatible brands.
    """
    if not data.startswith(b"ftyp", 4) or data.startswith(_CANON_RAW, 8):
        return False
    length = min(max(int.from_bytes(data[:4], "big"), 12), _LOOK_BYTES)
    return not wanted.isdisjoint({data[8:12], *(data[at : at + 4] for at in range(16, min(length, len(data)) - 3, 4))})


def turns_its_first_image(data: bytes) -> bool:
    """Tell whether the properties of the primary item rotate or mirror it; False where they cannot be read.

    Source:
        ISO/IEC 23008-12 (HEIF), sections 6.5.10 and 6.5.12; ISO/IEC 14496-12, sections 8.11.4 (pitm) and 8.11.14
        (iprp, ipco, ipma).
    """
    try:
        meta = _first(data, (0, len(data)), b"meta")
        inside = (meta[0] + 4, meta[1])
        at, _ = _first(data, inside, b"pitm")
        (item,) = struct.unpack_from(">H" if data[at] == 0 else ">I", data, at + 4)
        properties = _first(data, inside, b"iprp")
        kept = list(_boxes(data, _first(data, properties, b"ipco")))
        wanted = _associated(data, _first(data, properties, b"ipma"), item)
        names = [kept[index - 1] for index in wanted if 0 < index <= len(kept)]
    except (struct.error, LookupError):
        return False
    return any(name == b"imir" or (name == b"irot" and data[at] & 3) for name, (at, _) in names)


def _boxes(data: bytes, place: Place) -> Iterator[tuple[bytes, Place]]:
    """Yield name and content of the boxes inside one."""
    at, end = place
    for _ in range(_MOST_BOXES):
        if at + 8 > end:
            return
        length, name = struct.unpack_from(">I4s", data, at)
        body = at + 8
        if length == _LARGE_SIZE:
            (length,) = struct.unpack_from(">Q", data, body)
            body += 8
        box_end = at + length if length else end
        if box_end < body:
            return
        yield name, (body, min(box_end, end))
        at = box_end


def _first(data: bytes, place: Place, wanted: bytes) -> Place:
    """Return the content of the first box of this name.

    Raises:
        LookupError: there is none.
    """
    for name, content in _boxes(data, place):
        if name == wanted:
            return content
    raise LookupError(wanted)


def _associated(data: bytes, place: Place, item: int) -> list[int]:
    """Return the numbers, from 1, of the properties of an item."""
    at, end = place
    version, flags = data[at], data[at + 3]
    id_format, property_format = (">H" if version == 0 else ">I"), (">H" if flags & 1 else ">B")
    (entries,) = struct.unpack_from(">I", data, at + 4)
    at += 8
    for _ in range(min(entries, end - at)):
        (found,) = struct.unpack_from(id_format, data, at)
        at += struct.calcsize(id_format)
        count = data[at]
        at += 1
        bits = 8 * struct.calcsize(property_format) - 1  # the upper one says whether it is essential
        numbers = [
            number & (1 << bits) - 1
            for (number,) in struct.iter_unpack(property_format, data[at : at + count * (bits + 1) // 8])
        ]
        if found == item:
            return numbers
        at += count * (bits + 1) // 8
    return []
