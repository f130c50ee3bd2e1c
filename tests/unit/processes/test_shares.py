"""What each of several processes gets of a machine: together they take no more than one process would."""

import pytest

from aesthetics_ops import machine
from aesthetics_ops.builds import open_build
from aesthetics_ops.conversion.workers import Workers
from aesthetics_ops.processes import crew
from aesthetics_ops.processes.crew import default_processes
from aesthetics_ops.processes.worker import BYTES_OF_PROCESS, environment_of_one
from aesthetics_ops.settings import parse_settings

BYTES_OF_PIXEL = 8  # most, while one is worked on


def held_at_most(workers: Workers) -> int:
    """Return the bytes of sources and of decoded pixels that a conversion holds at most."""
    return workers._window_bytes + workers._room._size * BYTES_OF_PIXEL


@pytest.mark.parametrize(
    ("cores", "gib", "processes", "threads"),
    [(16, 64, 8, 2), (8, 32, 4, 2), (64, 256, 32, 2), (4, 16, 2, 2), (2, 8, 1, 2)],
)
def test_processes_share_cores_memory_and_requests(
    monkeypatch: pytest.MonkeyPatch, cores: int, gib: int, processes: int, threads: int
) -> None:
    for name in (machine.TASKS_VARIABLE, machine.THREADS_VARIABLE):
        monkeypatch.delenv(name, raising=False)
    for module in (machine, crew):
        monkeypatch.setattr(module, "cpus", lambda: cores)
    monkeypatch.setattr(crew, "free_memory", lambda: gib << 30)
    assert default_processes() == processes

    place = "memory://shares/"
    build = open_build(
        parse_settings({"photos": f"{place}p/", "labels": f"{place}s.csv", "dataset": f"{place}d/"}, where="test"), "b"
    )
    with Workers(build) as alone:
        of_one_process = held_at_most(alone)
        most_of_one = alone.flow.most
    monkeypatch.setenv(machine.TASKS_VARIABLE, environment_of_one(processes)[machine.TASKS_VARIABLE])
    assert machine.codec_threads() == threads
    with Workers(build) as each:
        assert processes * held_at_most(each) == of_one_process
        assert held_at_most(each) < BYTES_OF_PROCESS
        assert each.flow.most == min(256, 64 * threads)
        assert processes * each.flow.most >= most_of_one
    assert processes * BYTES_OF_PROCESS < (gib << 30) // 2
