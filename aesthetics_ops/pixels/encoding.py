"""From decoded pixels to the JPEG that is stored: scale, turn, encode."""

from typing import Final, NamedTuple

from aesthetics_ops.pixels.opencv import Pixels, opencv
from aesthetics_ops.pixels.phash import small_gray
from aesthetics_ops.pixels.transforms import Transform
from aesthetics_ops.rejects import Refusal, RejectReason
from aesthetics_ops.settings import PixelSettings

__all__ = ["Coded", "encode"]


_LARGEST_SIDE_PX: Final = 65_500  # of a JPEG, in every libjpeg
_AREA_BELOW_SCALE: Final = 0.6  # INTER_AREA below, INTER_CUBIC from here on (docs/pixels.md)


class Coded(NamedTuple):
    """A canonical JPEG, with what its hash is made of.

    Attributes:
        jpeg, height_px, width_px, transforms: as in `Converted`.
        gray: the picture in gray, up to 1/8 of the size; (height, width), uint8.
    """

    jpeg: bytes | memoryview
    height_px: int
    width_px: int
    transforms: set[Transform]
    gray: Pixels


def encode(
    array: Pixels, sides: tuple[int, int], orientation: int, transforms: set[Transform], pixels: PixelSettings
) -> Coded:
    """Scale, turn and encode.

    Args:
        array: gray or BGR, sRGB; may be a reduced decode when scaling is due.
        sides: height and width of the source, px.
        orientation: EXIF orientation to apply, 1 to 8.
        transforms: what was done so far.
        pixels: what is asked for.

    Raises:
        Refusal: `too_large` for what no JPEG can hold.
    """
    cv2 = opencv()
    height_px, width_px = _fitting(sides, pixels.max_side_px)
    if max(height_px, width_px) > _LARGEST_SIDE_PX:
        raise Refusal(
            RejectReason.TOO_LARGE,
            f"{width_px} x {height_px} px; a JPEG holds {_LARGEST_SIDE_PX:,} px a side, so set max_side_px",
        )
    if (height_px, width_px) != sides:
        scale = max(height_px, width_px) / max(array.shape[:2])
        method = cv2.INTER_AREA if scale < _AREA_BELOW_SCALE else cv2.INTER_CUBIC
        array = cv2.resize(array, (width_px, height_px), interpolation=method)
        transforms.add(Transform.RESIZED)
    if orientation != 1:
        array = _turned(array, orientation)
        transforms.add(Transform.ORIENTED)
    transforms.add(Transform.REENCODED)
    options = (cv2.IMWRITE_JPEG_QUALITY, pixels.quality)
    sampling = (cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420)
    _, encoded = cv2.imencode(".jpg", array, (*options, *sampling))
    return Coded(encoded.tobytes(), array.shape[0], array.shape[1], transforms, small_gray(array))


def _fitting(sides: tuple[int, int], max_side_px: int | None) -> tuple[int, int]:
    """Return height and width scaled so that the longer is `max_side_px`; never enlarged, never below 1 px."""
    if max_side_px is None or max(sides) <= max_side_px:
        return sides
    scale = max_side_px / max(sides)
    return max(1, round(sides[0] * scale)), max(1, round(sides[1] * scale))


def _turned(array: Pixels, orientation: int) -> Pixels:
    """Apply an EXIF orientation, so that the picture is the right way up.

    Source:
        EXIF 2.32 (CIPA DC-008), section 4.6.4, tag 274.
    """
    cv2 = opencv()
    if orientation in {5, 7}:
        array = cv2.transpose(array)
    match orientation:
        case 2:
            return cv2.flip(array, 1)  # type: ignore[no-any-return]
        case 3 | 7:
            return cv2.rotate(array, cv2.ROTATE_180)  # type: ignore[no-any-return]
        case 4:
            return cv2.flip(array, 0)  # type: ignore[no-any-return]
        case 6:
            return cv2.rotate(array, cv2.ROTATE_90_CLOCKWISE)  # type: ignore[no-any-return]
        case 8:
            return cv2.rotate(array, cv2.ROTATE_90_COUNTERCLOCKWISE)  # type: ignore[no-any-return]
        case _:
            return array
