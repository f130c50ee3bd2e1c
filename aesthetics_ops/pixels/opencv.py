"""OpenCV, imported for the first photo that needs it, and the arrays that it works on."""

from functools import cache
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

__all__ = ["Pixels", "opencv"]

Pixels = NDArray[np.uint8]


@cache
def opencv() -> ModuleType:
    """Import OpenCV for the first photo that needs it; each call of ours works in one thread."""
    import cv2

    cv2.setNumThreads(0)
    return cv2
