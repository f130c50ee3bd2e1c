"""The flow of photos through a conversion: how many requests it has in flight, what limits it, and its figures.

In: what its threads tell, group by group.  Out: the number of requests that may be in flight, and `ConversionFigures` at any time.
`steering.py` decides; here is counted.  A photo costs two looks at the clock, a group a few more.
"""

import math
import resource
import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from aesthetics_ops.conversion.steering import LEAST_REQUESTS, Limit, Round, Steering
from aesthetics_ops.figures import ConversionFigures
from aesthetics_ops.machine import cpus
from aesthetics_ops.store import requests_allowed

__all__ = ["Flow", "most_requests"]

_MOST_PER_THREAD: Final = 64  # a core of `keep` takes 900 photos a second: through 70 ms
_MOST: Final = 256
_FILES_PER_REQUEST: Final = 4  # of those that a process may open: the rest is for all else
_ROUND_S: Final = 0.2  # at least; and every request that may be in flight was answered twice
_LONG_ROUND_S: Final = 1.0  # once the number stands
_BUCKET: Final = math.log(1.05)  # latencies are told to within 5 %
_SHORTEST_S: Final = 1e-5


def most_requests(threads: int) -> int:
    """Return how many requests a conversion with so many codec threads may ever have in flight.

    Threads are shared among the tasks of a worker (`AESTHETICS_TASKS`), and so are connections.
    """
    most = min(_MOST, _MOST_PER_THREAD * threads)
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files != resource.RLIM_INFINITY:
        most = min(most, files // _FILES_PER_REQUEST)
    return max(LEAST_REQUESTS, most)


class Flow:
    """Counts what flows, and says how many requests may be in flight.  Its methods may be called from many threads at once."""

    def __init__(
        self,
        threads: int,
        *,
        local_photos: bool = False,
        local_records: bool = False,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Begin; time counts from the first photo on.

        Args:
            threads: that convert.
            local_photos: `Store.is_local` of where photos come from.
            local_records: likewise of where those come from that the version before has.
            clock: seconds.
        """
        self.most = most_requests(threads)
        self._threads, self._clock = threads, clock
        self._local_photos, self._local_records = local_photos, local_records
        self._steering = Steering(threads=threads, cores=cpus(), most=self.most)
        self._lock = threading.Lock()
        self._started: float | None = None
        self._ended = 0.0
        self._fetched = self._bytes = self._photos = self._reached = 0
        self._codec_seconds = 0.0
        self._working: dict[int, float] = {}  # codec threads at work, and since when
        self._latencies: Counter[int] = Counter()
        self._limits: dict[Limit, float] = {}  # seconds
        self._most_now = self._round_converted = self._round_copied = 0
        self._begin_round(0.0)

    @property
    def requests(self) -> int:
        """How many requests may be in flight now."""
        return self._steering.requests

    def parts(self, photos: int, at_once: int = 1) -> int:
        """Return among how many threads a group of so many photos is shared out, each of which asks for so many at once.

        Where a thread asks for one after the other, sixteen groups are read at once, however many threads.  Until the way is known
        there are four then, so that the first codec does not wait for sixteen answers.
        """
        if at_once > 1:
            return max(1, math.ceil(photos / at_once))
        if self.requests == LEAST_REQUESTS:
            wanted = 1 if self._steering.is_near else 4
        else:
            wanted = math.ceil(self.requests / LEAST_REQUESTS)
        return max(1, min(photos, wanted))

    def start(self) -> None:
        """Note that the first photo is asked for."""
        with self._lock:
            if self._started is None:
                self._started = self._ended = self._clock()
                self._begin_round(self._started)

    def sent(self, in_flight: int) -> None:
        """Note how many requests are in flight."""
        if in_flight > self._most_now:
            with self._lock:
                self._most_now = max(self._most_now, in_flight)
                self._reached = max(self._reached, in_flight)

    def full(self) -> None:
        """Note that no photo is asked for because of the bytes that are held."""
        self._is_full = True

    def read(self, seconds: Sequence[float], data_bytes: int, copied: int = 0) -> None:
        """Note photos that came from their source, and how long each took; and how many came from the version before."""
        with self._lock:
            self._round_copied += copied
            self._fetched += len(seconds)
            self._bytes += data_bytes
            self._latencies.update(int(math.log(max(each, _SHORTEST_S) / _SHORTEST_S) / _BUCKET) for each in seconds)
            self._seconds += seconds
            self._look()

    @contextmanager
    def converting(self, photos: int) -> Iterator[None]:
        """Count the time that a codec thread takes for so many photos."""
        thread, started = threading.get_ident(), self._clock()
        with self._lock:
            self._working[thread] = started
        try:
            yield
        finally:
            ended = self._clock()
            with self._lock:
                del self._working[thread]
                self._photos += photos
                self._codec_seconds += ended - started
                self._round_converted += photos
                self._round_codec_seconds += ended - started
                self._round_busy_seconds += ended - max(started, self._round_started)
                self._look()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Count the time in which outcomes are taken and written."""
        started = self._clock()
        try:
            yield
        finally:
            self._writing_seconds += self._clock() - started  # one thread writes

    def figures(self) -> ConversionFigures:
        """Return what there is so far; the times are zeros until a photo came.  Latencies are told to within 5 %."""
        with self._lock:
            if not self._fetched and not self._photos:
                return ConversionFigures(requests=self._reached)
            limits = self._limits.copy()
            if self._ended > self._round_started:
                found = self._round(self._ended)
                limit = self._steering.limit_of(found)
                limits[limit] = limits.get(limit, 0.0) + found.seconds
            seconds = self._ended - self._started if self._started is not None else 0.0
            had = self._threads * seconds
            return ConversionFigures(
                seconds=seconds,
                photos=self._photos,
                fetched=self._fetched,
                bytes=self._bytes,
                get_p50_s=self._percentile(0.50),
                get_p95_s=self._percentile(0.95),
                codec_share=min(1.0, self._codec_seconds / had) if had else 0.0,
                waiting_s=max(0.0, had - self._codec_seconds),
                requests=self._reached,
                limit=max(limits, key=lambda limit: limits[limit], default=Limit.CODEC).value,
            )

    def _begin_round(self, now: float) -> None:
        self._round_started, self._cpu_started = now, time.process_time()
        self._seconds: list[float] = []
        self._round_converted = self._round_copied = self._most_now = 0
        self._round_codec_seconds = self._round_busy_seconds = self._writing_seconds = 0.0
        self._is_full = False

    def _look(self) -> None:
        """End the round where it is long enough to tell something."""
        self._ended = now = self._clock()
        lasted = now - self._round_started
        if lasted < _ROUND_S or (len(self._seconds) < 2 * self.requests and lasted < _LONG_ROUND_S):
            return
        if self._steering.is_settled and lasted < _LONG_ROUND_S:
            return
        found = self._round(now)
        self._steering.learn(found)
        self._limits[self._steering.limit] = self._limits.get(self._steering.limit, 0.0) + found.seconds
        self._begin_round(now)

    def _round(self, now: float) -> Round:
        return Round(
            seconds=now - self._round_started,
            read=len(self._seconds) + self._round_copied,
            get_seconds=statistics.median(self._seconds) if self._seconds else 0.0,
            converted=self._round_converted,
            codec_seconds=self._round_codec_seconds,
            busy_seconds=self._round_busy_seconds
            + sum(max(0.0, now - max(started, self._round_started)) for started in self._working.values()),
            cpu_seconds=time.process_time() - self._cpu_started,
            writing_seconds=self._writing_seconds,
            reached=self._most_now,
            is_full=self._is_full,
            allowed=requests_allowed(),
            is_local=self._local_photos if len(self._seconds) >= self._round_copied else self._local_records,
        )

    def _percentile(self, share: float) -> float:
        wanted, found = share * self._latencies.total(), 0
        for bucket in sorted(self._latencies):
            found += self._latencies[bucket]
            if found >= wanted:
                return _SHORTEST_S * math.exp((bucket + 0.5) * _BUCKET)
        return 0.0
