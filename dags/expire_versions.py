"""Deletes old versions of datasets every week: of each table that says which versions stay.

`expire_keep` and `expire_older_than_days` in `[NAME.airflow]` of the TOML file that `AESTHETICS_CONFIG` names say so; a version goes only
where both allow it, and datasets whose table has neither are left alone. What LATEST, a pointer or a pin names stays in any case, and so do
candidates that are young, and what a running build needs. A log says why each version stays. `aesthetics-ops expire` says the
same beforehand, and deletes nothing.

**To recover**: clear the task. It goes on where it stopped.
"""

from datetime import timedelta
from typing import Any

import pendulum
from airflow.sdk import DAG, dag, task

from aesthetics_ops.airflow import tasks
from aesthetics_ops.config import EXPIRY_DAG, DatasetConfig, config_path, load_configuration


def make_dag(configs: dict[str, DatasetConfig]) -> DAG:
    """Return the DAG over these datasets."""

    @task(map_index_template="{{ task.op_kwargs['name'] }}")
    def expire(name: str) -> dict[str, Any]:
        """Deletes what the retention of one dataset lets go."""
        return tasks.expire(configs[name])

    @dag(
        dag_id=EXPIRY_DAG,
        schedule="0 6 * * 0",
        start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
        catchup=False,
        auto_register=False,
        max_active_runs=1,
        default_args={"retries": 4, "retry_delay": timedelta(minutes=5), "retry_exponential_backoff": 2.0},
        description="Old versions of datasets go, as each table of the configuration file says",
        doc_md=__doc__,
        tags=["dataset"],
    )
    def expire_versions() -> None:
        expire.expand(name=list(configs))

    return expire_versions()


if expiring := {config.name: config for config in load_configuration(config_path()).datasets if config.airflow.expires}:
    globals()[EXPIRY_DAG] = make_dag(expiring)
