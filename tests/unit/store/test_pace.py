"""How long it counts that a store asked for less, by a clock that is set.  What servers get to see of it is in `test_limits.py`."""

import logging

import pytest

from aesthetics_ops.store import pace as pacing
from aesthetics_ops.store import requests_allowed
from aesthetics_ops.store.pace import Pace, log_paces
from tests.support.clock import Clock

LONG_S = 60.0


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def pace(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Pace:
    """The one server that this process knows; it was sent eight requests at once, and asked for less."""
    found = Pace("s3://far/", clock=clock)
    monkeypatch.setitem(pacing._paces, found.place, found)
    slowed(found)
    return found


def slowed(pace: Pace) -> None:
    """Let eight requests of one round be answered by "slow down"."""
    rounds = [pace.enter(1.0) for _ in range(8 if pace.limit is None else pace.limit)]
    for round_ in rounds:
        assert round_ is not None
        pace.slow(round_)
        pace.leave()


def test_what_a_server_asked_for_counts_for_a_while_though_nobody_asks_it_again(pace: Pace, clock: Clock) -> None:
    assert (pace.limit, requests_allowed()) == (4, 4)
    clock.now += LONG_S
    assert (pace.limit, requests_allowed()) == (4, 4)
    clock.now += 0.1
    assert (pace.limit, requests_allowed()) == (None, None)


def test_a_server_that_goes_on_asking_is_heard_all_the_time(pace: Pace, clock: Clock) -> None:
    for limit in (2, 1, 1):
        clock.now += 0.9 * LONG_S
        slowed(pace)
        assert (pace.limit, requests_allowed()) == (limit, limit)


def test_what_is_forgotten_bounds_nothing_and_the_next_slow_down_starts_from_there(pace: Pace, clock: Clock) -> None:
    clock.now += LONG_S + 1
    turns = [pace.enter(1.0) for _ in range(20)]
    assert None not in turns
    pace.slow(turns[0] or 0)
    assert pace.limit == 10


def test_the_log_says_that_it_counts_no_more_and_does_not_complain_of_it_again(
    pace: Pace, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "aesthetics_ops.store.pace")
    clock.now += LONG_S + 1
    log_paces()
    assert [record.getMessage() for record in caplog.records] == [
        "s3://far/ has not asked for less for 60 s, which counts no more: 4 of 8 requests at once, 4 at least, after 8 times 'slow down' in 61 s"
    ]
