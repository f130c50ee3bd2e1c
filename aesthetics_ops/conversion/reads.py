"""Threads that read: with as many requests at once as a flow says, which may change at any time.

In: pieces of work, in order.  Out: each is done once, begun in the order that it came in.
"""

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from aesthetics_ops.conversion.flow import Flow
from aesthetics_ops.store import StoreThreads

__all__ = ["Reads"]


@dataclass(frozen=True, slots=True)
class _Piece:
    """What one thread does without a break.

    Attributes:
        work: raises nothing.
        requests: that it has in flight at most.
    """

    work: Callable[[], None]
    requests: int


class Reads:
    """The threads; a thread that ends one piece goes on with the next, as long as its requests may be in flight."""

    def __init__(self, flow: Flow) -> None:
        """Begin.

        Args:
            flow: says how many requests may be in flight, and is told how many are.
        """
        self._flow = flow
        self._threads = StoreThreads(flow.most, thread_name_prefix="download")
        self._waiting: deque[_Piece] = deque()
        self._begun: deque[_Piece] = deque()  # whose requests count, and which no thread has yet
        self._lock = threading.Lock()
        self._in_flight = 0

    def submit(self, work: Callable[[], None], requests: int = 1) -> None:
        """Have something done; it raises nothing.

        Args:
            work: it.
            requests: that it has in flight at most; of more than there may be it is done alone.
        """
        self._waiting.append(_Piece(work, requests))
        self._add_threads()

    def end(self) -> None:
        """Begin nothing more, and wait for what was begun."""
        self._waiting.clear()
        self._begun.clear()
        self._threads.shutdown(cancel_futures=True)

    def _add_threads(self) -> None:
        while (piece := self._admitted()) is not None:
            self._begun.append(piece)
            try:
                self._threads.submit(self._work)
            except RuntimeError:  # the system gives no more threads, or it is the end: those that there are go on
                if self._in_flight <= piece.requests:
                    raise
                return

    def _work(self) -> None:
        while (piece := self._next()) is not None:
            if self._waiting:  # more may be in flight than before
                self._add_threads()
            piece.work()
            with self._lock:
                self._in_flight -= piece.requests

    def _next(self) -> _Piece | None:
        try:
            return self._begun.popleft()
        except IndexError:
            return self._admitted()

    def _admitted(self) -> _Piece | None:
        with self._lock:
            if not self._waiting:
                return None
            wanted = self._in_flight + self._waiting[0].requests
            if self._in_flight and wanted > self._flow.requests:
                return None
            self._in_flight = wanted
            self._flow.sent(wanted)
            return self._waiting.popleft()
