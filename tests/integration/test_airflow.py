"""The DAG under Airflow's own commands, in the same sandbox that `make shell` opens."""

import json
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from aesthetics_ops.dataset.manifest import Manifest
from aesthetics_ops.dataset.reading_manifests import read_manifest
from aesthetics_ops.store import open_store
from demo.sandbox import BUCKET, Sandbox
from tests.support.paths import ROOT
from tests.support.sandbox import passing_sandbox
from tests.support.secrets import (
    KEY,
    SECRET_KEY,
    TOKEN,
    answering_with_secrets,
    found_in,
    left_in,
    with_password,
)
from tests.support.warm_airflow import WarmAirflow, warm_airflow

DATASET = f"s3://{BUCKET}/datasets/photo_dataset/"
DATE = "2026-11-22"


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    """A sandbox with a fresh metadata database and the samples in its bucket."""
    name = f"test-{os.getpid()}"
    with pytest.MonkeyPatch.context() as environment, passing_sandbox(name) as opened:
        for variable, value in opened.env.items():
            environment.setenv(variable, value)
        yield opened


@pytest.fixture(scope="module")
def commands(sandbox: Sandbox) -> Iterator[WarmAirflow]:
    with warm_airflow(sandbox.env) as commands:
        yield commands


def run(sandbox: Sandbox, *command: str) -> tuple[int, str]:
    """Run an `airflow` command as a shell does, with its start."""
    log = sandbox.directory / "command.log"
    status = sandbox.run("airflow", *command, log=log)
    return status, log.read_text(errors="replace")


def manifest() -> Manifest:
    return read_manifest(open_store(DATASET))


def test_pythons_collector_looks_rarely_in_the_sandbox_and_not_at_the_end(sandbox: Sandbox) -> None:
    log = sandbox.directory / "collector.log"
    look = "import atexit, gc; print(gc.get_threshold()); atexit.register(lambda: print(gc.get_freeze_count())); atexit._run_exitfuncs()"
    assert sandbox.run("python", "-c", f"{look}; print(gc.get_freeze_count() > 0)", log=log) == 0
    assert log.read_text().split("\n") == ["(100000, 50, 50)", "0", "True", ""]


class TestTasksRunAlone:
    """The four lines of the README, in order, each a process of its own on one metadata database.

    Each in a child of an Airflow that has started; a command with its start is `dags test`, in the class below.
    """

    @pytest.mark.parametrize(
        ("task", "ends", "says"),
        [
            (
                ["download_and_convert", DATE, "--map-index", "0"],
                "failed",
                f"airflow tasks test photo_dataset plan {DATE})",
            ),
            (["plan", DATE], "success", ""),
            (
                ["validate", DATE, "--map-index", "0"],
                "failed",
                f"airflow tasks test photo_dataset download_and_convert {DATE} --map-index 0)",
            ),
            (["download_and_convert", DATE, "--map-index", "0"], "success", ""),
            (["publish", DATE], "failed", f"airflow tasks test photo_dataset validate {DATE} --map-index N)"),
            (["validate", DATE, "--map-index", "0"], "success", ""),
            (["publish", DATE], "success", ""),
        ],
        ids=["convert too early", "plan", "validate too early", "convert", "publish too early", "validate", "publish"],
    )
    def test_a_task_succeeds_after_its_input_and_before_it_says_what_to_run(
        self, commands: WarmAirflow, task: list[str], ends: str, says: str
    ) -> None:
        status, log = commands.run("tasks", "test", "photo_dataset", *task)
        assert (status, f"new_state={ends}" in log) == (0, True), log[-3000:]
        assert says in log, log[-3000:]

    def test_the_version_is_published_with_the_samples_in_it(self, sandbox: Sandbox) -> None:
        published = manifest()
        assert published.accounting.listed == len(list((ROOT / "samples" / "photos").iterdir()))
        assert published.records == published.validation.decoded > 70
        assert published.rejects["corrupt"] == published.rejects["duplicate_photo"] == 1


class TestTheWholeDag:
    """`airflow dags test`, whose exit status tells."""

    def test_an_unchanged_night_succeeds_publishes_nothing_and_sends_no_event(
        self, sandbox: Sandbox, commands: WarmAirflow
    ) -> None:
        before, events = manifest(), asset_events(sandbox)
        status, log = commands.run("dags", "test", "photo_dataset", "2026-11-23")
        assert status == 0, log[-3000:]
        assert f"nothing changed since version {before.version}" in log
        assert manifest() == before
        assert asset_events(sandbox) == events

    def test_a_changed_setting_in_conf_makes_a_version_and_an_event_that_names_it(self, sandbox: Sandbox) -> None:
        before, events = manifest(), asset_events(sandbox)
        status, log = run(sandbox, "dags", "test", "photo_dataset", "2026-11-24", "-c", '{"label_scale": "unit"}')
        assert status == 0, log[-3000:]
        after = manifest()
        assert (after.parent, after.labels.scale) == (before.version, "unit")
        assert [event["version"] for event in asset_events(sandbox)[len(events) :]] == [after.version]
        assert asset_names(sandbox) == [f"{DATASET}LATEST.json"]

    def test_publishing_the_same_version_again_sends_no_second_event(
        self, sandbox: Sandbox, commands: WarmAirflow
    ) -> None:
        before, events = manifest(), asset_events(sandbox)
        status, log = commands.run("tasks", "test", "photo_dataset", "publish", "2026-11-24")
        assert (status, "new_state=success" in log) == (0, True), log[-3000:]
        assert f"no second event of {DATASET}LATEST.json: version {before.version} has one" in log
        assert (manifest(), asset_events(sandbox)) == (before, events)

    def test_a_run_that_the_form_sends_elsewhere_builds_there_and_sends_no_event(
        self, sandbox: Sandbox, commands: WarmAirflow
    ) -> None:
        before, events, other = manifest(), asset_events(sandbox), f"s3://{BUCKET}/elsewhere/"
        status, log = commands.run("dags", "test", "photo_dataset", "2026-11-28", "-c", json.dumps({"dataset": other}))
        assert status == 0, log[-3000:]
        assert read_manifest(open_store(other)).records == before.records
        assert f"no event of {DATASET}LATEST.json: this run built {other}" in log
        assert (manifest(), asset_events(sandbox)) == (before, events)

    def test_an_unknown_setting_in_conf_fails_at_once_and_publishes_nothing(self, commands: WarmAirflow) -> None:
        before = manifest()
        status, log = commands.run("dags", "test", "photo_dataset", "2026-11-25", "-c", '{"qualty": 90}')
        assert status == 1
        assert "'qualty' is not a setting" in log
        assert "up_for_retry" not in log
        assert manifest() == before

    def test_a_backfill_is_refused_so_that_no_two_nights_run_at_once(self, commands: WarmAirflow) -> None:
        dates = ("--from-date", "2026-11-01", "--to-date", "2026-11-03")
        status, log = commands.run("backfill", "create", "--dag-id", "photo_dataset", *dates, "--max-active-runs", "3")
        assert status != 0
        assert "does not allow backfill runs" in log, log[-3000:]

    def test_triggering_with_a_value_out_of_range_is_refused_at_once(self, commands: WarmAirflow) -> None:
        status, log = commands.run("dags", "trigger", "photo_dataset", "--conf", '{"quality": 500}')
        assert status == 1
        assert "500 is greater than the maximum of 100" in log


class TestAnotherNumberOfPartitions:
    """A worker whose AESTHETICS_PARTITIONS is not the scheduler's: the run's own number of mapped tasks rules."""

    def test_the_plan_has_a_partition_for_each_mapped_task_and_each_task_does_its_own(
        self, commands: WarmAirflow
    ) -> None:
        date, bucket = "2026-11-26", open_store(f"s3://{BUCKET}/")
        conf = {"partition_bytes": 1000, "shard_bytes": 300_000, "quality": 91, "labels": f"s3://{BUCKET}/late/AVA.txt"}
        status, log = commands.run(
            "dags", "test", "photo_dataset", date, "-c", json.dumps(conf), variables=partitions(3)
        )
        assert status == 1
        assert "late/AVA.txt' does not exist" in log, log[-3000:]
        bucket.put("late/AVA.txt", (ROOT / "samples" / "AVA.txt").read_bytes())
        status, log = commands.run("tasks", "test", "photo_dataset", "plan", date, variables=partitions(7))
        assert (status, "new_state=success" in log) == (0, True), log[-3000:]
        build = f"{DATASET.removeprefix(f's3://{BUCKET}/')}builds/{date}T000000/"
        assert len(json.loads(bytes(bucket.get(f"{build}plan.json").data))["partitions"]) == 3
        status, log = commands.run(
            "tasks", "test", "photo_dataset", "download_and_convert", date, "--map-index", "2", variables=partitions(2)
        )
        assert (status, "new_state=success" in log) == (0, True), log[-3000:]
        converted = bucket.list(f"{build}converted/")["key"].to_pylist()
        assert [key.removeprefix(build) for key in converted] == ["converted/2.json"]


def test_a_connection_that_is_named_and_missing_fails_the_task_at_once(commands: WarmAirflow, tmp_path: Path) -> None:
    """Airflow's own hook would go on with the credentials that the worker happens to have."""
    sample = (ROOT / "samples" / "datasets.toml").read_text()
    mistyped = tmp_path / "mistyped.toml"
    mistyped.write_text(sample.replace('aws_conn_id = "aws_default"', 'aws_conn_id = "aws_defualt"'))
    assert mistyped.read_text() != sample
    status, log = commands.run(
        "tasks", "test", "photo_dataset", "plan", "2026-11-29", variables={"AESTHETICS_CONFIG": str(mistyped)}
    )
    assert (status, "new_state=failed" in log) == (0, True), log[-3000:]
    assert (
        "Airflow has no connection 'aws_defualt', which table [photo_dataset] names as aws_conn_id; add it, or correct"
        in log
    )


class TestSecretsOfAConnection:
    """What is planted in the connection appears neither in logs nor in Airflow's database nor in the dataset."""

    @pytest.mark.parametrize("ends", ["success", "failed"])
    def test_a_task_leaves_none(self, sandbox: Sandbox, commands: WarmAirflow, ends: str) -> None:
        s3_url = sandbox.env["AWS_ENDPOINT_URL"]
        with answering_with_secrets() as wrong:
            planted = with_planted_secrets(s3_url if ends == "success" else wrong)
            status, log = commands.run("tasks", "test", "photo_dataset", "plan", "2026-11-30", variables=planted)
        assert (status, f"new_state={ends}" in log) == (0, True), log[-3000:]
        home = Path(sandbox.env["AIRFLOW_HOME"])
        left = {
            str(path): path.read_bytes() for path in [home / "airflow.db", *home.glob("logs/**/*")] if path.is_file()
        }
        assert any(path.endswith("airflow.db") for path in left)
        assert found_in(left | {"output": log.encode()} | left_in(open_store(DATASET))) == set()


def with_planted_secrets(endpoint: str) -> dict[str, str]:
    """A connection whose login, password, token and endpoint are all secret."""
    connection = {
        "conn_type": "aws", "login": KEY, "password": SECRET_KEY,
        "extra": {"endpoint_url": with_password(endpoint), "region_name": "us-east-1", "aws_session_token": TOKEN},
    }  # fmt: skip
    return {"AIRFLOW_CONN_AWS_DEFAULT": json.dumps(connection)}


def partitions(number: int) -> dict[str, str]:
    return {"AESTHETICS_PARTITIONS": str(number)}


def asset_events(sandbox: Sandbox) -> list[dict[str, object]]:
    """Return the extras of all asset events in the metadata database, that is, of published versions."""
    with sqlite3.connect(Path(sandbox.env["AIRFLOW_HOME"]) / "airflow.db") as db:
        rows = db.execute("SELECT extra FROM asset_event ORDER BY id").fetchall()
    return [json.loads(extra) for (extra,) in rows]


def asset_names(sandbox: Sandbox) -> list[str]:
    """Return the names of the assets that had events."""
    with sqlite3.connect(Path(sandbox.env["AIRFLOW_HOME"]) / "airflow.db") as db:
        rows = db.execute(
            "SELECT DISTINCT name FROM asset JOIN asset_event ON asset.id = asset_event.asset_id"
        ).fetchall()
    return [name for (name,) in rows]
