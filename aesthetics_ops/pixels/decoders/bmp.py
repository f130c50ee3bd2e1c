"""Windows bitmaps."""

from io import BytesIO
from typing import Final

from aesthetics_ops.pixels.decoded import Decoded
from aesthetics_ops.pixels.decoders.decoder import Decoder
from aesthetics_ops.pixels.gate import SizeGate

__all__ = ["BMP"]

_HEADERS: Final = frozenset({12, 40, 52, 56, 64, 108, 124})  # their lengths, bytes


def _recognises(data: bytes) -> bool:
    return data.startswith(b"BM") and int.from_bytes(data[14:18], "little") in _HEADERS


def _read(data: bytes, gate: SizeGate) -> Decoded:
    """Open the first image of a bitmap; one that would be wholly transparent is opaque, as viewers have it."""
    from PIL import BmpImagePlugin

    image = BmpImagePlugin.BmpImageFile(BytesIO(data))
    gate.admit(image.height, image.width)
    if image.mode == "RGBA" and image.getchannel("A").getextrema() == (0, 0):  # a header that writers fill by habit
        return Decoded(image.convert("RGB"))
    return Decoded(image)


BMP = Decoder("bmp", _recognises, _read)
