"""What a command costs: wall time, CPU and memory of its whole process tree, and how busy the machine was besides.

In: a command.  Out: `Usage`.  Linux only: the numbers come from `wait4` and `/proc`.

The command runs under a small runner (this file as a script), which adopts every process that loses its parent, so
that the CPU of daemons and of workers nobody waited for is counted too.
"""

import ctypes
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

__all__ = ["Usage", "anonymous_bytes", "cpu_of", "descendants", "measure"]

_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER of prctl(2)
_INTERVAL_SECONDS = 0.25
_SHARED_INTERVAL_SECONDS = 0.5  # telling shared pages apart walks page tables, so it is done less often
_ORPHANS_SECONDS = 10  # that what outlives the command gets to end by itself
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Usage:
    """What one run of a command cost.

    Attributes:
        exit_code: of the command; negative for a signal.
        wall_seconds: from its start to its own end.
        cpu_seconds: user and system, of the command and everything it started.
        peak_bytes: resident memory; of several processes the sum of proportional shares (PSS), so that pages they
            share count once, seen every half second.
        processes: most that ran at once.
        busy_seconds: CPU that the whole machine spent in that time, this command's included, the runner's not.
        peak_anonymous_bytes: of memory that no file stands behind, shared memory included, seen every half second.
    """

    exit_code: int
    wall_seconds: float
    cpu_seconds: float
    peak_bytes: int
    processes: int
    busy_seconds: float
    peak_anonymous_bytes: int


def measure(
    command: Sequence[str],
    *,
    log: Path,
    env: Mapping[str, str] | None = None,
    cpus: frozenset[int] | None = None,
    timeout_seconds: float = 1800,
) -> Usage:
    """Run a command to its end and count what its process tree used.

    Args:
        command: program and arguments.
        log: takes stdout and stderr.
        env: the whole environment; None inherits.
        cpus: cores that the tree may use; None leaves them as they are.
        timeout_seconds: after which the tree is killed; its exit code is then -9.

    Raises:
        RuntimeError: the command cannot be started; with what was said.
    """
    with tempfile.TemporaryDirectory(prefix="measure-") as directory:
        result = Path(directory) / "usage.json"
        cores = ",".join(map(str, sorted(cpus))) if cpus else ""
        runner = [sys.executable, "-S", __file__, str(result), cores, str(timeout_seconds), *command]
        with log.open("wb") as output:
            process = subprocess.Popen(runner, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
            try:
                failed = process.wait()
            except BaseException:
                process.terminate()  # the runner takes its tree along
                process.wait()
                raise
        if failed:
            raise RuntimeError(f"the runner ended with {failed}: {log.read_text(errors='replace')[-2000:]}")
        return Usage(**json.loads(result.read_text()))


def cpu_of(pid: int, *, with_children: bool = False) -> float:
    """Return the CPU seconds that one process has used so far; `with_children` adds those of its that have ended."""
    fields = _stat(pid)
    return 0.0 if fields is None else sum(map(int, fields[11 : 15 if with_children else 13])) / _TICKS


def anonymous_bytes(pid: int) -> int:
    """Return a process's share of memory that no file stands behind, shared memory included; 0 when it has gone."""
    return _shares(pid, "Pss_Anon:", "Pss_Shmem:")


def _stat(pid: int) -> list[str] | None:
    """Return the fields of /proc/PID/stat that follow the name, from the state on; None when there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None


def descendants(root: int) -> dict[int, list[str]]:
    """Return the living descendants of a process, with their stat fields."""
    every = {int(name): fields for name in os.listdir("/proc") if name.isdigit() and (fields := _stat(int(name)))}  # noqa: PTH208
    found: dict[int, list[str]] = {}
    level = {root}
    while level := {pid for pid, fields in every.items() if int(fields[1]) in level and pid not in found}:
        found |= {pid: every[pid] for pid in level}
    return found


def _shares(pid: int, *names: str) -> int:
    """Return a process's proportional shares of memory of these kinds, in bytes; 0 when it has gone."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) << 10 for line in lines if line.startswith(names))


def _busy() -> float:
    """Return the CPU seconds that all cores have spent so far on anything, what a hypervisor took included."""
    with open("/proc/stat") as file:  # noqa: PTH123
        user, nice, system, _, _, irq, soft, steal = map(int, file.readline().split()[1:9])
    return (user + nice + system + irq + soft + steal) / _TICKS


class _Watch:
    """Samples the tree below this process while the command runs."""

    def __init__(self) -> None:
        self.peak_bytes = self.peak_anonymous_bytes = self.processes = 0
        self.seen: dict[tuple[int, str], float] = {}
        self._next_shared = 0.0

    def look(self) -> None:
        tree = descendants(os.getpid())
        self.processes = max(self.processes, len(tree))
        for pid, fields in tree.items():
            self.seen[pid, fields[19]] = (int(fields[11]) + int(fields[12])) / _TICKS
        if len(tree) == 1:
            resident = sum(int(fields[21]) for fields in tree.values()) * resource.getpagesize()
            self.peak_bytes = max(self.peak_bytes, resident)
        if tree and time.monotonic() >= self._next_shared:
            self._next_shared = time.monotonic() + _SHARED_INTERVAL_SECONDS
            self.peak_anonymous_bytes = max(self.peak_anonymous_bytes, sum(map(anonymous_bytes, tree)))
            if len(tree) > 1:
                self.peak_bytes = max(self.peak_bytes, sum(_shares(pid, "Pss:") for pid in tree))


def _run(command: Sequence[str], timeout_seconds: float) -> Usage:
    """Run the command below this process, which adopts its orphans."""
    ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)
    for stop in (signal.SIGTERM, signal.SIGINT):
        signal.signal(stop, _stop)
    watch = _Watch()
    own_before, busy_before, started = time.process_time(), _busy(), time.monotonic()
    child = subprocess.Popen(command)
    descriptor = os.pidfd_open(child.pid)
    overdue = False
    while not _ended(descriptor, _INTERVAL_SECONDS):
        watch.look()
        if not overdue and time.monotonic() - started > timeout_seconds:
            overdue = True
            _kill_all()
    wall = time.monotonic() - started
    busy = _busy() - busy_before - (time.process_time() - own_before)
    exit_code = child.wait()
    alone = watch.processes <= 1
    orphans_until = time.monotonic() + _ORPHANS_SECONDS
    while _reap():
        watch.look()
        if time.monotonic() > orphans_until:
            _kill_all()
        time.sleep(0.02)
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Usage(
        exit_code=exit_code,
        wall_seconds=wall,
        # a child whose parent ignores its end is in nobody's sum, but was seen
        cpu_seconds=max(usage.ru_utime + usage.ru_stime, sum(watch.seen.values())),
        peak_bytes=max(watch.peak_bytes, usage.ru_maxrss << 10 if alone else 0),
        processes=max(watch.processes, 1),
        busy_seconds=busy,
        peak_anonymous_bytes=watch.peak_anonymous_bytes,
    )


def _ended(descriptor: int, seconds: float) -> bool:
    import select

    return bool(select.select([descriptor], [], [], seconds)[0])


def _reap() -> bool:
    """Take leave of children that have ended; say whether any are left."""
    try:
        while True:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                return True
    except ChildProcessError:
        return False


def _kill_all() -> None:
    for pid in descendants(os.getpid()):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def _stop(*_: object) -> None:
    _kill_all()
    os._exit(1)


def main() -> int:
    """Run as the runner: RESULT CORES TIMEOUT COMMAND..."""
    result, cores, timeout_seconds, *command = sys.argv[1:]
    if cores:
        os.sched_setaffinity(0, {int(core) for core in cores.split(",")})
    usage = _run(command, float(timeout_seconds))
    Path(result).write_text(json.dumps(asdict(usage)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
