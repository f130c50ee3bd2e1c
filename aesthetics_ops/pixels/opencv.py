"""OpenCV, imported for the first photo that needs it, and the arrays that it works on."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

__all__ = ["Pixels", "opencv", "same_on_every_processor"]

Pixels = NDArray[np.uint8]


@cache
def opencv() -> ModuleType:
    """Import OpenCV for the first photo that needs it; each call of ours works in one thread."""
    import cv2

    cv2.setNumThreads(0)
    return cv2


@contextmanager
def same_on_every_processor() -> Iterator[ModuleType]:
    """Give OpenCV, and keep it in this thread from Intel's primitives.

    Their `INTER_CUBIC` rounds some pixels by one level differently with AVX2 and with AVX-512; OpenCV's own counts in
    integers.  What other code has chosen for this thread is as before afterwards.
    """
    cv2 = opencv()
    used = cv2.ipp.useIPP()
    cv2.ipp.setUseIPP(False)
    try:
        yield cv2
    finally:
        cv2.ipp.setUseIPP(used)
