"""The browser under requests and datasets that nobody means well with: no 500, every answer under its policy, bounded memory.

A guard lets everybody in.  Requests are made from the application's own OpenAPI by schemathesis; methods, headers and paths that
no OpenAPI has are listed here; datasets are those of `tests/support/hostile.py`.
"""

import itertools
import json
import logging
import re
import tracemalloc
import warnings
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from aesthetics_ops.browser import make_browser
from aesthetics_ops.browser.catalog import Catalog
from aesthetics_ops.store import Store, open_store
from aesthetics_ops.testing.datasets import SyntheticDataset, synthetic_photos
from tests.support.hostile import BUILD, NASTY_NAMES, NASTY_TEXT, hostile_datasets
from tests.support.web import Answer, RawClient

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import schemathesis

PARTS = 4  # of the hostile datasets; each is a test
MOST_MEMORY_BYTES = 50_000_000
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
BENIGN = {200, 304, 400, 401, 403, 404, 405, 414, 422, 502, 503}


def require_good(answer: Answer, request: object) -> None:
    assert answer.status_code in BENIGN, (request, answer.status_code, answer.text[:500])
    assert answer.headers["x-content-type-options"] == "nosniff", request
    assert "default-src 'none'" in answer.headers["content-security-policy"], request
    assert answer.headers["cache-control"].startswith("private"), request
    if answer.headers.get("content-type", "").startswith("text/html"):
        assert "<script>alert" not in answer.text, request
        if "sandbox" not in answer.headers["content-security-policy"]:  # a report is a file of the dataset
            assert CONTROL.search(answer.text) is None, request


@pytest.fixture(scope="module")
def whole() -> tuple[Store, list[str]]:
    dataset = SyntheticDataset(open_store("memory://fuzz/d/"), per_shard=4)
    versions = [dataset.publish(synthetic_photos(count)) for count in (10, 20)]
    dataset.plan(
        BUILD,
        versions[1].manifest.created_at,
        [[shard.digest for shard in versions[1].manifest.splits["train"].shards]],
    )
    return dataset.store, [version.version for version in versions]


@pytest.fixture(scope="module")
def client(whole: tuple[Store, list[str]]) -> Iterator[RawClient]:
    app = make_browser(lambda: {"d"}, {"d": lambda: whole[0], "other": lambda: whole[0]})
    with RawClient(app) as client:
        yield client


def paths(versions: Sequence[str]) -> list[str]:
    """An address for every route."""
    here, version = "/datasets/d", f"/datasets/d/versions/{versions[1]}"
    shards = f"{version}/shards/train"
    return [
        "/", "/style.css", here, f"{here}/compare", f"{here}/compare?before={versions[0]}&after={versions[1]}", version, f"{version}/report",
        f"{version}/report.html", f"{version}/rejects", f"{version}/rejects?reason=corrupt", f"{version}/search?text=p",
        f"{version}/search?text=p000", shards, f"{shards}/0", f"{shards}/0/0", f"{shards}/0/0/photo.jpg", f"{here}/builds", f"{here}/moves",
        f"{here}/builds/{BUILD}", f"{here}/builds/{BUILD}/partitions/0",
    ]  # fmt: skip


def test_the_addresses_are_those_of_all_routes(client: RawClient, whole: tuple[Store, list[str]]) -> None:
    assert len({path.partition("?")[0] for path in paths(whole[1])}) == len(client.app.routes)
    assert {client.get(path).status_code for path in paths(whole[1]) if "report.html" not in path} == {200}


def operations(app: Any) -> list[Any]:
    schema: Any = schemathesis.openapi.from_dict(app.openapi())
    return [found.ok() for found in schema.get_all_operations()]


def test_no_request_that_the_openapi_allows_or_forbids_ends_in_500(
    client: RawClient, whole: tuple[Store, list[str]]
) -> None:
    """Values by schemathesis, and in their place now and then the names that lead somewhere."""
    known: dict[str, list[Any]] = {
        "dataset": ["d", "other", "none"], "version": whole[1], "split": ["train", "test"], "number": [0, 1, -1], "record": [0, 10**30],
        "build": [BUILD], "page": [1, 0, 10**9, 10**30], "reason": ["corrupt"], "text": ["p", NASTY_TEXT], "before": whole[1], "after": whole[1],
    }  # fmt: skip
    found = operations(client.app)
    assert len(found) == len(client.app.routes)
    for operation in found:
        for mode in schemathesis.GenerationMode:
            if mode.is_negative and '"integer"' not in json.dumps(operation.definition.raw.get("parameters")):
                continue  # nothing of it can be wrong: every text is one
            cases = operation.as_strategy(generation_mode=mode)

            @settings(
                max_examples=8,
                database=None,
                deadline=None,
                derandomize=True,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            @given(case=cases, data=st.data())
            def sends(case: Any, data: st.DataObject) -> None:
                for name in case.path_parameters or {}:
                    if name in known and data.draw(st.integers(0, 3)):
                        case.path_parameters[name] = data.draw(st.sampled_from(known[name]))
                values = {
                    name: quote(str(value), safe="", errors="replace")
                    for name, value in (case.path_parameters or {}).items()
                }
                target = f"{case.path.format(**values)}?{urlencode(case.query or {}, doseq=True, errors='replace')}"
                require_good(client.request(case.method, target), (case.method, target))

            sends()


METHODS = ("HEAD", "OPTIONS", "POST", "PUT", "DELETE", "PATCH", "TRACE", "CONNECT", "BREW", "get")
HEADERS = (
    {"range": "bytes=0-1"}, {"range": "bytes=-1"}, {"range": "bytes=9-1,5-2," * 500}, {"range": "x"}, {"if-none-match": "*"},
    {"accept": "x" * 9000}, {"host": "evil.example"}, {"x-forwarded-host": "evil.example", "x-forwarded-prefix": "//evil"},
    {"content-type": "application/json", "content-length": "5"}, {"cookie": "a=" + "b" * 9000}, {"accept-encoding": "gzip;q=x"},
    {"upgrade": "websocket", "connection": "upgrade"},
)  # fmt: skip


def test_other_methods_and_odd_headers_are_answered(client: RawClient, whole: tuple[Store, list[str]]) -> None:
    for path in paths(whole[1]):
        for method in METHODS:
            answer = client.request(method, path)
            require_good(answer, (method, path))
            assert answer.status_code in (404, 405), (method, path)
        for headers in HEADERS:
            require_good(client.request("GET", path, headers), (path, headers))


def test_odd_paths_and_queries_are_answered(client: RawClient, whole: tuple[Store, list[str]]) -> None:
    odd = [
        *(quote(name, safe="", errors="surrogatepass") for name in NASTY_NAMES), "%2f", "..%2f..%2fetc%2fpasswd", "%00", "%", "%zz", "%ff%fe", ".%2e/", "//", "a" * 60_000,
        "%2e%2e%5c", "\u202e", "1e3", "0x10", "9" * 5000, "-0", "+1", " 1", "1 ", "\u0661",
    ]  # fmt: skip
    for path in paths(whole[1]):
        path = path.partition("?")[0]
        segments = path.split("/")
        for place in range(1, len(segments)):
            for name in odd:
                require_good(
                    client.get("/".join([*segments[:place], name, *segments[place + 1 :]])), (path, place, name[:50])
                )
    query = [
        "page=", "page=1&page=2", "page=1.5", "page=%00", "page=" + "9" * 5000, "page=-1", "text=%00", "text=%ff", "text=" + "x" * 5000, "reason=%1b",
        "reason[]=x", "before=..&after=..", "before=%2e%2e%2f&after=x", "before=&after=", "&&&===", "%ff=%ff", "x=" * 5000, "page=\u0661",
    ]  # fmt: skip
    for path in paths(whole[1]):
        for asked in query:
            require_good(client.get(f"{path.partition('?')[0]}?{asked}"), (path, asked[:50]))


@pytest.fixture(scope="module")
def any_client() -> Iterator[RawClient]:
    """A browser whose datasets are given with each request: its routes, which take ten requests' time to make, are made once."""
    with RawClient(make_browser(lambda: {"d"}, {})) as client:
        yield client


def fetch_all(client: RawClient, store: Store, versions: Sequence[str], name: str) -> int:
    client.app.state.catalog = Catalog({"d": lambda: store})  # all that it keeps from request to request
    for path in paths(versions):
        require_good(client.get(path), (name, path))
    return len(paths(versions))


@pytest.mark.parametrize("part", range(PARTS))
def test_no_dataset_makes_a_page_fail(any_client: RawClient, part: int, caplog: pytest.LogCaptureFixture) -> None:
    """Each is hostile in one thing.  With every value of every place: `hostile_datasets()`, 12 minutes."""
    found = itertools.islice(hostile_datasets(sample=True), part, None, PARTS)
    assert sum(fetch_all(any_client, store, [first, second], name) for name, store, first, second in found) > 200
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


def test_memory_does_not_follow_what_a_manifest_counts(any_client: RawClient) -> None:
    tried = 0
    tracemalloc.start()
    try:
        for name, store, first, second in hostile_datasets(only="all counts"):
            fetch_all(any_client, store, [first, second], name)
            tried += 1
        assert tracemalloc.get_traced_memory()[1] < MOST_MEMORY_BYTES
    finally:
        tracemalloc.stop()
    assert tried == 4
