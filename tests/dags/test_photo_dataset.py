"""The DAG as Airflow's parser sees it."""

import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from aesthetics_ops.config import AirflowSettings
from tests.support.paths import ROOT
from tests.support.warm_airflow import warm_airflow

_LOOK = """
import copy, json, sys
from airflow.dag_processing.dagbag import DagBag
bag = DagBag(sys.argv[1])
HOW = ("retries", "retry_delay", "execution_timeout", "pool", "queue", "owner", "executor_config")
stages = [name for name in sys.modules if name.startswith("aesthetics_ops.")]
loaded = [name for name in ("tensorflow", "cv2", "obstore", "duckdb") if name in sys.modules]

def mapped(task):
    # over what a task, or the group that it stands in, is mapped
    group = task.get_closest_mapped_task_group()
    if group:
        return group._expand_input.value
    return task.op_kwargs_expand_input.value if task.is_mapped else {}

def triggered(dag):
    # the form sends every field as JSON, and Airflow checks each against its schema
    from aesthetics_ops.settings import parse_settings
    if "photos" not in dag.params:
        return None
    params = copy.deepcopy(dag.params)
    params.update(json.loads(json.dumps(dict(dag.params))))
    return parse_settings(dict(params.validate()), where="form").model_dump(mode="json")

print(json.dumps({
    "errors": bag.import_errors,
    "loaded": loaded,
    "stages": stages,
    "dags": {dag.dag_id: {
        "schedule": dag.schedule,
        "catchup": dag.catchup,
        "max_active_runs": dag.max_active_runs,
        "run_types": sorted(dag.allowed_run_types or ()),
        "timezone": dag.timezone.name,
        "run_timeout": dag.dagrun_timeout,
        "starts_after": sorted(asset.uri for asset in getattr(dag.timetable.asset_condition, "objects", ())),
        "doc": dag.doc_md,
        "on_failure": dag.has_on_failure_callback,
        "on_success": dag.has_on_success_callback,
        "alarm_after": dag.deadline[0].interval if dag.deadline else None,
        "tags": sorted(dag.tags),
        "tasks": {task.task_id: {
            "downstream": sorted(task.downstream_task_ids),
            "how": {name: getattr(task, name) for name in HOW},
            "mapped": len(mapped(task).get("partition", ())) or None,
            "expanded": mapped(task).get("name"),
            "group": task.task_group.group_id,
            "inlets": [inlet.uri for inlet in task.inlets],
            "outlets": [outlet.name for outlet in task.outlets],
        } for task in dag.tasks},
        "triggered": triggered(dag),
        "params": {name: dag.params.get_param(name).schema | {"value": dag.params[name], "description": dag.params.get_param(name).description} for name in dag.params},
    } for dag in bag.dags.values()},
}, default=str))
"""


Parse = Callable[..., dict[str, Any]]


def environment(home: Path) -> dict[str, str]:
    """An environment whose secrets backend refuses every connection."""
    return os.environ | {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/absent/airflow.db",  # any look-up fails
    }


@pytest.fixture(scope="module")
def parsed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The DAGs of this repository, parsed in a fresh interpreter."""
    done = subprocess.run(
        [sys.executable, "-c", _LOOK, str(ROOT / "dags")],
        env=environment(tmp_path_factory.mktemp("airflow")), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout.splitlines()[-1]))


@pytest.fixture(scope="module")
def parse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parse]:
    """Parses a folder of DAGs, with variables of the environment, as Airflow's processor of DAGs does: in a child that has Airflow."""
    with warm_airflow(environment(tmp_path_factory.mktemp("airflow")), tasks=False) as airflow:

        def parse(folder: Path = ROOT / "dags", **variables: str) -> dict[str, Any]:
            status, said = airflow.python(_LOOK, str(folder), variables=variables)
            assert status == 0, said
            return dict(json.loads(said.splitlines()[-1]))

        yield parse


def test_the_dag_parses_without_errors_and_without_loading_a_stage(parsed: dict[str, Any]) -> None:
    assert parsed["errors"] == {}
    assert set(parsed["stages"]) == {
        "aesthetics_ops.airflow",
        "aesthetics_ops.airflow.access",
        "aesthetics_ops.airflow.asking",
        "aesthetics_ops.airflow.ending",
        "aesthetics_ops.airflow.lineage",
        "aesthetics_ops.airflow.links",
        "aesthetics_ops.airflow.log",
        "aesthetics_ops.airflow.notices",
        "aesthetics_ops.airflow.tasks",
        "aesthetics_ops.airflow.training",
        "aesthetics_ops.config",
        "aesthetics_ops.errors",
        "aesthetics_ops.key_template",
        "aesthetics_ops.parsing",
        "aesthetics_ops.settings",
        "aesthetics_ops.training_settings",
        "aesthetics_ops.urls",
    }
    assert parsed["loaded"] == []


def test_the_graph_is_plan_convert_validate_publish(parsed: dict[str, Any]) -> None:
    tasks = parsed["dags"]["photo_dataset"]["tasks"]
    assert {name: task["downstream"] for name, task in tasks.items()} == {
        "plan": ["download_and_convert"],
        "download_and_convert": ["validate"],
        "validate": ["publish"],
        "publish": [],
    }
    assert {name: task["mapped"] for name, task in tasks.items()} == {
        "plan": None, "download_and_convert": 8, "validate": 8, "publish": None,
    }  # fmt: skip
    groups = {"plan": None, "download_and_convert": "partitions", "validate": "partitions", "publish": None}
    assert {name: task["group"] for name, task in tasks.items()} == groups
    assert all(task["how"]["retries"] == 4 for task in tasks.values())


def test_lineage_goes_from_photos_and_scores_to_latest(parsed: dict[str, Any]) -> None:
    tasks = parsed["dags"]["photo_dataset"]["tasks"]
    assert tasks["plan"]["inlets"] == ["s3://aesthetics/photos", "s3://aesthetics/AVA.txt"]
    assert tasks["publish"]["inlets"] == ["s3://aesthetics/datasets/photo_dataset/LATEST.json"]
    assert tasks["publish"]["outlets"] == ["photo_dataset published"]


def test_it_runs_nightly_once_at_a_time_and_never_catches_up(parsed: dict[str, Any]) -> None:
    dag = parsed["dags"]["photo_dataset"]
    assert (dag["schedule"], dag["catchup"], dag["max_active_runs"]) == ("0 2 * * *", False, 1)
    assert {"scheduled", "manual", "asset_triggered"} <= set(dag["run_types"])
    assert "backfill" not in dag["run_types"]  # whose runs Airflow does not count among max_active_runs
    assert "To recover" in dag["doc"]


def test_every_setting_is_a_titled_and_explained_form_field_with_the_tables_value(parsed: dict[str, Any]) -> None:
    from aesthetics_ops.config import load_configuration
    from aesthetics_ops.settings import BuildSettings

    (config,) = load_configuration(ROOT / "samples" / "datasets.toml").datasets
    params = parsed["dags"]["photo_dataset"]["params"]
    assert set(params) == set(BuildSettings.model_fields)
    assert {name: param["value"] for name, param in params.items()} == config.build.model_dump(mode="json")
    assert all(param["title"] and param["description"] for param in params.values())
    assert params["encoding"]["enum"] == ["keep", "reencode"]
    assert (params["quality"]["minimum"], params["quality"]["maximum"]) == (1, 100)
    assert params["max_side_px"]["type"] == ["integer", "null"]
    assert re.match(params["photos"]["pattern"], "s3://bucket/photos/")
    assert not re.match(params["photos"]["pattern"], "bucket/photos/")


def test_every_field_of_the_form_but_the_three_urls_stands_in_a_section(parsed: dict[str, Any]) -> None:
    params = parsed["dags"]["photo_dataset"]["params"]
    sections = {name: param.get("section") for name, param in params.items()}
    assert {name for name, section in sections.items() if section is None} == {"photos", "labels", "dataset"}
    assert set(sections.values()) - {None} == {"Photos", "Scores", "Splits", "Pixels", "Shards", "Gates", "Store"}
    for section, names in {
        "Scores": (
            "sheet",
            "file_splits",
            "extra_scores",
            "keep_columns",
            "key_template",
            "vote_columns",
            "vote_values",
        ),
        "Splits": ("stratify",),
        "Pixels": ("min_side_px",),
    }.items():
        assert {sections[name] for name in names} == {section}


_PLACES = 'photos = "s3://b/p/"\nlabels = ["s3://b/1, more.csv", "s3://b/2.xlsx"]\n'
_TABLES = {
    "own_votes": 'vote_columns = ["bad", "so, so", "good"]\nvote_values = [1, 2.5, 3]\nlabel_range = [2, 2.75]\nmin_votes = 5\n'
    'key_template = "{folder}/img_{id:06d}.jpg"\nmin_side_px = 64\nsheet = "Sheet 2"\nfile_splits = { "1*.csv" = "train", "2.xlsx" = "test" }\n',
    "scores": 'score_column = "3"\nextra_scores = ["sharp, really", "Größe"]\nkeep_columns = ["year"]\nlabel_min = 0\nstratify = true\n',
    "in_text": 'extra_scores = "a, b"\nkeep_columns = "c"\nvote_columns = "r1..r3"\nvote_values = "1, 2, 3"\nlabel_range = "1, 2"\n'
    'file_splits = "a.csv=train, b.csv=test"\nexclude_tags = ["Nude", 3]\n',
    "numbers": "sheet = 2\nid_column = 1\nscore_column = 2\nsplit_column = 3\n",
}  # fmt: skip


def test_lists_and_tables_of_the_file_go_through_the_form_and_come_back_as_they_were(
    tmp_path: Path, parse: Parse
) -> None:
    from aesthetics_ops.config import load_configuration

    config = tmp_path / "mine.toml"
    config.write_text(
        "\n".join(f'[{name}]\n{_PLACES}dataset = "s3://b/{name}/"\n{table}' for name, table in _TABLES.items())
    )
    configuration = load_configuration(config)
    assert configuration.faulty == ()
    parsed = parse(AESTHETICS_CONFIG=str(config))
    assert parsed["errors"] == {}
    for table in configuration.datasets:
        dag = parsed["dags"][table.name]
        assert set(dag["tasks"]) == {"plan", "download_and_convert", "validate", "publish"}, dag["doc"]
        assert dag["triggered"] == table.build.model_dump(mode="json")
    votes, scores = (dict(parsed["dags"][name]["triggered"]) for name in ("own_votes", "scores"))
    assert votes["labels"] == "s3://b/1, more.csv, s3://b/2.xlsx"
    assert (votes["vote_columns"], votes["vote_values"]) == (["bad", "so, so", "good"], [1, 2.5, 3])
    assert votes["file_splits"] == ["1*.csv=train", "2.xlsx=test"]
    assert (scores["extra_scores"], scores["stratify"]) == (["sharp, really", "Größe"], True)
    assert parsed["dags"]["in_text"]["triggered"]["exclude_tags"] == ["Nude", "3"]
    assert [parsed["dags"]["numbers"]["triggered"][name] for name in ("sheet", "id_column", "split_column")] == [
        "2",
        "1",
        "3",
    ]


def test_a_second_table_is_a_second_dag_and_partitions_come_from_the_environment(tmp_path: Path, parse: Parse) -> None:
    config = tmp_path / "mine.toml"
    config.write_text(
        '[cats]\nphotos = "s3://b/cats/"\nlabels = "s3://b/cats.csv"\ndataset = "s3://b/out/cats/"\n'
        '[dogs]\nphotos = "s3://b/dogs/"\nlabels = "s3://b/dogs.csv"\ndataset = "s3://b/out/dogs/"\nquality = 90\n'
        '[dogs.airflow]\nschedule = ""\n'
    )
    parsed = parse(AESTHETICS_CONFIG=str(config), AESTHETICS_PARTITIONS="3")
    assert parsed["errors"] == {}
    assert set(parsed["dags"]) == {"cats", "dogs"}
    assert parsed["dags"]["dogs"]["params"]["quality"]["value"] == 90
    assert parsed["dags"]["dogs"]["schedule"] != parsed["dags"]["cats"]["schedule"] == "0 2 * * *"
    assert parsed["dags"]["cats"]["tasks"]["validate"]["mapped"] == 3


@pytest.mark.parametrize(("text", "words"), [("", "has no table"), ("[cats", "is not TOML")])
def test_a_file_that_is_wrong_as_a_whole_is_an_import_error_that_says_what_is_wrong(
    tmp_path: Path, parse: Parse, text: str, words: str
) -> None:
    config = tmp_path / "mine.toml"
    config.write_text(text)
    errors = parse(AESTHETICS_CONFIG=str(config))["errors"]
    assert {Path(file).name for file in errors} == {"photo_dataset.py", "expire_versions.py", "train_on_new_version.py"}
    assert all(words in error for error in errors.values())


def test_a_table_that_is_wrong_is_a_nightly_dag_that_says_why_and_stops_no_other(tmp_path: Path, parse: Parse) -> None:
    tables = {
        "good": "",
        "misspelt": "qualty = 3",
        '"two words"': "",
        "never": '[never.airflow]\nschedule = "61 25 * * *"',
        "nothing": '[nothing.airflow]\nschedule = "now and then"',
    }
    config = tmp_path / "mine.toml"
    config.write_text(
        "\n".join(
            f'[{name}]\nphotos = "s3://b/p/"\nlabels = "s3://b/l.csv"\ndataset = "s3://b/d{number}/"\n{more}'
            for number, (name, more) in enumerate(tables.items())
        )
    )
    parsed = parse(AESTHETICS_CONFIG=str(config))
    assert parsed["errors"] == {}
    dags = parsed["dags"]
    assert set(dags) == {"good", "misspelt", "two_words", "never", "nothing"}
    assert set(dags["good"]["tasks"]) == {"plan", "download_and_convert", "validate", "publish"}
    for name, problem in {
        "misspelt": "'qualty' is not a setting",
        "two_words": "cannot name a DAG",
        "never": "Airflow refuses the DAG of table [never]: ",
        "nothing": "Airflow refuses the DAG of table [nothing]: ",
    }.items():
        assert set(dags[name]["tasks"]) == {"read_configuration"}
        assert problem in dags[name]["doc"]
        assert (dags[name]["schedule"], dags[name]["tags"]) == ("0 2 * * *", ["dataset", "wrong configuration"])


@pytest.mark.parametrize("number", ["0", "abc"])
def test_a_wrong_number_of_partitions_is_an_import_error_that_names_variable_value_and_rule(
    parse: Parse, number: str
) -> None:
    parsed = parse(AESTHETICS_PARTITIONS=number)
    (error,) = parsed["errors"].values()
    assert f"AESTHETICS_PARTITIONS is '{number}', but must be a whole number from 1 to 1024" in error


def test_the_airflow_table_says_how_a_dag_is_run(tmp_path: Path, parse: Parse) -> None:
    config = tmp_path / "mine.toml"
    config.write_text(
        '[cats]\nphotos = "s3://b/p/"\nlabels = "s3://b/l.csv"\ndataset = "s3://b/cats/"\n[cats.airflow]\n'
        'timezone = "Europe/Berlin"\npartitions = 3\nretries = 1\nretry_delay_s = 5\ntask_timeout_h = 2\nrun_timeout_h = 6.5\n'
        'pool = "small"\nqueue = "big"\nowner = "ada"\ntags = ["vision", "nightly"]\nexecutor_config = {"KEY" = 1}\n'
        '[dogs]\nphotos = "s3://b/p/"\nlabels = "s3://b/l.csv"\ndataset = "s3://b/dogs/"\n[dogs.airflow]\n'
        'run_on = ["s3://b/l.csv", "s3://b/cats/LATEST.json"]\n'
        '[birds]\nphotos = "s3://b/p/"\nlabels = ["s3://b/1.csv", "s3://b/2.csv"]\ndataset = "s3://b/birds/"\n'
    )
    parsed = parse(AESTHETICS_CONFIG=str(config))
    assert parsed["errors"] == {}
    cats, dogs = parsed["dags"]["cats"], parsed["dags"]["dogs"]
    assert (cats["timezone"], cats["run_timeout"], cats["tags"]) == ("Europe/Berlin", "6:30:00", ["nightly", "vision"])
    for task in cats["tasks"].values():
        assert task["how"] == {
            "retries": 1,
            "retry_delay": "0:00:05",
            "execution_timeout": "2:00:00",
            "pool": "small",
            "queue": "big",
            "owner": "ada",
            "executor_config": {"KEY": 1},
        }
    assert {task["mapped"] for task in cats["tasks"].values()} == {None, 3}
    assert dogs["starts_after"] == ["s3://b/cats/LATEST.json", "s3://b/l.csv"]
    assert dogs["tasks"]["plan"]["how"]["retries"] == 4
    assert parsed["dags"]["birds"]["tasks"]["plan"]["inlets"] == ["s3://b/p", "s3://b/1.csv", "s3://b/2.csv"]


def test_a_dataset_that_asks_a_person_has_two_tasks_more_and_the_same_four(tmp_path: Path, parse: Parse) -> None:
    config = tmp_path / "mine.toml"
    table = '[{0}]\nphotos = "s3://b/p/"\nlabels = "s3://b/l.csv"\ndataset = "s3://b/{0}/"\n[{0}.airflow]\n{1}\n'
    config.write_text(
        table.format("asks", "ask_on_refusal = true\nanswer_within_h = 20\ntask_timeout_h = 2")
        + table.format("is_silent", "task_timeout_h = 2")
        + table.format("too_short", "ask_on_refusal = true\nrun_timeout_h = 12")
    )
    parsed = parse(AESTHETICS_CONFIG=str(config))
    assert parsed["errors"] == {}
    asks, silent = (dict(parsed["dags"][name]["tasks"]) for name in ("asks", "is_silent"))
    assert {name: task["downstream"] for name, task in asks.items()} == {
        "plan": ["download_and_convert"],
        "download_and_convert": ["validate"],
        "validate": ["publish"],
        "publish": ["ask"],
        "ask": ["promote"],
        "promote": [],
    }
    assert asks["promote"]["outlets"] == asks["publish"]["outlets"] == ["asks published"]
    assert asks["promote"]["inlets"] == ["s3://b/asks/LATEST.json"]
    assert set(silent) == {"plan", "download_and_convert", "validate", "publish"}
    assert {task["how"]["execution_timeout"] for task in asks.values()} == {"2:00:00"}
    assert "a person may take 12 hours of it" in parsed["dags"]["too_short"]["doc"]


def test_datasets_that_say_which_versions_stay_are_in_the_weekly_dag_of_expiry(tmp_path: Path, parse: Parse) -> None:
    tables = {"cats": "expire_keep = 30", "dogs": "expire_older_than_days = 90", "birds": "", "expire_versions": ""}
    config = tmp_path / "mine.toml"
    config.write_text(
        "\n".join(
            f'[{name}]\nphotos = "s3://b/p/"\nlabels = "s3://b/l.csv"\ndataset = "s3://b/d{number}/"\n[{name}.airflow]\n{line}'
            for number, (name, line) in enumerate(tables.items())
        )
    )
    parsed = parse(AESTHETICS_CONFIG=str(config))
    assert parsed["errors"] == {}
    expiry = parsed["dags"]["expire_versions"]
    assert (expiry["schedule"], expiry["max_active_runs"], expiry["catchup"]) == ("0 6 * * 0", 1, False)
    assert {name: task["expanded"] for name, task in expiry["tasks"].items()} == {"expire": ["cats", "dogs"]}
    assert "has the name of the DAG that expires versions" in parsed["dags"]["expire_versions_2"]["doc"]


def test_a_table_that_asks_for_it_has_a_dag_that_trains_on_each_new_version(tmp_path: Path, parse: Parse) -> None:
    tables = {
        "cats": '[cats.airflow]\nowner = "ada"\non_failure = { conn_id = "ops" }\n[cats.training]\nretries = 1\nretry_delay_s = 5\n'
        'task_timeout_h = 2\npool = "gpus"\nqueue = "gpu"\nexecutor_config = {"KEY" = 1}\ntags = ["models"]',
        "dogs": "[dogs.training]",
        "birds": "",
    }
    config = tmp_path / "mine.toml"
    config.write_text(
        "\n".join(
            f'[{name}]\nphotos = "s3://b/p/"\nlabels = "s3://b/l.csv"\ndataset = "s3://b/{name}/"\n{more}'
            for name, more in tables.items()
        )
    )
    parsed = parse(AESTHETICS_CONFIG=str(config))
    assert parsed["errors"] == {}
    assert parsed["loaded"] == []
    dags = parsed["dags"]
    assert set(dags) == {*tables, "train_on_new_version.cats", "train_on_new_version.dogs"}
    cats = dags["train_on_new_version.cats"]
    assert (cats["starts_after"], cats["max_active_runs"], cats["catchup"]) == (["s3://b/cats/LATEST.json"], 1, False)
    assert (cats["tags"], cats["on_failure"], "To recover" in cats["doc"]) == (["models"], True, True)
    assert {name: task["downstream"] for name, task in cats["tasks"].items()} == {"choose": ["train"], "train": []}
    usual = {"retries": 1, "retry_delay": "0:00:05", "owner": "ada"}
    assert cats["tasks"]["train"]["how"] == usual | {
        "execution_timeout": "2:00:00", "pool": "gpus", "queue": "gpu", "executor_config": {"KEY": 1},
    }  # fmt: skip
    assert cats["tasks"]["choose"]["how"] == usual | {
        "execution_timeout": None, "pool": "default_pool", "queue": "default", "executor_config": {},
    }  # fmt: skip
    assert list(cats["params"]) == ["version"]
    assert dags["train_on_new_version.dogs"]["on_failure"] is False


def test_a_training_table_that_is_wrong_fails_alone_and_the_dataset_is_built(tmp_path: Path, parse: Parse) -> None:
    tables = {
        "path": 'train = "no path"',
        "misspelt": "optoins = {}",
        "relative": 'directory = "here"',
        "inside": 'url = "s3://b/d3/models/"',
        "dates": "options = { since = 2026-11-26 }",
        "pool": "task_timeout_h = 1e300",
    }
    config = tmp_path / "mine.toml"
    config.write_text(
        "\n".join(
            f'[{name}]\nphotos = "s3://b/p/"\nlabels = "s3://b/l.csv"\ndataset = "s3://b/d{number}/"\n[{name}.training]\n{more}'
            for number, (name, more) in enumerate(tables.items())
        )
    )
    parsed = parse(AESTHETICS_CONFIG=str(config))
    assert parsed["errors"] == {}
    for name, problem in {
        "path": "train is 'no path', and no module:function; write one such as",
        "misspelt": "'optoins' is not a setting",
        "relative": "directory is 'here', a relative path",
        "inside": "url 's3://b/d3/models/' and dataset 's3://b/d3/' are equal or one lies inside the other",
        "dates": "options hold what JSON cannot",
        "pool": "Airflow refuses the DAG of [pool.training]",
    }.items():
        assert set(parsed["dags"][name]["tasks"]) == {"plan", "download_and_convert", "validate", "publish"}
        wrong = parsed["dags"][f"train_on_new_version.{name}"]
        assert set(wrong["tasks"]) == {"read_configuration"}
        (line,) = [line for line in wrong["doc"].splitlines() if line.startswith("    ")]
        assert problem in line
        assert f"[{name}" in line


PAGE = (ROOT / "docs" / "airflow.md").read_text()


@pytest.mark.parametrize("name", AirflowSettings.model_fields)
def test_every_key_of_the_airflow_table_stands_on_the_page(name: str) -> None:
    assert re.search(rf"^\| .*`{name}`.* \|", PAGE, re.MULTILINE)


def test_the_pages_table_is_a_dag(tmp_path: Path, parse: Parse) -> None:
    config = tmp_path / "mine.toml"
    table, asking, notifiers = blocks("toml")
    config.write_text("".join([table, *(block.removeprefix("[cats.airflow]") for block in (asking, notifiers))]))
    parsed = parse(AESTHETICS_CONFIG=str(config))
    cats = parsed["dags"]["cats"]
    assert (parsed["errors"], cats["schedule"], set(cats["tasks"])) == (
        {},
        "30 1 * * *",
        {"plan", "download_and_convert", "validate", "publish", "ask", "promote"},
    )
    assert (cats["on_failure"], cats["on_success"], cats["alarm_after"]) == (True, True, "1 day, 6:00:00")


def test_a_notifier_that_cannot_be_made_is_told_by_its_table_alone_in_one_line(tmp_path: Path, parse: Parse) -> None:
    tables = {
        "good": 'on_failure = { conn_id = "ops" }',
        "misspelt": 'on_failure = { class = "airflow.providers.smtp.notifications.smtp.SmtpNotifer", to = "a@b.c" }',
        "nowhere": 'on_published = [{ conn_id = "ops" }, { class = "nobody.has.This" }]',
        "arguments": 'on_refused = { class = "airflow.providers.http.notifications.http.HttpNotifier", url = "x" }',
        "built_in": 'on_failure = { connection = "ops" }',
        "no_notifier": 'on_late = { class = "collections.OrderedDict" }',
        "no_class": 'on_failure = { class = "SmtpNotifier" }',
        "nobody": "alarm_after_h = 30",
        "text": 'on_failure = "ops"',
    }
    config = tmp_path / "mine.toml"
    config.write_text(
        "\n".join(
            f'[{name}]\nphotos = "s3://b/p/"\nlabels = "s3://b/l.csv"\ndataset = "s3://b/d{number}/"\n[{name}.airflow]\n{line}'
            for number, (name, line) in enumerate(tables.items())
        )
    )
    dags = parse(AESTHETICS_CONFIG=str(config))["dags"]
    assert set(dags["good"]["tasks"]) == {"plan", "download_and_convert", "validate", "publish"}
    for name, problem in {
        "misspelt": "on_failure names the class 'airflow.providers.smtp.notifications.smtp.SmtpNotifer', which cannot be imported",
        "nowhere": "on_published names the class 'nobody.has.This', which cannot be imported (No module named 'nobody')",
        "arguments": "on_refused: HttpNotifier does not take url: ",
        "built_in": "on_failure: PostJson does not take connection: ",
        "no_notifier": "on_late names 'collections.OrderedDict', which is no notifier of Airflow",
        "no_class": "on_failure names the class 'SmtpNotifier', which cannot be imported",
        "nobody": "alarm_after_h is 30, but nobody is told of the alarm; name a notifier as on_late or on_failure",
        "text": "on_failure is 'ops', but ",
    }.items():
        assert set(dags[name]["tasks"]) == {"read_configuration"}
        (line,) = [line for line in dags[name]["doc"].splitlines() if line.startswith("    ")]
        assert problem in line
        assert f"table [{name}]" in line


def test_the_pages_training_dag_waits_for_the_asset_of_the_pages_table(tmp_path: Path, parse: Parse) -> None:
    (tmp_path / "dags").mkdir()
    (tmp_path / "dags" / "train.py").write_text(block("python"))
    parsed = parse(tmp_path / "dags")
    url = tomllib.loads(blocks("toml")[0])["cats"]["dataset"]
    assert (parsed["errors"], parsed["dags"]["train"]["starts_after"]) == ({}, [f"{url}LATEST.json"])


def block(language: str) -> str:
    """Return the page's one block in a language."""
    (found,) = blocks(language)
    return found


def blocks(language: str) -> list[str]:
    """Return the page's blocks in a language."""
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
