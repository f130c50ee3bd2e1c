"""What a command owes the shell that runs it: a line and an exit status, whatever happens to it.

In: a command.  Out: what it prints on stdout; on stderr one line for whatever stopped it; its exit status.
Promised: no traceback, unless the user asks for it.  SIGTERM ends the process within seconds and leaves no scratch files.
"""

import argparse
import atexit
import errno
import json
import logging
import os
import signal
import sys
import threading
import traceback
import typing
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, NoReturn, TextIO

from tqdm import tqdm

from aesthetics_ops import signals
from aesthetics_ops.errors import AestheticsOpsError, GateError, ScratchSpaceError
from aesthetics_ops.machine import drop_scratch
from aesthetics_ops.parsing import whole_number
from aesthetics_ops.system import next_step

__all__ = [
    "catch_sigterm",
    "counted",
    "guarded",
    "leave",
    "log_to_stderr",
    "one_line",
    "open_closed_streams",
    "positive",
    "show_progress",
    "write_out",
]

_STDOUT: Final = "standard output"
_BUG: Final = 4
_BROKEN_PIPE: Final = 128 + signal.SIGPIPE
_ENDS: Final[dict[int, str]] = {
    signal.SIGTERM: "terminated",
    signal.SIGINT: "interrupted",
    signal.SIGHUP: "the terminal is gone",
}

_MOST: Final = 10**9  # that a flag can count
_LONGEST_NAME: Final = 300  # characters of a file's name that a message shows

_LACKS_OF_MEMORY: Final = (
    "can't start new thread",
    "Failed to launch worker thread",
    "failed to map segment",
    "Resource temporarily unavailable",
    "Cannot allocate memory",
    "bad_alloc",
    "Insufficient memory",
)
_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


def positive(text: str) -> int:
    """Return the whole number that a flag was given.

    Raises:
        ArgumentTypeError: it is none, or none from 1 to 10^9.
    """
    return counted(text, 1)


def counted(text: str, least: int = 0) -> int:
    """Return the whole number that a flag was given.

    Raises:
        ArgumentTypeError: it is none, or none from `least` to 10^9.
    """
    number = whole_number(text, least, _MOST)
    if number is None:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a whole number from {least} to {_MOST}")
    return number


def guarded(command: Callable[[], int], *, as_json: bool, verbose: bool) -> int:
    """Run a command; whatever it raises becomes one line on stderr and an exit status.

    Args:
        command: writes with `write_out`, and returns its exit status.
        as_json: an error goes to stdout too, as one JSON document.
        verbose: show the traceback of what is no `AestheticsOpsError`.
    """
    try:
        try:
            return _ended(command)
        finally:
            signals.arrive()
    except KeyboardInterrupt:
        return _ended_by(signals.asked_to_end() or signal.SIGINT)
    except signals.EndedError:
        return _ended_by(signals.asked_to_end() or signal.SIGTERM)
    except Exception as error:  # the process boundary: no traceback reaches a user
        if isinstance(error, BrokenPipeError) and error.filename == _STDOUT:
            return _BROKEN_PIPE  # who reads has enough
        if verbose and not isinstance(error, AestheticsOpsError):
            _complain("\n".join(map(one_line, "".join(traceback.format_exception(error)).splitlines())), prefix="")
        number = signals.asked_to_end()  # of what a signal raises, native code makes an error of its own
        return _failed(error, as_json=as_json) if number is None else _ended_by(number)


def _failed(error: Exception, *, as_json: bool) -> int:
    """Say what happened; return the exit status."""
    message, status = _explained(error)
    _complain(message)
    if as_json:
        with suppress(OSError):
            kept = {"candidate": error.candidate} if isinstance(error, GateError) else {}
            write_out(json.dumps({"error": {"type": type(error).__name__, "message": message, **kept}}))
    return status


def write_out(text: str) -> None:
    """Write a text and a newline to stdout, and wait until it is out.

    Raises:
        OSError: it is closed, full, or nobody reads it any more.
    """
    if sys.stdout is None or sys.stdout.closed:  # by the shell, or by a function of the user's
        raise OSError(errno.EBADF, os.strerror(errno.EBADF), _STDOUT)
    try:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()
    except OSError as error:
        _divert(sys.stdout)
        raise OSError(error.errno, error.strerror, _STDOUT) from error


def one_line(text: str) -> str:
    """Return a text with everything escaped that a terminal would not just show."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


@contextmanager
def show_progress(stage: str, total: int, unit: str, *, after_s: float = 0) -> Iterator[Callable[[int], None]]:
    """Show a bar on stderr where that is a terminal; elsewhere stay silent.

    Args:
        stage: what is done.
        total: how much of it there is.
        unit: of that.
        after_s: work that ends sooner shows nothing.
    """
    with tqdm(
        desc=stage, total=total, unit=unit, unit_scale=unit == "B", file=sys.stderr, disable=not sys.stderr.isatty(),
        delay=after_s,
    ) as bar:  # fmt: skip
        late = threading.Timer(after_s, _show, (bar,)) if after_s and not bar.disable else None
        if late is not None:
            late.daemon = True
            late.start()
        try:
            yield lambda count: typing.cast(None, bar.update(count))
        finally:
            if late is not None:
                late.cancel()
                late.join()


def _show(bar: "tqdm[typing.NoReturn]") -> None:
    """Show a bar though nothing was done yet: a single request may be all there is to do."""
    bar.delay = 0
    bar.refresh()


class _OneLine(logging.Formatter):
    """Escapes what a terminal would not just show: messages carry keys, ids and what stores say."""

    def format(self, record: logging.LogRecord) -> str:
        return "\n".join(map(one_line, super().format(record).split("\n" if record.exc_info else "\0")))


def log_to_stderr(level: int) -> None:
    """Write what is logged from this level on to stderr, one line a message; where a program logs already, it stays so."""
    if not logging.root.handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(_OneLine("%(message)s"))
        logging.root.addHandler(handler)
        logging.root.setLevel(level)


def open_closed_streams() -> None:
    """Open on /dev/null what the shell closed of stdin, stdout and stderr: the next file opened would take its place.

    `sys.stdout` stays None where it was closed, so that `write_out` can tell.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    if sys.stderr is None:
        sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - until the process ends
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # a terminal that lacks a letter


def catch_sigterm() -> None:
    """Let SIGTERM, and SIGHUP of a terminal that closes, end this process as an error would, and Ctrl-C as soon.

    `finally` runs and scratch files go, also where the process has to be ended.
    """
    signals.catch_ending(drop_scratch, _say_what_ended)


def leave(status: int) -> NoReturn:
    """End this process with an exit status, without taking down what it has loaded: in a build of an unchanged night, an eighth of it.

    Where other threads are still to end first, it ends as every Python process does.
    """
    if any(not thread.daemon and thread is not threading.main_thread() for thread in threading.enumerate()):
        sys.exit(status)
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):  # closed, or nobody reads it any more
            stream.flush()
    os._exit(status)


def _ended_by(number: int) -> int:
    """Delete the scratch files and say which signal ended this process; return the exit status."""
    drop_scratch()
    _say_what_ended(number)
    return 128 + number


def _say_what_ended(number: int) -> None:
    _complain(f"{_ENDS[number]}; the same command goes on where this one stopped")


def _ended(command: Callable[[], int]) -> int:
    """Run a command and return its status, also where it ends by SystemExit, as `--help` does."""
    try:
        return command()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)


def _explained(error: Exception) -> tuple[str, int]:
    """Return in one line what happened and what to do, and the exit status."""
    match error:
        case AestheticsOpsError():
            text, status = str(error), error.exit_code
        case _ if _is_lack_of_memory(error):
            text = (
                "not enough memory; end other programs, raise `ulimit -u` or `-v` where that is set, or set AESTHETICS_THREADS to "
                "less, and run the same command again"
            )
            status = ScratchSpaceError.exit_code
        case OSError():
            text = _of_the_system(error)
            status = ScratchSpaceError.exit_code if error.errno in _NO_ROOM else 1
        case RecursionError():
            text, status = f"the input is nested too deeply to be read: {error}; check the score file", 1
        case _:
            text = (
                f"{type(error).__name__}: {error}; this is a mistake in aesthetics-ops: run the same command with "
                "--verbose, and report what it prints"
            )
            status = _BUG
    return one_line(" ".join(text.splitlines())), status


def _is_lack_of_memory(error: Exception) -> bool:
    """Say whether an error is one of too little memory: of libraries and threads, only the text tells."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM or (error.errno == errno.EAGAIN and error.filename is None)  # of a fork
    return isinstance(error, MemoryError) or any(text in str(error) for text in _LACKS_OF_MEMORY)


def _of_the_system(error: OSError) -> str:
    found = error.filename if error.filename2 is None else error.filename2  # of a rename, where it should go
    name = found if found == _STDOUT else "a file" if found is None else _quoted(str(found))
    return f"{name}: {next_step(error)}"


def _quoted(name: str) -> str:
    return repr(name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]}...")


def _complain(text: str, prefix: str = "aesthetics-ops: ") -> None:
    try:
        sys.stderr.write(f"{prefix}{text}\n")
        sys.stderr.flush()
    except OSError:  # nobody is left to tell
        _divert(sys.stderr)


def _divert(stream: TextIO) -> None:
    """Send what a stream still holds nowhere; Python would fail to write it once more when it ends, and say so."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
