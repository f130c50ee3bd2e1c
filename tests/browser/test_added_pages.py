"""A page from outside, the one that docs/browser.md shows: beside the browser's own, and behind the same guard."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import Request
from fastapi.responses import Response
from fastapi.routing import APIRoute

from aesthetics_ops.browser import AddedPages, Chosen, make_browser, page_of_dataset
from aesthetics_ops.testing.datasets import SyntheticVersion
from tests.support.paths import ROOT
from tests.support.versions import HOSTILE, publish_once, sample_photos, sample_rejects
from tests.support.web import Html, TestClient, guard


@pytest.fixture(scope="module")
def published() -> SyntheticVersion:
    return publish_once(sample_photos(12), sample_rejects())


@pytest.fixture(scope="module")
def added(tmp_path_factory: pytest.TempPathFactory) -> AddedPages:
    """The page of docs/browser.md, and one in the same folder that shows what is hostile."""
    code, template = re.findall(
        r"```(?:python|jinja)\n(.*?)```",
        (ROOT / "docs" / "browser.md").read_text().partition("### Add a page")[2],
        re.DOTALL,
    )[:2]
    folder = tmp_path_factory.mktemp("templates")
    (folder / "histogram.html.jinja").write_text(template)
    hostile = '{% extends "dataset.html.jinja" %}{% set tab = "" %}{% block heading %}{{ text }}{% endblock %}'
    (folder / "hostile.html.jinja").write_text(hostile)
    # a template of the browser's own name does not take its place
    (folder / "error.html.jinja").write_text("mine")
    names: dict[str, Any] = {}
    exec(code.replace('Path("templates")', repr(folder).replace("PosixPath", "Path")), names)  # noqa: S102

    found: AddedPages = names["added"]

    @found.routes.get("/datasets/{dataset}/hostile")
    def hostile_page(request: Request, data: Chosen) -> Response:
        return page_of_dataset(request, "hostile", data, text=HOSTILE)

    return found


@pytest.fixture(scope="module")
def client(published: SyntheticVersion, added: AddedPages) -> Iterator[TestClient]:
    app = make_browser(guard, {"flowers": lambda: published.store}, pages=[added])
    with TestClient(app, headers={"user": "flowers"}) as client:
        yield client


def test_it_shows_something_of_the_version(client: TestClient, published: SyntheticVersion) -> None:
    reply = client.get(f"/datasets/flowers/versions/{published.version}/histogram")
    assert reply.status_code == 200
    page = Html(reply.text)
    assert "Scores 12 records by score From Records 3.000 1 3.055 1" in page.words
    assert "script-src" not in reply.headers["content-security-policy"]
    assert "default-src 'none'" in reply.headers["content-security-policy"]


def test_a_tab_leads_to_it_from_every_page_of_the_version(client: TestClient, published: SyntheticVersion) -> None:
    here = f"/datasets/flowers/versions/{published.version}"
    for path in ("", "/rejects", "/search", "/shards/train", "/histogram"):
        (link,) = [link for link in Html(client.get(here + path).text).all("a") if link["href"] == f"{here}/histogram"]
        assert ("aria-current" in link) == (path == "/histogram")
    assert f"{here}/histogram" not in client.get("/datasets/flowers").text


def test_it_stands_behind_the_same_guard(client: TestClient, published: SyntheticVersion, added: AddedPages) -> None:
    paths = [route.path for route in added.routes.routes if isinstance(route, APIRoute)]
    assert len(paths) == 2
    for path in paths:
        address = path.format(dataset="flowers", version=published.version)
        assert client.get(address).status_code == 200
        assert client.get(address, headers={"user": "other"}).status_code == 403
        assert client.post(address).status_code == 405
        client.headers.pop("user")
        assert client.get(address).status_code == 401
        client.headers["user"] = "flowers"


def test_its_errors_are_explained_by_the_browsers_own_page(client: TestClient) -> None:
    reply = client.get("/datasets/flowers/versions/..%2F..%2Fx/histogram")
    assert reply.status_code == 404
    assert "Not here" in Html(reply.text).words


def test_what_it_shows_is_escaped(client: TestClient) -> None:
    page = Html(client.get("/datasets/flowers/hostile").text)
    assert HOSTILE in page.text
    assert page.all("script") == page.all("img") == []


def test_a_browser_without_it_does_not_know_it(published: SyntheticVersion) -> None:
    with TestClient(make_browser(guard, {"flowers": lambda: published.store}), headers={"user": "flowers"}) as client:
        here = f"/datasets/flowers/versions/{published.version}"
        assert client.get(f"{here}/histogram").status_code == 404
        assert "histogram" not in client.get(here).text
