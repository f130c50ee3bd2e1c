"""Bring an image's colours from its embedded ICC profile to sRGB.

In: an image and a profile.  Out: an image whose numbers mean sRGB, and what had to be done.  Pure; the transforms are
remembered by the profile's bytes, which changes nothing but the time.

Source:
    ICC.1:2022 (profile header); littleCMS through Pillow's ImageCms does the arithmetic, perceptual intent.
"""

from enum import Enum
from functools import lru_cache
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageCms import ImageCmsTransform

__all__ = ["ProfileVerdict", "judge_profile", "to_srgb"]

_SRGB_TOLERANCE: Final = 2  # levels of 255; profiles named sRGB differ by rounding, every other by far more
_PROBE_LEVELS: Final = (0, 51, 102, 153, 204, 255)
_SPACES: Final = {"L": (b"GRAY", b"RGB "), "RGB": (b"RGB ",), "CMYK": (b"CMYK",)}
_HEADER_BYTES: Final = 128


class ProfileVerdict(Enum):
    """What a profile means for the image that carries it."""

    SRGB = "srgb"  # its colours are sRGB's, whatever it is called
    FOREIGN = "foreign"  # its colours must be converted
    UNUSABLE = "unusable"  # damaged, or made for another kind of image; viewers show such an image as sRGB


@lru_cache(maxsize=64)
def judge_profile(profile: bytes, mode: str) -> ProfileVerdict:
    """Decide by what the profile does to colours, never by its name.

    Args:
        profile: an ICC profile; empty counts as damaged.
        mode: `L`, `RGB` or `CMYK`: the image's colour channels.
    """
    if _transform(profile, mode) is None:
        return ProfileVerdict.UNUSABLE
    if mode == "CMYK":
        return ProfileVerdict.FOREIGN
    probe = _probe(mode)
    before, after = probe.tobytes(), to_srgb(probe, profile).tobytes()
    same = all(abs(a - b) <= _SRGB_TOLERANCE for a, b in zip(before, after, strict=True))
    return ProfileVerdict.SRGB if same else ProfileVerdict.FOREIGN


def to_srgb(image: "Image", profile: bytes) -> "Image":
    """Convert an image with a profile that was judged `FOREIGN`.

    Args:
        image: mode `L`, `RGB` or `CMYK`.
        profile: an ICC profile.

    Returns:
        Mode `L` for `L`, else `RGB`; sRGB.
    """
    if image.mode == "L":
        return image.point(list(_gray_table(profile)))
    transform = _transform(profile, image.mode)
    return image.convert("RGB") if transform is None else transform.apply(image)


@lru_cache(maxsize=64)
def _transform(profile: bytes, mode: str) -> "ImageCmsTransform | None":
    """Build the transform to sRGB; None when the profile cannot be used for this mode."""
    if len(profile) < _HEADER_BYTES or profile[16:20] not in _SPACES[mode]:
        return None
    from io import BytesIO

    from PIL import ImageCms

    source_mode = "RGB" if profile[16:20] == b"RGB " else mode
    try:
        source = ImageCms.getOpenProfile(BytesIO(profile))
        return ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), source_mode, "RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None


@lru_cache(maxsize=64)
def _gray_table(profile: bytes) -> bytes:
    """Return sRGB gray for each of the 256 gray levels; a neutral colour stays neutral, so one channel tells all."""
    ramp = _probe("L")
    transform = _transform(profile, "L")
    if transform is None:
        return ramp.tobytes()
    return transform.apply(ramp if profile[16:20] == b"GRAY" else ramp.convert("RGB")).getchannel("G").tobytes()


def _probe(mode: str) -> "Image":
    """Make one row of test colours: every gray level, and for RGB a cube of colours too."""
    from PIL import Image

    grays = range(256)
    if mode == "L":
        return Image.frombytes("L", (256, 1), bytes(grays))
    colours = [(gray, gray, gray) for gray in grays]
    colours += [(r, g, b) for r in _PROBE_LEVELS for g in _PROBE_LEVELS for b in _PROBE_LEVELS]
    return Image.frombytes("RGB", (len(colours), 1), bytes(level for colour in colours for level in colour))
