"""Decode a JPEG and resample a part of it: what `Pixels` and a draw have settled by then is a `Plan`.

In: a JPEG and a plan.  Out: pixels, written where the caller wants them.
No state but memory that a thread uses again for its next photo; the codec and the resampling release the interpreter's
lock.  OpenCV's settings are left as they are.

How the antialiased modes get by without a resampling filter of their own: bilinear resampling that antialiases, as Pillow
does it, weighs the source with a triangle as wide as two target pixels.  The same is a small blur and then OpenCV's
`INTER_LINEAR`, where the blur has the variance that is missing.  Both are fast, and docs/reading.md says how near that comes.
"""

from functools import cache
from typing import Final, NamedTuple

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from aesthetics_ops.errors import IntegrityError
from aesthetics_ops.readers.buffers import Scratch

__all__ = ["LEAST_SCALE", "Plan", "jpeg_size", "render"]

LEAST_SCALE: Final = {"fast": (1, 1), "fine": (3, 2), "exact": (3, 1), "none": None}
"""By antialias mode: a reduced decode may leave this many times the target's size, as a fraction, and not less; None never
decodes at a reduced size."""

_COLOURS: Final = {"Gray": "GRAY", "YCbCr": "RGB", "RGB": "RGB"}
_AVERAGED_FROM: Final = 4  # times the target's side; a triangle for more would be many pixels wide
_WEIGHT_STEPS: Final = 128  # OpenCV filters bytes with weights of eight bits; seven leave its sums even
_NO_TIES: Final = (
    2.0**-16
)  # makes the sums odd: what lies half-way between two levels, each instruction set rounds its way
_BISECTIONS: Final = 40

Image = NDArray[np.uint8]

_SCRATCH: Final = Scratch(2)  # what a photo is, before and after a step; the next step writes where the last one read
_FIRST, _SECOND = range(2)


class Plan(NamedTuple):
    """What becomes of one photo.

    Attributes:
        decoded: height and width of the whole decoded picture, in px.
        top, left, height, width: the part of the decoded picture that is used, in its px.
        inner: height and width that the part is brought to, in px.
        offset: rows above and columns left of it in the result; 0 but for `pad`.
        result: height and width of the result, in px.
        flip: mirrors left and right.
    """

    decoded: tuple[int, int]
    top: int
    left: int
    height: int
    width: int
    inner: tuple[int, int]
    offset: tuple[int, int]
    result: tuple[int, int]
    flip: bool


def jpeg_size(jpeg: bytes | memoryview) -> tuple[int, int, str]:
    """Return a JPEG's height and width in px, and the name of the colours to decode it to.

    Raises:
        IntegrityError: no JPEG, or one that no dataset holds, such as CMYK.
    """
    try:
        height_px, width_px, colours, _ = simplejpeg.decode_jpeg_header(jpeg)
    except (ValueError, KeyError) as error:
        raise IntegrityError(f"the photo's JPEG has no header that can be read: {error}") from error
    if colours not in _COLOURS:
        raise IntegrityError(f"the photo's JPEG has {colours} colours, and a dataset holds gray and YCbCr only")
    return height_px, width_px, _COLOURS[colours]


def render(jpeg: bytes | memoryview, colours: str, plan: Plan, antialias: str, out: Image) -> None:
    """Fill the part of `out` that the photo covers.

    Args:
        jpeg: what `plan` was made for.
        colours: as `jpeg_size` says.
        plan: what to do.
        antialias: a key of `LEAST_SCALE`.
        out: (height, width, 3) as in `plan.result`, uint8; becomes sRGB.

    Raises:
        IntegrityError: the JPEG is damaged.
    """
    import cv2

    part = _decoded(jpeg, colours, plan.decoded)[plan.top : plan.top + plan.height, plan.left : plan.left + plan.width]
    (top, left), (height, width) = plan.offset, plan.inner
    target = out[top : top + height, left : left + width]
    writes_there = target.strides[1:] == (3, 1) and target.strides[0] >= 3 * width  # else OpenCV allocates
    is_last = part.ndim == 3 and not plan.flip
    small = _resampled(part, plan.inner, antialias, target if writes_there and is_last else None)
    if small.ndim == 2:
        direct = target if writes_there and not plan.flip else None
        small = np.asarray(cv2.cvtColor(small, cv2.COLOR_GRAY2RGB, dst=direct), np.uint8)
    if plan.flip:
        small = np.asarray(cv2.flip(small, 1, dst=target if writes_there else None), np.uint8)
    if not np.may_share_memory(small, target):
        target[...] = small


def _decoded(jpeg: bytes | memoryview, colours: str, size: tuple[int, int]) -> Image:
    """Decode at the smallest scale of the decoder that gives this size: (height, width, 3), for GRAY (height, width).

    The result is this thread's until its next photo.
    """
    buffer = _SCRATCH.array(_FIRST, (*size, 1 if colours == "GRAY" else 3))
    try:
        array: Image = simplejpeg.decode_jpeg(jpeg, colours, min_height=size[0], min_width=size[1], buffer=buffer)
    except ValueError as error:
        raise IntegrityError(f"the photo's JPEG is damaged: {error}") from error
    return array[:, :, 0] if colours == "GRAY" else array


def _resampled(part: Image, size: tuple[int, int], antialias: str, target: Image | None) -> Image:
    """Return the part in another size, in `target` where that is given and OpenCV can write there."""
    import cv2

    if part.shape[:2] == size:
        return part
    if antialias == "exact":
        return _exactly(part, size)
    free = _SECOND
    if antialias != "none":
        averaged = _averaged(part, size, free)
        free = _FIRST if averaged is not part else _SECOND
        blurred = _blurred(averaged, size, free)
        free = 1 - free if blurred is not averaged else free
        part = blurred
    if target is None:
        target = _SCRATCH.array(free, (*size, *part.shape[2:]))
    return cv2.resize(part, size[::-1], dst=target, interpolation=cv2.INTER_LINEAR)  # type: ignore[return-value]


def _exactly(part: Image, size: tuple[int, int]) -> Image:
    from PIL import Image as Pillow

    picture = Pillow.fromarray(np.ascontiguousarray(part))
    return np.asarray(picture.resize(size[::-1], Pillow.Resampling.BILINEAR))


def _averaged(part: Image, size: tuple[int, int], scratch: int) -> Image:
    """Average what is very much larger than wanted down to twice the wanted side, in this scratch."""
    import cv2

    rows, columns = (
        2 * wanted if side > _AVERAGED_FROM * wanted else side for side, wanted in zip(part.shape, size, strict=False)
    )
    if (rows, columns) == part.shape[:2]:
        return part
    into = _SCRATCH.array(scratch, (rows, columns, *part.shape[2:]))
    return cv2.resize(part, (columns, rows), dst=into, interpolation=cv2.INTER_AREA)  # type: ignore[return-value]


def _blurred(part: Image, size: tuple[int, int], scratch: int) -> Image:
    """Blur by what linear interpolation at this size lacks, in this scratch."""
    import cv2

    down, across = _weights(part.shape[0], size[0]), _weights(part.shape[1], size[1])
    if len(down) == len(across) == 1:
        return part
    into = _SCRATCH.array(scratch, part.shape)
    return cv2.sepFilter2D(part, -1, across, down, dst=into, delta=_NO_TIES, borderType=cv2.BORDER_REFLECT)  # type: ignore[return-value]


@cache
def _weights(side: int, wanted: int) -> NDArray[np.float32]:
    """Return the blur for one direction: a triangle's weights, an odd number of multiples of 1/128 whose sum is 1.

    A triangle as wide as two target pixels has the variance scale²/6, in source pixels; linear interpolation brings 1/6 on
    average.
    """
    scale = side / wanted
    missing = (scale * scale - 1) / 6
    if missing <= 0:
        return np.ones(1, np.float32)
    low, high = 1.0, 2 * scale + 1
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if _variance(_triangle(middle)) < missing else (low, middle)
    steps = [round(weight * _WEIGHT_STEPS) for weight in _triangle(low)]
    steps[len(steps) // 2] += _WEIGHT_STEPS - sum(steps)
    return np.array(steps, np.float32) / np.float32(_WEIGHT_STEPS)


def _triangle(half_width: float) -> list[float]:
    reach = int(half_width)
    weights = [max(0.0, 1 - abs(place) / half_width) for place in range(-reach, reach + 1)]
    total = sum(weights)
    return [weight / total for weight in weights]


def _variance(weights: list[float]) -> float:
    reach = len(weights) // 2
    return sum(weight * (place - reach) ** 2 for place, weight in enumerate(weights))
