"""A test whose program is missing is skipped, and said so beforehand; in CI, with AESTHETICS_TEST_ALL set, it fails."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
THERE = "echo libturbojpeg.so.0"  # what ldconfig prints where the library is installed
SKIPPING = {
    "mark": "pytestmark = pytest.mark.skipif(True, reason='no program')\ndef test_it(): pass",
    "fixture": "@pytest.fixture\ndef it(): pytest.skip('no program')\ndef test_it(it): pass",
    "test": "def test_it(): pytest.skip('no program')",
    "module": "pytest.importorskip('no_such_module', reason='no program')\ndef test_it(): pass",
}


@pytest.mark.parametrize("workers", ["0", "1"])
def test_every_kind_of_skip_fails_where_all_tests_must_run(tmp_path: Path, workers: str) -> None:
    shutil.copy(TESTS / "conftest.py", tmp_path)
    for kind, text in SKIPPING.items():
        (tmp_path / f"test_{kind}.py").write_text(f"import pytest\n{text}\n")
    command = [sys.executable, "-m", "pytest", "-ra", "-n", workers, "--continue-on-collection-errors", str(tmp_path)]
    said = {}
    for all_must_run in ("", "1"):
        environment = os.environ | {"AESTHETICS_TEST_ALL": all_must_run, "PYTHONPATH": str(TESTS.parent)}
        said[all_must_run] = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=False
        ).stdout
    assert " 4 skipped in " in said[""]
    assert " 1 failed, 3 errors in " in said["1"]
    assert said["1"].count("no program -- AESTHETICS_TEST_ALL is set") >= len(SKIPPING)


def run_apt_sh(folder: Path, scripts: dict[str, str], all_must_run: str) -> subprocess.CompletedProcess[str]:
    """`tests/apt.sh suite` on a machine with these programs, and those of /usr/sbin."""
    for name, line in scripts.items():
        (folder / name).write_text(f"#!/bin/sh\n{line}\n")
        (folder / name).chmod(0o755)
    environment = {"PATH": str(folder), "AESTHETICS_TEST_ALL": all_must_run}
    command = ["/bin/sh", str(TESTS / "apt.sh"), "suite"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.parametrize("all_must_run", ["", "1"])
def test_nothing_is_said_where_nothing_is_missing(tmp_path: Path, all_must_run: str) -> None:
    run = run_apt_sh(tmp_path, {"chromium": "exit 1", "nginx": "exit 1", "ldconfig": THERE}, all_must_run)
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")


def test_without_root_one_line_says_which_tests_will_be_skipped(tmp_path: Path) -> None:
    run = run_apt_sh(tmp_path, {"id": "echo 1000", "nginx": "exit 1", "ldconfig": THERE}, "")
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout == (
        "not root, so nothing is installed; will be skipped: tests/browser in Chromium"
        " (to run them: apt-get install chromium)\n"
    )


def test_where_all_tests_must_run_a_missing_program_fails_before_the_first_test(tmp_path: Path) -> None:
    run = run_apt_sh(tmp_path, {"id": "echo 1000", "nginx": "exit 1", "ldconfig": THERE}, "1")
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr == "not root, so nothing is installed; tests need: chromium\n"


def test_a_library_that_is_missing_is_named_as_its_package(tmp_path: Path) -> None:
    programs = {"id": "echo 1000", "nginx": "exit 1", "chromium": "exit 1", "ldconfig": "echo libjpeg.so.62"}
    run = run_apt_sh(tmp_path, programs, "")
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout == (
        "not root, so nothing is installed; will be skipped: tests of progressive = baseline"
        " (to run them: apt-get install libturbojpeg0)\n"
    )
