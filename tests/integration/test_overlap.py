"""Partitions that do not wait for each other: a real `airflow standalone`, a pool of two slots, a store that holds back one partition's photos."""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any

import pyarrow.parquet as pq
import pytest
from moto.server import ThreadedMotoServer

from aesthetics_ops.dataset.reading_manifests import read_manifest
from aesthetics_ops.store import open_store
from aesthetics_ops.testing.fault_proxy import FaultyProxy, running_proxy
from aesthetics_ops.testing.faults import Fault, SeenRequest
from tests.support.airflow_home import AirflowHome, Standalone, running, until
from tests.support.nights import PHOTOS, photo
from tests.support.s3 import make_bucket

RUN_S = 300
MAPPED, WORTH = 4, 3  # tasks, and partitions that the work is worth
SLOW = 1
STAGES = ("download_and_convert", "validate")


class Night:
    """One run, of which partition 1 gets no photo until it is let go, and then only faults until it is healed.

    Attributes:
        home: with the dataset.
        may_read: set when the store answers.
        is_broken: whether it answers with faults.
    """

    def __init__(self, home: AirflowHome) -> None:
        self.home, self.may_read, self.is_broken = home, Event(), True
        self._slow: set[str] = set()

    def choose(self, request: SeenRequest, number: int) -> Fault:
        if request.method != "GET" or request.is_list or Path(request.path).name not in self._photos():
            return None
        self.may_read.wait(RUN_S)
        return 503 if self.is_broken else None

    def _photos(self) -> set[str]:
        """The photos of the slow partition, once there is a plan."""
        if not self._slow:
            for rows in self.home.directory.glob(f"datasets/cats/builds/*/partitions/{SLOW}.parquet"):
                self._slow = set(pq.read_table(rows, columns=["key"])["key"].to_pylist())
        return self._slow


@pytest.fixture
def proxy() -> Iterator[FaultyProxy]:
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        with running_proxy(f"http://{host}:{port}") as proxy:
            yield proxy
    finally:
        server.stop()


@pytest.fixture
def home(proxy: FaultyProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AirflowHome:
    bucket = make_bucket(monkeypatch, proxy.url, "testing", "testing")
    for name in PHOTOS[:6]:
        bucket.client.put_object(Bucket=bucket.name, Key=f"photos/{name}.jpg", Body=photo(name))
    connection = {
        "conn_type": "aws", "login": "testing", "password": "testing",
        "extra": {"endpoint_url": proxy.url, "region_name": "us-east-1"},
    }  # fmt: skip
    home = AirflowHome(tmp_path / "home", {"AIRFLOW_CONN_AWS_DEFAULT": json.dumps(connection)})
    third = -(-sum(len(photo(name)) for name in PHOTOS[:6]) // WORTH)
    settings = (
        f"validation_fraction = 0\ntest_fraction = 0\nshard_bytes = 40000\npartition_bytes = {third}\nstore_timeout_s = 600\n"
        "store_retry_s = 1"
    )
    table = home.table("cats", f'retries = 0\npartitions = {MAPPED}\npool = "two"', settings)
    home.configure(table.replace(f'photos = "{home.directory.as_uri()}/', f'photos = "{bucket.url}'))
    home.migrate()
    assert home.run("pools", "set", "two", "2", "two slots")[0] == 0
    return home


def tasks(airflow: Standalone, run: str) -> dict[tuple[str, int], dict[str, Any]]:
    found = airflow.ask("GET", f"dags/cats/dagRuns/{run}/taskInstances?limit=100")["task_instances"]
    return {(task["task_id"], task["map_index"]): task for task in found}


def states(airflow: Standalone, run: str) -> dict[tuple[str, int], str]:
    return {name: task["state"] for name, task in tasks(airflow, run).items()}


def ended(airflow: Standalone, run: str) -> str:
    """Wait until a run ends; return how."""

    def look() -> str | None:
        state = str(airflow.ask("GET", f"dags/cats/dagRuns/{run}")["state"])
        return state if state in ("success", "failed") else None

    return until(look, airflow.log)


def test_a_slow_partition_holds_up_nobody_a_failed_one_is_cleared_alone_and_one_without_work_is_skipped(
    home: AirflowHome, proxy: FaultyProxy
) -> None:
    night = Night(home)
    with running(home) as airflow:
        until(partial(airflow.ask, "GET", "dags/cats"), airflow.log)
        proxy.choose = night.choose
        airflow.ask("POST", "dags/cats/dagRuns", {"logical_date": None, "dag_run_id": "night", "conf": {}})
        airflow.ask("PATCH", "dags/cats", {"is_paused": False})

        def all_else_is_done() -> dict[tuple[str, int], str] | None:
            found = states(airflow, "night")
            done = [found.get((stage, number)) in ("success", "skipped") for stage in STAGES for number in (0, 2, 3)]
            return found if all(done) else None

        try:
            before = until(all_else_is_done, airflow.log)
        finally:
            night.may_read.set()
        everywhere = {(stage, number): "success" for stage in STAGES for number in (0, 2)}
        everywhere |= {("plan", -1): "success"} | {(stage, 3): "skipped" for stage in STAGES}
        waits = {("publish", -1): None, ("validate", SLOW): None}
        assert before == everywhere | waits | {("download_and_convert", SLOW): "running"}
        first = tasks(airflow, "night")
        # with one slot left, the first partition is read back before the last is converted
        assert first["validate", 0]["end_date"] <= first["download_and_convert", 3]["start_date"]

        assert ended(airflow, "night") == "failed"
        follow = {("validate", SLOW): "upstream_failed", ("publish", -1): "upstream_failed"}
        assert states(airflow, "night") == everywhere | follow | {("download_and_convert", SLOW): "failed"}

        night.is_broken = False
        clear = {"dag_run_id": "night", "task_ids": [["download_and_convert", SLOW]], "include_downstream": True}
        clear |= {"dry_run": False, "only_failed": False, "reset_dag_runs": True}
        airflow.ask("POST", "dags/cats/clearTaskInstances", clear)
        assert ended(airflow, "night") == "success"
        last = tasks(airflow, "night")
    again = {name for name, task in last.items() if task["start_date"] != first.get(name, task)["start_date"]}
    assert again | {("publish", -1)} == {*((stage, SLOW) for stage in STAGES), ("publish", -1)}
    assert {task["try_number"] for name, task in last.items() if name not in again | {("publish", -1)}} == {1}
    names = {name: task["rendered_map_index"] for name, task in last.items() if name[0] in STAGES}
    assert all(names[stage, number].startswith(f"{number}: ") for stage, number in names)
    assert all(" photos, " in names[stage, number] for stage in STAGES for number in range(WORTH))
    assert {names[stage, 3] for stage in STAGES} == {"3: empty"}
    assert read_manifest(open_store(f"{home.directory.as_uri()}/datasets/cats/")).records == 6
