"""The browser's routes: a FastAPI application that an authenticating server mounts, without Airflow in it.

In: a guard, and how to open each configured dataset.  Out: pages, photos and reports; nothing can be changed here.
Promised: the guard stands before every route; what it does not name is not shown; of a request's text only the names of
a version and of a build, each one harmless segment, become part of a key that is read.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, FastAPI, Query, Request
from fastapi.responses import HTMLResponse, Response

from aesthetics_ops.browser.catalog import Catalog, Page
from aesthetics_ops.browser.pages import REPORT_POLICY, AddedPages, SecureHeaders, explain_errors, page, style_sheet
from aesthetics_ops.browser.progress import list_builds, read_build
from aesthetics_ops.browser.routing import Chosen, PageNumber, page_of_dataset, page_of_version
from aesthetics_ops.browser.rows import vote_bars
from aesthetics_ops.dataset.layout import VersionFile
from aesthetics_ops.errors import NoSuchPageError
from aesthetics_ops.rejects import RejectReason
from aesthetics_ops.report.words import gate_in_words, setting_in_words, setting_title
from aesthetics_ops.store import Store

__all__ = ["make_browser"]

_VERSIONS: Final = 20  # on a page, as are the next
_BUILDS: Final = 20
_SHARDS: Final = 50
_PHOTOS: Final = 24
_ROWS: Final = 50
_CHOICES: Final = 200  # versions to choose from in a form
_FOR_EVER: Final = "private, max-age=3600, immutable"  # a version never changes; an hour bounds what a logout leaves

_routes = APIRouter()


def make_browser(
    guard: Callable[..., Any], datasets: Mapping[str, Callable[[], Store]], *, pages: Sequence[AddedPages] = ()
) -> FastAPI:
    """Return the application.

    Args:
        guard: a FastAPI dependency that stands before every route.  It refuses who is not logged in (401) or may read
            nothing (403), and returns the names of the datasets that the user may read: at least the one in the
            path parameter `dataset`, where there is one.
        datasets: for each name, how to open its store.  Called while a request is served and never before, since a
            store must not be used before a process forks.
        pages: to be shown beside the browser's own, behind the same guard.
    """

    def admit(request: Request, allowed: Annotated[Collection[str], Depends(guard)]) -> None:
        request.state.allowed = frozenset(allowed)

    app = FastAPI(
        title="Datasets",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
        dependencies=[Depends(admit)],
    )
    app.state.catalog = Catalog(datasets)
    app.add_middleware(SecureHeaders)
    explain_errors(app)
    app.state.added = tuple(pages)
    for routes in (_routes, *(added.routes for added in pages)):
        app.include_router(routes)
    return app


@_routes.get("/")
def _datasets_page(request: Request) -> Response:
    catalog: Catalog = request.app.state.catalog
    readable = [name for name in catalog.names if name in request.state.allowed]
    return page(request, "datasets", datasets=catalog.overview(readable))


@_routes.get("/style.css")
def _style() -> Response:
    return Response(style_sheet(), media_type="text/css", headers={"Cache-Control": "private, max-age=300"})


@_routes.get("/datasets/{dataset}")
def _versions_page(request: Request, data: Chosen, page_number: PageNumber = 1) -> Response:
    names = Page.of(data.versions(), page_number, _VERSIONS)
    pointers, pins = data.kept_by_name()
    return page_of_dataset(
        request,
        "versions",
        data,
        latest=data.latest(),
        versions=names.holding(data.headlines(names.items)),
        candidates=data.candidates() if page_number == 1 else [],
        pointers=pointers,
        pins=pins,
    )


@_routes.get("/datasets/{dataset}/moves")
def _moves_page(request: Request, data: Chosen, page_number: PageNumber = 1) -> Response:
    return page_of_dataset(request, "moves", data, moves=Page.of(data.moves(), page_number, _ROWS))


@_routes.get("/datasets/{dataset}/compare")
def _compare_page(request: Request, data: Chosen, before: str | None = None, after: str | None = None) -> Response:
    names = data.versions()[:_CHOICES]
    if before is None or after is None:
        content: dict[str, Any] = {"difference": None, "manifests": None}
        after = after or next(iter(names), None)
        before = before or next((name for name in names if name != after), None)
    else:
        old, new = data.manifest(before), data.manifest(after)
        names_of_settings = [*new.settings, *(name for name in old.settings if name not in new.settings)]
        values = (
            (name, *(setting_in_words(version.settings, name) for version in (old, new))) for name in names_of_settings
        )
        content = {
            "manifests": (old, new),
            "difference": data.difference(before, after),
            "settings": [(name, setting_title(name), was, now) for name, was, now in values if was != now],
        }
    choices = sorted({*names, *filter(None, (before, after))}, reverse=True)
    return page_of_dataset(request, "compare", data, names=choices, before=before, after=after, **content)


@_routes.get("/datasets/{dataset}/versions/{version}")
def _version_page(request: Request, data: Chosen, version: str) -> Response:
    manifest = data.manifest(version)
    pointers, pins = data.kept_by_name()
    return page_of_version(
        request,
        "version",
        data,
        version,
        latest=data.latest(),
        gates=[gate_in_words(gate) for gate in manifest.gates],
        is_refused=not all(gate.passed for gate in manifest.gates),
        promotion=data.promotion(version),
        pointers=pointers.get(version, []),
        pins=pins.get(version, []),
    )


@_routes.get("/datasets/{dataset}/versions/{version}/report")
def _report_page(request: Request, data: Chosen, version: str) -> Response:
    return page_of_version(request, "report", data, version, has_report=data.has_file(version, VersionFile.REPORT))


@_routes.get("/datasets/{dataset}/versions/{version}/report.html")
def _report_file(data: Chosen, version: str) -> Response:
    report = data.file(version, VersionFile.REPORT)
    return HTMLResponse(report, headers={"Content-Security-Policy": REPORT_POLICY, "Cache-Control": _FOR_EVER})


@_routes.get("/datasets/{dataset}/versions/{version}/rejects")
def _rejects_page(
    request: Request,
    data: Chosen,
    version: str,
    reason: str = "",
    page_number: PageNumber = 1,
) -> Response:
    if reason and reason not in {*RejectReason, *data.manifest(version).rejects}:
        raise NoSuchPageError(f"{reason!r} is not a reason for leaving something out")
    rows = data.rejects(version, reason or None, page_number, _ROWS)
    return page_of_version(request, "rejects", data, version, reason=reason, rows=rows)


@_routes.get("/datasets/{dataset}/versions/{version}/search")
def _search_page(
    request: Request,
    data: Chosen,
    version: str,
    text: Annotated[str, Query(max_length=500)] = "",
    page_number: PageNumber = 1,
) -> Response:
    text = text.strip()
    found = data.search(version, text, page_number, _PHOTOS) if text else None
    left_out = data.search_rejects(version, text, _ROWS) if text else []
    return page_of_version(request, "search", data, version, text=text, found=found, left_out=left_out)


@_routes.get("/datasets/{dataset}/versions/{version}/shards/{split}")
def _shards_page(
    request: Request,
    data: Chosen,
    version: str,
    split: str,
    page_number: PageNumber = 1,
) -> Response:
    manifest = data.manifest(version)
    if split not in manifest.splits:
        raise NoSuchPageError(f"version {version!r} has no split {split!r}; it has {', '.join(manifest.splits)}")
    shards = Page.of(manifest.splits[split].shards, page_number, _SHARDS)
    return page_of_version(request, "shards", data, version, split=split, shards=shards)


@_routes.get("/datasets/{dataset}/versions/{version}/shards/{split}/{number}")
def _photos_page(
    request: Request,
    data: Chosen,
    version: str,
    split: str,
    number: int,
    page_number: PageNumber = 1,
) -> Response:
    shard = data.shard(version, split, number)
    photos = data.photos(version, split, number, page_number, _PHOTOS)
    return page_of_version(request, "photos", data, version, split=split, number=number, shard=shard, photos=photos)


@_routes.get("/datasets/{dataset}/versions/{version}/shards/{split}/{number}/{record}")
def _photo_page(request: Request, data: Chosen, version: str, split: str, number: int, record: int) -> Response:
    photo = data.photo(version, split, number, record)
    return page_of_version(
        request,
        "photo",
        data,
        version,
        split=split,
        number=number,
        record=record,
        records=data.shard(version, split, number).records,
        photo=photo,
        bars=vote_bars(photo, data.manifest(version).source.ratings),
    )


@_routes.get("/datasets/{dataset}/versions/{version}/shards/{split}/{number}/{record}/photo.jpg")
def _jpeg(data: Chosen, version: str, split: str, number: int, record: int) -> Response:
    image = data.jpeg(version, split, number, record)
    return Response(image, media_type="image/jpeg", headers={"Cache-Control": _FOR_EVER})


@_routes.get("/datasets/{dataset}/builds")
def _builds_page(request: Request, data: Chosen, page_number: PageNumber = 1) -> Response:
    return page_of_dataset(request, "builds", data, builds=list_builds(data, page_number, _BUILDS))


@_routes.get("/datasets/{dataset}/builds/{build}")
def _build_page(request: Request, data: Chosen, build: str) -> Response:
    return page_of_dataset(request, "build", data, build=read_build(data, build))


@_routes.get("/datasets/{dataset}/builds/{build}/partitions/{number}")
def _partition_page(
    request: Request,
    data: Chosen,
    build: str,
    number: int,
    page_number: PageNumber = 1,
) -> Response:
    found = read_build(data, build)
    if not 0 <= number < len(found.partitions):
        raise NoSuchPageError(f"build {build!r} has {len(found.partitions)} partitions, none is number {number}")
    shards = Page.of(found.partitions[number].shards, page_number, _SHARDS)
    places: dict[str, tuple[str, int]] = {}
    if found.version is not None:
        splits = data.manifest(found.version).splits
        places = {
            shard.digest: (split, place) for split, held in splits.items() for place, shard in enumerate(held.shards)
        }
    return page_of_dataset(request, "partition", data, build=found, number=number, shards=shards, places=places)
