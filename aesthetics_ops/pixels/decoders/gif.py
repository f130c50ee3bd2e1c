"""GIF: the first frame."""

import struct
from io import BytesIO
from typing import Any

from aesthetics_ops.pixels.decoded import Decoded
from aesthetics_ops.pixels.decoders.decoder import Decoder, starts_with
from aesthetics_ops.pixels.gate import SizeGate
from aesthetics_ops.pixels.transforms import Transform

__all__ = ["GIF"]


def _read(data: bytes, gate: SizeGate) -> Decoded:
    """Open the first image of a GIF."""
    from PIL import GifImagePlugin

    width_px, height_px = struct.unpack_from("<HH", data.ljust(10, b"\0"), 6)
    gate.admit(height_px, width_px)
    image = GifImagePlugin.GifImageFile(BytesIO(data))
    gate.admit(image.height, image.width)  # a frame may reach beyond the screen
    image.load()
    still = Decoded(image.copy())
    if _another_frame(image):
        still.transforms.add(Transform.FIRST_FRAME)
    return still


def _another_frame(image: Any) -> bool:
    try:
        return bool(image.is_animated)
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error):
        return True  # something follows; that it is damaged does not matter to the first frame


GIF = Decoder("gif", starts_with(b"GIF87a", b"GIF89a"), _read)
