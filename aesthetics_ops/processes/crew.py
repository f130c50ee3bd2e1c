"""Convert and read back a build in several processes, each on two cores: threads of one process wait for the interpreter's lock.

In: a planned build.  Out: every shard made and read back, as `convert_build` and `validate_build` leave it.
Each process takes one partition after the other.  The first of them loads TensorFlow while the others convert, and reads back what
is converted; the others help where enough is left to be worth loading it once more.
What goes wrong in a process goes wrong here, with the same error; then, and when this process is interrupted or ends, the
others end too, within seconds, and leave no scratch files.  A process that was killed is an error: the same build goes on later.
"""

import logging
import os
import time
from collections.abc import Callable
from multiprocessing.connection import wait
from typing import Any, Final

from aesthetics_ops.builds import Build, BuildPlan
from aesthetics_ops.errors import InputMissingError, IntegrityError, SettingsError
from aesthetics_ops.figures import ConversionFigures, ValidationFigures, WorkFigures
from aesthetics_ops.machine import TASKS_VARIABLE, THREADS_VARIABLE, cpus, free_memory
from aesthetics_ops.processes.worker import BYTES_OF_PROCESS, Worker, end_all, log_again

__all__ = ["default_processes", "run_build"]

_log = logging.getLogger(__name__)

_CORES_OF_PROCESS: Final = 2
_MADE_ANEW: Final = 3  # times: a store that alters every upload is not tried for ever
_WORTH_LOADING: Final = 4_000  # photos that are read back in the time that TensorFlow takes to load


def default_processes() -> int:
    """Return in how many processes a build works where nobody says it: one for each two cores, as far as memory goes.

    Where `AESTHETICS_THREADS` or `AESTHETICS_TASKS` shares out this machine already, one.
    """
    if os.environ.get(THREADS_VARIABLE, "").strip() or os.environ.get(TASKS_VARIABLE, "").strip():
        return 1
    return max(1, min(cpus() // _CORES_OF_PROCESS, free_memory() // BYTES_OF_PROCESS))


def run_build(build: Build, plan: BuildPlan, processes: int, told: Callable[[int], None]) -> WorkFigures:
    """Convert and read back every partition of a plan.

    Args:
        build: planned; its stores are reached with what the environment says.
        plan: of the build.
        processes: how many work; > 0, and no more are started than there are partitions.
        told: called with the photos just done; each is done twice, converted and read back.

    Returns:
        How fast all of them were together.

    Raises:
        TransientError: a process was killed.
        SettingsError: the photos or the dataset lie in this process's memory.
        Others as `convert_partition` and `validate_partition`.
    """
    for url in (build.settings.photos, build.settings.dataset):
        if url.startswith("memory:"):
            raise SettingsError(f"{url} lies in the memory of one process; build with --processes 1")
    crew: list[Worker] = []
    try:
        for number in range(min(processes, len(plan.partitions))):
            crew.append(Worker(build, loads_at_once=number == 0, share=min(processes, len(plan.partitions))))
        return _Schedule(plan).run(crew, told)
    finally:
        end_all(crew)


class _Schedule:
    """Which partitions are left, and who does which next."""

    def __init__(self, plan: BuildPlan) -> None:
        self._photos = [part.photos for part in plan.partitions]
        self._convert = list(range(len(self._photos)))
        self._validate: list[int] = []
        self._left = len(self._photos)
        self._anew = [0] * len(self._photos)
        self._converted: list[ConversionFigures] = []
        self._read: list[ValidationFigures] = []
        self._spans: dict[str, tuple[float, float]] = {}  # of each stage, from its first partition to its last

    def run(self, crew: list[Worker], told: Callable[[int], None]) -> WorkFigures:
        """Give out partitions until every one is read back; return how fast that was."""
        while self._left:
            for worker in crew:
                if worker.task is None and (task := self._next(worker)) is not None:
                    worker.give(*task)
            pipes = {worker.pipe: worker for worker in crew}
            for pipe in wait(list(pipes)):
                worker = pipes[pipe]  # type: ignore[index]
                match worker.hears():
                    case "told", count:
                        told(count)
                    case "log", said:
                        log_again(said)
                    case "done", figures:
                        self._done(worker, figures)
                    case "failed", error:
                        self._failed(worker, error)
        seconds = {stage: ended - began for stage, (began, ended) in self._spans.items()}
        return WorkFigures.of(self._converted, self._read, (seconds.get("convert"), seconds.get("validate")))

    def _next(self, worker: Worker) -> tuple[str, int] | None:
        """Return what a worker does next: who has TensorFlow reads back first, the others convert first."""
        if worker.has_loaded and self._validate:
            return "validate", self._validate.pop(0)
        if self._convert:
            return "convert", self._convert.pop(0)
        if len(self._validate) > 1 and sum(self._photos[number] for number in self._validate) > 2 * _WORTH_LOADING:
            return "validate", self._validate.pop()
        return None

    def _done(self, worker: Worker, figures: Any) -> None:
        stage, partition = worker.task or ("", -1)
        worker.task = None
        now = time.monotonic()
        began, ended = self._spans.get(stage, (now, now))
        self._spans[stage] = min(began, now - figures.seconds), now if figures.seconds else ended
        (self._converted if stage == "convert" else self._read).append(figures)
        if stage == "convert":
            self._validate.append(partition)
        else:
            self._left -= 1

    def _failed(self, worker: Worker, error: Exception) -> None:
        """Make a partition anew that is not in the store as it was made; raise any other error."""
        stage, partition = worker.task or ("", -1)
        worker.task = None
        is_mended = isinstance(error, InputMissingError | IntegrityError) and error.stage == "convert"
        if stage != "validate" or not is_mended or self._anew[partition] == _MADE_ANEW:
            raise error
        self._anew[partition] += 1
        _log.warning("%s; that is done now", error)
        self._convert.append(partition)
