"""What the route of a page is made of: the dataset that its path names, and the frame around what it shows.

The browser's own routes (`app.py`) and those of added pages use the same.
"""

from typing import Annotated, Any

from fastapi import Depends, HTTPException, Query, Request
from fastapi.responses import Response

from aesthetics_ops.browser.catalog import Catalog, Dataset
from aesthetics_ops.browser.pages import page
from aesthetics_ops.dataset.layout import SPLITS
from aesthetics_ops.errors import NoSuchPageError

__all__ = ["Chosen", "PageNumber", "page_of_dataset", "page_of_version"]


def _chosen(request: Request, dataset: str) -> Dataset:
    """Return the dataset that the path names, if it is configured and this user may read it."""
    catalog: Catalog = request.app.state.catalog
    if dataset not in catalog.names:
        raise NoSuchPageError(f"no dataset {dataset!r} is configured")
    if dataset not in request.state.allowed:
        raise HTTPException(403, f"you may not read dataset {dataset!r}")
    return catalog.dataset(dataset)


# the type of a route's parameter for the path's {dataset}; who may not read it gets no further
Chosen = Annotated[Dataset, Depends(_chosen)]
# the type of a parameter for ?page=
PageNumber = Annotated[int, Query(ge=1, le=10**9, alias="page")]


def page_of_dataset(request: Request, template: str, data: Dataset, **content: Any) -> Response:
    """Return a page about a dataset.

    Args:
        request: that asks for it.
        template: name of a template that extends `dataset.html.jinja`, without its suffix.
        data: the dataset.
        content: what the template shows, beside `data` and `here`, what addresses of the dataset begin with.
    """
    return page(request, template, data=data, here=("datasets", data.name), **content)


def page_of_version(request: Request, template: str, data: Dataset, version: str, **content: Any) -> Response:
    """Return a page about a version.

    Args:
        request: that asks for it.
        template: name of a template that extends `of_version.html.jinja`, without its suffix.
        data: the dataset.
        version: as the path names it.
        content: what the template shows, beside `data`, `manifest`, `first_split`, the first with records, and `here`,
            what addresses of the version begin with.

    Raises:
        NoSuchVersionError, NoSuchPageError: there is no such version, or this cannot be the name of one.
        IntegrityError: its manifest cannot be read.
    """
    manifest = data.manifest(version)
    here = ("datasets", data.name, "versions", manifest.version)
    first_split = next((name for name, held in manifest.splits.items() if held.records), SPLITS[0])
    return page(request, template, data=data, manifest=manifest, here=here, first_split=first_split, **content)
