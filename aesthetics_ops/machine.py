"""What this process may use of the machine it runs on.

In: the scheduler's mask, the control group's limits, two environment variables.  Out: a number of threads, room for
decoded pixels, room on the disk.
A container that may use two of 64 cores has two: `os.cpu_count()` does not know that.
"""

import errno
import fcntl
import gc
import math
import os
import re
import shutil
import sys
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from aesthetics_ops.errors import ScratchSpaceError, SettingsError
from aesthetics_ops.parsing import whole_number

__all__ = [
    "MOST_TASKS",
    "TASKS_VARIABLE",
    "THREADS_VARIABLE",
    "PixelRoom",
    "batch_scheduling",
    "codec_threads",
    "concurrent_tasks",
    "cpus",
    "drop_scratch",
    "explaining_full_scratch",
    "free_memory",
    "naming",
    "quiet_stderr",
    "scratch_for",
    "sweep_scratch",
    "sync",
    "while_loading",
]

THREADS_VARIABLE: Final = "AESTHETICS_THREADS"
TASKS_VARIABLE: Final = "AESTHETICS_TASKS"
MOST_TASKS: Final = 65_536  # and threads; more is a slip
_SHOWN: Final = 40  # characters of a value in a message
_GROUPS: Final = Path("/sys/fs/cgroup")
_MEMINFO: Final = Path("/proc/meminfo")
_SCRATCH_PREFIX: Final = "aesthetics-ops-scratch-"
_SCRATCH_NAME: Final = re.compile(f"{_SCRATCH_PREFIX}[0-9a-f]{{12}}")
_SCRATCH_LOCK: Final = ".lock"
_REMOVALS: Final = 3
_own_scratch: Final[dict[Path, int]] = {}  # to the process that made it


def codec_threads() -> int:
    """Return how many photos one task decodes at once.

    That is `AESTHETICS_THREADS` where it is set.  Else it is the cores that this process may use, divided by
    `AESTHETICS_TASKS` where that is set: the tasks that this worker runs side by side.

    Raises:
        SettingsError: a variable holds no whole number from 1 to 65,536.
    """
    tasks = concurrent_tasks()
    return _number(THREADS_VARIABLE, "the photos that one task decodes at once") or math.ceil(cpus() / tasks)


def concurrent_tasks() -> int:
    """Return how many tasks this worker runs side by side, this one among them: `AESTHETICS_TASKS`, by default 1.

    Raises:
        SettingsError: the variable holds no whole number from 1 to 65,536.
    """
    return _number(TASKS_VARIABLE, "the tasks that this worker runs side by side") or 1


def _number(variable: str, meaning: str) -> int | None:
    text = os.environ.get(variable, "").strip()
    if not text:
        return None
    number = whole_number(text, 1, MOST_TASKS)
    if number is None:
        raise SettingsError(
            f"{variable} is {text[:_SHOWN]!r}, but must be a whole number from 1 to {MOST_TASKS}: {meaning}; or unset it"
        )
    return number


def cpus(groups: Path = _GROUPS) -> int:
    """Return the cores that this process may use, rounded up; at least 1.

    Args:
        groups: where control groups are mounted.

    Source:
        Linux, Documentation/admin-guide/cgroup-v2.rst, cpu.max; cgroup-v1, cpu.cfs_quota_us.
    """
    allowed = float(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    for quota in (_quota_v2(groups), _quota_v1(groups)):
        if quota is not None:
            allowed = min(allowed, quota)
    return max(1, math.ceil(allowed))


def _quota_v2(groups: Path) -> float | None:
    """Return the smallest limit between this process's group and the root of those it can see."""
    quotas = []
    group = groups / _own_group()
    while True:
        words = _words(group / "cpu.max")
        if len(words) == 2 and words[0].isdecimal() and words[1].isdecimal():
            quotas.append(int(words[0]) / int(words[1]))
        if group == groups:
            return min(quotas, default=None)
        group = group.parent


def _quota_v1(groups: Path) -> float | None:
    quota, period = (_words(groups / "cpu" / f"cpu.cfs_{name}_us") for name in ("quota", "period"))
    if quota and period and quota[0].isdecimal() and period[0].isdecimal():  # -1 is no limit
        return int(quota[0]) / int(period[0])
    return None


def free_memory(groups: Path = _GROUPS, meminfo: Path = _MEMINFO) -> int:
    """Return how many bytes this process may still take without anything being swapped out or killed.

    Files that the system keeps in memory count as free: it drops them when the room is needed.

    Args:
        groups: where control groups are mounted.
        meminfo: what the system says of its memory.

    Source:
        Linux, Documentation/filesystems/proc.rst, MemAvailable; Documentation/admin-guide/cgroup-v2.rst, memory.max.
    """
    lines = (line.split() for line in _lines(meminfo))
    free = next((int(words[1]) * 1024 for words in lines if words[:1] == ["MemAvailable:"]), sys.maxsize)
    group = groups / _own_group()
    while True:
        free = min(free, _left_v2(group))
        if group == groups:
            break
        group = group.parent
    return max(0, min(free, _left_v1(groups / "memory")))


def _left_v2(group: Path) -> int:
    limit, used = _words(group / "memory.max"), _words(group / "memory.current")
    return _left(limit, used, group, ("inactive_file", "active_file", "slab_reclaimable"))


def _left_v1(group: Path) -> int:
    limit, used = _words(group / "memory.limit_in_bytes"), _words(group / "memory.usage_in_bytes")
    return _left(limit, used, group, ("total_inactive_file", "total_active_file"))


def _left(limit: list[str], used: list[str], group: Path, dropped: tuple[str, ...]) -> int:
    """Return what a group's limit leaves; a group without one leaves all."""
    if not (limit and used and limit[0].isdecimal() and used[0].isdecimal()):  # "max" is no limit
        return sys.maxsize
    held = dict(line.split() for line in _lines(group / "memory.stat"))
    return int(limit[0]) - int(used[0]) + sum(int(held.get(name, 0)) for name in dropped)


def _own_group() -> str:
    """Return the path of this process's version 2 group below the mount; empty inside a container."""
    lines = (line.split(":", 2) for line in _words(Path("/proc/self/cgroup")))
    own = next((parts[2] for parts in lines if len(parts) == 3 and parts[0] == "0"), "/")
    return "" if ".." in own else own.strip("/")


def _words(path: Path) -> list[str]:
    return " ".join(_lines(path)).split()


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []


class PixelRoom:
    """Room for the decoded pixels of several photos at once; one that is larger than the room waits to be alone.

    So memory does not depend on which photos happen to be converted side by side.
    """

    def __init__(self, pixels: int) -> None:
        self._size = self._free = pixels
        self._changed = threading.Condition()

    @contextmanager
    def reserve(self) -> Iterator[Callable[[int], None]]:
        """Give one photo a function that takes room for its pixels, waiting for it; leaving gives it back.

        Called again, the function exchanges the room it has for what is asked now, if that is more: a file may
        declare several sizes before its pixels are decoded.
        """
        taken = 0

        def take(pixels: int) -> None:
            nonlocal taken
            wanted = min(pixels, self._size)
            if wanted <= taken:
                return
            with self._changed:
                self._free += taken  # never hold while waiting, or two could wait for each other
                taken = 0
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._free >= wanted)
                self._free -= wanted
                taken = wanted

        try:
            yield take
        finally:
            with self._changed:
                self._free += taken
                self._changed.notify_all()


@contextmanager
def batch_scheduling() -> Iterator[None]:
    """Ask the scheduler for throughput: this thread, and those that it starts meanwhile, push no other off its core.

    A thread that waits for photos otherwise interrupts a codec for each of them.  Where the system has no such
    class of threads, or this thread has another one already, nothing changes.

    Source:
        Linux, sched(7), SCHED_BATCH.
    """
    asked = False
    if hasattr(os, "SCHED_BATCH") and os.sched_getscheduler(0) == os.SCHED_OTHER:
        with suppress(PermissionError):
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
            asked = True
    try:
        yield
    finally:
        if asked:
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


@contextmanager
def scratch_for(needed_bytes: int = 0) -> Iterator[Path]:
    """Give a directory of one's own for files that will be uploaded, once it is sure that they fit.

    It lies where `TMPDIR` says, and is deleted afterwards.  What processes left there that were killed goes first: a
    directory is locked as long as its process lives.

    Args:
        needed_bytes: most that the files take at one time; 0 where that is not known beforehand.

    Raises:
        ScratchSpaceError: the directory cannot be made, the disk has less than that, or was filled by others meanwhile.
    """
    owner = os.getpid()
    try:
        parent = Path(tempfile.gettempdir())
        sweep_scratch()
        scratch, lock = _locked_directory(parent)
    except OSError as error:
        raise ScratchSpaceError(
            f"no scratch directory can be made: {error}; point TMPDIR at a directory that can be written"
        ) from error
    try:
        free_bytes = shutil.disk_usage(scratch).free
        if free_bytes < needed_bytes:
            raise _no_room(f"has {free_bytes:,} bytes free, but this task may write {needed_bytes:,}")
        with explaining_full_scratch():
            yield scratch
    finally:
        os.close(lock)  # so that there is one file handle to delete with
        if owner == os.getpid():  # a forked child deletes nothing of its parent's
            _remove(scratch)


@contextmanager
def explaining_full_scratch() -> Iterator[None]:
    """Say that the disk of the scratch directory is full where an OSError says that one is.

    Raises:
        ScratchSpaceError: in place of that OSError.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise _no_room("is full") from error


def drop_scratch() -> None:
    """Delete the scratch directories of this process now: for one that ends without going through its `finally`s."""
    for scratch, owner in list(_own_scratch.items()):
        if owner == os.getpid():  # a forked child deletes nothing of its parent's
            _remove(scratch)


def _remove(scratch: Path) -> None:
    """Delete a scratch directory; what threads put there meanwhile goes at the next try, or with `drop_scratch`."""
    for _ in range(_REMOVALS):
        shutil.rmtree(scratch, ignore_errors=True)
        for folder, folders, files in os.walk(scratch, topdown=False):  # rmtree takes more handles than may be left
            for delete, names in ((Path.unlink, files), (Path.rmdir, folders)):
                for name in names:
                    with suppress(OSError):
                        delete(Path(folder, name))
        with suppress(OSError):
            scratch.rmdir()
        if not scratch.exists():
            _own_scratch.pop(scratch, None)
            return


def _locked_directory(parent: Path) -> tuple[Path, int]:
    """Make a directory with a locked file in it; return both, the file as its open descriptor."""
    while True:
        made = parent / f"{_SCRATCH_PREFIX}{uuid.uuid4().hex[:12]}"
        _own_scratch[made] = os.getpid()  # before it is there: a signal may come between any two lines
        lock = -1
        try:
            made.mkdir(mode=0o700)
            lock = os.open(made / _SCRATCH_LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            with suppress(OSError):  # no locks here: then nobody sweeps either
                fcntl.flock(lock, fcntl.LOCK_EX)
            if os.path.samestat(os.fstat(lock), (made / _SCRATCH_LOCK).stat()):
                return made, lock
        except FileNotFoundError:  # swept between two of these lines, since it was not locked yet
            if not parent.is_dir():
                raise
        except BaseException:
            _remove(made)
            raise
        _own_scratch.pop(made, None)
        if lock >= 0:
            os.close(lock)


def sweep_scratch() -> None:
    """Delete the scratch directories whose processes are dead, where `TMPDIR` says; whatever cannot be told or deleted stays."""
    with suppress(OSError), os.scandir(tempfile.gettempdir()) as entries:
        for entry in entries:
            if entry.name.startswith(_SCRATCH_PREFIX):
                with suppress(OSError):
                    _sweep_one(entry)


def _sweep_one(entry: os.DirEntry[str]) -> None:
    if not entry.is_dir(follow_symlinks=False) or entry.stat(follow_symlinks=False).st_uid != os.geteuid():
        return
    left = Path(entry.path)
    try:
        lock = os.open(left / _SCRATCH_LOCK, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        held = {path.name for path in left.iterdir()}
        if not held:
            left.rmdir()  # killed before it had a lock, or about to make one: then it makes another directory
        elif _SCRATCH_LOCK not in held and _SCRATCH_NAME.fullmatch(left.name):
            shutil.rmtree(left)  # the lock is the first file in it, so who made it has begun to delete it
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(left)
    finally:
        os.close(lock)


def _no_room(what: str) -> ScratchSpaceError:
    return ScratchSpaceError(
        f"the scratch directory {tempfile.gettempdir()!r} {what}; free some, point TMPDIR at a larger disk, or set a "
        "smaller shard_bytes"
    )


def sync(path: Path) -> None:
    """Wait until a file's content, or a directory's names, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Give an OSError that names no file this one: a disk that is full while a file is written does not say which."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise


@contextmanager
def while_loading() -> Iterator[None]:
    """Keep Python's collector of cycles at rest while modules are loaded: it would look through them again and again, and they stay."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@contextmanager
def quiet_stderr() -> Iterator[None]:
    """Send what C++ code writes to file descriptor 2 nowhere.  Exceptions still tell what went wrong.

    TensorFlow reports missing GPU drivers there while it is imported, before its own log level counts.
    """
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(nowhere)
        os.close(kept)
