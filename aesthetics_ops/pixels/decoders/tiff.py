"""TIFF and BigTIFF: the first image that is no thumbnail; camera RAW files, which are TIFFs too, are refused."""

from itertools import chain
from typing import Final

from aesthetics_ops.pixels.decoded import Decoded
from aesthetics_ops.pixels.decoders.decoder import Decoder
from aesthetics_ops.pixels.gate import SizeGate
from aesthetics_ops.pixels.tiff.directory import Directory, Tag, directories
from aesthetics_ops.pixels.tiff.samples import decode_directory
from aesthetics_ops.pixels.transforms import Transform
from aesthetics_ops.rejects import Refusal, RejectReason

__all__ = ["TIFF"]

_REDUCED: Final = 1  # bit of the subfile type: a smaller copy of another image of this file
_MASK: Final = 4
_OLD_REDUCED: Final = 2
_RAW_PHOTOMETRICS: Final = frozenset({32803, 34892})  # colour filter array, linear raw
_RAW_COMPRESSIONS: Final = frozenset({32767, 32769, 32770, 34713, 34892, 65000, 65535})  # Sony, Epson, Samsung, ...


def _recognises(data: bytes) -> bool:
    """Tell a TIFF, BigTIFF too, from what starts like one: Canon's RAW files, and DICOM files for two kinds of reader."""
    if data.startswith(b"CR\x02", 8) or data.startswith(b"DICM", 128):
        return False
    return data.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"))


def _read(data: bytes, gate: SizeGate) -> Decoded:
    """Open the first photo of a TIFF."""
    images = directories(data)
    first = next(images, None)
    if first is None:
        raise Refusal(RejectReason.CORRUPT, "tiff: no image")
    _refuse_raw(first)
    photo = first
    if not _is_photo(first):
        photo = next((image for image in chain([first], images) if _is_photo(image)), first)
        _refuse_raw(photo)
    decoded = decode_directory(data, photo, gate)
    orientation = photo.number(Tag.ORIENTATION, 1)
    decoded.orientation = orientation if orientation in range(1, 9) else 1
    if photo is not first or photo.has_next:
        decoded.transforms.add(Transform.FIRST_FRAME)
    return decoded


def _is_photo(image: Directory) -> bool:
    """Tell a photo from the thumbnail or the mask that some writers put in front of it."""
    if image.number(Tag.SUBFILE_TYPE) & (_REDUCED | _MASK):
        return False
    return image.number(Tag.OLD_SUBFILE_TYPE) != _OLD_REDUCED


def _refuse_raw(image: Directory) -> None:
    """Refuse camera RAW files, which are TIFFs whose first image is a small preview.

    Raises:
        Refusal: `unsupported_format`.
    """
    is_preview = bool(image.number(Tag.SUBFILE_TYPE) & _REDUCED) and Tag.SUB_DIRECTORIES in image.values
    if (
        Tag.DNG_VERSION in image.values
        or is_preview
        or image.number(Tag.PHOTOMETRIC) in _RAW_PHOTOMETRICS
        or image.number(Tag.COMPRESSION) in _RAW_COMPRESSIONS
    ):
        raise Refusal(RejectReason.UNSUPPORTED_FORMAT, "RAW (TIFF with sensor data) files are not decoded")


TIFF = Decoder("tiff", _recognises, _read)
