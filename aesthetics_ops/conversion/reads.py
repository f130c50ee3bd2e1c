"""Threads that read: as many at once as a flow says, which may change at any time.

In: pieces of work, in order.  Out: each is done once, begun in the order that it came in.
"""

import threading
from collections import deque
from collections.abc import Callable

from aesthetics_ops.conversion.flow import Flow
from aesthetics_ops.store import StoreThreads

__all__ = ["Reads"]


class Reads:
    """The threads; a thread that ends one piece goes on with the next, as long as it is one of those that may work."""

    def __init__(self, flow: Flow) -> None:
        """Begin.

        Args:
            flow: says how many may work, and is told how many do.
        """
        self._flow = flow
        self._threads = StoreThreads(flow.most, thread_name_prefix="download")
        self._waiting: deque[Callable[[], None]] = deque()
        self._lock = threading.Lock()
        self._working = 0

    def submit(self, work: Callable[[], None]) -> None:
        """Have something done; it raises nothing."""
        self._waiting.append(work)
        self._add_thread()

    def end(self) -> None:
        """Begin nothing more, and wait for what was begun."""
        self._waiting.clear()
        self._threads.shutdown(cancel_futures=True)

    def _add_thread(self) -> None:
        with self._lock:
            if not self._waiting or self._working >= self._flow.requests:
                return
            self._working += 1
            self._flow.sent(self._working)
        try:
            self._threads.submit(self._work)
        except RuntimeError:  # the system gives no more threads, or it is the end: those that there are go on
            if self._working == 1:
                raise

    def _work(self) -> None:
        while (work := self._next()) is not None:
            if self._waiting and self._working < self._flow.requests:  # more may work than before
                self._add_thread()
            work()

    def _next(self) -> Callable[[], None] | None:
        with self._lock:
            if self._waiting and self._working <= self._flow.requests:
                return self._waiting.popleft()
            self._working -= 1
            return None
