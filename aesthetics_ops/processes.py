"""Convert and read back a build in several processes, which each use a few cores: one process ends at about four of them.

In: a planned build.  Out: every shard made and read back, as `convert_build` and `validate_build` leave it.
Each process is started anew and never forked, since clients of stores hold threads; it opens the build by its name and takes one
partition after the other.  The first of them loads TensorFlow while the others convert, and reads back what is converted; the
others help where enough is left to be worth loading it once more.
A build in one process may have one more, which only reads shards back as they are made (`ShardReader`).
What goes wrong in a process goes wrong here, with the same error; then, and when this process is interrupted or ends, the
others end too, within seconds, and leave no scratch files.  A process that was killed is an error: the same build goes on later.
"""

import logging
import os
import pickle
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, wait
from typing import Any, Final

from aesthetics_ops.builds import Build, BuildPlan, resume_build
from aesthetics_ops.errors import AestheticsOpsError, InputMissingError, IntegrityError, SettingsError, TransientError
from aesthetics_ops.figures import ConversionFigures, ShardReading, ValidationFigures, WorkFigures
from aesthetics_ops.machine import TASKS_VARIABLE, THREADS_VARIABLE, cpus, drop_scratch, free_memory
from aesthetics_ops.validation.shard import load_tensorflow

__all__ = ["ShardReader", "default_processes", "run_build", "serve", "shard_reader"]

_log = logging.getLogger(__name__)

_CORES_OF_PROCESS: Final = 4
_BYTES_OF_PROCESS: Final = 1_500_000_000  # TensorFlow, and photos being decoded
_MADE_ANEW: Final = 3  # times: a store that alters every upload is not tried for ever
_WORTH_LOADING: Final = 4_000  # photos that are read back in the time that TensorFlow takes to load
_WORTH_A_PROCESS: Final = 1_000  # photos that are converted in the time that one more process takes to start
_TOLD_EVERY_SECONDS: Final = 0.1
_SECONDS_TO_END: Final = 2.0
_SERVE: Final = "import sys; from aesthetics_ops.processes import serve; serve(int(sys.argv[1]))"


def default_processes() -> int:
    """Return in how many processes a build works where nobody says it: one for each four cores, as far as memory goes.

    Where `AESTHETICS_THREADS` or `AESTHETICS_TASKS` shares out this machine already, one.
    """
    if os.environ.get(THREADS_VARIABLE, "").strip() or os.environ.get(TASKS_VARIABLE, "").strip():
        return 1
    return max(1, min(cpus() // _CORES_OF_PROCESS, free_memory() // _BYTES_OF_PROCESS))


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
    crew: list[_Worker] = []
    try:
        for number in range(min(processes, len(plan.partitions))):
            crew.append(_Worker(build, loads_at_once=number == 0, share=min(processes, len(plan.partitions))))
        return _Schedule(plan).run(crew, told)
    finally:
        _end(crew)


class _Worker:
    """One process at work, as it is seen from here."""

    def __init__(self, build: Build, *, loads_at_once: bool, share: int) -> None:
        ours, theirs = socket.socketpair()
        tasks = int(os.environ.get(TASKS_VARIABLE, "").strip() or 1) * share
        environment = os.environ | {TASKS_VARIABLE: str(tasks), "OPENBLAS_NUM_THREADS": "1"}
        with theirs:
            self.process = subprocess.Popen(  # noqa: S603 - this interpreter, and words of this module
                [sys.executable, "-c", _SERVE, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                env=environment | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
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

    def run(self, crew: list[_Worker], told: Callable[[int], None]) -> WorkFigures:
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
                        _log_again(said)
                    case "done", figures:
                        self._done(worker, figures)
                    case "failed", error:
                        self._failed(worker, error)
        seconds = {stage: ended - began for stage, (began, ended) in self._spans.items()}
        return WorkFigures.of(self._converted, self._read, (seconds.get("convert"), seconds.get("validate")))

    def _next(self, worker: _Worker) -> tuple[str, int] | None:
        """Return what a worker does next: who has TensorFlow reads back first, the others convert first."""
        if worker.has_loaded and self._validate:
            return "validate", self._validate.pop(0)
        if self._convert:
            return "convert", self._convert.pop(0)
        if len(self._validate) > 1 and sum(self._photos[number] for number in self._validate) > 2 * _WORTH_LOADING:
            return "validate", self._validate.pop()
        return None

    def _done(self, worker: _Worker, figures: Any) -> None:
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

    def _failed(self, worker: _Worker, error: Exception) -> None:
        """Make a partition anew that is not in the store as it was made; raise any other error."""
        stage, partition = worker.task or ("", -1)
        worker.task = None
        is_mended = isinstance(error, InputMissingError | IntegrityError) and error.stage == "convert"
        if stage != "validate" or not is_mended or self._anew[partition] == _MADE_ANEW:
            raise error
        self._anew[partition] += 1
        _log.warning("%s; that is done now", error)
        self._convert.append(partition)


class ShardReader:
    """A process that reads shards back while this one converts: what it reads has its verdict when the partitions are validated.

    Nothing depends on it: what it leaves, because it was killed or for any other reason, is read back where it is missed.
    """

    def __init__(self, worker: _Worker) -> None:
        self._worker = worker
        self._changed = threading.Condition()
        self._waiting = 0
        self._records = 0
        self._readings: list[ShardReading] = []
        self.is_at_work = True
        threading.Thread(target=self._hear, name="read back", daemon=True).start()

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

    @property
    def figures(self) -> ValidationFigures:
        """Of all that it read so far."""
        with self._changed:
            return ValidationFigures.of_shards(self._readings)

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
                _log_again(more)
            case "done":
                self._waiting -= 1
                self._readings += [more] if more else []
            case "failed":
                self._waiting -= 1
                _log.warning("%s", more)


@contextmanager
def shard_reader(build: Build, plan: BuildPlan) -> Iterator[ShardReader | None]:
    """Start a process that reads shards back while this one converts, and end it; None where that would gain nothing.

    TensorFlow takes as long to load as some thousand photos to convert.  So it is for builds of many photos, on a machine with
    room and a second core, whose cores nobody has shared out, and whose stores another process can reach.
    """
    photos = sum(part.photos for part in plan.partitions)
    is_shared_out = any(os.environ.get(name, "").strip() for name in (THREADS_VARIABLE, TASKS_VARIABLE))
    is_here = any(url.startswith("memory:") for url in (build.settings.photos, build.settings.dataset))
    has_room = cpus() > 1 and free_memory() >= _BYTES_OF_PROCESS
    if photos < _WORTH_A_PROCESS or is_shared_out or is_here or not has_room or _has_tensorflow():
        yield None
        return
    crew = [_Worker(build, loads_at_once=True, share=1)]
    try:
        yield ShardReader(crew[0])
    finally:
        _end(crew)


def _has_tensorflow() -> bool:
    return "tensorflow" in sys.modules


def _log_again(said: tuple[str, int, str]) -> None:
    name, level, text = said
    logging.getLogger(name).log(level, "%s", text)


def _end(crew: list[_Worker]) -> None:
    """End every process at once: it deletes its scratch files and exits when its socket is closed."""
    for worker in crew:
        worker.pipe.close()
    last = time.monotonic() + _SECONDS_TO_END
    for worker in crew:
        try:
            worker.process.wait(max(0.0, last - time.monotonic()))
        except subprocess.TimeoutExpired:
            worker.process.kill()
            worker.process.wait()


def serve(handle: int) -> None:
    """Be one of the processes: do what the other end of a socket asks for, until it is closed; then exit at once.

    Args:
        handle: of the socket.
    """
    signal.signal(signal.SIGTERM, _leave)
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
            load_tensorflow()
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
