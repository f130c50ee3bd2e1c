"""The dataset browser behind Airflow's login and permissions.

Every route demands the permission to read the DAG that has the dataset's name.  What the pages need is loaded at the first
request, in the API server alone.
"""

from collections.abc import Callable, Collection
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, NoReturn

from aesthetics_ops.airflow.access import configured, open_configured
from aesthetics_ops.errors import SettingsError

if TYPE_CHECKING:
    from aesthetics_ops.config import Configuration
    from aesthetics_ops.store import Store

__all__ = ["guarded_browser", "serve"]


def _make_guard(names: Collection[str]) -> Callable[..., set[str]]:
    """Return the dependency that stands before every route of the browser over these datasets."""
    from airflow.api_fastapi.core_api.security import GetUserDep, requires_access_dag
    from fastapi import HTTPException, Request

    def guard(request: Request, user: GetUserDep) -> set[str]:
        """Refuse who may read no dataset; return the names of those that this user may read."""
        allowed = set()
        asked = request.path_params.get("dataset")
        for name in [asked] if asked else names:
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


@lru_cache(maxsize=1)
def guarded_browser(configuration: "Configuration") -> Any:
    """Return the browser's application over the configured datasets; a table that is wrong says so in its place."""
    from aesthetics_ops.browser import make_browser

    openers: dict[str, Callable[[], Store]] = {
        config.name: partial(open_configured, config) for config in configuration.datasets
    }
    openers |= {table.dag_id: partial(_refuse, table.problem) for table in configuration.faulty}
    return make_browser(_make_guard(openers), openers)


async def serve(scope: Any, receive: Any, send: Any) -> None:
    """Serve the browser, made at the first request and whenever the configuration has changed."""
    from starlette.concurrency import run_in_threadpool

    app = await run_in_threadpool(_browser)
    await app(scope, receive, send)


def _browser() -> Any:
    try:
        return guarded_browser(configured())
    except SettingsError as error:
        return _closed_browser(str(error))


@lru_cache(maxsize=1)
def _closed_browser(problem: str) -> Any:
    """Return an application that tells whoever may see import errors why there are no datasets."""
    from airflow.api_fastapi.auth.managers.models.resource_details import AccessView
    from airflow.api_fastapi.core_api.security import requires_access_view
    from fastapi import Depends, Request

    from aesthetics_ops.browser import make_browser

    def guard(request: Request, _: None = Depends(requires_access_view(AccessView.IMPORT_ERRORS))) -> set[str]:
        if not request.url.path.endswith("/style.css"):
            raise SettingsError(problem)
        return set()

    return make_browser(guard, {})


def _refuse(problem: str) -> NoReturn:
    raise SettingsError(problem)
