"""From decoded pixels to the JPEG that is stored: scale, turn, encode."""

from types import ModuleType
from typing import Final, NamedTuple

from aesthetics_ops.pixels.opencv import Pixels, opencv, same_on_every_processor
from aesthetics_ops.pixels.phash import small_gray
from aesthetics_ops.pixels.transforms import Transform
from aesthetics_ops.rejects import Refusal, RejectReason
from aesthetics_ops.settings import PixelSettings

__all__ = ["LARGEST_SIDE_PX", "USUAL_SAMPLING", "Coded", "Picture", "encode"]

LARGEST_SIDE_PX: Final = 65_500
"""Of a JPEG, in every libjpeg."""
USUAL_SAMPLING: Final = "420"
"""The chroma sampling of a photo whose source asks for no other."""

_AREA_BELOW_SCALE: Final = 0.6  # INTER_AREA below, INTER_CUBIC from here on (docs/pixels.md)
_TURNED_SAMPLINGS: Final = {"422": "440", "440": "422", "411": "440"}  # 4:1:1 turned has no name


class Picture(NamedTuple):
    """Decoded pixels, and what is known of them.

    Attributes:
        array: gray or BGR, sRGB; may be a reduced decode when scaling is due.
        sides: height and width of the source, px.
        orientation: EXIF orientation to apply, 1 to 8.
        sampling: of the chroma, as the strict JPEG decoder names it: 444, 422, 440, 420 or 411.
    """

    array: Pixels
    sides: tuple[int, int]
    orientation: int = 1
    sampling: str = USUAL_SAMPLING


class Coded(NamedTuple):
    """A canonical JPEG, with what its hash, brightness and contrast are taken from.

    Attributes:
        jpeg, height_px, width_px, transforms: as in `Converted`.
        gray: the picture in gray, up to 1/8 of the size; (height, width), uint8.
        progressive, sampling: as in `Converted`.
    """

    jpeg: bytes | memoryview
    height_px: int
    width_px: int
    transforms: set[Transform]
    gray: Pixels
    progressive: bool
    sampling: str


def encode(picture: Picture, transforms: set[Transform], pixels: PixelSettings) -> Coded:
    """Scale, turn and encode; the same bytes on every processor.

    Args:
        picture: what to encode.
        transforms: what was done so far.
        pixels: what is asked for.

    Raises:
        Refusal: `too_large` for what no JPEG can hold.
    """
    array, sides, orientation, sampling = picture
    height_px, width_px = _fitting(sides, pixels.max_side_px)
    if max(height_px, width_px) > LARGEST_SIDE_PX:
        raise Refusal(
            RejectReason.TOO_LARGE,
            f"{width_px} x {height_px} px; a JPEG holds {LARGEST_SIDE_PX:,} px a side, so set max_side_px",
        )
    with same_on_every_processor() as cv2:
        if (height_px, width_px) != sides:
            scale = max(height_px, width_px) / max(array.shape[:2])
            method = cv2.INTER_AREA if scale < _AREA_BELOW_SCALE else cv2.INTER_CUBIC
            array = cv2.resize(array, (width_px, height_px), interpolation=method)
            transforms.add(Transform.RESIZED)
        if orientation != 1:
            array = _turned(array, orientation)
            transforms.add(Transform.ORIENTED)
        transforms.add(Transform.REENCODED)
        name, factor = _written_sampling(cv2, sampling, orientation)
        options = (cv2.IMWRITE_JPEG_QUALITY, pixels.quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, factor)
        _, encoded = cv2.imencode(".jpg", array, options)
        written = ":".join(name) if array.ndim == 3 else "gray"
        height_px, width_px = array.shape[:2]
        return Coded(encoded.tobytes(), height_px, width_px, transforms, small_gray(array), False, written)


def _written_sampling(cv2: ModuleType, sampling: str, orientation: int) -> tuple[str, int]:
    """Return how chroma is sampled, as in the source and turned with it: the name, and the encoder's value for it."""
    lies_on_its_side = orientation >= 5
    wanted = _TURNED_SAMPLINGS.get(sampling, sampling) if lies_on_its_side else sampling
    name = wanted if hasattr(cv2, f"IMWRITE_JPEG_SAMPLING_FACTOR_{wanted}") else USUAL_SAMPLING
    return name, getattr(cv2, f"IMWRITE_JPEG_SAMPLING_FACTOR_{name}")


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
