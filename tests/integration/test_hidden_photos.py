"""What a listing leaves out without a trace cannot be known: the gates bound it, and the next build brings it back."""

from collections.abc import Callable, Iterator
from urllib.parse import parse_qs, urlsplit

import pytest

from aesthetics_ops.dataset.latest import read_latest
from aesthetics_ops.dataset.reading_manifests import read_manifest
from aesthetics_ops.errors import GateError, PlanError
from aesthetics_ops.pipeline import build_dataset
from aesthetics_ops.store import open_store
from aesthetics_ops.testing.fault_proxy import FaultyProxy, running_proxy
from aesthetics_ops.testing.faults import Fault, SeenRequest
from aesthetics_ops.testing.odd_s3 import OddS3, running_s3
from tests.support.documents import make_reports_quick
from tests.support.nights import ARRIVING, PHOTOS, Source, photo
from tests.support.s3 import point_to


@pytest.fixture
def way(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Source, FaultyProxy]]:
    """14 photos on a server whose pages are of five, and a version of them."""
    make_reports_quick(monkeypatch)
    with running_s3(OddS3(page=5)) as server, running_proxy(server.url) as proxy:
        point_to(monkeypatch, proxy.url, "testing", "testing")
        source = Source("s3://bucket/", {})
        for number, name in enumerate(PHOTOS):
            source.add(name, photo(name), number)
        build_dataset(source.settings())
        yield source, proxy


def page_of_photos(fault: Fault, first: int, last: int) -> Callable[[SeenRequest, int], Fault]:
    """Return the schedule in which pages `first` to `last` of the photos' listing go wrong, each time that it is asked for."""

    def choose(request: SeenRequest, number: int) -> Fault:
        if not (request.is_list and "prefix=photos%2F" in request.path and "max-keys=1" not in request.path):
            return None
        asked = parse_qs(urlsplit(request.path).query)
        after = (asked.get("start-after") or asked.get("continuation-token") or [""])[0].removeprefix("photos/")
        return fault if first <= sum(f"{name}.jpg" <= after for name in PHOTOS) // 5 <= last else None

    return choose


@pytest.mark.parametrize(
    ("fault", "first", "last", "said"),
    [
        ("list without this page", 0, 1, "max_shrink_fraction allows 0.1"),
        ("list to here only", 0, 0, "max_shrink_fraction allows 0.1"),
        ("list as before", 0, 2, "no objects under"),
    ],
)
def test_a_listing_that_leaves_out_more_than_a_gate_allows_is_refused_and_latest_stays(
    way: tuple[Source, FaultyProxy], fault: Fault, first: int, last: int, said: str
) -> None:
    source, proxy = way
    dataset = open_store(source.settings().dataset)
    before = read_latest(dataset)
    proxy.choose = page_of_photos(fault, first, last)
    with pytest.raises((GateError, PlanError), match=said):
        build_dataset(source.settings(max_shrink_fraction=0.1))
    assert read_latest(dataset) == before


def test_what_is_less_than_a_gate_allows_is_published_and_counted_and_comes_back(
    way: tuple[Source, FaultyProxy],
) -> None:
    source, proxy = way
    proxy.choose = page_of_photos("list without this page", 2, 2)
    less = build_dataset(source.settings(max_shrink_fraction=0.4)).manifest
    assert (less.records, less.rejects["label_without_photo"]) == (10, 4)
    proxy.choose = lambda request, number: None
    again = build_dataset(source.settings()).manifest
    assert again.records == 14
    assert read_manifest(open_store(source.settings().dataset)) == again


def test_a_listing_that_gives_a_page_twice_is_asked_for_again(way: tuple[Source, FaultyProxy]) -> None:
    source, proxy = way
    source.add(ARRIVING, photo(ARRIVING), 5)
    schedule = page_of_photos("list a page twice", 1, 1)
    proxy.choose = lambda request, number: schedule(request, number) if not proxy.struck else None
    proxy.reset()
    assert build_dataset(source.settings()).manifest.records == 15
    assert len(proxy.struck) == 1
