"""A person decides about what a gate refused, and hears of a bad night: a real `airflow standalone`, answered through its REST API."""

import json
import re
import time
from collections.abc import Iterator
from functools import partial
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote

import pytest

from aesthetics_ops.dataset.candidates import candidate_names
from aesthetics_ops.dataset.latest import peek_latest
from aesthetics_ops.dataset.layout import candidate_key
from aesthetics_ops.errors import GateError
from aesthetics_ops.pipeline import build_dataset
from aesthetics_ops.settings import BuildSettings
from aesthetics_ops.store import Store, open_store
from tests.support.airflow_home import AirflowHome, Hook, Standalone, hearing, running, until
from tests.support.warm_airflow import WarmAirflow, warm_airflow

ASKING = """
ask_on_refusal = true
retry_delay_s = 1
on_failure = { conn_id = "hook", endpoint = "/failed" }
on_refused = { conn_id = "hook", endpoint = "/refused" }
on_published = { conn_id = "hook", endpoint = "/published" }
"""
LATE = """
retry_delay_s = 1
on_failure = { conn_id = "hook", endpoint = "/failed" }
alarm_after_h = 0.002
on_late = { conn_id = "hook", endpoint = "/late" }
"""


@pytest.fixture(scope="module")
def hook() -> Iterator[Hook]:
    with hearing() as hook:
        yield hook


@pytest.fixture(scope="module")
def home(hook: Hook, tmp_path_factory: pytest.TempPathFactory) -> AirflowHome:
    connection = {"conn_type": "http", "host": hook.url}
    home = AirflowHome(tmp_path_factory.mktemp("home") / "it", {"AIRFLOW_CONN_HOOK": json.dumps(connection)})
    home.configure(
        home.table("cats", ASKING),
        home.table("dogs", f"answer_within_h = 0.001\n{ASKING}", "min_records = 1000"),
        home.table("birds", "ask_on_refusal = true", "min_records = 1000"),
        home.table("late", LATE),
    )
    home.migrate()
    return home


@pytest.fixture(scope="module")
def commands(home: AirflowHome) -> Iterator[WarmAirflow]:
    with warm_airflow(home.env) as commands:
        yield commands


def test_each_task_runs_alone_without_what_the_others_left_in_airflow(home: AirflowHome, commands: WarmAirflow) -> None:
    here, date = home.directory.as_uri(), "2026-11-09"
    settings = BuildSettings(
        photos=f"{here}/photos/",
        labels=f"{here}/scores.csv",
        dataset=f"{here}/datasets/birds/",
        near_duplicate_distance=0,
        min_records=1000,
    )
    with pytest.raises(GateError) as refused:
        build_dataset(settings, build_id=f"{date}T000000")
    _, published = commands.run("tasks", "test", "birds", "publish", date)
    assert "new_state=success" in published, published[-3000:]
    assert f"{refused.value.candidate!r}" in published
    _, asked = commands.run("tasks", "test", "birds", "ask", date)
    assert "Waiting for response" in asked, asked[-3000:]
    assert "new_state=awaiting_input" in asked
    _, promoted = commands.run("tasks", "test", "birds", "promote", date)
    assert "new_state=failed" in promoted, promoted[-3000:]
    assert (
        f"nobody has approved a version in this run; clear 'ask' and answer it, or without Airflow: `aesthetics-ops promote {here}"
        in promoted
    )
    assert peek_latest(open_store(settings.dataset))[0] is None


class Nights:
    """Runs of a DAG, and what they are asked and answered."""

    def __init__(self, airflow: Standalone, home: AirflowHome, dag: str) -> None:
        self._seen: dict[str, int] = {}  # questions of each run
        self.airflow, self.dag, self.url = airflow, dag, f"{home.directory.as_uri()}/datasets/{dag}/"
        self.sources = {
            "photos": f"{home.directory.as_uri()}/photos/",
            "labels": f"{home.directory.as_uri()}/scores.csv",
        }

    @property
    def dataset(self) -> Store:
        return open_store(self.url)

    @property
    def latest(self) -> str | None:
        pointer = peek_latest(self.dataset)[0]
        return pointer.version if pointer else None

    @property
    def events(self) -> list[str]:
        """The versions that had an event, in their order."""
        found = self.airflow.ask("GET", "assets/events?limit=100&order_by=timestamp")["asset_events"]
        return [event["extra"]["version"] for event in found if event["uri"].startswith(self.url)]

    def start(self, run: str, **conf: object) -> None:
        body = {"logical_date": None, "dag_run_id": run, "conf": conf}
        self.airflow.ask("POST", f"dags/{self.dag}/dagRuns", body)

    def question(self, run: str) -> dict[str, Any]:
        """Wait until a run waits for a person, and the scheduler has seen it: Airflow 3.3 loses an earlier answer; return what it asks."""
        said = re.compile(
            rf"TaskInstance Finished: dag_id={self.dag}, task_id=ask, run_id={run},.* state=awaiting_input"
        )
        before = self._seen.get(run, 0)
        until(lambda: len(said.findall(self.airflow.log.read_text(errors="replace"))) > before, self.airflow.log)
        self._seen[run] = before + 1
        assert self.states(run)["ask"] == "awaiting_input"
        return dict(self.airflow.ask("GET", self._answer(run)))

    def answer(self, run: str, option: str, **given: object) -> None:
        self.airflow.ask("PATCH", self._answer(run), {"chosen_options": [option], "params_input": given})

    def clear(self, run: str, task: str) -> None:
        body = {
            "dry_run": False, "dag_run_id": run, "task_ids": [task], "include_downstream": True, "only_failed": False,
            "reset_dag_runs": True,
        }  # fmt: skip
        self.airflow.ask("POST", f"dags/{self.dag}/clearTaskInstances", body)

    def end(self, run: str) -> tuple[str, dict[str, str]]:
        """Wait until a run ends; return how, and how its tasks did."""
        state = until(lambda: self._ended(run), self.airflow.log)
        return state, self.states(run)

    def states(self, run: str) -> dict[str, str]:
        found = self.airflow.ask("GET", f"dags/{self.dag}/dagRuns/{run}/taskInstances")["task_instances"]
        return {task["task_id"]: task["state"] for task in found}

    def problem(self, run: str, task: str) -> str:
        """Return the line that a task failed with."""
        path = f"dags/{self.dag}/dagRuns/{run}/taskInstances/{task}/xcomEntries/problem"
        return str(self.airflow.ask("GET", path)["value"]["reason"])

    def _answer(self, run: str) -> str:
        return f"dags/{self.dag}/dagRuns/{quote(run)}/taskInstances/ask/-1/hitlDetails"

    def _ended(self, run: str) -> str:
        state = self.airflow.ask("GET", f"dags/{self.dag}/dagRuns/{run}")["state"]
        return str(state) if state in ("success", "failed") else ""


@pytest.fixture(scope="module")
def airflow(home: AirflowHome) -> Iterator[Standalone]:
    with running(home) as airflow:
        for dag in ("cats", "dogs", "late"):
            until(partial(airflow.ask, "GET", f"dags/{dag}"), airflow.log)
            airflow.ask("PATCH", f"dags/{dag}", {"is_paused": False})
        yield airflow


@pytest.fixture(scope="module")
def cats(airflow: Standalone, home: AirflowHome) -> Nights:
    return Nights(airflow, home, "cats")


@pytest.fixture(autouse=True)
def fresh(hook: Hook) -> None:
    hook.heard.clear()


def test_what_is_approved_is_published_with_one_event_and_says_by_whom_and_why(cats: Nights, hook: Hook) -> None:
    cats.start("approved", min_records=1000)
    asked = cats.question("approved")
    (version,) = candidate_names(cats.dataset, None)
    assert (asked["options"], list(asked["params"])) == (["Approve", "Reject"], ["reason"])
    assert version in asked["subject"]
    for words in ("**min_records**: measured 6, allowed is at least 1000", "6 records", version):
        assert words in asked["body"]
    assert f"/datasets/cats/versions/{version}" in asked["body"]
    assert f"aesthetics-ops show {cats.url} --version {version}" in asked["body"]
    assert cats.latest is None
    assert cats.events == []
    (told,) = hook.bodies("/refused")
    assert (told["event"], told["version"], told["task_id"]) == ("asked", version, "ask")
    assert told["reason"].startswith(
        "approve or reject it in Airflow within 12 hours: not published; min_records allows 1000"
    )

    cats.answer("approved", "Approve", reason="six are enough")
    with pytest.raises(HTTPError, match="409"):
        cats.answer("approved", "Reject")
    state, tasks = cats.end("approved")
    assert (state, tasks["publish"], tasks["ask"], tasks["promote"]) == ("success", *["success"] * 3)
    latest = peek_latest(cats.dataset)[0]
    assert latest is not None
    assert latest.version == version
    assert latest.move is not None
    assert (latest.move.action, latest.move.reason, latest.move.overruled) == (
        "promote",
        "six are enough",
        ("min_records",),
    )
    assert latest.move.by == asked_by(cats, "approved")
    assert cats.events == [version]
    (news,) = until(lambda: hook.bodies("/published"))
    assert (news["version"], news["task_id"], news["counts"]["records"]) == (version, "promote", 6)
    assert hook.bodies("/failed") == []


def asked_by(cats: Nights, run: str) -> str:
    """Return the name of who answered, as Airflow has it."""
    return str(cats.airflow.ask("GET", cats._answer(run))["responded_by_user"]["name"])


def test_a_cleared_answer_to_what_is_published_asks_nobody_and_sends_no_second_event(cats: Nights) -> None:
    version, events = cats.latest, cats.events
    cats.clear("approved", "ask")
    time.sleep(2)
    assert cats.end("approved")[0] == "success"
    assert (cats.latest, cats.events) == (version, events)


def test_what_is_rejected_stays_a_candidate_and_may_be_approved_after_all(cats: Nights, hook: Hook) -> None:
    before, events = cats.latest, cats.events
    cats.start("rejected", min_records=999, label_scale="minmax")
    asked = cats.question("rejected")
    assert f"LATEST names `{before}`" in asked["body"]
    hook.heard.clear()
    cats.answer("rejected", "Reject", reason="not\nyet")
    state, tasks = cats.end("rejected")
    assert (state, tasks["ask"], tasks["promote"]) == ("failed", "failed", "upstream_failed")
    (version,) = candidate_names(cats.dataset, peek_latest(cats.dataset)[0])
    (told,) = until(lambda: hook.bodies("/refused"))
    assert told["event"] == "refused"
    assert told["reason"] == (
        f"not published: {asked_by(cats, 'rejected')} rejected it: not yet; this run publishes nothing, version {version!r} stays as it is"
    )
    assert (cats.latest, cats.events) == (before, events)

    cats.clear("rejected", "ask")
    cats.question("rejected")
    cats.answer("rejected", "Approve")
    assert cats.end("rejected")[0] == "success"
    assert (cats.latest, cats.events) == (version, [*events, version])
    move = peek_latest(cats.dataset)[0].move
    assert move.reason == f"approved in Airflow by {asked_by(cats, 'rejected')}"


def test_an_approval_after_latest_moved_or_the_candidate_went_is_one_line_and_publishes_nothing(cats: Nights) -> None:
    cats.start("overtaken", min_records=998)
    cats.question("overtaken")
    settings = BuildSettings(
        **cats.sources, dataset=cats.url, near_duplicate_distance=0, encoding="reencode", quality=72
    )
    moved = build_dataset(settings).manifest.version
    events = cats.events
    cats.answer("overtaken", "Approve")
    assert cats.end("overtaken")[1]["promote"] == "failed"
    assert "what came between would be lost; build again" in cats.problem("overtaken", "promote")

    cats.start("gone", min_records=998, label_scale="minmax")
    asked = cats.question("gone")
    gone = next(name for name in candidate_names(cats.dataset, None) if name in asked["subject"])
    cats.dataset.delete([candidate_key(gone)])
    cats.answer("gone", "Approve", reason="late")
    assert cats.end("gone")[1]["promote"] == "failed"
    assert f"has no candidate {gone!r}" in cats.problem("gone", "promote")
    assert (cats.latest, cats.events) == (moved, events)


def test_a_version_that_no_gate_refuses_asks_nobody(cats: Nights) -> None:
    events = cats.events
    cats.start("good", label_scale="minmax")
    state, tasks = cats.end("good")
    assert (state, tasks["publish"], tasks["ask"], tasks["promote"]) == ("success", "success", "skipped", "skipped")
    cats.start("unchanged", label_scale="minmax")
    state, tasks = cats.end("unchanged")
    assert (state, tasks["publish"], tasks["ask"], tasks["promote"]) == ("success", *["skipped"] * 3)
    assert cats.events == [*events, cats.latest]


def test_no_answer_in_time_counts_as_a_rejection(airflow: Standalone, home: AirflowHome, hook: Hook) -> None:
    dogs = Nights(airflow, home, "dogs")
    dogs.start("nobody")
    state, tasks = dogs.end("nobody")
    assert (state, tasks["ask"], tasks["promote"]) == ("failed", "failed", "upstream_failed")
    assert "nobody answered within 0.001 hours" in dogs.problem("nobody", "ask")
    assert [body["event"] for body in until(lambda: hook.bodies("/refused")[1:] and hook.bodies("/refused"))] == [
        "asked", "refused",
    ]  # fmt: skip
    assert dogs.latest is None
    assert dogs.events == []


def test_the_dag_processor_and_the_triggerer_tell_of_a_failure_and_of_a_version_that_is_late(
    airflow: Standalone, hook: Hook, home: AirflowHome
) -> None:
    scores = home.directory / "scores.csv"
    away = scores.rename(scores.with_suffix(".away"))
    try:
        airflow.ask("POST", "dags/late/dagRuns", {"logical_date": None, "dag_run_id": "bad_night"})
        (body,) = until(lambda: hook.bodies("/failed"), airflow.log)
        assert (body["run_id"], body["task_id"]) == ("bad_night", "plan")
        assert "scores.csv' does not exist" in body["reason"]
        (late,) = until(lambda: hook.bodies("/late"), airflow.log)
        assert (late["event"], late["dag_id"], late["run_id"]) == ("late", "late", "bad_night")
        assert "has not ended well, and no version can be read" in late["reason"]
    finally:
        away.rename(scores)
