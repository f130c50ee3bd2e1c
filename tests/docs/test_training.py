"""Every block of docs/training.md is run: functions train, commands end well, the pod's command is what it would start."""

import json
import os
import re
import shlex
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import pytest
import torch
from jinja2 import Environment

from aesthetics_ops.cli import main
from aesthetics_ops.config import load_configuration
from aesthetics_ops.errors import TrainingFailedError
from aesthetics_ops.readers.dataset import open_dataset
from aesthetics_ops.store import open_store
from aesthetics_ops.training.context import TrainingContext
from aesthetics_ops.training.finding import find_receipt, replay_training
from aesthetics_ops.training.keras_model import KerasOptions
from aesthetics_ops.training.stage import Training, assign, train_version
from aesthetics_ops.training_settings import TrainingSettings, training_settings
from tests.support.nights import OF_VOTES, build_once, voted_source
from tests.support.paths import ROOT

# of Keras 3.15 with numpy 2: whenever weights are saved
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")

PAGE = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
OPTIONS = {"epochs": 3, "size": 64}
BUCKET = "s3://bucket/datasets/"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


LOOP, KERAS, NIMA, POD, DDP = blocks("python")
REPLAY, TORCHRUN = blocks("sh")


def test_there_are_no_other_blocks_and_each_says_that_it_is_run() -> None:
    assert re.findall(r"^```(\w*)$", PAGE, re.MULTILINE).count("") == len(blocks("toml")) + 7
    assert len(re.findall(r"^<!-- run by tests/docs/test_training.py.* -->\n```(python|sh)$", PAGE, re.MULTILINE)) == 7


@pytest.fixture(scope="module")
def datasets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where `s3://bucket/datasets/` lies: `cats` with votes for three ratings, in three splits."""
    source = voted_source(tmp_path_factory.mktemp("source").as_uri() + "/")
    root = tmp_path_factory.mktemp("datasets")
    settings = source.settings(**OF_VOTES, dataset=f"{root.as_uri()}/cats/")
    build_once(settings)
    return root


@pytest.fixture
def trainer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with the page's modules, which are imported as installed ones are."""
    package = tmp_path / "my_models"
    package.mkdir()
    monkeypatch.setitem(sys.modules, "my_models", ModuleType("my_models"))
    for name, block in {"loop": LOOP, "keras_fit": KERAS, "nima": NIMA}.items():
        path = package / f"{name}.py"
        path.write_text(block)
        spec = spec_from_file_location(f"my_models.{name}", path)
        module = module_from_spec(spec)
        monkeypatch.setitem(sys.modules, spec.name, module)
        spec.loader.exec_module(module)
    return tmp_path


def run(datasets: Path, name: str, folder: Path) -> Training:
    url = f"{datasets.as_uri()}/cats/"
    settings = training_settings(
        {"train": f"my_models.{name}:train", "url": folder.as_uri(), "options": OPTIONS}, url, "h"
    )
    return train_version(assign(open_store(url), None, settings), settings, run="r")


@pytest.mark.parametrize(("name", "unit"), [("loop", "label"), ("keras_fit", "label"), ("nima", "rating")])
def test_each_function_trains_and_every_batch_of_it_is_known(
    datasets: Path, trainer: Path, tmp_path: Path, name: str, unit: str
) -> None:
    done = run(datasets, name, tmp_path / "trainings")
    assert (done.metrics.unit, list(done.metrics.splits)) == (unit, ["validation", "test"])
    reader = open_dataset(f"{datasets.as_uri()}/cats/").numpy("train", batch=8, shuffle=True, seed=0, raw=True)
    for epoch in range(3):
        for number, (_, labels) in enumerate(reader):
            found = replay_training(done.assignment.folder, epoch=epoch, batch=number).records
            assert found["label"].to_pylist() == labels.tolist()
    if name == "loop":
        model = torch.load(done.model.removeprefix("file://"), weights_only=True)
        assert model["receipt"]["version"] == done.assignment.version


def test_the_loop_goes_on_where_a_try_died(
    datasets: Path, trainer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run(datasets, "loop", tmp_path / "whole")
    save = TrainingContext.save

    def die(context: TrainingContext, *what: Any) -> None:
        save(context, *what)
        raise RuntimeError("killed")

    monkeypatch.setattr(TrainingContext, "save", die)
    with pytest.raises(TrainingFailedError, match="killed"):
        run(datasets, "loop", tmp_path / "resumed")
    monkeypatch.setattr(TrainingContext, "save", save)
    resumed = run(datasets, "loop", tmp_path / "resumed")
    models = [torch.load(done.model.removeprefix("file://"), weights_only=True)["model"] for done in (whole, resumed)]
    for name, weights in models[0].items():
        torch.testing.assert_close(weights, models[1][name])
    assert [state["epoch"] for state in find_receipt(resumed.assignment.folder).reader] == [0, 1, 1, 2, 3]


def test_the_commands_that_replay_print_the_batch(
    datasets: Path, trainer: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done = run(datasets, "keras_fit", tmp_path / "cats-training")
    places = {f"{BUCKET}cats-training/VERSION": done.assignment.folder.rstrip("/"), BUCKET: f"{datasets.as_uri()}/"}
    for shown in REPLAY.splitlines():
        line = shown
        for word, place in places.items():
            line = line.replace(word, place)
        command, *words = shlex.split(line)
        assert (command, main(words)) == ("aesthetics-ops", 0)
        assert done.assignment.version in capsys.readouterr().out


def test_the_tables_are_what_the_configuration_takes(tmp_path: Path) -> None:
    for block in blocks("toml"):
        (tmp_path / "datasets.toml").write_text(block)
        (config,) = load_configuration(tmp_path / "datasets.toml").datasets
        assert (config.training_problem, config.training_dag) == ("", "train_on_new_version.cats")
        assert config.training is not None
        assert config.training.url == f"{BUCKET}cats-training/"


class _Pod:
    """Stands for KubernetesPodOperator, which needs a cluster: keeps what it was told."""

    made: ClassVar[list[dict[str, Any]]] = []

    def __init__(self, **told: Any) -> None:
        self.made.append(told)


def test_the_pods_command_trains(
    datasets: Path, trainer: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    operators = ModuleType("airflow.providers.cncf.kubernetes.operators.pod")
    operators.KubernetesPodOperator = _Pod  # type: ignore[attr-defined]
    models = ModuleType("kubernetes.client.models")
    models.V1ResourceRequirements = SimpleNamespace  # type: ignore[attr-defined]
    sdk = ModuleType("airflow.sdk")
    sdk.Asset = str  # type: ignore[attr-defined]
    scheduled: list[Any] = []

    def dag(**how: Any) -> Any:
        scheduled.append(how)
        return lambda function: function

    sdk.dag = dag  # type: ignore[attr-defined]
    for module in (operators, models, sdk):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(POD, {})  # noqa: S102 - a page of this repository
    (pod,) = _Pod.made
    assert scheduled[0]["schedule"] == [f"{BUCKET}cats/LATEST.json"]
    assert pod["container_resources"].limits == {"nvidia.com/gpu": "1"}
    url = f"{datasets.as_uri()}/cats/"
    version = open_dataset(url).version
    event = SimpleNamespace(extra=SimpleNamespace(version=version))
    context = {
        "triggering_asset_events": {"asset": [event]}, "dag": SimpleNamespace(dag_id="train_in_a_pod"), "run_id": "night 1",
    }  # fmt: skip
    rendering = Environment(autoescape=False)  # noqa: S701 - a command, no page
    command = [rendering.from_string(word).render(context) for word in pod["cmds"] + pod["arguments"]]
    assert main([word.replace(f"{BUCKET}cats/", url) for word in command[1:]]) == 0
    assert f"trained on version {version}" in capsys.readouterr().out
    folder = datasets / "cats-training" / version
    assert find_receipt(folder).run == "train_in_a_pod night 1"
    assert json.loads((folder / "metrics.json").read_text())["splits"]["validation"]["records"] == 2
    assert main([word.replace(f"{BUCKET}cats/", url) for word in command[1:]]) == 0
    assert f"nothing done: trained before on version {version}" in capsys.readouterr().out


def test_two_processes_train_together_and_one_goes_on(datasets: Path, tmp_path: Path) -> None:
    (tmp_path / "ddp.py").write_text(DDP)
    (tmp_path / "checkpoints").mkdir()
    words = shlex.split(TORCHRUN.replace(BUCKET, f"{datasets.as_uri()}/"))
    assert words[:4] == ["torchrun", "--standalone", "--nproc-per-node", "2"]
    for ranks, steps, said in (
        (2, "1", "epoch 0, position 8, 2 ranks"),
        (1, words[-1], "epoch 1, position 0, 1 ranks"),
    ):
        command = [sys.executable, "-m", "torch.distributed.run", *words[1:3], str(ranks), *words[4:-1], steps]
        done = subprocess.run(
            command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}, capture_output=True,
            text=True, check=False, timeout=300,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
        assert said in done.stdout


@pytest.mark.parametrize("name", [*TrainingSettings.model_fields, *KerasOptions.model_fields])
def test_every_setting_and_option_stands_on_the_page(name: str) -> None:
    assert f"`{name}`" in PAGE


@pytest.mark.parametrize("name", [name for name in TrainingContext.__slots__ if not name.startswith("_")])
def test_every_field_of_the_context_that_is_for_functions_stands_on_the_page(name: str) -> None:
    assert f"`{name}`" in PAGE or name in ("settings", "folder", "reader")
