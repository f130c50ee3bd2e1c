"""What Pillow's readers of several formats tell in the same way."""

from typing import Any

from aesthetics_ops.pixels.decoded import Decoded
from aesthetics_ops.pixels.jpeg_header import exif_orientation
from aesthetics_ops.pixels.transforms import Transform

__all__ = ["with_info"]


def with_info(image: Any) -> Decoded:
    """Take orientation, profile and the number of frames from what Pillow found."""
    decoded = Decoded(image, exif_orientation(image.info.get("exif", b"")), image.info.get("icc_profile"))
    if image.n_frames > 1:
        decoded.transforms.add(Transform.FIRST_FRAME)
    return decoded
