"""HEIC and other HEIF images, as phones write them: the first image."""

from io import BytesIO
from typing import Final

from aesthetics_ops.pixels.decoded import Decoded
from aesthetics_ops.pixels.decoders.decoder import Decoder
from aesthetics_ops.pixels.decoders.iso_media import has_brand, turns_its_first_image
from aesthetics_ops.pixels.gate import SizeGate
from aesthetics_ops.pixels.transforms import Transform

__all__ = ["HEIF"]

_BRANDS: Final = frozenset(
    {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1", b"mif2"}
)


def _read(data: bytes, gate: SizeGate) -> Decoded:
    """Open the first image of a HEIF file."""
    import pillow_heif

    container = pillow_heif.open_heif(BytesIO(data), convert_hdr_to_8bit=True)
    height_px, width_px = container.size[1], container.size[0]
    gate.admit(height_px, width_px)
    image = container.to_pillow()  # turned as the container asks; its EXIF orientation means nothing
    decoded = Decoded(image, icc=image.info.get("icc_profile"))
    if turns_its_first_image(data):
        decoded.transforms.add(Transform.ORIENTED)
    if int(container.info.get("bit_depth", 8)) > 8:
        decoded.transforms.add(Transform.DEPTH_TO_8BIT)
    if len(container) > 1:
        decoded.transforms.add(Transform.FIRST_FRAME)
    return decoded


HEIF = Decoder("heif", lambda data: has_brand(data, _BRANDS), _read)
