"""How much visible damage to JPEGs passes unseen: this project against OpenCV, Pillow and TensorFlow.

    .venv/bin/python benchmarks/damage.py [--photos samples/photos] [--mutations 1000] [--seed 0]

Takes every JPEG in the folder that this project keeps, and damages them in turn, reproducibly: one bit flipped, one
byte changed, 512 or 4096 bytes zeroed, 512 bytes dropped, cut off.  "Visible": libjpeg-turbo in its forgiving mode
decodes the damaged file with more than 24 levels of difference on more than 0.1 % of the pixels, or to another size.
"""

import argparse
import io
import os
import random
import sys
from collections import Counter, defaultdict
from collections.abc import Callable
from datetime import date
from importlib.metadata import version
from pathlib import Path

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from aesthetics_ops.pixels.photo import Converted, convert_photo
from aesthetics_ops.settings import PixelSettings

VISIBLE_LEVELS = 24
VISIBLE_SHARE = 0.001
PIXELS = PixelSettings("keep", quality=95, max_side_px=None, max_pixels=100_000_000)
KINDS = ("one bit flipped", "one byte changed", "512 bytes zeroed", "4096 bytes zeroed", "512 bytes dropped", "cut off")

Passes = Callable[[bytes], bool]


def damaged(data: bytes, kind: str, rng: random.Random) -> bytes:
    """Return the file with one damage of this kind at a random place behind its first two bytes."""
    at = rng.randrange(2, len(data))
    match kind:
        case "one bit flipped":
            return data[:at] + bytes((data[at] ^ 1 << rng.randrange(8),)) + data[at + 1 :]
        case "one byte changed":
            return data[:at] + bytes((data[at] ^ rng.randrange(1, 256),)) + data[at + 1 :]
        case "512 bytes zeroed" | "4096 bytes zeroed":
            size = min(int(kind.split()[0]), len(data) - at)
            return data[:at] + bytes(size) + data[at + size :]
        case "512 bytes dropped":
            return data[:at] + data[at + 512 :]
        case _:
            return data[:at]


def forgiving(data: bytes) -> NDArray[np.uint8] | None:
    """Decode whatever can be decoded; (height, width, 3), uint8."""
    try:
        height, width, _, _ = simplejpeg.decode_jpeg_header(data, strict=False)
        if height * width > PIXELS.max_pixels:
            return None
        return np.asarray(simplejpeg.decode_jpeg(data, "BGR", strict=False))
    except (ValueError, KeyError, MemoryError):
        return None


def is_visible(whole: NDArray[np.uint8], after: NDArray[np.uint8]) -> bool:
    """Tell whether a person could see the difference."""
    if whole.shape != after.shape:
        return True
    off = np.abs(whole.astype(np.int16) - after).max(axis=2) > VISIBLE_LEVELS
    return bool(off.mean() > VISIBLE_SHARE)


def decoders() -> dict[str, Passes]:
    """Return, by name, functions that tell whether a decoder hands out an image."""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import cv2
    import PIL.Image
    import tensorflow as tf

    def opencv(data: bytes) -> bool:
        return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) is not None

    def pillow(data: bytes) -> bool:
        try:
            with PIL.Image.open(io.BytesIO(data)) as image:
                image.load()
        except (OSError, SyntaxError, ValueError, PIL.Image.DecompressionBombError):
            return False
        return True

    def tensorflow(data: bytes, ratio: int = 1) -> bool:
        try:
            tf.io.decode_jpeg(data, channels=3, ratio=ratio, dct_method="INTEGER_ACCURATE")
        except tf.errors.InvalidArgumentError:
            return False
        return True

    return {
        "this project": passes_here,
        "OpenCV": opencv,
        "Pillow": pillow,
        "TensorFlow": tensorflow,
        "TensorFlow at 1/8": lambda data: tensorflow(data, ratio=8),  # what validation does
    }


def passes_here(data: bytes) -> bool:
    """Tell whether this project would store the photo."""
    return isinstance(convert_photo(data, PIXELS), Converted)


def kept_photos(folder: Path) -> list[bytes]:
    """Return the folder's JPEGs that are stored with their coded data untouched, in name order."""
    files = [path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()]
    photos = ((data, convert_photo(data, PIXELS)) for data in files)
    return [data for data, photo in photos if isinstance(photo, Converted) and "reencoded" not in photo.transforms]


def measure(photos: list[bytes], mutations: int, seed: int) -> tuple[Counter[str], dict[str, Counter[str]]]:
    """Return how many damages are visible, by kind, and how many of those pass, by decoder and kind."""
    passers = decoders()
    visible: Counter[str] = Counter()
    passed: dict[str, Counter[str]] = defaultdict(Counter)
    for number in range(mutations):
        rng = random.Random(f"{seed}/{number}")  # noqa: S311 -- no secret
        kind, data = KINDS[number % len(KINDS)], photos[number % len(photos)]
        broken = damaged(data, kind, rng)
        whole, after = forgiving(data), forgiving(broken)
        if whole is None or after is None or not is_visible(whole, after):
            continue
        visible[kind] += 1
        for name, passes in passers.items():
            passed[name][kind] += passes(broken)
    return visible, passed


def main() -> int:
    """Measure, and print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, default=Path("samples/photos"))
    parser.add_argument("--mutations", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    photos = kept_photos(asked.photos)
    if not photos:
        print(f"no JPEG in {asked.photos} that can be kept", file=sys.stderr)
        return 1
    visible, passed = measure(photos, asked.mutations, asked.seed)
    names = ("simplejpeg", "opencv-python-headless", "pillow")
    print(f"{asked.mutations} damages of {len(photos)} photos, seed {asked.seed}, {date.today().isoformat()}")
    versions = [f"{name} {version(name)}" for name in names]
    print(", ".join([*versions, f"tensorflow {sys.modules['tensorflow'].__version__}"]))
    print(f"\n| damage | visible | {' | '.join(passed)} |")
    print(f"|---|---|{'---|' * len(passed)}")
    for kind in KINDS:
        print(f"| {kind} | {visible[kind]} | {' | '.join(str(counts[kind]) for counts in passed.values())} |")
    totals = [f"{counts.total()} ({counts.total() / visible.total():.1%})" for counts in passed.values()]
    print(f"| all | {visible.total()} | {' | '.join(totals)} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
