"""Published versions: listed, verified, compared, gone back to, and expired without harm to those that stay."""

import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pytest

from aesthetics_ops.builds import BuildStart
from aesthetics_ops.conversion.partition import convert_partition
from aesthetics_ops.dataset.latest import read_latest
from aesthetics_ops.dataset.layout import (
    LATEST_KEY,
    BuildFile,
    ShardFile,
    VersionFile,
    build_key,
    digest_of,
    shard_key,
    version_key,
)
from aesthetics_ops.dataset.tables import RECORDS, write_parquet
from aesthetics_ops.errors import IntegrityError, NoSuchVersionError
from aesthetics_ops.publishing.publish import publish_build
from aesthetics_ops.store import Store, open_store
from aesthetics_ops.testing.datasets import SyntheticVersion
from aesthetics_ops.testing.stores import CountingStore
from aesthetics_ops.validation.partition import validate_partition
from aesthetics_ops.versions import shards, verify
from aesthetics_ops.versions.diff import Change, Changes, ShardChanges, diff_versions
from aesthetics_ops.versions.expire import expire_versions
from aesthetics_ops.versions.listing import list_versions
from aesthetics_ops.versions.rollback import rollback
from aesthetics_ops.versions.verify import verify_version
from tests.support.nights import (
    ARRIVING,
    PHOTOS,
    START,
    Night,
    Source,
    build_once,
    finish,
    latest_version,
    photo,
    shard_hashes,
    start,
)
from tests.support.versions import publish_once, sample_photos, sample_rejects

LATER = START + timedelta(days=30)


def two_nights(source: Source) -> tuple[Night, Night]:
    """One photo added, one removed, one relabelled, one replaced."""
    first = build_once(source.settings())
    source.add(ARRIVING, photo(ARRIVING), 4)
    source.remove(PHOTOS[0])
    source.score({PHOTOS[1]: 9})
    source.add(PHOTOS[2], photo("914194"))
    return first, build_once(source.settings())


def keys(dataset: Store, prefix: str) -> set[str]:
    return set(dataset.list(prefix)["key"].to_pylist())


def digests(dataset: Store) -> set[str]:
    return {digest for key in keys(dataset, "shards/") if (digest := digest_of(key))}


def begin(dataset: Store, build: str, started_at: datetime | None, night: Night | None = None) -> None:
    """Leave what a plan in the making leaves: its start, and the rows of another build's plan."""
    if started_at is not None:
        start = BuildStart(build=build, started_at=started_at)
        dataset.put(build_key(build, BuildFile.STARTED), start.encoded())
    rows = dataset.get(build_key(night.build.id, BuildFile.ROWS)).data if night else b""
    dataset.put(build_key(build, BuildFile.ROWS), rows)


def test_versions_are_listed_newest_first(source: Source) -> None:
    first, second = two_nights(source)
    listed = list_versions(first.dataset)
    assert [(info.version, info.records, info.bytes, info.is_latest) for info in listed] == [
        (second.manifest.version, 14, second.manifest.bytes, True),
        (first.manifest.version, 14, first.manifest.bytes, False),
    ]


def test_a_version_that_cannot_be_read_is_listed_with_its_problem_and_hides_no_other(source: Source) -> None:
    first, second = two_nights(source)
    key = version_key(first.manifest.version, VersionFile.MANIFEST)
    first.dataset.put(key, b'{"version": 1}')
    first.dataset.put(version_key("20250101T000000Z-cut_off", VersionFile.PLAN), b"")
    newest, broken = list_versions(first.dataset)
    assert (newest.version, newest.records, newest.problem) == (second.manifest.version, 14, "")
    assert (broken.version, broken.created_at, broken.records) == (first.manifest.version, None, 0)
    assert broken.problem.startswith(f"{first.dataset.url_of(key)} is not a manifest: version: ")
    assert "\n" not in broken.problem


def test_listing_reads_latest_once_and_each_manifest_once(source: Source) -> None:
    first, second = two_nights(source)
    watched = CountingStore(first.dataset)
    list_versions(watched)
    manifests = [version_key(night.manifest.version, VersionFile.MANIFEST) for night in (first, second)]
    assert sorted(watched.read) == sorted([LATEST_KEY, *manifests])


def test_a_dataset_without_versions_says_so(source: Source) -> None:
    with pytest.raises(NoSuchVersionError, match=f"nothing is published under {source.url}; run a build, or check"):
        list_versions(source.store)
    with pytest.raises(NoSuchVersionError, match="nothing is published"):
        verify_version(source.store)
    with pytest.raises(NoSuchVersionError, match="nothing is published"):
        expire_versions(source.store, keep=1, now=LATER)


def test_a_version_that_is_not_there_is_named(source: Source) -> None:
    night = build_once(source.settings())
    for ask in (
        lambda: verify_version(night.dataset, "v0"),
        lambda: diff_versions(night.dataset, "v0", night.manifest.version),
        lambda: rollback(night.dataset, "v0"),
    ):
        with pytest.raises(NoSuchVersionError, match="has no version 'v0'; `aesthetics-ops versions` lists"):
            ask()


def test_a_diff_names_what_was_added_removed_relabelled_and_replaced(source: Source) -> None:
    first, second = two_nights(source)
    found = diff_versions(first.dataset, first.manifest.version, second.manifest.version)
    assert found.changes == Changes(
        added=Change(1, (ARRIVING,)),
        removed=Change(1, (PHOTOS[0],)),
        relabelled=Change(1, (PHOTOS[1],)),
        repixelled=Change(1, (PHOTOS[2],)),
        moved=Change(0, ()),
    )
    ours, theirs = ({path for _, path, _ in shard_hashes(night.manifest)} for night in (first, second))
    assert found.shards == ShardChanges(len(ours & theirs), len(ours - theirs), len(theirs - ours))
    back = diff_versions(first.dataset, second.manifest.version, first.manifest.version)
    assert back.changes.removed.examples == (ARRIVING,)


def test_a_diff_names_photos_that_changed_their_split_and_not_those_that_did_not(source: Source) -> None:
    first = build_once(source.settings())
    second = build_once(source.settings(split_salt="another"))
    splits = [{row["id"]: row["split"] for row in night.table("records")} for night in (first, second)]
    moved = sorted(name for name in PHOTOS if splits[0][name] != splits[1][name])
    found = diff_versions(first.dataset, first.manifest.version, second.manifest.version).changes
    assert 0 < len(moved) < len(PHOTOS)
    assert found.moved == Change(len(moved), tuple(moved[:10]))
    assert sum(change.count for change in found.by_kind.values()) == len(moved)


def test_another_quality_changes_the_photos_that_are_encoded_and_no_other(source: Source) -> None:
    pixels = cv2.imdecode(np.frombuffer(photo(ARRIVING), np.uint8), cv2.IMREAD_COLOR)
    source.add("drawn", cv2.imencode(".png", pixels)[1].tobytes(), 4, suffix=".png")
    first = build_once(source.settings())
    second = build_once(source.settings(quality=90))
    found = diff_versions(first.dataset, first.manifest.version, second.manifest.version).changes
    encoded = sorted(row["id"] for row in first.table("records") if "reencoded" in row["transforms"])
    assert "drawn" in encoded
    assert len(encoded) < len(PHOTOS)
    assert found.repixelled == Change(len(encoded), tuple(encoded))
    assert sum(change.count for change in found.by_kind.values()) == len(encoded)


class TestVerify:
    """A version is what its manifest says, or the difference is named."""

    @pytest.fixture
    def night(self, source: Source) -> Night:
        return build_once(source.settings())

    def test_a_whole_version_is_verified(self, night: Night) -> None:
        assert verify_version(night.dataset) == night.manifest
        assert verify_version(night.dataset, night.manifest.version) == night.manifest

    def test_a_damaged_shard_is_named_and_the_way_that_is_said_repairs_it(self, night: Night, source: Source) -> None:
        _, path, sha256 = shard_hashes(night.manifest)[1]
        data = bytearray(night.dataset.get(path).data)
        data[len(data) // 2] ^= 1
        night.dataset.put(path, bytes(data))
        with pytest.raises(IntegrityError, match=sha256) as caught:
            verify_version(night.dataset)
        result, verdict = path.replace(".tfrecord", ".json"), path.replace(".tfrecord", ".validated.json")
        assert path in str(caught.value)
        assert f"delete {night.dataset.url_of(result)} and the .validated.json beside it" in str(caught.value)
        night.dataset.delete([result, verdict])
        again = build_once(source.settings())
        assert (again.built, again.published.is_new, again.published.repaired) == (1, False, 1)
        assert verify_version(night.dataset) == night.manifest
        assert build_once(source.settings()).published.repaired == 0

    def test_a_missing_shard_is_named_and_the_next_build_makes_it_anew(self, night: Night, source: Source) -> None:
        _, path, _ = shard_hashes(night.manifest)[1]
        night.dataset.delete([path])
        with pytest.raises(IntegrityError, match=f"{path} is missing"):
            verify_version(night.dataset)
        again = build_once(source.settings())
        assert sum(done.read for done in again.validations) == 1
        assert verify_version(night.dataset) == night.manifest

    @pytest.mark.parametrize("damage", [lambda data: data[:-9], lambda data: data + b"x", lambda data: b""])
    def test_a_shard_of_another_size_is_made_anew_by_the_next_build(
        self, night: Night, source: Source, damage: Callable[[bytes], bytes]
    ) -> None:
        _, path, _ = shard_hashes(night.manifest)[1]
        night.dataset.put(path, damage(bytes(night.dataset.get(path).data)))
        with pytest.raises(IntegrityError, match=path):
            verify_version(night.dataset)
        again = build_once(source.settings())
        assert (again.built, again.published.is_new, again.published.repaired) == (1, False, 1)
        assert verify_version(night.dataset) == night.manifest

    @pytest.mark.parametrize("name", ["records", "rejects", "plan"])
    def test_a_missing_table_is_named(self, night: Night, name: str) -> None:
        night.dataset.delete([version_key(night.manifest.version, VersionFile(f"{name}.parquet"))])
        with pytest.raises(
            IntegrityError, match=rf"version '{night.manifest.version}' is incomplete: .*{name}.parquet"
        ):
            verify_version(night.dataset)

    def test_a_table_of_another_version_is_found(self, night: Night) -> None:
        records, rejects = (
            version_key(night.manifest.version, VersionFile(f"{name}.parquet")) for name in ("records", "rejects")
        )
        night.dataset.put(records, night.dataset.get(rejects).data)
        with pytest.raises(IntegrityError, match=r"records\.parquet has .* bytes and sha256"):
            verify_version(night.dataset)

    def test_a_manifest_that_latest_does_not_promise_is_refused(self, night: Night) -> None:
        key = version_key(night.manifest.version, VersionFile.MANIFEST)
        night.dataset.put(key, bytes(night.dataset.get(key).data).replace(b'"records": 14', b'"records": 15'))
        with pytest.raises(IntegrityError, match=r"is not the manifest whose sha256 stands in LATEST.json"):
            verify_version(night.dataset)

    def test_a_latest_that_is_no_pointer_is_refused(self, night: Night) -> None:
        night.dataset.put(LATEST_KEY, b"{}")
        with pytest.raises(IntegrityError, match=r"LATEST.json is not a pointer to a version"):
            verify_version(night.dataset)


class WatchedDownloads(CountingStore):
    """A store that calls functions before and after each download, and notes how many shards lie side by side.

    Attributes:
        most_files: shards in one directory after a download.
    """

    def __init__(
        self,
        inner: Store,
        before: Callable[[str], None] = lambda key: None,
        after: Callable[[str], None] = lambda key: None,
    ) -> None:
        super().__init__(inner)
        self.most_files = 0
        self._before, self._after = before, after

    def download(self, key: str, path: Path) -> None:
        self._before(key)
        super().download(key, path)
        self.most_files = max(self.most_files, len(list(path.parent.glob("*.tfrecord"))))
        self._after(key)


class TestVerifyManyShards:
    """Shards are read side by side, and what is found does not depend on which comes first."""

    @pytest.fixture
    def many(self) -> SyntheticVersion:
        """16 shards."""
        return publish_once(sample_photos(30), sample_rejects(), per_shard=2)

    @pytest.fixture
    def in_files(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Shards count as too large for memory."""
        monkeypatch.setattr(shards, "_IN_MEMORY", 0)

    def paths(self, many: SyntheticVersion) -> list[str]:
        return [path for _, path, _ in shard_hashes(many.manifest)]

    def damage(self, many: SyntheticVersion, path: str) -> None:
        many.store.put(path, bytes(many.store.get(path).data)[:-1])

    @pytest.mark.usefixtures("in_files")
    def test_of_several_damaged_shards_the_first_is_named_even_if_another_was_read_before(
        self, many: SyntheticVersion
    ) -> None:
        first, later = self.paths(many)[2], self.paths(many)[4]
        self.damage(many, later)
        many.store.delete([first])
        was_read = threading.Event()

        def wait(key: str) -> None:
            assert key != first or was_read.wait(30)

        def note(key: str) -> None:
            if key == later:
                was_read.set()

        store = WatchedDownloads(many.store, before=wait, after=note)
        with pytest.raises(IntegrityError, match=f"{first} is missing"):
            verify_version(store)

    @pytest.mark.usefixtures("in_files")
    def test_a_few_shards_are_read_at_once_and_no_more(
        self, many: SyntheticVersion, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(verify, "_BYTES_AT_ONCE", 1)  # so that the shards count as large
        pair, together = threading.Barrier(2), self.paths(many)[:2]

        def meet(key: str) -> None:
            if key in together:
                pair.wait(30)

        sizes: list[int] = []
        store = WatchedDownloads(many.store, before=meet)
        assert verify_version(store, progress=sizes.append) == many.manifest
        assert sizes == [shard.bytes for split in many.manifest.splits.values() for shard in split.shards]
        assert store.most_files <= 4

    @pytest.mark.usefixtures("in_files")
    def test_no_table_is_held_in_memory_as_it_is_stored(self, many: SyntheticVersion) -> None:
        store = WatchedDownloads(many.store)
        verify_version(store)
        whole = [request.key for request in store.requests if request.method == "get"]
        assert whole == [LATEST_KEY, version_key(many.version, VersionFile.MANIFEST)]

    @pytest.mark.parametrize(
        ("order", "row"), [([0, 2, 1], 1), ([1, 0, 2], 0), ([0, 1, 3, 2], 2)], ids=["inside", "start", "later"]
    )
    def test_records_in_another_order_than_the_shards_are_found(
        self, many: SyntheticVersion, order: list[int], row: int
    ) -> None:
        rows = many.rows
        mixed = [rows[place] for place in order] + rows[len(order) :]
        assert mixed != rows
        self.put_records(many, mixed)
        with pytest.raises(IntegrityError, match=rf"records\.parquet.*: key of row {row}, "):
            verify_version(many.store)

    @pytest.mark.parametrize("name", ["records", "rejects", "plan"])
    def test_a_table_that_is_cut_off_is_named(self, many: SyntheticVersion, name: str) -> None:
        key = version_key(many.version, VersionFile(f"{name}.parquet"))
        many.store.put(key, bytes(many.store.get(key).data)[:-3])
        with pytest.raises(IntegrityError, match=rf"{key} has .* is not a whole Parquet file"):
            verify_version(many.store)

    def put_records(self, many: SyntheticVersion, rows: list[dict[str, Any]]) -> None:
        table = pa.Table.from_pylist(rows, schema=RECORDS.schema)
        many.store.put(version_key(many.version, VersionFile.RECORDS), write_parquet(table))


class TestRollback:
    """LATEST can name an older version again, and the next build starts from there."""

    def test_the_next_build_after_a_rollback_has_the_old_version_as_its_parent(self, source: Source) -> None:
        first, second = two_nights(source)
        rollback(first.dataset, first.manifest.version)
        assert latest_version(first.dataset) == first.manifest.version
        assert [info.is_latest for info in list_versions(first.dataset)] == [False, True]
        third = build_once(source.settings())
        assert third.record.parent == third.manifest.parent == first.manifest.version
        assert third.built == 0
        assert third.published.is_new
        assert shard_hashes(third.manifest) == shard_hashes(second.manifest)

    def test_a_version_whose_shard_is_gone_is_not_gone_back_to(self, source: Source) -> None:
        first, second = two_nights(source)
        lost = next(entry for entry in shard_hashes(first.manifest) if entry not in shard_hashes(second.manifest))
        first.dataset.delete([lost[1]])
        with pytest.raises(IntegrityError, match=f"needs .*{lost[1]}, which is gone; LATEST stays"):
            rollback(first.dataset, first.manifest.version)
        assert latest_version(first.dataset) == second.manifest.version


class TestExpiry:
    """What kept versions and young builds need stays; the rest goes."""

    def test_old_versions_go_with_the_shards_that_only_they_had(self, source: Source) -> None:
        first, second = two_nights(source)
        dataset = first.dataset
        expired = expire_versions(dataset, keep=1, now=LATER)
        assert expired.versions == (first.manifest.version,)
        assert set(expired.builds) == {first.build.id, second.build.id}
        names = {shard.digest for split in second.manifest.splits.values() for shard in split.shards}
        assert keys(dataset, "shards/") == {shard_key(name, file) for name in names for file in ShardFile}
        assert {key.split("/")[1] for key in keys(dataset, "versions/")} == {second.manifest.version}
        assert keys(dataset, "builds/") == set()
        assert verify_version(dataset) == second.manifest
        assert not build_once(source.settings()).published.is_new

    def test_what_expiry_reports_is_what_is_gone(self, source: Source) -> None:
        first, _ = two_nights(source)
        before = first.dataset.list()
        expired = expire_versions(first.dataset, keep=1, now=LATER)
        after = first.dataset.list()
        assert expired.objects == before.num_rows - after.num_rows > 0
        assert expired.bytes == sum(before["size"].to_pylist()) - sum(after["size"].to_pylist()) > 0
        assert expire_versions(first.dataset, keep=1, now=LATER).objects == 0

    def test_enough_versions_to_keep_lose_nothing(self, source: Source) -> None:
        first, second = two_nights(source)
        expired = expire_versions(first.dataset, keep=2, now=LATER)
        assert expired.versions == ()
        for night in (first, second):
            assert verify_version(first.dataset, night.manifest.version) == night.manifest

    def test_the_version_that_latest_names_is_kept_however_old(self, source: Source) -> None:
        first, second = two_nights(source)
        rollback(first.dataset, first.manifest.version)
        expired = expire_versions(first.dataset, keep=1, now=LATER)
        assert expired.versions == ()
        assert verify_version(first.dataset) == first.manifest
        assert verify_version(first.dataset, second.manifest.version) == second.manifest

    def test_shards_of_rejects_alone_stay_with_their_version(self, source: Source) -> None:
        for number in range(4):
            source.add(f"words{number}", b"this is not a photo at all " * 9000 + bytes([number]), 5)
        settings = source.settings(max_reject_fraction=1)
        night = build_once(settings)
        expire_versions(night.dataset, keep=1, now=LATER)
        assert start(settings)[1].planned == 0

    def test_a_young_build_keeps_its_state_and_its_shards_even_renamed_ones(self, source: Source) -> None:
        first = build_once(source.settings())
        source.add(ARRIVING, photo(ARRIVING), 4)
        source.add("fleeting", photo("914194"), 4)
        build, record = start(source.settings(max_reject_fraction=1))
        source.remove("fleeting")
        for number in range(len(record.partitions)):
            convert_partition(build, record, number)
            validate_partition(build, record, number)
        expired = expire_versions(build.dataset, keep=1, now=record.created_at + timedelta(days=1))
        assert (expired.versions, expired.builds) == ((), ())
        assert publish_build(build, record).is_new
        assert verify_version(build.dataset).records == 15
        assert verify_version(build.dataset, first.manifest.version) == first.manifest

    def test_a_half_converted_young_build_goes_on_after_expiry(self, source: Source) -> None:
        build_once(source.settings())
        build, record = start(source.settings(max_side_px=64), partitions=2)
        convert_partition(build, record, 0)
        before = keys(build.dataset, "shards/")
        expire_versions(build.dataset, keep=1, now=record.created_at + timedelta(days=6))
        assert keys(build.dataset, "shards/") == before
        assert finish(build, record).built == len(record.partitions[1].shards)

    def test_a_build_that_is_being_planned_keeps_its_state_and_every_shard(self, source: Source) -> None:
        """It may have found the shards of a version that goes, and counts on them."""
        first, second = two_nights(source)
        dataset = first.dataset
        shards = keys(dataset, "shards/")
        begin(dataset, "planning", LATER - timedelta(hours=23))
        expired = expire_versions(dataset, keep=1, now=LATER)
        assert (expired.versions, set(expired.builds)) == (
            (first.manifest.version,), {first.build.id, second.build.id},
        )  # fmt: skip
        assert keys(dataset, "shards/") == shards
        assert keys(dataset, "builds/") == {"builds/planning/started.json", "builds/planning/plan.parquet"}

    def test_a_build_that_died_before_its_plan_was_whole_pins_nothing(self, source: Source) -> None:
        first, second = two_nights(source)
        dataset = first.dataset
        begin(dataset, "dead", LATER - timedelta(hours=25), first)
        begin(dataset, "without-start", None, first)
        expired = expire_versions(dataset, keep=1, now=LATER)
        assert {"dead", "without-start"} <= set(expired.builds)
        assert keys(dataset, "builds/") == set()
        assert digests(dataset) == {shard.digest for split in second.manifest.splits.values() for shard in split.shards}

    def test_a_build_that_is_planned_anew_counts_as_being_planned_whatever_its_old_plan_says(
        self, source: Source
    ) -> None:
        first, _ = two_nights(source)
        dataset = first.dataset
        shards = keys(dataset, "shards/")
        begin(dataset, first.build.id, LATER)
        assert first.build.id not in expire_versions(dataset, keep=1, now=LATER).builds
        assert keys(dataset, "shards/") == shards

    @pytest.mark.parametrize("damage", [b"{", b"[]", b'{"created_at": "soon"}', b'{"created_at": null}'])
    def test_a_damaged_plan_counts_by_the_builds_start(self, source: Source, damage: bytes) -> None:
        first, second = two_nights(source)
        plan = build_key(second.build.id, BuildFile.PLAN)
        first.dataset.put(plan, damage)
        now = second.record.created_at + timedelta(hours=1)
        assert expire_versions(first.dataset, keep=1, now=now).builds == ()
        assert first.dataset.head(plan) is not None
        expired = expire_versions(first.dataset, keep=1, now=now + timedelta(days=1))
        assert expired.builds == (second.build.id,)
        assert verify_version(first.dataset) == second.manifest

    @pytest.mark.parametrize("file", ["plan.parquet", "converted/0.json"])
    def test_a_young_build_whose_state_is_damaged_keeps_all_shards_until_it_is_old(
        self, source: Source, file: str
    ) -> None:
        first, second = two_nights(source)
        dataset = first.dataset
        shards = keys(dataset, "shards/")
        dataset.put(f"builds/{second.build.id}/{file}", b"{ damaged")
        now = second.record.created_at + timedelta(days=6)
        expire_versions(dataset, keep=1, now=now)
        assert keys(dataset, "shards/") == shards
        expire_versions(dataset, keep=1, now=now + timedelta(days=2))
        assert keys(dataset, "builds/") == set()
        assert keys(dataset, "shards/") < shards

    @pytest.mark.parametrize("file", ["manifest.json", "plan.parquet"])
    def test_a_kept_version_that_cannot_be_read_stops_expiry_before_anything_is_deleted(
        self, source: Source, file: str
    ) -> None:
        first, second = two_nights(source)
        before = first.dataset.list()["key"]
        first.dataset.put(version_key(second.manifest.version, VersionFile(file)), b"damaged")
        with pytest.raises(
            IntegrityError, match=f"version '{second.manifest.version}' needs.*nothing is deleted: .*{file}"
        ):
            expire_versions(first.dataset, keep=1, now=LATER)
        assert first.dataset.list()["key"] == before

    def test_an_old_version_that_cannot_be_read_is_not_deleted_in_silence(self, source: Source) -> None:
        first, _ = two_nights(source)
        before = first.dataset.list()["key"]
        first.dataset.put(version_key(first.manifest.version, VersionFile.MANIFEST), b"damaged")
        with pytest.raises(IntegrityError, match=f"'{first.manifest.version}'.*nothing is deleted"):
            expire_versions(first.dataset, keep=1, now=LATER)
        assert first.dataset.list()["key"] == before


def test_a_dataset_in_a_directory_is_published_and_listed_alike(source: Source, tmp_path) -> None:
    night = build_once(source.settings(dataset=(tmp_path / "a set").as_uri()))
    dataset = open_store((tmp_path / "a set").as_uri())
    assert verify_version(dataset) == night.manifest
    assert read_latest(dataset)[0].version == night.manifest.version
