"""Photos to work on, made from the samples: as many as wanted, no two alike as objects."""

import struct
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import cv2
import numpy as np

from tests.support.paths import ROOT

__all__ = ["SAMPLES", "enlarged", "fill", "tagged"]

SAMPLES: Final = ROOT / "samples" / "photos"


def tagged(jpeg: bytes, number: int) -> bytes:
    """Return the same picture as another object: with a comment in it that says which."""
    text = b"%08d" % number
    return jpeg[:2] + b"\xff\xfe" + struct.pack(">H", len(text) + 2) + text + jpeg[2:]


def enlarged(name: str, width_px: int) -> bytes:
    """Return a sample as a large camera would have taken it: few bytes, many pixels."""
    pixels = cv2.imread(str(SAMPLES / f"{name}.jpg"), cv2.IMREAD_COLOR)
    height, width, _ = pixels.shape
    large = cv2.resize(pixels, (width_px, round(height * width_px / width)), interpolation=cv2.INTER_LINEAR)
    ok, data = cv2.imencode(".jpg", large, [cv2.IMWRITE_JPEG_QUALITY, 70])
    if not ok:
        raise ValueError(f"{name} cannot be encoded")
    return np.asarray(data).tobytes()


def fill(s3: Any, bucket: str, prefix: str, photos: list[bytes], count: int) -> None:
    """Put so many photos, taken in turn, and their scores under a prefix: `<prefix>photos/` and `<prefix>scores.csv`."""
    names = [f"{number:06}" for number in range(count)]

    def put(number: int) -> None:
        data = tagged(photos[number % len(photos)], number)
        s3.put_object(Bucket=bucket, Key=f"{prefix}photos/{names[number]}.jpg", Body=data)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(put, range(count)))
    scores = "".join(f"{name},{1 + number % 9}\n" for number, name in enumerate(names))
    s3.put_object(Bucket=bucket, Key=f"{prefix}scores.csv", Body=f"id,score\n{scores}".encode())
