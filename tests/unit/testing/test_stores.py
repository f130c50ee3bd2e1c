"""The stores around stores: what they count, which requests fail, and what a failure leaves."""

import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from aesthetics_ops.errors import StoreRefusedError, StoreUnavailableError
from aesthetics_ops.store import Store, Swap, open_store
from aesthetics_ops.testing.stores import CarelessStore, CountingStore, FailingStore, Request


@pytest.fixture
def store() -> Store:
    return open_store(f"memory://{uuid.uuid4().hex}/")


def test_every_request_is_counted_with_its_method_key_and_place(store: Store, tmp_path: Path) -> None:
    counting = CountingStore(store)
    counting.put("a", b"1")
    counting.get("a")
    counting.put("b", b"22")
    counting.get_range("b", 0, 1)
    counting.download("a", tmp_path / "a")
    counting.delete(["a", "b"])
    assert counting.requests == [
        Request("put", "a", number=0, total=0),
        Request("get", "a", number=0, total=1),
        Request("put", "b", number=1, total=2),
        Request("get_range", "b", number=0, total=3),
        Request("download", "a", number=0, total=4),
        Request("delete", "a", number=0, total=5),
        Request("delete", "b", number=1, total=6),
    ]
    assert counting.read == ["a", "b", "a"]


def test_what_a_swap_asks_is_counted_too(store: Store) -> None:
    counting = CountingStore(store)
    assert counting.swap("k", b"1", None) is Swap.DONE
    assert counting.swap("k", b"2", None) is Swap.REFUSED
    assert [request.method for request in counting.requests] == ["put_if", "put_if", "read_back"]


def test_a_fault_can_be_tried_at_each_request_in_turn(store: Store) -> None:
    def work(store: Store) -> None:
        store.put("a", b"1")
        store.put("b", store.get("a").data)
        store.delete(["a", "b"])

    counting = CountingStore(store)
    work(counting)
    left = []
    for number in range(len(counting.requests)):
        with pytest.raises(StoreUnavailableError, match="has gone away; try again later"):
            work(FailingStore(store, number))
        left.append(store.list()["key"].to_pylist())
    assert left == [[], ["a"], ["a"], ["a", "b"], ["b"]]
    work(FailingStore(store, len(counting.requests)))


@pytest.mark.parametrize(("after", "stored"), [(False, []), (True, ["k"])])
def test_a_write_fails_before_it_is_done_or_only_its_reply_is_lost(
    store: Store, after: bool, stored: list[str]
) -> None:
    refused = StoreRefusedError("no; ask somebody else")
    with pytest.raises(StoreRefusedError, match="ask somebody else"):
        FailingStore(store, lambda request: request.method == "put", error=refused, after=after).put("k", b"1")
    assert store.list()["key"].to_pylist() == stored


@pytest.mark.parametrize(
    ("fails", "after", "end"),
    [
        (lambda request: request.method == "put_if" and request.number == 0, False, Swap.DONE),
        (lambda request: request.method == "put_if", True, Swap.DONE),
        (lambda request: request.method in ("put_if", "read_back"), True, Swap.UNKNOWN),
    ],
)
def test_a_swap_deals_with_faults_of_its_requests(
    store: Store, fails: Callable[[Request], bool], after: bool, end: Swap
) -> None:
    assert FailingStore(store, fails, after=after).swap("k", b"1", None) is end
    assert store.get("k").data == b"1"


def test_a_careless_store_shows_itself_to_a_probe(store: Store) -> None:
    found = CarelessStore(store).probe("probe")
    assert not found.creates_once
    assert not found.compares
    assert not found.are_safe
