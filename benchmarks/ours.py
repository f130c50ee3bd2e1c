"""One whole process of this project's own stages, for the benchmark: planning and converting, without validation.

    .venv/bin/python benchmarks/ours.py PHOTOS LABELS DATASET {keep,reencode,resize}

What `aesthetics-ops build` does up to and without reading back.  Prints one JSON object; fails unless every photo that was
listed became a record.
"""

import json
import sys
import time
from datetime import UTC, datetime

from bare import RESIZED_PX


def main() -> int:
    """Plan, convert every partition, and say how long each took."""
    photos, labels, dataset, encoding = sys.argv[1:]
    from aesthetics_ops.settings import BuildSettings

    settings = BuildSettings(
        photos=photos,
        labels=labels,
        dataset=dataset,
        encoding="keep" if encoding == "keep" else "reencode",
        max_side_px=RESIZED_PX if encoding == "resize" else None,
    )
    from aesthetics_ops.build import open_build, plan_build
    from aesthetics_ops.conversion import convert_partition

    imported = time.process_time()
    build = open_build(settings, "bench")
    record = plan_build(build, created_at=datetime.now(UTC), partitions=1)
    planned, planned_at = time.process_time(), time.perf_counter()
    done = [convert_partition(build, record, number) for number in range(len(record.partitions))]
    times = {
        "imports_cpu_seconds": imported,
        "plan_cpu_seconds": planned - imported,
        "convert_cpu_seconds": time.process_time() - planned,
        "convert_wall_seconds": time.perf_counter() - planned_at,
    }
    converted = sum(summary.photos - sum(summary.rejected.values()) for summary in done)
    print(json.dumps(times | {"photos": converted}))
    return 0 if converted == record.listed else 1


if __name__ == "__main__":
    sys.exit(main())
