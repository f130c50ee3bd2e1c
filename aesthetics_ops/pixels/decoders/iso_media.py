"""What still images and films inside an ISO base media file have in common: a first box that lists brands."""

from typing import Final

__all__ = ["has_brand"]

_LOOK_BYTES: Final = 2048  # how far a list of brands is read
_CANON_RAW: Final = b"crx "


def has_brand(data: bytes, wanted: frozenset[bytes]) -> bool:
    """Tell whether a file is an ISO base media file with one of these brands, and no camera's RAW file.

    Source:
        ISO/IEC 14496-12, section 4.3: size, `ftyp`, the major brand, its version, compatible brands.
    """
    if not data.startswith(b"ftyp", 4) or data.startswith(_CANON_RAW, 8):
        return False
    length = min(max(int.from_bytes(data[:4], "big"), 12), _LOOK_BYTES)
    return not wanted.isdisjoint({data[8:12], *(data[at : at + 4] for at in range(16, min(length, len(data)) - 3, 4))})
