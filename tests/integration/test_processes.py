"""A build in several processes: the same version as in one, and a clean end whatever comes between."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from aesthetics_ops import processes
from aesthetics_ops.dataset.layout import partition_rows_key
from aesthetics_ops.errors import ObjectMissingError, SettingsError, TransientError
from aesthetics_ops.machine import codec_threads
from aesthetics_ops.pipeline import Progress, build_dataset, start_build
from aesthetics_ops.processes import default_processes, run_build
from aesthetics_ops.store import S3Access
from aesthetics_ops.versions.verify import verify_version
from tests.support.documents import make_reports_quick
from tests.support.nights import PHOTOS, START, Source, photo


@pytest.fixture
def stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Source:
    """Photos and scores in files, which other processes see, and a scratch folder that nobody else uses."""
    make_reports_quick(monkeypatch)
    (tmp_path / "scratch").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "scratch"))
    monkeypatch.setattr(tempfile, "tempdir", None)
    source = Source(f"{tmp_path.as_uri()}/", {})
    for name in PHOTOS:
        source.add(name, photo(name))
    source.score({name: number / 2 + 1 for number, name in enumerate(PHOTOS)})
    return source


def at_first(act: Callable[[], None]) -> Progress:
    """Return a progress that acts when the first photo of a build is done."""
    has_acted = False

    @contextmanager
    def progress(stage: str, total: int, unit: str) -> Iterator[Callable[[int], None]]:
        def told(amount: int) -> None:
            nonlocal has_acted
            if not has_acted:
                has_acted = True
                act()

        yield told

    return progress


def others(parent: int | None = None) -> list[int]:
    """Return the ids of the processes that a process has started for a build."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            is_child = int(status.read_text().rpartition(")")[2].split()[1]) == (parent or os.getpid())
            if is_child and b"aesthetics_ops.processes" in status.with_name("cmdline").read_bytes():
                found.append(int(status.parent.name))
    return found


def are_gone(found: list[int]) -> bool:
    """Wait a while for processes that nobody waits for any more."""
    for _ in range(600):
        if not any(Path(f"/proc/{process}").exists() for process in found):
            return True
        time.sleep(0.1)
    return False


def scratch_left() -> list[str]:
    return [path.name for path in Path(os.environ["TMPDIR"]).glob("aesthetics-ops-scratch-*")]


def test_several_processes_make_the_version_that_one_makes(stored: Source) -> None:
    counted: list[tuple[str, int, int]] = []

    @contextmanager
    def counting(stage: str, total: int, unit: str) -> Iterator[Callable[[int], None]]:
        done: list[int] = []
        yield done.append
        counted.append((stage, total, sum(done)))

    one = build_dataset(stored.settings(dataset=f"{stored.url}one/"), created_at=START)
    two = build_dataset(stored.settings(dataset=f"{stored.url}two/"), created_at=START, processes=2, progress=counting)
    assert two.manifest.splits == one.manifest.splits
    assert two.manifest.fingerprint == one.manifest.fingerprint
    tables = {name: file for name, file in (two.manifest.files or {}).items() if name.endswith(".parquet")}
    assert tables.items() <= (one.manifest.files or {}).items()
    verify_version(start_build(stored.settings(dataset=f"{stored.url}two/"))[0].dataset)
    assert counted == [("convert, validate", 2 * len(PHOTOS), 2 * len(PHOTOS))]
    assert (others(), scratch_left()) == ([], [])


def test_a_process_that_is_killed_ends_the_build_and_the_next_one_goes_on(stored: Source) -> None:
    with pytest.raises(
        TransientError, match=r"was killed by signal 9: the machine may have too little memory; run the same"
    ):
        build_dataset(stored.settings(), processes=2, progress=at_first(lambda: os.kill(others()[0], signal.SIGKILL)))
    assert others() == []
    assert build_dataset(stored.settings(), processes=2).is_new
    assert scratch_left() == []


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
    ("cores", "free", "expected"), [(2, 9, 1), (7, 99, 1), (8, 99, 2), (16, 99, 4), (16, 3, 2), (64, 1, 1)]
)
def test_a_process_has_about_four_cores_and_room(
    monkeypatch: pytest.MonkeyPatch, cores: int, free: int, expected: int
) -> None:
    monkeypatch.delenv("AESTHETICS_THREADS", raising=False)
    monkeypatch.delenv("AESTHETICS_TASKS", raising=False)
    monkeypatch.setattr(processes, "cpus", lambda: cores)
    monkeypatch.setattr(processes, "free_memory", lambda: free * 10**9)
    assert default_processes() == expected
    monkeypatch.setenv("AESTHETICS_TASKS", "4")
    assert default_processes() == 1
    assert codec_threads() >= 1
