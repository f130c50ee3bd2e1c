"""Every key is made in one place, and what is made can be parsed again."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aesthetics_ops.dataset.layout import (
    LATEST_KEY,
    SPLITS,
    BuildFile,
    ShardFile,
    VersionFile,
    build_id_from,
    build_key,
    build_of,
    digest_of,
    is_name,
    is_partition_result,
    partition_result_key,
    partition_rows_key,
    probe_key,
    published_in,
    published_key,
    pulled_shard_name,
    shard_key,
    split_of_pulled_shard,
    version_key,
    version_name,
    version_of,
    version_stamp,
    version_time,
)
from aesthetics_ops.errors import SettingsError

SAFE = set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_")
DIGEST = ("ab" + "0123456789abcdef" * 4)[:64]


@pytest.mark.parametrize("file", ShardFile)
def test_a_shards_key_gives_its_digest_back(file: ShardFile) -> None:
    key = shard_key(DIGEST, file)
    assert key == f"shards/ab/{DIGEST}{file}"
    assert digest_of(key) == DIGEST
    assert (version_of(key), build_of(key)) == (None, None)


@pytest.mark.parametrize(
    "key",
    [
        LATEST_KEY,
        f"shards/ab/{DIGEST}.tfrecord.part",
        f"shards/cd/{DIGEST}.tfrecord",  # under another digest's prefix
        f"shards/ab/{DIGEST[:-1]}.tfrecord",
        f"shards/ab/{DIGEST.upper()}.json",
        f"versions/v/{DIGEST}.json",
        "shards/",
        "",
    ],
)
def test_what_is_no_shards_key_has_no_digest(key: str) -> None:
    assert digest_of(key) is None


@pytest.mark.parametrize("file", VersionFile)
def test_a_versions_key_gives_its_name_back(file: VersionFile) -> None:
    key = version_key("20260101T020000Z-0123abcd", file)
    assert key == f"versions/20260101T020000Z-0123abcd/{file}"
    assert version_of(key) == "20260101T020000Z-0123abcd"
    assert (digest_of(key), build_of(key)) == (None, None)


@pytest.mark.parametrize(
    ("key", "is_result"),
    [
        *((build_key("night-1", file), False) for file in BuildFile),
        (partition_rows_key("night-1", 7), False),
        (partition_result_key("night-1", 7), True),
    ],
)
def test_a_builds_key_gives_its_id_back(key: str, is_result: bool) -> None:
    assert build_of(key) == "night-1"
    assert is_partition_result(key) is is_result
    assert (digest_of(key), version_of(key)) == (None, None)


@pytest.mark.parametrize("key", ["builds/", "builds/x", "versions/", "versions/x", "xbuilds/a/b", "other/a/b"])
def test_a_prefix_alone_belongs_to_nobody(key: str) -> None:
    assert (build_of(key), version_of(key)) == (None, None)
    assert not is_partition_result(key)


def test_versions_are_named_by_time_in_utc_by_content_and_by_their_plan() -> None:
    at = datetime(2026, 1, 1, 2, 0, 59, 999_999, tzinfo=UTC)
    name = version_name(at, "0123abcdef", "9f8e7d")
    assert name == "20260101T020059Z-0123abcd-9f8e7d"
    assert version_time(name) == at.replace(microsecond=0)
    assert version_stamp(at.astimezone(timezone(timedelta(hours=9)))) == "20260101T020059Z-"


@pytest.mark.parametrize("name", ["", "v0", "20261399T000000Z-x", "-", "20260101T020059-a"])
def test_a_name_without_a_time_says_none(name: str) -> None:
    assert version_time(name) is None


@pytest.mark.parametrize("name", ["20260101T020000Z-0123abcd-9f8e7d", "v0"])
def test_a_mark_gives_its_version_back(name: str) -> None:
    assert published_key(name) == f"published/{name}.json"
    assert published_in(published_key(name)) == name
    assert (version_of(published_key(name)), build_of(published_key(name))) == (None, None)


@pytest.mark.parametrize(
    "key", ["published/", "published/.json", "published/a/b.json", "published/a", "versions/a.json"]
)
def test_what_is_no_mark_is_of_no_version(key: str) -> None:
    assert published_in(key) is None


@given(st.text(max_size=60))
def test_a_build_id_is_harmless_in_a_key_or_refused(text: str) -> None:
    if not set(text) & SAFE:  # nothing is left of it
        with pytest.raises(SettingsError, match="cannot name a build"):
            build_id_from(text)
        return
    build_id = build_id_from(text)
    assert not set(build_id) - (SAFE | {".", "-"})
    assert build_of(build_key(build_id, BuildFile.PLAN)) == build_id
    assert not build_id.startswith((".", "-"))


@pytest.mark.parametrize("name", ["20260101T020000Z-0123abcd", "a", "night_1", "x" * 200])
def test_a_segment_can_be_a_name(name: str) -> None:
    assert is_name(name)


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "a b", "-a", "x" * 201, "a\n", "é"])
def test_other_texts_cannot(name: str) -> None:
    assert not is_name(name)


@pytest.mark.parametrize("split", SPLITS)
def test_a_pulled_shards_name_gives_its_split_back_however_many_there_are(split: str) -> None:
    assert pulled_shard_name(split, 3, 12) == f"{split}-00003-of-00012.tfrecord"
    for number, count in ((0, 1), (99_999, 100_000), (123_456, 1_000_000)):
        assert split_of_pulled_shard(pulled_shard_name(split, number, count)) == split


@pytest.mark.parametrize(
    "name", ["train.tfrecord", "train-1-of-2.tfrecord", "dev-00000-of-00001.tfrecord", "manifest.json"]
)
def test_other_files_of_a_directory_are_left_alone(name: str) -> None:
    assert split_of_pulled_shard(name) is None


def test_no_two_probes_have_one_key() -> None:
    assert len({probe_key() for _ in range(100)}) == 100
