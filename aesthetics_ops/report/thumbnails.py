"""Thumbnails of photos for the report: fetched within bounds, decoded as far as they go."""

import base64
import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from aesthetics_ops.errors import AestheticsOpsError
from aesthetics_ops.machine import quiet_stderr
from aesthetics_ops.pixels.formats import JPEG, recognise
from aesthetics_ops.pixels.gate import SizeGate
from aesthetics_ops.pixels.jpeg_header import read_jpeg_header
from aesthetics_ops.rejects import Refusal
from aesthetics_ops.store import StoreThreads

__all__ = ["Thumbnail", "fetch_all", "thumbnail"]

_log = logging.getLogger(__name__)

_THUMBNAIL_SIDE_PX: Final = 160
_THUMBNAIL_QUALITY: Final = 75
_MOST_PIXELS: Final = 50_000_000  # of a photo that a thumbnail is made of
_MOST_SCANS: Final = 100  # a progressive photo has about ten; each costs a pass over all pixels
_MOST_PHOTO_BYTES: Final = 16 << 20
_MOST_FETCHED_BYTES: Final = 128 << 20  # for each of the two sets of thumbnails
_FETCHES: Final = 8


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A small picture, or why there is none.

    Attributes:
        uri: a `data:` URI; empty when there is none.
        width_px, height_px: of the picture; 0 when there is none.
        missing: why there is none; empty when there is one.
    """

    uri: str = ""
    width_px: int = 0
    height_px: int = 0
    missing: str = ""


# thumbnails


def thumbnail(photo: bytes | str) -> Thumbnail:
    """Make a thumbnail of a photo's bytes, or keep the reason why there are none."""
    if isinstance(photo, str):
        return Thumbnail(missing=photo)
    found = _shrink(photo)
    if found is None:
        return Thumbnail(missing="does not decode")
    jpeg, width_px, height_px = found
    return Thumbnail(f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}", width_px, height_px)


def _shrink(photo: bytes) -> tuple[bytes, int, int] | None:
    """Return a small JPEG of a photo with its width and height, or None when it does not decode."""
    import cv2

    try:
        pixels = _decode(photo)
        if pixels is None:
            return None
        scale = _THUMBNAIL_SIDE_PX / max(pixels.shape[:2])
        if scale < 1:
            height_px, width_px = (max(1, round(side * scale)) for side in pixels.shape[:2])
            pixels = cv2.resize(pixels, (width_px, height_px), interpolation=cv2.INTER_AREA)
        done, jpeg = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, _THUMBNAIL_QUALITY])
    except cv2.error:
        return None
    return (jpeg.tobytes(), pixels.shape[1], pixels.shape[0]) if done else None


def _decode(photo: bytes) -> Any:
    """Decode a photo to BGR, damaged JPEGs as far as they go; never one with more pixels than a thumbnail is worth."""
    import cv2
    import simplejpeg

    from aesthetics_ops.pixels.decoded import finish_colours
    from aesthetics_ops.pixels.decoders import decode_image

    reduced = ((8, cv2.IMREAD_REDUCED_COLOR_8), (4, cv2.IMREAD_REDUCED_COLOR_4), (2, cv2.IMREAD_REDUCED_COLOR_2))
    try:
        kind = recognise(photo)
        if kind != JPEG:
            image = finish_colours(decode_image(photo, kind, SizeGate(_MOST_PIXELS))).image
            return np.asarray(image.convert("RGB"))[:, :, ::-1]
        header = read_jpeg_header(photo)
        SizeGate(_MOST_PIXELS).admit(header.frame.height_px, header.frame.width_px)
    except Refusal:
        return None
    if header.scans > _MOST_SCANS:
        return None
    longest = max(header.frame.height_px, header.frame.width_px)
    mode = next((mode for factor, mode in reduced if longest >= factor * 1.5 * _THUMBNAIL_SIDE_PX), cv2.IMREAD_COLOR)
    with quiet_stderr():  # what is wrong with a damaged photo stands in its row already
        pixels = cv2.imdecode(np.frombuffer(photo, np.uint8), mode)
    if pixels is not None:
        return pixels
    try:
        return simplejpeg.decode_jpeg(
            photo, colorspace="BGR", strict=False, min_height=_THUMBNAIL_SIDE_PX, min_width=_THUMBNAIL_SIDE_PX
        )
    except ValueError:
        return None


def fetch_all(wanted: Iterable[tuple[int, Callable[[], bytes | memoryview]]]) -> Iterator[bytes | str]:
    """Fetch photos, a few at a time; yield each one's bytes, or why it was not fetched, in order.

    Args:
        wanted: size in bytes, and how to get it.
    """
    allowed = []
    left_bytes = _MOST_FETCHED_BYTES
    for size_bytes, get in wanted:
        fits = size_bytes <= min(left_bytes, _MOST_PHOTO_BYTES)
        left_bytes -= size_bytes if fits else 0
        allowed.append(get if fits else None)
    with StoreThreads(_FETCHES, thread_name_prefix="thumbnail") as pool:
        yield from pool.map(_fetch, allowed)


def _fetch(get: Callable[[], bytes | memoryview] | None) -> bytes | str:
    if get is None:
        return "too large to fetch for this page"
    try:
        return bytes(get())
    except AestheticsOpsError as error:
        _log.warning("report without a thumbnail: %s", error)
        return "it could not be read from the store"
