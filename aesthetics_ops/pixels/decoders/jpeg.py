"""JPEGs with a chroma sampling that only Pillow knows."""

from io import BytesIO

from aesthetics_ops.pixels.decoded import Decoded
from aesthetics_ops.pixels.decoders.decoder import Decoder, starts_with
from aesthetics_ops.pixels.gate import SizeGate
from aesthetics_ops.pixels.jpeg_header import read_jpeg_header

__all__ = ["JPEG"]


def _read(data: bytes, _: SizeGate) -> Decoded:
    """Decode a JPEG with a sampling that only Pillow knows; its structure and size were checked before."""
    from PIL import JpegImagePlugin

    header = read_jpeg_header(data)
    return Decoded(JpegImagePlugin.JpegImageFile(BytesIO(header.canonical)), header.orientation, header.icc)


JPEG = Decoder("jpeg", starts_with(b"\xff\xd8"), _read)
