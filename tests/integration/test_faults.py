"""What can go wrong between two stages: each fault once, what is said, what is kept, and how it ends well."""

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from aesthetics_ops.builds import Build, BuildPlan, resume_build
from aesthetics_ops.conversion.partition import convert_partition
from aesthetics_ops.dataset.latest import read_latest
from aesthetics_ops.dataset.layout import LATEST_KEY, BuildFile, ShardFile, build_key, partition_result_key, shard_key
from aesthetics_ops.dataset.reading_manifests import read_manifest
from aesthetics_ops.dataset.results import read_shard_result, read_verdict, withdraw, write_verdict
from aesthetics_ops.dataset.tables import read_parquet
from aesthetics_ops.errors import (
    GateError,
    InputMissingError,
    IntegrityError,
    ObjectMissingError,
    PublishConflictError,
    PublishUnknownError,
    StoreRefusedError,
    StoreUnavailableError,
)
from aesthetics_ops.figures import ValidationFigures
from aesthetics_ops.publishing.publish import publish_build
from aesthetics_ops.store import Swap, open_store, register_store
from aesthetics_ops.testing.stores import CarelessStore, FailingStore, Request, WrappedStore
from aesthetics_ops.validation.partition import ValidationSummary, validate_partition
from aesthetics_ops.versions.listing import list_candidates, list_versions
from aesthetics_ops.versions.rollback import rollback
from tests.support.nights import (
    ARRIVING,
    PHOTOS,
    Source,
    build_once,
    finish,
    forge,
    latest_version,
    photo,
    shard_hashes,
    start,
    version_files,
    version_table,
)


def convert(build: Build, plan: BuildPlan) -> list[Any]:
    return [convert_partition(build, plan, number) for number in range(len(plan.partitions))]


def validate(build: Build, plan: BuildPlan) -> list[ValidationSummary]:
    return [validate_partition(build, plan, number) for number in range(len(plan.partitions))]


def png() -> bytes:
    return cv2.imencode(".png", np.zeros((8, 8, 3), np.uint8))[1].tobytes()


class TestLostPhotos:
    """A photo that is listed, and gone or another one when it is read, is a reject; its shard gets the name it deserves."""

    @pytest.mark.parametrize("loss", ["deleted", "replaced"])
    def test_a_photo_lost_after_the_plan_is_a_reject_and_the_counts_add_up(self, source: Source, loss: str) -> None:
        build, plan = start(source.settings(max_reject_fraction=1))
        if loss == "deleted":
            source.remove(PHOTOS[1])
        else:
            source.add(PHOTOS[1], photo(ARRIVING))
        night = finish(build, plan)
        reason = {"deleted": "source_missing", "replaced": "source_changed"}[loss]
        (reject,) = night.table("rejects")
        assert (reject["id"], reject["key"], reject["reason"]) == (PHOTOS[1], f"{PHOTOS[1]}.jpg", reason)
        assert sum((Counter(done.rejected) for done in night.conversions), Counter()) == {reason: 1}
        assert night.manifest.rejects == {reason: 1}
        assert (night.manifest.accounting.listed, night.manifest.accounting.converted) == (14, 13)

    def test_the_next_night_finds_the_shard_of_a_deleted_photo_under_its_own_name(self, source: Source) -> None:
        build, plan = start(source.settings(max_reject_fraction=1))
        source.remove(PHOTOS[1])
        first = finish(build, plan)
        planned = set(version_table(first.dataset, first.manifest, "plan")["digest"].to_pylist())
        published = {shard.digest for split in first.manifest.splits.values() for shard in split.shards}
        assert len(planned - published) == len(published - planned) == 1
        again, plan = start(source.settings())
        assert set(read_parquet(again.dataset, build_key(again.id, BuildFile.ROWS))["digest"].to_pylist()) == published
        second = finish(again, plan)
        assert (second.record.planned, second.published.is_new) == (0, False)

    def test_the_next_night_rebuilds_only_the_shard_of_a_replaced_photo(self, source: Source) -> None:
        build, plan = start(source.settings(max_reject_fraction=1))
        source.add(PHOTOS[1], photo(ARRIVING))
        finish(build, plan)
        second = build_once(source.settings())
        assert (second.built, second.published.is_new) == (1, True)
        assert second.manifest.rejects == {}
        assert second.manifest.records == 14

    def test_a_shard_that_loses_all_its_photos_is_none(self, source: Source) -> None:
        build, plan = start(source.settings(max_reject_fraction=1))
        rows = read_parquet(build.dataset, build_key(build.id, BuildFile.ROWS)).to_pylist()
        doomed = [row["id"] for row in rows if row["digest"] == rows[0]["digest"]]
        for name in doomed:
            source.remove(name)
        first = finish(build, plan)
        assert first.manifest.rejects == {"source_missing": len(doomed)}
        assert first.manifest.reuse.shards_total == plan.shards - 1
        assert {row["shard"] for row in first.table("rejects")} == {None}
        second = build_once(source.settings())
        assert (second.record.planned, second.published.is_new) == (0, False)

    def test_a_photo_that_comes_too_early_and_goes_again_leaves_the_version_before_as_it_was(
        self, source: Source
    ) -> None:
        first = build_once(source.settings())
        source.add(ARRIVING, photo(ARRIVING), 4)
        build, plan = start(source.settings())
        source.remove(ARRIVING)
        second = finish(build, plan)
        assert plan.planned == 1
        assert not second.published.is_new
        assert second.manifest == first.manifest


class TestValidation:
    """Shards are read back from the store; what differs from its result is named, and made anew by a retry."""

    def spoil(self, source: Source, spoil: Callable[[Build, str], object]) -> tuple[str, str, list[str]]:
        """Convert, spoil one shard, expect validation to refuse it and a second try to end well.

        Returns:
            The message, the spoiled shard's digest and the ids in it.
        """
        settings = source.settings(validation_fraction=0, test_fraction=0, shard_bytes=200_000)
        build, plan = start(settings, partitions=1)
        convert(build, plan)
        digest = plan.partitions[0].shards[0]
        result = read_shard_result(build.dataset, digest)
        assert result is not None
        assert result.records > 1
        spoil(build, digest)
        with pytest.raises(IntegrityError) as caught:
            validate(build, plan)
        assert read_shard_result(build.dataset, digest) is None
        assert read_verdict(build.dataset, digest) is None
        assert f"convert partition 0 of build {build.id!r} again" in str(caught.value)
        assert (caught.value.stage, caught.value.partition) == ("convert", 0)
        night = finish(build, plan)
        assert night.built == 1
        assert night.published.is_new
        assert digest in {shard.digest for split in night.manifest.splits.values() for shard in split.shards}
        return str(caught.value), digest, result.index.id

    def test_a_changed_byte_is_found_with_record_and_id(self, source: Source) -> None:
        def spoil(build: Build, digest: str) -> None:
            key = shard_key(digest, ShardFile.RECORDS)
            data = bytearray(build.dataset.get(key).data)
            data[-1000] ^= 1
            build.dataset.put(key, bytes(data))

        message, digest, ids = self.spoil(source, spoil)
        assert f"{digest}.tfrecord" in message
        assert f"record {len(ids) - 1}, id {ids[-1]!r}, cannot be read" in message
        assert "CRC32C" in message

    def test_a_truncated_shard_is_found_with_record_and_id(self, source: Source) -> None:
        def spoil(build: Build, digest: str) -> None:
            key = shard_key(digest, ShardFile.RECORDS)
            build.dataset.put(key, build.dataset.get(key).data[:-5])

        message, digest, ids = self.spoil(source, spoil)
        assert f"{digest}.tfrecord" in message
        assert f"record {len(ids) - 1}, id {ids[-1]!r}, cannot be read" in message

    def test_a_shard_cut_between_two_records_is_found(self, source: Source) -> None:
        def spoil(build: Build, digest: str) -> None:
            result = read_shard_result(build.dataset, digest)
            assert result is not None
            key = shard_key(digest, ShardFile.RECORDS)
            build.dataset.put(key, build.dataset.get(key).data[: result.index.offset[1]])

        message, _, ids = self.spoil(source, spoil)
        assert f"record 1, id {ids[1]!r}, is missing" in message

    def test_another_valid_shard_in_its_place_is_found(self, source: Source) -> None:
        def spoil(build: Build, digest: str) -> None:
            other = next(
                key
                for key in build.dataset.list("shards/")["key"].to_pylist()
                if key.endswith(".tfrecord") and digest not in key
            )
            build.dataset.put(shard_key(digest, ShardFile.RECORDS), build.dataset.get(other).data)

        message, _, ids = self.spoil(source, spoil)
        assert f"record 0, id {ids[0]!r}, is that of" in message

    def test_a_shard_that_is_gone_is_found(self, source: Source) -> None:
        message, digest, _ = self.spoil(
            source, lambda build, digest: build.dataset.delete([shard_key(digest, ShardFile.RECORDS)])
        )
        assert f"{digest}.tfrecord' does not exist" in message

    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({"image": b"\xff\xd8\xff but not a JPEG"}, "cannot be read"),
            ({"image": b""}, "is not a JPEG of the stated size"),
            ({"image": png(), "width_px": 8, "height_px": 8}, "is not a JPEG of the stated size"),
            ({"width_px": 7}, "is not a JPEG of the stated size"),
            ({"height_px": 7}, "is not a JPEG of the stated size"),
            ({"label": math.nan}, "with finite labels"),
        ],
        ids=["damaged JPEG", "no image", "PNG", "width", "height", "NaN"],
    )
    def test_a_record_that_training_cannot_use_is_found_though_every_hash_agrees(
        self, source: Source, tmp_path: Path, changes: dict[str, Any], said: str
    ) -> None:
        message, digest, ids = self.spoil(
            source, lambda build, digest: forge(build.dataset, digest, 1, tmp_path, **changes)
        )
        assert f"{digest}.tfrecord: record 1, id {ids[1]!r}, {said}" in message or (
            f"{digest}.tfrecord: record 1, id {ids[1]!r}, is not" in message and said in message
        )

    def test_a_record_under_another_id_is_found(self, source: Source, tmp_path: Path) -> None:
        message, digest, ids = self.spoil(
            source, lambda build, digest: forge(build.dataset, digest, 1, tmp_path, id="someone-else")
        )
        assert f"{digest}.tfrecord: record 1, id {ids[1]!r}, is that of 'someone-else'" in message

    def test_a_verdict_saves_reading_a_shard_again(self, source: Source) -> None:
        build, plan = start(source.settings())
        convert(build, plan)
        first, again = validate(build, plan), validate(build, plan)
        assert sum(done.read for done in first) == plan.shards
        assert sum(done.read for done in again) == 0
        assert [replace(done, read=0, figures=ValidationFigures()) for done in first] == again

    def test_a_version_counts_what_its_shards_verdicts_counted(self, source: Source) -> None:
        build_once(source.settings())
        source.add(ARRIVING, photo(ARRIVING), 4)
        night = build_once(source.settings())
        assert night.manifest.reuse.shards_reused > 0
        shards = [shard for split in night.manifest.splits.values() for shard in split.shards]
        verdicts = [read_verdict(night.dataset, shard.digest) for shard in shards]
        assert sum(verdict.records for verdict in verdicts if verdict) == night.manifest.validation.records == 15
        assert sum(verdict.decoded for verdict in verdicts if verdict) == night.manifest.validation.decoded == 15


class TestOrder:
    """A stage whose input is missing says which stage to run first."""

    def test_nothing_can_be_done_with_a_build_that_was_never_planned(self, source: Source) -> None:
        with pytest.raises(InputMissingError, match=r"build 'never' has no plan.*plan it first") as caught:
            resume_build(source.settings().dataset, "never")
        assert (caught.value.stage, caught.value.partition) == ("plan", None)

    def test_validation_asks_for_conversion(self, source: Source) -> None:
        build, plan = start(source.settings())
        with pytest.raises(InputMissingError, match=r"partition 0 .* is not converted; convert it first") as caught:
            validate(build, plan)
        assert (caught.value.stage, caught.value.partition) == ("convert", 0)

    def test_validation_asks_for_a_shard_whose_result_is_gone(self, source: Source) -> None:
        build, plan = start(source.settings(), partitions=1)
        convert(build, plan)
        withdraw(build.dataset, plan.partitions[0].shards[0])
        with pytest.raises(InputMissingError, match=r"in partition 0 .* has no result; convert the part") as caught:
            validate(build, plan)
        assert (caught.value.stage, caught.value.partition) == ("convert", 0)

    def test_publishing_asks_for_conversion_and_names_the_partition(self, source: Source) -> None:
        build, plan = start(source.settings())
        convert_partition(build, plan, 0)
        with pytest.raises(InputMissingError, match=r"partition 1 .* not converted; convert and validate it") as caught:
            publish_build(build, plan)
        assert (caught.value.stage, caught.value.partition) == ("convert", 1)

    def test_publishing_asks_for_validation(self, source: Source) -> None:
        build, plan = start(source.settings())
        convert(build, plan)
        with pytest.raises(InputMissingError, match=r"was not read back; validate its partition first") as caught:
            publish_build(build, plan)
        assert caught.value.stage == "validate"
        assert version_files(build.dataset) == []

    def test_a_partition_that_the_plan_does_not_have_is_refused(self, source: Source) -> None:
        build, plan = start(source.settings())
        with pytest.raises(InputMissingError, match="has 3 partitions, so none has number 3"):
            convert_partition(build, plan, 3)

    def test_a_resumed_build_has_the_settings_of_its_plan(self, source: Source) -> None:
        settings = source.settings(quality=77)
        build, plan = start(settings)
        again, found = resume_build(settings.dataset, build.id)
        assert again.settings == settings
        assert found == plan
        assert finish(again, found).published.is_new

    def test_results_of_an_earlier_plan_are_not_taken(self, source: Source) -> None:
        from aesthetics_ops.planning.stage import plan_build

        build, plan = start(source.settings(), partitions=1)
        convert(build, plan)
        source.add(ARRIVING, photo(ARRIVING), 4)
        replanned = plan_build(build, created_at=plan.created_at, partitions=1)
        assert replanned.plan != plan.plan
        with pytest.raises(InputMissingError, match="not converted"):
            validate(build, replanned)
        night = finish(build, replanned)
        assert night.manifest.records == 15
        assert night.built == 1


class TestGates:
    """A gate that refuses says what it measured; LATEST stays, and the version is kept as a candidate."""

    def test_too_many_rejects_are_refused_with_number_limit_reasons_and_examples(self, source: Source) -> None:
        source.add("cut", photo(PHOTOS[3])[:9000], 5)
        source.add("stray", photo(ARRIVING))
        with pytest.raises(GateError) as caught:
            build_once(source.settings(max_reject_fraction=0.05))
        message = str(caught.value)
        assert "max_reject_fraction allows 0.05, measured 0.06667: 1 of 15 labelled photos" in message
        assert "1 corrupt" in message
        assert "cut.jpg" in message
        dataset = start(source.settings())[0].dataset
        assert latest_version(dataset) is None
        assert [info.refused for info in list_candidates(dataset)] == [("max_reject_fraction",)]

    def test_a_dataset_that_shrinks_too_much_is_refused_and_latest_stays(self, source: Source) -> None:
        first = build_once(source.settings())
        latest = read_latest(first.dataset)
        for name in PHOTOS[:4]:
            source.remove(name)
        with pytest.raises(GateError, match=r"max_shrink_fraction allows 0.1, measured 0.2857: 10 records, 14 in"):
            build_once(source.settings(max_shrink_fraction=0.1))
        assert read_latest(first.dataset) == latest
        assert [info.version for info in list_versions(first.dataset)] == [first.manifest.version]
        assert build_once(source.settings(max_shrink_fraction=0.3)).manifest.records == 10

    def test_too_few_records_are_refused(self, source: Source) -> None:
        with pytest.raises(GateError, match=r"min_records allows 15, measured 14"):
            build_once(source.settings(min_records=15))

    def test_every_gate_that_refuses_is_named_at_once(self, source: Source) -> None:
        source.add("cut", photo(PHOTOS[3])[:9000], 5)
        with pytest.raises(GateError, match=r"max_reject_fraction.*min_records.*mend.*or change"):
            build_once(source.settings(max_reject_fraction=0, min_records=100))

    def test_a_dataset_without_a_single_record_is_refused(self, source: Source) -> None:
        for name in PHOTOS:
            source.add(name, b"not a photo, and never was one: " + name.encode())
        with pytest.raises(GateError, match="min_records"):
            build_once(source.settings(max_reject_fraction=1))


class OvertakenStore(WrappedStore):
    """A store in which another writer changes LATEST in the last moment."""

    def swap(self, key: str, data: bytes, expected_etag: str | None) -> Swap:
        self.put(key, bytes(self.get(key).data) + b"\n")
        return super().swap(key, data, expected_etag)


def conditional_write(request: Request) -> bool:
    """A conditional write, or the reading back after its loss."""
    return request.method in ("put_if", "read_back")


def unreachable_from_the_write_on() -> Callable[[Request], bool]:
    """A conditional write, and everything that is asked of LATEST after it."""
    written = False

    def fails(request: Request) -> bool:
        nonlocal written
        written = written or conditional_write(request)
        return conditional_write(request) or (written and request.key == LATEST_KEY)

    return fails


class TestPublishing:
    """Publishing is done, refused or unknown, and running it again is safe after each."""

    def ready(self, source: Source) -> tuple[Build, BuildPlan]:
        build, plan = start(source.settings())
        convert(build, plan)
        validate(build, plan)
        return build, plan

    def test_a_build_that_was_overtaken_is_refused_and_succeeds_when_run_again(self, source: Source) -> None:
        build, plan = self.ready(source)
        source.add(ARRIVING, photo(ARRIVING), 4)
        other = build_once(source.settings())
        files = version_files(other.dataset)
        with pytest.raises(PublishConflictError, match="another build published first; run this one again") as caught:
            publish_build(build, plan)
        assert repr(other.manifest.version) in str(caught.value)
        assert latest_version(other.dataset) == other.manifest.version
        assert version_files(other.dataset) == files
        source.remove(PHOTOS[0])
        rerun = build_once(source.settings())
        assert rerun.manifest.parent == other.manifest.version
        assert latest_version(other.dataset) == rerun.manifest.version

    def test_a_build_that_is_overtaken_in_the_last_moment_is_refused(self, source: Source) -> None:
        first = build_once(source.settings())
        source.remove(PHOTOS[0])
        build, plan = self.ready(source)

        with pytest.raises(PublishConflictError):
            publish_build(replace(build, dataset=OvertakenStore(build.dataset)), plan)
        assert latest_version(build.dataset) == first.manifest.version

    def test_after_a_lost_reply_publishing_again_finds_its_own_version(self, source: Source) -> None:
        build, plan = self.ready(source)

        losing = FailingStore(build.dataset, unreachable_from_the_write_on(), after=True)
        with pytest.raises(PublishUnknownError, match="run publish again"):
            publish_build(replace(build, dataset=losing), plan)
        before = build.dataset.get(LATEST_KEY)
        published = publish_build(build, plan)
        assert published.is_new
        assert build.dataset.get(LATEST_KEY) == before
        assert latest_version(build.dataset) == published.manifest.version
        assert read_manifest(build.dataset) == published.manifest

    def test_after_a_lost_reply_a_latest_that_can_be_read_tells_what_became_of_it(self, source: Source) -> None:
        build, plan = self.ready(source)
        losing = FailingStore(build.dataset, conditional_write, after=True)
        assert publish_build(replace(build, dataset=losing), plan).is_new

    def test_after_a_write_that_never_happened_publishing_again_writes_it(self, source: Source) -> None:
        build, plan = self.ready(source)
        broken = FailingStore(build.dataset, conditional_write)
        with pytest.raises(PublishUnknownError):
            publish_build(replace(build, dataset=broken), plan)
        assert latest_version(build.dataset) is None
        assert publish_build(build, plan).is_new

    def test_a_store_that_fails_while_the_version_is_written_leaves_latest(self, source: Source) -> None:
        build, plan = self.ready(source)

        broken = FailingStore(
            build.dataset, lambda asked: asked.method == "put" and asked.key.endswith("manifest.json")
        )
        with pytest.raises(StoreUnavailableError):
            publish_build(replace(build, dataset=broken), plan)
        assert latest_version(build.dataset) is None
        assert publish_build(build, plan).is_new

    def test_a_shard_that_vanished_before_publishing_is_refused_and_made_anew(self, source: Source) -> None:
        build, plan = self.ready(source)
        digest = plan.partitions[0].shards[0]
        build.dataset.delete([shard_key(digest, ShardFile.RECORDS)])
        with pytest.raises(IntegrityError, match=rf"{digest}.tfrecord is not in the store.* delete .*{digest}.json"):
            publish_build(build, plan)
        assert version_files(build.dataset) == []
        night = build_once(source.settings())
        assert night.built == 1
        assert sum(done.read for done in night.validations) == 1
        for _, path, _ in shard_hashes(night.manifest):
            assert night.dataset.head(path) is not None

    def test_a_shard_with_an_image_that_did_not_decode_is_refused(self, source: Source) -> None:
        build, plan = self.ready(source)
        digest = plan.partitions[0].shards[0]
        verdict = read_verdict(build.dataset, digest)
        assert verdict is not None
        write_verdict(build.dataset, verdict.model_copy(update={"decoded": verdict.decoded - 1}))
        counts = f"{verdict.records} were read back and {verdict.records - 1} decoded"
        with pytest.raises(IntegrityError, match=rf"shard {digest} holds {verdict.records} records, but {counts}"):
            publish_build(build, plan)
        assert version_files(build.dataset) == []

    def test_publishing_twice_is_publishing_once(self, source: Source) -> None:
        build, plan = self.ready(source)
        first = publish_build(build, plan)
        before = {key: build.dataset.get(key) for key in [*version_files(build.dataset), LATEST_KEY]}
        assert publish_build(build, plan) == first
        assert {key: build.dataset.get(key) for key in before} == before

    def test_a_conversion_that_dies_in_the_store_leaves_no_result_without_its_file(self, source: Source) -> None:
        build, plan = start(source.settings(), partitions=1)
        broken = FailingStore(build.dataset, lambda asked: asked.method == "upload" and asked.number == 2)
        with pytest.raises(StoreUnavailableError):
            convert(replace(build, dataset=broken), plan)
        keys = set(build.dataset.list("shards/")["key"].to_pylist())
        results = {key for key in keys if key.endswith(".json")}  # shards are uploaded side by side: of some or none
        assert {key.replace(".json", ".tfrecord") for key in results} <= keys
        assert len(results) < plan.shards
        with pytest.raises(ObjectMissingError):
            build.dataset.get(partition_result_key(build.id, 0))
        assert finish(build, plan).built == plan.shards - len(results)


register_store("careless", lambda url, s3: CarelessStore(open_store(url.replace("careless://", "memory://"), s3=s3)))


class TestCarelessStores:
    """A store that takes conditional writes without looking at their conditions."""

    @pytest.fixture
    def careless(self, source: Source) -> Source:
        return Source(source.url.replace("memory://", "careless://"), source.scores)

    def test_no_build_is_planned_and_the_way_out_is_named(self, careless: Source) -> None:
        with pytest.raises(StoreRefusedError, match=r"ignores If-None-Match and If-Match.*set single_writer"):
            start(careless.settings())
        assert not [key for key in careless.store.list()["key"].to_pylist() if key.startswith("dataset/")]

    def test_a_single_writer_publishes_and_rolls_back(self, careless: Source) -> None:
        settings = careless.settings(single_writer=True)
        first = build_once(settings)
        careless.remove(PHOTOS[0])
        second = build_once(settings)
        assert latest_version(second.dataset) == second.manifest.version
        rollback(second.dataset, first.manifest.version)
        assert latest_version(second.dataset) == first.manifest.version

    def test_a_second_writer_is_noticed_where_it_can_be(self, careless: Source) -> None:
        build_once(careless.settings(single_writer=True))
        careless.remove(PHOTOS[0])
        build, plan = start(careless.settings(single_writer=True))
        convert(build, plan)
        validate(build, plan)
        build.dataset.put(LATEST_KEY, bytes(build.dataset.get(LATEST_KEY).data) + b"\n")
        with pytest.raises(PublishConflictError):
            publish_build(build, plan)

    def test_a_version_of_several_writers_is_not_rolled_back_to(self, source: Source) -> None:
        first = build_once(source.settings())
        source.remove(PHOTOS[0])
        second = build_once(source.settings())
        with pytest.raises(StoreRefusedError, match="single_writer"):
            rollback(CarelessStore(second.dataset), first.manifest.version)
        assert latest_version(second.dataset) == second.manifest.version

    def test_a_good_store_needs_no_such_setting(self, source: Source) -> None:
        assert start(source.settings())[1].compares
