"""How a stored JPEG becomes an array: size, crop, antialiasing, and what a draw decides.

In: a photo's JPEG, settings, 64 random bits.  Out: (height, width, 3), uint8, sRGB.
Pure: equal bytes, settings and draw give equal pixels with equal codecs, in any thread and process.  The parts of a photo
are chosen in whole numbers, with nothing random but the draw.  docs/reading.md says what each choice costs.
"""

import hashlib
import json
import math
import operator
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cache
from importlib import resources
from typing import Any, Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from aesthetics_ops.errors import SettingsError
from aesthetics_ops.readers.rendering import LEAST_SCALE, Plan, jpeg_size, render

__all__ = ["Antialias", "Fit", "Pixels", "decode", "plan_pixels"]

Fit = Literal["crop", "random_crop", "squash", "pad", "short_side"]
Antialias = Literal["fine", "fast", "exact", "none"]

_RECIPE: Final = 1  # raise it when equal settings give other pixels than before
_LARGEST_SIDE_PX: Final = 65_500
_TRIES: Final = 10  # for a random crop that lies inside the photo
_PROBES: Final = ("420-p3-turned.jpg", "444-progressive.jpg", "gray-profile.jpg")  # of what a dataset may hold
_PROBE_SIZES: Final = (24, 40, 70, 130, 300)  # of photos whose longer side is 240 px: every scale of the decoder
_DIGITS: Final = 16
_MOST_CHARACTERS: Final = 80  # of a value in an error

Box = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Pixels:
    """How photos become arrays.

    Attributes:
        size: height and width of the result in px, 1 to 65,500; one number for both.  For `short_side` one number.
        fit: how a photo comes to that size.
            `crop`: the largest part of the size's shape, from the middle.
            `random_crop`: a random part, as `scale` and `ratio` say.
            `squash`: all of it, whatever its shape; a photo of 3:2 is distorted.
            `pad`: all of it, undistorted, in the middle; the rest is `fill`.
            `short_side`: all of it, undistorted, the shorter side `size` long: results differ in size.  The longer is at
            most 65,500 px.
        antialias: how a photo is made smaller; enlarged it is by linear interpolation.
            `fine`: averaged as Pillow and torchvision do it, to about 50 dB.
            `fast`: the same, with more left to the decoder, which scales less evenly.
            `exact`: by Pillow's filter.
            `none`: the four nearest pixels, as `tf.image.resize` and OpenCV do it.
        flip: mirrors every other photo, at random.
        scale: `random_crop` only: least and largest share of the photo's area, above 0 to 1.
        ratio: `random_crop` only: least and largest width over height of the part, in terms of the size's own.
        fill: `pad` only: gray level or red, green, blue of the rest, 0 to 255.

    Raises:
        SettingsError: a value is out of range, or contradicts `fit`.
    """

    size: int | tuple[int, int] = 224
    fit: Fit = "crop"
    antialias: Antialias = "fine"
    flip: bool = False
    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    fill: int | tuple[int, int, int] = 0

    def __post_init__(self) -> None:
        _check_choice("fit", self.fit, get_args(Fit))
        _check_choice("antialias", self.antialias, get_args(Antialias))
        if not isinstance(self.flip, bool | np.bool_):
            raise SettingsError(f"flip is {_shown(self.flip)}; give True or False")
        set_field = object.__setattr__
        set_field(self, "flip", bool(self.flip))
        set_field(self, "size", _checked_size(self.size, self.fit))
        set_field(self, "scale", _checked_range("scale", self.scale, 0, 1))
        set_field(self, "ratio", _checked_range("ratio", self.ratio, 1 / _LARGEST_SIDE_PX, _LARGEST_SIDE_PX))
        set_field(self, "fill", _checked_fill(self.fill))
        for name, fit in (("scale", "random_crop"), ("ratio", "random_crop"), ("fill", "pad")):
            if self.fit != fit and getattr(self, name) != _DEFAULTS[name]:
                raise SettingsError(f"{name} is for fit={fit!r}, and fit is {self.fit!r}; leave {name} out")

    @property
    def shape(self) -> tuple[int, int, int] | None:
        """(height, width, 3) of every result; None where results differ in size."""
        return None if isinstance(self.size, int) else (*self.size, 3)

    @property
    def is_random(self) -> bool:
        """Whether the draw changes anything."""
        return self.flip or self.fit == "random_crop"

    @property
    def digest(self) -> str:
        """16 hex digits that stand for the pixels: equal ones, equal pixels, on other machines too.

        They depend on the settings and on what the codecs make of this package's probe photos here.
        """
        return _digest(self)


_DEFAULTS: Final = {"scale": (0.08, 1.0), "ratio": (3 / 4, 4 / 3), "fill": 0}


def decode(
    jpeg: bytes | memoryview, pixels: Pixels, *, draw: int = 0, out: NDArray[np.uint8] | None = None
) -> NDArray[np.uint8]:
    """Decode one photo as asked.

    Args:
        jpeg: a record's image: gray or YCbCr.
        pixels: what is asked for.
        draw: 64 random bits; everything random comes from them.
        out: filled and returned where it is given; (height, width, 3), uint8, any layout in memory.

    Returns:
        (height, width, 3), uint8, sRGB; gray has three equal channels.

    Raises:
        IntegrityError: no JPEG, a damaged one, or colours that no dataset holds.
        SettingsError: `out` has another shape or type.
    """
    height, width, colours = jpeg_size(jpeg)
    plan = plan_pixels(height, width, pixels, draw)
    shape = (*plan.result, 3)
    if out is None:
        out = np.empty(shape, np.uint8)
    elif out.shape != shape or out.dtype != np.uint8 or not out.flags.writeable:
        kind = f"{out.dtype}{'' if out.flags.writeable else ', read-only'}"
        raise SettingsError(f"out has shape {out.shape}, {kind}; this photo needs {shape}, uint8, writeable")
    if plan.inner != plan.result:
        out[...] = pixels.fill
    render(jpeg, colours, plan, pixels.antialias, out)
    return out


def plan_pixels(height: int, width: int, pixels: Pixels, draw: int = 0) -> Plan:
    """Say what becomes of a photo of this size.

    Args:
        height: of the photo, in px; 1 or more.
        width: of the photo, in px; 1 or more.
        pixels: what is asked for.
        draw: as for `decode`.

    Returns:
        The plan; equal arguments give equal ones on every machine.
    """
    bits = _random_bits(draw)
    flip = pixels.flip and next(bits) >> 63 == 1
    result, inner = _sizes(height, width, pixels)
    box = _box(height, width, pixels, bits)
    cell, (top, left, rows, columns) = _reduced(height, width, box, inner, LEAST_SCALE[pixels.antialias])
    offset = ((result[0] - inner[0]) // 2, (result[1] - inner[1]) // 2)
    decoded = (-(-height // cell), -(-width // cell))
    return Plan(decoded, top, left, rows, columns, inner, offset, result, flip)


def _sizes(height: int, width: int, pixels: Pixels) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return height and width of the result, and of the photo in it."""
    if isinstance(pixels.size, int):
        shorter = pixels.size
        longer = min(_LARGEST_SIDE_PX, _rounded(shorter * max(height, width), min(height, width)))
        result = (shorter, longer) if height <= width else (longer, shorter)
        return result, result
    rows, columns = pixels.size
    if pixels.fit != "pad":
        return pixels.size, pixels.size
    if width * rows >= height * columns:
        return pixels.size, (max(1, _rounded(columns * height, width)), columns)
    return pixels.size, (rows, max(1, _rounded(rows * width, height)))


def _box(height: int, width: int, pixels: Pixels, bits: Iterator[int]) -> Box:
    """Return top, left, height and width of the part of the photo that is used, in px of the photo."""
    if isinstance(pixels.size, int) or pixels.fit in {"squash", "pad"}:
        return 0, 0, height, width
    rows, columns = pixels.size
    if pixels.fit == "random_crop":
        return _random_box(height, width, pixels, columns / rows, bits)
    return _central_box(height, width, columns, rows)


def _central_box(height: int, width: int, across: int, down: int) -> Box:
    """Return the largest part from the middle whose width is to its height as `across` is to `down`."""
    if width * down >= height * across:
        rows, columns = height, max(1, _rounded(height * across, down))
    else:
        rows, columns = max(1, _rounded(width * down, across)), width
    return (height - rows) // 2, (width - columns) // 2, rows, columns


def _random_box(height: int, width: int, pixels: Pixels, size_ratio: float, bits: Iterator[int]) -> Box:
    """Return a random part, as torchvision's RandomResizedCrop chooses one: area uniform, logarithm of the ratio uniform.

    Sums, products, quotients and square roots only: they are the same on every machine.
    """
    least, most = pixels.scale
    for _ in range(_TRIES):
        area = height * width * (least + (most - least) * ((next(bits) >> 11) / 2**53))
        ratio = size_ratio * _between(*pixels.ratio, next(bits))
        rows, columns = round(math.sqrt(area / ratio)), round(math.sqrt(area * ratio))
        top, left = next(bits), next(bits)
        if 0 < rows <= height and 0 < columns <= width:
            return top * (height - rows + 1) >> 64, left * (width - columns + 1) >> 64, rows, columns
    nearest = min(max(width / height, size_ratio * pixels.ratio[0]), size_ratio * pixels.ratio[1])
    return _central_box(height, width, *nearest.as_integer_ratio())


def _between(low: float, high: float, bits: int) -> float:
    """Return low * (high / low) ** u with u from the 32 highest bits."""
    result, root = low, high / low
    for bit in range(63, 31, -1):
        root = math.sqrt(root)
        if bits >> bit & 1:
            result *= root
    return result


def _reduced(
    height: int, width: int, box: Box, inner: tuple[int, int], least: tuple[int, int] | None
) -> tuple[int, Box]:
    """Choose how far the decoder itself scales down, and say where the box lies then.

    A decoded pixel stands for `cell` x `cell` px of the photo.  The box is moved to the nearest whole ones, of which an
    incomplete one at the right or at the bottom is none.  1/2, 1/4 and 1/8 only: libjpeg-turbo has no fast code for
    other scales.
    """
    if least is None:
        return 1, box
    numerator, denominator = least
    least_rows, least_columns = numerator * inner[0], numerator * inner[1]
    for cell in (8, 4, 2):
        rows, columns = min(height // cell, _rounded(box[2], cell)), min(width // cell, _rounded(box[3], cell))
        if denominator * rows >= least_rows and denominator * columns >= least_columns:
            top = min(_rounded(box[0], cell), height // cell - rows)
            left = min(_rounded(box[1], cell), width // cell - columns)
            return cell, (top, left, rows, columns)
    return 1, box


def _rounded(numerator: int, denominator: int) -> int:
    """Return the quotient, rounded; halves up."""
    return (2 * numerator + denominator) // (2 * denominator)


def _random_bits(draw: int) -> Iterator[int]:
    """Yield 64 bits again and again.

    Source:
        Steele, Lea, Flood: Fast splittable pseudorandom number generators, OOPSLA 2014 (splitmix64).
    """
    mask = 2**64 - 1
    state = int(draw) & mask
    while True:
        state = state + 0x9E3779B97F4A7C15 & mask
        mixed = (state ^ state >> 30) * 0xBF58476D1CE4E5B9 & mask
        mixed = (mixed ^ mixed >> 27) * 0x94D049BB133111EB & mask
        yield mixed ^ mixed >> 31


def _shown(value: object) -> str:
    """Return a value as one line of an error has it."""
    words = " ".join(repr(value).split())
    return words if len(words) <= _MOST_CHARACTERS else words[:_MOST_CHARACTERS] + "..."


def _check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    if not isinstance(value, str) or value not in choices:
        raise SettingsError(f"{name} is {_shown(value)}; it is one of {', '.join(choices)}")


def _checked_size(size: Any, fit: Fit) -> int | tuple[int, int]:
    sides = [_whole(side) for side in size] if isinstance(size, tuple | list) else [_whole(size)]
    rule = f"give 1 to {_LARGEST_SIDE_PX:,} px, as one number" + ("" if fit == "short_side" else " or (height, width)")
    if len(sides) not in ({1} if fit == "short_side" else {1, 2}) or (
        isinstance(size, tuple | list) and len(sides) == 1
    ):
        raise SettingsError(f"size is {_shown(size)}, and fit is {fit!r}; {rule}")
    whole = [side for side in sides if side is not None and 1 <= side <= _LARGEST_SIDE_PX]
    if len(whole) != len(sides):
        raise SettingsError(f"size is {_shown(size)}; {rule}")
    return whole[0] if fit == "short_side" else (whole[0], whole[-1])


def _checked_range(name: str, value: Any, least: float, most: int) -> tuple[float, float]:
    try:
        low, high = (float(number) for number in value if not isinstance(number, str))
    except (TypeError, ValueError):
        low = high = math.nan
    if not (0 < low <= high <= most and least <= low):
        raise SettingsError(f"{name} is {_shown(value)}; give (least, largest), above 0 and up to {most:,}")
    return low, high


def _checked_fill(value: Any) -> int | tuple[int, int, int]:
    levels = [_whole(level) for level in value] if isinstance(value, tuple | list) else [_whole(value)] * 3
    whole = [level for level in levels if level is not None and 0 <= level <= 255]
    if len(levels) != 3 or len(whole) != 3:
        raise SettingsError(f"fill is {_shown(value)}; give a gray level, or (red, green, blue), of 0 to 255")
    return whole[0] if len(set(whole)) == 1 else (whole[0], whole[1], whole[2])


def _whole(value: Any) -> int | None:
    try:
        return None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        return None


@cache
def _digest(pixels: Pixels) -> str:
    entry = {"recipe": _RECIPE, "codecs": _codecs(pixels.antialias)} | asdict(pixels)
    return hashlib.sha256(json.dumps(entry, sort_keys=True).encode()).hexdigest()[:_DIGITS]


@cache
def _codecs(antialias: Antialias) -> str:
    """Return a digest of what the codecs make of the probe photos."""
    digest = hashlib.sha256()
    folder = resources.files("aesthetics_ops.pixels") / "probe"
    for name in _PROBES:
        data = (folder / name).read_bytes()
        for size in _PROBE_SIZES:
            digest.update(decode(data, Pixels(size, "squash", antialias)).tobytes())
    return digest.hexdigest()
