"""A process that reads shards back while they are made: a build is sooner done, and nothing depends on it."""

import logging
import os
import signal
import sys
import threading
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from aesthetics_ops.browser.cache import Cache
from aesthetics_ops.browser.catalog import Dataset
from aesthetics_ops.browser.progress import read_build
from aesthetics_ops.dataset.layout import ShardFile, VersionFile, shard_key
from aesthetics_ops.dataset.results import read_shard_result, read_verdict
from aesthetics_ops.pipeline import build_dataset, convert_build, start_build, validate_build
from aesthetics_ops.processes import shard_reader as reading
from aesthetics_ops.processes.shard_reader import shard_reader
from aesthetics_ops.publishing import regroup
from aesthetics_ops.publishing.documents import DOCUMENTS
from aesthetics_ops.report import plots
from aesthetics_ops.store import open_store
from aesthetics_ops.validation import partition
from tests.support.crew import Counted, at_first, others, scratch_left, stored_photos
from tests.support.nights import PHOTOS, START, Source, photo, smaller

REPORT = DOCUMENTS[VersionFile.REPORT]  # before tests have a quick one


@pytest.fixture
def stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Source:
    return stored_photos(tmp_path, monkeypatch)


@pytest.fixture
def has_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine and a build for which such a process is worth it."""
    for name in ("AESTHETICS_THREADS", "AESTHETICS_TASKS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(reading, "_WORTH_A_PROCESS", 1)
    monkeypatch.setattr(reading, "_has_tensorflow", lambda: False)
    monkeypatch.setattr(reading, "cpus", lambda: 2)
    monkeypatch.setattr(reading, "free_memory", lambda: 10**10)


def damage(url: str) -> None:
    path = Path(urlsplit(url).path)
    path.write_bytes(path.read_bytes()[:-1] + b"\0")


@pytest.mark.usefixtures("has_reader")
def test_shards_are_read_back_by_the_other_process(stored: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    progress = Counted()

    def here(*_: object) -> None:
        raise AssertionError("this process reads a shard back")

    monkeypatch.setattr(partition, "validate_shard", here)
    whole = build_dataset(
        stored.settings(near_duplicate_distance=0), created_at=START, build_id="night", progress=progress
    )
    assert whole.manifest.records == len(PHOTOS)
    assert progress.stages == [("convert", len(PHOTOS), len(PHOTOS)), ("validate", len(PHOTOS), len(PHOTOS))]
    assert whole.validation is not None
    assert (whole.validation.records, whole.validation.bytes) == (len(PHOTOS), whole.manifest.bytes)
    page = read_build(Dataset("photos", open_store(f"{stored.url}dataset/"), Cache(1 << 20)), "night")
    assert [part.validation for part in page.partitions] == [whole.validation], "the browser says the same"
    assert (others(), scratch_left()) == ([], [])


@pytest.mark.usefixtures("has_reader")
def test_shards_of_the_second_round_are_read_back_there_too(
    stored: Source, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A photo and its copy come into one split, so shards are made again while the version is published."""
    stored.add("twin-2", smaller(photo(PHOTOS[0])), 5)  # the hash puts this id into another split

    def here(*_: object) -> None:
        raise AssertionError("this process reads a shard back")

    with monkeypatch.context() as patched, caplog.at_level(logging.INFO):
        patched.setattr(partition, "validate_shard", here)
        patched.setattr(regroup, "validate_shard", here)
        there = build_dataset(stored.settings(dataset=f"{stored.url}there/"), created_at=START)
    assert any("are made again, so that near-duplicates come into one split" in said for said in caplog.messages)
    assert (others(), scratch_left()) == ([], [])
    monkeypatch.setattr(reading, "cpus", lambda: 1)
    alone = build_dataset(stored.settings(dataset=f"{stored.url}alone/"), created_at=START)
    near = there.manifest.near_duplicates
    assert (near.groups, near.spanning_splits) == (1, 0)
    assert there.manifest.splits == alone.manifest.splits


@pytest.mark.usefixtures("has_reader")
def test_a_build_goes_on_alone_when_that_process_is_killed(stored: Source) -> None:
    whole = build_dataset(stored.settings(), progress=at_first(lambda: os.kill(others()[0], signal.SIGKILL)))
    assert whole.manifest.records == len(PHOTOS)
    assert (others(), scratch_left()) == ([], [])


@pytest.mark.usefixtures("has_reader")
def test_a_build_goes_on_alone_when_that_process_cannot_be_started(
    stored: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "nowhere"))
    assert build_dataset(stored.settings()).manifest.records == len(PHOTOS)


@pytest.mark.usefixtures("has_reader")
def test_an_interrupt_ends_that_process_too(stored: Source) -> None:
    def interrupt() -> None:
        assert len(others()) == 1
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_dataset(stored.settings(), progress=at_first(interrupt))
    assert (others(), scratch_left()) == ([], [])


@pytest.mark.usefixtures("has_reader")
def test_that_process_is_told_to_end_and_need_not_be_killed(stored: Source) -> None:
    build, plan = start_build(stored.settings())
    with shard_reader(build, plan) as reader:
        assert reader is not None
        reader.read("no such shard")
        reader.finish(lambda records: None)
    assert reader._worker.process.returncode == 128 + signal.SIGTERM
    assert "read back" not in {thread.name for thread in threading.enumerate()}, "nobody hears it any more"


@pytest.mark.usefixtures("has_reader")
def test_a_damaged_shard_that_it_finds_is_withdrawn_and_told(stored: Source, caplog: pytest.LogCaptureFixture) -> None:
    build, plan = start_build(stored.settings())
    made: list[str] = []
    convert_build(build, plan, made=made.append)
    assert sorted(made) == sorted(digest for part in plan.partitions for digest in part.shards)
    damage(build.dataset.url_of(shard_key(made[0], ShardFile.RECORDS)))
    with shard_reader(build, plan) as reader, caplog.at_level(logging.WARNING):
        assert reader is not None
        for digest in made:
            reader.read(digest)
        counted: list[int] = []
        reader.finish(counted.append)
    assert read_shard_result(build.dataset, made[0]) is None
    read = [read_verdict(build.dataset, digest) for digest in made[1:]]
    assert sorted(reading.digest for reading in reader.readings) == sorted(made[1:])
    assert sum(reading.records for reading in reader.readings) == sum(counted)
    assert sum(counted) == sum(verdict.records for verdict in read if verdict is not None)
    assert None not in read
    assert any("its result is withdrawn" in record.getMessage() for record in caplog.records)
    convert_build(build, plan)
    assert sum(summary.read for summary in validate_build(build, plan)) == 1


@pytest.mark.usefixtures("has_reader")
def test_what_draws_is_loaded_while_that_process_reads(stored: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DOCUMENTS, VersionFile.REPORT, REPORT)
    threads: list[str] = []
    monkeypatch.setattr(plots, "load_plotting", lambda: threads.append(threading.current_thread().name))
    assert build_dataset(stored.settings()).report_url is not None
    assert threads[0] == "load plotting"
    assert "MainThread" in threads, "drawing makes sure of it"


@pytest.mark.usefixtures("has_reader")
def test_a_library_that_cannot_be_loaded_costs_the_report_alone(
    stored: Source, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise ImportError("matplotlib is broken")

    monkeypatch.setitem(DOCUMENTS, VersionFile.REPORT, REPORT)
    monkeypatch.setattr(plots, "load_plotting", fail)
    published = build_dataset(stored.settings())
    assert published.missing == (VersionFile.REPORT,)
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.usefixtures("has_reader")
@pytest.mark.parametrize(
    "why", ["few photos", "one core", "little memory", "shared out", "in memory", "has TensorFlow"]
)
def test_there_is_none_where_it_gains_nothing(
    source: Source, stored: Source, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    match why:
        case "few photos":
            monkeypatch.setattr(reading, "_WORTH_A_PROCESS", len(PHOTOS) + 1)
        case "one core":
            monkeypatch.setattr(reading, "cpus", lambda: 1)
        case "little memory":
            monkeypatch.setattr(reading, "free_memory", lambda: 10**9)
        case "shared out":
            monkeypatch.setenv("AESTHETICS_TASKS", "2")
        case "has TensorFlow":
            monkeypatch.setattr(reading, "_has_tensorflow", lambda: True)
    build, plan = start_build((source if why == "in memory" else stored).settings())
    with shard_reader(build, plan) as reader:
        assert reader is None
        assert others() == []
