"""One process at work on a build, as it is seen from the process that started it.

In: what it is to do.  Out: what it says of that.  What it runs is `serving.py`.
"""

import logging
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import IO, Any, Final

from aesthetics_ops.builds import Build
from aesthetics_ops.errors import TransientError
from aesthetics_ops.machine import MOST_TASKS, TASKS_VARIABLE, concurrent_tasks, sweep_scratch

__all__ = ["BYTES_OF_PROCESS", "Worker", "end_all", "environment_of_one", "log_again"]

BYTES_OF_PROCESS: Final = 1_500_000_000  # TensorFlow, and photos being decoded

_SECONDS_TO_END: Final = 2.0
_LAST_WORDS: Final = 300  # characters that a message shows of what a dead process wrote
# The path comes first: with `-c`, the directory that it is started in would hide modules of the same names.
_SERVE: Final = (
    "import gc, sys; gc.disable(); sys.path[:] = sys.argv[2:]; "
    "from aesthetics_ops.processes.serving import serve; serve(int(sys.argv[1]))"
)
_FLAGS: Final = {
    "isolated": "-I",
    "ignore_environment": "-E",
    "no_user_site": "-s",
}  # of this interpreter, for that one too


class Worker:
    """The process; it opens the build by its name, and does one thing after the other."""

    def __init__(self, build: Build, *, loads_at_once: bool, share: int) -> None:
        environment = environment_of_one(share)
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - `close` lets go of it
        try:
            self.pipe, self.process = _started(environment, self._stderr)
        except BaseException:
            self.close()
            raise
        self.task: tuple[str, Any] | None = None
        self.has_loaded = loads_at_once
        try:
            self._tell((build.dataset.url, build.id, loads_at_once, logging.root.getEffectiveLevel()))
        except BaseException:  # it is in no crew yet
            end_all([self])
            raise

    def give(self, stage: str, what: int | str) -> None:
        """Give it a partition, or the digest of a shard."""
        self.task = (stage, what)
        self.has_loaded |= stage == "validate"
        self._tell(self.task)

    def hears(self) -> tuple[str, Any]:
        """Wait for the next it says.

        Raises:
            TransientError: it is dead.
        """
        try:
            said: tuple[str, Any] = self.pipe.recv()
        except (EOFError, OSError) as error:
            raise self._dead() from error
        return said

    def close(self) -> None:
        """Let go of what it wrote."""
        self._stderr.close()

    def _tell(self, what: object) -> None:
        try:
            self.pipe.send(what)
        except OSError as error:
            raise self._dead() from error

    def _dead(self) -> TransientError:
        status = self.process.wait(_SECONDS_TO_END)
        how = f"was killed by signal {-status}" if status < 0 else f"ended with exit status {status}"
        said = self._last_words()
        why = ": the machine may have too little memory" if status == -signal.SIGKILL else f": {said}" if said else ""
        return TransientError(
            f"a process of this build {how}{why}; run the same command again, with fewer --processes if that repeats: finished "
            "shards are kept"
        )

    def _last_words(self) -> str:
        """Return the last line that it wrote on stderr, which is all that an interpreter says that cannot start."""
        try:
            self._stderr.seek(0)
            lines = self._stderr.read().decode("utf-8", "backslashreplace").split("\n")
        except ValueError:  # another thread has ended it, and let go of that
            return ""
        return next((line.strip()[:_LAST_WORDS] for line in reversed(lines) if line.strip()), "")


def environment_of_one(share: int) -> dict[str, str]:
    """Return the environment of one of `share` processes: its cores, and what goes by them, are its part of this one's.

    Raises:
        SettingsError: `AESTHETICS_TASKS` is no number that it may be.
    """
    tasks = min(concurrent_tasks() * share, MOST_TASKS)
    return os.environ | {TASKS_VARIABLE: str(tasks), "OPENBLAS_NUM_THREADS": "1"}


def _started(environment: dict[str, str], stderr: IO[bytes]) -> tuple[Connection, "subprocess.Popen[bytes]"]:
    """Start a process; return this end of its socket, and it."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        process = subprocess.Popen(  # noqa: S603 - this interpreter, and words of this module
            [sys.executable, *_flags(), "-c", _SERVE, str(theirs.fileno()), *map(str, sys.path)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            pass_fds=[theirs.fileno()],
            env=environment,
            start_new_session=True,  # Ctrl-C comes to this process, which ends the others
        )
        return Connection(ours.detach()), process


def _flags() -> list[str]:
    return [flag for name, flag in _FLAGS.items() if getattr(sys.flags, name)]


def log_again(said: tuple[str, int, str]) -> None:
    """Log what a process said that it would log: logger, level, text."""
    name, level, text = said
    logging.getLogger(name).log(level, "%s", text)


def end_all(crew: list[Worker]) -> None:
    """End every process at once: it deletes its scratch files and exits when its socket is closed.

    What one that was killed left there is deleted here.
    """
    for worker in crew:
        with suppress(OSError), socket.socket(fileno=os.dup(worker.pipe.fileno())) as ours:
            ours.shutdown(socket.SHUT_RDWR)  # a thread that reads it would keep it open
        worker.pipe.close()
    last = time.monotonic() + _SECONDS_TO_END
    for worker in crew:
        try:
            worker.process.wait(max(0.0, last - time.monotonic()))
        except subprocess.TimeoutExpired:
            worker.process.kill()
            worker.process.wait()
        worker.close()
    if any(worker.process.returncode < 0 for worker in crew):
        sweep_scratch()
