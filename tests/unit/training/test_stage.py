"""One training of one version: what it leaves, what is not done twice, and what is refused in one line."""

import json
import uuid
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

import numpy as np
import pytest

from aesthetics_ops import Dataset
from aesthetics_ops.dataset.candidates import CandidateMark, RefusedGate
from aesthetics_ops.dataset.layout import VersionFile, candidate_key, published_key, version_key
from aesthetics_ops.dataset.pointers import read_pins
from aesthetics_ops.errors import (
    AestheticsOpsError,
    IntegrityError,
    LabelError,
    NoSuchSplitError,
    NoSuchVersionError,
    PermanentError,
    SettingsError,
    TrainingFailedError,
)
from aesthetics_ops.store import Store, open_store
from aesthetics_ops.testing.datasets import Photo, SyntheticDataset, synthetic_photos
from aesthetics_ops.testing.stores import AlteringStore
from aesthetics_ops.training import stage
from aesthetics_ops.training.context import Trained, TrainingContext
from aesthetics_ops.training.finding import find_receipt, replay_training
from aesthetics_ops.training.pins import pin_name
from aesthetics_ops.training.receipt import TrainingDone
from aesthetics_ops.training.stage import Training, assign, keep_version, train_version
from aesthetics_ops.training_settings import TrainingSettings, training_settings
from aesthetics_ops.versions.expire import expire_versions
from tests.support import trainers


class Nights:
    """A dataset and its trainings, in memory."""

    def __init__(self) -> None:
        self.url = f"memory://{uuid.uuid4().hex}/dataset/"
        self.store: Store = open_store(self.url)
        self.dataset = SyntheticDataset(self.store)

    def publish(self, photos: list[Photo] | None = None) -> str:
        return self.dataset.publish(synthetic_photos(40) if photos is None else photos).version

    def settings(self, **values: Any) -> TrainingSettings:
        return training_settings({"train": "tests.support.trainers:fit", **values}, self.url, "here")

    def train(self, version: str | None = None, **values: Any) -> Training:
        settings = self.settings(**values)
        return train_version(assign(self.store, version, settings), settings, run="run 7")

    def files(self, version: str) -> list[str]:
        return open_store(f"{self.settings().url}{version}/").list()["key"].to_pylist()


@pytest.fixture
def nights() -> Nights:
    return Nights()


def test_a_training_leaves_model_metrics_receipt_and_the_mark(nights: Nights) -> None:
    version = nights.publish()
    done = nights.train()
    names = ["done.json", "metrics.json", "model.npy", "notes/seed.txt", "receipt.json"]
    assert (done.is_new, nights.files(version)) == (True, names)
    assert done.model == f"{nights.url.removesuffix('/')}-training/{version}/model.npy"
    receipt = find_receipt(done.assignment.folder)
    assert (receipt.dataset, receipt.version, receipt.run) == (nights.url, version, "run 7")
    assert receipt.packages.keys() >= {"python", "aesthetics-ops", "numpy"}
    marked = TrainingDone.read(open_store(done.assignment.folder), "done.json")
    assert sorted(marked.files) == names[1:]
    assert {split: found.records for split, found in done.metrics.splits.items()} == {"validation": 4, "test": 4}
    assert done.metrics.unit == "label"


def test_nothing_of_it_lies_in_the_dataset_but_the_pin(nights: Nights) -> None:
    version = nights.publish()
    before = set(nights.store.list()["key"].to_pylist())
    settings = nights.settings()
    assignment = assign(nights.store, None, settings)
    name = keep_version(nights.store, assignment, run="train.cats manual__2026-11-22T00:00:00+00:00")
    train_version(assignment, settings, run="r")
    new = set(nights.store.list()["key"].to_pylist()) - before
    assert {key.partition("/")[0] for key in new} == {"pins", "log"}
    (pin,) = read_pins(nights.store)
    assert (pin.name, pin.version) == (name, version)
    assert name == pin_name("train.cats manual__2026-11-22T00:00:00+00:00", version, assignment.folder)
    assert assignment.folder in pin.move.reason
    keep_version(nights.store, assignment, run="train.cats manual__2026-11-22T00:00:00+00:00")  # a cleared task


def test_the_version_under_a_model_does_not_expire(nights: Nights) -> None:
    versions = [nights.publish(synthetic_photos(count)) for count in (40, 41, 42)]
    keep_version(nights.store, assign(nights.store, versions[0], nights.settings()), run="r" * 300)
    nights.store.delete(nights.store.list("log/")["key"].to_pylist())  # as if the moves were long ago
    nights.dataset.publish(synthetic_photos(43))
    gone = expire_versions(nights.store, keep=1, older_than=None, now=datetime(2027, 6, 1, tzinfo=UTC))
    assert versions[0] not in gone.versions
    assert versions[1] in gone.versions


def test_nothing_is_trained_twice_for_one_version_and_its_settings(nights: Nights) -> None:
    version = nights.publish()
    first = nights.train()
    assert assign(nights.store, version, nights.settings()).is_done
    again = nights.train()
    assert (first.is_new, again.is_new) == (True, False)
    assert again.metrics == first.metrics
    other = nights.train(seed=1)
    assert other.is_new
    receipt = find_receipt(other.assignment.folder)
    assert receipt.seed == 1
    assert not assign(nights.store, version, nights.settings()).is_done
    assert nights.train(seed=1, retries=9, queue="gpu").is_new is False, "how it is run is no part of it"


def test_a_training_that_ends_while_another_is_at_work_is_replaced_whole(
    nights: Nights, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = nights.publish()

    def slow(dataset: Dataset, context: TrainingContext) -> Trained:
        nights.train(seed=1)  # begins later, and ends before
        return trainers.fit(dataset, context)

    monkeypatch.setattr(trainers, "fit_slowly", slow, raising=False)
    nights.train(train="tests.support.trainers:fit_slowly")
    folder = open_store(f"{nights.settings().url}{version}/")
    marked = TrainingDone.read(folder, "done.json")
    assert marked is not None
    assert marked.files == {name: sha256(bytes(folder.get(name).data)).hexdigest() for name in marked.files}
    assert find_receipt(folder.url).train == "tests.support.trainers:fit_slowly"


def test_a_mark_is_not_there_while_files_are_replaced(nights: Nights, monkeypatch: pytest.MonkeyPatch) -> None:
    version = nights.publish()
    seen: list[bool] = []

    def look(method: str, key: str, data: bytes) -> bytes:
        if method == "upload":
            seen.append("done.json" in nights.files(version))
        return data

    def slow(dataset: Dataset, context: TrainingContext) -> Trained:
        nights.train(seed=1)
        monkeypatch.setattr(context.folder, "upload", watched.upload)
        return trainers.fit(dataset, context)

    watched = AlteringStore(open_store(f"{nights.settings().url}{version}/"), look)
    monkeypatch.setattr(trainers, "fit_slowly", slow, raising=False)
    nights.train(train="tests.support.trainers:fit_slowly")
    assert seen == [False] * 4


def test_files_that_another_training_left_go_when_the_new_one_is_done(nights: Nights) -> None:
    version = nights.publish()
    nights.train()
    nights.train(train="tests.support.trainers:returning")
    assert nights.files(version) == ["done.json", "metrics.json", "model.bin", "receipt.json"]


def test_a_mark_that_is_damaged_counts_for_nothing(nights: Nights) -> None:
    nights.publish()
    folder = open_store(nights.train().assignment.folder)
    folder.put("done.json", bytes(folder.get("done.json").data)[:-40])
    assert nights.train().is_new


@pytest.mark.parametrize("name", ["model.npy", "metrics.json", "receipt.json", "notes/seed.txt"])
def test_a_training_of_which_a_file_is_gone_is_none(
    nights: Nights, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    version = nights.publish()
    nights.train()
    whole = nights.files(version)
    open_store(f"{nights.settings().url}{version}/").delete([name])
    assert not assign(nights.store, version, nights.settings()).is_done
    assert nights.train().is_new
    assert f"has a mark, and {name} is gone (1 of 4 files); the version is trained on again" in caplog.text
    assert nights.files(version) == whole


@pytest.mark.parametrize("times", [1, 9])
def test_a_model_that_the_store_alters_is_sent_again_or_refused(
    nights: Nights, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    version, left = nights.publish(), [times]

    def alter(method: str, key: str, data: bytes) -> bytes:
        if method != "upload" or key != "model.npy" or not left[0]:
            return data
        left[0] -= 1
        return data[:-1] + b"?"

    monkeypatch.setattr(stage, "open_store", lambda url, **how: AlteringStore(open_store(url, **how), alter))
    if times == 1:
        assert nights.train().is_new
    else:
        with pytest.raises(IntegrityError, match=r"model.npy was written 2 times, and the store holds something else"):
            nights.train()
    assert ("done.json" in nights.files(version)) == (times == 1)


def test_a_training_that_died_leaves_no_mark_and_the_next_goes_on_from_what_it_saved(nights: Nights) -> None:
    version = nights.publish()
    trainers.tries.clear()
    path = "tests.support.trainers:fit_at_the_second_try"
    with pytest.raises(TrainingFailedError, match="killed"):
        nights.train(train=path)
    assert [key for key in nights.files(version) if not key.startswith("resume/")] == []
    assert nights.train(train=path).is_new
    assert trainers.tries == ["nothing", "second"]
    assert nights.files(version) == ["done.json", "metrics.json", "model.bin", "receipt.json"]
    receipt = find_receipt(f"{nights.settings().url}{version}/")
    batches = replay_training(receipt).batches
    keys = [replay_training(receipt, batch=number).records["key"].to_pylist() for number in range(batches)]
    assert [len(batch) for batch in keys] == [8] + [4] * 6, "8 photos before the fault, then 4 at once"
    assert len({key for batch in keys for key in batch}) == 32, "each once"


@pytest.mark.parametrize("name", ["../../weights.bin", "/etc/weights.bin", ".."])
def test_a_saved_state_whose_files_lead_elsewhere_is_not_taken_up(
    nights: Nights, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    nights.publish()
    trainers.tries.clear()
    settings = nights.settings(train="tests.support.trainers:fit_at_the_second_try")
    folder = open_store(assign(nights.store, None, settings).folder)
    for _ in range(2):
        with pytest.raises(TrainingFailedError, match="killed"):
            train_version(assign(nights.store, None, settings), settings, run="r")
        state = json.loads(bytes(folder.get("resume/state.json").data))
        del state["checksum"]
        folder.put("resume/state.json", json.dumps(state | {"files": [name]}).encode())
    assert trainers.tries == ["nothing", "nothing"]
    assert "a file's name leads out of its folder; the training begins anew" in caplog.text


def test_what_a_training_of_other_settings_saved_is_not_taken_up(nights: Nights) -> None:
    nights.publish()
    trainers.tries.clear()
    for seed in (0, 1):
        with pytest.raises(TrainingFailedError, match="killed"):
            nights.train(train="tests.support.trainers:fit_at_the_second_try", seed=seed)
    assert trainers.tries == ["nothing", "nothing"]


def test_a_directory_of_ones_own_keeps_the_version_for_the_next(nights: Nights, tmp_path: Any) -> None:
    nights.publish()
    nights.train(directory=str(tmp_path / "here"))
    assert (tmp_path / "here" / "manifest.json").is_file()


@pytest.mark.parametrize(
    ("train", "message"),
    [
        ("nowhere.at.all:train", "module 'nowhere.at.all' cannot be imported"),
        ("tests.support.trainers:missing", "has no 'missing'; correct the path"),
        ("tests.support.trainers:NOT_A_FUNCTION", "which is a int, and no function"),
        ("tests.support.trainers:nothing", r"returned a NoneType, and not aesthetics_ops\.Trained"),
        ("tests.support.trainers:no_model", "which is no file below context.directory"),
        ("tests.support.trainers:model_elsewhere", "which is no file below context.directory"),
        ("tests.support.trainers:no_predictions", "returned no predictions for split 'validation'"),
        (
            "tests.support.trainers:too_few",
            r"of shape \(1,\) for split 'validation'; the shape is \(4,\), in reading order",
        ),
        ("tests.support.trainers:text", "predictions for split 'validation' that are no numbers"),
        ("tests.support.trainers:not_finite", "what is no finite number"),
        ("tests.support.trainers:taken_name", "wrote 'receipt.json' into context.directory, a name that is taken"),
        ("tests.support.trainers:foreign_state", "the state is of version 'other'"),
        ("tests.support.trainers:state_of_before", "record the states of one reader as it goes on"),
        ("tests.support.trainers:unsaveable", "holds what JSON cannot"),
    ],
)
def test_a_function_that_breaks_the_contract_is_told_in_one_line_and_leaves_no_mark(
    nights: Nights, train: str, message: str
) -> None:
    version = nights.publish()
    with pytest.raises(SettingsError, match=message) as caught:
        nights.train(train=train)
    assert "\n" not in str(caught.value)
    assert nights.files(version) == []


def only(*splits: str, score: float | None = None) -> list[Photo]:
    return [
        Photo(photo.id, photo.jpeg, photo.score if score is None else score, photo.split)
        for photo in synthetic_photos(40)
        if photo.split in splits
    ]


@pytest.mark.parametrize(
    ("photos", "kind", "message"),
    [
        (only("validation", "test"), NoSuchSplitError, r"has no records in split 'train' \(4 validation, 4 test\)"),
        (
            only("train", "test"),
            NoSuchSplitError,
            r"has no records in split 'validation' \(32 train, 4 test\), so no model",
        ),
        (only("train", "validation", score=5), LabelError, "all 32 labels of the training split .* are 5, so there is"),
    ],
    ids=["no train split", "no validation split", "labels all equal"],
)
def test_a_version_that_cannot_be_trained_on_says_why(
    nights: Nights, photos: list[Photo], kind: type[PermanentError], message: str
) -> None:
    nights.publish(photos)
    with pytest.raises(kind, match=message) as caught:
        nights.train()
    assert "\n" not in str(caught.value)


def test_without_a_test_split_validation_alone_is_measured(nights: Nights) -> None:
    nights.publish(only("train", "validation"))
    assert list(nights.train().metrics.splits) == ["validation"]


def test_a_version_that_is_not_there_or_was_never_published_is_refused(nights: Nights) -> None:
    with pytest.raises(NoSuchVersionError, match="nothing is published under"):
        nights.train()
    version = nights.publish()
    with pytest.raises(NoSuchVersionError, match="has no version '20200101T000000Z-0-0'"):
        nights.train("20200101T000000Z-0-0")
    nights.publish(synthetic_photos(41))
    nights.store.delete([published_key(version)])  # as an expiry takes it
    with pytest.raises(NoSuchVersionError, match="was never published, or is being deleted"):
        nights.train(version)


def test_a_candidate_is_not_trained_on(nights: Nights) -> None:
    nights.publish()
    version = nights.publish(synthetic_photos(41))
    mark = nights.store.get(published_key(version))
    nights.store.delete([published_key(version), "LATEST.json"])
    sha256 = json.loads(bytes(mark.data))["sha256"]
    gate = RefusedGate(name="min_records", measured=41, limit=50, bound="least", found="41 records")
    refused = CandidateMark(
        version=version, sha256=sha256, parent=None, latest_etag=None, content="0" * 64, refused=(gate,)
    )
    nights.store.put(candidate_key(version), refused.encoded())
    with pytest.raises(NoSuchVersionError, match=r"is a candidate, refused by min_records; .*promote") as caught:
        nights.train(version)
    assert "\n" not in str(caught.value)


def test_a_version_that_expires_between_choice_and_training_is_told_in_one_line(nights: Nights) -> None:
    version, settings = nights.publish(), nights.settings()
    assignment = assign(nights.store, None, settings)
    nights.publish(synthetic_photos(41))
    nights.store.delete([published_key(version), version_key(version, VersionFile.MANIFEST)])
    with pytest.raises(AestheticsOpsError, match=version) as caught:
        train_version(assignment, settings, run="r")
    assert isinstance(caught.value, NoSuchVersionError)


def test_a_manifest_that_changed_since_the_choice_is_refused(nights: Nights) -> None:
    nights.publish()
    settings = nights.settings()
    assignment = assign(nights.store, None, settings)
    altered = type(assignment)(**{**_fields(assignment), "manifest_sha256": "0" * 64})
    with pytest.raises(IntegrityError, match="another manifest than when it was chosen"):
        train_version(altered, settings, run="r")


def _fields(assignment: Any) -> dict[str, Any]:
    return {name: getattr(assignment, name) for name in type(assignment).__slots__}


def test_the_metrics_are_those_of_the_predictions(nights: Nights) -> None:
    nights.publish()
    done = nights.train(train="tests.support.trainers:returning")
    from aesthetics_ops import open_dataset

    labels = open_dataset(nights.url).open_split("validation").labels
    found = done.metrics.splits["validation"]
    assert found.mae == pytest.approx(np.abs(np.arange(4) - labels).mean())
    assert found.spearman == pytest.approx(_spearman(labels))
    assert found.emd is None
    kept = json.loads(bytes(open_store(done.assignment.folder).get("metrics.json").data))
    assert kept["splits"]["validation"]["mae"] == found.mae


def _spearman(labels: Any) -> float:
    assert len(set(labels.tolist())) == 4
    ranks = np.argsort(np.argsort(labels))
    return 1 - 6 * float(np.square(ranks - np.arange(4)).sum()) / (4 * 15)
