"""What the perceptual hash finds and misses: copies of real photos, and photos that are not copies.

    .venv/bin/python benchmarks/near_duplicates.py [--photos samples/photos]

Each photo in the folder is resized, encoded, cropped, brightened and mirrored, and the distance of the copy's hash
from its own is counted in bits of 64.  Then every pair of different files is compared, and every pair of pieces of
photos that do not overlap: a thousand different pictures from a hundred photos, with more bare sky than photos have.
"""

import argparse
import itertools
import sys
from collections import defaultdict
from pathlib import Path

import cv2
import numpy as np
from cv2.typing import MatLike

from aesthetics_ops.pixels.photo import Converted, convert_photo
from aesthetics_ops.settings import PixelSettings

PIXELS = PixelSettings("keep", quality=95, max_side_px=None, max_pixels=100_000_000)
THRESHOLDS = (4, 6, 8, 10)


def copies(array: MatLike) -> dict[str, bytes]:
    """Return encoded copies of a BGR image by what was done to them."""
    result = {f"encoded at quality {quality}": encoded(array, quality) for quality in (90, 50, 20)}
    for scale in (0.75, 0.5, 0.25):
        small = cv2.resize(array, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        result[f"resized to {scale:.0%}"] = encoded(small)
    result["squeezed to 224 x 224"] = encoded(cv2.resize(array, (224, 224), interpolation=cv2.INTER_AREA))
    for share in (0.02, 0.05, 0.1, 0.2):
        height, width = (int(side * share / 2) for side in array.shape[:2])
        inner = array[height : array.shape[0] - height, width : array.shape[1] - width]
        result[f"cropped by {share:.0%} of width and height"] = encoded(np.ascontiguousarray(inner))
    result["15 % more contrast, brighter"] = encoded(cv2.convertScaleAbs(array, alpha=1.15, beta=10))
    result["made gray"] = encoded(cv2.cvtColor(array, cv2.COLOR_BGR2GRAY))
    result["mirrored"] = encoded(cv2.flip(array, 1))
    return result


def encoded(array: MatLike, quality: int = 95) -> bytes:
    """Return a JPEG."""
    return cv2.imencode(".jpg", array, (cv2.IMWRITE_JPEG_QUALITY, quality))[1].tobytes()


def distance(one: Converted, other: Converted) -> int:
    """Return the number of differing bits."""
    return (one.phash ^ other.phash).bit_count()


def photos_in(folder: Path) -> dict[str, Converted]:
    """Convert the folder's photos, by name."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    results = {path.name: convert_photo(path.read_bytes(), PIXELS) for path in files}
    return {name: photo for name, photo in results.items() if isinstance(photo, Converted) and photo.phash}


def pieces(photos: dict[str, Converted]) -> list[int]:
    """Return the hashes of 12 pieces of each photo that is no copy of another; pieces without structure have none."""
    different: list[Converted] = []
    for photo in photos.values():
        if all(distance(photo, other) > max(THRESHOLDS) for other in different):
            different.append(photo)
    found = []
    for photo in different:
        array = np.asarray(cv2.imdecode(np.frombuffer(photo.jpeg, np.uint8), cv2.IMREAD_COLOR))
        rows, columns = (4, 3) if array.shape[0] > array.shape[1] else (3, 4)
        for row in np.array_split(array, rows):
            for piece in np.array_split(row, columns, axis=1):
                converted = convert_photo(encoded(np.ascontiguousarray(piece)), PIXELS)
                found += [converted.phash] if isinstance(converted, Converted) and converted.phash else []
    return found


def main() -> int:
    """Measure, and print two tables in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, nargs="+", default=[Path("samples/photos")])
    photos: dict[str, Converted] = {}
    for folder in parser.parse_args().photos:
        photos |= photos_in(folder)
    distances: dict[str, list[int]] = defaultdict(list)
    for photo in photos.values():
        array = np.asarray(cv2.imdecode(np.frombuffer(photo.jpeg, np.uint8), cv2.IMREAD_COLOR))
        for name, data in copies(array).items():
            copy = convert_photo(data, PIXELS)
            if isinstance(copy, Converted):
                distances[name].append(distance(photo, copy))
    print(f"{len(photos)} photos\n\n| copy | median | most | {' | '.join(f'within {bits}' for bits in THRESHOLDS)} |")
    print(f"|---|---|---|{'---|' * len(THRESHOLDS)}")
    for name, found in distances.items():
        shares = " | ".join(f"{np.mean(np.array(found) <= bits):.0%}" for bits in THRESHOLDS)
        print(f"| {name} | {np.median(found):.0f} | {max(found)} | {shares} |")
    pairs = sorted(
        (distance(photos[one], photos[other]), one, other) for one, other in itertools.combinations(photos, 2)
    )
    print(f"\n{len(pairs)} pairs of files; within 4, 6, 8, 10, 12, 14, 16, 18, 20 bits:")
    print(", ".join(str(sum(bits <= limit for bits, _, _ in pairs)) for limit in range(4, 21, 2)))
    for bits, one, other in pairs[:10]:
        print(f"{bits:3} {one} {other}")
    hashes = np.array(pieces(photos), np.uint64)
    apart = np.bitwise_count(hashes[:, None] ^ hashes)[np.triu_indices(len(hashes), 1)]
    print(f"\n{len(hashes)} pieces, {len(apart)} pairs; within 4, 6, 8, 10, 12, 14, 16 bits:")
    print(", ".join(str(int((apart <= limit).sum())) for limit in range(4, 17, 2)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
