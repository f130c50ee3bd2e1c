"""Links from a task in Airflow's UI to the browser's page about what it made."""

from typing import Any, Final
from urllib.parse import quote, urlsplit

from airflow.configuration import conf
from airflow.sdk import BaseOperatorLink

from aesthetics_ops.airflow.access import configured

__all__ = ["ROUTE", "ShardsLink", "VersionLink", "base_path"]

ROUTE: Final = "dataset-browser"  # where the browser is mounted


class VersionLink(BaseOperatorLink):
    """From `publish` to the version that it published."""

    name = "Dataset version"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        """Return where the version is shown; empty for any other task, which hides the link."""
        if ti_key.task_id != "publish" or ti_key.dag_id not in configured():
            return ""
        version = _returned_by("publish", ti_key).get("version")
        return _page(ti_key.dag_id, "versions", version) if version else _page(ti_key.dag_id)


class ShardsLink(BaseOperatorLink):
    """From a task that makes or checks shards, and from the plan, to those shards."""

    name = "Shards"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        """Return where they are shown; empty for any other task, and before the plan is made."""
        if ti_key.task_id not in ("plan", "download_and_convert", "validate") or ti_key.dag_id not in configured():
            return ""
        build = _returned_by("plan", ti_key).get("build")
        if not build:
            return ""
        partition = () if ti_key.map_index < 0 else ("partitions", ti_key.map_index)
        return _page(ti_key.dag_id, "builds", build, *partition)


def base_path() -> str:
    """Return the path that Airflow's UI is served under, without a slash at its end; empty at the root."""
    return urlsplit(conf.get("api", "base_url", fallback="")).path.rstrip("/")


def _page(*parts: object) -> str:
    """Return the address of one of the browser's pages, inside Airflow's UI."""
    path = "/".join(quote(str(part), safe="") for part in parts)
    return f"{base_path()}/plugin/datasets{base_path()}/{ROUTE}/datasets/{path}"


def _returned_by(task_id: str, ti_key: Any) -> dict[str, Any]:
    """Return the summary that a task of the same run returned; empty where there is none."""
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session

    query = XComModel.get_many(
        run_id=ti_key.run_id, dag_ids=ti_key.dag_id, task_ids=task_id, key="return_value", map_indexes=-1
    )
    with create_session() as session:
        found = session.scalars(query).first()
        value = XComModel.deserialize_value(found) if found else None
    return value if isinstance(value, dict) else {}
