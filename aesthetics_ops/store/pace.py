"""How many requests a store is sent at once: fewer when it asks for less (503, 429), more again while it serves.

In: what became of each request.  Out: a turn to send one.  One `Pace` stands for one server in this process, whoever asks.
As TCP does, each "slow down" halves the number that may be in flight, once per round, and as many answers as are in
flight allow one more.  While no store asks for less there is no bound here: callers have their own number of threads.
What a store asked for is forgotten a minute after it last asked: nothing else would end it where nobody sends the store anything more.
"""

import logging
import math
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from aesthetics_ops.store.interrupts import Interrupts, interruptions

__all__ = ["Pace", "log_paces", "pace_of", "requests_allowed"]

_log = logging.getLogger(__name__)

_COUNTS_S: Final = 60.0  # a store that is still too busy says so again within seconds of the next requests
_LOOK_S: Final = 1.0  # a request that waits for its turn looks so often whether the store serves anything


@dataclass(slots=True)
class _Episode:
    """From the first "slow down" until as many requests are in flight as before, or none was heard for long.

    Attributes:
        limit: how many requests may be in flight now, >= 1.
        before: how many were, when the store first asked for less.
        lowest: that `limit` has been.
        asked: how often the store has asked for less.
        started, last: when it first and last asked, by the clock, in seconds.
        told: `asked` and `limit` when they were last told.
    """

    limit: float
    before: int
    lowest: int
    asked: int
    started: float
    last: float
    told: tuple[int, float] | None = None


class Pace:
    """The requests of this process to one server.

    Attributes:
        place: the server, for messages.
        has_answered: whether it has ever answered.
    """

    def __init__(self, place: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin without a bound; `clock` gives seconds."""
        self.place = place
        self.has_answered = False
        self._clock = clock
        self._lock = threading.RLock()  # a signal's handler may come in anywhere
        self._turns = threading.Condition(self._lock)
        self._in_flight = 0
        self._rounds = 0
        self._last_served = -math.inf
        self._episode: _Episode | None = None

    @property
    def limit(self) -> int | None:
        """How many requests may be in flight; None while nothing bounds them."""
        with self._lock:
            episode = self._current()
            return None if episode is None else int(episode.limit)

    def enter(self, longest_s: float) -> int | None:
        """Wait for a turn to send a request.

        Args:
            longest_s: how long to wait while the store serves nobody.

        Returns:
            The round that the request belongs to; None when no turn came.
        """
        with self._lock:
            if not self._has_room() and not self._waited(longest_s):
                return None
            self._in_flight += 1
            return self._rounds

    def enter_at_once(self) -> int | None:
        """Take a turn where nothing has to be waited for; return the round that the request belongs to, or None."""
        with self._lock:
            if not self._has_room():
                return None
            self._in_flight += 1
            return self._rounds

    def leave(self) -> None:
        """End a turn."""
        with self._lock:
            self._in_flight -= 1
            if self._episode is not None:
                self._turns.notify()

    def served(self) -> None:
        """Note that a request was served."""
        with self._lock:
            self.has_answered = True
            self._last_served = self._clock()
            episode = self._current()
            if episode is None:
                return
            episode.limit += 1 / episode.limit
            if episode.limit >= episode.before:
                self._end("%s serves as before: %s", episode)

    def slow(self, round_: int) -> None:
        """Note that the store asked for less when it was sent a request of this round."""
        with self._lock:
            self.has_answered = True
            episode, now = self._current(), self._clock()
            if episode is None:
                before = self._in_flight
                limit = max(1, before // 2)
                self._episode = _Episode(limit, before, limit, 1, now, now)
                self._rounds += 1
                _log.warning(
                    "%s asked for less: %d -> %d requests at once; more are sent again as it serves",
                    self.place,
                    before,
                    limit,
                )
                return
            episode.asked += 1
            episode.last = now
            if round_ == self._rounds:  # what was sent before the last cut says nothing about it
                self._rounds += 1
                episode.limit = max(1.0, min(episode.limit, self._in_flight) / 2)
                episode.lowest = min(episode.lowest, int(episode.limit))

    def log(self) -> None:
        """Say where an episode stands that has not ended, unless that was said before."""
        with self._lock:
            episode = self._current()
            if episode is not None and episode.told != (episode.asked, episode.limit):
                episode.told = episode.asked, episode.limit
                _log.warning("%s still asks for less: %s", self.place, self._told(episode))

    def _has_room(self) -> bool:
        episode = self._current()
        return episode is None or self._in_flight < max(1, int(episode.limit))

    def _waited(self, longest_s: float) -> bool:
        started, before = self._clock(), interruptions()
        while not self._has_room():
            self._turns.wait(_LOOK_S)
            if Interrupts.count != before or self._clock() - max(started, self._last_served) > longest_s:
                return False
        return True

    def _current(self) -> _Episode | None:
        """Return the episode, and end one in which the store has not asked for less for long."""
        episode = self._episode
        if episode is None or self._clock() - episode.last <= _COUNTS_S:
            return episode
        self._end(f"%s has not asked for less for {_COUNTS_S:.0f} s, which counts no more: %s", episode)
        return None

    def _end(self, words: str, episode: _Episode) -> None:
        _log.info(words, self.place, self._told(episode))
        self._episode = None
        self._turns.notify_all()

    def _told(self, episode: _Episode) -> str:
        return (
            f"{int(episode.limit)} of {episode.before} requests at once, {episode.lowest} at least, after {episode.asked} times "
            f"'slow down' in {self._clock() - episode.started:.0f} s"
        )


_paces: dict[str, Pace] = {}
_paces_lock = threading.Lock()


def pace_of(place: str) -> Pace:
    """Return the one `Pace` of a server in this process."""
    found = _paces.get(place)
    if found is None:
        with _paces_lock:
            found = _paces.setdefault(place, Pace(place))
    return found


def requests_allowed() -> int | None:
    """Return the fewest requests that a server which asks this process for less may be sent at once; None where none does."""
    return min((limit for pace in list(_paces.values()) if (limit := pace.limit) is not None), default=None)


def log_paces() -> None:
    """Say of each store that slows this process down how far."""
    with _paces_lock:
        paces = list(_paces.values())
    for pace in paces:
        pace.log()


def _forget() -> None:
    """Start anew in a forked child: its parent's threads, which hold turns and locks, are not there."""
    global _paces_lock
    _paces_lock = threading.Lock()
    for pace in _paces.values():
        pace.__init__(pace.place, clock=pace._clock)  # type: ignore[misc]


with suppress(AttributeError):
    os.register_at_fork(after_in_child=_forget)
