"""PNG: every chunk's CRC is checked, and only the default image is decoded."""

import struct
import zlib
from collections.abc import Iterator
from io import BytesIO
from typing import TYPE_CHECKING, Final

from aesthetics_ops.pixels.decoded import Decoded
from aesthetics_ops.pixels.decoders.decoder import Decoder, starts_with
from aesthetics_ops.pixels.gate import SizeGate
from aesthetics_ops.pixels.jpeg_header import exif_orientation
from aesthetics_ops.pixels.transforms import Transform
from aesthetics_ops.rejects import Refusal, RejectReason

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.PngImagePlugin import PngImageFile

__all__ = ["PNG"]

_MOST_PROFILE_BYTES: Final = 16 << 20  # inflated; the largest real ones have 2 MB
_PNG_NEEDED: Final = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"})
_PNG_READ: Final = _PNG_NEEDED | {b"iCCP", b"eXIf", b"acTL", b"sRGB"}
_BROKEN_PROFILE: Final = b"iCCP?"
_GRAY: Final = 0
_RGB: Final = 2
_PNG_MOST_CHUNKS: Final = 1_000_000


def _read(data: bytes, gate: SizeGate) -> Decoded:
    """Check every chunk's CRC, and give Pillow only the chunks that make the default image."""
    from PIL import PngImagePlugin

    chunks = list(_png_chunks(data))
    broken_profile = any(name == _BROKEN_PROFILE for name, _, _ in chunks)
    slim = b"".join((data[:8], *(data[start:end] for name, start, end in chunks if name in _PNG_NEEDED)))
    content = {name: data[start + 8 : end - 4] for name, start, end in chunks if name in _PNG_READ - {b"IDAT"}}
    width_px, height_px, bits, colour = struct.unpack_from(">IIBB", content.get(b"IHDR", b"").ljust(10, b"\0"))
    gate.admit(height_px, width_px)
    decoded = Decoded(PngImagePlugin.PngImageFile(BytesIO(slim)), exif_orientation(content.get(b"eXIf", b"")))
    if b"sRGB" not in content:
        if b"iCCP" in content:
            decoded.icc = _png_profile(content[b"iCCP"])
        elif broken_profile:
            decoded.icc = b""
    if b"acTL" in content:
        decoded.transforms.add(Transform.FIRST_FRAME)
    if bits == 16:
        decoded.transforms.add(Transform.DEPTH_TO_8BIT)
    if "transparency" in decoded.image.info and (colour, bits) == (_RGB, 16):
        decoded.alpha = _alpha_of_16_bits(decoded.image, PngImagePlugin.PngImageFile(BytesIO(slim)))
    elif "transparency" in decoded.image.info and colour in (_GRAY, _RGB):
        clear = decoded.image.info["transparency"]
        levels = tuple(_as_decoded(level, bits) for level in (clear if isinstance(clear, tuple) else (clear,)))
        decoded.image.info["transparency"] = levels if colour == _RGB else levels[0]
    return decoded


def _alpha_of_16_bits(image: "Image", again: "PngImageFile") -> "Image":
    """Return where colours of 16 bits a channel are not the transparent one; `image` loses that, and is loaded.

    Pillow keeps the upper byte of each channel only, so the lower ones are decoded from the same file once more.
    """
    import numpy as np
    import PIL.Image

    clear = np.array(image.info.pop("transparency"), np.uint16)
    opaque = np.any(np.asarray(image) != (clear >> 8).astype(np.uint8), axis=2)
    if not opaque.all():
        again.tile = [tile._replace(args="RGB;16L") for tile in again.tile]  # of big-endian samples, the lower byte
        opaque |= np.any(np.asarray(again) != (clear & 255).astype(np.uint8), axis=2)
    return PIL.Image.fromarray(np.where(opaque, 255, 0).astype(np.uint8))


def _as_decoded(level: int, bits: int) -> int:
    """Return a transparent level as the decoded pixels have it: of the bits that count, spread over eight.

    Source:
        PNG (Third Edition), 11.3.1.1: only the least significant bits of a level are used.
    """
    level &= (1 << bits) - 1
    if bits == 16:
        return level
    return level * 255 // ((1 << bits) - 1)


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield name, start and end of each chunk up to IEND; what follows it is nobody's.

    A profile that fails its CRC has another name.

    Raises:
        Refusal: a chunk that is cut off, fails its CRC, or must be understood and is not.
    """
    at = 8
    for _ in range(_PNG_MOST_CHUNKS):
        name = data[at + 4 : at + 8]
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        if len(name) < 4 or end > len(data):
            raise Refusal(RejectReason.CORRUPT, f"png: the file ends inside the chunk at byte {at}")
        critical = not name[0] & 0x20
        if critical and name not in _PNG_NEEDED:
            raise Refusal(RejectReason.CORRUPT, f"png: unknown critical chunk {name!r} at byte {at}")
        if name in _PNG_READ:
            fits = zlib.crc32(memoryview(data)[at + 4 : end - 4]) == int.from_bytes(data[end - 4 : end], "big")
            if critical and not fits:
                raise Refusal(RejectReason.CORRUPT, f"png: CRC error in chunk {name.decode()} at byte {at}")
            if fits:
                yield name, at, end
            elif name == b"iCCP":
                yield _BROKEN_PROFILE, at, end
        if name == b"IEND":
            return
        at = end
    raise Refusal(RejectReason.CORRUPT, f"png: more than {_PNG_MOST_CHUNKS} chunks")


def _png_profile(chunk: bytes) -> bytes:
    """Inflate an iCCP chunk; empty when it is damaged or a bomb."""
    inflate = zlib.decompressobj()
    try:
        profile = inflate.decompress(chunk.partition(b"\0")[2][1:], _MOST_PROFILE_BYTES)
    except zlib.error:
        return b""
    return profile if inflate.eof else b""


PNG = Decoder("png", starts_with(b"\x89PNG\r\n\x1a\n"), _read)
