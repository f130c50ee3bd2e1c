"""How much faster two Celery workers finish a build than one, in the deployment of tests/stack on this machine.

    .venv/bin/python -m benchmarks.workers [--photos 4000] [--rounds 2]

A CPU-bound build: every photo is encoded anew, in 8 partitions.  Each worker runs one task at a time, each task decodes
one photo at a time (AESTHETICS_THREADS=1), and each worker keeps to a core of its own, so that one worker is one core.
Workers share no disk: each has its scratch directory, and shards go through Ceph.  Rounds of one and of two workers
alternate, since a machine's speed drifts.  Scheduler, API, database and store run on the same cores as the workers.

Timed is what the tasks themselves say: from the start of the first download_and_convert to the end of the last.
Needs what `make test-stack` installs, and at least two cores.
"""

import argparse
import logging
import os
import signal
import statistics
import sys
from datetime import date, datetime
from pathlib import Path

from tests.stack.ceph import start_ceph
from tests.stack.deployment import Deployment, deploy, secrets_of_env
from tests.stack.inputs import SAMPLES, fill
from tests.stack.services import Machine

ROOT = Path(__file__).resolve().parents[1]


DAG, BUCKET, PARTITIONS = "workers", "workers", 8
SMALLEST_BYTES = 30_000  # AVA's photos are about 100 kB; the samples' smallest are thumbnails


def datasets(shard_bytes: int) -> str:
    """Return the table of the build: the whole work divided into partitions of one shard each."""
    return f"""
[{DAG}]
photos = "s3://{BUCKET}/photos/"
labels = "s3://{BUCKET}/scores.csv"
dataset = "s3://{BUCKET}/datasets/{DAG}/"
encoding = "reencode"
shard_bytes = {shard_bytes}
partition_bytes = 1
near_duplicate_distance = ""
validation_fraction = 0
test_fraction = 0
[{DAG}.airflow]
schedule = ""
"""


def main() -> int:
    """Run the rounds, and print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=4000)
    parser.add_argument("--rounds", type=int, default=2, help="of one worker and of two")
    asked = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        print("two workers need two cores", file=sys.stderr)
        return 1
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # told to stop, it stops the services, as on Ctrl-C
    logging.basicConfig(format="%(message)s")
    logging.getLogger("stack").setLevel(logging.INFO)
    files = [path.read_bytes() for path in sorted(SAMPLES.glob("*.jpg")) if path.stat().st_size >= SMALLEST_BYTES]
    variables = secrets_of_env()
    with Machine() as machine:
        ceph = start_ceph(machine, key=variables["S3_ACCESS_KEY"], secret=variables["S3_SECRET_KEY"])
        s3 = ceph.client()
        s3.create_bucket(Bucket=BUCKET)
        fill(s3, BUCKET, "", files, asked.photos)
        source_bytes = sum(len(files[number % len(files)]) for number in range(asked.photos))
        table = datasets(source_bytes // PARTITIONS)
        deployment = deploy(machine, ceph, variables, table, workers=(), partitions=PARTITIONS)
        times: dict[int, list[float]] = {1: [], 2: []}
        for number in range(2 * asked.rounds):
            workers = 1 + number % 2
            # another quality makes every shard anew
            times[workers].append(build_seconds(deployment, cores, workers, number))
            print(f"round {number // 2 + 1}, {workers} worker(s): {times[workers][-1]:.1f} s", flush=True)
    print_table(times, asked.photos, source_bytes)
    return 0


def build_seconds(deployment: Deployment, cores: list[int], workers: int, number: int) -> float:
    """Build everything with so many workers; return the seconds from the first conversion's start to the last one's end."""
    names = [f"worker-{number}-{place}" for place in range(workers)]
    for place, name in enumerate(names):
        deployment.start_worker(name, before=("taskset", "--cpu-list", str(cores[place])), AESTHETICS_THREADS="1")
    for name in names:
        deployment.wait_for_worker(name)
    run = deployment.trigger(DAG, f"2026-01-{number + 1:02}", quality=80 + number)
    deployment.finish(DAG, run, within_seconds=1200)
    tasks = [task for task in deployment.tasks(DAG, run, "download_and_convert") if task["state"] == "success"]
    hosts = {task["hostname"] for task in tasks}
    if hosts != set(names):
        sys.exit(f"{sorted(hosts)} did the work of {names}")
    if {task["try_number"] for task in tasks} != {1}:
        sys.exit("a partition was tried twice, so the time means nothing")
    for name in names:
        deployment.workers.pop(name).service.stop()
    starts = [datetime.fromisoformat(task["start_date"]) for task in tasks]
    ends = [datetime.fromisoformat(task["end_date"]) for task in tasks]
    return (max(ends) - min(starts)).total_seconds()


def print_table(times: dict[int, list[float]], photos: int, source_bytes: int) -> None:
    """Print what was measured."""
    print(f"\n{date.today().isoformat()}, {os.cpu_count()} cores, load {os.getloadavg()[1]:.1f} over 5 minutes")
    print(f"{photos} photos, {source_bytes / 1e6:.0f} MB, encoded anew in {PARTITIONS} partitions\n")
    print("| round | one worker, s | two workers, s | ratio |\n|---|---|---|---|")
    for number, (one, two) in enumerate(zip(times[1], times[2], strict=True), 1):
        print(f"| {number} | {one:.1f} | {two:.1f} | {one / two:.2f} |")
    one, two = (statistics.median(times[workers]) for workers in (1, 2))
    print(f"| median | {one:.1f} | {two:.1f} | {one / two:.2f} |")


if __name__ == "__main__":
    sys.exit(main())
