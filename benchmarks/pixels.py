"""What each way to make a photo small costs, and how near it comes to Pillow's antialiased picture.

    .venv/bin/python benchmarks/pixels.py [--photos 100] [--rounds 5] [--size 224]

Photos of three kinds are in memory: 640 px and 12 to 24 megapixels (`photos.py`), and the first ones as a build with
`--max-side-px 384 --quality 90`, or 320, stores them.  One thread decodes them; CPU time is its own, so that other processes
matter little.  A round runs every row once, every other round backwards; the ratio to the bare decode, at full size and
without anything else, is taken inside a round.  `INTER_AREA` is OpenCV's averaging after a full decode, for comparison.

PSNR is against Pillow's bilinear filter over the same part of the photo, decoded at full size.  Sharpness is the variance
of the Laplacian, in terms of the same picture's.
"""

import argparse
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, get_args

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray
from photos import SETS, make_photos
from PIL import Image

from aesthetics_ops.pixels.photo import Converted, convert_photo
from aesthetics_ops.readers.pixels import Antialias, Fit, Pixels, decode, plan_pixels
from aesthetics_ops.settings import PixelSettings

PHOTOS: Final = Path(__file__).parents[1] / ".bench" / "photos"
CAMERA_PHOTOS: Final = 8
STORED_SIDES_PX: Final = (384, 320)
BARE: Final = "bare decode"

Array = NDArray[Any]


@dataclass(frozen=True)
class Row:
    """One way to make photos small.

    Attributes:
        name: for the table.
        run: does it to a JPEG.
        pixels: whose part of the photo it shows; None shows nothing.
    """

    name: str
    run: Callable[[bytes], Array]
    pixels: Pixels | None = None


def rows_of(size: int, fits: tuple[Fit, ...]) -> list[Row]:
    """Return the rows of one table."""
    rows = [Row(BARE, lambda jpeg: simplejpeg.decode_jpeg(jpeg, "RGB"))]
    for fit in fits:
        for antialias in get_args(Antialias):
            pixels = Pixels(size, fit, antialias)
            rows.append(Row(f"{fit}, {antialias}", partial(decode, pixels=pixels), pixels))
        whole = Pixels(size, fit, "none")
        rows.append(Row(f"{fit}, INTER_AREA", partial(averaged, pixels=whole), whole))
    return rows


def part_of(jpeg: bytes, pixels: Pixels) -> tuple[Array, tuple[int, int]]:
    """Return what the pixels show of a photo, decoded at full size, and height and width it comes to."""
    array = simplejpeg.decode_jpeg(jpeg, "RGB")
    plan = plan_pixels(array.shape[0], array.shape[1], pixels)
    cell = -(-array.shape[0] // plan.decoded[0])
    top, left, height, width = (cell * value for value in (plan.top, plan.left, plan.height, plan.width))
    return array[top : top + height, left : left + width], plan.inner


def averaged(jpeg: bytes, pixels: Pixels) -> Array:
    """Decode at full size and average."""
    part, size = part_of(jpeg, pixels)
    return cv2.resize(part, size[::-1], interpolation=cv2.INTER_AREA)


def quality(jpeg: bytes, row: Row, pixels: Pixels) -> tuple[float, float]:
    """Return PSNR in dB and relative sharpness."""
    part, size = part_of(jpeg, pixels)
    best = np.asarray(Image.fromarray(part).resize(size[::-1], Image.Resampling.BILINEAR))
    found = row.run(jpeg)
    error = np.mean((found.astype(float) - best) ** 2)
    return 99.0 if error == 0 else float(10 * np.log10(255**2 / error)), sharpness(found) / sharpness(best)


def sharpness(array: Array) -> float:
    """Return the variance of the Laplacian of the gray picture."""
    gray = cv2.cvtColor(array, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return float(np.asarray(cv2.Laplacian(gray, cv2.CV_32F)).var())


def measure(photos: list[bytes], rows: list[Row], rounds: int) -> dict[str, list[float]]:
    """Return CPU ms a photo, by row and round."""
    times: dict[str, list[float]] = defaultdict(list)
    for number in range(rounds):
        for row in rows if number % 2 == 0 else reversed(rows):
            start = time.thread_time()
            for jpeg in photos:
                row.run(jpeg)
            times[row.name].append((time.thread_time() - start) / len(photos) * 1000)
    return times


def print_table(name: str, photos: list[bytes], rows: list[Row], rounds: int) -> None:
    """Measure one kind of photos."""
    kilobytes = sum(map(len, photos)) / len(photos) / 1000
    print(f"\n{name}: {len(photos)} photos, mean {kilobytes:.1f} kB, {rounds} rounds\n")
    print("| row | CPU ms | x bare decode | PSNR median | 5 % | least | sharpness median | 5 % to 95 % |")
    print("|---|---:|---:|---:|---:|---:|---:|---|")
    times = measure(photos, rows, rounds)
    for row in rows:
        ratios = [one / bare for one, bare in zip(times[row.name], times[BARE], strict=True)]
        line = f"| {row.name} | {np.median(times[row.name]):.2f} | {np.median(ratios):.2f} |"
        if row.pixels is not None:
            found = np.array([quality(jpeg, row, row.pixels) for jpeg in photos])
            low, middle, high = np.percentile(found[:, 1], [5, 50, 95])
            decibels = f"{np.median(found[:, 0]):.1f} | {np.percentile(found[:, 0], 5):.1f} | {found[:, 0].min():.1f}"
            line += f" {decibels} | {middle:.2f} | {low:.2f} to {high:.2f} |"
        print(line, flush=True)


def stored_small(jpeg: bytes, side_px: int) -> bytes:
    """Return what a build with this longest side makes of a photo."""
    photo = convert_photo(jpeg, PixelSettings("keep", quality=90, max_side_px=side_px, max_pixels=100_000_000))
    if not isinstance(photo, Converted):
        raise ValueError(photo)
    return bytes(photo.jpeg)


def main() -> int:
    """Measure, and print a table for each kind of photos in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--size", type=int, default=224)
    asked = parser.parse_args()
    ava = [path.read_bytes() for path in make_photos(PHOTOS, SETS["ava"], asked.photos)]
    camera = [path.read_bytes() for path in make_photos(PHOTOS, SETS["camera"], CAMERA_PHOTOS)]
    cv2.setNumThreads(1)
    print_table("640 px", ava, rows_of(asked.size, ("crop", "squash")), asked.rounds)
    for side_px in STORED_SIDES_PX:
        small = [stored_small(jpeg, side_px) for jpeg in ava]
        print_table(f"stored at {side_px} px", small, rows_of(asked.size, ("crop",)), asked.rounds)
    print_table("12 to 24 megapixels", camera, rows_of(asked.size, ("crop",)), asked.rounds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
