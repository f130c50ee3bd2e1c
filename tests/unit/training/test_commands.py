"""`aesthetics-ops train`: what the DAG does, from a shell."""

import json
from pathlib import Path

import pytest

from aesthetics_ops.cli import main
from aesthetics_ops.dataset.pointers import read_pins
from aesthetics_ops.store import open_store
from aesthetics_ops.testing.datasets import SyntheticDataset, synthetic_photos

FIT = "tests.support.trainers:fit"


@pytest.fixture
def url(tmp_path: Path) -> str:
    url = f"{tmp_path.as_uri()}/my%20sets/dataset/"
    SyntheticDataset(open_store(url)).publish(synthetic_photos(40))
    return url


def test_it_trains_pins_and_says_where_the_model_is_once(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", url, "--train", FIT, "--seed", "3", "--options", '{"a": [1]}', "--run", "by hand", "--json"]
    assert main(words) == 0
    first = json.loads(capsys.readouterr().out)
    assert (first["is_new"], first["unit"], set(first["splits"])) == (True, "label", {"validation", "test"})
    receipt = json.loads(
        (Path(first["model"].removeprefix("file://").replace("%20", " ")).parent / "receipt.json").read_text()
    )
    assert (receipt["seed"], receipt["options"], receipt["run"]) == (3, {"a": [1]}, "by hand")
    assert main(words) == 0
    assert json.loads(capsys.readouterr().out) == first | {"is_new": False}
    (pin,) = read_pins(open_store(url))
    assert (pin.version, pin.move.by) == (first["version"], "by hand")
    assert main(["replay", first["model"].replace("model.npy", ""), "--batch", "0"]) == 0
    assert f"version {first['version']}, train: batch 0 of epoch 1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "status", "line"),
    [
        (["--options", "{"], 2, "--options '{' is not JSON"),
        (["--options", "[1]"], 2, "--options '[1]' is no JSON object"),
        (["--train", "fit"], 2, "train is 'fit', and no module:function; write one such as"),
        (["--seed", "-1"], 2, "seed is '-1', but input should be greater than or equal to 0"),
        (["--directory", "here"], 2, "directory is 'here', a relative path"),
        (["--version", ""], 1, "has no version ''"),
        (["--run", " "], 2, "argument --run: ' ' is no name of 1 to 500 characters"),
        (["--run", "two\nlines"], 2, "is no name of 1 to 500 characters that can be printed"),
        (["--run", "r" * 501], 2, "is no name of 1 to 500 characters"),
        (["--url", "DATASET"], 2, "are equal or one lies inside the other, so models would lie among other data"),
        (["--url", "DATASET/models"], 2, "are equal or one lies inside the other"),
        (["--url", "DATASET/.."], 2, "are equal or one lies inside the other"),
        (["--version", "none"], 1, "has no version 'none'"),
        (["--train", "nowhere.at.all:train"], 2, "module 'nowhere.at.all' cannot be imported"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_what_is_wrong_is_one_line(
    url: str, words: list[str], status: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", url, *(word.replace("DATASET", url.rstrip("/")) for word in words)]) == status
    said = capsys.readouterr().err
    assert line in said
    assert said.count("\n") == 1
