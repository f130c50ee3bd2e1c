"""What OpenLineage hears of a new version: the real DAG, and the provider's file transport."""

import json
from pathlib import Path
from typing import Any

import pytest

from aesthetics_ops.dataset.manifest import Manifest
from aesthetics_ops.dataset.reading_manifests import read_manifest
from aesthetics_ops.store import open_store
from tests.support.airflow_home import AirflowHome


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> AirflowHome:
    directory = tmp_path_factory.mktemp("home")
    transport = {"type": "file", "log_file_path": str(directory / "events.jsonl"), "append": True}
    home = AirflowHome(directory / "it", {"AIRFLOW__OPENLINEAGE__TRANSPORT": json.dumps(transport)})
    home.configure(home.table("cats"))
    home.migrate()
    return home


@pytest.fixture(scope="module")
def heard(home: AirflowHome) -> list[dict[str, Any]]:
    """The events of a night that made a version, and of one that found nothing changed."""
    for date in ("2026-11-01", "2026-11-02"):
        status, log = home.run("dags", "test", "cats", date)
        assert status == 0, log[-3000:]
    lines = (home.directory.parent / "events.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def told(heard: list[dict[str, Any]]) -> dict[str, Any]:
    """The one event with the version."""
    (event,) = [event for event in heard if any("version" in output["facets"] for output in event["outputs"])]
    return event


@pytest.fixture(scope="module")
def manifest(home: AirflowHome) -> Manifest:
    return read_manifest(open_store(f"{home.directory.as_uri()}/datasets/cats/"))


def test_each_task_tells_of_its_run_and_one_of_them_of_the_version(heard: list[dict[str, Any]], told: Any) -> None:
    assert {event["job"]["name"] for event in heard} >= {
        "cats",
        "cats.plan",
        "cats.download_and_convert",
        "cats.publish",
    }
    assert (told["eventType"], told["job"]["name"]) == ("RUNNING", "cats.publish")
    ended = [event for event in heard if event["run"]["runId"] == told["run"]["runId"]]
    assert {event["eventType"] for event in ended} >= {"START", "RUNNING", "COMPLETE"}


def test_photos_and_scores_are_its_inputs(told: Any, home: AirflowHome, manifest: Manifest) -> None:
    photos, scores = told["inputs"]
    assert (photos["namespace"], photos["name"]) == ("file", f"{home.directory}/photos")
    assert (scores["namespace"], scores["name"]) == ("file", f"{home.directory}/scores.csv")
    assert photos["inputFacets"]["inputStatistics"]["fileCount"] == manifest.accounting.listed == 6
    assert scores["inputFacets"]["inputStatistics"]["rowCount"] == manifest.accounting.label_rows == 6


def test_its_output_is_the_version_with_schema_statistics_and_quality(
    told: Any, home: AirflowHome, manifest: Manifest
) -> None:
    (output,) = told["outputs"]
    assert (output["namespace"], output["name"]) == ("file", f"{home.directory}/datasets/cats/LATEST.json")
    facets: dict[str, Any] = output["facets"]
    assert facets["version"]["datasetVersion"] == manifest.version
    fields = {field["name"]: field["type"] for field in facets["schema"]["fields"]}
    assert fields == {name: feature["dtype"] for name, feature in manifest.features.items()}
    statistics = output["outputFacets"]["outputStatistics"]
    assert (statistics["rowCount"], statistics["size"]) == (manifest.records, manifest.bytes) == (6, manifest.bytes)
    assert facets["dataQualityMetrics"]["rowCount"] == 6
    assert facets["dataQualityMetrics"]["columnMetrics"]["image/label"]["max"] == 5.5
    gates = {one["assertion"]: one for one in facets["dataQualityAssertions"]["assertions"]}
    assert set(gates) == {gate.name for gate in manifest.gates}
    assert all(one["success"] for one in gates.values())
    assert (gates["max_reject_fraction"]["actual"], gates["max_reject_fraction"]["expected"]) == (
        "0",
        "<= 0.05 fraction",
    )


def test_nothing_of_a_version_is_told_where_the_provider_has_no_transport(home: AirflowHome, tmp_path: Path) -> None:
    events = home.directory.parent / "events.jsonl"
    before = events.read_bytes()
    status, log = home.run(
        "dags", "test", "cats", "2026-11-03", "-c", '{"label_scale": "minmax"}',
        variables={"AIRFLOW__OPENLINEAGE__TRANSPORT": "", "OPENLINEAGE_CONFIG": str(tmp_path / "none.yml")},
    )  # fmt: skip
    assert status == 0, log[-3000:]
    assert events.read_bytes() == before
