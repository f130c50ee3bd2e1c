"""TIFF: the first image; camera RAW files, which are TIFFs too, are refused."""

from io import BytesIO
from typing import TYPE_CHECKING, Any, Final

from aesthetics_ops.pixels.decoded import Decoded
from aesthetics_ops.pixels.decoders.decoder import Decoder
from aesthetics_ops.pixels.gate import SizeGate
from aesthetics_ops.pixels.transforms import Transform
from aesthetics_ops.rejects import Refusal, RejectReason

if TYPE_CHECKING:
    from PIL.TiffImagePlugin import TiffImageFile

__all__ = ["TIFF"]

_TIFF_SUBFILE_TYPE: Final = 254
_TIFF_BITS: Final = 258
_TIFF_COMPRESSION: Final = 259
_TIFF_PHOTOMETRIC: Final = 262
_TIFF_ORIENTATION: Final = 274
_TIFF_TILE_SIDES: Final = (322, 323)
_TIFF_SUB_IFDS: Final = 330
_TIFF_DNG_VERSION: Final = 50706
_TIFF_RAW_PHOTOMETRICS: Final = frozenset({32803, 34892})  # colour filter array, linear raw
_TIFF_RAW_COMPRESSIONS: Final = frozenset(
    {32767, 32769, 32770, 34713, 34892, 65000, 65535}
)  # Sony, Epson, Samsung, Nikon, ...


def _recognises(data: bytes) -> bool:
    """Tell a TIFF, BigTIFF too, from what starts like one: Canon's RAW files, and DICOM files for two kinds of reader."""
    if data.startswith(b"CR\x02", 8) or data.startswith(b"DICM", 128):
        return False
    return data.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"))


def _read(data: bytes, gate: SizeGate) -> Decoded:
    """Open the first image of a TIFF."""
    from PIL import TiffImagePlugin

    image = TiffImagePlugin.TiffImageFile(BytesIO(data))
    tags: Any = image.tag_v2
    gate.admit(image.height, image.width)
    if all(isinstance(tags.get(side), int) for side in _TIFF_TILE_SIDES):  # a tile may be larger than the image
        gate.admit(tags[_TIFF_TILE_SIDES[1]], tags[_TIFF_TILE_SIDES[0]])
    _refuse_raw(image)
    decoded = Decoded(image, icc=image.info.get("icc_profile"))
    bits = tags.get(_TIFF_BITS, (1,))
    if isinstance(bits, tuple) and bits and 8 < bits[0] <= 16:
        decoded.sample_bits = bits[0]
        decoded.transforms.add(Transform.DEPTH_TO_8BIT)
    if tags.get(_TIFF_ORIENTATION, 1) in range(2, 9):  # Pillow turns TIFFs while loading them
        decoded.transforms.add(Transform.ORIENTED)
    if tags.next:
        decoded.transforms.add(Transform.FIRST_FRAME)
    return decoded


def _refuse_raw(image: "TiffImageFile") -> None:
    """Refuse camera RAW files, which are TIFFs whose first image is a small preview.

    Raises:
        Refusal: `unsupported_format`.
    """
    tags: Any = image.tag_v2
    preview = isinstance(subfile := tags.get(_TIFF_SUBFILE_TYPE, 0), int) and subfile & 1 and _TIFF_SUB_IFDS in tags
    if (
        _TIFF_DNG_VERSION in tags
        or preview
        or tags.get(_TIFF_PHOTOMETRIC) in _TIFF_RAW_PHOTOMETRICS
        or tags.get(_TIFF_COMPRESSION) in _TIFF_RAW_COMPRESSIONS
    ):
        raise Refusal(RejectReason.UNSUPPORTED_FORMAT, "RAW (TIFF with sensor data) files are not decoded")


TIFF = Decoder("tiff", _recognises, _read)
