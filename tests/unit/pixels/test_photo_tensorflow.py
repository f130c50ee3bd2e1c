"""Training sees what a person sees: TensorFlow's decode of the stored JPEG against Pillow's decode of the source."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from aesthetics_ops.pixels.photo import Converted, convert_photo
from aesthetics_ops.settings import PixelSettings
from tests.support.photo_cases import KEEP, REENCODE, NastyFile, nasty_files, real_photos, reference

Levels = NDArray[np.uint8]
Decode = Callable[[bytes | memoryview], Levels]

# What encoding at quality 95 with halved chroma may cost.  Brightness is hardly touched, colour loses fine detail: so
# colours are compared at a quarter of the size.  Measured over all files: 35.4 dB, 2.1 and 5.2 at worst, each on a
# drawn pattern of few px; photos have 43 dB and more.
LUMA_PSNR_DB = 35.0
LUMA_MEAN_ERROR = 2.5  # levels of 255
COLOUR_MEAN_ERROR = 6.0  # levels of 255

ACCEPTED = [file for file in nasty_files() if isinstance(convert_photo(file.data, KEEP), Converted)]


@pytest.fixture(scope="module")
def tensorflow_decode() -> Decode:
    import tensorflow as tf

    def decode(jpeg: bytes | memoryview) -> Levels:
        return np.asarray(tf.io.decode_jpeg(jpeg, channels=3, dct_method="INTEGER_ACCURATE").numpy())

    return decode


def luma(levels: Levels) -> NDArray[np.float64]:
    return levels.astype(float) @ np.array([0.299, 0.587, 0.114])


def quarter(levels: Levels) -> NDArray[np.float64]:
    height, width = (side // 4 * 4 for side in levels.shape[:2])
    cells = levels[:height, :width].reshape(height // 4, 4, width // 4, 4, 3)
    return np.asarray(cells.astype(float).mean(axis=(1, 3)))


def converted(data: bytes, pixels: PixelSettings) -> Converted:
    photo = convert_photo(data, pixels)
    assert isinstance(photo, Converted), photo
    return photo


def assert_looks_alike(stored: Levels, wanted: Levels) -> None:
    assert stored.shape == wanted.shape
    error = luma(stored) - luma(wanted)
    assert 10 * np.log10(255**2 / max(float((error**2).mean()), 1e-9)) >= LUMA_PSNR_DB
    assert np.abs(error).mean() <= LUMA_MEAN_ERROR
    if min(stored.shape[:2]) >= 8:
        assert np.abs(quarter(stored) - quarter(wanted)).mean() <= COLOUR_MEAN_ERROR


@pytest.mark.parametrize("pixels", [KEEP, REENCODE], ids=["keep", "reencode"])
@pytest.mark.parametrize("file", ACCEPTED, ids=lambda file: file.path)
def test_training_sees_what_a_person_sees(file: NastyFile, pixels: PixelSettings, tensorflow_decode: Decode):
    photo = converted(file.data, pixels)
    stored = tensorflow_decode(photo.jpeg)
    assert stored.shape == (photo.height_px, photo.width_px, 3)
    assert_looks_alike(stored, reference(file.data))


@pytest.mark.parametrize("file", [file for file in ACCEPTED if "orientation" in file.path], ids=lambda file: file.path)
def test_a_turned_photo_is_nearer_to_its_right_way_up_than_to_any_other(file: NastyFile, tensorflow_decode: Decode):
    stored = tensorflow_decode(converted(file.data, KEEP).jpeg).astype(float)
    wanted = reference(file.data).astype(float)
    turned = [np.rot90(way, turns) for way in (wanted, wanted[:, ::-1]) for turns in range(4)]
    errors = [np.abs(stored - way).mean() if way.shape == stored.shape else np.inf for way in turned]
    assert int(np.argmin(errors)) == 0


def test_a_kept_photo_decodes_to_exactly_its_sources_pixels(tensorflow_decode: Decode):
    kept = 0
    for data in (*real_photos(), *(file.data for file in ACCEPTED)):
        photo = convert_photo(data, KEEP)
        if isinstance(photo, Converted) and "reencoded" not in photo.transforms:
            np.testing.assert_array_equal(tensorflow_decode(photo.jpeg), tensorflow_decode(data))
            kept += 1
    assert kept > 40
