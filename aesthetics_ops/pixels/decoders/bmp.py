"""Windows bitmaps."""

from io import BytesIO

from aesthetics_ops.pixels.decoded import Decoded
from aesthetics_ops.pixels.gate import SizeGate

__all__ = ["read_bmp"]


def read_bmp(data: bytes, gate: SizeGate) -> Decoded:
    """Open the first image of a bitmap."""
    from PIL import BmpImagePlugin

    image = BmpImagePlugin.BmpImageFile(BytesIO(data))
    gate.admit(image.height, image.width)
    return Decoded(image)
