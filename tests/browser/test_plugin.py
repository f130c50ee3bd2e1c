"""The plugin as Airflow loads it: light, and closed by Airflow's own login and permissions."""

import json
import os
import subprocess
import sys
from pathlib import Path
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


def said_by(script: str, home: Path, argument: Path, **environment: str) -> dict[str, Any]:
    """Run a script in a fresh interpreter, without a metadata database; return the JSON of its last line."""
    env = os.environ | {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/absent/airflow.db",  # any look-up fails
        "AIRFLOW__API_AUTH__JWT_SECRET": "only for this test, and long enough for HS512: " + "x" * 64,
        **environment,
    }
    command = [sys.executable, "-c", script, str(argument)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(json.loads(done.stdout.splitlines()[-1]))


@pytest.fixture(scope="module")
def looked(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a fresh interpreter says of the plugin."""
    return said_by(_LOOK, tmp_path_factory.mktemp("airflow"), ROOT / "plugins" / "dataset_browser.py")


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


_BROKEN = """
import json, sys, warnings
from pathlib import Path
warnings.simplefilter("ignore")
from airflow.api_fastapi.app import create_auth_manager
from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
from airflow.api_fastapi.core_api.security import get_user
from airflow.models.dag import DagModel
from airflow.models.taskinstancekey import TaskInstanceKey
from starlette.testclient import TestClient
from unittest.mock import patch

from aesthetics_ops.airflow.guard import _browser
from aesthetics_ops.airflow.links import ShardsLink, VersionLink

create_auth_manager()
config = Path(sys.argv[1])
good = '[{0}]\\nphotos = "s3://b/p/"\\nlabels = "s3://b/l.csv"\\ndataset = "file:///nowhere/{0}/"\\n'


def ask(path, role):
    app = _browser()
    app.dependency_overrides.clear()
    if role:
        app.dependency_overrides[get_user] = lambda: SimpleAuthManagerUser(username="somebody", role=role)
    answer = TestClient(app, raise_server_exceptions=False).get(path)
    return answer.status_code, answer.text


answers = {}
with patch.object(DagModel, "get_team_name", return_value=None):
    config.write_text("[cats")
    answers["of a stranger"] = ask("/", None)
    answers["of a viewer"] = ask("/", "VIEWER")
    answers["of a dataset"] = ask("/datasets/cats", "VIEWER")
    answers["of the style"] = ask("/style.css", "VIEWER")
    key = {name: TaskInstanceKey("cats", name, "run", 1, -1) for name in ("plan", "publish")}
    with patch("aesthetics_ops.airflow.links._returned_by", return_value={"build": "b", "version": "v"}):
        links = [ShardsLink().get_link(None, ti_key=key["plan"]), VersionLink().get_link(None, ti_key=key["publish"])]
        config.write_text(good.format("cats") + good.format("dogs") + "qualty = 3")
        links += [ShardsLink().get_link(None, ti_key=key["plan"]), VersionLink().get_link(None, ti_key=key["publish"])]
    with patch("aesthetics_ops.airflow.links._returned_by", return_value={"dataset": "s3://other/", "version": "v"}):
        links.append(VersionLink().get_link(None, ti_key=key["publish"]))
    answers["once corrected"] = ask("/", "VIEWER")
    answers["of the wrong table"] = ask("/datasets/dogs", "VIEWER")
print(json.dumps({"answers": answers, "links": links}))
"""


@pytest.fixture(scope="module")
def with_wrong_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the API server says while the configuration file is no TOML, and after it was corrected but for one table."""
    home = tmp_path_factory.mktemp("airflow")
    return said_by(_BROKEN, home, home / "mine.toml", AESTHETICS_CONFIG=str(home / "mine.toml"))


def test_a_file_that_is_no_toml_is_told_to_who_may_see_it_and_hides_no_task(with_wrong_files: dict[str, Any]) -> None:
    answers = with_wrong_files["answers"]
    assert answers["of a stranger"][0] == 401
    assert "is not TOML" not in answers["of a stranger"][1]
    for page in ("of a viewer", "of a dataset"):
        assert answers[page][0] == 502
        assert "is not TOML" in answers[page][1]
    assert answers["of the style"][0] == 200
    assert with_wrong_files["links"][:2] == ["", ""]


def test_a_corrected_file_counts_at_the_next_request_and_a_wrong_table_says_why(
    with_wrong_files: dict[str, Any],
) -> None:
    answers = with_wrong_files["answers"]
    assert answers["once corrected"][0] == 200
    assert "nothing is published yet" in answers["once corrected"][1]
    for page in ("once corrected", "of the wrong table"):
        assert "&#39;qualty&#39; is not a setting" in answers[page][1]


def test_links_lead_to_the_table_whose_dataset_was_built(with_wrong_files: dict[str, Any]) -> None:
    shards, version, elsewhere = with_wrong_files["links"][2:]
    assert shards.endswith("/datasets/cats/builds/b")
    assert version.endswith("/datasets/cats/versions/v")
    assert elsewhere == ""
