"""Try a request until it is served, or its time is up: one loop for every kind of store.

In: one attempt, as a function that raises `UnservedError` where trying again may help.  Out: its result, or an error that says
what the store said, how long it was tried, and which setting allows for more.
"""

import itertools
import random
import time
from collections.abc import Callable
from typing import Final, TypeVar

from aesthetics_ops.errors import StoreUnavailableError
from aesthetics_ops.store.interrupts import Interrupts, interruptions
from aesthetics_ops.store.limits import StoreLimits
from aesthetics_ops.store.pace import Pace

__all__ = ["UnservedError", "in_turn", "patiently"]

_T = TypeVar("_T")

_FIRST_PAUSE_S: Final = 0.2
_LONGEST_PAUSE_S: Final = 15.0
_ATTEMPTS_AT_A_STRANGER: Final = 3  # at a server that has never answered: its name is likely wrong


class UnservedError(StoreUnavailableError):
    """One attempt was not served; another may be.

    Attributes:
        is_busy: the store asked for less.
        is_silent: no answer came.
        pause_s: how long the store asked to wait, in seconds.
        has_moved: trying has helped, so the time starts anew.
        came_s: when the attempt ended, by the monotonic clock.
        took_s: seconds that the attempt took, where it was made before whoever tries again began; else 0.
    """

    def __init__(
        self,
        text: str,
        *,
        is_busy: bool = False,
        is_silent: bool = False,
        pause_s: float = 0.0,
        has_moved: bool = False,
    ) -> None:
        super().__init__(text)
        self.is_busy, self.is_silent, self.pause_s, self.has_moved = is_busy, is_silent, pause_s, has_moved
        self.came_s, self.took_s = time.monotonic(), 0.0


def patiently(
    attempt: Callable[[], _T],
    *,
    pace: Pace,
    limits: StoreLimits,
    may_repeat: Callable[[UnservedError], bool] = lambda error: True,
    first: Callable[[], _T] | None = None,
) -> _T:
    """Return what an attempt returns, as soon as one is served.

    Args:
        attempt: sends one request and reads the answer.
        pace: of the server; each attempt waits for its turn.
        limits: how long to try.
        may_repeat: says whether what was not served may be sent again.
        first: in place of the first attempt, where that was made already, in its turn; None where it was not.

    Raises:
        StoreUnavailableError: the time is up, or the program was interrupted.
    """
    interrupts, started = interruptions(), None
    last: UnservedError | None = None
    for number in itertools.count(1):
        is_made = number == 1 and first is not None
        round_ = 0 if is_made else pace.enter(limits.retry_s)
        if round_ is None or (Interrupts.count != interrupts and not is_made):
            if round_ is not None:
                pace.leave()
            raise _given_up(
                last or UnservedError(f"{pace.place} served nothing"), number - 1, started, limits, interrupts
            )
        if started is None:
            started = time.monotonic()
        try:
            return first() if is_made and first is not None else in_turn(attempt, pace, round_)
        except UnservedError as error:
            last = error
            started -= error.took_s
        if last.has_moved:
            started = time.monotonic()
        left = started + limits.retry_s - time.monotonic()
        if Interrupts.count == interrupts and not may_repeat(last):
            raise StoreUnavailableError(f"{last}; try again later") from last
        is_stranger = last.is_silent and not pace.has_answered and number >= _ATTEMPTS_AT_A_STRANGER
        pause = max(0.0, _pause(number, last) - (time.monotonic() - last.came_s))
        if is_stranger or pause > left or Interrupts.count != interrupts:
            raise _given_up(last, number, started, limits, interrupts) from last
        Interrupts.wait(pause, interrupts)
    raise AssertionError("unreachable")


def in_turn(attempt: Callable[[], _T], pace: Pace, round_: int) -> _T:
    """Make an attempt whose turn has come, end the turn, and tell the pace what became of it.

    Args:
        attempt: as in `patiently`.
        pace: that gave the turn.
        round_: of the turn.
    """
    try:
        result = attempt()
    except UnservedError as error:
        if error.is_busy:
            pace.slow(round_)
        raise
    else:
        pace.served()
        return result
    finally:
        pace.leave()


def _pause(number: int, last: UnservedError) -> float:
    if last.has_moved:
        return 0.0
    longest = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2 ** min(number - 1, 10))
    return max(random.uniform(longest / 2, longest), min(last.pause_s, _LONGEST_PAUSE_S))  # noqa: S311


def _given_up(
    last: UnservedError, attempts: int, started: float | None, limits: StoreLimits, interrupts: int
) -> StoreUnavailableError:
    if Interrupts.count != interrupts:
        return StoreUnavailableError(f"{last}; interrupted" if attempts else "interrupted before a store was asked")
    seconds = time.monotonic() - started if started is not None else limits.retry_s
    times = "once" if attempts == 1 else f"{attempts} times"
    error = StoreUnavailableError(
        f"{last}; tried {times} in {seconds:.0f} s (store_retry_s is {limits.retry_s:g}, store_timeout_s is "
        f"{limits.timeout_s:g}); check the endpoint and the network, or try again later"
    )
    error.gave_up = True
    return error
