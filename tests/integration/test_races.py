"""Builds, rollbacks and expiries at once: LATEST is always whole, and only what was published is listed."""

from datetime import UTC, datetime

import pytest

from aesthetics_ops.builds import open_build
from aesthetics_ops.conversion.partition import convert_partition
from aesthetics_ops.dataset.latest import read_latest
from aesthetics_ops.dataset.layout import SHARDS
from aesthetics_ops.errors import (
    AestheticsOpsError,
    DatasetBusyError,
    IntegrityError,
    LabelError,
    NoSuchVersionError,
    PublishConflictError,
)
from aesthetics_ops.planning.stage import plan_build
from aesthetics_ops.publishing.publish import publish_build
from aesthetics_ops.validation.partition import validate_partition
from aesthetics_ops.versions.expire import expire_versions
from aesthetics_ops.versions.listing import list_versions
from aesthetics_ops.versions.rollback import rollback
from aesthetics_ops.versions.verify import verify_version
from tests.support.nights import PHOTOS, Source
from tests.support.races import Race, four_photos, run_rounds


@pytest.fixture(params=["file", "s3"])
def source(request: pytest.FixtureRequest) -> Source:
    if request.param == "file":
        url = request.getfixturevalue("tmp_path").as_uri() + "/"
    else:
        url = request.getfixturevalue("s3_bucket").url
    return four_photos(url)


def test_after_every_round_latest_is_whole_and_only_what_was_published_is_listed(source: Source) -> None:
    run_rounds(source)


def test_of_two_builds_planned_in_one_second_one_publishes_and_the_other_says_so(source: Source) -> None:
    """They have one input and one time, and so would have had one name."""
    at = datetime(2026, 1, 1, 2, tzinfo=UTC)
    planned = []
    for number in range(2):
        build = open_build(source.settings(), f"twin-{number}")
        planned.append((build, plan_build(build, created_at=at, partitions=1)))
    for build, plan in planned:
        convert_partition(build, plan, 0)
        validate_partition(build, plan, 0)
    first = publish_build(*planned[0], documents={})
    with pytest.raises(PublishConflictError, match="another build published first"):
        publish_build(*planned[1], documents={})
    dataset = planned[0][0].dataset
    assert verify_version(dataset).version == first.manifest.version
    assert [info.version for info in list_versions(dataset)] == [first.manifest.version]
    again = open_build(source.settings(), "after")
    assert not publish_build(again, plan_build(again, created_at=at, partitions=1), documents={}).is_new


@pytest.mark.parametrize("content", [b"", b"{", b'bc\r\n{"version": "v"}\r\n0\r\nx-amz-checksum-crc32:AAAA\r\n\r\n'])
def test_there_is_a_way_back_from_a_broken_latest(source: Source, content: bytes) -> None:
    race = Race(source)
    race.build(datetime(2026, 1, 1, 2, tzinfo=UTC), 0)
    (version,) = race.published
    race.dataset.put("LATEST.json", content)
    for ask in (
        lambda: verify_version(race.dataset),
        lambda: race.build(datetime(2026, 1, 2, 2, tzinfo=UTC), 1),
        race.expire,
    ):
        with pytest.raises(IntegrityError, match="`aesthetics-ops rollback DATASET VERSION` makes LATEST name"):
            ask()
    assert [info.version for info in list_versions(race.dataset)] == [version]
    assert rollback(race.dataset, version).version == version
    race.check()


def test_a_manifest_that_is_not_latests_is_gone_back_from(source: Source) -> None:
    race = Race(source)
    for number in range(2):
        source.score({PHOTOS[0]: 5 + number})
        race.build(datetime(2026, 1, 1 + number, 2, tzinfo=UTC), number)
    old, new = sorted(race.published)
    key = f"versions/{new}/manifest.json"
    race.dataset.put(key, bytes(race.dataset.get(key).data) + b" ")
    with pytest.raises(IntegrityError, match=r"not the manifest whose sha256 stands in LATEST.json; .* rollback"):
        verify_version(race.dataset)
    rollback(race.dataset, old)
    assert verify_version(race.dataset).version == old


def test_a_version_that_is_being_deleted_is_not_gone_back_to(source: Source) -> None:
    race = Race(source)
    for number in range(2):
        source.score({PHOTOS[0]: 5 + number})
        race.build(datetime(2026, 1, 1 + number, 2, tzinfo=UTC), number)
    old, new = sorted(race.published)
    race.dataset.delete([f"published/{old}.json"])  # what an expiry does first
    with pytest.raises(NoSuchVersionError, match="never published, or is being deleted"):
        rollback(race.dataset, old)
    assert read_latest(race.dataset)[0].version == new


def test_a_plan_waits_while_an_expiry_is_at_work(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    from aesthetics_ops.dataset import lease

    race = Race(source)
    race.build(datetime(2026, 1, 1, 2, tzinfo=UTC), 0)
    monkeypatch.setattr(lease, "_PATIENCE_SECONDS", 0.0)
    monkeypatch.setattr(lease, "_POLL_SECONDS", 0.01)
    with lease.expiry_lease(race.dataset):
        with pytest.raises(DatasetBusyError, match=r"an expiry of .* is at work since"):
            race.build(datetime(2026, 1, 2, 2, tzinfo=UTC), 1)
        with pytest.raises(DatasetBusyError, match="is at work"):
            race.expire()
    race.expire()
    race.build(datetime(2026, 1, 2, 2, tzinfo=UTC), 1)
    race.check()


def test_the_lease_of_an_expiry_that_died_ends(source: Source) -> None:
    from aesthetics_ops.dataset.lease import LEASE, ExpiryLease

    race = Race(source)
    race.build(datetime(2026, 1, 1, 2, tzinfo=UTC), 0)
    race.dataset.put("expiry.json", ExpiryLease(token="t", since=datetime.now(UTC) - LEASE).encoded())
    race.build(datetime(2026, 1, 2, 2, tzinfo=UTC), 1)
    race.expire()
    assert race.dataset.head("expiry.json") is None
    race.check()


def test_what_was_never_published_goes_after_a_week_and_not_before(source: Source) -> None:
    race = Race(source)
    race.build(datetime(2026, 1, 1, 2, tzinfo=UTC), 0)
    race.dataset.put("versions/20260101T020000Z-0123abcd-9f8e7d/records.parquet", b"of a build that was refused")
    for day, left in ((8, 1), (9, 0)):
        expire_versions(race.dataset, keep=9, now=datetime(2026, 1, day, 1, 59, tzinfo=UTC))
        assert race.dataset.list("versions/20260101T020000Z-0123abcd-9f8e7d/").num_rows == left
    assert race.dataset.list(SHARDS).num_rows
    with pytest.raises(AestheticsOpsError):
        rollback(race.dataset, "20260101T020000Z-0123abcd-9f8e7d")
    race.check()


def test_a_latest_that_names_a_missing_version_names_the_way_back(source: Source) -> None:
    race = Race(source)
    race.build(datetime(2026, 1, 1, 2, tzinfo=UTC), 0)
    (version,) = race.published
    data = bytes(race.dataset.get("LATEST.json").data)
    race.dataset.put("LATEST.json", data.replace(version.encode(), b"20200101T000000Z-00000000-000000"))
    with pytest.raises(NoSuchVersionError, match=r"LATEST.json names version '2020.*`aesthetics-ops rollback"):
        verify_version(race.dataset)
    rollback(race.dataset, version)
    race.check()


def test_going_back_to_what_latest_names_disturbs_no_build(source: Source) -> None:
    race = Race(source)
    race.build(datetime(2026, 1, 1, 2, tzinfo=UTC), 0)
    (version,) = race.published
    before = race.dataset.head("LATEST.json")
    assert rollback(race.dataset, version).version == version
    assert race.dataset.head("LATEST.json") == before


def test_a_plan_that_fails_holds_up_no_expiry(source: Source) -> None:
    race = Race(source)
    race.build(datetime(2026, 1, 1, 2, tzinfo=UTC), 0)
    source.store.put("scores.csv", b"id,score\n")
    with pytest.raises(LabelError):
        race.build(datetime(2026, 1, 2, 2, tzinfo=UTC), 1)
    assert "started.json" not in "".join(key for key in race.dataset.list("builds/")["key"].to_pylist() if "-1/" in key)


def test_an_unchanged_build_makes_a_cut_shard_anew(source: Source) -> None:
    race = Race(source)
    race.build(datetime(2026, 1, 1, 2, tzinfo=UTC), 0)
    key = next(key for key in race.dataset.list(SHARDS)["key"].to_pylist() if key.endswith(".tfrecord"))
    race.dataset.put(key, bytes(race.dataset.get(key).data)[:-100])
    race.build(datetime(2026, 1, 2, 2, tzinfo=UTC), 1)
    race.check()
    assert len(list_versions(race.dataset)) == 1
