"""The plugin as Airflow loads it: light, and closed by Airflow's own login and permissions."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from tests.support.paths import ROOT

_LOOK = """
import importlib.util, json, sys, warnings
warnings.simplefilter("ignore")
spec = importlib.util.spec_from_file_location("dataset_browser", sys.argv[1])
plugin = importlib.util.module_from_spec(spec)
spec.loader.exec_module(plugin)
heavy = [n for n in ("cv2", "pyarrow", "numpy", "obstore", "duckdb", "boto3", "fastapi") if n in sys.modules]
ours = [n for n in sys.modules if n.partition(".")[0] == "aesthetics_ops"]

from aesthetics_ops.airflow.access import configured
from aesthetics_ops.airflow.guard import guarded_browser

import re
from unittest.mock import patch
from airflow.api_fastapi.app import create_auth_manager
from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
from airflow.api_fastapi.core_api.security import get_user
from airflow.models.dag import DagModel
from starlette.testclient import TestClient

create_auth_manager()
app = guarded_browser(configured())
values = {"dataset": "photo_dataset", "version": "v", "split": "train", "number": "0", "record": "0", "build": "b"}
paths = [re.sub(r"{(\\w+)}", lambda match: values[match[1]], route.path) for route in app.routes]
opened = []
app.state.catalog._openers["photo_dataset"] = lambda: opened.append(1)
client = TestClient(app, raise_server_exceptions=False)


def ask(**headers):
    return {path: client.get(path, headers=headers).status_code for path in paths}


def ask_as(role):
    app.dependency_overrides[get_user] = lambda: SimpleAuthManagerUser(username="somebody", role=role)
    return ask()


with patch.object(DagModel, "get_team_name", return_value=None):
    answers = {
        "nobody": ask(), "junk": ask(Authorization="Bearer junk"), "cookie": ask(Cookie="_token=junk"),
        "without_role": ask_as(None),
    }
    opened_by_strangers = len(opened)
    answers["viewer"] = ask_as("VIEWER")

print(json.dumps({
    "heavy": heavy, "ours": ours, "answers": answers, "opened_by_strangers": opened_by_strangers, "opened": len(opened),
    "views": plugin.DatasetBrowser.external_views, "names": [config.name for config in configured().datasets],
}))
"""


@pytest.fixture(scope="module")
def looked(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a fresh interpreter, without a metadata database, says of the plugin."""
    home = tmp_path_factory.mktemp("airflow")
    environment = os.environ | {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/absent/airflow.db",  # any look-up fails
        "AIRFLOW__API_AUTH__JWT_SECRET": "only for this test, and long enough for HS512: " + "x" * 64,
    }
    command = [sys.executable, "-c", _LOOK, str(ROOT / "plugins" / "dataset_browser.py")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(json.loads(done.stdout.splitlines()[-1]))


def test_loading_it_loads_nothing_that_its_pages_need(looked: dict[str, Any]) -> None:
    assert set(looked["heavy"]) <= {"fastapi"}  # Airflow's own
    assert set(looked["ours"]) == {
        "aesthetics_ops",
        "aesthetics_ops.airflow",
        "aesthetics_ops.airflow.access",
        "aesthetics_ops.airflow.guard",
        "aesthetics_ops.airflow.links",
        "aesthetics_ops.errors",
    }


def test_every_route_refuses_whoever_airflow_does_not_know(looked: dict[str, Any]) -> None:
    for who, status in (("nobody", {401}), ("junk", {403}), ("cookie", {403}), ("without_role", {403})):
        assert len(looked["answers"][who]) > 12
        assert set(looked["answers"][who].values()) == status, who
    assert looked["opened_by_strangers"] == 0


def test_who_may_read_the_dag_is_let_in(looked: dict[str, Any]) -> None:
    assert looked["answers"]["viewer"]["/style.css"] == 200
    assert {401, 403}.isdisjoint(looked["answers"]["viewer"].values())
    assert looked["opened"] > 0


def test_it_is_one_entry_in_the_navigation_and_serves_the_configured_datasets(looked: dict[str, Any]) -> None:
    (view,) = looked["views"]
    assert (view["name"], view["href"], view["destination"]) == ("Datasets", "/dataset-browser/", "nav")
    assert looked["names"] == ["photo_dataset"]
