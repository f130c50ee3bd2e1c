"""Somebody hears of a run: real Airflow, and a real server that gets the messages."""

import base64
import json
from collections.abc import Iterator

import pytest

from aesthetics_ops.dataset.reading_manifests import read_manifest
from aesthetics_ops.store import open_store
from tests.support.airflow_home import AirflowHome, Hook, hearing
from tests.support.secrets import PASSWORD, SECRET_KEY, TOKEN, found_in
from tests.support.warm_airflow import WarmAirflow, warm_airflow

TOLD = """
on_failure = [
  { conn_id = "hook", endpoint = "/failed" },
  { class = "airflow.providers.http.notifications.http.HttpNotifier", http_conn_id = "hook", endpoint = "/templated", json = { said = "{{ notice.event }} in {{ notice.task_id }}: {{ notice.reason }}" } },
]
on_refused = { conn_id = "hook", endpoint = "/refused" }
on_published = { conn_id = "hook", endpoint = "/published" }
"""  # fmt: skip


LEAKY = f"""
on_failure = [
  {{ class = "airflow.providers.http.notifications.http.HttpNotifier", http_conn_id = "secret", endpoint = "/?secret={PASSWORD}" }},
  {{ class = "airflow.providers.http.notifications.http.HttpNotifier", http_conn_id = "secret", endpoint = "/services/{PASSWORD}" }},
  {{ conn_id = "secret", endpoint = "/?X-Amz-Signature={PASSWORD}" }},
]
"""


@pytest.fixture(scope="module")
def hook() -> Iterator[Hook]:
    with hearing() as hook:
        yield hook


@pytest.fixture(autouse=True)
def fresh(hook: Hook) -> None:
    hook.heard.clear()
    hook.status = 200


@pytest.fixture(scope="module")
def home(hook: Hook, tmp_path_factory: pytest.TempPathFactory) -> AirflowHome:
    connection = {
        "conn_type": "http", "host": hook.url, "login": "ops", "password": "hook-password", "extra": {"X-Team": "data"}
    }  # fmt: skip
    secret = {
        "conn_type": "http",
        "host": "http://127.0.0.1:9",
        "login": "somebody",
        "password": SECRET_KEY,
        "extra": {"X-Token": TOKEN},
    }
    variables = {"AIRFLOW_CONN_HOOK": json.dumps(connection), "AIRFLOW_CONN_SECRET": json.dumps(secret)}
    home = AirflowHome(tmp_path_factory.mktemp("home") / "it", variables)
    home.configure(home.table("cats", TOLD), home.table("leaky", LEAKY))
    home.migrate()
    return home


@pytest.fixture(scope="module")
def commands(home: AirflowHome) -> Iterator[WarmAirflow]:
    with warm_airflow(home.env) as commands:
        yield commands


def build(commands: WarmAirflow, date: str, conf: str = "{}") -> tuple[int, str]:
    return commands.run("dags", "test", "cats", date, "-c", conf)


def test_a_new_version_is_told_with_its_name_and_counts_and_an_unchanged_night_is_not(
    home: AirflowHome, commands: WarmAirflow, hook: Hook
) -> None:
    status, log = build(commands, "2026-11-01")
    assert status == 0, log[-3000:]
    url = f"{home.directory.as_uri()}/datasets/cats/"
    manifest = read_manifest(open_store(url))
    ((path, headers, body),) = hook.heard
    assert path == "/published"
    assert (headers["x-team"], headers["content-type"]) == ("data", "application/json")
    assert headers["authorization"] == "Basic " + base64.b64encode(b"ops:hook-password").decode()
    assert (body["event"], body["dag_id"], body["dataset"], body["version"]) == (
        "published",
        "cats",
        url,
        manifest.version,
    )
    assert body["counts"]["records"] == manifest.records == 6
    assert f"version {manifest.version}: 6 records" in body["text"]
    assert build(commands, "2026-11-02")[0] == 0
    assert len(hook.heard) == 1


def test_a_refusal_is_told_once_with_the_line_of_the_gate(commands: WarmAirflow, hook: Hook) -> None:
    status, log = build(commands, "2026-11-03", '{"min_records": 1000, "label_scale": "minmax"}')
    assert status == 1, log[-3000:]
    ((path, _, body),) = hook.heard
    assert (path, body["event"], body["task_id"]) == ("/refused", "refused", "publish")
    assert "min_records allows 1000, measured 6" in body["reason"]
    assert body["counts"]["listed"] == 6


def test_a_failure_is_told_with_the_line_of_the_error_by_any_notifier(commands: WarmAirflow, hook: Hook) -> None:
    status, log = build(commands, "2026-11-04", '{"qualty": 3}')
    assert status == 1, log[-3000:]
    (body,) = hook.bodies("/failed")
    assert (body["event"], body["task_id"]) == ("failed", "plan")
    assert body["reason"].startswith("trigger form or conf: 'qualty' is not a setting")
    (templated,) = hook.bodies("/templated")
    assert templated == {"said": f"failed in plan: {body['reason']}"}


def test_a_notifier_that_fails_is_a_line_in_the_log_and_the_build_stands(commands: WarmAirflow, hook: Hook) -> None:
    hook.status = 500
    status, log = build(commands, "2026-11-05", '{"label_scale": "minmax"}')
    assert status == 0, log[-3000:]
    assert "table [cats]: a notifier of on_published could not tell of published: RuntimeError" in log
    assert "no answer of success from connection 'hook'" in log
    assert "hook-password" not in log


def test_a_notifier_that_fails_tells_no_secret_of_its_address_or_connection(commands: WarmAirflow) -> None:
    """What requests says of a failure has the whole path, with its query."""
    status, log = commands.run("dags", "test", "leaky", "2026-11-06", "-c", '{"qualty": 3}')
    assert status == 1, log[-3000:]
    assert log.count("table [leaky]: a notifier of on_failure could not tell of failed") == 3
    told = [line for line in log.splitlines() if "could not tell" in line]
    assert found_in({"what we say": "\n".join(told).encode()}) == set()
