"""JPEGs of every coding and chroma sampling, and what other readers find in them."""

import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import cv2
import numpy as np
import PIL.Image
import pytest
import simplejpeg
from PIL.JpegImagePlugin import JpegImageFile

from aesthetics_ops.errors import SettingsError
from aesthetics_ops.pixels import codecs, lossless
from aesthetics_ops.pixels.jpeg_header import read_jpeg_header
from aesthetics_ops.pixels.photo import Converted, convert_photo
from aesthetics_ops.settings import PixelSettings

FACTORS = {"4:4:4": (1, 1), "4:2:2": (2, 1), "4:2:0": (2, 2), "4:4:0": (1, 2), "4:1:1": (4, 1)}
SAMPLINGS = (*FACTORS, "gray")
SMOOTH = cv2.resize(np.random.default_rng(3).integers(0, 255, (6, 8, 3), np.uint8), (96, 72))


def has_library() -> bool:
    try:
        lossless._library()
    except SettingsError:
        return False
    return True


needs_library = pytest.mark.skipif(not has_library(), reason="libturbojpeg is missing (apt-get install libturbojpeg0)")


@contextmanager
def without_library() -> Iterator[None]:
    """As on a machine that lacks libturbojpeg."""
    caches = (lossless._library, codecs._lossless_fingerprint)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lossless, "_SONAME", "libturbojpeg-is-not-here.so")
        patch.setattr(sys, "platform", "linux")
        for cache in caches:
            cache.cache_clear()
        yield
    for cache in caches:
        cache.cache_clear()


def coded(sampling: str, progressive: bool) -> bytes:
    """Encode a picture with OpenCV."""
    options = [cv2.IMWRITE_JPEG_PROGRESSIVE, int(progressive)]
    if sampling == "gray":
        return cv2.imencode(".jpg", SMOOTH[:, :, 0], options)[1].tobytes()
    factor = getattr(cv2, f"IMWRITE_JPEG_SAMPLING_FACTOR_{sampling.replace(':', '')}")
    return cv2.imencode(".jpg", SMOOTH, [*options, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, factor])[1].tobytes()


def seen_by_pillow(jpeg: bytes | memoryview) -> tuple[bool, str]:
    """Return what another reader of headers finds."""
    with PIL.Image.open(io.BytesIO(bytes(jpeg))) as image:
        assert isinstance(image, JpegImageFile)
        if len(image.layer) == 1:
            return "progressive" in image.info, "gray"
        _, across, down, _ = image.layer[0]
        assert [layer[1:3] for layer in image.layer[1:]] == [(1, 1), (1, 1)]
        names = {factors: name for name, factors in FACTORS.items()}
        return "progressive" in image.info, names[across, down]


def known_coding(data: bytes, settings: PixelSettings) -> Converted:
    """Convert a photo, and compare what is said of its coding with what stands in the JPEG."""
    photo = convert_photo(data, settings)
    assert isinstance(photo, Converted)
    header = read_jpeg_header(photo.jpeg)
    assert (photo.progressive, photo.sampling) == (header.progressive, header.frame.sampling)
    baseline = header.frame.marker == 0xC0 and header.scans == 1
    if baseline or header.frame.marker == 0xC2:  # Pillow knows no extended coding, and does not count scans
        assert (photo.progressive, photo.sampling) == seen_by_pillow(photo.jpeg)
    return photo


def pixels(jpeg: bytes | memoryview) -> list[np.ndarray]:
    """Decode in full with two decoders; Pillow leaves out the conversion from YCbCr."""
    with PIL.Image.open(io.BytesIO(bytes(jpeg))) as image:
        image.draft("L" if image.mode == "L" else "YCbCr", None)
        return [
            simplejpeg.decode_jpeg(jpeg, "BGR"),
            simplejpeg.decode_jpeg(jpeg, "BGR", fastdct=True),
            np.asarray(image),
        ]


def same_pixels(first: bytes | memoryview, second: bytes | memoryview) -> bool:
    return all(np.array_equal(one, other) for one, other in zip(pixels(first), pixels(second), strict=True))
