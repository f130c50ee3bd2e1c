"""This project's own stages for the benchmark: planning and converting, without validation.

    .venv/bin/python benchmarks/ours.py PHOTOS LABELS DATASET {keep,reencode,resize} [partition]

What `aesthetics-ops build` does up to and without reading back, in one process; or, with `partition`, what one partition's
task of the DAG does, after a process of its own has planned.  Prints one JSON object; fails unless every photo that was listed
became a record.
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


def plan(photos: str, labels: str, dataset: str, encoding: str) -> "tuple[Build, BuildPlan]":
    """Plan a build with one partition."""
    from aesthetics_ops.pipeline import start_build
    from aesthetics_ops.settings import BuildSettings

    settings = BuildSettings(
        photos=photos,
        labels=labels,
        dataset=dataset,
        encoding="keep" if encoding == "keep" else "reencode",
        max_side_px=RESIZED_PX if encoding == "resize" else None,
    )
    return start_build(settings, build_id="bench")


def main() -> int:
    """Plan, convert every partition, and say how long each took."""
    photos, labels, dataset, encoding, *part = sys.argv[1:]
    if part == ["plan"]:
        plan(photos, labels, dataset, encoding)
        return 0
    from aesthetics_ops.dataset.columns import without_pandas

    without_pandas()  # as the command line does
    if part:
        subprocess.run([sys.executable, *sys.argv[:5], "plan"], check=True)
    from aesthetics_ops.builds import resume_build
    from aesthetics_ops.conversion.partition import convert_partition

    imported = time.process_time()
    build, record = resume_build(dataset, "bench") if part else plan(photos, labels, dataset, encoding)
    planned, planned_at = time.process_time(), time.perf_counter()
    done = [convert_partition(build, record, number) for number in range(len(record.partitions))]
    times = {
        "imports_cpu_seconds": imported,
        "plan_cpu_seconds": planned - imported,
        "convert_cpu_seconds": time.process_time() - planned,
        "convert_wall_seconds": time.perf_counter() - planned_at,
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10,
    }
    converted = sum(summary.photos - sum(summary.rejected.values()) for summary in done)
    print(json.dumps(times | {"photos": converted}))
    return 0 if converted == record.listed else 1


if __name__ == "__main__":
    sys.exit(main())
