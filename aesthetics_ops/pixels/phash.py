"""Hash what a photo looks like, so that near copies have hashes that differ in few bits."""

from collections.abc import Sequence
from functools import cache, lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from aesthetics_ops.pixels.opencv import Pixels, opencv

__all__ = ["REDUCTIONS", "hash_reduction", "perceptual_hashes", "small_gray"]

REDUCTIONS: Final = (8, 4, 2)
_COSINES: Final = 11  # rows of the cosine transform that hold the 64 lowest frequencies
_HASH_GRID: Final = 32
_HASH_NEEDS_PX: Final = 24  # enough to see the highest of these frequencies
_COSINE_UNIT: Final = 128
_HASH_BITS: Final = 64
_WEAK: Final = 4  # levels of 255: where half the waves are weaker, a smooth sky looks like the next one


def hash_reduction(sides: tuple[int, int]) -> int:
    """Choose how far the decoder may scale down: what is left still shows every frequency that is hashed."""
    return next((factor for factor in REDUCTIONS if min(sides) >= factor * _HASH_NEEDS_PX), 1)


def small_gray(array: Pixels) -> Pixels:
    """Make of decoded pixels about what the strict check of a kept JPEG decodes: gray, at up to 1/8 of the size.

    Every second row is enough for that.
    """
    cv2 = opencv()
    rows = columns = hash_reduction((array.shape[0], array.shape[1]))
    if rows > 1:
        array, rows = array[::2], rows // 2
    gray: Pixels = array if array.ndim == 2 else cv2.cvtColor(array, cv2.COLOR_BGR2GRAY)
    below, right = -gray.shape[0] % rows, -gray.shape[1] % columns
    if below or right:  # fill up the last blocks as a JPEG encoder does
        gray = cv2.copyMakeBorder(gray, 0, below, 0, right, cv2.BORDER_REPLICATE)
    height, width = gray.shape[0] // rows, gray.shape[1] // columns
    if rows > 1:  # halves have a fast path
        gray = cv2.resize(gray, (gray.shape[1] // 2, gray.shape[0] // 2), interpolation=cv2.INTER_AREA)
    if gray.shape != (height, width):
        gray = cv2.resize(gray, (width, height), interpolation=cv2.INTER_AREA)
    return gray


def perceptual_hashes(grays: Sequence[NDArray[np.float64]]) -> list[int]:
    """Hash what photos look like: the signs, against their median, of the 64 lowest frequencies of each.

    All numbers are integers that a float64 holds exactly, so every machine finds the same bits.  What is small is done for all of the
    photos at once: each call into NumPy lets go of the interpreter's lock, and many threads wait for that.

    Args:
        grays: (height, width) each, levels of 0 to 255; the photos at any size.
    """
    waves = np.empty((len(grays), _COSINES, _COSINES))
    weak = np.empty(len(grays))
    for place, gray in enumerate(grays):
        height, width = gray.shape
        np.matmul(_waves(height) @ gray, _waves(width).T, out=waves[place])
        weak[place] = _WEAK * _COSINE_UNIT**2 * _HASH_GRID**2 * height * width / _HASH_GRID
    strengths = waves[:, *_frequencies()]
    is_weak = np.sort(np.abs(strengths))[:, _HASH_BITS // 2 - 1] < weak
    bits = np.packbits(strengths > np.sort(strengths)[:, _HASH_BITS // 2 - 1, None], axis=1)
    return [
        0 if none else int.from_bytes(row.tobytes(), "big") for none, row in zip(is_weak.tolist(), bits, strict=True)
    ]


@lru_cache(maxsize=4096)
def _waves(length: int) -> NDArray[np.float64]:
    """Return the cosine transform of `length` pixels averaged into 32 cells, shape (11, length), integers."""
    edges = np.arange(_HASH_GRID + 1) * length
    pixels = np.arange(length + 1) * _HASH_GRID
    overlap = np.minimum(edges[1:, None], pixels[None, 1:]) - np.maximum(edges[:-1, None], pixels[None, :-1])
    angles = np.pi / _HASH_GRID * np.outer(np.arange(_COSINES), np.arange(_HASH_GRID) + 0.5)
    waves: NDArray[np.float64] = np.rint(_COSINE_UNIT * np.cos(angles)) @ np.maximum(overlap, 0)
    waves.setflags(write=False)
    return waves


@cache
def _frequencies() -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return rows and columns of the 64 lowest frequencies, the mean left out."""
    every = sorted(np.ndindex(_COSINES, _COSINES), key=lambda place: (sum(place), place))
    rows, columns = zip(*every[1 : _HASH_BITS + 1], strict=True)
    return np.array(rows), np.array(columns)
