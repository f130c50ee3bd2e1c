"""How bright a photo is and how much its light and dark differ, from the small gray picture that its hash is made of."""

import math
from typing import Final, NamedTuple

import numpy as np

from aesthetics_ops.pixels.opencv import Pixels

__all__ = ["Tone", "tone_of"]

_LEVELS: Final = np.arange(256)
_STEPS: Final = 16  # of a level: exact as JSON and as float32, and far finer than what two decoders differ by


class Tone(NamedTuple):
    """Luma of a photo, in levels of 0 (black) to 255 (white), rounded to a sixteenth.

    Attributes:
        brightness: mean over the pixels.
        contrast: population standard deviation over the pixels, 0 to 127.5.
    """

    brightness: float
    contrast: float


def tone_of(gray: Pixels) -> Tone:
    """Measure a picture's luma.

    The sums are whole numbers, so every machine finds the same.  Details that the reduction to 1/8 averages away are not in
    the contrast.

    Args:
        gray: (height, width), uint8; not empty.
    """
    counts = np.bincount(gray.ravel(), minlength=256)
    total, squares = int(counts @ _LEVELS), int(counts @ _LEVELS**2)
    variance = (gray.size * squares - total**2) / gray.size**2  # of whole numbers, rounded once
    return Tone(round(_STEPS * total / gray.size) / _STEPS, round(_STEPS * math.sqrt(variance)) / _STEPS)
