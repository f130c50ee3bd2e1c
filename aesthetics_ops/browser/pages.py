"""How pages are made and sent: templates, addresses, headers, and what an error looks like.

Promised: every text from outside is escaped, and its control characters are spelled out; every answer carries a policy under which a browser runs no script and
asks no other server; an error is a page that says what is wrong and shows no secret.
"""

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from http import HTTPStatus
from importlib.resources import files
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlencode

from fastapi import APIRouter, FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, Response
from jinja2 import ChoiceLoader, Environment, FileSystemLoader, PackageLoader
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException as AnyHTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from aesthetics_ops.browser.catalog import MOST_PHOTO_BYTES
from aesthetics_ops.errors import (
    AestheticsOpsError,
    NoSuchPageError,
    NoSuchVersionError,
    ObjectMissingError,
    TransientError,
)
from aesthetics_ops.figures import figure_in_words, milliseconds
from aesthetics_ops.report.html import html_environment
from aesthetics_ops.report.words import (
    count_in_words,
    difference_in_words,
    reasons_in_order,
    score_in_words,
    unbroken_size,
)

__all__ = ["REPORT_POLICY", "AddedPages", "SecureHeaders", "Tab", "explain_errors", "page", "style_sheet"]

# What a page may do: show its own pictures and style, and frame and ask its own server.
_POLICY: Final = (
    "default-src 'none'; img-src 'self'; style-src 'self'; frame-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'self'"
)
# A report carries its style and pictures in itself.  `sandbox` takes it out of Airflow's origin.
REPORT_POLICY: Final = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; form-action 'none'; base-uri 'none'; "
    "frame-ancestors 'self'; sandbox"
)
_MISTAKE: Final = "This is a mistake in the dataset browser; the server's log says what happened."
_log = logging.getLogger(__name__)
_CREDENTIALS: Final = re.compile(r"(?<=://)[^/@\s]+@|(?<=[?&])(X-Amz-[\w-]+|AWSAccessKeyId|Signature|sig)=[^&\s'\"]+")


@dataclass(frozen=True, slots=True)
class Tab:
    """A link that stands on every page of a dataset, or of a version.

    Attributes:
        name: what the page's template sets `tab` to.
        words: to show.
        path: what follows the address of the dataset or version, each part one segment.
    """

    name: str
    words: str
    path: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AddedPages:
    """Pages that are not the browser's own.

    Attributes:
        routes: theirs.  A page about a dataset has a path that begins with `/datasets/{dataset}` and takes a `Chosen`.
        templates: folder with theirs, `<name>.html.jinja`; those of the browser come first, and can be extended.
        dataset_tabs, version_tabs: links to them, after the browser's own.
    """

    routes: APIRouter
    templates: Path
    dataset_tabs: tuple[Tab, ...] = ()
    version_tabs: tuple[Tab, ...] = ()


def page(request: Request, template: str, *, status: int = 200, **content: Any) -> HTMLResponse:
    """Return a page.

    Args:
        request: that asks for it; addresses in the page begin with what its application is mounted under.
        template: name of a file in `templates/` or among the added ones, without `.html.jinja`.
        status: HTTP status.
        content: what the template shows.
    """
    root = request.scope.get("root_path", "")

    def url(*parts: object, **query: object) -> str:
        names = (name for part in parts for name in (part if isinstance(part, tuple) else (part,)))
        path = "/".join(quote(str(name), safe="") for name in names)
        known = {name: value for name, value in query.items() if value is not None}
        return f"{root}/{path}" + (f"?{urlencode(known)}" if known else "")

    added: tuple[AddedPages, ...] = request.app.state.added
    tabs = {
        "dataset_tabs": [tab for pages in added for tab in pages.dataset_tabs],
        "version_tabs": [tab for pages in added for tab in pages.version_tabs],
    }
    environment = _environment(tuple(pages.templates for pages in added))
    text = environment.get_template(f"{template}.html.jinja").render(url=url, **tabs, **content)
    return HTMLResponse(text, status)


def style_sheet() -> str:
    """Return the style of all pages."""
    return files("aesthetics_ops.browser").joinpath("style.css").read_text(encoding="utf-8")


@cache
def _environment(folders: tuple[Path, ...]) -> Environment:
    filters = {
        "figure": figure_in_words,
        "harmless": lambda text: _CREDENTIALS.sub("…", text),
        "ms": milliseconds,
        "score": score_in_words,
        "time": lambda moment: f"{moment:%Y-%m-%d %H:%M}",
    }
    loader = ChoiceLoader([PackageLoader("aesthetics_ops.browser"), FileSystemLoader(folders)])
    environment = html_environment(loader, filters)
    environment.globals |= {
        "counted": count_in_words,
        "difference_words": difference_in_words,
        "most_photo_bytes": MOST_PHOTO_BYTES,
        "reasons_in_order": reasons_in_order,
        "scored": score_in_words,
        "sized": unbroken_size,
    }
    environment.globals["parts"] = environment.get_template("parts.jinja").module
    return environment


class SecureHeaders:
    """Adds to every answer the headers that it does not set itself; a mistake of this program is an answer too."""

    _HEADERS: Mapping[str, str] = {
        "Content-Security-Policy": _POLICY,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Cache-Control": "private, no-cache",
    }

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        has_begun = False

        async def send_secured(message: Message) -> None:
            nonlocal has_begun
            if message["type"] == "http.response.start":
                has_begun = True
                headers = MutableHeaders(scope=message)
                for name, value in self._HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            await self._app(scope, receive, send_secured)
        except Exception:
            if scope["type"] != "http" or has_begun:
                raise
            _log.exception("%s %.300r could not be answered", scope["method"], scope["path"])
            answer = _error_page(Request(scope), HTTPStatus.INTERNAL_SERVER_ERROR, _MISTAKE)
            await answer(scope, receive, send_secured)


def explain_errors(app: FastAPI) -> None:
    """Show errors as pages that say what is wrong and what to do."""

    @app.exception_handler(AestheticsOpsError)
    async def of_the_package(request: Request, error: AestheticsOpsError) -> Response:
        if isinstance(error, NoSuchPageError | NoSuchVersionError | ObjectMissingError):
            status = HTTPStatus.NOT_FOUND
        elif isinstance(error, TransientError):
            status = HTTPStatus.SERVICE_UNAVAILABLE
        else:
            status = HTTPStatus.BAD_GATEWAY
        return _error_page(request, status, str(error))

    @app.exception_handler(AnyHTTPException)
    async def of_the_protocol(request: Request, error: HTTPException) -> Response:
        status = HTTPStatus(error.status_code)
        is_plain = error.detail == status.phrase == HTTPStatus.NOT_FOUND.phrase
        answer = _error_page(request, status, "no page has this address" if is_plain else str(error.detail))
        answer.headers.update(error.headers or {})
        return answer

    @app.exception_handler(RequestValidationError)
    async def of_the_address(request: Request, error: RequestValidationError) -> Response:
        wrong = "; ".join(f"{problem['loc'][-1]}: {problem['msg']}" for problem in error.errors())
        return _error_page(request, HTTPStatus.UNPROCESSABLE_ENTITY, wrong)


def _error_page(request: Request, status: HTTPStatus, text: str) -> HTMLResponse:
    heading = {
        HTTPStatus.UNAUTHORIZED: "Log in first",
        HTTPStatus.FORBIDDEN: "Not allowed",
        HTTPStatus.NOT_FOUND: "Not here",
        HTTPStatus.SERVICE_UNAVAILABLE: "No answer from the store",
        HTTPStatus.BAD_GATEWAY: "This cannot be shown",
        HTTPStatus.UNPROCESSABLE_ENTITY: "No such address",
    }.get(status, status.phrase)
    return page(request, "error", status=status, heading=heading, text=text, code=int(status))
