"""Signals that end a command or a task: SIGTERM, SIGHUP of a terminal that closes, Ctrl-C; of a task also its time limit.

In: a signal.  Out: an exception in the main thread, as an error would be one: `finally` runs.
Promised: native code or a library that lets that exception fall does not keep the process: it is raised again.  One that has not
ended after some seconds is ended, also where nobody takes what it writes.
"""

import os
import signal
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

__all__ = ["ENDING", "EndedError", "arrive", "asked_to_end", "catch_ending", "ended_by_signals"]

ENDING: Final = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)

_SECONDS_TO_END: Final = 5.0  # for requests in flight
_LOOKS_EVERY_SECONDS: Final = 0.1
_SECONDS_TO_SPEAK: Final = 1.0  # a pipe that is full and that nobody reads takes no word


class EndedError(BaseException):
    """A signal asked this process to end."""

    def __init__(self) -> None:
        super().__init__()
        _State.raised = weakref.ref(self)


class _InterruptedError(KeyboardInterrupt):
    """Ctrl-C, for whoever handles that."""

    def __init__(self) -> None:
        super().__init__()
        _State.raised = weakref.ref(self)


class _State:
    """What was asked of this process, and how far it is.

    Attributes:
        number: of the first signal.
        raised: the exception that was raised last, as long as anybody holds it.
        arrived: the command has ended, with that exception or without.
    """

    number: int | None = None
    raised: "weakref.ref[BaseException] | None" = None
    arrived = False

    @classmethod
    def on_its_way(cls) -> bool:
        return cls.raised is not None and cls.raised() is not None

    @classmethod
    def lost(cls) -> bool:
        return cls.raised is not None and cls.raised() is None and not cls.arrived


class _Watch:
    """What is done where a signal's exception is not enough.

    Args:
        tidy: called before the process is ended, in a thread.
        last_words: called then with the signal, in a thread.
        seconds: until then; None: it is never ended.
    """

    def __init__(self, tidy: Callable[[], object], last_words: Callable[[int], object], seconds: float | None) -> None:
        self._tidy, self._last_words, self._seconds = tidy, last_words, seconds
        self._over = threading.Event()
        self._writer = self._told = -1

    def start(self) -> None:
        """Watch for signals from now on."""
        reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)
        self._told = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        threading.Thread(target=self._watch, args=(reader,), name="signals", daemon=True).start()

    def stop(self) -> None:
        """Watch no more: what was to end has ended."""
        self._over.set()
        if self._writer >= 0:
            signal.set_wakeup_fd(self._told)
            os.close(self._writer)

    def _watch(self, signals: int) -> None:
        """Wait for a signal; raise what was let fall again; end a process that does not end by itself then."""
        came = b"\0"
        while came and came[0] not in (*ENDING, signal.SIGALRM):
            came = os.read(signals, 1)
        main = threading.main_thread().ident or 0
        last = None if self._seconds is None else time.monotonic() + self._seconds
        while (left := _LOOKS_EVERY_SECONDS if last is None else last - time.monotonic()) > 0:
            if self._over.wait(min(left, _LOOKS_EVERY_SECONDS)):
                os.close(signals)
                return
            if _State.lost() and not _handles_an_error(main):
                signal.pthread_kill(main, came[0])
        self._tidy()
        speaker = threading.Thread(target=self._last_words, args=(came[0],), name="last words", daemon=True)
        speaker.start()
        speaker.join(_SECONDS_TO_SPEAK)
        os._exit(128 + came[0])


def catch_ending(tidy: Callable[[], object], last_words: Callable[[int], object]) -> None:
    """Let the signals end this process as an error would; requests to stores are cut off.

    A process that has not ended five seconds later is ended: Python runs no handler while native code waits for a server.

    Args:
        tidy: called before that, in a thread.
        last_words: called then with the signal, in a thread; the process ends a second later, whether this has returned or not.
    """
    _Watch(tidy, last_words, _SECONDS_TO_END).start()
    signal.signal(signal.SIGTERM, _end)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:  # else it is ignored, as by nohup
        signal.signal(signal.SIGHUP, _end)
    if signal.getsignal(signal.SIGINT) in (
        signal.default_int_handler,
        signal.SIG_DFL,
    ):  # else ignored, as in a shell's background
        signal.signal(signal.SIGINT, _end)
    _say_nothing_of_what_falls()


@contextmanager
def ended_by_signals(
    tidy: Callable[[], object], last_words: Callable[[int], object], *, seconds: float | None
) -> Iterator[None]:
    """Let signals end what is done inside by an exception, in the process of a scheduler that then says how it ended.

    Those are SIGTERM, SIGHUP and SIGINT where these would end the process, and SIGALRM where somebody waits for it, as a time limit does.
    In another thread than the main one nothing is caught.

    Args:
        tidy: called before a process is ended that has not left this, in a thread.
        last_words: called then with the signal, in a thread; the process ends a second later.
        seconds: that it has for leaving; None: as long as it takes.

    Raises:
        EndedError: a signal came; `asked_to_end` says which.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = _handlers_to_replace()
    said = sys.unraisablehook
    _State.number, _State.raised, _State.arrived = None, None, False
    watch = _Watch(tidy, last_words, seconds)
    try:
        for number in before:
            signal.signal(number, _end)
        _say_nothing_of_what_falls()
        watch.start()
        yield
    finally:
        _State.arrived = True
        for number, handler in before.items():
            signal.signal(number, handler)
        sys.unraisablehook = said
        watch.stop()


def _handlers_to_replace() -> dict[int, Any]:
    """Return what handles the signals that end a task, by number."""
    found = {number: signal.getsignal(number) for number in (*ENDING, signal.SIGALRM)}
    ends = {number for number in ENDING if found[number] is signal.SIG_DFL} | {signal.SIGTERM}
    ends |= {signal.SIGALRM} if callable(found[signal.SIGALRM]) else set()
    return {number: found[number] for number in ends}


def _say_nothing_of_what_falls() -> None:
    said = sys.unraisablehook
    sys.unraisablehook = lambda of: None if isinstance(of.exc_value, EndedError | _InterruptedError) else said(of)


def asked_to_end() -> int | None:
    """Return the first signal that asked this process to end."""
    return _State.number


def arrive() -> None:
    """Let signals do nothing from now on: the command has ended."""
    _State.arrived = True


def _end(number: int, _: object) -> None:
    if _State.arrived:
        return
    if number != signal.SIGINT and _State.on_its_way():  # once is enough; a second Ctrl-C is impatience
        return
    if _State.number is None:
        _State.number = number
    interrupts = sys.modules.get("aesthetics_ops.store.interrupts")  # a command that asks no store does not load it
    if interrupts is not None:
        interrupts.give_up()
    # in no local variable: its traceback would hold it there, and one that was let fall would never be missed
    raise _InterruptedError if number == signal.SIGINT else EndedError


def _handles_an_error(thread: int) -> bool:
    """Say whether a thread is in an `except` or `finally`: another exception is on its way, and what was begun is put in order."""
    return sys._current_exceptions().get(thread) not in (None, (None, None, None))


def _leave_to_parent() -> None:
    """In a forked child: its signals are its own, and are told to nobody who watches for those of the parent."""
    if any(signal.getsignal(number) is _end for number in (*ENDING, signal.SIGALRM)):
        signal.set_wakeup_fd(-1)
    for number in (*ENDING, signal.SIGALRM):
        if signal.getsignal(number) is _end:
            signal.signal(number, signal.SIG_DFL)


os.register_at_fork(after_in_child=_leave_to_parent)
