"""What is said of how a stored JPEG is coded: progressive or not, and its chroma sampling; Pillow is asked as well."""

from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import pytest

from aesthetics_ops.pixels.jpeg_header import read_jpeg_header
from aesthetics_ops.pixels.photo import Converted, convert_photo
from aesthetics_ops.settings import PixelSettings
from tests.support.coding import SAMPLINGS, SMOOTH, coded, known_coding
from tests.support.jpeg_files import baseline
from tests.support.paths import ROOT

KEEP = PixelSettings("keep", 90, None, 100_000_000)
REENCODE = PixelSettings("reencode", 90, None, 1_000_000)
SMALLER = PixelSettings("keep", 90, 32, 1_000_000)


@pytest.mark.parametrize("progressive", [False, True], ids=["baseline", "progressive"])
@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_a_kept_photo_is_said_to_be_what_it_is(sampling: str, progressive: bool) -> None:
    photo = known_coding(coded(sampling, progressive), KEEP)
    assert (photo.progressive, photo.sampling) == (progressive, sampling)
    assert "reencoded" not in photo.transforms


@pytest.mark.parametrize("progressive", [False, True], ids=["baseline", "progressive"])
@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_an_encoded_photo_is_said_to_be_what_the_encoder_wrote(sampling: str, progressive: bool) -> None:
    anew = known_coding(coded(sampling, progressive), REENCODE)
    assert (anew.progressive, anew.sampling) == (False, "gray" if sampling == "gray" else "4:2:0")
    scaled = known_coding(coded(sampling, progressive), SMALLER)
    assert "reencoded" in scaled.transforms
    assert (scaled.progressive, scaled.sampling) == (False, sampling)


@pytest.mark.parametrize(
    ("sampling", "turned"), [("4:2:2", "4:4:0"), ("4:4:0", "4:2:2"), ("4:1:1", "4:4:0"), ("4:2:0", "4:2:0")]
)
def test_sampling_is_turned_with_the_photo(sampling: str, turned: str) -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    block = b"Exif\0\0" + exif.tobytes().removeprefix(b"Exif\0\0")
    jpeg = coded(sampling, False)
    data = jpeg[:2] + b"\xff\xe1" + (len(block) + 2).to_bytes(2, "big") + block + jpeg[2:]
    photo = known_coding(data, KEEP)
    assert "oriented" in photo.transforms
    assert photo.sampling == turned


def test_a_photo_of_another_format_is_baseline() -> None:
    for array, sampling in ((SMOOTH, "4:2:0"), (SMOOTH[:, :, 0], "gray")):
        photo = known_coding(cv2.imencode(".png", array)[1].tobytes(), KEEP)
        assert (photo.progressive, photo.sampling) == (False, sampling)


def test_extended_coding_and_several_scans_are_not_baseline_in_one_scan() -> None:
    jpeg = coded("4:2:0", False)
    assert not read_jpeg_header(jpeg).progressive
    extended = jpeg.replace(b"\xff\xc0", b"\xff\xc1", 1)
    photo = convert_photo(extended, KEEP)
    assert isinstance(photo, Converted)
    assert (photo.progressive, photo.sampling, bytes(photo.jpeg)) == (True, "4:2:0", extended)
    scan = jpeg.index(b"\xff\xda")
    two_scans = jpeg[:-2] + jpeg[scan:]
    assert read_jpeg_header(two_scans).scans == 2
    assert read_jpeg_header(two_scans).progressive


@pytest.mark.parametrize(
    ("factors", "sampling"),
    [
        ([(1, 1), (1, 1), (1, 1)], "4:4:4"),
        ([(2, 2), (2, 2), (2, 2)], "4:4:4"),
        ([(2, 2), (1, 1), (1, 1)], "4:2:0"),
        ([(2, 2), (1, 2), (1, 2)], "4:2:2"),
        ([(4, 2), (1, 1), (1, 1)], "4:1:0"),
        ([(1, 4), (1, 1), (1, 1)], "1x4,1x1,1x1"),
        ([(2, 2), (2, 1), (1, 2)], "2x2,2x1,1x2"),
        ([(3, 1), (2, 1), (2, 1)], "3x1,2x1,2x1"),
        ([(2, 2), (1, 1), (1, 1), (2, 2)], "2x2,1x1,1x1,2x2"),
        ([(2, 2)], "gray"),
    ],
)
def test_factors_have_a_name_by_what_share_of_luma_chroma_has(factors: list[tuple[int, int]], sampling: str) -> None:
    levels = [np.full((16, 16), 100, np.uint8)] * len(factors)
    assert read_jpeg_header(_declaring(baseline(levels, [(1, 1)] * len(factors)), factors)).frame.sampling == sampling


def _declaring(jpeg: bytes, factors: list[tuple[int, int]]) -> bytes:
    """Change the factors that a header declares."""
    changed = bytearray(jpeg)
    first = jpeg.index(b"\xff\xc0") + 11
    for number, (across, down) in enumerate(factors):
        changed[first + 3 * number] = across << 4 | down
    return bytes(changed)


def test_broken_headers_have_some_name() -> None:
    jpeg = coded("4:2:0", False)
    for factors in ([(0, 0)] * 3, [(2, 2), (0, 1), (0, 1)]):
        assert read_jpeg_header(_declaring(jpeg, factors)).frame.sampling.count("x") == 3
    frame = jpeg.index(b"\xff\xc0")
    cut = jpeg[: frame + 2] + b"\0\x0b" + jpeg[frame + 4 : frame + 13]  # room for one component of the three
    assert read_jpeg_header(cut).frame.sampling
    assert read_jpeg_header(b"\xff\xd8\xff\xd9").frame.sampling == ""


DAMAGED = "959620"  # cut off; the others are whole


@pytest.mark.parametrize("path", sorted((ROOT / "samples" / "photos").glob("*.jpg")), ids=lambda path: path.stem)
def test_samples_are_said_to_be_what_they_are(path: Path) -> None:
    if path.stem != DAMAGED:
        known_coding(path.read_bytes(), KEEP)
