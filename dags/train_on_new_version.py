"""Trains on each new version of a dataset, once.

**Makes** from a version that was published a model which names it: below `<dataset>-training/<version>/` the model, `metrics.json`,
`receipt.json` and, last, `done.json`. A table of the TOML file that `AESTHETICS_CONFIG` names asks for it with `[NAME.training]`.

`choose` takes the version that the event of `<dataset>LATEST.json` names (a run by hand: the form's, or LATEST), looks whether it was
trained on, and pins it, so that no expiry deletes it. `train` pulls it, calls the function that the table names, and uploads what it made.

**A rerun** trains nothing twice: a version whose folder holds `done.json` of the same function, options and seed is skipped.

**To recover**: clear the failed task. It goes on from what the function saved, or begins anew. Nothing half-done counts: without
`done.json` there is no training.
"""

from datetime import timedelta
from typing import Any

import pendulum
from airflow.sdk import DAG, Asset, Param, dag, task
from airflow.sdk.exceptions import AirflowFailException

from aesthetics_ops.airflow import training
from aesthetics_ops.airflow.notices import telling_failures
from aesthetics_ops.config import DatasetConfig, config_path, load_configuration
from aesthetics_ops.training_settings import TrainingSettings

START = pendulum.datetime(2026, 1, 1, tz="UTC")


def make_dag(config: DatasetConfig, how: TrainingSettings) -> DAG:
    """Return the DAG that trains on the versions of one dataset."""
    resources = {name: value for name in ("pool", "queue") if (value := getattr(how, name))}

    @task
    def choose() -> dict[str, Any]:
        """Finds the version and pins it; skipped where it was trained on."""
        return training.choose(config)

    @task(
        execution_timeout=timedelta(hours=how.task_timeout_h) if how.task_timeout_h else None,
        executor_config=how.executor_config,
        **resources,
    )
    def train(chosen: Any) -> dict[str, Any]:
        """Pulls the version, trains, and uploads model, metrics and receipt; to try again after a failure, clear this task."""
        return training.train(config, chosen)

    @dag(
        dag_id=config.training_dag,
        schedule=[Asset(config.build.dataset + "LATEST.json", group="datasets")],
        start_date=START,
        catchup=False,
        auto_register=False,
        max_active_runs=1,
        default_args={
            "owner": config.airflow.owner,
            "retries": how.retries,
            "retry_delay": timedelta(seconds=how.retry_delay_s),
            "retry_exponential_backoff": 2.0,
        },
        params={
            "version": Param(
                None,
                type=["null", "string"],
                title="Version",
                description="its name or a pointer's; empty takes LATEST",
            )
        },
        description=f"Trains {how.train} on each new version of {config.build.dataset}",
        doc_md=__doc__,
        tags=list(how.tags),
        **telling_failures(config, config.training_dag),
    )
    def train_on_new_version() -> None:
        train(choose())

    made: DAG = train_on_new_version()
    made.validate()  # type: ignore[no-untyped-call]  # Airflow's, without annotations
    return made


def make_failing_dag(config: DatasetConfig, problem: str) -> DAG:
    """Return the DAG of a training that cannot be: it fails at each new version, and says why; builds go on."""

    @task(retries=0)
    def read_configuration() -> None:
        raise AirflowFailException(f"{problem}; correct the configuration file, nothing was trained")

    @dag(
        dag_id=config.training_dag,
        schedule=[Asset(config.build.dataset + "LATEST.json", group="datasets")],
        start_date=START,
        catchup=False,
        auto_register=False,
        doc_md=f"Table `[{config.name}.training]` of the configuration file cannot be used:\n\n    {problem}\n",
        tags=["training", "wrong configuration"],
    )
    def refuse() -> None:
        read_configuration()

    return refuse()


for each in load_configuration(config_path()).datasets:
    if each.training is not None:
        try:
            globals()[each.training_dag] = make_dag(each, each.training)
        except Exception as error:  # such as an executor_config that is none: it stops this training alone
            globals()[each.training_dag] = make_failing_dag(
                each, f"Airflow refuses the DAG of [{each.name}.training]: {error}"
            )
    elif each.training_problem:
        globals()[each.training_dag] = make_failing_dag(each, each.training_problem)
