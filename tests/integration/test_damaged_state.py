"""What stages leave for each other may come damaged: it counts as not there, and a rerun makes the version all the same."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta

import pyarrow as pa
import pytest

from aesthetics_ops.builds import resume_build
from aesthetics_ops.dataset.layout import BuildFile, ShardFile, build_key, partition_result_key, partition_rows_key
from aesthetics_ops.dataset.tables import PLAN, read_parquet, write_parquet
from aesthetics_ops.errors import GateError, InputMissingError, IntegrityError
from aesthetics_ops.pipeline import build_dataset
from aesthetics_ops.store import Store
from aesthetics_ops.testing.stores import flipped
from aesthetics_ops.versions.expire import expire_versions
from aesthetics_ops.versions.verify import verify_version
from tests.support.nights import START, Night, Source, build_once, finish, shard_hashes, start

DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "flip in the middle": flipped,
    "flip near the beginning": lambda data: flipped(data, 83),
    "flip near the end": lambda data: flipped(data, -100),
    "cut": lambda data: data[: len(data) // 2],
    "cut at the end": lambda data: data[:-3],
    "empty": lambda data: b"",
    "a page of a portal": lambda data: b"<html>please log in</html>",
    "another document": lambda data: b'{"kind": "other"}',
    "a list": lambda data: b"[1]",
}


def damage(store: Store, key: str, how: str) -> None:
    store.put(key, DAMAGES[how](bytes(store.get(key).data)))


def keys(store: Store, ending: str, prefix: str = "shards/") -> list[str]:
    return [key for key in store.list(prefix)["key"].to_pylist() if key.endswith(ending)]


@pytest.fixture
def refused(source: Source) -> tuple[Source, Store]:
    """A dataset whose shards are finished, and that has no version."""
    build, plan = start(source.settings(min_records=100))
    with pytest.raises(GateError):
        finish(build, plan)
    return source, build.dataset


@pytest.mark.parametrize("how", DAMAGES)
@pytest.mark.parametrize("file", [ShardFile.RESULT, ShardFile.VERDICT])
def test_damaged_results_and_verdicts_of_finished_shards_are_made_anew(
    refused: tuple[Source, Store], file: ShardFile, how: str
) -> None:
    source, dataset = refused
    ending = ".validated.json" if file is ShardFile.VERDICT else ".json"
    found = [key for key in keys(dataset, ending) if file is ShardFile.VERDICT or not key.endswith(".validated.json")]
    for key in found[:2]:
        damage(dataset, key, how)
    night = build_once(source.settings())
    assert night.published.is_new
    assert night.built == (2 if file is ShardFile.RESULT else 0)
    assert sum(done.read for done in night.validations) == 2
    verify_version(dataset)


@pytest.mark.parametrize("file", [ShardFile.RESULT, ShardFile.VERDICT])
def test_a_result_or_verdict_of_another_shard_counts_as_none(refused: tuple[Source, Store], file: ShardFile) -> None:
    source, dataset = refused
    one, other = [key for key in keys(dataset, file) if file is ShardFile.VERDICT or ".validated" not in key][:2]
    dataset.put(one, dataset.get(other).data)
    night = build_once(source.settings())
    assert night.published.is_new
    verify_version(dataset)


@pytest.mark.parametrize("how", ["flip in the middle", "cut", "a page of a portal"])
def test_what_is_damaged_between_two_stages_is_told_and_the_next_build_heals_it(source: Source, how: str) -> None:
    build, plan = start(source.settings())
    with pytest.raises(GateError):
        finish(build, plan.model_copy(update={"settings": source.settings(min_records=100)}))
    for key in (
        partition_result_key(build.id, 0),
        *keys(build.dataset, ".validated.json")[:1],
        *keys(build.dataset, ".json")[:1],
    ):
        damage(build.dataset, key, how)
        with suppress(InputMissingError, IntegrityError):
            finish(build, plan)
    verify_version(build_once(source.settings()).dataset)


@pytest.mark.parametrize("how", DAMAGES)
def test_a_damaged_plan_is_told_and_holds_up_no_expiry(source: Source, how: str) -> None:
    night = build_once(source.settings())
    build, _ = start(source.settings(quality=60))
    for file in (BuildFile.PLAN, BuildFile.STARTED):
        damage(night.dataset, build_key(build.id, file), how)
    with pytest.raises(IntegrityError, match="plan the build again") as caught:
        resume_build(night.dataset.url, build.id)
    assert caught.value.stage == "plan"
    expired = expire_versions(night.dataset, keep=1, now=START + timedelta(days=30))
    assert build.id in expired.builds
    verify_version(night.dataset)


@pytest.mark.parametrize("file", [BuildFile.PLAN, BuildFile.STARTED])
def test_a_plan_of_a_time_to_come_holds_up_no_expiry(source: Source, file: BuildFile) -> None:
    night: Night = build_once(source.settings())
    build, _ = start(source.settings(quality=60))
    for name in (BuildFile.PLAN, BuildFile.STARTED):
        if name is not file:
            night.dataset.delete([build_key(build.id, name)])
    field = "created_at" if file is BuildFile.PLAN else "started_at"
    night.dataset.put(
        build_key(build.id, file), f'{{"build": "{build.id}", "{field}": "9926-01-01T00:00:00Z"}}'.encode()
    )
    assert build.id in expire_versions(night.dataset, keep=1, now=START + timedelta(days=30)).builds
    verify_version(night.dataset)


def test_equal_shards_have_equal_results(refused: tuple[Source, Store], source: Source) -> None:
    _, dataset = refused
    held = {key: bytes(dataset.get(key).data) for key in keys(dataset, ".json")}
    again = build_once(source.settings(dataset=f"{source.url}again/"))
    assert {key: bytes(again.dataset.get(key).data) for key in held} == held
    assert shard_hashes(again.manifest)


@pytest.mark.parametrize("field", ["label", "key", "id", "size", "etag"])
def test_rows_of_a_partition_that_were_altered_make_no_shard(source: Source, field: str) -> None:
    build, plan = start(source.settings())
    key = partition_rows_key(build.id, 0)
    rows = read_parquet(build.dataset, key).to_pylist()
    rows[0][field] = rows[1][field] if rows[0][field] != rows[1][field] else rows[2][field]
    build.dataset.put(key, write_parquet(pa.Table.from_pylist(rows, schema=PLAN.schema)))
    with pytest.raises(IntegrityError, match="its plan was altered; plan the build again"):
        finish(build, plan)
    assert keys(build.dataset, ".tfrecord") == []


def test_a_plan_that_was_altered_is_not_published(source: Source) -> None:
    build, plan = start(source.settings())
    key = build_key(build.id, BuildFile.ROWS)
    rows = read_parquet(build.dataset, key).to_pylist()
    rows[0]["label"] += 1
    build.dataset.put(key, write_parquet(pa.Table.from_pylist(rows, schema=PLAN.schema)))
    with pytest.raises(IntegrityError, match=r"plan\.parquet is not the plan that was made"):
        finish(build, plan)
    assert keys(build.dataset, "manifest.json", "versions/") == []


@pytest.mark.parametrize("times", [1, 9])
def test_a_shard_that_is_altered_in_the_store_is_made_anew_a_few_times(source: Source, times: int) -> None:
    """Neither the build that uploaded it nor the one after it ends with an error, unless every upload is altered."""
    dataset, left = start(source.settings())[0].dataset, times

    @contextmanager
    def altering(stage: str, total: int, unit: str) -> Iterator[Callable[[int], None]]:
        nonlocal left
        if stage == "validate" and left:
            left -= 1
            damage(dataset, keys(dataset, ".tfrecord")[0], "flip in the middle")
        yield lambda amount: None

    if times == 1:
        assert build_dataset(source.settings(), progress=altering).is_new
        verify_version(dataset)
    else:
        with pytest.raises(IntegrityError, match="its result is withdrawn"):
            build_dataset(source.settings(), progress=altering)
        assert 0 < left < times
    assert build_dataset(source.settings()).is_new == (times != 1)
    verify_version(dataset)
