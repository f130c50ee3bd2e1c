"""Photos become arrays: each fit shows the part of the photo it says, each antialias mode is as good as it says."""

import dataclasses
import io
import itertools
import math
import pickle
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numpy as np
import pytest
import simplejpeg
from PIL import Image

from aesthetics_ops.errors import IntegrityError, SettingsError
from aesthetics_ops.readers import pixels as module
from aesthetics_ops.readers.pixels import plan_pixels
from tests.support.paths import ROOT

Pixels: Any = module.Pixels  # with settings of any kind
decode: Any = module.decode

MODES = ("fine", "fast", "exact", "none")
FITS = ("crop", "random_crop", "squash", "pad", "short_side")


def jpeg_of(array, **options):
    file = io.BytesIO()
    Image.fromarray(array).save(file, "JPEG", **({"quality": 92} | options))
    return file.getvalue()


def picture(height, width, *, gray=False):
    """Smooth waves whose colours tell every place from every other, with some detail."""
    y, x = np.mgrid[0:height, 0:width] / max(height, width, 64)
    channels = [x * 200 + 20, y * 200 + 20, 128 + 60 * np.sin(40 * x) * np.cos(30 * y)]
    array = np.stack(channels, axis=-1)
    return (array.mean(axis=-1) if gray else array).astype(np.uint8)


@cache
def samples():
    """The sample photos that a dataset could hold as they are, with their pixels."""
    found = []
    for path in sorted((ROOT / "samples" / "photos").glob("*.jpg")):
        data = path.read_bytes()
        try:
            array = simplejpeg.decode_jpeg(data, "RGB")
        except ValueError:
            continue
        if simplejpeg.decode_jpeg_header(data)[2] in {"Gray", "YCbCr"}:
            found.append((data, array))
    assert len(found) > 50
    return found[::4] + [(jpeg_of(array[:480, :640]), None) for _, array in found[:4]]


def psnr(one, other):
    error = np.mean((one.astype(float) - other.astype(float)) ** 2)
    return 99.0 if error == 0 else 10 * math.log10(255**2 / error)


def rendered(array, plan):
    """The plan's part of the whole photo by Pillow's antialiased filter."""
    cell = -(-array.shape[0] // plan.decoded[0])
    top, left, height, width = (cell * value for value in (plan.top, plan.left, plan.height, plan.width))
    assert top + height <= array.shape[0]
    assert left + width <= array.shape[1]
    part = Image.fromarray(array[top : top + height, left : left + width])
    return np.asarray(part.resize(plan.inner[::-1], Image.Resampling.BILINEAR))


def covered(array, plan):
    (top, left), (height, width) = plan.offset, plan.inner
    return array[top : top + height, left : left + width]


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize(("mode", "median", "least"), [("fine", 45, 36), ("fast", 42, 32), ("exact", 70, 55)])
def test_antialiased_pixels_are_near_pillows(fit, mode, median, least):
    pixels = Pixels(224, fit, mode)
    found = []
    for number, (data, array) in enumerate(samples()):
        whole = simplejpeg.decode_jpeg(data, "RGB") if array is None else array
        plan = plan_pixels(whole.shape[0], whole.shape[1], pixels, number)
        found.append(psnr(covered(decode(data, pixels, draw=number), plan), rendered(whole, plan)))
    assert np.median(found) >= median
    assert min(found) >= least


def test_out_is_filled_in_place_whatever_its_layout():
    data = jpeg_of(picture(300, 400))
    for fit, flip, mode in itertools.product(("crop", "random_crop", "squash", "pad"), (False, True), MODES):
        pixels = Pixels((60, 80), fit, mode, flip)
        expected = decode(data, pixels, draw=5)
        batch = np.full((3, 60, 80, 3), 77, np.uint8)
        channels_first = np.full((3, 60, 80), 77, np.uint8).transpose(1, 2, 0)
        upside_down = np.full((60, 80, 3), 77, np.uint8)[::-1]
        wider = np.full((60, 90, 3), 77, np.uint8)[:, 5:85]
        for out in (batch[1], channels_first, upside_down, wider):
            assert decode(data, pixels, draw=5, out=out) is out
            assert np.array_equal(out, expected)
        assert (batch[[0, 2]] == 77).all()


def test_out_of_another_shape_or_type_is_refused():
    data = jpeg_of(picture(30, 40))
    read_only = np.zeros((8, 8, 3), np.uint8)
    read_only.flags.writeable = False
    for out in (np.zeros((8, 9, 3), np.uint8), np.zeros((8, 8, 3), np.float32), np.zeros((8, 8), np.uint8), read_only):
        with pytest.raises(SettingsError, match=r"^out has shape .*this photo needs \(8, 8, 3\), uint8, writeable$"):
            decode(data, Pixels(8), out=out)


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("mode", MODES)
def test_gray_photos_get_three_equal_channels(fit, mode):
    array = decode(jpeg_of(picture(333, 257, gray=True)), Pixels(97, fit, mode), draw=3)
    assert array.ndim == 3
    assert (array == array[:, :, :1]).all()
    assert array.std() > 5


def test_what_no_dataset_holds_is_an_integrity_error():
    good = jpeg_of(picture(200, 300))
    cmyk = io.BytesIO()
    Image.new("CMYK", (30, 20)).save(cmyk, "JPEG")
    for data in (b"", b"no photo", good[:100], good[: len(good) // 2], cmyk.getvalue(), memoryview(good)[:-300]):
        with pytest.raises(IntegrityError, match=r"^the photo's JPEG .+"):
            decode(data, Pixels(64))


@pytest.mark.parametrize(
    "values",
    [
        {"size": 0},
        {"size": -3},
        {"size": 65_501},
        {"size": "224"},
        {"size": 224.0},
        {"size": True},
        {"size": None},
        {"size": ()},
        {"size": (224,)},
        {"size": (224, 0)},
        {"size": (224, "224")},
        {"size": (1, 2, 3)},
        {"size": (224, 224), "fit": "short_side"},
        {"fit": "stretch"},
        {"fit": None},
        {"fit": []},
        {"antialias": "area"},
        {"antialias": True},
        {"flip": 1},
        {"flip": "yes"},
        {"scale": (0.5, 1.0)},
        {"ratio": (1.0, 1.0)},
        {"fill": 255},
        {"fit": "random_crop", "scale": (0, 1)},
        {"fit": "random_crop", "scale": (0.5, 1.5)},
        {"fit": "random_crop", "scale": (0.9, 0.1)},
        {"fit": "random_crop", "scale": 0.5},
        {"fit": "random_crop", "scale": (0.1, math.nan)},
        {"fit": "random_crop", "scale": (0.1, 0.2, 0.3)},
        {"fit": "random_crop", "scale": "01"},
        {"fit": "random_crop", "ratio": (0.0, 1.0)},
        {"fit": "random_crop", "ratio": (1.0, math.inf)},
        {"fit": "random_crop", "ratio": None},
        {"fit": "pad", "fill": 256},
        {"fit": "pad", "fill": -1},
        {"fit": "pad", "fill": (1, 2)},
        {"fit": "pad", "fill": "white"},
        {"fit": "pad", "fill": 1.5},
    ],
    ids=str,
)
def test_settings_that_make_no_sense_are_refused_in_a_line(values):
    with pytest.raises(SettingsError) as refusal:
        Pixels(**values)
    words = str(refusal.value)
    assert "\n" not in words
    assert re.match("size|fit|antialias|flip|scale|ratio|fill", words).group() in values


def test_equal_settings_are_equal_however_they_are_written():
    assert Pixels(224) == Pixels((224, 224)) == Pixels([224, 224]) == Pixels(np.int64(224))
    assert Pixels(9, "pad", fill=(7, 7, 7)) == Pixels(9, "pad", fill=[7, 7, 7]) == Pixels(9, "pad", fill=7)
    one, other = Pixels(9, "random_crop", scale=[0.5, 1]), Pixels(9, "random_crop", scale=(0.5, 1.0))
    assert one == other
    assert hash(one) == hash(other)
    assert one.digest == other.digest
    assert pickle.loads(pickle.dumps(one)) == one  # noqa: S301
    with pytest.raises(dataclasses.FrozenInstanceError):
        one.size = 3


def test_shape_and_randomness_are_known_beforehand():
    assert [Pixels((3, 5), fit).shape for fit in FITS[:-1]] == [(3, 5, 3)] * 4
    assert Pixels(3, "short_side").shape is None
    assert [Pixels(3, fit).is_random for fit in FITS] == [False, True, False, False, False]
    assert [Pixels(3, fit, flip=True).is_random for fit in FITS] == [True] * 5


def test_a_digest_is_the_same_in_every_process_and_another_for_other_pixels():
    code = "from aesthetics_ops.readers.pixels import Pixels; print(Pixels((224, 96), 'pad', fill=9).digest)"
    digests = {
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=ROOT).stdout
        for _ in range(2)
    }
    assert digests == {Pixels((224, 96), "pad", fill=9).digest + "\n"}
    others = [Pixels(24, fit, mode, flip) for fit in FITS for mode in MODES for flip in (False, True)]
    others += [Pixels(25), Pixels(24, "pad", fill=1), Pixels(24, "random_crop", scale=(0.1, 1.0))]
    assert len({pixels.digest for pixels in others}) == len(others)
    assert all(re.fullmatch("[0-9a-f]{16}", pixels.digest) for pixels in others)


def test_threads_change_nothing():
    jobs = [(data, draw) for draw, (data, _) in enumerate(samples()) if len(data) < 1_000_000] * 4
    pixels = Pixels(160, "random_crop", flip=True)
    alone = [decode(data, pixels, draw=draw) for data, draw in jobs]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda job: decode(job[0], pixels, draw=job[1]), jobs))
    assert all(np.array_equal(one, other) for one, other in zip(alone, together, strict=True))
