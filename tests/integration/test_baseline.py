"""A dataset whose progressive photos are stored as baseline: built, read back, grown, and built again."""

import cv2
import numpy as np
import pytest

from aesthetics_ops.dataset.example import decode_example
from aesthetics_ops.dataset.tfrecord import read_framed
from aesthetics_ops.errors import SettingsError
from aesthetics_ops.versions.verify import verify_version
from tests.support.coding import needs_library, same_pixels, without_library
from tests.support.nights import PHOTOS, Night, Source, build_once, latest_version, photo, shard_hashes, start

NAME = "progressive"


def stored(night: Night, name: str) -> tuple[dict, bytes]:
    row = next(row for row in night.table("records") if row["id"] == name)
    return row, bytes(
        decode_example(read_framed(night.dataset.get_range(row["shard"], row["offset"], row["length"]))).image
    )


@pytest.fixture
def mixed(source: Source) -> Source:
    pixels = cv2.imdecode(np.frombuffer(photo(PHOTOS[1]), np.uint8), cv2.IMREAD_COLOR)
    turned = cv2.rotate(pixels, cv2.ROTATE_180)
    source.add(NAME, cv2.imencode(".jpg", turned, (cv2.IMWRITE_JPEG_PROGRESSIVE, 1))[1].tobytes(), 5)
    return source


@needs_library
def test_progressive_photos_are_baseline_and_nothing_else_changes(mixed: Source) -> None:
    kept = build_once(mixed.settings())
    other = mixed.settings(dataset=f"{mixed.url}other/", progressive="baseline")
    made = build_once(other)
    (before, source), (after, jpeg) = stored(kept, NAME), stored(made, NAME)
    assert (before["progressive"], before["sampling"], before["transforms"]) == (True, "4:2:0", [])
    assert (after["progressive"], after["sampling"], after["transforms"]) == (False, "4:2:0", ["made_baseline"])
    assert same_pixels(jpeg, source)
    assert kept.manifest.jpegs.hardware == kept.manifest.records - 1
    assert made.manifest.jpegs.hardware == made.manifest.records
    assert made.manifest.transforms["made_baseline"] == 1
    rest = [
        [{**row, "shard": "", "offset": 0} for row in night.table("records") if row["id"] != NAME]
        for night in (kept, made)
    ]
    assert rest[0] == rest[1]
    verify_version(made.dataset)

    again = build_once(other)
    assert (again.published.is_new, again.built) == (False, 0)
    assert kept.manifest.settings_digest != made.manifest.settings_digest


@needs_library
def test_the_default_and_a_setting_without_effect_use_the_shards_that_are_there(mixed: Source) -> None:
    anew = build_once(mixed.settings(encoding="reencode"))
    same = build_once(mixed.settings(encoding="reencode", progressive="baseline"))
    assert (same.published.is_new, same.built) == (False, 0)
    assert shard_hashes(same.manifest) == shard_hashes(anew.manifest)


def test_without_the_library_nothing_is_planned(mixed: Source) -> None:
    with without_library():
        with pytest.raises(SettingsError, match="needs libturbojpeg"):
            start(mixed.settings(progressive="baseline"))
        build = build_once(mixed.settings())
    assert latest_version(build.dataset) == build.manifest.version
