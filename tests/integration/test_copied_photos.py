"""A shard that is made anew: what the parent version has of its photos is copied, and nothing else is."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
import pytest

from aesthetics_ops.builds import Build, BuildPlan
from aesthetics_ops.dataset.layout import ShardFile, partition_rows_key, shard_key
from aesthetics_ops.dataset.results import read_shard_result
from aesthetics_ops.dataset.tables import BEFORE, read_parquet, write_parquet
from aesthetics_ops.errors import ObjectMissingError
from aesthetics_ops.rejects import RejectReason
from aesthetics_ops.settings import BuildSettings
from aesthetics_ops.store import Store
from aesthetics_ops.testing.stores import CountingStore, FailingStore, WrappedStore, flipped
from tests.support.nights import (
    ARRIVING,
    PHOTOS,
    Night,
    Source,
    build_once,
    finish,
    photo,
    shard_hashes,
    start,
)

LARGE = 4_000_000  # bytes of a shard: each split has one


@dataclass
class Counted:
    """A night, and what it asked of its stores."""

    night: Night
    photos: CountingStore
    dataset: CountingStore

    @property
    def sources(self) -> list[str]:
        return sorted(self.photos.read)

    @property
    def ranges(self) -> list[str]:
        """The shards that ranges were read of before publishing, one per request."""
        return [
            request.key
            for request in self.dataset.requests
            if request.method == "get_range" and request.key.startswith("shards/")
        ]


def settings(source: Source, **changes: object) -> BuildSettings:
    return source.settings(shard_bytes=LARGE, max_reject_fraction=1, **changes)


def counted(
    source: Source, change: Callable[[Build, BuildPlan], None] = lambda build, plan: None, **more: object
) -> Counted:
    """Build a night; `change` does something to the stores between its plan and its conversion."""
    build, plan = start(settings(source, **more))
    change(build, plan)
    photos, dataset = CountingStore(build.photos), CountingStore(build.dataset)
    return Counted(finish(replace(build, photos=photos, dataset=dataset), plan), photos, dataset)


def without_records(build: Build) -> Store:
    """The dataset, with no byte to be had of any shard but by a whole download."""
    return FailingStore(
        build.dataset,
        lambda request: request.method == "get_range" and request.key.startswith("shards/"),
        error=ObjectMissingError("gone"),
    )


def from_sources(source: Source, **more: object) -> Night:
    """Plan the same night, and read each photo of its shards from the source."""
    build, plan = start(settings(source, **more))
    return finish(replace(build, dataset=without_records(build)), plan)


def shard_of(night: Night, name: str) -> str:
    return next(row["shard"] for row in night.table("records") if row["id"] == name)


def digest_of(path: str) -> str:
    return path.rpartition("/")[2].partition(".")[0]


def same_as_from_sources(source: Source, night: Night) -> None:
    """Compare each shard, byte for byte, with that of a dataset with the same history, whose photos all came from the source."""
    other = from_sources(source, dataset=f"{source.url}twin/")
    assert shard_hashes(other.manifest) == shard_hashes(night.manifest)
    for _, path, _ in shard_hashes(night.manifest):
        assert bytes(other.dataset.get(path).data) == bytes(night.dataset.get(path).data)
        one, two = (read_shard_result(made.dataset, digest_of(path)) for made in (night, other))
        assert one == two


@pytest.fixture
def first(source: Source) -> Night:
    """The first night, and the same one of a twin dataset."""
    source.add("cut", photo(PHOTOS[3])[:9000], 5)
    source.add("words", b"this is not a photo at all", 5)
    build_once(settings(source, dataset=f"{source.url}twin/"))
    return build_once(settings(source))


class TestWhatIsRead:
    """Of a shard that has to be made anew, the source is asked for what changed."""

    def test_one_replaced_photo_is_one_photo_read_and_one_shard_copied(self, source: Source, first: Night) -> None:
        source.add(PHOTOS[2], photo(ARRIVING))
        second = counted(source)
        assert second.sources == [f"{PHOTOS[2]}.jpg"]
        assert set(second.ranges) == {shard_of(first, PHOTOS[2])}
        assert len(second.ranges) <= 2, "neighbours are read at once"
        (summary,) = second.night.conversions
        assert (summary.built, summary.photos) == (1, 1)
        assert summary.copied > 1
        same_as_from_sources(source, second.night)

    @pytest.mark.parametrize("change", ["removed", "relabelled"])
    def test_a_photo_less_or_another_score_reads_no_photo(self, source: Source, first: Night, change: str) -> None:
        if change == "removed":
            source.remove(PHOTOS[2])
        else:
            source.score(dict.fromkeys(PHOTOS, 2.5))
        second = counted(source)
        assert second.sources == []
        assert second.night.published.is_new
        assert set(second.ranges) <= {path for _, path, _ in shard_hashes(first.manifest)}
        same_as_from_sources(source, second.night)

    def test_an_arrival_is_read_and_its_neighbours_are_copied(self, source: Source, first: Night) -> None:
        source.add(ARRIVING, photo(ARRIVING), 4)
        second = counted(source)
        assert second.sources == [f"{ARRIVING}.jpg"]
        same_as_from_sources(source, second.night)

    def test_what_is_known_to_be_no_photo_is_not_read_again(self, source: Source, first: Night) -> None:
        rejects = {(row["key"], row["reason"], row["detail"]) for row in first.table("rejects")}
        assert {reason for _, reason, _ in rejects} == {"corrupt", "not_an_image"}
        source.score(dict.fromkeys([*PHOTOS, "cut", "words"], 7))
        second = counted(source)
        assert second.sources == []
        assert {(row["key"], row["reason"], row["detail"]) for row in second.night.table("rejects")} == rejects
        assert sum(sum(summary.rejected.values()) for summary in second.night.conversions) == 2
        same_as_from_sources(source, second.night)

    def test_encoded_photos_are_copied_too(self, source: Source) -> None:
        twin = {"encoding": "reencode", "dataset": f"{source.url}twin/"}
        build_once(settings(source, **twin))
        build_once(settings(source, encoding="reencode"))
        source.score({PHOTOS[1]: 9.5})
        second = counted(source, encoding="reencode")
        assert second.sources == []
        other = from_sources(source, **twin)
        assert shard_hashes(other.manifest) == shard_hashes(second.night.manifest)

    @pytest.mark.parametrize(
        "setting", [{"max_side_px": 64}, {"min_side_px": 10}, {"quality": 70, "encoding": "reencode"}]
    )
    def test_under_another_setting_that_touches_pixels_all_is_read(
        self, source: Source, first: Night, setting: dict[str, Any]
    ) -> None:
        second = counted(source, **setting)
        assert len(second.sources) == len(PHOTOS) + 2
        assert second.ranges == []

    def test_a_shard_that_lost_a_photo_is_copied_by_its_other_name(self, source: Source, first: Night) -> None:
        def lose(build: Build, plan: BuildPlan) -> None:
            source.add(PHOTOS[2], photo(PHOTOS[3])[:-2] + b"\xff\xd9  ")

        source.add(PHOTOS[2], photo(ARRIVING))
        second = counted(source, lose)
        assert second.night.manifest.rejects["source_changed"] == 1
        third = counted(source)
        assert third.sources == [f"{PHOTOS[2]}.jpg"]


class TestWhatIsDamaged:
    """What the parent cannot give comes from the source, and the shard is the same."""

    @pytest.fixture
    def changed(self, source: Source, first: Night) -> Night:
        source.score({PHOTOS[2]: 9.5})
        return first

    def whole(self, source: Source, first: Night, damage: Callable[[Store, str], None]) -> Counted:
        shard = shard_of(first, PHOTOS[2])
        second = counted(source, lambda build, plan: damage(build.dataset, shard))
        same_as_from_sources(source, second.night)
        return second

    def test_a_damaged_record_is_read_from_its_source(self, source: Source, changed: Night) -> None:
        row = next(row for row in changed.table("records") if row["id"] == PHOTOS[2])

        def damage(dataset: Store, shard: str) -> None:
            bit = 8 * (row["offset"] + row["length"] // 2)
            dataset.put(shard, flipped(dataset.get(shard).data, bit))

        assert self.whole(source, changed, damage).sources == [f"{PHOTOS[2]}.jpg"]

    @pytest.mark.parametrize("how", ["gone", "cut"])
    def test_a_missing_or_cut_shard_is_read_from_its_sources(self, source: Source, changed: Night, how: str) -> None:
        shard = shard_of(changed, PHOTOS[2])
        records = sum(row["shard"] == shard for row in changed.table("records"))
        if how == "gone":
            second = self.whole(source, changed, lambda dataset, key: dataset.delete([key]))
        else:
            second = self.whole(source, changed, lambda dataset, key: dataset.put(key, dataset.get(key).data[:100]))
        assert len(second.sources) == records

    @pytest.mark.parametrize("how", ["gone", "damaged", "of another shard", "of another converter"])
    def test_a_result_that_says_nothing_is_passed_over(self, source: Source, changed: Night, how: str) -> None:
        def damage(dataset: Store, shard: str) -> None:
            key = shard_key(digest_of(shard), ShardFile.RESULT)
            result = read_shard_result(dataset, digest_of(shard))
            assert result is not None
            if how == "gone":
                dataset.delete([key])
            elif how == "damaged":
                dataset.put(key, flipped(dataset.get(key).data))
            elif how == "of another shard":
                dataset.put(key, result.model_copy(update={"digest": "a" * 64}).encoded())
            else:
                dataset.put(key, result.model_copy(update={"codecs": "b" * 16}).encoded())

        assert self.whole(source, changed, damage).ranges == []

    def test_a_record_of_another_photo_is_not_taken(self, source: Source, changed: Night) -> None:
        """The index names a record that is whole, and another one."""

        def damage(dataset: Store, shard: str) -> None:
            result = read_shard_result(dataset, digest_of(shard))
            assert result is not None
            index = result.index
            swapped = [*index.offset[1::-1], *index.offset[2:]], [*index.length[1::-1], *index.length[2:]]
            index = index.model_copy(update={"offset": swapped[0], "length": swapped[1]})
            dataset.put(
                shard_key(digest_of(shard), ShardFile.RESULT), result.model_copy(update={"index": index}).encoded()
            )

        assert len(self.whole(source, changed, damage).sources) == 2

    def test_rows_that_came_altered_name_no_photo_as_unchanged(self, source: Source, first: Night) -> None:
        """A photo that was replaced must not be taken from the parent because a bit says that it is the same."""
        source.add(PHOTOS[2], photo(ARRIVING))

        def alter(build: Build, plan: BuildPlan) -> None:
            key = partition_rows_key(build.id, 0)
            rows = read_parquet(build.dataset, key)
            (digest,) = rows[BEFORE].drop_null().unique().to_pylist()
            place = rows.column_names.index(BEFORE)
            build.dataset.put(
                key, write_parquet(rows.set_column(place, BEFORE, pa.repeat(pa.scalar(digest), rows.num_rows)))
            )

        second = counted(source, alter)
        assert len(second.sources) > 1
        same_as_from_sources(source, second.night)
        assert RejectReason.SOURCE_CHANGED not in second.night.manifest.rejects


def test_each_record_is_read_once_and_few_requests_are_made(source: Source) -> None:
    """Of 60 photos in one shard, each third of which is new, the others come in runs."""
    for number in range(60):
        data = photo(PHOTOS[number % len(PHOTOS)])
        source.add(f"n{number:02}", data[:2] + b"\xff\xfe\x00\x05" + f"{number:03}".encode() + data[2:], 5)
    places = {"validation_fraction": 0.001, "test_fraction": 0.001, "near_duplicate_distance": None}
    build_once(settings(source, **places))
    source.score({f"n{number:02}": 6 for number in range(0, 60, 3)})

    class Sizes(WrappedStore):
        read = 0

        def get_range(self, key: str, offset: int, length: int) -> bytes | memoryview:
            Sizes.read += length * key.startswith("shards/")
            return super().get_range(key, offset, length)

    build, plan = start(settings(source, **places))
    photos = CountingStore(build.photos)
    sized = Sizes(build.dataset)
    night = finish(replace(build, photos=photos, dataset=sized), plan)
    assert photos.read == []
    made = [shard for split in night.manifest.splits.values() for shard in split.shards]
    assert Sizes.read <= sum(shard.bytes for shard in made)
