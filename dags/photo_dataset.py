"""Photos and scores in, a verified dataset out.

**Makes** from a prefix of raw photos and a file of aesthetic scores a new version of a dataset: JPEG-bytes TFRecord
shards, read back with TensorFlow, published all at once behind `LATEST.json`, with a manifest and a report.

`plan` lists photos, joins scores and decides which photo goes into which shard. `download_and_convert` makes the shards
that do not exist yet, in up to `AESTHETICS_PARTITIONS` parallel tasks. `validate` reads them back from the store.
`publish` accounts for every photo, passes the gates, and flips `LATEST.json`.

**A rerun** redoes only what changed: a shard is named by the digest of its recipe, and one that is there is not made
again. When nothing changed, `publish` is skipped and no event reaches the training DAG.

**To recover**: clear the failed task. A message with "run … first" names the task to clear. A refused gate says what it
measured; mend the photos or scores, or trigger again with another limit. Nothing half-done is ever visible to readers.

**Alone**: `airflow tasks test photo_dataset plan 2026-11-22`, then `download_and_convert … --map-index 0`,
`validate … --map-index 0`, `publish`. State lies under `builds/<logical date>/` in the dataset, not in XComs.

Values of scheduled runs come from the TOML file that `AESTHETICS_CONFIG` names: one table per dataset, one DAG each.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pendulum
from airflow.sdk import Asset, Param, dag, get_current_context, task
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from aesthetics_ops.config import DatasetConfig, load_datasets
from aesthetics_ops.errors import PermanentError
from aesthetics_ops.settings import form_fields

CONFIG = Path(os.environ.get("AESTHETICS_CONFIG") or Path(__file__).parents[1] / "samples" / "datasets.toml")
PARTITIONS = int(os.environ.get("AESTHETICS_PARTITIONS") or 8)
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # each task imports numpy, whose threads would spin on every core


@contextmanager
def stage(config: DatasetConfig) -> Iterator[tuple[dict[str, Any], str, Any]]:
    """Give a task its settings' values, its build's id and its S3 access; fail at once where no retry can help."""
    from airflow.providers.amazon.aws.hooks.s3 import S3Hook

    from aesthetics_ops.dataset.layout import build_id_from
    from aesthetics_ops.store import S3Access

    context = get_current_context()
    run = context["dag_run"]
    hook = S3Hook(aws_conn_id=config.airflow.aws_conn_id)
    s3 = S3Access(hook.get_session(), endpoint_url=hook.conn_config.get_service_endpoint_url("s3"), verify=hook.verify)
    try:
        build_id = build_id_from(f"{run.logical_date:%Y-%m-%dT%H%M%S}" if run.logical_date else run.run_id)
        yield dict(context["params"]) | dict(run.conf or {}), build_id, s3
    except PermanentError as error:
        raise AirflowFailException(str(error)) from error


def make_dag(config: DatasetConfig) -> None:
    """Register the DAG of one dataset."""
    asset = Asset(name=config.name, uri=config.build.dataset + "LATEST.json", group="datasets")

    @task
    def plan() -> dict[str, Any]:
        from aesthetics_ops.builds import open_build
        from aesthetics_ops.planning.stage import plan_build
        from aesthetics_ops.settings import parse_settings

        with stage(config) as (values, build_id, s3):
            build = open_build(parse_settings(values, where="trigger form or conf"), build_id, s3=s3)
            return plan_build(build, created_at=pendulum.now("UTC"), partitions=PARTITIONS).summary

    @task(map_index_template="{{ holds }}")
    def download_and_convert(partition: int) -> dict[str, Any]:
        from aesthetics_ops.conversion.partition import convert_partition

        with partition_of(config, partition) as (build, record):
            return asdict(convert_partition(build, record, partition))

    @task(map_index_template="{{ holds }}", trigger_rule="none_failed")
    def validate(partition: int) -> dict[str, int]:
        from aesthetics_ops.validation.partition import validate_partition

        with partition_of(config, partition) as (build, record):
            return validate_partition(build, record, partition)

    @task(trigger_rule="none_failed", outlets=[asset])
    def publish(*, outlet_events: Any = None) -> dict[str, Any]:
        from aesthetics_ops.builds import resume_build
        from aesthetics_ops.publishing.publish import publish_build

        with stage(config) as (values, build_id, s3):
            published = publish_build(*resume_build(values["dataset"], build_id, s3=s3))
        if not published.is_new:
            raise AirflowSkipException(f"nothing changed since version {published.manifest.version}")
        outlet_events[asset].extra = published.summary
        return published.summary

    @dag(
        dag_id=config.name,
        schedule=config.airflow.schedule,
        start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
        catchup=False,
        max_active_runs=1,
        default_args={"retries": 2, "retry_delay": timedelta(minutes=1), "retry_exponential_backoff": 2.0},
        params={name: Param(value, **schema) for name, (value, schema) in form_fields(config.build).items()},
        doc_md=__doc__,
        tags=["dataset"],
    )
    def build_dataset() -> None:
        numbers = list(range(PARTITIONS))
        plan() >> download_and_convert.expand(partition=numbers) >> validate.expand(partition=numbers) >> publish()

    build_dataset()


@contextmanager
def partition_of(config: DatasetConfig, partition: int) -> Iterator[tuple[Any, Any]]:
    """Give a mapped task its build; skip it when the plan has less work than partitions."""
    from aesthetics_ops.builds import resume_build

    with stage(config) as (values, build_id, s3):
        build, record = resume_build(values["dataset"], build_id, s3=s3)
        context = cast(dict[str, Any], get_current_context())
        if partition >= len(record.partitions):
            context["holds"] = f"{partition}: empty"
            raise AirflowSkipException(
                f"the work is worth {len(record.partitions)} partitions; number {partition} has none"
            )
        part = record.partitions[partition]
        context["holds"] = (
            f"{partition}: {len(part.shards)} shards, {part.photos} photos, {part.source_bytes / 1e6:.1f} MB"
        )
        yield build, record


for config in load_datasets(CONFIG):
    make_dag(config)
