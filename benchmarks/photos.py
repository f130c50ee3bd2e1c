"""The benchmark's photos, made from the licensed ones in `samples/`, so that anybody can make the same.

    .venv/bin/python benchmarks/photos.py FOLDER {ava,camera,huge,small} COUNT

`ava`: longest side 640 px, quality 88 to 95, two thirds 4:2:0 and one third 4:4:4, 12 % progressive.  `camera`: 12 to
24 megapixels, quality 94, 4:2:0.  `huge`: the same, all of 24 megapixels.  `small`: 64 x 48 px, each with a pattern of its own, so that hundred thousand of
them look different.  Every photo is a function of its set and its number alone; grain is added in place of the
detail that enlarging takes away.
"""

import json
import math
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["SETS", "PhotoSet", "make_photos"]

SAMPLES: Final = Path(__file__).parents[1] / "samples" / "photos"
Pixels = NDArray[Any]

_RECIPE: Final = 1  # raise it when any photo changes
_CAMERA_SIZES: Final = ((4000, 3000), (4896, 3264), (6000, 4000), (3000, 4000))
_HUGE: Final = (6000, 4000)
_GRAIN_SIDE: Final = 1024
_SMALL: Final = (64, 48)
_CUT_OFF: Final = "959620.jpg"


@dataclass(frozen=True, slots=True)
class PhotoSet:
    """How one set's photos are made.

    Attributes:
        name: a short word; names folder and buckets.
        seed: one per set.
        make: number's random generator to a JPEG.
    """

    name: str
    seed: int
    make: Callable[[np.random.Generator], bytes]


def make_photos(folder: Path, photos: PhotoSet, count: int, *, workers: int = 2) -> list[Path]:
    """Make the first `count` photos of a set, but for those that are there.

    Returns:
        `FOLDER/SET/000000.jpg` and so on.
    """
    place = folder / photos.name
    stamp = place / "recipe.json"
    recipe = json.dumps({"recipe": _RECIPE, "opencv": cv2.__version__})
    if not stamp.exists() or stamp.read_text() != recipe:
        for old in place.glob("*.jpg"):
            old.unlink()
        place.mkdir(parents=True, exist_ok=True)
        stamp.write_text(recipe)
    there = {path.name for path in place.iterdir()}
    paths = [place / f"{number:06}.jpg" for number in range(count)]

    def make(number: int) -> None:
        cv2.setNumThreads(0)
        whole = paths[number].with_suffix(".part")
        whole.write_bytes(photos.make(np.random.default_rng([photos.seed, number])))
        whole.rename(paths[number])

    missing = [number for number, path in enumerate(paths) if path.name not in there]
    with ThreadPoolExecutor(workers) as pool:
        for done, _ in enumerate(pool.map(make, missing)):
            if done % 10_000 == 0 and len(missing) > 1000:
                print(f"photos: {photos.name} {done} of {len(missing)}", file=sys.stderr)
    return paths


@cache
def _sources() -> tuple[Pixels, ...]:
    """Return the samples that OpenCV reads and that are 480 px or more, BGR, in order of name."""
    arrays = (cv2.imread(str(path)) for path in sorted(SAMPLES.glob("*.jpg")) if path.name != _CUT_OFF)
    return tuple(array for array in arrays if array is not None and max(array.shape[:2]) >= 480)


@cache
def _large() -> tuple[Pixels, ...]:
    return tuple(array for array in _sources() if array.shape[0] * array.shape[1] > 8_000_000)


@cache
def _tiny() -> tuple[Pixels, ...]:
    return tuple(cv2.resize(array, (160, 120), interpolation=cv2.INTER_AREA) for array in _sources())


@cache
def _grain() -> Pixels:
    return np.random.default_rng(0).normal(0, 1, (_GRAIN_SIDE, _GRAIN_SIDE)).astype(np.float32)


def _crop(rng: np.random.Generator, array: Pixels, aspect: float, least: float) -> Pixels:
    """Cut out a random part of this aspect (width over height) that covers `least` or more of what would fit."""
    height, width = array.shape[:2]
    scale = rng.uniform(least, 1.0)
    wide = min(width, height * aspect) * scale
    cut_width, cut_height = max(2, int(wide)), max(2, int(wide / aspect))
    left = int(rng.integers(0, width - cut_width + 1))
    top = int(rng.integers(0, height - cut_height + 1))
    part = array[top : top + cut_height, left : left + cut_width]
    return cv2.flip(part, 1) if rng.random() < 0.5 else part


def _grainy(rng: np.random.Generator, array: Pixels, strength: float) -> Pixels:
    """Add gray noise of this standard deviation, in levels."""
    height, width = array.shape[:2]
    shifted = np.roll(_grain(), tuple(rng.integers(0, _GRAIN_SIDE, 2)), (0, 1))
    tiles = np.tile(shifted, (-(-height // _GRAIN_SIDE), -(-width // _GRAIN_SIDE)))[:height, :width]
    noise = cv2.convertScaleAbs(tiles, alpha=strength)
    lighter = np.where(tiles > 0, noise, 0)
    darker = np.where(tiles > 0, 0, noise)
    return cv2.subtract(cv2.add(array, cv2.merge([lighter] * 3)), cv2.merge([darker] * 3))


def _encoded(array: Pixels, quality: int, *, sampling: int, progressive: bool = False) -> bytes:
    options = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sampling]
    options += [cv2.IMWRITE_JPEG_PROGRESSIVE, int(progressive)]
    return cv2.imencode(".jpg", array, options)[1].tobytes()


def _ava(rng: np.random.Generator) -> bytes:
    sources = _sources()
    aspect = float(rng.choice([3 / 2, 4 / 3, 1.0, 3 / 4, 2 / 3, 16 / 9], p=[0.4, 0.2, 0.1, 0.1, 0.15, 0.05]))
    part = _crop(rng, sources[int(rng.integers(len(sources)))], aspect, 0.55)
    size = (640, round(640 / aspect)) if aspect >= 1 else (round(640 * aspect), 640)
    method = cv2.INTER_AREA if part.shape[1] > size[0] else cv2.INTER_CUBIC
    array = _grainy(rng, cv2.resize(part, size, interpolation=method), math.exp(rng.normal(-0.5, 0.7)))
    sampling = cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420 if rng.random() < 2 / 3 else cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444
    return _encoded(array, int(rng.integers(88, 96)), sampling=sampling, progressive=rng.random() < 0.12)


def _camera(rng: np.random.Generator) -> bytes:
    return _of_size(rng, _CAMERA_SIZES[int(rng.integers(len(_CAMERA_SIZES)))])


def _huge(rng: np.random.Generator) -> bytes:
    return _of_size(rng, _HUGE)


def _of_size(rng: np.random.Generator, size: tuple[int, int]) -> bytes:
    sources = _large()
    part = _crop(rng, sources[int(rng.integers(len(sources)))], size[0] / size[1], 0.85)
    array = _grainy(rng, cv2.resize(part, size, interpolation=cv2.INTER_CUBIC), rng.uniform(2.0, 5.0))
    return _encoded(array, 94, sampling=cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420)


def _small(rng: np.random.Generator) -> bytes:
    sources = _tiny()
    part = _crop(rng, sources[int(rng.integers(len(sources)))], _SMALL[0] / _SMALL[1], 0.4)
    pattern = cv2.resize(rng.normal(0, 60, (9, 12)).astype(np.float32), _SMALL, interpolation=cv2.INTER_CUBIC)
    array = cv2.resize(part, _SMALL, interpolation=cv2.INTER_AREA).astype(np.float32) + pattern[:, :, None]
    return _encoded(np.clip(array, 0, 255).astype(np.uint8), 90, sampling=cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420)


SETS: Final = {
    photos.name: photos
    for photos in (
        PhotoSet("ava", 1, _ava),
        PhotoSet("camera", 2, _camera),
        PhotoSet("small", 3, _small),
        PhotoSet("huge", 4, _huge),
    )
}


def main() -> int:
    """Make a set's photos and say how large they are."""
    folder, name, count = sys.argv[1:]
    sizes = np.array([path.stat().st_size for path in make_photos(Path(folder), SETS[name], int(count))])
    p5, p50, p95 = np.percentile(sizes, [5, 50, 95])
    print(f"{name}: {sizes.size} photos, mean {sizes.mean():.0f}, p5 {p5:.0f}, p50 {p50:.0f}, p95 {p95:.0f} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
