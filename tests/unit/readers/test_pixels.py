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
from fractions import Fraction
from functools import cache
from typing import Any

import numpy as np
import pytest
import simplejpeg
from hypothesis import given, settings
from hypothesis import strategies as st
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
        {"fit": np.array(["crop", "pad"])},
        {"size": np.ones((99, 99), int)},
        {"size": "224\n224"},
        {"fit": "crop\n"},
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
    ids=lambda values: "-".join(values),
)
def test_settings_that_make_no_sense_are_refused_in_a_line(values):
    with pytest.raises(SettingsError) as refusal:
        Pixels(**values)
    words = str(refusal.value)
    assert "\n" not in words
    assert len(words) < 200
    assert re.match("size|fit|antialias|flip|scale|ratio|fill", words).group() in values


def test_equal_settings_are_equal_however_they_are_written():
    assert Pixels(224) == Pixels((224, 224)) == Pixels([224, 224]) == Pixels(np.int64(224))
    assert Pixels(flip=np.True_) == Pixels(flip=True)
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


# Geometry, against the same rules written down once more, in fractions

LEAST = {"fast": Fraction(1), "fine": Fraction(3, 2), "exact": Fraction(3)}
SIDES = (1, 2, 7, 8, 9, 63, 100, 223, 224, 225, 447, 448, 449, 640, 671, 672, 1000, 1793, 4032, 65500)
SIZES = (1, 3, 224, (96, 320), (320, 96), 299)


def half_up(value):
    return math.floor(value + Fraction(1, 2))


def expected_inner(height, width, pixels):
    if pixels.fit == "short_side":
        scale = Fraction(pixels.size, min(height, width))
        return tuple(min(65_500, half_up(side * scale)) for side in (height, width))
    if pixels.fit == "pad":
        scale = min(Fraction(pixels.size[0], height), Fraction(pixels.size[1], width))
        return tuple(max(1, half_up(side * scale)) for side in (height, width))
    return pixels.size


def expected_box(height, width, pixels):
    if pixels.fit != "crop":
        return 0, 0, height, width
    scale = min(Fraction(height, pixels.size[0]), Fraction(width, pixels.size[1]))
    rows, columns = (max(1, half_up(side * scale)) for side in pixels.size)
    return (height - rows) // 2, (width - columns) // 2, rows, columns


def in_cells(cell, height, width, box):
    rows, columns = (
        min(height // cell, half_up(Fraction(box[2], cell))),
        min(width // cell, half_up(Fraction(box[3], cell))),
    )
    top = min(half_up(Fraction(box[0], cell)), height // cell - rows)
    left = min(half_up(Fraction(box[1], cell)), width // cell - columns)
    return top, left, rows, columns


def check_plan(height, width, pixels, draw, box):
    plan = plan_pixels(height, width, pixels, draw)
    inner = expected_inner(height, width, pixels)
    assert plan.inner == inner
    assert plan.result == (inner if pixels.fit == "short_side" else pixels.size)
    assert plan.offset == tuple((outer - side) // 2 for outer, side in zip(plan.result, inner, strict=True))
    boxes = {1: box}
    for cell in (2, 4, 8) if pixels.antialias != "none" else ():
        found = in_cells(cell, height, width, box)
        if all(part >= LEAST[pixels.antialias] * side for part, side in zip(found[2:], inner, strict=True)):
            boxes[cell] = found
    cell = max(boxes)
    assert (plan.top, plan.left, plan.height, plan.width) == boxes[cell]
    assert plan.decoded == (-(-height // cell), -(-width // cell))
    assert plan.height >= 1
    assert plan.width >= 1
    assert 0 <= plan.top <= plan.decoded[0] - plan.height
    assert 0 <= plan.left <= plan.decoded[1] - plan.width
    return plan


@pytest.mark.parametrize("fit", ["crop", "squash", "pad", "short_side"])
def test_geometry_follows_the_rules(fit):
    for height, width, size, mode in itertools.product(SIDES, SIDES, SIZES, MODES):
        if fit != "short_side" or isinstance(size, int):
            pixels = Pixels(size, fit, mode)
            check_plan(height, width, pixels, 0, expected_box(height, width, pixels))


def bits_of(draw, count):
    """Splitmix64 in numpy's 64-bit arithmetic."""
    states = np.uint64(draw) + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    states = (states ^ (states >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    states = (states ^ (states >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return [int(word) for word in states ^ (states >> np.uint64(31))]


def expected_random_box(height, width, pixels, words):
    shape = pixels.size[1] / pixels.size[0]
    low, high = pixels.ratio
    for area_word, ratio_word, top, left in zip(words[::4], words[1::4], words[2::4], words[3::4], strict=False):
        share = pixels.scale[0] + (pixels.scale[1] - pixels.scale[0]) * ((area_word >> 11) / 2**53)
        ratio = shape * math.exp(math.log(low) + (math.log(high) - math.log(low)) * ((ratio_word >> 32) / 2**32))
        rows, columns = (round(math.sqrt(height * width * share * power)) for power in (1 / ratio, ratio))
        if 1 <= rows <= height and 1 <= columns <= width:
            return top * (height - rows + 1) >> 64, left * (width - columns + 1) >> 64, rows, columns
    ratio = Fraction(min(max(width / height, shape * low), shape * high))
    scale = min(Fraction(height), width / ratio)
    rows, columns = max(1, half_up(scale)), max(1, half_up(scale * ratio))
    return (height - rows) // 2, (width - columns) // 2, rows, columns


def test_random_crops_follow_the_rules():
    choices: list[dict[str, tuple[float, float]]] = [
        {},
        {"scale": (1.0, 1.0)},
        {"scale": (0.001, 0.01)},
        {"ratio": (1.0, 1.0)},
        {"ratio": (0.01, 100)},
    ]
    draws = iter(range(2**64 - 1, 0, -(2**40 + 12345)))
    for height, width, size, mode in itertools.product(SIDES, SIDES, (3, 224, (96, 320)), ("fine", "none")):
        draw = next(draws)
        for choice, flip in itertools.product(choices[draw % 5 :][:2], (False, True)):
            pixels = Pixels(size, "random_crop", mode, flip, **choice)
            words = bits_of(draw, 41)
            box = expected_random_box(height, width, pixels, words[1:] if flip else words[:40])
            plan = check_plan(height, width, pixels, draw, box)
            assert plan.flip == (flip and words[0] >= 2**63)


def test_random_crops_are_the_same_everywhere():
    pixels = Pixels(224, "random_crop", "none", flip=True)
    plans = [plan_pixels(480, 640, pixels, draw) for draw in (0, 1, 2**63, 2**64 - 1)]
    assert [(plan.top, plan.left, plan.height, plan.width, plan.flip) for plan in plans] == [
        (40, 32, 439, 334, True),
        (25, 37, 424, 556, True),
        (57, 217, 330, 334, False),
        (8, 49, 447, 577, True),
    ]


def test_random_crops_spread_over_the_photo():
    pixels = Pixels(64, "random_crop", "none", flip=True, scale=(0.1, 0.3))
    plans = [plan_pixels(1000, 1500, pixels, draw) for draw in range(3000)]
    shares = np.array([plan.height * plan.width for plan in plans]) / 1_500_000
    ratios = np.log([plan.width / plan.height for plan in plans])
    tops = np.array([plan.top / (1000 - plan.height) for plan in plans])
    lefts = np.array([plan.left / (1500 - plan.width) for plan in plans])
    flips = np.array([plan.flip for plan in plans])
    for values, low, high in (
        (shares, 0.1, 0.3),
        (ratios, math.log(3 / 4), math.log(4 / 3)),
        (tops, 0, 1),
        (lefts, 0, 1),
    ):
        places = (values - low) / (high - low)  # uniform: ten tenths of 300 each, give or take five deviations
        counts, _ = np.histogram(places, bins=10, range=(-0.01, 1.01))
        assert counts.sum() == 3000
        assert counts.min() > 215
        assert counts.max() < 385
    assert 1350 < flips.sum() < 1650
    together = np.corrcoef(np.stack([shares, ratios, tops, lefts, flips]))
    assert np.abs(together - np.eye(5)).max() < 0.1


# What comes out


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("mode", MODES)
def test_a_mirrored_photo_is_the_mirrored_result(fit, mode):
    data = jpeg_of(picture(150, 211))
    plain, flipping = Pixels(60, fit, mode), Pixels(60, fit, mode, flip=True)
    mirrored = 0
    for draw in range(8):
        plan = plan_pixels(150, 211, flipping, draw)
        array = decode(data, flipping, draw=draw)
        if fit != "random_crop":  # with a flip the crop is made of the following bits
            expected = decode(data, plain, draw=draw)
            assert np.array_equal(array, expected[:, ::-1] if plan.flip else expected)
        mirrored += plan.flip
    assert 0 < mirrored < 8


@pytest.mark.parametrize(("shape", "size"), [((100, 300), (64, 64)), ((300, 100), (64, 64)), ((40, 41), (97, 300))])
def test_padding_is_the_fill_and_nothing_else(shape, size):
    data = jpeg_of(np.full((*shape, 3), 200, np.uint8))
    for fill in (0, 9, (1, 2, 3)):
        array = decode(data, Pixels(size, "pad", fill=fill))
        is_photo = (np.abs(array.astype(int) - 200) <= 2).all(axis=-1)
        assert (array[~is_photo] == np.array(fill)).all()
        rows, columns = np.flatnonzero(is_photo.any(axis=1)), np.flatnonzero(is_photo.any(axis=0))
        assert is_photo.sum() == len(rows) * len(columns), "a rectangle"
        assert abs(len(rows) * shape[1] - len(columns) * shape[0]) <= max(shape) / 2
        assert len(rows) == size[0] or len(columns) == size[1]
        assert abs(rows[0] - (size[0] - 1 - rows[-1])) <= 1, "in the middle"
        assert abs(columns[0] - (size[1] - 1 - columns[-1])) <= 1, "in the middle"


@pytest.mark.parametrize("level", [0, 1, 127, 254, 255])
@pytest.mark.parametrize("mode", MODES)
def test_a_plain_photo_keeps_its_level(mode, level):
    data = jpeg_of(np.full((777, 531, 3), level, np.uint8))
    expected = simplejpeg.decode_jpeg(data, "RGB")[0, 0]
    for size in (5, 50, 170, 300, 600):
        assert (decode(data, Pixels(size, "squash", mode)) == expected).all()


@pytest.mark.parametrize(
    "options", [{}, {"progressive": True}, {"subsampling": 0}, {"subsampling": 1}, {"optimize": True}]
)
@pytest.mark.parametrize("mode", MODES)
def test_every_kind_of_jpeg_shows_the_same_picture(mode, options):
    for height, width in ((401, 603), (17, 30), (801, 333)):
        array = picture(height, width)
        data = jpeg_of(array, **options)
        for fit, size in itertools.product(("crop", "squash", "pad"), (33, 100)):
            pixels = Pixels(size, fit, mode)
            plan = plan_pixels(height, width, pixels)
            found = covered(decode(data, pixels), plan)
            whole = simplejpeg.decode_jpeg(data, "RGB")
            assert psnr(found, rendered(whole, plan)) > 30
            assert psnr(found, rendered(array, plan)) > 28


def test_without_antialias_it_is_what_tensorflow_does():
    import tensorflow as tf

    for data, array in samples()[:8]:
        whole = simplejpeg.decode_jpeg(data, "RGB") if array is None else array
        expected = tf.image.resize(whole, (224, 224)).numpy()
        assert psnr(decode(data, Pixels(224, "squash", "none")), expected) > 50


def test_a_photo_of_the_size_asked_for_is_the_decoders():
    array = picture(96, 128)
    for mode, fit in itertools.product(MODES, ("crop", "squash", "pad")):
        data = jpeg_of(array)
        assert np.array_equal(decode(data, Pixels((96, 128), fit, mode)), simplejpeg.decode_jpeg(data, "RGB"))


@settings(max_examples=150, deadline=None)
@given(
    sides=st.tuples(st.integers(1, 3000), st.integers(1, 3000)),
    size=st.tuples(st.integers(1, 400), st.integers(1, 400)),
    fit=st.sampled_from(FITS),
    mode=st.sampled_from(MODES),
    flip=st.booleans(),
    gray=st.booleans(),
    draw=st.integers(0, 2**64 - 1),
)
def test_any_photo_has_the_shape_and_the_colours_it_should(sides, size, fit, mode, flip, gray, draw):
    colour = np.array([120, 120, 120] if gray else [200, 120, 40], np.uint8)
    plain = np.broadcast_to(colour[0] if gray else colour, sides if gray else (*sides, 3))
    data = jpeg_of(np.ascontiguousarray(plain), subsampling=0)
    short = max(1, min(size[0], size[0] * 3000 * min(sides) // max(sides) // 400))  # a long result is slow, and no more
    pixels = Pixels(short if fit == "short_side" else size, fit, mode, flip)
    array = decode(data, pixels, draw=draw)
    assert array.dtype == np.uint8
    assert array.flags.c_contiguous
    if fit == "short_side":
        assert min(array.shape[:2]) == short
        assert array.shape[2] == 3
    else:
        assert array.shape == pixels.shape
    photo = covered(array, plan_pixels(sides[0], sides[1], pixels, draw))
    assert np.abs(photo.astype(int) - colour).max() <= 3
    assert np.array_equal(array, decode(data, pixels, draw=draw))


@pytest.mark.parametrize("sides", [(1, 1), (65_500, 1), (1, 65_500), (65_500, 9), (7, 65_500)])
def test_photos_of_extreme_shapes_have_results_too(sides):
    data = jpeg_of(picture(*sides), subsampling=0)
    for mode, fit, size in itertools.product(MODES, FITS, (1, 5, 64)):
        array = decode(data, Pixels(size, fit, mode), draw=size)
        if fit != "short_side":
            assert array.shape == (size, size, 3)
        else:
            assert array.shape == (*expected_inner(sides[0], sides[1], Pixels(size, fit)), 3)
