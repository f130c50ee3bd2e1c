"""Links from a task in Airflow's UI to the browser's page about what it made."""

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote, urlsplit

from airflow.configuration import conf
from airflow.sdk import BaseOperatorLink

from aesthetics_ops.airflow.access import configured, xcom_in_database
from aesthetics_ops.errors import SettingsError

__all__ = ["ROUTE", "ShardsLink", "VersionLink", "base_path", "version_page"]

ROUTE: Final = "dataset-browser"  # where the browser is mounted


class VersionLink(BaseOperatorLink):
    """From `publish`, `ask` and `promote` to the version that they are about."""

    name = "Dataset version"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        """Return where the version is shown; empty, which hides the link, for other tasks, and where no table has its dataset."""
        if ti_key.task_id not in ("publish", "ask", "promote"):
            return ""
        name = _table_of(ti_key.dag_id, _returned_by("plan", ti_key))
        if not name:
            return ""
        version = _returned_by("publish", ti_key).get("version")
        return _page(name, "versions", version) if version else _page(name)


class ShardsLink(BaseOperatorLink):
    """From a task that makes or checks shards, and from the plan, to those shards."""

    name = "Shards"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        """Return where they are shown; empty for other tasks, before the plan is made, and where no table has the dataset."""
        if ti_key.task_id not in ("plan", "download_and_convert", "validate"):
            return ""
        planned = _returned_by("plan", ti_key)
        name, build = _table_of(ti_key.dag_id, planned), planned.get("build")
        if not name or not build:
            return ""
        partition = () if ti_key.map_index < 0 else ("partitions", ti_key.map_index)
        return _page(name, "builds", build, *partition)


def version_page(dag_id: str, planned: Mapping[str, Any], version: str) -> str:
    """Return the address of a version's page, inside Airflow's UI; empty where no table has the dataset that a run built.

    Args:
        dag_id: of the run.
        planned: what its plan returned; `dataset` is looked at.
        version: its name.
    """
    name = _table_of(dag_id, planned)
    return _page(name, "versions", version) if name else ""


def _table_of(dag_id: str, planned: Mapping[str, Any]) -> str:
    """Return the table whose dataset a run builds: the DAG's own, unless the form named another; empty: no table."""
    try:
        tables = configured().datasets
    except SettingsError:  # the browser says so; the task's page is to be seen all the same
        return ""
    own = next((config for config in tables if config.name == dag_id), None)
    built = planned.get("dataset", own.build.dataset if own else None)
    return next((config.name for config in tables if config.build.dataset == built), "") if own else ""


def base_path() -> str:
    """Return the path that Airflow's UI is served under, without a slash at its end; empty at the root."""
    return urlsplit(conf.get("api", "base_url", fallback="")).path.rstrip("/")


def _page(*parts: object) -> str:
    """Return the address of one of the browser's pages, inside Airflow's UI."""
    path = "/".join(quote(str(part), safe="") for part in parts)
    return f"{base_path()}/plugin/datasets{base_path()}/{ROUTE}/datasets/{path}"


def _returned_by(task_id: str, ti_key: Any) -> dict[str, Any]:
    """Return the summary that a task of the same run returned; empty where there is none."""
    value = xcom_in_database(ti_key.dag_id, ti_key.run_id, task_id)
    return value if isinstance(value, dict) else {}
