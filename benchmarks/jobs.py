"""What the benchmark runs, and what a run of it cost.

Pure: two records.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

__all__ = ["ALL_ROUNDS", "Job", "Sample"]

ALL_ROUNDS: Final = 1000


@dataclass(frozen=True, slots=True)
class Job:
    """One command of the benchmark.

    Attributes:
        name: unique; says who does what with which photos.
        groups: that it is part of.
        photos: it works on.
        command: program and arguments; `OUT` stands for an empty folder.
        env: added to the environment.
        prints_costs: whether its wall and CPU are those that it prints, for work inside a process.
        cpus: cores that it and the S3 server may use; None for all.
        most_rounds: it takes part in.
        is_on_disk: whether what it leaves has to lie on a disk, not in memory.
    """

    name: str
    groups: frozenset[str]
    photos: int
    command: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    prints_costs: bool = False
    cpus: frozenset[int] | None = None
    most_rounds: int = ALL_ROUNDS
    is_on_disk: bool = False


@dataclass(frozen=True, slots=True)
class Sample:
    """What one run of a job cost.

    Attributes:
        job, round, photos: which.
        wall_seconds, cpu_seconds, peak_bytes, processes: of the job's process tree.
        server_cpu_seconds: of the S3 server meanwhile.
        foreign_cores: cores that were busy with something else, on average.
        output_bytes: that it left behind.
        peak_anonymous_bytes: of memory that no file stands behind.
        printed: the JSON object it printed last, if any.
        error: what went wrong, or nothing.
    """

    job: str
    round: int
    photos: int
    wall_seconds: float
    cpu_seconds: float
    peak_bytes: int
    processes: int
    server_cpu_seconds: float
    foreign_cores: float
    output_bytes: int
    peak_anonymous_bytes: int
    printed: dict[str, Any]
    error: str
