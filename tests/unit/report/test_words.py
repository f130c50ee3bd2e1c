"""One dictionary for report, data card and browser: words for what is known, names for what a newer version brings."""

import pytest
from markupsafe import Markup

from aesthetics_ops.dataset.manifest import Images, JpegKind, Jpegs, Labels
from aesthetics_ops.pixels.transforms import Transform
from aesthetics_ops.rejects import RejectReason
from aesthetics_ops.report.words import (
    REASONS_IN_WORDS,
    TRANSFORMS_IN_WORDS,
    change_in_words,
    coding_in_words,
    count_in_words,
    crops_in_words,
    difference_in_words,
    hardware_in_words,
    name_in_words,
    reason_in_words,
    reasons_in_order,
    score_format,
    score_in_words,
    share_in_words,
    short,
    size_in_words,
    tone_in_words,
    transform_in_words,
    unbroken_size,
    visible,
)
from aesthetics_ops.versions.diff import Change, Changes


def test_every_reason_transform_and_change_has_words() -> None:
    assert set(REASONS_IN_WORDS) == set(RejectReason)
    assert set(TRANSFORMS_IN_WORDS) == set(Transform)
    kinds = Changes(*[Change(0, ())] * 5).by_kind
    assert len({change_in_words(kind) for kind in kinds}) == len(kinds)
    assert all(change_in_words(kind) != name_in_words(kind) for kind in kinds)


def test_what_a_newer_version_brings_is_called_by_its_name() -> None:
    assert (reason_in_words("too_blurred"), transform_in_words("rgb_sharpened")) == ("", "")
    assert (name_in_words("too_blurred"), name_in_words("rgb_sharpened")) == ("too blurred", "RGB sharpened")
    assert change_in_words("re_tagged") == "re tagged"


def test_reasons_of_two_versions_stand_in_the_order_of_the_list_with_unknown_ones_last() -> None:
    old = {"zebra": 1, "corrupt": 2, "label_without_photo": 9, "empty": 0}
    new = {"aardvark": 1, "not_a_photo": 1, "corrupt": 0}
    assert reasons_in_order(old, new) == ["not_a_photo", "corrupt", "aardvark", "zebra"]


@pytest.mark.parametrize(
    ("difference", "words", "expected"),
    [
        (0, count_in_words, "same"), (1234, count_in_words, "+1,234"), (-3, count_in_words, "−3"),
        (0.0, score_in_words, "same"), (0.25, score_in_words, "+0.250"), (-0.004, score_in_words, "−0.004"),
        (-7_500_000, size_in_words, "−7.50 MB"),
        # too small for the way in which such numbers are written
        (0.0004, "{:.2f}".format, "+0.0004"), (-0.3, count_in_words, "−0.3"),
    ],
)  # fmt: skip
def test_a_difference_has_a_sign_and_is_never_nothing_where_there_is_one(difference, words, expected) -> None:
    assert difference_in_words(difference, words) == expected


@pytest.mark.parametrize(
    ("low", "high", "written"), [(1, 10, "5.50"), (5, 5, "5.50"), (0.1, 0.2, "5.500"), (0.1, 0.1004, "5.500000")]
)
def test_a_version_writes_its_scores_with_as_many_decimals_as_tell_them_apart(
    low: float, high: float, written: str
) -> None:
    labels = Labels(
        min=low, max=high, mean=low, std=0, histogram={"edges": (), "counts": ()}, scale="none", source_min=None, source_max=None
    )  # fmt: skip
    assert score_format(labels)(5.5) == written


def test_a_long_text_is_cut_and_its_length_is_said() -> None:
    assert short("x" * 300) == "x" * 300
    assert short("x" * 1301) == "x" * 300 + "… (1,301 characters)"


def test_a_size_keeps_its_number_and_its_unit_on_one_line() -> None:
    assert unbroken_size(7_500_000) == "7.50\N{NO-BREAK SPACE}MB"


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (0, "0 bytes"), (999, "999 bytes"), (1000, "1.00 kB"), (999_499, "999 kB"), (999_500, "1.00 MB"),
        (7_741_000, "7.74 MB"), (7_500_000, "7.50 MB"), (29_000_000_000, "29.0 GB"), (3e18, "3,000 PB"),
    ],
)  # fmt: skip
def test_sizes_are_written_as_people_read_them(size: float, words: str) -> None:
    assert size_in_words(size) == words


@pytest.mark.parametrize(
    ("part", "whole", "words"),
    [
        (0, 5, "0%"), (5, 5, "100%"), (1, 12, "8.3%"), (13, 144, "9.0%"), (1, 144, "0.69%"), (995, 10_000, "10%"),
        (9_999, 10_000, "99.9%"), (1, 10**7, "under 0.01%"), (8, 5, "160%"),
    ],
)  # fmt: skip
def test_a_share_is_all_or_nothing_only_where_it_is(part: int, whole: int, words: str) -> None:
    assert share_in_words(part, whole) == words


@pytest.mark.parametrize(
    ("kinds", "hardware", "words"),
    [
        ([(False, "4:2:0", 900), (True, "4:2:0", 100)], 900, "90% (900 of 1,000)"),
        ([(False, "gray", 5)], 5, "100% (5 of 5)"),
        ([(None, None, 1500), (False, "4:4:4", 500)], 500, "25% (500 of 2,000), 1,500 not noted"),
    ],
)
def test_the_share_for_hardware_decoders_says_what_is_not_known(kinds, hardware: int, words: str) -> None:
    found = [JpegKind(progressive=kind[0], sampling=kind[1], records=kind[2]) for kind in kinds]
    assert hardware_in_words(Jpegs(kinds=tuple(found), hardware=hardware)) == words


def test_coding_is_said_as_far_as_it_is_noted() -> None:
    assert hardware_in_words(None) == coding_in_words(None, None) == "not noted"
    assert coding_in_words("4:2:0", False) == "baseline, 4:2:0"
    assert coding_in_words("gray", True) == "progressive, gray"


def test_control_characters_of_a_text_are_spelled_out() -> None:
    assert visible("a\x1b[2J\x9b\r\u202e\ud800") == "a\\x1b[2J\\x9b\\r\\u202e\\ud800"
    assert [visible(value) for value in ("Ä\n\t\xa0\u200d 🐈", 7, None)] == ["Ä\n\t\xa0\u200d 🐈", 7, None]
    assert visible(Markup("<b>\r")) == "<b>\r"


@pytest.mark.parametrize(
    ("width", "height", "words"),
    [
        (640, 427, "9 of 10 photos fill 427 x 427 px; for training at 224 px, photos stored with max_side_px 384 take a third of the CPU, with 320 a quarter"),
        (240, 4_000, "9 of 10 photos fill 240 x 240 px"),
        (1_319.7, 1_319.7, "9 of 10 photos fill 1,319 x 1,319 px; for training at 224 px, photos stored with max_side_px 384 take a third of the CPU, with 320 a quarter"),
    ],
)  # fmt: skip
def test_the_crop_that_photos_fill_is_that_of_the_narrow_and_the_low_ones(
    width: float, height: float, words: str
) -> None:
    images = Images(
        quantiles=(0, 0.05, 1), width=(1, width, 9e3), height=(1, height, 9e3), bytes=(1, 2, 3), total_pixels=7
    )
    assert crops_in_words(images) == words
    assert crops_in_words(images.model_copy(update={"quantiles": (0, 1)})) == "not noted"


def test_brightness_and_contrast_are_said_with_the_photos_that_have_them() -> None:
    quantiles = (0.0, 1.0)
    images = Images(quantiles=quantiles, width=quantiles, height=quantiles, bytes=quantiles, total_pixels=7)
    assert tone_in_words(images) == "not noted"
    known = images.model_copy(update={"measured": 1234, "brightness": 110.54, "contrast": 48.0})
    assert tone_in_words(known) == (
        "110.5 and 48.0 on average, mean and standard deviation of luma from 0 to 255, of 1,234 photos"
    )
