"""One more process beside a build in one process: it loads TensorFlow, and reads shards back as soon as they are made.

In: digests of shards, as they are made.  Out: their verdicts in the store, which validation then finds.
"""

import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

from aesthetics_ops.builds import Build, BuildPlan
from aesthetics_ops.dataset.results import ShardResult
from aesthetics_ops.errors import TransientError
from aesthetics_ops.figures import ShardReading
from aesthetics_ops.machine import TASKS_VARIABLE, THREADS_VARIABLE, cpus, free_memory
from aesthetics_ops.processes.worker import BYTES_OF_PROCESS, Worker, end_all, log_again

__all__ = ["ShardReader", "shard_reader"]

_log = logging.getLogger(__name__)

_WORTH_A_PROCESS: Final = 1_000  # photos that are converted in the time that one more process takes to start


class ShardReader:
    """A process that reads shards back while this one converts: what it reads has its verdict when the partitions are validated.

    Nothing depends on it: what it leaves, because it was killed or for any other reason, is read back where it is missed.
    """

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._changed = threading.Condition()
        self._waiting = 0
        self._records = 0
        self._readings: list[ShardReading] = []
        self.is_at_work = True
        self._hearing = threading.Thread(target=self._hear, name="read back", daemon=True)
        self._hearing.start()

    def read(self, digest: str) -> None:
        """Have it read a shard that lies in the dataset with its result; any thread may call this."""
        with self._changed:
            if self.is_at_work:
                self._waiting += 1
                with suppress(TransientError):  # it is dead, which its other thread finds too
                    self._worker.give("shard", digest)

    def finish(self, told: Callable[[int], None]) -> None:
        """Wait until every shard is read, or it is dead; `told` gets the records that are read, from the first on."""
        seen = 0
        is_over = False
        while not is_over:
            with self._changed:
                while not (is_over := self._waiting <= 0 or not self.is_at_work) and self._records == seen:
                    self._changed.wait()
                new, seen = self._records - seen, self._records
            told(new)

    def read_back(self, results: Iterable[ShardResult]) -> list[ShardResult]:
        """Have shards read as their results come; return these when every one is read, or the process is dead."""
        made = []
        for result in results:
            self.read(result.digest)
            made.append(result)
        self.finish(lambda records: None)
        return made

    def join(self) -> None:
        """Wait until nobody hears it any more, once it is dead: an interpreter that ends beside such a thread leaks what it holds."""
        self._hearing.join()

    @property
    def readings(self) -> list[ShardReading]:
        """How each shard was read so far."""
        with self._changed:
            return self._readings.copy()

    def _hear(self) -> None:
        try:
            while True:
                said = self._worker.hears()
                with self._changed:
                    self._take(*said)
                    self._changed.notify_all()
        except (TransientError, subprocess.TimeoutExpired):
            with self._changed:
                self.is_at_work = False
                self._changed.notify_all()

    def _take(self, what: str, more: Any) -> None:
        match what:
            case "told":
                self._records += more
            case "log":
                log_again(more)
            case "done":
                self._waiting -= 1
                self._readings += [more] if more else []
            case "failed":
                self._waiting -= 1
                _log.warning("%s", more)


@contextmanager
def shard_reader(build: Build, plan: BuildPlan) -> Iterator[ShardReader | None]:
    """Start a process that reads shards back while this one converts and publishes, and end it; None where that would gain nothing.

    TensorFlow takes as long to load as some thousand photos to convert.  So it is for builds of many photos, on a machine with
    room and a second core, whose cores nobody has shared out, and whose stores another process can reach.
    """
    photos = sum(part.photos for part in plan.partitions)
    is_shared_out = any(os.environ.get(name, "").strip() for name in (THREADS_VARIABLE, TASKS_VARIABLE))
    is_here = any(url.startswith("memory:") for url in (build.settings.photos, build.settings.dataset))
    has_room = cpus() > 1 and free_memory() >= BYTES_OF_PROCESS
    if photos < _WORTH_A_PROCESS or is_shared_out or is_here or not has_room or _has_tensorflow():
        yield None
        return
    try:
        crew = [Worker(build, loads_at_once=True, share=1)]
    except OSError as error:  # no process, handle or memory is left: it is done here
        _log.info("shards are read back by this process, since no other one can be started: %s", error)
        yield None
        return
    reader = ShardReader(crew[0])
    try:
        yield reader
    finally:
        end_all(crew)
        reader.join()


def _has_tensorflow() -> bool:
    return "tensorflow" in sys.modules
