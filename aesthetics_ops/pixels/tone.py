"""How bright a photo is and how much its light and dark differ, from the small gray picture that its hash is made of."""

import math
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Tone", "tone_of"]

_STEPS: Final = 16  # of a level: exact as JSON and as float32, and far finer than what two decoders differ by


class Tone(NamedTuple):
    """Luma of a photo, in levels of 0 (black) to 255 (white), rounded to a sixteenth.

    Attributes:
        brightness: mean over the pixels.
        contrast: population standard deviation over the pixels, 0 to 127.5.
    """

    brightness: float
    contrast: float


def tone_of(gray: NDArray[Any]) -> Tone:
    """Measure a picture's luma.

    The sums are whole numbers that a float64 holds exactly, so every machine finds the same.  Details that the reduction to 1/8
    averages away are not in the contrast.

    Args:
        gray: (height, width), levels of 0 to 255; not empty.
    """
    levels = gray.astype(np.float64, copy=False).ravel()
    total, squares = int(levels.sum()), int(levels @ levels)
    variance = (gray.size * squares - total**2) / gray.size**2  # of whole numbers, rounded once
    return Tone(round(_STEPS * total / gray.size) / _STEPS, round(_STEPS * math.sqrt(variance)) / _STEPS)
