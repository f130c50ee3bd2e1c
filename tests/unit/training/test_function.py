"""A function of the user's, whatever it does: one line that names it, nothing that counts as a training, and no other's fault."""

import zipfile
from pathlib import Path

import pytest

from aesthetics_ops.cli import main
from aesthetics_ops.errors import SettingsError, TrainingFailedError
from aesthetics_ops.store import open_store
from aesthetics_ops.training.finding import find_receipt
from aesthetics_ops.training.function import train_function
from aesthetics_ops.training.receipt import MODEL_RECEIPT
from tests.support.nights import build_voted
from tests.support.trainings import FAULTY, Place


@pytest.fixture(scope="module")
def voted(tmp_path_factory: pytest.TempPathFactory) -> str:
    return build_voted(tmp_path_factory.mktemp("votes"))


@pytest.fixture
def place(voted: str, tmp_path: Path) -> Place:
    (tmp_path / "trainings").mkdir()
    return Place(voted, tmp_path / "trainings")


RAISED = [
    ("two_lines", "ValueError: the first line and the second, in line"),
    ("no_text", "ValueError, in line"),
    ("missing_file", "FileNotFoundError: .*'/nowhere/weights.bin', in line"),
    ("missing_option", "KeyError: 'epochs', in line"),
    ("below", "LinAlgError: Singular matrix, in line"),
    ("no_memory", "MemoryError, in line"),
    ("ends_well", "SystemExit: 0, in line"),
    ("ends_badly", "SystemExit: usage: train FILE, in line"),
    ("too_deep", "RecursionError: maximum recursion depth exceeded.*, in line"),
    ("closed", "GeneratorExit, in line"),
    ("long", r"RuntimeError: x{500}\.\.\., in line"),
]


@pytest.mark.parametrize(("name", "message"), RAISED, ids=[name for name, _ in RAISED])
def test_what_a_function_raises_is_told_with_its_place_and_is_no_training(
    place: Place, name: str, message: str
) -> None:
    with pytest.raises(
        TrainingFailedError,
        match=f"^'{FAULTY}:{name}' raised {message} [0-9]+ of '.*faulty_trainers.py'; nothing is marked",
    ) as caught:
        place.train(name)
    assert "\n" not in str(caught.value)
    assert place.files() == []


def test_the_command_says_it_in_one_line_and_shows_the_rest_on_demand(
    place: Place, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    assert main(["train", place.dataset, "--train", f"{FAULTY}:ends_well", "--url", place.root.as_uri()]) == 1
    told = capsys.readouterr()
    assert (told.out, told.err.count("\n")) == ("", 1)
    assert told.err.startswith(f"aesthetics-ops: '{FAULTY}:ends_well' raised SystemExit: 0")
    caplog.set_level("INFO")
    assert (
        main(["train", place.dataset, "--train", f"{FAULTY}:two_lines", "--verbose", "--url", place.root.as_uri()]) == 1
    )
    assert "and the second" in caplog.text
    assert "Traceback" in caplog.text


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "one_argument",
            "cannot be called with a dataset and a context: too many positional arguments; write def one_argument",
        ),
        ("three_arguments", "cannot be called with a dataset and a context: missing a required argument: 'model'"),
        ("waits", "which is an async function"),
        ("Trainer", "which is a type, and no function"),
    ],
)
def test_what_cannot_be_called_as_it_must_be_is_refused_before_anything_is_pulled(name: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        train_function(f"{FAULTY}:{name}")


RETURNED = [
    ("a_dict", "returned a dict, and not"),
    ("model_number", "returned a int for a model"),
    ("model_folder", "which is no file below context.directory"),
    ("model_beside", "/beside.bin', which is no file below context.directory"),
    ("no_archive", "which is no whole .keras archive"),
    ("predictions_none", "predictions that are a NoneType, and no dict"),
    ("predictions_list", "predictions that are a list, and no dict"),
    ("ragged", "that are no numbers: ValueError"),
    ("imaginary", "that are no numbers: TypeError: their type is complex128"),
    ("numerals", "that are no numbers: TypeError: their type is <U3"),
    ("huge", "what is no finite number of 32 bits"),
    ("column", r"of shape \(2, 1\) .* the shape is \(2,\) or \(2, 3\)"),
    ("negative_shares", "distributions that are no shares: the least is -0.1"),
    ("counts_of_votes", "sums go from 60 to 60"),
    ("link_out", "left 'link.py' .* a link that leads out"),
    ("folder_out", "left 'linked' .* a link that leads out"),
    ("dangling", "left 'newest' .* which is no file"),
    ("line_break", r"the file 'two\\nlines', whose name a store may not keep"),
    ("no_utf8", r"the file '\\udcff.bin', whose name"),
    ("long_name", "the file 'n{220}', whose name"),
    ("taken_link", "wrote 'done.json' into context.directory, a name that is taken"),
    ("taken_folder", "wrote 'resume/' into context.directory, a name that is taken"),
    ("record_none", "this is a NoneType; give what state_dict"),
    ("record_two_readers", "has seed 2, and the one before it 1"),
    ("record_two_splits", "has split 'validation', and the one before it 'train'"),
    ("save_missing", "gone.bin' is to be saved, and is no file"),
    ("save_folder", "is to be saved, and is no file"),
    ("save_number", "the files to be saved are no paths"),
    ("save_none", "holds what JSON cannot"),
    ("save_odd_name", r"'context.save' gives the file 'two\\nlines'"),
]


@pytest.mark.parametrize(("name", "message"), RETURNED, ids=[name for name, _ in RETURNED])
def test_what_a_function_returns_or_leaves_and_may_not_is_one_line_and_no_training(
    place: Place, name: str, message: str
) -> None:
    with pytest.raises(SettingsError, match=message) as caught:
        place.train(name)
    assert "\n" not in str(caught.value)
    assert place.files() == []


@pytest.mark.parametrize("name", ["called", "model_text", "link_within", "odd_names"])
def test_what_is_odd_and_right_is_a_training(place: Place, name: str) -> None:
    done = place.train(name)
    found = open_store(done.assignment.folder)
    marked = set(found.list()["key"].to_pylist())
    assert marked >= {"model.bin", "done.json", "receipt.json", "metrics.json"}
    if name == "odd_names":
        assert {"ü 照.bin", "x%20y", "..dots", "read-back-model.bin", "d e/é.txt"} <= marked
        assert bytes(found.get("read-back-model.bin").data) == b"1"


def test_what_names_the_data_cannot_be_changed_by_the_function(place: Place) -> None:
    with pytest.raises(TrainingFailedError, match="cannot assign to field 'version'"):
        place.train("changes_the_context")
    done = place.train("changes_the_options", layers=[1])
    assert find_receipt(done.assignment.folder).options == {"layers": [1]}


def test_a_copied_model_holds_the_receipt_of_this_training_alone(place: Place) -> None:
    done = place.train("copied_archive")
    with zipfile.ZipFile(done.model.removeprefix("file://")) as archive:
        assert sorted(archive.namelist()) == [MODEL_RECEIPT, "config.json"]
    assert find_receipt(done.model).version == done.assignment.version
