"""The small Keras model that is trained by default."""

import zipfile
from pathlib import Path
from typing import Any

import keras  # type: ignore[import-untyped]
import numpy as np
import pytest

from aesthetics_ops import open_dataset
from aesthetics_ops.errors import SettingsError, TrainingFailedError
from aesthetics_ops.store import open_store
from aesthetics_ops.testing.datasets import SyntheticDataset, synthetic_photos
from aesthetics_ops.training.context import TrainingContext
from aesthetics_ops.training.finding import find_receipt, replay_training
from aesthetics_ops.training.keras_model import earth_movers_distance
from aesthetics_ops.training.stage import Training, assign, train_version
from aesthetics_ops.training_settings import training_settings
from tests.support.nights import build_voted

# of Keras 3.15 with numpy 2: whenever weights are saved
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")

OPTIONS = {"epochs": 2, "size": 32, "batch": 16}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A dataset with scores alone."""
    url = f"{tmp_path_factory.mktemp('plain').as_uri()}/dataset/"
    SyntheticDataset(open_store(url)).publish(synthetic_photos(40))
    return url


@pytest.fixture(scope="module")
def voted(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A dataset with votes for three ratings."""
    return build_voted(tmp_path_factory.mktemp("votes"))


def run(url: str, folder: Path, *, seed: int = 0, **options: Any) -> Training:
    settings = training_settings({"url": folder.as_uri(), "seed": seed, "options": OPTIONS | options}, url, "here")
    return train_version(assign(open_store(url), None, settings), settings, run="r")


def local(done: Training) -> Path:
    return Path(done.model.removeprefix("file://"))


def weights(done: Training) -> list[Any]:
    return [np.asarray(each) for each in keras.models.load_model(local(done)).weights]


@pytest.fixture(scope="module")
def done(plain: str, tmp_path_factory: pytest.TempPathFactory) -> Training:
    return run(plain, tmp_path_factory.mktemp("first"))


def test_the_model_names_its_version_and_holds_its_receipt(done: Training, plain: str) -> None:
    model = keras.models.load_model(local(done))
    assert model.name == f"trained_on_{open_dataset(plain).version}"
    assert model.input_shape == (None, 32, 32, 3)
    with zipfile.ZipFile(local(done)) as archive:
        assert archive.testzip() is None
    receipt = find_receipt(done.model)
    assert receipt == find_receipt(done.assignment.folder)
    assert receipt.packages.keys() >= {"keras", "tensorflow"}
    opened = open_dataset(plain)
    assert (receipt.dataset, receipt.manifest_sha256) == (plain, opened.source.manifest_sha256)


def test_the_photos_of_its_batches_are_known(done: Training, plain: str) -> None:
    reader = open_dataset(plain).numpy("train", batch=16, shuffle=True, seed=0, raw=True)
    for epoch in range(2):
        for number, (_, labels) in enumerate(reader):
            found = replay_training(done.model, epoch=epoch, batch=number)
            assert found.records["label"].to_pylist() == labels.tolist()


def test_the_saved_model_predicts_what_was_measured(done: Training, plain: str) -> None:
    model = keras.models.load_model(local(done))
    ((images, labels),) = open_dataset(plain).numpy("validation", size=32)
    found = np.abs(np.asarray(model.predict_on_batch(images))[:, 0] - labels).mean()
    assert done.metrics.splits["validation"].mae == pytest.approx(found, rel=1e-5)


def test_equal_seeds_give_equal_weights_and_others_do_not(done: Training, plain: str, tmp_path: Path) -> None:
    same, other = run(plain, tmp_path / "same"), run(plain, tmp_path / "other", seed=1)
    assert all(np.array_equal(one, two) for one, two in zip(weights(done), weights(same), strict=True))
    assert not np.array_equal(weights(done)[0], weights(other)[0])


def test_one_that_died_after_an_epoch_ends_as_one_that_did_not(
    done: Training, plain: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = TrainingContext.save

    def die(context: TrainingContext, *what: Any) -> None:
        save(context, *what)
        raise RuntimeError("killed after the first epoch")

    monkeypatch.setattr(TrainingContext, "save", die)
    with pytest.raises(TrainingFailedError, match="killed"):
        run(plain, tmp_path)
    monkeypatch.undo()
    resumed = run(plain, tmp_path)
    for one, two in zip(weights(done), weights(resumed), strict=True):
        np.testing.assert_array_equal(one, two)
    assert [state["epoch"] for state in find_receipt(resumed.model).reader] == [0, 1, 1, 2]


def test_votes_are_learned_by_the_earth_movers_distance(voted: str, tmp_path: Path) -> None:
    done = run(voted, tmp_path, epochs=1)
    validation = done.metrics.splits["validation"]
    assert (done.metrics.unit, validation.records) == ("rating", 2)
    assert validation.emd is not None
    assert 0 < validation.emd < 0.5
    model = keras.models.load_model(local(done))
    ((images, shares),) = open_dataset(voted).numpy("validation", size=32, labels="distribution")
    predicted = np.asarray(model.predict_on_batch(images))
    assert predicted.sum(axis=1) == pytest.approx(1, abs=1e-5)
    loss = np.asarray(earth_movers_distance(shares, keras.ops.convert_to_tensor(predicted)))
    assert validation.emd == pytest.approx(loss.mean(), abs=1e-5)


def test_the_score_may_be_learned_though_there_are_votes(voted: str, tmp_path: Path) -> None:
    done = run(voted, tmp_path, epochs=1, labels="label")
    assert (done.metrics.unit, done.metrics.splits["test"].emd) == ("label", None)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"labels": "distribution"}, "labels is 'distribution', but version '.*' has no votes; it has label"),
        ({"labels": "votes"}, "labels is 'votes', but input should be 'auto', 'label' or 'distribution'"),
        ({"epoch": 3}, "'epoch' is not a setting; the settings are batch, epochs, flip, labels, learning_rate, size"),
        ({"epochs": 0}, "epochs is 0, but input should be greater than or equal to 1"),
    ],
)
def test_an_option_that_is_wrong_is_one_line(plain: str, tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message) as caught:
        run(plain, tmp_path, **options)
    assert "\n" not in str(caught.value)
