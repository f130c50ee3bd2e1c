"""The dataset browser behind Airflow's login and permissions.

Every route demands the permission to read the DAG that has the dataset's name.  What the pages need is loaded at the first
request, in the API server alone.
"""

from collections.abc import Callable
from functools import cache, partial
from typing import Any

from aesthetics_ops.airflow.access import configured, open_configured

__all__ = ["guarded_browser", "make_guard", "serve"]


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
def guarded_browser() -> Any:
    """Return the browser's application over the configured datasets."""
    from aesthetics_ops.browser import make_browser

    return make_browser(make_guard(), {name: partial(open_configured, config) for name, config in configured().items()})


async def serve(scope: Any, receive: Any, send: Any) -> None:
    """Serve the browser, made at the first request."""
    from starlette.concurrency import run_in_threadpool

    app = await run_in_threadpool(guarded_browser)
    await app(scope, receive, send)
