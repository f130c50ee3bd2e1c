"""What one of the processes of a build does: what the other end of a socket asks for, until that is closed."""

import gc
import logging
import os
import pickle
import queue
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any, Final

from aesthetics_ops.builds import Build, BuildPlan, resume_build
from aesthetics_ops.errors import AestheticsOpsError
from aesthetics_ops.figures import ConversionFigures, ShardReading, ValidationFigures
from aesthetics_ops.machine import drop_scratch
from aesthetics_ops.validation.kernels import kernels

__all__ = ["serve"]

_TOLD_EVERY_SECONDS: Final = 0.1
_ENDING: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)  # what asks a process to end


def serve(handle: int) -> None:
    """Be one of the processes: do what the other end of a socket asks for, until it is closed; then exit at once.

    Args:
        handle: of the socket.
    """
    for number in _ENDING:
        signal.signal(number, _leave)
    pipe = Connection(handle)
    dataset, build_id, loads_at_once, level = pipe.recv()
    teller = _Teller(pipe)
    logging.root.addHandler(teller)
    logging.root.setLevel(level)
    tasks: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(pipe, tasks), name="listen", daemon=True).start()
    try:
        build, plan = resume_build(dataset, build_id)
        if loads_at_once:
            kernels()
        gc.freeze()  # what is loaded stays; the process began without the collector
        gc.enable()
        while True:
            stage, what = tasks.get()
            try:
                figures = _STAGES[stage](build, plan, what, teller.count)
            except AestheticsOpsError as error:
                teller.say("failed", error)
            else:
                teller.say("done", figures)
    except Exception as error:  # the process boundary: the other end raises it
        teller.say("failed", error)
        tasks.get()  # until it ends this process


def _listen(pipe: Connection, tasks: "queue.SimpleQueue[tuple[str, Any]]") -> None:
    """Pass tasks on; when the other end is closed, or its process is dead, end this process whatever it does."""
    try:
        while True:
            tasks.put(pipe.recv())
    except (EOFError, OSError):
        _leave()


def _leave(*_: object) -> None:
    drop_scratch()
    os._exit(128 + signal.SIGTERM)


def _convert(build: Build, plan: BuildPlan, partition: int, told: Callable[[int], None]) -> ConversionFigures:
    from aesthetics_ops.conversion.partition import convert_partition

    return convert_partition(build, plan, partition, progress=told).figures


def _read_back(build: Build, plan: BuildPlan, partition: int, told: Callable[[int], None]) -> ValidationFigures:
    from aesthetics_ops.validation.partition import validate_partition

    return validate_partition(build, plan, partition, progress=told).figures


def _read_back_shard(build: Build, plan: BuildPlan, digest: str, told: Callable[[int], None]) -> ShardReading | None:
    from aesthetics_ops.validation.partition import validate_made

    reading = validate_made(build, plan, digest)
    told(reading.records if reading else 0)
    return reading


_STAGES: Final[dict[str, Callable[[Build, BuildPlan, Any, Callable[[int], None]], Any]]] = {
    "convert": _convert,
    "validate": _read_back,
    "shard": _read_back_shard,
}


class _Teller(logging.Handler):
    """Says to the other end what is done and what is logged."""

    def __init__(self, pipe: Connection) -> None:
        super().__init__()
        self._pipe = pipe
        self._saying = threading.Lock()
        self._counted = 0
        self._told = time.monotonic()

    def count(self, photos: int) -> None:
        """Add photos that are done; they are told a few times a second."""
        self._counted += photos
        if time.monotonic() - self._told > _TOLD_EVERY_SECONDS:
            self._tell()

    def say(self, what: str, more: object) -> None:
        """Tell what was counted, and this."""
        self._tell()
        self._send(what, _portable(more) if isinstance(more, Exception) else more)

    def emit(self, record: logging.LogRecord) -> None:
        self._send("log", (record.name, record.levelno, record.getMessage()))

    def _tell(self) -> None:
        counted, self._counted, self._told = self._counted, 0, time.monotonic()
        if counted:
            self._send("told", counted)

    def _send(self, what: str, more: object) -> None:
        with self._saying, suppress(OSError):  # where nobody listens any more, this process is about to end
            self._pipe.send((what, more))


def _portable(error: Exception) -> Exception:
    """Return an error that the other end can read: itself, or one that says the same."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 - what this process made
    except Exception:  # whatever its class does
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
