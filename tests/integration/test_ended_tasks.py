"""A task that is told to end, under Airflow's own supervisor: it ends in one line and leaves no scratch, and its next try goes on.

Rows are tasks, each held up at a request to the store; columns are what ends it.  They come in the order of the DAG: each is what the
next one needs.
"""

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from aesthetics_ops.testing.fault_proxy import FaultyProxy, running_proxy
from aesthetics_ops.testing.faults import SeenRequest
from aesthetics_ops.testing.odd_s3 import OddS3, running_s3
from tests.support.airflow_home import AirflowHome
from tests.support.nights import PHOTOS, photo
from tests.support.supervised import SupervisedTask, supervised
from tests.support.warm_airflow import WarmAirflow, warm_airflow

TABLE = """
[{name}]
photos = "s3://bucket/photos/"
labels = "s3://bucket/scores.csv"
dataset = "s3://bucket/{name}/"
near_duplicate_distance = 0
[{name}.airflow]
schedule = ""
expire_keep = 1
{more}
"""
LIMIT_H = 0.001


class Place:
    """A bucket behind a network that holds requests up, an Airflow that uses it, and where tasks have their scratch."""

    def __init__(self, server: OddS3, proxy: FaultyProxy, folder: Path) -> None:
        self.server, self.proxy, self.folder = server, proxy, folder
        self.scratch = folder / "scratch"
        self.scratch.mkdir()
        names = PHOTOS[:6]
        server.objects |= {f"bucket/photos/{name}.jpg": photo(name) for name in names}
        rows = "".join(f"{name},{5 + number / 10}\n" for number, name in enumerate(names))
        server.objects["bucket/scores.csv"] = f"id,score\n{rows}".encode()
        connection = {
            "conn_type": "aws", "login": "testing", "password": "testing",
            "extra": {"endpoint_url": proxy.url, "region_name": "us-east-1"},
        }  # fmt: skip
        variables = {"AIRFLOW_CONN_AWS_DEFAULT": json.dumps(connection), "TMPDIR": str(self.scratch)}
        self.home = AirflowHome(folder / "home", variables)
        self.home.configure(
            TABLE.format(name="cats", more=""), TABLE.format(name="limited", more=f"task_timeout_h = {LIMIT_H}")
        )
        (self.home.directory / "airflow").mkdir()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with running_s3(OddS3()) as server, running_proxy(server.url) as proxy:
        yield Place(server, proxy, tmp_path_factory.mktemp("place"))


@pytest.fixture(scope="module")
def airflow(place: Place) -> Iterator[WarmAirflow]:
    with warm_airflow(place.home.env, tasks=False) as airflow:
        yield airflow


def to_supervisor(number: signal.Signals) -> Callable[[SupervisedTask], None]:
    return lambda task: os.kill(task.supervisor, number)


ENDS: dict[str, Callable[[SupervisedTask], None]] = {
    "SIGTERM": to_supervisor(signal.SIGTERM),
    "SIGINT": to_supervisor(signal.SIGINT),
    "marked": SupervisedTask.mark,
    "time limit": lambda task: None,
}
LINES = {"SIGTERM": "ended by SIGTERM", "SIGINT": "ended by SIGINT", "marked": "ended by SIGTERM"}
HELD: dict[str, Callable[[Place, SeenRequest], bool]] = {
    "plan": lambda _, request: request.is_list and "photos" in request.path,
    "download_and_convert": lambda _, request: request.method == "GET" and "/photos/" in request.path,
    "validate": lambda _, request: request.method == "GET" and "/shards/" in request.path,
    "publish": lambda _, request: request.method == "PUT" and "/versions/" in request.path,
    "expire": lambda place, request: request.is_list and "bucket/cats/expiry.json" in place.server.objects,
}
ENDED_BY = {
    "plan": ("SIGTERM",),
    "download_and_convert": ("SIGINT", "marked"),
    "validate": ("SIGTERM",),
    "publish": ("marked",),
}
MAPPED = {"download_and_convert", "validate", "expire"}


def run_held(
    place: Place,
    airflow: WarmAirflow,
    case: str,
    task: str,
    end: str,
    *,
    dag: str = "cats",
    file: str = "photo_dataset.py",
) -> SupervisedTask:
    """Run a task that is held up at a request and then told to end."""
    place.proxy.reset()
    place.proxy.choose = lambda request, number: "hang" if HELD[task](place, request) else None
    try:
        with supervised(airflow, place.folder / case, dag, task, map_index=index_of(task), file=file) as running:
            if end != "time limit":  # which may be over before
                wait_for(lambda: bool(place.proxy.struck))
            ENDS[end](running)
    finally:
        place.proxy.choose = lambda request, number: None
    return running


def index_of(task: str) -> int:
    return 0 if task in MAPPED else -1


def wait_for(come: Callable[[], bool]) -> None:
    for _ in range(12_000):
        if come():
            return
        time.sleep(0.01)
    raise AssertionError("it did not come")


def assert_ended_in_one_line(place: Place, task: SupervisedTask, line: str) -> None:
    (_, said), *others = task.failures
    assert said.startswith(line), task.failures
    assert "the next try goes on" in said
    # Airflow shows with a traceback that it cannot report the state of what was marked
    assert [said for _, said in others if "TI was not in the running state" not in said] == []
    assert task.problems == [said]
    assert set(task.states) == {"up_for_retry"}
    assert list(place.scratch.iterdir()) == []
    # a request that hangs is given up 20 s later and sent again: nothing was waited for
    paths = [request.path for request, _ in place.proxy.struck]
    assert len(paths) == len(set(paths))


@pytest.mark.parametrize("task", ENDED_BY)
def test_a_task_ends_in_one_line_without_scratch_and_its_next_try_goes_on(
    place: Place, airflow: WarmAirflow, task: str
) -> None:
    for end in ENDED_BY[task]:
        held = run_held(place, airflow, f"{task} {end}", task, end)
        assert_ended_in_one_line(place, held, LINES[end])
    with supervised(airflow, place.folder / f"{task} again", "cats", task, map_index=index_of(task)) as again:
        pass
    assert (again.failures, again.states) == ([], ["success"])
    assert list(place.scratch.iterdir()) == []


def test_a_task_that_takes_too_long_ends_in_one_line_that_names_the_setting(place: Place, airflow: WarmAirflow) -> None:
    held = run_held(place, airflow, "limited", "plan", "time limit", dag="limited")
    assert_ended_in_one_line(
        place, held, f"took longer than {timedelta(hours=LIMIT_H)} (h:mm:ss), which task_timeout_h allows"
    )
    assert [kind for kind, _ in held.failures] == ["AirflowTaskTimeout"]


def test_an_expiry_gives_its_lease_back(place: Place, airflow: WarmAirflow) -> None:
    held = run_held(place, airflow, "expire", "expire", "marked", dag="expire_versions", file="expire_versions.py")
    assert_ended_in_one_line(place, held, LINES["marked"])
    assert "bucket/cats/expiry.json" not in place.server.objects
