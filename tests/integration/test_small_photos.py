"""`min_side_px`: small photos are left out by choice, once and for all nights."""

from dataclasses import replace

import pytest

from aesthetics_ops.pixels.photo import Converted, convert_photo
from aesthetics_ops.rejects import Rejected, RejectReason
from aesthetics_ops.settings import PixelSettings, parse_settings
from aesthetics_ops.testing.stores import CountingStore
from aesthetics_ops.versions.verify import verify_version
from tests.support.nights import PHOTOS, Source, build_once, finish, photo, smaller, start
from tests.support.paths import ROOT


def pixels(min_side_px: int | None, max_side_px: int | None = None) -> PixelSettings:
    return PixelSettings("keep", 95, max_side_px, 1 << 27, "keep", min_side_px)


@pytest.mark.parametrize("name", ["917058.jpg", "943994.heic"])
def test_the_shorter_side_of_the_source_is_measured(name: str) -> None:
    data = (ROOT / "samples" / "photos" / name).read_bytes()
    whole = convert_photo(data, pixels(None))
    assert isinstance(whole, Converted)
    side = min(whole.width_px, whole.height_px)
    assert convert_photo(data, pixels(side)) == whole
    # what is stored may be smaller: the source counts
    assert isinstance(convert_photo(data, pixels(side, max_side_px=32)), Converted)
    small = convert_photo(data, pixels(side + 1))
    assert small == Rejected(RejectReason.EXCLUDED, f"shorter side {side} px, below min_side_px {side + 1}")


def test_a_small_jpeg_is_left_out_by_its_header_and_no_image_keeps_its_reason() -> None:
    assert isinstance(small := convert_photo(photo(PHOTOS[0])[:5000], pixels(5000)), Rejected)
    assert small.reason == "excluded"
    assert isinstance(text := convert_photo(b"no photo at all", pixels(5000)), Rejected)
    assert text.reason == "not_an_image"


def test_small_photos_are_excluded_no_gate_counts_them_and_no_night_reads_them_again(source: Source) -> None:
    for name in PHOTOS[:4]:
        source.add(name, smaller(photo(name), scale=0.2))
    settings = source.settings(min_side_px=150, max_reject_fraction=0)
    first = build_once(settings)
    left_out = {row["key"]: row for row in first.table("rejects")}
    assert set(left_out) == {f"{name}.jpg" for name in PHOTOS[:4]}
    assert all(row["reason"] == "excluded" and "below min_side_px 150" in row["detail"] for row in left_out.values())
    assert (first.manifest.rejects, first.manifest.records) == ({"excluded": 4}, len(PHOTOS) - 4)
    verify_version(first.dataset, first.manifest.version)
    build, record = start(settings)
    photos = CountingStore(build.photos)
    second = finish(replace(build, photos=photos), record)
    assert (photos.read, second.published.is_new) == ([], False)
    # another limit is another recipe
    third = build_once(source.settings(max_reject_fraction=0))
    assert (third.manifest.records, third.manifest.rejects) == (len(PHOTOS), {})


def test_minmax_counts_photos_again_that_a_limit_does_not_leave_out_any_more(source: Source) -> None:
    source.add(PHOTOS[0], smaller(photo(PHOTOS[0]), scale=0.2), 99)
    limited = build_once_more(source, label_scale="minmax", min_side_px=150)
    assert limited[1] < 99
    assert build_once_more(source, label_scale="minmax")[1] == 99


def build_once_more(source: Source, **changes: object) -> tuple[float, float]:
    """Build until the range of scores is found; return it."""
    from aesthetics_ops.errors import GateError

    settings = source.settings(max_reject_fraction=1, **changes)
    try:
        night = build_once(settings)
    except GateError:
        night = build_once(settings)
    labels = night.manifest.labels
    assert labels.source_min is not None
    assert labels.source_max is not None
    return labels.source_min, labels.source_max


def test_recipes_are_what_they_were_without_it() -> None:
    urls = {"photos": "s3://b/p", "labels": "s3://b/l.csv", "dataset": "s3://b/d"}
    plain, limited = parse_settings(urls, where="test"), parse_settings(urls | {"min_side_px": 200}, where="test")
    assert "min_side_px" not in plain.recipe
    assert limited.recipe == plain.recipe | {"min_side_px": 200}
    assert limited.digest != plain.digest == parse_settings(urls | {"min_side_px": ""}, where="test").digest
