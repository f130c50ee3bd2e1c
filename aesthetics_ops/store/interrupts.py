"""Ctrl-C and SIGTERM while threads wait for a store: their requests are cut off, so that the process can end.

In: `give_up`, called by whoever is interrupted.  Out: every request in flight fails at once; later ones are not touched.
"""

import os
import socket
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from types import TracebackType
from typing import ParamSpec, TypeVar

__all__ = ["Interrupts", "StoreThreads", "begun", "give_up", "give_up_if_interrupted", "interruptions"]

_P = ParamSpec("_P")
_T = TypeVar("_T")


class Interrupts:
    """What this process's requests look at.

    Attributes:
        count: of interruptions so far; a request that sees another number than at its start ends.
        sockets: of the requests in flight.
        changed: notified at each.
    """

    count = 0
    sockets: "set[socket.socket]" = set()  # noqa: RUF012 - one for the process
    changed = threading.Condition()

    @classmethod
    def wait(cls, seconds: float, count: int) -> None:
        """Wait, unless requests are given up meanwhile."""
        with cls.changed:
            cls.changed.wait_for(lambda: cls.count != count, seconds)


def give_up() -> None:
    """Cut off every request that threads of this process wait for; a signal's handler may call it."""
    with Interrupts.changed:
        Interrupts.count += 1
        Interrupts.changed.notify_all()
    for connected in list(Interrupts.sockets):
        with suppress(OSError):
            socket.socket.shutdown(
                connected, socket.SHUT_RDWR
            )  # of TLS too, whose own would change what its reader holds


class _Begun(threading.local):
    """How many interruptions there were when what this thread does was begun; None where nobody said."""

    count: int | None = None


_begun = _Begun()


def interruptions() -> int:
    """Return how many interruptions there had been when what this thread does was begun."""
    return Interrupts.count if _begun.count is None else _begun.count


def begun(work: Callable[_P, _T]) -> Callable[_P, _T]:
    """Return work for another thread that an interruption ends from now on, even where it has not asked a store yet."""
    count = interruptions()

    def run(*arguments: _P.args, **named: _P.kwargs) -> _T:
        before, _begun.count = _begun.count, count
        try:
            return work(*arguments, **named)
        finally:
            _begun.count = before

    return run


class StoreThreads(ThreadPoolExecutor):
    """Threads that ask a store: ended because of Ctrl-C or SIGTERM, what runs is cut off; left by an error, what waits is not begun."""

    def submit(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
        """Have something done."""
        return super().submit(begun(fn), *args, **kwargs)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the threads."""
        give_up_if_interrupted()
        super().shutdown(wait, cancel_futures=cancel_futures)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the threads."""
        self.shutdown(cancel_futures=kind is not None)


def give_up_if_interrupted() -> None:
    """Call `give_up` where something that is no error ends the program, as in a `finally` after Ctrl-C."""
    kind = sys.exc_info()[0]
    if kind is not None and not issubclass(kind, Exception | GeneratorExit):
        give_up()


def _forget() -> None:
    Interrupts.sockets = set()
    Interrupts.changed = threading.Condition()


os.register_at_fork(after_in_child=_forget)
