"""A lease is given back whatever ends its holder, and one that no clock explains holds up nobody."""

import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import pytest

from aesthetics_ops.dataset.layout import EXPIRY_KEY
from aesthetics_ops.dataset.lease import LEASE, ExpiryLease, expiry_lease, wait_for_expiry
from aesthetics_ops.errors import DatasetBusyError
from aesthetics_ops.store import Store, open_store
from aesthetics_ops.testing.stores import Request, WrappedStore

_Answer = TypeVar("_Answer")


class SignalError(BaseException):
    """What a signal's handler raises."""


class InterruptedStore(WrappedStore):
    """A store in which a signal comes once, before or after a request is answered."""

    def __init__(self, inner: Store, method: str, number: int, *, after: bool) -> None:
        super().__init__(inner)
        self._method, self._number, self._after = method, number, after

    def pass_on(self, request: Request, ask: Callable[[], _Answer]) -> _Answer:
        comes = (request.method, request.number) == (self._method, self._number)
        if comes and not self._after:
            raise SignalError
        try:
            return ask()
        finally:
            if comes:
                raise SignalError


@pytest.fixture
def dataset() -> Store:
    return open_store(f"memory://{uuid.uuid4().hex}/dataset/")


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(("method", "number"), [("get", 0), ("put_if", 0), ("get", 1), ("delete", 0)])
def test_a_signal_at_any_request_leaves_no_lease(dataset: Store, method: str, number: int, after: bool) -> None:
    with pytest.raises(SignalError), expiry_lease(InterruptedStore(dataset, method, number, after=after)):
        pass
    assert dataset.head(EXPIRY_KEY) is None
    wait_for_expiry(dataset)


def test_a_second_expiry_is_refused_and_the_first_keeps_its_lease(dataset: Store) -> None:
    with expiry_lease(dataset) as first:
        with pytest.raises(DatasetBusyError, match="try again when it is done"), expiry_lease(dataset):
            pass
        assert bytes(dataset.get(EXPIRY_KEY).data) == first.encoded()
    assert dataset.head(EXPIRY_KEY) is None


@pytest.mark.parametrize("age", [LEASE, -2 * LEASE, timedelta(days=3), timedelta(days=-3650)], ids=str)
def test_a_lease_that_is_over_or_from_a_wrong_clock_holds_up_nobody(dataset: Store, age: timedelta) -> None:
    dataset.put(EXPIRY_KEY, ExpiryLease(token="other", since=datetime.now(UTC) - age).encoded())
    wait_for_expiry(dataset)
    with expiry_lease(dataset) as mine:
        assert bytes(dataset.get(EXPIRY_KEY).data) == mine.encoded()


def test_a_lease_from_a_clock_that_is_a_little_ahead_holds(dataset: Store) -> None:
    ahead = datetime.now(UTC) + LEASE / 2
    dataset.put(EXPIRY_KEY, ExpiryLease(token="other", since=ahead).encoded())
    with pytest.raises(DatasetBusyError), expiry_lease(dataset):
        pass
