"""This project's own stages for the benchmark: planning and converting, without validation.

    .venv/bin/python benchmarks/ours.py PHOTOS LABELS DATASET {keep,reencode,resize} [partition | tasks N]

What `aesthetics-ops build` does up to and without reading back, in one process; or, with `partition`, what one partition's
task of the DAG does, after a process of its own has planned; or, with `tasks`, what a worker of Airflow that runs N tasks side by side
does: as many processes, each with its share of the cores, take one partition after the other.  Prints one JSON object; fails unless
every photo that was listed became a record.
"""

import json
import os
import resource
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from bare import RESIZED_PX

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as the command line and the DAG have it

if TYPE_CHECKING:
    from aesthetics_ops.builds import Build, BuildPlan
    from aesthetics_ops.conversion.partition import ConversionSummary


_SHARD_OF_TASKS_BYTES = 8 << 20  # so that each of few processes has its share of few photos
_MOST_PARTITIONS = 250


def plan(
    photos: str, labels: str, dataset: str, encoding: str, *, for_tasks: bool = False
) -> "tuple[Build, BuildPlan]":
    """Plan a build with one partition, or with one for each of its small shards."""
    from aesthetics_ops.pipeline import start_build
    from aesthetics_ops.settings import BuildSettings

    settings = BuildSettings(
        photos=photos,
        labels=labels,
        dataset=dataset,
        encoding="keep" if encoding == "keep" else "reencode",
        max_side_px=RESIZED_PX if encoding == "resize" else None,
        **({"shard_bytes": _SHARD_OF_TASKS_BYTES, "partition_bytes": 1} if for_tasks else {}),
    )
    return start_build(settings, build_id="bench", partitions=_MOST_PARTITIONS if for_tasks else 1)


def run_tasks(count: int) -> int:
    """Plan in a process of its own, then convert in `count` more, which take partitions from a pipe; return the photos converted."""
    command = [sys.executable, *sys.argv[:5]]
    planned = subprocess.run([*command, "plan-tasks"], check=True, stdout=subprocess.PIPE)
    todo, given = os.pipe()
    os.write(given, bytes(range(json.loads(planned.stdout))))  # a pipe has room for all of them
    os.close(given)
    environment = os.environ | {"AESTHETICS_TASKS": str(count)}
    tasks = [
        subprocess.Popen([*command, "task", str(todo)], env=environment, pass_fds=[todo], stdout=subprocess.PIPE)
        for _ in range(count)
    ]
    return sum(json.loads(task.communicate()[0]) for task in tasks)


def run_task(dataset: str, todo: int) -> int:
    """Convert partitions whose numbers come from a pipe, until there is none; return the photos converted."""
    from aesthetics_ops.builds import resume_build
    from aesthetics_ops.conversion.partition import convert_partition

    build, record = resume_build(dataset, "bench")
    numbers = iter(lambda: os.read(todo, 1), b"")
    return sum(_converted(convert_partition(build, record, number)) for (number,) in numbers)


def run_alone(
    photos: str, labels: str, dataset: str, encoding: str, *, is_planned: bool
) -> tuple[dict[str, float], bool]:
    """Plan, unless that is done, and convert every partition; return how long each took, and whether every photo became a record."""
    from aesthetics_ops.dataset.columns import without_pandas

    without_pandas()  # as the command line does
    from aesthetics_ops.builds import resume_build
    from aesthetics_ops.conversion.partition import convert_partition

    imported = time.process_time()
    build, record = resume_build(dataset, "bench") if is_planned else plan(photos, labels, dataset, encoding)
    planned, planned_at = time.process_time(), time.perf_counter()
    converted = sum(_converted(convert_partition(build, record, number)) for number in range(len(record.partitions)))
    times = {
        "imports_cpu_seconds": imported,
        "plan_cpu_seconds": planned - imported,
        "convert_cpu_seconds": time.process_time() - planned,
        "convert_wall_seconds": time.perf_counter() - planned_at,
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10,
    }
    return times | {"photos": converted}, converted == record.listed


def _converted(summary: "ConversionSummary") -> int:
    return summary.photos - sum(summary.rejected.values())


def main() -> int:
    """Do what the arguments say, and print what came of it."""
    photos, labels, dataset, encoding, *part = sys.argv[1:]
    is_whole = True
    printed: object
    match part:
        case ["plan"]:
            plan(photos, labels, dataset, encoding)
            return 0
        case ["plan-tasks"]:
            printed = len(plan(photos, labels, dataset, encoding, for_tasks=True)[1].partitions)
        case ["task", todo]:
            printed = run_task(dataset, int(todo))
        case ["tasks", count]:
            printed = {"photos": run_tasks(int(count))}
        case ["partition"]:
            subprocess.run([sys.executable, *sys.argv[:5], "plan"], check=True)
            printed, is_whole = run_alone(photos, labels, dataset, encoding, is_planned=True)
        case _:
            printed, is_whole = run_alone(photos, labels, dataset, encoding, is_planned=False)
    print(json.dumps(printed))
    return 0 if is_whole else 1


if __name__ == "__main__":
    sys.exit(main())
