"""Puts the dataset browser into Airflow's UI: the nav entry "Datasets", and links from tasks to what they made.

Airflow executes this file in every one of its processes, so only the API server, at the first request, loads what the
pages need.  Every route demands Airflow's login and the permission to read the DAG that has the dataset's name.
The datasets are those of the TOML file that `AESTHETICS_CONFIG` names, as for the DAGs.
"""

import os
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from airflow.configuration import conf
from airflow.plugins_manager import AirflowPlugin
from airflow.sdk import BaseOperatorLink

CONFIG = Path(os.environ.get("AESTHETICS_CONFIG") or Path(__file__).parents[1] / "samples" / "datasets.toml")
ROUTE = "dataset-browser"
BASE = urlsplit(conf.get("api", "base_url", fallback="")).path.rstrip("/")


@cache
def configured() -> dict[str, Any]:
    """Return the datasets by name."""
    from aesthetics_ops.config import load_datasets

    return {config.name: config for config in load_datasets(CONFIG)}


def open_dataset(config: Any) -> Any:
    """Open a dataset's store with the Airflow connection that its DAG uses."""
    from airflow.providers.amazon.aws.hooks.s3 import S3Hook

    from aesthetics_ops.store import S3Access, open_store

    hook = S3Hook(aws_conn_id=config.airflow.aws_conn_id)
    s3 = S3Access(hook.get_session(), endpoint_url=hook.conn_config.get_service_endpoint_url("s3"), verify=hook.verify)
    return open_store(config.build.dataset, s3=s3)


def make_guard() -> Callable[..., set[str]]:
    """Return the dependency that stands before every route of the browser."""
    from airflow.api_fastapi.core_api.security import GetUserDep, requires_access_dag
    from fastapi import HTTPException, Request

    def guard(request: Request, user: GetUserDep) -> set[str]:
        """Refuse who may read no dataset; return the names of those that this user may read."""
        allowed = set()
        asked = request.path_params.get("dataset")
        for name in [asked] if asked else configured():
            try:
                requires_access_dag("GET", param_dag_id=name)(request, user)
            except HTTPException as error:
                refusal = error
            else:
                allowed.add(name)
        if not allowed:
            raise refusal
        return allowed

    return guard


@cache
def browser() -> Any:
    """Return the browser's application."""
    from aesthetics_ops.browser import make_browser

    return make_browser(make_guard(), {name: partial(open_dataset, config) for name, config in configured().items()})


async def serve(scope: Any, receive: Any, send: Any) -> None:
    """Serve the browser, made at the first request."""
    from starlette.concurrency import run_in_threadpool

    app = await run_in_threadpool(browser)
    await app(scope, receive, send)


def page(*parts: object) -> str:
    """Return the address of one of the browser's pages, inside Airflow's UI."""
    path = "/".join(quote(str(part), safe="") for part in parts)
    return f"{BASE}/plugin/datasets{BASE}/{ROUTE}/datasets/{path}"


def returned_by(task_id: str, ti_key: Any) -> dict[str, Any]:
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


class VersionLink(BaseOperatorLink):
    """From `publish` to the version that it published."""

    name = "Dataset version"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        """Return where the version is shown; empty for any other task, which hides the link."""
        if ti_key.task_id != "publish" or ti_key.dag_id not in configured():
            return ""
        version = returned_by("publish", ti_key).get("version")
        return page(ti_key.dag_id, "versions", version) if version else page(ti_key.dag_id)


class ShardsLink(BaseOperatorLink):
    """From a task that makes or checks shards, and from the plan, to those shards."""

    name = "Shards"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        """Return where they are shown; empty for any other task, and before the plan is made."""
        if ti_key.task_id not in ("plan", "download_and_convert", "validate") or ti_key.dag_id not in configured():
            return ""
        build = returned_by("plan", ti_key).get("build")
        if not build:
            return ""
        partition = () if ti_key.map_index < 0 else ("partitions", ti_key.map_index)
        return page(ti_key.dag_id, "builds", build, *partition)


class DatasetBrowser(AirflowPlugin):
    """What Airflow takes from this file."""

    name = "dataset_browser"
    fastapi_apps = [{"app": serve, "url_prefix": f"/{ROUTE}", "name": "Dataset browser"}]  # noqa: RUF012
    external_views = [  # noqa: RUF012
        {
            "name": "Datasets",
            "href": f"{BASE}/{ROUTE}/",
            "destination": "nav",
            "nav_top_level": True,
            "url_route": "datasets",
        }
    ]
    global_operator_extra_links = [VersionLink(), ShardsLink()]  # noqa: RUF012
