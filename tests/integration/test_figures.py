"""Figures of tasks: they tell what a store and a codec did, and every place says the same."""

import json
import re
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest

from aesthetics_ops.browser import make_browser
from aesthetics_ops.builds import PartitionResult, ValidationResult
from aesthetics_ops.conversion import workers
from aesthetics_ops.conversion.partition import ConversionSummary, convert_partition
from aesthetics_ops.dataset.layout import BUILDS, partition_result_key, validation_result_key
from aesthetics_ops.figures import ConversionFigures
from aesthetics_ops.machine import THREADS_VARIABLE
from aesthetics_ops.pixels.photo import convert_photos
from aesthetics_ops.store import open_store
from aesthetics_ops.testing.stores import Request, WrappedStore
from aesthetics_ops.validation.partition import validate_partition
from tests.support.airflow_home import AirflowHome
from tests.support.nights import PHOTOS, Source, start
from tests.support.web import Html, TestClient

_Result = TypeVar("_Result")

LATE_S = 0.2  # long beside what the codec takes for a photo while others use its core


class LateStore(WrappedStore):
    """A store that takes its time for each photo or shard."""

    def pass_on(self, request: Request, ask: Callable[[], _Result]) -> _Result:
        if request.method in ("get", "download"):
            time.sleep(LATE_S)
        return ask()


def slow_codec(convert: Callable[..., Any]) -> Callable[..., Any]:
    def converted(sources: list[Any], *arguments: Any, **named: Any) -> Any:
        time.sleep(LATE_S * len(sources))
        return convert(sources, *arguments, **named)

    return converted


def converted(source: Source, *, is_late: bool = False) -> ConversionSummary:
    build, plan = start(source.settings(), partitions=1)
    return convert_partition(replace(build, photos=LateStore(build.photos)) if is_late else build, plan, 0)


def test_the_latency_of_a_store_that_is_late_is_told_and_the_codec_had_little_to_do(
    source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(THREADS_VARIABLE, "1")
    figures = converted(source, is_late=True).figures
    assert (figures.photos, figures.fetched) == (len(PHOTOS), len(PHOTOS))
    assert figures.bytes == sum(len(source.store.get(f"photos/{name}.jpg").data) for name in PHOTOS)
    assert 0.95 * LATE_S < figures.get_p50_s <= figures.get_p95_s
    assert figures.requests >= 1
    assert figures.numbers["photos_per_second"] == pytest.approx(figures.photos / figures.seconds, rel=1e-3)
    assert figures.codec_share * figures.seconds + figures.waiting_s == pytest.approx(figures.seconds, rel=1e-2)


def test_a_codec_that_works_all_the_time_has_a_share_of_nearly_one(
    source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(THREADS_VARIABLE, "1")
    late = converted(source, is_late=True).figures
    monkeypatch.setattr(workers, "convert_photos", slow_codec(convert_photos))
    other = Source(f"{source.url}other/", {})
    for name in PHOTOS:
        other.add(name, bytes(source.store.get(f"photos/{name}.jpg").data), 5)
    busy = converted(other).figures
    assert busy.codec_share > max(0.5, late.codec_share)
    assert busy.codec_share * busy.seconds > LATE_S * len(PHOTOS) * 0.99
    assert busy.limit == "codec"


def test_validation_tells_records_and_how_late_shards_came(source: Source) -> None:
    build, plan = start(source.settings(), partitions=1)
    convert_partition(build, plan, 0)
    late = replace(build, dataset=LateStore(build.dataset))
    summary = validate_partition(late, plan, 0)
    figures = summary.figures
    assert (figures.records, figures.shards) == (summary.records, summary.shards) == (len(PHOTOS), plan.shards)
    assert 0.95 * LATE_S < figures.get_p50_s <= figures.get_p95_s
    assert figures.get_p95_s < figures.waiting_s <= figures.seconds
    again = validate_partition(late, plan, 0)
    assert (again.read, set(again.figures.numbers.values())) == (0, {0})
    stored = ValidationResult.read(build.dataset, validation_result_key(build.id, 0))
    assert (stored and stored.figures) == figures, "a call that read nothing leaves what was said"


def test_a_call_that_makes_nothing_leaves_the_figures_of_the_one_that_did(source: Source) -> None:
    build, plan = start(source.settings(), partitions=1)
    figures = convert_partition(build, plan, 0).figures
    again = convert_partition(build, plan, 0)
    assert (again.built, again.figures) == (0, ConversionFigures())
    stored = PartitionResult.read(build.dataset, partition_result_key(build.id, 0))
    assert (stored and stored.figures) == figures


@pytest.fixture
def gauges() -> Iterator[tuple[int, Callable[[], dict[str, str]]]]:
    """The port of a StatsD server, and what ends it and returns all that it was sent: value by name and tags."""
    heard: dict[str, str] = {}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))

        def listen() -> None:
            while lines := server.recv(65_536).decode():
                for line in lines.splitlines():
                    name, _, value = line.partition("|")[0].rpartition(":")
                    heard[name] = value

        thread = threading.Thread(target=listen)
        thread.start()
        port = server.getsockname()[1]

        def end() -> dict[str, str]:
            if thread.is_alive():
                server.sendto(b"", ("127.0.0.1", port))
                thread.join()
            return heard

        try:
            yield port, end
        finally:
            end()


def test_result_log_browser_metrics_and_xcom_say_the_same_numbers(
    tmp_path: Path, gauges: tuple[int, Callable[[], dict[str, str]]]
) -> None:
    port, heard_all = gauges
    metrics = {
        "AIRFLOW__METRICS__STATSD_ON": "True", "AIRFLOW__METRICS__STATSD_HOST": "127.0.0.1",
        "AIRFLOW__METRICS__STATSD_PORT": str(port), "AIRFLOW__METRICS__STATSD_INFLUXDB_ENABLED": "True",
    }  # fmt: skip
    home = AirflowHome(tmp_path / "home", metrics)
    home.configure(home.table("cats"))
    home.migrate()
    status, log = home.run("dags", "test", "cats", "2026-11-01")
    assert status == 0, log[-3000:]
    heard = heard_all()

    store = open_store(f"{home.directory.as_uri()}/datasets/cats/")
    (build,) = store.folders(BUILDS)
    made = PartitionResult.read(store, partition_result_key(build, 0))
    read = ValidationResult.read(store, validation_result_key(build, 0))
    assert made
    assert made.figures
    assert read
    assert (made.figures.photos, read.figures.records) == (6, 6)
    with TestClient(make_browser(lambda: {"cats"}, {"cats": lambda: store})) as client:
        page = Html(client.get(f"/datasets/cats/builds/{build}/partitions/0").text).words
        table = Html(client.get(f"/datasets/cats/builds/{build}").text).words
    with sqlite3.connect(home.directory / "airflow" / "airflow.db") as db:
        left = dict(db.execute("SELECT task_id, value FROM xcom WHERE key = 'return_value'").fetchall())
    for stage, task, figures in (
        ("conversion", "download_and_convert", made.figures),
        ("validation", "validate", read.figures),
    ):
        assert f"partition 0: {figures}" in log
        assert f"{figures}." in page
        returned = json.loads(left[task])
        returned = json.loads(returned) if isinstance(returned, str) else returned
        assert {name: returned[name] for name in figures.numbers} == figures.numbers
        sent = {
            name: float(value)
            for key, value in heard.items()
            if "partition=0" in key and "dag_id=cats" in key
            for name in re.findall(rf"aesthetics\.{stage}\.(\w+)", key)
        }
        assert sent == figures.numbers
    for words in (f"{made.figures.numbers['photos_per_second']:.4g} ", f" {made.figures.limit} "):
        assert words in table
