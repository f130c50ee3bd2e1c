"""AVIF: the first image."""

from io import BytesIO
from typing import Final

from aesthetics_ops.pixels.decoded import Decoded
from aesthetics_ops.pixels.decoders.decoder import Decoder
from aesthetics_ops.pixels.decoders.info import with_info
from aesthetics_ops.pixels.decoders.iso_media import has_brand
from aesthetics_ops.pixels.gate import SizeGate
from aesthetics_ops.pixels.transforms import Transform

__all__ = ["AVIF"]

_BRANDS: Final = frozenset({b"avif", b"avis"})


def _read(data: bytes, gate: SizeGate) -> Decoded:
    """Open the first image of an AVIF."""
    from PIL import AvifImagePlugin

    image = AvifImagePlugin.AvifImageFile(BytesIO(data))
    gate.admit(image.height, image.width)
    decoded = with_info(image)
    configuration = data.find(b"av1C")
    if configuration >= 0 and data[configuration + 6 : configuration + 7] >= b"\x40" and data[configuration + 6] & 0x40:
        decoded.transforms.add(Transform.DEPTH_TO_8BIT)
    return decoded


AVIF = Decoder("avif", lambda data: has_brand(data, _BRANDS), _read)
