"""A build in several processes: the same version as in one, and a clean end whatever comes between."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from aesthetics_ops.dataset.layout import partition_rows_key
from aesthetics_ops.errors import ObjectMissingError, SettingsError, TransientError
from aesthetics_ops.machine import codec_threads
from aesthetics_ops.pipeline import build_dataset, start_build
from aesthetics_ops.processes import crew
from aesthetics_ops.processes.crew import default_processes, run_build
from aesthetics_ops.store import S3Access, open_store
from aesthetics_ops.versions.verify import verify_version
from tests.support.crew import Counted, are_gone, at_first, end_first, others, scratch_left, stored_photos
from tests.support.nights import PHOTOS, START, Source


@pytest.fixture
def stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Source:
    return stored_photos(tmp_path, monkeypatch)


def test_several_processes_make_the_version_that_one_makes(stored: Source) -> None:
    progress = Counted()
    one = build_dataset(stored.settings(dataset=f"{stored.url}one/"), created_at=START)
    two = build_dataset(stored.settings(dataset=f"{stored.url}two/"), created_at=START, processes=2, progress=progress)
    assert two.manifest.splits == one.manifest.splits
    assert two.manifest.fingerprint == one.manifest.fingerprint
    tables = {name: file for name, file in (two.manifest.files or {}).items() if name.endswith(".parquet")}
    assert tables.items() <= (one.manifest.files or {}).items()
    verify_version(start_build(stored.settings(dataset=f"{stored.url}two/"))[0].dataset)
    assert progress.stages == [("convert, validate", 2 * len(PHOTOS), 2 * len(PHOTOS))]
    assert (others(), scratch_left()) == ([], [])


def test_a_process_that_is_killed_ends_the_build_and_the_next_one_goes_on(stored: Source) -> None:
    with pytest.raises(
        TransientError, match=r"was killed by signal 9: the machine may have too little memory; run the same"
    ):
        build_dataset(stored.settings(), processes=2, progress=at_first(lambda: os.kill(others()[0], signal.SIGKILL)))
    assert (others(), scratch_left()) == ([], []), "what the killed one left is deleted, too"
    assert build_dataset(stored.settings(), processes=2).is_new
    assert scratch_left() == []


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_process_that_is_told_to_end_ends_the_build_and_writes_nothing(
    stored: Source, end: signal.Signals, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(TransientError, match=r"^a process of this build ended with exit status 143; run the same"):
        build_dataset(stored.settings(), processes=2, progress=at_first(lambda: end_first(end)))
    assert (others(), scratch_left()) == ([], [])
    assert capfd.readouterr().err == ""


def test_a_process_that_cannot_start_says_why_in_the_one_line(
    stored: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    interpreter = tmp_path / "interpreter"
    interpreter.write_text("#!/bin/sh\necho Traceback >&2\necho 'ImportError: no room' >&2\nexit 7\n")
    interpreter.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(interpreter))
    with pytest.raises(TransientError, match=r"ended with exit status 7: ImportError: no room; run the same command"):
        build_dataset(stored.settings(), processes=2)
    assert capfd.readouterr().err == ""


def test_a_directory_with_modules_of_the_same_names_hides_none_from_a_process(
    stored: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    for name in ("json", "pickle", "queue", "numpy"):
        (tmp_path / "here" / f"{name}.py").write_text("raise SystemExit('hidden')\n")
    monkeypatch.chdir(tmp_path / "here")
    assert build_dataset(stored.settings(), processes=2).is_new


@pytest.mark.parametrize("variable", ["AESTHETICS_TASKS", "AESTHETICS_THREADS"])
@pytest.mark.parametrize("processes", [1, 2])
def test_a_wrong_variable_is_told_before_there_is_a_plan(
    stored: Source, variable: str, processes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "-3")
    with pytest.raises(SettingsError, match=f"^{variable} is '-3', but must be"):
        build_dataset(stored.settings(), processes=processes)
    assert list(open_store(f"{stored.url}dataset/").list()["key"]) == []


def test_an_interrupt_ends_all_processes_at_once(stored: Source) -> None:
    def interrupt() -> None:
        assert len(others()) == 2
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_dataset(stored.settings(), processes=2, progress=at_first(interrupt))
    assert (others(), scratch_left()) == ([], [])
    assert build_dataset(stored.settings()).is_new


@pytest.mark.parametrize(("end", "status"), [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGTERM, 128 + signal.SIGTERM)])
def test_processes_end_with_the_one_that_started_them(stored: Source, end: signal.Signals, status: int) -> None:
    """Killed, that one says nothing; told to end, it says one line."""
    settings = stored.settings()
    command = [sys.executable, "-m", "aesthetics_ops", "build", "--processes", "2"]
    for name in ("photos", "labels", "dataset", "shard_bytes", "partition_bytes"):
        command += [f"--{name.replace('_', '-')}", str(getattr(settings, name))]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as build:
        while build.poll() is None and not (found := others(build.pid)):
            time.sleep(0.02)
        time.sleep(0.5)
        build.send_signal(end)
        said = build.stderr.read() if build.stderr else ""
    assert build.returncode == status
    assert found
    assert are_gone(found)
    assert said == (
        "" if end == signal.SIGKILL else "aesthetics-ops: terminated; the same command goes on where this one stopped\n"
    )
    if end == signal.SIGTERM:
        assert scratch_left() == []


def test_what_goes_wrong_in_a_process_is_the_error_of_the_build(stored: Source) -> None:
    build, plan = start_build(stored.settings(), partitions=3)
    assert len(plan.partitions) == 3
    build.dataset.delete([partition_rows_key(build.id, 1)])
    with pytest.raises(ObjectMissingError) as one:
        build.partition_photos(plan, 1)
    with pytest.raises(ObjectMissingError) as several:
        run_build(build, plan, 2, lambda photos: None)
    assert str(several.value) == str(one.value)
    assert (others(), scratch_left()) == ([], [])


def test_what_several_processes_cannot_reach_is_said(source: Source, stored: Source) -> None:
    with pytest.raises(
        SettingsError, match=r"^memory://.* lies in the memory of one process; build with --processes 1$"
    ):
        build_dataset(source.settings(), processes=2)
    with pytest.raises(SettingsError, match=r"^several processes reach s3:// URLs by the environment only"):
        build_dataset(stored.settings(), processes=2, s3=S3Access(session=None))


@pytest.mark.parametrize(
    ("cores", "free", "expected"), [(1, 9, 1), (2, 9, 1), (3, 99, 1), (4, 99, 2), (16, 99, 8), (16, 3, 2), (64, 1, 1)]
)
def test_a_process_has_two_cores_and_room(
    monkeypatch: pytest.MonkeyPatch, cores: int, free: int, expected: int
) -> None:
    monkeypatch.delenv("AESTHETICS_THREADS", raising=False)
    monkeypatch.delenv("AESTHETICS_TASKS", raising=False)
    monkeypatch.setattr(crew, "cpus", lambda: cores)
    monkeypatch.setattr(crew, "free_memory", lambda: free * 10**9)
    assert default_processes() == expected
    monkeypatch.setenv("AESTHETICS_TASKS", "4")
    assert default_processes() == 1
    assert codec_threads() >= 1
