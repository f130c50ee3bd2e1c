"""A long listing by ranges is the listing page after page, whatever keys are like and whatever a store does with start-after."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aesthetics_ops.errors import StoreUnavailableError
from aesthetics_ops.store import StoreLimits, open_store
from aesthetics_ops.store.listing import Batches, batch_of
from aesthetics_ops.store.pages import Page
from aesthetics_ops.store.ranges import Ask, Split, list_ranges
from aesthetics_ops.testing.odd_s3 import Answer, OddS3, running_s3
from tests.support.s3 import point_to

PAGE = 10
KEYS = {
    "numbers": [f"{number:06}.jpg" for number in range(400)],
    "numbers without zeros": sorted(f"{number}.jpg" for number in range(400)),
    "folders": [f"{letter}/{number:03}.png" for letter in "AZamz" for number in range(80)],
    "one long folder among short ones": [f"{'m' if number < 390 else number}/{number:04}" for number in range(400)],
    "nested": sorted("ab" * (number % 7) + f"{number * number % 97:x}-{number}" for number in range(400)),
    "other alphabets": sorted(f"{chr(0x4E00 + number * 37)}ä{number} \U0001f600" for number in range(400)),
    "names within names": sorted("x" * number for number in range(1, 200)),
}
KEYS["one long folder among short ones"].sort()


class Pages:
    """Keys in pages of ten, by their bytes."""

    def __init__(self, keys: list[str]) -> None:
        self.keys, self.asked = keys, 0

    def pages(self, low: str) -> Iterator[Page]:
        left = [key for key in self.keys if key > low]
        for first in range(0, max(1, len(left)), PAGE):
            self.asked += 1
            rows = [(key, len(key), f"e{key}") for key in left[first : first + PAGE]]
            yield Page(rows, [], "more" if first + PAGE < len(left) else None)

    def first(self, low: str) -> str | None:
        self.asked += 1
        return next((key for key in self.keys if key > low), None)

    def listed(self, prefix: str = "") -> list[str] | None:
        head = [(key, len(key), f"e{key}") for key in self.keys[: 2 * PAGE]]
        into = Batches(None)
        found = list_ranges(Ask(self.pages, self.first, lambda rows: batch_of(0, rows)), head, prefix, into)
        return None if found is None else [row[0] for row in head] + into.table(found)["key"].to_pylist()


@pytest.mark.parametrize("name", KEYS)
def test_all_keys_come_in_order_for_few_requests_more(name: str) -> None:
    store = Pages(KEYS[name])
    assert store.listed() == KEYS[name]
    assert store.asked <= 3 * len(KEYS[name]) / PAGE + 40


@given(st.lists(st.text(min_size=1, max_size=6), min_size=21, max_size=300, unique=True))
def test_any_keys_come_in_order(keys: list[str]) -> None:
    keys.sort()
    assert Pages(keys).listed() == keys


@given(st.lists(st.text(min_size=1), min_size=2, max_size=8, unique=True))
def test_a_key_between_two_lies_between_them(keys: list[str]) -> None:
    split = Split("p/")
    low, *_, high = sorted(f"p/{key}" for key in keys)
    split.learn([f"p/{key}" for key in keys])
    for end in (high, None):
        middle = split.between(low, end)
        assert middle is None or (low < middle and (end is None or middle < end))


def test_half_of_many_numbers_is_about_half() -> None:
    split = Split("photos/")
    split.learn([f"photos/{number:07}.jpg" for number in range(2000)])
    middle = split.between("photos/0002000.jpg", "photos/9000000.jpg")
    assert middle is not None
    assert "photos/3" < middle < "photos/7"


def test_head_in_another_order_is_left_to_the_caller() -> None:
    assert Pages(KEYS["numbers"][::-1]).listed() is None
    assert (
        list_ranges(Ask(lambda low: iter(()), lambda low: None, lambda rows: batch_of(0, rows)), [], "", Batches(None))
        is None
    )


class Skipping(Pages):
    """A store that leaves out the key after one that it does not have."""

    def pages(self, low: str) -> Iterator[Page]:
        return super().pages(low if low in self.keys else str(self.first(low)))

    def first(self, low: str) -> str | None:
        found = super().first(low)
        return found if low in self.keys or found is None else super().first(found)


def test_a_gap_between_two_ranges_is_noticed() -> None:
    assert Skipping(KEYS["numbers"]).listed() is None


def served(server: OddS3, keys: list[str], monkeypatch: pytest.MonkeyPatch, retry_s: float = 20) -> list[str]:
    """Return what a store lists of a server that has these keys."""
    for key in keys:
        server.objects[f"bucket/p/{key}"] = key.encode()
    point_to(monkeypatch, server.url, "testing", "testing")
    table = open_store("s3://bucket/p/", limits=StoreLimits(10, retry_s)).list()
    assert table["size"].to_pylist() == [len(key.encode()) for key in table["key"].to_pylist()]
    found: list[str] = table["key"].to_pylist()
    return found


def asks_for_ranges(server: OddS3) -> bool:
    return any("start-after" in request.path for request in server.seen)


@pytest.mark.parametrize("name", KEYS)
def test_a_server_is_listed_by_ranges(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with running_s3(OddS3(page=PAGE)) as server:
        assert served(server, KEYS[name], monkeypatch) == KEYS[name]
        assert asks_for_ranges(server)


@pytest.mark.parametrize(("count", "requests"), [(0, 1), (5, 1), (10, 1), (11, 2), (20, 2)])
def test_a_short_listing_costs_no_request_more(count: int, requests: int, monkeypatch: pytest.MonkeyPatch) -> None:
    with running_s3(OddS3(page=PAGE)) as server:
        assert served(server, KEYS["numbers"][:count], monkeypatch) == KEYS["numbers"][:count]
        assert len(server.seen) == requests


def test_a_store_that_ignores_start_after_is_listed_page_after_page(monkeypatch: pytest.MonkeyPatch) -> None:
    with running_s3(OddS3(page=PAGE, listing="without start-after")) as server:
        assert served(server, KEYS["numbers"], monkeypatch) == KEYS["numbers"]
        assert len(server.seen) == 40 + 1


@pytest.mark.parametrize("names", ["aBcD", "abcdefZY", "zZ"])
def test_a_store_with_another_order_is_listed_page_after_page(names: str, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = [f"{name}{number:03}" for name in names for number in range(60)]
    with running_s3(OddS3(page=PAGE, listing="folded")) as server:
        assert served(server, keys, monkeypatch) == sorted(keys)


def test_a_store_that_refuses_start_after_is_listed_page_after_page(monkeypatch: pytest.MonkeyPatch) -> None:
    with running_s3(OddS3(page=PAGE)) as server:
        server.answer = lambda request, number: (400, "InvalidArgument") if "start-after" in request.path else None
        assert served(server, KEYS["numbers"], monkeypatch) == KEYS["numbers"]


def test_requests_that_are_not_served_are_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    with running_s3(OddS3(page=PAGE)) as server:
        server.answer = lambda request, number: (503, "SlowDown") if number % 9 == 8 else None
        assert served(server, KEYS["folders"], monkeypatch) == KEYS["folders"]
        assert asks_for_ranges(server)


def test_a_store_that_stops_to_answer_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(request: object, number: int) -> Answer | None:
        return (500, "InternalError") if number > 12 else None

    with running_s3(OddS3(page=PAGE)) as server:
        server.answer = answer
        with pytest.raises(StoreUnavailableError, match="InternalError"):
            served(server, KEYS["numbers"], monkeypatch, retry_s=0)


def test_markers_of_folders_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = [f"{number:03}/" if number % 3 == 0 else f"{number:03}" for number in range(300)]
    with running_s3(OddS3(page=PAGE)) as server:
        for number in range(0, 300, 3):
            server.objects[f"bucket/p/{number:03}/"] = b""
        assert served(server, [key for key in keys if not key.endswith("/")], monkeypatch) == [
            key for key in keys if not key.endswith("/")
        ]
        assert asks_for_ranges(server)
