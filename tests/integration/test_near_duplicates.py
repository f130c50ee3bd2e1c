"""Photos that look alike end in one split, and stay there."""

import cv2
import numpy as np
import pytest

from aesthetics_ops.dataset.tables import NEAR_DUPLICATES
from tests.support.nights import ARRIVING, PHOTOS, Night, Source, build_once, photo, version_table

ORIGINAL = PHOTOS[0]
TWIN = "twin-2"  # an id that the hash puts into another split than the original's


def smaller(data: bytes, *, scale: float = 0.6, quality: int = 70) -> bytes:
    """The same photo, resized and encoded anew."""
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    pixels = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return cv2.imencode(".jpg", pixels, (cv2.IMWRITE_JPEG_QUALITY, quality))[1].tobytes()


@pytest.fixture
def twins(source: Source) -> Source:
    source.add(TWIN, smaller(photo(ORIGINAL)), 5)
    return source


def split_of(night: Night) -> dict[str, str]:
    return {row["id"]: row["split"] for row in night.table("records")}


def group_of(night: Night) -> dict[str, str]:
    return {row["id"]: row["group"] for row in night.table("near_duplicates")}


def test_a_photo_and_its_smaller_copy_end_in_one_split_after_the_second_build_and_stay(twins: Source) -> None:
    settings = twins.settings()
    first, second, third = (build_once(settings) for _ in range(3))

    assert split_of(first)[ORIGINAL] != split_of(first)[TWIN]
    near = first.manifest.near_duplicates
    assert (near.max_distance, near.groups, near.records, near.spanning_splits) == (6, 1, 2, 1)
    assert near.examples == ((ORIGINAL, TWIN),)
    assert version_table(first.dataset, first.manifest, "near_duplicates").schema == NEAR_DUPLICATES.schema

    assert second.published.is_new
    assert split_of(second)[ORIGINAL] == split_of(second)[TWIN] == split_of(first)[ORIGINAL]
    assert second.manifest.near_duplicates.spanning_splits == 0
    moved = {name for name, split in split_of(second).items() if split != split_of(first)[name]}
    assert moved == {TWIN}
    assert second.built <= 2  # the shard that it left, and the one that it came to

    assert not third.published.is_new
    assert third.built == 0
    assert third.manifest == second.manifest


def test_every_night_after_says_the_same(twins: Source) -> None:
    settings = twins.settings()
    second = [build_once(settings) for _ in range(2)][-1]
    twins.add(ARRIVING, photo(ARRIVING), 4)
    third = build_once(settings)
    assert split_of(second).items() <= split_of(third).items()
    assert group_of(third) == group_of(second)
    assert not build_once(settings).published.is_new


def test_a_third_copy_joins_the_group_and_moves_no_other_photo(twins: Source) -> None:
    settings = twins.settings()
    second = [build_once(settings) for _ in range(2)][-1]
    twins.add("0-third", smaller(photo(ORIGINAL), scale=0.8), 5)
    fourth = [build_once(settings) for _ in range(2)][-1]
    assert set(group_of(fourth).values()) == set(group_of(second).values()) == {ORIGINAL}
    assert split_of(second).items() <= split_of(fourth).items()
    assert split_of(fourth)["0-third"] == split_of(fourth)[ORIGINAL]
    assert not build_once(settings).published.is_new


def test_a_photo_stays_where_it_moved_when_its_twin_goes(twins: Source) -> None:
    settings = twins.settings()
    second = [build_once(settings) for _ in range(2)][-1]
    twins.remove(ORIGINAL)
    third = build_once(settings)
    assert split_of(third)[TWIN] == split_of(second)[TWIN]
    assert third.manifest.near_duplicates.groups == 0
    assert not build_once(settings).published.is_new


def test_a_plan_from_scratch_keeps_twins_together(twins: Source) -> None:
    [build_once(twins.settings()) for _ in range(2)]
    again = build_once(twins.settings(seed=7))
    assert split_of(again)[ORIGINAL] == split_of(again)[TWIN]


def test_the_score_files_splits_win_and_the_group_is_reported(twins: Source) -> None:
    lines = ["id,score,part", *(f"{name},5,{'test' if name == TWIN else 'train'}" for name in twins.scores)]
    twins.store.put("scores.csv", "\n".join(lines).encode())
    settings = twins.settings(split_column="part")
    first = build_once(settings)
    assert first.manifest.near_duplicates.spanning_splits == 1
    assert split_of(first)[TWIN] == "test"
    assert not build_once(settings).published.is_new


def test_a_changed_distance_takes_effect_without_any_other_news(twins: Source) -> None:
    off = build_once(twins.settings(near_duplicate_distance=""))
    assert off.manifest.near_duplicates.max_distance is None
    assert off.manifest.near_duplicates.groups == len(off.table("near_duplicates")) == 0
    assert not build_once(twins.settings(near_duplicate_distance="")).published.is_new

    on = build_once(twins.settings())
    assert (on.built, on.published.is_new, on.manifest.near_duplicates.groups) == (0, True, 1)
    together = build_once(twins.settings())
    assert together.manifest.near_duplicates.spanning_splits == 0
    assert not build_once(twins.settings()).published.is_new

    apart = build_once(twins.settings(near_duplicate_distance=""))
    assert split_of(apart) == split_of(off)
