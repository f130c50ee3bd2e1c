"""Photos that look alike end in one split, and stay there."""

import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from aesthetics_ops.builds import Build, BuildPlan, open_build
from aesthetics_ops.conversion.partition import convert_partition
from aesthetics_ops.dataset.layout import SHARDS
from aesthetics_ops.dataset.tables import NEAR_DUPLICATES
from aesthetics_ops.errors import StoreUnavailableError
from aesthetics_ops.publishing.publish import publish_build
from aesthetics_ops.settings import BuildSettings
from aesthetics_ops.testing.stores import CountingStore, FailingStore
from aesthetics_ops.validation.partition import validate_partition
from aesthetics_ops.versions.verify import verify_version
from tests.support.documents import make_reports_quick
from tests.support.nights import (
    ARRIVING,
    PHOTOS,
    Night,
    Source,
    build_once,
    finish,
    photo,
    scored_source,
    shard_hashes,
    smaller,
    start,
    version_table,
)

ORIGINAL = PHOTOS[0]
TWIN = "twin-2"  # an id that the hash puts into another split than the original's


@pytest.fixture
def twins(source: Source) -> Source:
    source.add(TWIN, smaller(photo(ORIGINAL)), 5)
    return source


def split_of(night: Night) -> dict[str, str]:
    return {row["id"]: row["split"] for row in night.table("records")}


def group_of(night: Night) -> dict[str, str]:
    return {row["id"]: row["group"] for row in night.table("near_duplicates")}


def test_a_photo_and_its_smaller_copy_are_in_one_split_in_the_first_version_and_stay(twins: Source) -> None:
    settings = twins.settings()
    first, second = (build_once(settings) for _ in range(2))

    near = first.manifest.near_duplicates
    assert (near.max_distance, near.groups, near.records, near.spanning_splits) == (6, 1, 2, 0)
    assert near.examples == ((ORIGINAL, TWIN),)
    assert version_table(first.dataset, first.manifest, "near_duplicates").schema == NEAR_DUPLICATES.schema
    assert split_of(first)[ORIGINAL] == split_of(first)[TWIN]
    verify_version(first.dataset)

    assert not second.published.is_new
    assert second.built == 0
    assert second.manifest == first.manifest


def test_only_the_photo_that_is_not_with_its_twin_moves(twins: Source) -> None:
    apart = build_once(twins.settings(near_duplicate_distance=""))
    assert split_of(apart)[ORIGINAL] != split_of(apart)[TWIN]
    other = twins.settings(dataset=f"{twins.url}other/")
    together = build_once(other)
    moved = {name for name, split in split_of(together).items() if split != split_of(apart)[name]}
    assert moved == {TWIN}
    same = set(shard_hashes(together.manifest)) & set(shard_hashes(apart.manifest))
    assert len(same) >= apart.manifest.reuse.shards_total - 2  # the shard that it left, and the one that it came to


def test_copied_shards_are_those_that_conversion_makes_of_the_same_recipes(twins: Source) -> None:
    first = build_once(twins.settings())
    dataset, before = first.dataset, shard_hashes(first.manifest)
    dataset.delete(dataset.list(SHARDS)["key"].to_pylist())
    twins.add(ARRIVING, photo(ARRIVING))  # without a score: a plan with the same shards
    again = build_once(twins.settings())
    assert again.photos_read > 0
    assert shard_hashes(again.manifest) == before


def test_the_source_is_not_read_again(twins: Source) -> None:
    build, record = start(twins.settings())
    for number in range(len(record.partitions)):
        convert_partition(build, record, number)
        validate_partition(build, record, number)
    photos = CountingStore(build.photos)
    published = publish_build(replace(build, photos=photos), record, documents={})
    assert published.manifest.near_duplicates.spanning_splits == 0
    assert photos.requests == []


@dataclass(frozen=True)
class Ready:
    """A build that is about to be published, and what an undisturbed one made of the same photos.

    Attributes:
        settings: of the build.
        record: its plan.
        objects: of the dataset, by key.
        hashes: of the undisturbed version.
    """

    settings: BuildSettings
    record: BuildPlan
    objects: dict[str, bytes]
    hashes: list[tuple[str, str, str]]

    def restore(self) -> Build:
        """Return the build, with the dataset as it was before it was published."""
        build = open_build(self.settings, self.record.build)
        build.dataset.delete(build.dataset.list("")["key"].to_pylist())
        for key, data in self.objects.items():
            build.dataset.put(key, data)
        return build


@pytest.fixture(scope="module")
def ready() -> Iterator[Ready]:
    with pytest.MonkeyPatch.context() as patch:
        make_reports_quick(patch)
        source = scored_source(f"memory://{uuid.uuid4().hex}/")
        source.add(TWIN, smaller(photo(ORIGINAL)), 5)
        undisturbed = build_once(source.settings(dataset=f"{source.url}undisturbed/"))
        build, record = start(source.settings())
        for partition in range(len(record.partitions)):
            convert_partition(build, record, partition)
            validate_partition(build, record, partition)
        keys = build.dataset.list("")["key"].to_pylist()
        objects = {key: bytes(build.dataset.get(key).data) for key in keys}
        yield Ready(source.settings(), record, objects, shard_hashes(undisturbed.manifest))


@pytest.mark.parametrize("number", range(0, 40, 3))
def test_a_second_round_that_breaks_off_goes_on(ready: Ready, number: int) -> None:
    """Whatever request of publishing fails: the next try ends with what an undisturbed one makes."""
    build = ready.restore()
    failing = FailingStore(build.dataset, number)
    with suppress(StoreUnavailableError):
        publish_build(replace(build, dataset=failing), ready.record, documents={})
    published = publish_build(build, ready.record, documents={})
    assert shard_hashes(published.manifest) == ready.hashes
    verify_version(build.dataset)


def test_a_photo_that_was_lost_stays_counted(twins: Source) -> None:
    build, record = start(twins.settings(max_reject_fraction=0.5))
    twins.remove(PHOTOS[5])
    night = finish(build, record)
    assert night.manifest.near_duplicates.spanning_splits == 0
    assert night.manifest.rejects["source_missing"] == 1
    assert night.manifest.accounting.listed == night.manifest.accounting.converted + night.manifest.accounting.rejected
    verify_version(night.dataset)


def test_a_reject_of_a_shard_that_is_made_again_is_kept(twins: Source) -> None:
    for number in range(6):  # in every split
        twins.add(f"broken-{number}", photo(PHOTOS[1])[:3000], 3)
    night = build_once(twins.settings(max_reject_fraction=0.5))
    assert night.manifest.rejects["corrupt"] == 6
    assert {row["key"] for row in night.table("rejects")} == {f"broken-{number}.jpg" for number in range(6)}
    assert not build_once(twins.settings(max_reject_fraction=0.5)).published.is_new


def test_every_night_after_says_the_same(twins: Source) -> None:
    settings = twins.settings()
    first = build_once(settings)
    twins.add(ARRIVING, photo(ARRIVING), 4)
    second = build_once(settings)
    assert split_of(first).items() <= split_of(second).items()
    assert group_of(second) == group_of(first)
    assert not build_once(settings).published.is_new


def test_a_third_copy_joins_the_group_and_moves_no_other_photo(twins: Source) -> None:
    settings = twins.settings()
    first = build_once(settings)
    twins.add("0-third", smaller(photo(ORIGINAL), scale=0.8), 5)
    second = build_once(settings)
    assert set(group_of(second).values()) == set(group_of(first).values()) == {ORIGINAL}
    assert split_of(first).items() <= split_of(second).items()
    assert split_of(second)["0-third"] == split_of(second)[ORIGINAL]
    assert not build_once(settings).published.is_new


def test_a_photo_stays_where_it_moved_when_its_twin_goes(twins: Source) -> None:
    settings = twins.settings()
    first = build_once(settings)
    twins.remove(ORIGINAL)
    second = build_once(settings)
    assert split_of(second)[TWIN] == split_of(first)[TWIN]
    assert second.manifest.near_duplicates.groups == 0
    assert not build_once(settings).published.is_new


def test_a_plan_from_scratch_keeps_twins_together(twins: Source) -> None:
    build_once(twins.settings())
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
    assert (on.built, on.published.is_new) == (0, True)
    assert (on.manifest.near_duplicates.groups, on.manifest.near_duplicates.spanning_splits) == (1, 0)
    assert not build_once(twins.settings()).published.is_new

    apart = build_once(twins.settings(near_duplicate_distance=""))
    assert split_of(apart) == split_of(off)


def test_of_a_thousand_photos_with_three_hundred_near_copies_no_group_spans_splits_in_the_first_version(
    source: Source,
) -> None:
    """Each of 300 of 700 photos has a smaller copy of lower quality under another name."""
    rng = np.random.default_rng(0)
    for number in range(700):
        blobs = cv2.resize(rng.integers(0, 255, (9, 9, 3), np.uint8), (240, 180), interpolation=cv2.INTER_CUBIC)
        data = cv2.imencode(".jpg", blobs, (cv2.IMWRITE_JPEG_QUALITY, 92))[1].tobytes()
        source.store.put(f"photos/p{number}.jpg", data)
        source.scores[f"p{number}"] = number % 9 + 1
        if number < 300:
            source.store.put(f"photos/copy-of-{number}.jpg", smaller(data))
            source.scores[f"copy-of-{number}"] = number % 9 + 1
    source.score({})
    settings = source.settings(shard_bytes=400_000)
    first = build_once(settings)
    near = first.manifest.near_duplicates
    assert near.groups >= 300
    assert near.spanning_splits == 0
    splits = split_of(first)
    assert [n for n in range(300) if splits[f"p{n}"] != splits[f"copy-of-{n}"]] == []
    verify_version(first.dataset)
    second = build_once(settings)
    assert not second.published.is_new
    assert second.photos_read == 0


@pytest.mark.parametrize(("score", "warned"), [(1, False), (4, True)])
def test_equal_bytes_with_other_scores_are_told_where_etags_are_not_content(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, score: int, warned: bool
) -> None:
    source = Source(tmp_path.as_uri() + "/", {})
    for name in PHOTOS[:3]:
        source.add(name, photo(name), 1)
    source.add("copy", photo(PHOTOS[0]), score)
    source.add("near", smaller(photo(PHOTOS[1])), 7)  # alike, and no copy
    night = build_once(source.settings())
    said = (
        f"2 records hold the JPEG of another and have another label, such as '{PHOTOS[0]}.jpg' (1) and 'copy.jpg' (4); "
    )
    assert (said in caplog.text) == warned
    assert ("hold the JPEG of another" in caplog.text) == warned
    splits = {row["id"]: row["split"] for row in night.table("records")}
    assert splits["copy"] == splits[PHOTOS[0]]
