"""How bright a photo is and how much contrast it has: of files whose answer is known, and alike whichever way they are stored."""

import cv2
import numpy as np
import PIL.Image
import pytest
from numpy.typing import NDArray

from aesthetics_ops.pixels.photo import convert_photo, convert_photos
from aesthetics_ops.pixels.tone import tone_of
from aesthetics_ops.rejects import Rejected
from aesthetics_ops.settings import PixelSettings
from tests.support.photo_cases import KEEP, converted, encoded, exif, jpeg, real_photos, with_segment

REENCODE = PixelSettings("reencode", 95, None, KEEP.max_pixels)


def checkerboard(side: int, cell: int, low: int = 0, high: int = 255) -> NDArray[np.uint8]:
    cells = np.add.outer(np.arange(side) // cell, np.arange(side) // cell) % 2
    return np.where(cells, np.uint8(high), np.uint8(low))


@pytest.mark.parametrize("side", [1, 47, 48, 100, 256], ids=lambda side: f"{side}px")
@pytest.mark.parametrize("pixels", [KEEP, REENCODE], ids=["keep", "reencode"])
@pytest.mark.parametrize(("level", "brightness"), [(0, 0), (128, 128), (255, 255)])
def test_an_even_photo_is_as_bright_as_its_level_and_has_no_contrast(
    level: int, brightness: float, pixels: PixelSettings, side: int
) -> None:
    photo = converted(cv2.imencode(".jpg", np.full((side, side, 3), level, np.uint8))[1].tobytes(), pixels)
    assert (photo.brightness, photo.contrast) == (brightness, 0)


@pytest.mark.parametrize("pixels", [KEEP, REENCODE], ids=["keep", "reencode"])
@pytest.mark.parametrize(("low", "high", "contrast"), [(0, 255, 127.5), (78, 178, 50)])
def test_a_checkerboard_deviates_by_half_of_what_its_cells_differ_by(
    low: int, high: int, contrast: float, pixels: PixelSettings
) -> None:
    data = cv2.imencode(".jpg", checkerboard(256, 32, low, high), (cv2.IMWRITE_JPEG_QUALITY, 100))[1].tobytes()
    photo = converted(data, pixels)
    assert photo.brightness == pytest.approx((low + high) / 2, abs=0.5)
    assert photo.contrast == pytest.approx(contrast, abs=0.5)


def test_detail_that_the_small_picture_averages_away_is_no_contrast() -> None:
    fine = cv2.imencode(".jpg", checkerboard(256, 1), (cv2.IMWRITE_JPEG_QUALITY, 100))[1].tobytes()
    photo = converted(fine)
    assert photo.brightness == pytest.approx(127.5, abs=1)
    assert photo.contrast == pytest.approx(0, abs=1)


@pytest.mark.parametrize(
    ("colour", "luma"), [((255, 0, 0), 0.299 * 255), ((0, 255, 0), 0.587 * 255), ((0, 0, 255), 0.114 * 255)]
)
def test_colours_are_as_bright_as_their_luma(colour: tuple[int, int, int], luma: float) -> None:
    data = encoded(PIL.Image.new("RGB", (64, 64), colour), "JPEG", quality=100)
    for photo in (
        converted(data),
        converted(data, REENCODE),
        converted(encoded(PIL.Image.new("RGB", (64, 64), colour), "PNG")),
    ):
        assert photo.brightness == pytest.approx(luma, abs=1)


def test_kept_and_encoded_photos_differ_by_less_than_a_level() -> None:
    photos = [data for data in real_photos() if not isinstance(convert_photo(data, KEEP), Rejected)]
    assert len(photos) > 20
    for data in photos:
        kept, anew = converted(data), converted(data, REENCODE)
        assert kept.brightness is not None
        assert kept.contrast is not None
        assert anew.brightness == pytest.approx(kept.brightness, abs=1)
        assert anew.contrast == pytest.approx(kept.contrast, abs=1)


def test_a_turned_photo_is_as_bright_as_before() -> None:
    data = jpeg()
    upright, turned = converted(data), converted(with_segment(data, 0xE1, exif(6)))
    assert "oriented" in turned.transforms
    assert turned.brightness == pytest.approx(upright.brightness, abs=1)
    assert turned.contrast == pytest.approx(upright.contrast, abs=1)


def test_photos_of_a_group_have_the_numbers_that_each_has_alone() -> None:
    photos = [jpeg(), *real_photos()][:16]
    for together, data in zip(convert_photos(photos, KEEP), photos, strict=True):
        alone = convert_photo(data, KEEP)
        assert not isinstance(together, Rejected)
        assert not isinstance(alone, Rejected)
        assert (together.brightness, together.contrast) == (alone.brightness, alone.contrast)


@pytest.mark.parametrize("shape", [(1, 1), (24, 31), (300, 500)])
def test_the_numbers_are_mean_and_deviation_to_a_sixteenth_and_stay_the_same_as_float32(shape: tuple[int, int]) -> None:
    gray = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    tone = tone_of(gray)
    assert tone == pytest.approx((gray.mean(), gray.std()), abs=1 / 32)
    assert tone_of(gray[:, ::-1]) == tone
    assert [float(np.float32(value)) for value in tone] == list(tone)
    assert [value * 16 % 1 for value in tone] == [0, 0]
