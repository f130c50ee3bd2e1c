"""Commands that train, in processes of their own: modules that cannot be imported, signals, and an output that was closed."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from aesthetics_ops.dataset.pointers import read_pins
from tests.support.nights import build_voted
from tests.support.paths import ROOT
from tests.support.trainings import FAULTY, Place


@pytest.fixture(scope="module")
def voted(tmp_path_factory: pytest.TempPathFactory) -> str:
    return build_voted(tmp_path_factory.mktemp("votes"))


@pytest.fixture
def place(voted: str, tmp_path: Path) -> Place:
    (tmp_path / "trainings").mkdir()
    return Place(voted, tmp_path / "trainings")


MODULES = {
    "no_python": ("def f(:\n", r"SyntaxError: .*no_python\.py, line 1"),
    "no_text": ("\udcff\udcfe", "SyntaxError: "),
    "raises": ("raise RuntimeError('at\\nimport')\n", "RuntimeError: at import"),
    "ends": ("import sys; sys.exit(0)\n", "SystemExit: 0"),
    "lacks": ("import nowhere_at_all\n", "No module named 'nowhere_at_all'"),
    "odd": ("import os; os.nothing\n", "AttributeError: module 'os' has no attribute 'nothing'"),
}


@pytest.mark.parametrize("name", MODULES)
def test_a_module_that_cannot_be_imported_is_told_and_pins_nothing(place: Place, tmp_path: Path, name: str) -> None:
    content, message = MODULES[name]
    (tmp_path / f"{name}.py").write_bytes(content.encode(errors="surrogateescape"))
    before = read_pins(place.store)
    command = [sys.executable, "-m", "aesthetics_ops", "train", place.dataset, "--train", f"{name}:f"]
    found = subprocess.run(
        [*command, "--url", place.root.as_uri()],
        env=os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"},
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert (found.returncode, found.stdout, found.stderr.count("\n")) == (2, "", 1), found.stderr
    assert re.search(rf"train is '{name}:f', and module '{name}' cannot be imported \({message}", found.stderr)
    assert read_pins(place.store) == before
    assert place.files() == []


@pytest.mark.parametrize(
    ("number", "status", "line"),
    [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated"), (signal.SIGKILL, -9, None)],
)
def test_a_training_that_gets_a_signal_is_none_and_the_same_command_goes_on(
    place: Place, tmp_path: Path, number: signal.Signals, status: int, line: str | None
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    options = json.dumps({"signal": int(number)})
    flags = ["--train", f"{FAULTY}:killed_once", "--options", options, "--url", place.root.as_uri()]
    command = [sys.executable, "-m", "aesthetics_ops", "train", place.dataset, *flags]
    how = {"cwd": ROOT, "env": os.environ | {"TMPDIR": str(scratch)}, "capture_output": True, "text": True}
    first = subprocess.run(command, check=False, timeout=300, **how)  # type: ignore[call-overload]
    assert first.returncode == status, first.stderr
    assert first.stderr == (
        f"aesthetics-ops: {line}; the same command goes on where this one stopped\n" if line else ""
    )
    assert "done.json" not in place.files()
    assert line is None or list(scratch.iterdir()) == []
    second = subprocess.run(command, check=False, timeout=300, **how)  # type: ignore[call-overload]
    assert second.returncode == 0, second.stderr
    assert place.files() == ["done.json", "metrics.json", "model.bin", "receipt.json"]
    assert list(scratch.iterdir()) == [], "what a kill left is swept"


def test_a_function_that_closes_the_output_leaves_its_training_and_one_line(place: Place) -> None:
    command = [sys.executable, "-m", "aesthetics_ops", "train", place.dataset, "--train", f"{FAULTY}:closes_stdout"]
    found = subprocess.run(
        [*command, "--url", place.root.as_uri()],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert (found.returncode, "Traceback" in found.stderr) == (1, False), found.stderr
    assert "standard output" in found.stderr.splitlines()[-1]
    assert "done.json" in place.files()
