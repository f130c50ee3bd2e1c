"""Photos and scores in, a verified dataset out.

**Makes** from a prefix of raw photos and a file of aesthetic scores a new version of a dataset: JPEG-bytes TFRecord
shards, read back with TensorFlow, published all at once behind `LATEST.json`, with a manifest and a report.

`plan` lists photos, joins scores and decides which photo goes into which shard. `download_and_convert` makes the shards
that do not exist yet, in up to `AESTHETICS_PARTITIONS` parallel tasks. `validate` reads those of a partition back from the store
as soon as it is converted. When all are, `publish` accounts for every photo, passes the gates, and flips `LATEST.json`.

**A rerun** redoes only what changed: a shard is named by the digest of its recipe, and one that is there is not made
again. When nothing changed, `publish` is skipped and no event reaches the training DAG.

**To recover**: clear the failed task. Where another stage has to come first, the message says which task to clear, and the
command that runs it alone. A refused gate says what it measured; mend the photos or scores, or trigger again with another limit. Nothing half-done is ever visible to readers.
Where the table has `ask_on_refusal`, `ask` waits for a person to approve or reject what a gate refused, and `promote` publishes what was approved.
Where the published version itself cannot be read, `aesthetics-ops rollback` goes back to another; where none is whole, trigger once with "Start anew".

**Alone**: `airflow tasks test photo_dataset plan 2026-11-22`, then `download_and_convert … --map-index 0`,
`validate … --map-index 0`, `publish`. State lies under `builds/<logical date>/` in the dataset, not in XComs.

Values of scheduled runs come from the TOML file that `AESTHETICS_CONFIG` names: one table per dataset, one DAG each. A table
that is wrong becomes a DAG that fails with the reason; the others are none the worse.

**Its event** comes from the asset whose name and URI are `<dataset>LATEST.json`, once for each version. A run that the form
sends to another dataset sends none for this one.
"""

import os
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pendulum
from airflow.sdk import DAG, Asset, AssetAlias, Param, dag, task, task_group
from airflow.sdk.exceptions import AirflowFailException

from aesthetics_ops.airflow import tasks
from aesthetics_ops.airflow.asking import AskPerson
from aesthetics_ops.airflow.notices import notifying
from aesthetics_ops.config import (
    AirflowSettings,
    DatasetConfig,
    FaultyTable,
    config_path,
    load_configuration,
    mapped_tasks,
)
from aesthetics_ops.errors import SettingsError
from aesthetics_ops.settings import form_fields

PARTITIONS = mapped_tasks()
START = pendulum.datetime(2026, 1, 1, tz="UTC")
# No backfills: Airflow does not count them among `max_active_runs`, and every build takes the photos as they are now.
RUN_TYPES: Any = ["scheduled", "manual", "operator_triggered", "asset_triggered", "asset_materialization"]
ASKING = """Asks a person whether to publish a version that a gate refused: "Required Actions" has the numbers and two buttons.

Skipped where no gate refused. A rejection, and no answer in time, fail it; the version before stays. Clear it to be asked again.
"""
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # each task imports numpy, whose threads would spin on every core


def make_dag(config: DatasetConfig) -> DAG:
    """Return the DAG of one dataset; whatever Airflow would refuse of it is raised."""
    latest = Asset(config.build.dataset + "LATEST.json", group="datasets")
    published = AssetAlias(f"{config.name} published", group="datasets")
    how = config.airflow
    mapped = how.partitions or PARTITIONS
    sources = [
        Asset(config.build.photos, group="photos"),
        *(Asset(url, group="scores") for url in config.build.label_urls),
    ]

    @task(inlets=sources)
    def plan() -> dict[str, Any]:
        """Lists the photos, joins the scores, and decides which photo goes into which shard.

        Fails at once where a setting, a URL or the score file is wrong: correct it and trigger again.
        """
        return tasks.plan(config, partitions=mapped)

    @task(map_index_template="{{ holds }}")
    def download_and_convert(partition: int) -> dict[str, Any]:
        """Makes the shards of one partition that are not there yet; skipped where the plan has less work than tasks.

        A photo that cannot be used is counted and left out. To go on after a failure, clear this task: finished shards are kept.
        """
        return tasks.download_and_convert(config, partition)

    @task(map_index_template="{{ holds }}", trigger_rule="none_failed")
    def validate(partition: int) -> dict[str, float]:
        """Reads the shards of one partition back from the store with TensorFlow, and compares each record.

        A shard that is not as it was written fails; the message says what to clear.
        """
        return tasks.validate(config, partition)

    @task_group(prefix_group_id=False)
    def partitions(partition: int) -> None:
        """Each partition is read back as soon as it is converted, whatever the others do."""
        download_and_convert(partition) >> validate(partition)

    @task(trigger_rule="none_failed", inlets=[latest], outlets=[published])
    def publish(*, inlet_events: Any = None, outlet_events: Any = None) -> dict[str, Any]:
        """Accounts for every photo, passes the gates, writes the version, and moves `LATEST.json`.

        Skipped where nothing changed. A gate that refuses fails it at once, with what was measured; the version before stays.
        """
        return tasks.publish(config, latest, inlet_events[latest], outlet_events[published])

    @task(inlets=[latest], outlets=[published])
    def promote(*, inlet_events: Any = None, outlet_events: Any = None) -> dict[str, Any]:
        """Publishes the version that a person approved, and notes that its gates were overruled: by whom, and why.

        Where LATEST moved meanwhile, or the candidate is gone, it fails at once and says so; nothing is published.
        """
        return tasks.promote(config, latest, inlet_events[latest], outlet_events[published])

    @dag(
        dag_id=config.name,
        schedule=[Asset(uri) for uri in how.run_on] or how.schedule,
        start_date=START.in_timezone(how.timezone),
        catchup=False,
        auto_register=False,
        max_active_runs=1,
        allowed_run_types=RUN_TYPES,
        dagrun_timeout=in_hours(how.run_timeout_h),
        default_args={
            "owner": how.owner,
            "retries": how.retries,
            "retry_delay": timedelta(seconds=how.retry_delay_s),
            "retry_exponential_backoff": 2.0,
            "execution_timeout": in_hours(how.task_timeout_h),
            "executor_config": how.executor_config,
            "weight_rule": "upstream",  # what is further on goes first: else all converting would, where slots are few
            **{name: value for name in ("pool", "queue") if (value := getattr(how, name))},
        },
        params={name: Param(value, **schema) for name, (value, schema) in form_fields(config.build).items()},
        description=f"{config.build.photos} and its scores to {config.build.dataset}",
        doc_md=__doc__,
        tags=list(how.tags),
        **notifying(config),
    )
    def build_dataset() -> None:
        end = publish()
        plan() >> partitions.expand(partition=list(range(mapped))) >> end
        if how.ask_on_refusal:
            end >> AskPerson(task_id="ask", config=config, doc_md=ASKING) >> promote()

    built: DAG = build_dataset()
    built.validate()  # type: ignore[no-untyped-call]  # Airflow's, without annotations
    return built


def in_hours(number: float | None) -> timedelta | None:
    """Return a time limit; None for none."""
    return None if number is None else timedelta(hours=number)


def make_failing_dag(table: FaultyTable) -> DAG:
    """Return the DAG of a table that cannot be used: it fails every night, and says why."""

    @task
    def read_configuration() -> None:
        raise AirflowFailException(f"{table.problem}; correct the configuration file, no build was tried")

    @dag(
        dag_id=table.dag_id,
        schedule=AirflowSettings().schedule,
        start_date=START,
        catchup=False,
        auto_register=False,
        doc_md=f"Table `[{table.name}]` of the configuration file cannot be used:\n\n    {table.problem}\n",
        tags=["dataset", "wrong configuration"],
    )
    def refuse() -> None:
        read_configuration()

    return refuse()


def make_dags() -> Iterator[DAG]:
    """Yield a DAG for each table of the configuration file."""
    configuration = load_configuration(config_path())
    for config in configuration.datasets:
        try:
            yield make_dag(config)
        except SettingsError as error:
            yield make_failing_dag(FaultyTable(config.name, config.name, str(error)))
        except Exception as error:  # such as a schedule that is none: it stops this dataset alone
            problem = f"Airflow refuses the DAG of table [{config.name}]: {error}"
            yield make_failing_dag(FaultyTable(config.name, config.name, problem))
    yield from map(make_failing_dag, configuration.faulty)


globals().update({made.dag_id: made for made in make_dags()})  # where Airflow looks for DAGs
