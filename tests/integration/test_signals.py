"""A signal ends a command, and a task of a scheduler, whatever lets its exception fall: native code, a destructor, a handler that catches everything.

Rows are what lets it fall, columns are signals.  Each is a process of its own.  Likewise a command ends that writes to a pipe which is
full and which nobody reads, as of a pager that waits.
"""

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

SAID = {signal.SIGTERM: "terminated", signal.SIGINT: "interrupted"}

PROGRAM = """
import ctypes, gc, sys, time, weakref
from contextlib import suppress
from pathlib import Path
import duckdb
from aesthetics_ops.shell import catch_sigterm, guarded

def wait(*_):
    Path("waits").touch()
    time.sleep(60)

def once(*_):
    gc.callbacks.clear()
    wait()

class Thing:
    pass

class Closing:
    def __del__(self):
        wait()

def query():
    Path("waits").touch()
    duckdb.sql("SELECT sum(a.range * b.range) FROM range(10_000_000) a, range(1_000_000) b").fetchall()

def work():
{work}

def command():
    work()
    {then}
    return 0

catch_sigterm()
sys.exit(guarded(command, as_json=False, verbose=False))
"""

TASK = (
    PROGRAM[: PROGRAM.index("def command")]
    + """
import os, signal
from aesthetics_ops.signals import asked_to_end, ended_by_signals

def own(number, _):
    print("own handler", number, flush=True)

def last_words(number):
    print("last words", number, Path("tidied").exists(), flush=True)

signal.signal(signal.SIGTERM, own)
signal.signal(signal.SIGALRM, own)
signal.signal(signal.SIGINT, signal.SIG_DFL)
try:
    with ended_by_signals(Path("tidied").touch, last_words, seconds={seconds}):
        work()
        {then}
except BaseException as error:
    print("ended by", asked_to_end(), flush=True)
os.kill(os.getpid(), signal.SIGTERM)
"""
)

FALLS = {
    "nothing": "wait()",
    "a bare except": "try:\n    wait()\nexcept:\n    pass",
    "suppress": "with suppress(BaseException):\n    wait()",
    "a return in finally": "try:\n    wait()\nfinally:\n    return",
    "a destructor": "Closing()",
    "a weak reference's callback": "thing = Thing()\nkept = weakref.ref(thing, wait)\ndel thing",
    "the collector's callback": "gc.callbacks.append(once)\ngc.collect()",
    "a callback from C": "ctypes.CFUNCTYPE(None)(wait)()",
    "a query": "query()",
    "a query that may fail": "with suppress(Exception):\n    query()",
    "an error in its place": "try:\n    wait()\nexcept BaseException:\n    raise ValueError('of the library') from None",
    "falls twice": "for _ in range(2):\n    with suppress(BaseException):\n        wait()",
}


@contextmanager
def started(
    directory: Path, work: str, then: str = "time.sleep(60)", program: str = PROGRAM
) -> Iterator["subprocess.Popen[str]"]:
    """Start a command that waits in what lets the exception fall, and then goes on for a minute."""
    program = program.format(work="".join(f"    {line}\n" for line in work.splitlines()), then=then)
    path = [str(Path(__file__).parents[2])]
    with subprocess.Popen(
        [sys.executable, "-c", f"import sys; sys.path[:0] = {path}\n{program}"],
        cwd=directory, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        try:
            wait_for(directory / "waits")
            yield process
        finally:
            process.kill()


def wait_for(path: Path) -> None:
    for _ in range(30_000):
        if path.exists():
            return
        time.sleep(0.01)
    raise AssertionError("it did not come")


def assert_ended(process: "subprocess.Popen[str]", end: signal.Signals) -> None:
    out, err = process.communicate(timeout=120)
    line = f"aesthetics-ops: {SAID[end]}; the same command goes on where this one stopped\n"
    assert (process.returncode, out, err) == (128 + end, "", line)


@pytest.mark.parametrize("end", SAID, ids=lambda end: end.name)
@pytest.mark.parametrize("fall", FALLS)
def test_a_command_ends_whatever_lets_the_signal_fall(tmp_path: Path, fall: str, end: signal.Signals) -> None:
    with started(
        tmp_path, FALLS[fall], then="Path('goes on').touch(); time.sleep(4); Path('to the end').touch()"
    ) as process:
        process.send_signal(end)
        assert_ended(process, end)
    assert not (tmp_path / "to the end").exists()


@pytest.mark.parametrize("end", SAID, ids=lambda end: end.name)
@pytest.mark.parametrize("fall", ["nothing", "a query"])
def test_what_was_begun_is_put_in_order_first(tmp_path: Path, fall: str, end: signal.Signals) -> None:
    work = f"try:\n    {FALLS[fall]}\nfinally:\n    time.sleep(1)\n    Path('in order').touch()"
    with started(tmp_path, work) as process:
        process.send_signal(end)
        assert_ended(process, end)
    assert (tmp_path / "in order").exists()


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT, signal.SIGALRM], ids=lambda end: end.name)
@pytest.mark.parametrize("fall", ["nothing", "suppress", "a query", "an error in its place"])
def test_a_task_ends_whatever_lets_the_signal_fall_and_then_signals_are_handled_as_before(
    tmp_path: Path, fall: str, end: signal.Signals
) -> None:
    program = TASK.replace("{seconds}", "60")
    with started(tmp_path, FALLS[fall], program=program) as process:
        process.send_signal(end)
        out, err = process.communicate(timeout=120)
    assert (process.returncode, out, err) == (0, f"ended by {end:d}\nown handler {signal.SIGTERM:d}\n", "")
    assert not (tmp_path / "tidied").exists()


def test_a_task_that_catches_for_ever_is_ended_with_a_word(tmp_path: Path) -> None:
    work = "while True:\n    with suppress(BaseException):\n        wait()"
    with started(tmp_path, work, program=TASK.replace("{seconds}", "0.5")) as process:
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=120)
    assert (process.returncode, out, err) == (128 + signal.SIGTERM, f"last words {signal.SIGTERM:d} True\n", "")


def test_a_signal_to_a_forked_child_is_none_of_its_parents(tmp_path: Path) -> None:
    work = (
        "child = os.fork()\nif not child:\n    wait()\nwhile not Path('waits').exists():\n    time.sleep(0.01)\n"
        "os.kill(child, signal.SIGTERM)\nprint(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)"
    )
    with started(tmp_path, work, then="time.sleep(2)", program=TASK.replace("{seconds}", "0.5")) as process:
        out, err = process.communicate(timeout=120)
    assert (process.returncode, out, err) == (0, f"{-signal.SIGTERM}\nown handler {signal.SIGTERM:d}\n", "")


ORDERLY = "try:\n    wait()\nfinally:\n    Path('begins').touch()\n    time.sleep({})\n    Path('in order').touch()"


def test_sigterm_twice_is_once(tmp_path: Path) -> None:
    with started(tmp_path, ORDERLY.format(2)) as process:
        process.send_signal(signal.SIGTERM)
        wait_for(tmp_path / "begins")
        process.send_signal(signal.SIGTERM)
        assert_ended(process, signal.SIGTERM)
    assert (tmp_path / "in order").exists()


def test_ctrl_c_twice_is_impatience(tmp_path: Path) -> None:
    with started(tmp_path, ORDERLY.format(4)) as process:  # the second one comes before that is over
        process.send_signal(signal.SIGINT)
        wait_for(tmp_path / "begins")
        process.send_signal(signal.SIGINT)
        assert_ended(process, signal.SIGINT)
    assert not (tmp_path / "in order").exists()


def test_a_process_that_catches_for_ever_is_ended(tmp_path: Path) -> None:
    work = "while True:\n    with suppress(BaseException):\n        wait()"
    with started(tmp_path, work) as process:
        process.send_signal(signal.SIGTERM)
        assert_ended(process, signal.SIGTERM)


STUCK = """
import logging, os, sys, tempfile, time
from pathlib import Path
from aesthetics_ops.errors import SettingsError
from aesthetics_ops.machine import scratch_for
from aesthetics_ops.shell import catch_sigterm, guarded, leave, log_to_stderr, write_out

def command():
    Path("waits").touch()
    {work}
    return 0

tempfile.tempdir = os.getcwd()
catch_sigterm()
log_to_stderr(logging.INFO)
leave(guarded(command, as_json={says_more}, verbose={says_more}))
"""

STUCK_IN = {
    "its output": "write_out('x')",
    "a line of its log": "logging.warning('x')",
    "an error's line": "raise SettingsError('x')",
    "a bug's line": "raise ValueError('x')",
    "what the signal says": "time.sleep(60)",
    "scratch, and what the signal says": "with scratch_for(1):\n        time.sleep(60)",
    "a finally after the signal": "try:\n        time.sleep(60)\n    finally:\n        write_out('x')",
}


@pytest.mark.parametrize(
    ("end", "says_more"), [(signal.SIGTERM, False), (signal.SIGINT, True)], ids=["SIGTERM", "SIGINT json verbose"]
)
@pytest.mark.parametrize("stuck", STUCK_IN)
def test_a_command_ends_though_nobody_takes_what_it_writes(
    tmp_path: Path, stuck: str, end: signal.Signals, says_more: bool
) -> None:
    program = STUCK.format(work=STUCK_IN[stuck], says_more=says_more)
    path = [str(Path(__file__).parents[2])]
    with full_pipe() as full, subprocess.Popen(
        [sys.executable, "-c", f"import sys; sys.path[:0] = {path}\n{program}"], cwd=tmp_path, stdout=full, stderr=full
    ) as process:  # fmt: skip
        try:
            wait_for(tmp_path / "waits")
            process.send_signal(end)
            assert process.wait(timeout=120) == 128 + end
        finally:
            process.kill()
    assert [path.name for path in tmp_path.iterdir()] == ["waits"]


@contextmanager
def full_pipe() -> Iterator[int]:
    """Open a pipe that takes nothing more, and yield where to write."""
    reader, writer = os.pipe()
    try:
        os.set_blocking(writer, False)
        with suppress(BlockingIOError):
            while True:
                os.write(writer, bytes(fcntl.fcntl(writer, fcntl.F_GETPIPE_SZ)))
        os.set_blocking(writer, True)
        yield writer
    finally:
        os.close(reader)
        os.close(writer)
