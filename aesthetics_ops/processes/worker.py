"""One process at work on a build, as it is seen from the process that started it.

In: what it is to do.  Out: what it says of that.  What it runs is `serving.py`.
"""

import logging
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any, Final

from aesthetics_ops.builds import Build
from aesthetics_ops.errors import TransientError
from aesthetics_ops.machine import TASKS_VARIABLE

__all__ = ["BYTES_OF_PROCESS", "Worker", "end_all", "environment_of_one", "log_again"]

BYTES_OF_PROCESS: Final = 1_500_000_000  # TensorFlow, and photos being decoded

_SECONDS_TO_END: Final = 2.0
_SERVE: Final = "import sys; from aesthetics_ops.processes.serving import serve; serve(int(sys.argv[1]))"


class Worker:
    """The process; it opens the build by its name, and does one thing after the other."""

    def __init__(self, build: Build, *, loads_at_once: bool, share: int) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self.process = subprocess.Popen(  # noqa: S603 - this interpreter, and words of this module
                [sys.executable, "-c", _SERVE, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                env=environment_of_one(share) | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
                start_new_session=True,  # Ctrl-C comes to this process, which ends the others
            )
        self.pipe = Connection(ours.detach())
        self.task: tuple[str, Any] | None = None
        self.has_loaded = loads_at_once
        self._tell((build.dataset.url, build.id, loads_at_once, logging.root.getEffectiveLevel()))

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

    def _tell(self, what: object) -> None:
        try:
            self.pipe.send(what)
        except OSError as error:
            raise self._dead() from error

    def _dead(self) -> TransientError:
        status = self.process.wait(_SECONDS_TO_END)
        how = f"was killed by signal {-status}" if status < 0 else f"ended with exit status {status}"
        why = ": the machine may have too little memory" if status == -signal.SIGKILL else ""
        return TransientError(
            f"a process of this build {how}{why}; run the same command again, with fewer --processes if that repeats: finished "
            "shards are kept"
        )


def environment_of_one(share: int) -> dict[str, str]:
    """Return the environment of one of `share` processes: its cores, and what goes by them, are its part of this one's."""
    tasks = int(os.environ.get(TASKS_VARIABLE, "").strip() or 1) * share
    return os.environ | {TASKS_VARIABLE: str(tasks), "OPENBLAS_NUM_THREADS": "1"}


def log_again(said: tuple[str, int, str]) -> None:
    """Log what a process said that it would log: logger, level, text."""
    name, level, text = said
    logging.getLogger(name).log(level, "%s", text)


def end_all(crew: list[Worker]) -> None:
    """End every process at once: it deletes its scratch files and exits when its socket is closed."""
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
