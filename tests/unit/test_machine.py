"""How many cores a task takes for its own, and how much of memory and disk."""

import errno
import gc
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest

from aesthetics_ops import machine
from aesthetics_ops.errors import ScratchSpaceError, SettingsError
from aesthetics_ops.machine import (
    TASKS_VARIABLE,
    THREADS_VARIABLE,
    PixelRoom,
    batch_scheduling,
    codec_threads,
    cpus,
    free_memory,
    scratch_for,
    while_loading,
)


def test_without_limits_it_is_the_cores_of_the_mask(tmp_path: Path) -> None:
    assert cpus(tmp_path) == len(os.sched_getaffinity(0))


def test_the_mask_counts(tmp_path: Path) -> None:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert cpus(tmp_path) == 1
    finally:
        os.sched_setaffinity(0, before)


@pytest.mark.parametrize(
    ("limit", "expected"),
    [("max 100000", 64), ("150000 100000", 2), ("50000 100000", 1), ("100000 100000", 1), ("nonsense", 64), ("", 64)],
)
def test_a_control_group_limits_it(limit: str, expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(64)))
    (tmp_path / "cpu.max").write_text(limit)
    assert cpus(tmp_path) == expected


@pytest.mark.parametrize(("quota", "expected"), [("200000", 2), ("-1", 64)])
def test_so_does_one_of_version_1(quota: str, expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(64)))
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text(quota)
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000")
    assert cpus(tmp_path) == expected


def test_the_variable_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(THREADS_VARIABLE, "3")
    assert codec_threads() == 3
    monkeypatch.setenv(THREADS_VARIABLE, " ")
    assert codec_threads() == cpus()


@pytest.mark.parametrize(("tasks", "threads"), [("1", 6), ("2", 3), ("4", 2), ("16", 1)])
def test_tasks_side_by_side_share_the_cores(tasks: str, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "cpus", lambda: 6)
    monkeypatch.setenv(TASKS_VARIABLE, tasks)
    assert codec_threads() == threads
    monkeypatch.setenv(THREADS_VARIABLE, "5")
    assert codec_threads() == 5


@pytest.mark.parametrize("variable", [THREADS_VARIABLE, TASKS_VARIABLE])
@pytest.mark.parametrize("text", ["0", "-1", "two", "1.5", "²", "65537", "9" * 5000])
def test_a_wrong_variable_is_explained(text: str, variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, text)
    with pytest.raises(
        SettingsError, match=f"^{variable} is '{text[:40]}', but must be a whole number from 1 to 65536: "
    ):
        codec_threads()


@pytest.mark.parametrize("text", ["1", "65536", " 007 ", "0" * 5000 + "3"])
def test_a_whole_number_may_be_written_at_any_length(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(THREADS_VARIABLE, text)
    assert codec_threads() == {"1": 1, "65536": 65536, " 007 ": 7}.get(text, 3)


def test_pixels_in_work_never_exceed_the_room() -> None:
    room = PixelRoom(100)
    lock = threading.Lock()
    held = most = 0

    def work(pixels: int) -> None:
        nonlocal held, most
        with room.reserve() as take:
            take(pixels // 2)  # a first, smaller size
            take(pixels)
            with lock:
                held += pixels
                most = max(most, held)
            threading.Event().wait(0.001)
            with lock:
                held -= pixels

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, [30, 60, 90, 100, 10, 50, 20, 80] * 10, timeout=300))
    assert 0 < most <= 100


def test_a_photo_larger_than_the_room_is_alone_in_it() -> None:
    room = PixelRoom(100)
    entered = threading.Event()

    def small() -> None:
        with room.reserve() as take:
            take(1)
            entered.set()

    with room.reserve() as take:
        take(5000)
        waiting = threading.Thread(target=small)
        waiting.start()
        assert not entered.wait(0.1)
    assert entered.wait(300)
    waiting.join()


def test_a_photo_that_fails_gives_its_room_back() -> None:
    room = PixelRoom(100)

    def fail() -> None:
        with room.reserve() as take:
            take(100)
            raise ValueError("bad")

    with pytest.raises(ValueError, match="bad"):
        fail()
    with room.reserve() as take:
        take(100)


def _policy() -> int:
    return os.sched_getscheduler(0)


@pytest.mark.skipif(not hasattr(os, "SCHED_BATCH"), reason="Linux only")
def test_long_slices_reach_the_threads_started_meanwhile_and_end() -> None:
    before = _policy()
    with batch_scheduling(), ThreadPoolExecutor(1) as pool:
        assert (_policy(), pool.submit(_policy).result()) == (os.SCHED_BATCH, os.SCHED_BATCH)
    with ThreadPoolExecutor(1) as pool:
        assert (_policy(), pool.submit(_policy).result()) == (before, before)


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    yield tmp_path
    assert list(tmp_path.iterdir()) == []


def test_scratch_is_a_directory_that_goes_away(temporary: Path) -> None:
    with scratch_for(1) as scratch:
        assert scratch.parent == temporary
        assert stat.S_IMODE(scratch.stat().st_mode) == 0o700, "nobody else may look at photos on their way"
        (scratch / "file").write_bytes(b"x")


@contextmanager
def held_scratch(temporary: Path) -> Iterator[Path]:
    """Have another process hold a scratch directory with a file in it; it is killed at the end."""
    code = """
import time
from aesthetics_ops.machine import scratch_for
with scratch_for() as scratch:
    (scratch / "file").write_bytes(b"x")
    print(scratch, flush=True)
    time.sleep(60)
"""
    environment = os.environ | {"TMPDIR": str(temporary)}
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        try:
            yield Path(process.stdout.readline().strip())
        finally:
            process.kill()


def test_what_a_killed_process_left_goes_when_the_next_scratch_is_made_and_what_a_living_one_has_stays(
    temporary: Path,
) -> None:
    with held_scratch(temporary) as held:
        with held_scratch(temporary) as left:
            pass
        assert (left / "file").exists()
        with scratch_for():
            assert not left.exists()
            assert (held / "file").exists()
    with scratch_for():
        assert not held.exists()


def test_sweeping_touches_only_what_is_surely_scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    others = [
        tmp_path / "aesthetics-ops-data",
        tmp_path / "aesthetics-ops-scratch-without-lock",
        tmp_path / "elsewhere",
    ]
    for other in others:
        other.mkdir()
        (other / "file").write_bytes(b"x")
    (tmp_path / "elsewhere" / ".lock").write_bytes(b"")
    (tmp_path / "aesthetics-ops-scratch-link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "aesthetics-ops-scratch-file").write_bytes(b"x")
    before = sorted(tmp_path.rglob("*"))
    with scratch_for():
        pass
    assert sorted(tmp_path.rglob("*")) == before


def test_scratch_whose_owner_could_not_delete_it_whole_is_swept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    left = tmp_path / "aesthetics-ops-scratch-0123456789ab" / "plan-0"  # its lock went, then no file handle was left
    left.mkdir(parents=True)
    (left / "file").write_bytes(b"x")
    with scratch_for():
        pass
    assert list(tmp_path.iterdir()) == []


def test_scratch_is_deleted_though_no_file_handle_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def none_left(path: Path, ignore_errors: bool) -> None:
        (path / ".lock").unlink(missing_ok=True)  # as far as it comes

    with scratch_for() as scratch:
        (scratch / "plan-0").mkdir()
        (scratch / "plan-0" / "file").write_bytes(b"x")
        monkeypatch.setattr(shutil, "rmtree", none_left)
    assert list(tmp_path.iterdir()) == []


def test_many_make_and_sweep_scratch_at_once_and_nobody_loses_a_file(temporary: Path) -> None:
    def work(number: int) -> bool:
        with scratch_for() as scratch:
            (scratch / "file").write_bytes(b"x")
            return (scratch / "file").exists()

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(400), timeout=300))


def test_a_place_where_no_scratch_can_be_made_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "absent"))
    with (
        pytest.raises(ScratchSpaceError, match=r"no scratch directory can be made: .*absent.*; point TMPDIR"),
        scratch_for(),
    ):
        raise AssertionError("work began")


def test_too_little_scratch_is_refused_before_work_begins(temporary: Path) -> None:
    free = shutil.disk_usage(temporary).free
    with pytest.raises(ScratchSpaceError, match=r"may write .*TMPDIR.*shard_bytes"), scratch_for(10 * free):
        raise AssertionError("work began")


def test_a_disk_that_others_fill_is_named(temporary: Path) -> None:
    with pytest.raises(ScratchSpaceError, match=f"{temporary}.* is full"), scratch_for(1):
        raise OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(OSError, match="denied") as caught, scratch_for(1):
        raise OSError(errno.EACCES, "denied")
    assert not isinstance(caught.value, ScratchSpaceError)


MEMINFO = "MemTotal: 4000 kB\nMemFree: 100 kB\nMemAvailable: 1000 kB\n"


def group(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)


@pytest.mark.parametrize(
    ("limit", "used", "stat", "expected"),
    [
        ("max", "700000", "", 1_024_000),
        ("500000", "200000", "", 300_000),
        ("500000", "200000", "anon 90000\ninactive_file 50000\nactive_file 40000\nslab_reclaimable 1000\n", 391_000),
        ("5000000", "200000", "", 1_024_000),
        ("500000", "600000", "", 0),
        ("500000", "", "", 1_024_000),
    ],
)
def test_free_memory_is_what_the_machine_and_its_group_leave(
    limit: str, used: str, stat: str, expected: int, tmp_path: Path
) -> None:
    (tmp_path / "meminfo").write_text(MEMINFO)
    group(tmp_path / "groups", memory__max=limit, memory__current=used, memory__stat=stat)
    assert free_memory(tmp_path / "groups", tmp_path / "meminfo") == expected


def test_free_memory_knows_groups_of_version_1(tmp_path: Path) -> None:
    (tmp_path / "meminfo").write_text(MEMINFO)
    group(
        tmp_path / "groups" / "memory",
        memory__limit_in_bytes="500000",
        memory__usage_in_bytes="200000",
        memory__stat="total_inactive_file 1000\ntotal_active_file 20000\n",
    )
    assert free_memory(tmp_path / "groups", tmp_path / "meminfo") == 321_000


def test_free_memory_of_a_machine_that_does_not_say_has_no_limit(tmp_path: Path) -> None:
    assert free_memory(tmp_path, tmp_path / "meminfo") > 1 << 60


def test_free_memory_is_about_what_this_machine_has() -> None:
    assert 0 < free_memory() <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


class TestWhileLoading:
    """Python's collector of cycles rests while modules are loaded, and no longer."""

    @pytest.fixture(autouse=True)
    def as_before(self) -> Iterator[None]:
        yield
        gc.enable()

    @pytest.mark.parametrize("error", [None, ImportError, KeyboardInterrupt])
    def test_it_looks_again_afterwards_whatever_happens(self, error: type[BaseException] | None) -> None:
        with pytest.raises(error) if error else nullcontext(), while_loading():
            assert not gc.isenabled()
            with while_loading():
                assert not gc.isenabled()
            assert not gc.isenabled(), "the outer one is not done yet"
            if error:
                raise error
        assert gc.isenabled()

    def test_where_a_program_has_turned_it_off_it_stays_so(self) -> None:
        gc.disable()
        with while_loading():
            pass
        assert not gc.isenabled()
