"""The small inputs of tests/data/cases end as `cases.csv` says."""

import csv

import numpy as np
import pytest

from aesthetics_ops.settings import PixelSettings
from tests.support.paths import ROOT
from tests.support.photo_cases import KEEP, REENCODE, converted, seen

FOLDER = ROOT / "tests" / "data" / "cases"
ROWS = {row["path"]: row["expected"] for row in csv.DictReader((FOLDER / "cases.csv").read_text("utf-8").splitlines())}
NEAR = 3  # levels, as the table says
WHITE = 250


def levels(path: str, pixels: PixelSettings = KEEP) -> np.ndarray:
    return seen(converted((FOLDER / path).read_bytes(), pixels)).astype(int)


def test_the_table_names_every_file():
    assert set(ROWS) == {str(path.relative_to(FOLDER)) for path in FOLDER.glob("*/*")}


@pytest.mark.parametrize("path", ROWS)
@pytest.mark.parametrize("pixels", [KEEP, REENCODE], ids=["keep", "reencode"])
def test_each_is_converted(path: str, pixels: PixelSettings):
    assert ROWS[path].startswith(("converted", "control"))
    assert levels(path, pixels).std() > 1


@pytest.mark.parametrize(
    ("path", "twin", "first_row"),
    [
        ("tiff/g16_white_le_c1.tif", "tiff/g16_black_le_c1.tif", 0),
        ("tiff/rgb16_planar_le_c1.tif", "tiff/rgb16_planar_le_c8.tif", 0),
        ("tiff/rgba16_planar_le_c1.tif", "tiff/rgb16_planar_le_c8.tif", 80),  # from the next block of the JPEG on
        ("tiff/la8_planar_le_c8.tif", "tiff/g16_black_le_c1.tif", 80),
        ("jpeg/sos_zero.jpg", "jpeg/jfif_v2.jpg", 0),
    ],
)
def test_each_equals_its_twin(path: str, twin: str, first_row: int):
    difference = np.abs(levels(path)[first_row:] - levels(twin)[first_row:])
    assert difference.mean() < 1
    assert np.percentile(difference, 99) <= NEAR


@pytest.mark.parametrize("path", ["tiff/rgba16_planar_le_c1.tif", "tiff/la8_planar_le_c8.tif"])
def test_what_is_transparent_is_white(path: str):
    assert levels(path)[:64].min() >= WHITE


def test_the_transparent_columns_of_a_png_are_white():
    assert levels("png/g2_t1.png")[:, 16:32].min() >= WHITE
