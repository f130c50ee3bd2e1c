"""How many requests a conversion keeps in flight: as many as its codec threads need at this distance from the store.

In: what happened in one round of a second or less.  Out: the number for the next round, and what this round was limited by.
Pure.  A store nearby gets sixteen.  Farther away the codec's speed times the latency says how many there have to be; a raise that
brings no more photos a second is taken back.
"""

import math
from collections import deque
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

__all__ = ["LEAST_REQUESTS", "Limit", "Round", "Steering"]

LEAST_REQUESTS: Final = 16  # they feed two codec cores through 8 ms of latency

_ROOM: Final = 1.5  # over codec speed times latency: latencies spread, and groups wait for their last photo
_RAISE: Final = 4  # at most, from one round to the next
_WORTH: Final = 0.25  # of what a raise would bring where nothing but latency limits
_BUSY: Final = 0.9  # of the time that codec threads, or cores, have
_WRITING: Final = 0.8  # of a round
_FIRST_HOLD_S: Final = 2.0  # after a raise that brought nothing
_LONGEST_HOLD_S: Final = 64.0
_ENOUGH: Final = 16  # photos that tell what one takes
_FASTEST_S: Final = 1e-4  # of any codec, for a photo
_FAR_S: Final = 0.005  # for any codec
_SETTLED: Final = 3  # rounds
_LATENCIES: Final = 32  # rounds whose shortest latency counts as the way's own


class Limit(StrEnum):
    """What kept a conversion from going faster."""

    CODEC = "codec"  # its threads, or the cores they run on
    NETWORK = "network latency"  # photos came too slowly, though no more requests would help or may be sent
    READING = "reading"  # the same, of files: the disk, a network drive, or other work on this machine
    STORE = "store (slow down)"  # 503 or 429
    BYTES = "bytes"  # that may be held in memory
    WRITING = "writing"  # of shards, or their upload


_COMING: Final = frozenset({Limit.NETWORK, Limit.READING})  # photos came too slowly


@dataclass(frozen=True, slots=True)
class Round:
    """What happened in a short time.

    Attributes:
        seconds: that it took, > 0.
        read: photos that came, from their source or from the version before.
        get_seconds: that half of those from their source took at most; 0 where none came.
        converted: photos that codec threads took.
        codec_seconds: that codec threads took for the `converted`, in sum, whenever they began.
        busy_seconds: of this round in which codec threads worked, in sum, also for photos that are not done.
        cpu_seconds: of this process.
        writing_seconds: that went into writing shards and waiting for uploads.
        reached: most requests in flight.
        is_full: whether the bytes that may be held kept photos from being asked for.
        allowed: requests that the store allows since it asked for less; None where it did not.
        is_local: whether most photos that came lay in files or in memory: no network was between.
    """

    seconds: float
    read: int
    get_seconds: float
    converted: int
    codec_seconds: float
    busy_seconds: float
    cpu_seconds: float = 0.0
    writing_seconds: float = 0.0
    reached: int = LEAST_REQUESTS
    is_full: bool = False
    allowed: int | None = None
    is_local: bool = False


class Steering:
    """The number of requests in flight.

    Attributes:
        requests: that may be in flight now.
        limit: of the last round.
    """

    def __init__(self, *, threads: int, cores: int, most: int) -> None:
        """Begin with sixteen.

        Args:
            threads: that convert.
            cores: that this process may use.
            most: requests that may ever be in flight, >= 16.
        """
        self.requests = LEAST_REQUESTS
        self.limit = Limit.NETWORK
        self._threads, self._cores, self._most = threads, cores, most
        self._latencies: deque[float] = deque(maxlen=_LATENCIES)
        self._codec_seconds: float | None = None  # a photo
        self._raised: tuple[int, float] | None = None  # requests and photos a second before the raise that is on trial
        self._now_s = self._held_until_s = 0.0
        self._hold_s = _FIRST_HOLD_S

    @property
    def is_near(self) -> bool:
        """Whether sixteen requests are enough, as far as one knows."""
        return bool(self._latencies) and self.wanted <= LEAST_REQUESTS

    @property
    def is_settled(self) -> bool:
        """Whether no raise is on trial, and the first rounds are over."""
        return self._raised is None and len(self._latencies) >= _SETTLED

    @property
    def wanted(self) -> int:
        """Requests that would feed the codec threads through the way's own latency."""
        if not self._latencies:
            return LEAST_REQUESTS
        if self._codec_seconds is None:
            return self._most if min(self._latencies) >= _FAR_S else LEAST_REQUESTS
        return math.ceil(_ROOM * self._threads * min(self._latencies) / max(self._codec_seconds, _FASTEST_S))

    def learn(self, found: Round) -> None:
        """Take what a round brought, and set the number for the next one."""
        self._now_s += found.seconds
        if found.get_seconds:
            self._latencies.append(found.get_seconds)
        if found.converted and (found.converted >= _ENOUGH or self._codec_seconds is None):
            self._codec_seconds = found.codec_seconds / found.converted
        tried, self._raised = self._raised, None
        self.limit = self.limit_of(found)
        if self.limit is Limit.STORE:
            self.requests = max(LEAST_REQUESTS, min(self.requests, found.allowed or 0))
        elif self.limit is Limit.CODEC:
            if 2 * self.wanted < self.requests:
                self.requests = max(LEAST_REQUESTS, self.requests // 2)
        elif self.limit in _COMING and found.reached >= self.requests:
            self._raise_or_take_back(found.read / found.seconds, tried)

    def limit_of(self, found: Round) -> Limit:
        """Return what a round was limited by."""
        if found.allowed is not None:
            return Limit.STORE
        is_busy = found.busy_seconds >= _BUSY * self._threads * found.seconds
        if is_busy or found.cpu_seconds >= _BUSY * self._cores * found.seconds:
            return Limit.CODEC
        if found.writing_seconds >= _WRITING * found.seconds:
            return Limit.WRITING
        if found.is_full and found.reached < self.requests:
            return Limit.BYTES
        return Limit.READING if found.is_local else Limit.NETWORK

    def _raise_or_take_back(self, photos_per_second: float, tried: tuple[int, float] | None) -> None:
        if tried is not None:
            before, rate = tried
            if photos_per_second < rate * (1 + _WORTH * (self.requests / before - 1)):
                self.requests = before
                self._held_until_s = self._now_s + self._hold_s
                self._hold_s = min(2 * self._hold_s, _LONGEST_HOLD_S)
                return
            self._hold_s = _FIRST_HOLD_S
        wanted = min(self.wanted, self._most, _RAISE * self.requests)
        if wanted > self.requests and self._now_s >= self._held_until_s:
            self._raised = self.requests, photos_per_second
            self.requests = wanted
