"""From a model to the photos of any of its batches; and what has no receipt, or another's, is refused in one line."""

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from aesthetics_ops import Dataset, open_dataset
from aesthetics_ops.cli import main
from aesthetics_ops.dataset.layout import VersionFile, published_key, version_key
from aesthetics_ops.errors import SettingsError
from aesthetics_ops.store import open_store
from aesthetics_ops.testing.datasets import SyntheticDataset, synthetic_photos
from aesthetics_ops.training.context import Trained, TrainingContext
from aesthetics_ops.training.finding import find_receipt, replay_training
from aesthetics_ops.training.receipt import state_of_epoch
from aesthetics_ops.training.stage import Training, assign, train_version
from aesthetics_ops.training_settings import training_settings

GOT: list[list[tuple[int, list[float]]]] = []  # of each epoch, each batch's epoch and labels


def train(dataset: Dataset, context: TrainingContext) -> Trained:
    """Three epochs, whose batches are noted; the model is an archive as Keras writes them."""
    options: Any = dict(context.options)
    batches = dataset.numpy("train", raw=True, seed=context.seed, **options)
    context.record(batches.state_dict())
    GOT.clear()
    for epoch in range(3):
        GOT.append([(epoch, labels.tolist()) for _, labels in batches])
        context.record(batches.state_dict())
    path = context.directory / "model.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", "{}")
    return Trained(path, {split: [0.0] * dataset.splits[split].records for split in context.evaluated})


def trained(root: Path, **options: Any) -> Training:
    url = f"{root.as_uri()}/dataset/"
    store = open_store(url)
    if store.head("LATEST.json") is None:
        SyntheticDataset(store).publish(synthetic_photos(40))
    settings = training_settings({"train": f"{__name__}:train", "seed": 5, "options": options}, url, "here")
    return train_version(assign(store, None, settings), settings, run="r")


OPTIONS: list[dict[str, Any]] = [
    {"batch": 10, "shuffle": True},
    {"batch": 5, "shuffle": "block", "block": 4, "window": 2},
    {"batch": 10, "shuffle": True, "last": "drop"},
    {"batch": 10, "shuffle": True, "balance": "label"},
    {"batch": 10, "shuffle": True, "where": "label > 4"},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_every_batch_of_every_epoch_is_found_again_from_folder_receipt_and_model(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    done = trained(tmp_path, **options)
    folder = done.assignment.folder
    for what in (folder, f"{folder}receipt.json", done.model, done.model.removeprefix("file://")):
        receipt = find_receipt(what)
        for epoch, batches in enumerate(GOT):
            for number, (_, labels) in enumerate(batches):
                found = replay_training(receipt, epoch=epoch, batch=number)
                assert found.records["label"].to_pylist() == labels
                assert (found.state.epoch, found.batches) == (epoch, len(batches))
    last = replay_training(folder)
    assert last.records["label"].to_pylist() == GOT[-1][-1][1]


def said(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    status = main(["replay", *words])
    printed = capsys.readouterr()
    return status, printed.err.strip() if status else printed.out.strip()


def test_the_command_prints_ids_and_etags(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done = trained(tmp_path, batch=10, shuffle=True)
    status, printed = said(capsys, done.model, "--epoch", "1", "--batch", "2", "--json")
    rows = json.loads(printed)["records"]
    assert (status, [row["label"] for row in rows]) == (0, GOT[1][2][1])
    assert all(row["id"] and row["key"] and row["etag"] for row in rows)
    dataset = done.assignment.dataset
    assert said(capsys, dataset, "--training", done.model, "--epoch", "1", "--batch", "2", "--json")[1] == printed
    status, printed = said(capsys, done.assignment.folder, "--epoch", "0")
    assert printed.splitlines()[0].startswith(
        f"version {done.assignment.version}, train: batch 3 of epoch 0, on 1 rank"
    )


def test_a_dataset_that_moved_is_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done = trained(tmp_path, batch=10)
    open_dataset(done.assignment.dataset).pull(tmp_path / "pulled")
    (tmp_path / "dataset").rename(tmp_path / "moved")
    assert said(capsys, done.model)[0] == 1
    for place in (tmp_path / "moved", tmp_path / "pulled"):
        assert said(capsys, str(place), "--training", done.model)[0] == 0


def test_what_is_no_training_or_not_of_this_dataset_is_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done = trained(tmp_path / "one", batch=10)
    other = f"{(tmp_path / 'other').as_uri()}/"
    SyntheticDataset(open_store(other)).publish(synthetic_photos(41))
    with zipfile.ZipFile(tmp_path / "foreign.keras", "w") as archive:
        archive.writestr("config.json", "{}")
    (tmp_path / "text.keras").write_text("no archive")
    (tmp_path / "some.json").write_text('{"kind": "other"}')
    begun = open_store(f"{tmp_path.as_uri()}/begun/")
    begun.put("receipt.json", b"{}")
    for words, status, line in (
        ([str(tmp_path / "foreign.keras")], 2, "foreign.keras has no receipt, so what it was trained on is not known"),
        ([str(tmp_path / "text.keras")], 2, "text.keras has no receipt"),
        ([str(tmp_path / "some.json")], 1, "some.json is not a receipt of a training"),
        ([str(tmp_path / "nothing.keras")], 1, "nothing.keras' does not exist"),
        ([str(tmp_path / "begun")], 1, "begun/ has no finished training: done.json is missing"),
        (
            [done.assignment.dataset],
            1,
            "has no finished training: done.json is missing; give the folder of one version",
        ),
        ([other, "--training", done.model], 1, f"the receipt is of version '{done.assignment.version}' of"),
        ([done.model, "--epoch", "3"], 2, "the training has no epoch 3: it read epochs 0 to 2"),
        ([done.model, "--batch", "9"], 2, "epoch 2 has no past batch 9"),
        ([done.model, "--rank", "1"], 2, "has no rank 1"),
        ([done.model, "--state", "x", "--epoch", "1"], 2, "--state is of one epoch"),
    ):
        found, said_line = said(capsys, *words)
        assert (found, said_line.count("\n")) == (status, 0), said_line
        assert line in said_line


def test_another_dataset_with_a_version_of_that_name_is_told_apart_by_the_manifest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done = trained(tmp_path / "one", batch=10)
    version, manifest = done.assignment.version, version_key(done.assignment.version, VersionFile.MANIFEST)
    other = open_store(f"{(tmp_path / 'other').as_uri()}/dataset/")
    SyntheticDataset(other).publish(synthetic_photos(40), settings={"split_salt": "other"})
    (theirs,) = [key for key in other.list("versions/")["key"].to_pylist() if key.endswith("manifest.json")]
    assert (theirs == manifest) == (version in theirs)
    text = bytes(other.get(theirs).data).decode().replace(theirs.split("/")[1], version)
    other.put(manifest, text.encode())
    for key in ("LATEST.json", published_key(theirs.split("/")[1])):
        other.delete([key])
    status, line = said(capsys, other.url, "--training", done.model)
    assert (status, line.count("\n")) == (2, 0), line
    assert f"version '{version}' of another dataset, {other.url}, has a manifest of sha256 " in line


def test_a_version_that_is_gone_is_said_to_be(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done = trained(tmp_path, batch=10)
    store, version = open_store(done.assignment.dataset), done.assignment.version
    SyntheticDataset(store).publish(synthetic_photos(41))
    store.delete([published_key(version), *store.list(f"versions/{version}/")["key"].to_pylist()])
    status, line = said(capsys, done.model)
    assert (status, line.count("\n")) == (1, 0)
    assert f"the model was trained on version '{version}' of {store.url}, which is gone" in line


def test_a_manifest_that_was_written_anew_is_not_the_one_of_the_receipt(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done = trained(tmp_path, batch=10)
    store, key = open_store(done.assignment.dataset), version_key(done.assignment.version, VersionFile.MANIFEST)
    store.put(key, bytes(store.get(key).data) + b"\n")
    for key in ("LATEST.json", published_key(done.assignment.version)):  # which would tell, too
        store.delete([key])
    status, line = said(capsys, done.model)
    assert (status, line.count("\n")) == (2, 0)
    assert "has a manifest of sha256 " in line


def test_a_receipt_without_states_says_so(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="recorded none"):
        state_of_epoch([])


def test_an_epoch_that_was_broken_off_is_known_as_far_as_it_came(tmp_path: Path) -> None:
    SyntheticDataset(open_store("memory://broken/d/")).publish(synthetic_photos(40))
    batches = open_dataset("memory://broken/d/").numpy("train", batch=10, raw=True, shuffle=True)
    begun = batches.state_dict()
    for _ in batches:
        pass
    second = iter(batches)
    next(second)
    states = [begun, batches.state_dict()]
    assert (state_of_epoch(states)["epoch"], state_of_epoch(states)["position"]) == (1, 10)
    assert (state_of_epoch(states, 0)["epoch"], state_of_epoch(states, 0)["position"]) == (0, 32)
    with pytest.raises(SettingsError, match="no epoch 2: it read epochs 0 to 1"):
        state_of_epoch(states, 2)
    with pytest.raises(SettingsError, match="the training has no epoch 0: it read none"):
        state_of_epoch([begun])


def test_a_receipt_of_which_any_field_was_edited_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = Path(trained(tmp_path, batch=10, shuffle=True).assignment.folder.removeprefix("file://"))
    whole = (folder / "receipt.json").read_text()
    edited = tmp_path / "edited.json"
    edited.write_text(whole)
    assert said(capsys, str(edited))[0] == 0
    fields = [name for name in json.loads(whole) if name != "checksum"]
    states = [("reader", name) for name in json.loads(whole)["reader"][0]]
    for path in [*((name,) for name in fields), *states]:
        document = json.loads(whole)
        place = document if len(path) == 1 else document["reader"][-1]
        value = place[path[-1]]
        place[path[-1]] = value + 1 if type(value) is int else [] if isinstance(value, list) else f"{value}0"
        edited.write_text(json.dumps(document, indent=1))
        status, line = said(capsys, str(edited))
        assert (status, line.count("\n")) == (1, 0), path
        assert "its checksum is another one" in line, path


def test_a_receipt_of_another_training_in_a_folder_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        folders.append(Path(trained(tmp_path / name, batch=10).assignment.folder.removeprefix("file://")))
    (folders[0] / "receipt.json").write_bytes((folders[1] / "receipt.json").read_bytes())
    status, line = said(capsys, str(folders[0]))
    assert status == 1
    assert "receipt.json is of another training than done.json beside it" in line


@pytest.mark.parametrize("name", ["model.pt", "photo.jpg", "odd name%20.bin"])
def test_a_file_that_is_no_model_of_keras_says_what_to_give(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    (tmp_path / name).write_bytes(b"model")
    status, line = said(capsys, str(tmp_path / name))
    assert (status, line.count("\n")) == (2, 0)
    assert "is a file, and neither a receipt nor a .keras model" in line
    assert "receipt.json" in line
