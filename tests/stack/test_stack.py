"""The deployment of docker-compose.yml at work: two workers, the loss of one, a queue of runs, a scheduler that is away.

One evening is played once, in `evening`; each test then looks at one thing that must have come of it.
"""

import json
import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest

from aesthetics_ops.builds import BuildPlan, resume_build
from aesthetics_ops.dataset.layout import ShardFile, shard_key
from aesthetics_ops.dataset.manifest import Manifest
from aesthetics_ops.dataset.reading_manifests import read_manifest
from aesthetics_ops.store import S3Access, Store, open_store
from tests.stack.ceph import Ceph
from tests.stack.deployment import Deployment, Worker, deploy
from tests.stack.inputs import enlarged, fill
from tests.stack.services import PATIENCE_SECONDS, Machine, wait_for

_log = logging.getLogger("stack")

BUCKET = "stack"
PARTITIONS = 4
SMALL, LARGE = 12, 160
FIRST, SECOND = "2026-01-10", "2026-01-11"
NAMES = ("917058", "926426", "936054")
DATASETS = "\n".join(
    f"""
[{name}]
photos = "s3://{BUCKET}/{name}/photos/"
labels = "s3://{BUCKET}/{name}/scores.csv"
dataset = "s3://{BUCKET}/datasets/{name}/"
encoding = "reencode"         # all that a photo can cost
quality = 70
max_side_px = 2200            # small to read back
shard_bytes = {shard_bytes}
partition_bytes = 1           # every partition is used
near_duplicate_distance = ""  # all photos are alike
[{name}.airflow]
schedule = ""
retry_delay_s = 5             # a minute in earnest, which would only be waited for
"""
    for name, shard_bytes in (("small", 1_000_000), ("large", 2_000_000))
)


@dataclass
class Evening:
    """What was done and seen; the fields stand in the order of events.

    Attributes:
        small: run of the small dataset.
        large: run during which a worker was lost; next_large: triggered while it ran.
        lost: that worker; partition: that it was at.
        finished: objects of finished shards right after the loss, with ETag and time.
        finished_there: how many shards of that partition were finished.
        half: files that the lost worker left in its scratch directory.
        waited_as: states of the next run while the first was running.
        versions: of the large dataset before and after the next run.
        away: run of the small dataset during which the scheduler was away.
        done_away: partitions that were done meanwhile.
    """

    small: str = ""
    large: str = ""
    lost: Worker | None = None
    partition: int = -1
    finished: dict[str, tuple[str, Any]] = None
    finished_there: int = 0
    half: tuple[Path, ...] = ()
    next_large: str = ""
    waited_as: set[str] = None
    versions: tuple[str, str] = ("", "")
    away: str = ""
    done_away: int = 0


class Bucket:
    """What lies in the S3, read as a person would."""

    def __init__(self, ceph: Ceph) -> None:
        self.s3 = ceph.client()
        self.access = S3Access(boto3.Session(ceph.key, ceph.secret, region_name="us-east-1"), ceph.endpoint_url)

    def dataset(self, name: str) -> Store:
        return open_store(f"s3://{BUCKET}/datasets/{name}/", s3=self.access)

    def manifest(self, name: str) -> Manifest:
        return read_manifest(self.dataset(name))

    def plan(self, name: str, date: str) -> BuildPlan:
        return resume_build(f"s3://{BUCKET}/datasets/{name}/", f"{date}T000000", s3=self.access)[1]

    def shards(self, name: str) -> dict[str, tuple[str, Any]]:
        """Return, by key, ETag and time of every shard's file and result that is there."""
        prefix = f"datasets/{name}/"
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=f"{prefix}shards/")
        found = [item for page in pages for item in page.get("Contents", ())]
        return {item["Key"].removeprefix(prefix): (item["ETag"], item["LastModified"]) for item in found}


@pytest.fixture(scope="module")
def bucket(ceph: Ceph) -> Bucket:
    bucket = Bucket(ceph)
    bucket.s3.create_bucket(Bucket=BUCKET)
    photos = [enlarged(name, 4000) for name in NAMES]
    fill(bucket.s3, BUCKET, "small/", photos, SMALL)
    fill(bucket.s3, BUCKET, "large/", photos, LARGE)
    return bucket


@pytest.fixture(scope="module")
def deployment(machine: Machine, ceph: Ceph, variables: dict[str, str], bucket: Bucket) -> Deployment:
    return deploy(machine, ceph, variables, DATASETS, workers=("worker-1", "worker-2"), partitions=PARTITIONS)


@pytest.fixture(scope="module")
def evening(deployment: Deployment, bucket: Bucket) -> Evening:
    evening = Evening()
    for part in (build_something, lose_a_worker, trigger_while_one_runs, send_the_scheduler_away):
        started = time.monotonic()
        part(deployment, bucket, evening)
        _log.info("%5.1f s  %s", time.monotonic() - started, part.__name__.replace("_", " ").upper())
    return evening


def build_something(deployment: Deployment, bucket: Bucket, evening: Evening) -> None:
    evening.small = deployment.trigger("small", FIRST)
    deployment.finish("small", evening.small)


def lose_a_worker(deployment: Deployment, bucket: Bucket, evening: Evening) -> None:
    """Wait until a worker is between its first and its last shard, and take it away."""
    evening.large = deployment.trigger("large", FIRST)

    def somebody_in_the_middle() -> tuple[dict[str, Any], set[str]] | None:
        running = [
            task
            for task in deployment.tasks("large", evening.large, "download_and_convert")
            if task["state"] == "running" and task["hostname"]
        ]
        there = bucket.shards("large")
        for task in running:
            shards = bucket.plan("large", FIRST).partitions[task["map_index"]].shards
            done = {digest for digest in shards if shard_key(digest, ShardFile.RESULT) in there}
            if 1 <= len(done) < len(shards) - 1:
                return task, set(shards)
        return None

    services = tuple(deployment.services.values())
    task, shards = wait_for(
        "a worker in the middle of a partition", somebody_in_the_middle, within_seconds=PATIENCE_SECONDS, of=services
    )
    evening.lost = deployment.workers.pop(task["hostname"])
    evening.lost.service.kill()
    evening.partition = task["map_index"]
    there = bucket.shards("large")
    complete = {key for key in there if key.endswith(".json") and not key.endswith(".validated.json")}
    complete |= {key.removesuffix(".json") + ".tfrecord" for key in complete}
    evening.finished = {key: there[key] for key in complete}
    evening.finished_there = sum(shard_key(digest, ShardFile.RESULT) in complete for digest in shards)
    evening.half = tuple(evening.lost.scratch.rglob("*.tfrecord"))


def trigger_while_one_runs(deployment: Deployment, bucket: Bucket, evening: Evening) -> None:
    """Trigger the next run while the first still waits for its lost partition; see both to their ends."""
    evening.next_large = deployment.trigger("large", SECOND)
    evening.waited_as = set()

    def first_ended() -> bool:
        next_state = deployment.state("large", evening.next_large)
        if (
            first := deployment.state("large", evening.large)
        ) == "running":  # it still was when the other was looked at
            evening.waited_as.add(next_state)
        return first in ("success", "failed")

    wait_for(
        "the run that lost its worker",
        first_ended,
        within_seconds=PATIENCE_SECONDS,
        of=(*deployment.services.values(), *(worker.service for worker in deployment.workers.values())),
    )
    deployment.finish("large", evening.large)
    before = bucket.manifest("large").version
    deployment.finish("large", evening.next_large)
    evening.versions = before, bucket.manifest("large").version


def send_the_scheduler_away(deployment: Deployment, bucket: Bucket, evening: Evening) -> None:
    """Stop the scheduler while partitions run, bring it back when nothing goes on without it."""
    evening.away = deployment.trigger("small", SECOND, quality=60)

    def states() -> list[str]:
        return [task["state"] for task in deployment.tasks("small", evening.away, "download_and_convert")]

    wait_for("a partition at work", lambda: "running" in states(), within_seconds=PATIENCE_SECONDS)
    deployment.services.pop("scheduler").stop()
    wait_for(
        "the workers to do without the scheduler what they were given",
        lambda: not {"running", "queued"} & set(states()),
        within_seconds=PATIENCE_SECONDS,
        of=tuple(deployment.services.values()),
    )
    evening.done_away = states().count("success")
    assert deployment.state("small", evening.away) == "running"
    deployment.start("scheduler")
    deployment.finish("small", evening.away)


def test_two_workers_share_one_build(deployment: Deployment, evening: Evening) -> None:
    tasks = deployment.tasks("small", evening.small, "download_and_convert")
    assert [task["state"] for task in tasks] == ["success"] * PARTITIONS
    assert {task["hostname"] for task in tasks} == {"worker-1", "worker-2"}


@pytest.mark.parametrize(("name", "photos"), [("small", SMALL), ("large", LARGE)])
def test_every_version_verifies(
    machine: Machine, ceph: Ceph, bucket: Bucket, evening: Evening, name: str, photos: int
) -> None:
    environment = {
        "AWS_ACCESS_KEY_ID": ceph.key,
        "AWS_SECRET_ACCESS_KEY": ceph.secret,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": ceph.endpoint_url,
        "NO_PROXY": "127.0.0.1",
    }
    command = ("aesthetics-ops", "verify", f"s3://{BUCKET}/datasets/{name}/", "--json")
    told = machine.run(f"verify-{name}", *command, env=environment)
    assert f'"records": {photos}' in told
    assert bucket.manifest(name).accounting.converted == photos


def test_a_lost_worker_was_in_the_middle_of_a_shard(evening: Evening) -> None:
    assert evening.finished_there >= 1
    assert evening.half, "an unfinished file in its scratch directory"


def test_its_partition_is_tried_again_by_the_other_worker(deployment: Deployment, evening: Evening) -> None:
    tasks = deployment.tasks("large", evening.large, "download_and_convert")
    (survivor,) = deployment.workers
    again = tasks[evening.partition]
    assert (again["state"], again["try_number"], again["hostname"]) == ("success", 2, survivor)
    assert {task["try_number"] for task in tasks if task is not again} == {1}


def test_what_the_lost_worker_had_finished_is_not_done_again(
    deployment: Deployment, bucket: Bucket, evening: Evening
) -> None:
    now = bucket.shards("large")
    assert {key: now[key] for key in evening.finished} == evening.finished
    summary = xcom(deployment, "large", evening.large, "download_and_convert", evening.partition)
    assert summary["shards"] == len(bucket.plan("large", FIRST).partitions[evening.partition].shards)
    assert summary["built"] == summary["shards"] - evening.finished_there


def test_a_run_waits_for_the_one_before_it(evening: Evening) -> None:
    assert evening.waited_as == {"queued"}


def test_a_run_after_an_equal_one_finds_nothing_to_do(deployment: Deployment, bucket: Bucket, evening: Evening) -> None:
    assert evening.versions[0] == evening.versions[1]
    assert xcom(deployment, "large", evening.next_large, "plan")["shards_to_build"] == 0
    states = {task["task_id"]: task["state"] for task in deployment.tasks("large", evening.next_large)}
    assert states == {"plan": "success", "download_and_convert": "skipped", "validate": "skipped", "publish": "skipped"}


def test_nothing_is_lost_while_the_scheduler_is_away(deployment: Deployment, bucket: Bucket, evening: Evening) -> None:
    assert evening.done_away >= 1
    tasks = deployment.tasks("small", evening.away)
    assert {(task["state"], task["try_number"]) for task in tasks} == {("success", 1)}
    manifest = bucket.manifest("small")
    assert manifest.settings["quality"] == 60
    assert manifest.reuse.shards_added == manifest.reuse.shards_total


def test_nothing_between_tasks_grows_with_the_data(deployment: Deployment, evening: Evening) -> None:
    sizes = {
        name: dict(
            deployment.query(
                "SELECT task_id || '/' || map_index || '/' || key, octet_length(value::text) FROM xcom "
                "WHERE dag_id = %s AND run_id = %s",
                name,
                run,
            )
        )
        for name, run in (("small", evening.small), ("large", evening.large))
    }
    assert LARGE >= 10 * SMALL
    assert sizes["small"].keys() == sizes["large"].keys()
    assert len(sizes["small"]) >= 2 + 2 * PARTITIONS
    for key, size in sizes["large"].items():
        assert size <= min(600, sizes["small"][key] * 1.1 + 8), key


def xcom(deployment: Deployment, dag: str, run: str, task: str, map_index: int = -1) -> Any:
    """Return what a task returned."""
    ((value,),) = deployment.query(
        "SELECT value::text FROM xcom WHERE dag_id = %s AND run_id = %s AND task_id = %s AND map_index = %s "
        "AND key = 'return_value'",
        dag,
        run,
        task,
        map_index,
    )
    found = json.loads(value)
    return json.loads(found) if isinstance(found, str) else found
