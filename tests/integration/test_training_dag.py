"""The DAG that trains on new versions, under Airflow's own commands and under its scheduler."""

import json
import zipfile
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from aesthetics_ops.cli import main
from aesthetics_ops.config import load_configuration
from aesthetics_ops.dataset.pointers import read_pins
from aesthetics_ops.pipeline import build_dataset
from aesthetics_ops.store import open_store
from aesthetics_ops.training.finding import find_receipt
from tests.support.airflow_home import AirflowHome, Standalone, running, until
from tests.support.nights import PHOTOS
from tests.support.warm_airflow import WarmAirflow, warm_airflow

DAG, ALONE, STAY = "train_on_new_version.cats", "train_on_new_version.dogs", "train_on_new_version.fish"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> AirflowHome:
    """Datasets of the same photos: the default function, one that fails while a file is there, a path that is wrong, and two that
    end the program or speak to Airflow."""
    home = AirflowHome(tmp_path_factory.mktemp("home") / "home")
    splits = ["train"] * 4 + ["validation", "test"]
    rows = "".join(f"{name},{5 + n / 10},{splits[n]}\n" for n, name in enumerate(PHOTOS[:6]))
    (home.directory / "scores.csv").write_text(f"id,score,split\n{rows}")
    fault = home.directory / "fault"
    fault.touch()
    trainings = {
        "cats": "options = { epochs = 1, size = 32 }",
        "dogs": f'train = "tests.support.trainers:fit_without_fault"\nretries = 0\noptions = {{ fault = "{fault}" }}',
        "fish": 'train = "nowhere.at.all:train"',
        "mice": 'train = "tests.support.faulty_trainers:ends_well"\nretries = 0',
        "rats": 'train = "tests.support.faulty_trainers:skips"\nretries = 0',
    }
    home.configure(
        *(
            home.table(name, more='split_column = "split"\nmax_label_shift = 1') + f"[{name}.training]\n{table}\n"
            for name, table in trainings.items()
        )
    )
    home.migrate()
    return home


@pytest.fixture(scope="module")
def commands(home: AirflowHome) -> Iterator[WarmAirflow]:
    with warm_airflow(home.env) as commands:
        yield commands


def url(home: AirflowHome, name: str) -> str:
    return f"{home.directory.as_uri()}/datasets/{name}/"


def built(home: AirflowHome, name: str) -> str:
    """Publish a version of a table's dataset, or find it there; without Airflow, which takes longer."""
    configs = {config.name: config for config in load_configuration(home.directory / "datasets.toml").datasets}
    return build_dataset(configs[name].build).manifest.version


def test_after_a_publish_it_makes_a_model_that_names_the_version_once(
    home: AirflowHome, commands: WarmAirflow, capsys: pytest.CaptureFixture[str]
) -> None:
    version = built(home, "cats")
    status, log = commands.run("dags", "test", DAG, "2026-11-22")
    assert status == 0, log[-3000:]
    folder = home.directory / "datasets" / "cats-training" / version
    assert {path.name for path in folder.iterdir() if path.is_file()} == {
        "model.keras",
        "metrics.json",
        "receipt.json",
        "done.json",
    }
    with zipfile.ZipFile(folder / "model.keras") as archive:
        assert json.loads(archive.read("config.json"))["config"]["name"] == f"trained_on_{version}"
    assert (receipt := find_receipt(folder / "model.keras")).version == version
    assert receipt.dataset == url(home, "cats")
    (pin,) = read_pins(open_store(url(home, "cats")))
    assert (pin.version, pin.move.by) == (version, receipt.run)
    assert main(["replay", str(folder / "model.keras"), "--json"]) == 0
    photos = {row["id"] for row in json.loads(capsys.readouterr().out)["records"]}
    assert photos <= {f"{name}.jpg" for name in PHOTOS[:4]} | set(PHOTOS[:4])
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    status, log = commands.run("dags", "test", DAG, "2026-11-23")
    assert status == 0, log[-3000:]
    assert f"version {version} was trained on with these settings: {folder.as_uri()}/; nothing is done" in log
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_a_version_that_is_not_there_fails_at_once_in_one_line(commands: WarmAirflow) -> None:
    status, log = commands.run("dags", "test", DAG, "2026-11-24", "-c", '{"version": "20200101T000000Z-none"}')
    assert status == 1
    assert "has no version '20200101T000000Z-none'; `aesthetics-ops versions` lists those it has" in log
    assert "up_for_retry" not in log


def test_a_failed_training_leaves_no_mark_and_the_next_run_trains(home: AirflowHome, commands: WarmAirflow) -> None:
    version = built(home, "dogs")
    folder = home.directory / "datasets" / "dogs-training" / version
    status, log = commands.run("dags", "test", ALONE, "2026-11-22")
    assert status == 1
    assert "the fault is there" in log
    assert not (folder / "done.json").exists()
    (home.directory / "fault").unlink()
    status, log = commands.run("dags", "test", ALONE, "2026-11-22")
    assert status == 0, log[-3000:]
    assert (folder / "done.json").is_file()
    assert {pin.version for pin in read_pins(open_store(url(home, "dogs")))} == {version}


def test_a_function_that_cannot_be_imported_fails_its_training_alone(home: AirflowHome, commands: WarmAirflow) -> None:
    built(home, "fish")
    status, log = commands.run("dags", "test", STAY, "2026-11-22")
    assert status == 1
    assert "train is 'nowhere.at.all:train', and module 'nowhere.at.all' cannot be imported" in log
    assert "up_for_retry" not in log


@pytest.mark.parametrize(
    ("name", "status", "said"),
    [
        ("mice", 1, "'tests.support.faulty_trainers:ends_well' raised SystemExit: 0, in line "),
        ("rats", 0, "too few photos are new"),
    ],
)
def test_a_function_that_ends_the_program_fails_and_one_that_skips_is_taken_at_its_word(
    home: AirflowHome, commands: WarmAirflow, name: str, status: int, said: str
) -> None:
    version = built(home, name)
    ended, log = commands.run("dags", "test", f"train_on_new_version.{name}", "2026-11-22")
    assert (ended, said in log) == (status, True), log[-3000:]
    assert not (home.directory / "datasets" / f"{name}-training" / version).exists()


@pytest.fixture(scope="module")
def airflow(home: AirflowHome) -> Iterator[Standalone]:
    with running(home) as airflow:
        for dag in ("cats", DAG, ALONE):
            until(partial(airflow.ask, "GET", f"dags/{dag}"), airflow.log)
            airflow.ask("PATCH", f"dags/{dag}", {"is_paused": False})
        yield airflow


def ended(airflow: Standalone, count: int) -> list[dict[str, Any]]:
    """The asset-triggered runs of the training, when so many have ended."""
    runs = airflow.ask("GET", f"dags/{DAG}/dagRuns?run_type=asset_triggered&order_by=id")["dag_runs"]
    done = [run for run in runs if run["state"] in ("success", "failed")]
    return done if len(done) == count else []


def states(airflow: Standalone, run: str, dag: str = DAG) -> dict[str, str]:
    tasks = airflow.ask("GET", f"dags/{dag}/dagRuns/{run}/taskInstances")["task_instances"]
    return {task["task_id"]: task["state"] for task in tasks}


def clear(airflow: Standalone, run: str, dag: str = DAG) -> None:
    how = {"dry_run": False, "task_ids": ["train"], "only_failed": False, "reset_dag_runs": True}
    airflow.ask("POST", f"dags/{dag}/clearTaskInstances", {"dag_run_id": run, **how})


def test_a_failed_training_is_cleared_and_trains(airflow: Standalone, home: AirflowHome) -> None:
    fault = home.directory / "fault"
    fault.touch()
    built(home, "dogs")
    for done in (home.directory / "datasets" / "dogs-training").rglob("done.json"):
        done.unlink()
    airflow.ask("POST", f"dags/{ALONE}/dagRuns", {"logical_date": None, "dag_run_id": "by_hand"})
    until(lambda: states(airflow, "by_hand", ALONE)["train"] == "failed", airflow.log)
    fault.unlink()
    clear(airflow, "by_hand", ALONE)
    until(lambda: states(airflow, "by_hand", ALONE)["train"] == "success", airflow.log)
    (done,) = (home.directory / "datasets" / "dogs-training").rglob("done.json")
    assert find_receipt(done.parent).run == f"{ALONE} by_hand"


def test_the_event_of_a_publish_trains_once_whatever_is_cleared_or_sent_again(
    airflow: Standalone, home: AirflowHome
) -> None:
    scores = home.directory / "scores.csv"
    scores.write_text(scores.read_text().replace("5.3", "6.3"))
    airflow.ask("POST", "dags/cats/dagRuns", {"logical_date": None, "dag_run_id": "night"})
    (run,) = until(lambda: ended(airflow, 1), airflow.log)
    version = json.loads(bytes(open_store(url(home, "cats")).get("LATEST.json").data))["version"]
    done = home.directory / "datasets" / "cats-training" / version / "done.json"
    assert (run["state"], states(airflow, run["dag_run_id"])) == ("success", {"choose": "success", "train": "success"})
    assert find_receipt(done.parent).run == f"{DAG} {run['dag_run_id']}"
    trained_at = done.stat().st_mtime_ns

    clear(airflow, run["dag_run_id"])
    until(lambda: states(airflow, run["dag_run_id"])["train"] == "skipped", airflow.log)

    assets = airflow.ask("GET", "assets?limit=100")["assets"]
    (asset,) = [each["id"] for each in assets if each["uri"] == f"{url(home, 'cats')}LATEST.json"]
    airflow.ask("POST", "assets/events", {"asset_id": asset, "extra": {"version": version}})
    second = until(lambda: ended(airflow, 2), airflow.log)[1]
    assert states(airflow, second["dag_run_id"]) == {"choose": "skipped", "train": "skipped"}
    assert done.stat().st_mtime_ns == trained_at
