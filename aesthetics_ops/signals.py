"""Signals that end a command: SIGTERM, SIGHUP of a terminal that closes, and Ctrl-C.

In: a signal.  Out: an exception in the main thread, as an error would be one: `finally` runs.
Promised: native code or a library that lets that exception fall does not keep the process: it is raised again.  One that has not
ended after five seconds is ended, also where nobody takes what it writes.
"""

import os
import signal
import sys
import threading
import time
import weakref
from collections.abc import Callable
from typing import Final

__all__ = ["ENDING", "EndedError", "arrive", "asked_to_end", "catch_ending"]

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


def catch_ending(tidy: Callable[[], object], last_words: Callable[[int], object]) -> None:
    """Let the signals end this process as an error would; requests to stores are cut off.

    A process that has not ended five seconds later is ended: Python runs no handler while native code waits for a server.

    Args:
        tidy: called before that, in a thread.
        last_words: called then with the signal, in a thread; the process ends a second later, whether this has returned or not.
    """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    signal.signal(signal.SIGTERM, _end)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:  # else it is ignored, as by nohup
        signal.signal(signal.SIGHUP, _end)
    if signal.getsignal(signal.SIGINT) in (
        signal.default_int_handler,
        signal.SIG_DFL,
    ):  # else ignored, as in a shell's background
        signal.signal(signal.SIGINT, _end)
    said = sys.unraisablehook
    sys.unraisablehook = lambda of: None if isinstance(of.exc_value, EndedError | _InterruptedError) else said(of)
    threading.Thread(target=_watch, args=(reader, tidy, last_words), name="signals", daemon=True).start()


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


def _watch(signals: int, tidy: Callable[[], object], last_words: Callable[[int], object]) -> None:
    """Wait for a signal; raise what was let fall again; end a process that does not end by itself then."""
    while (came := os.read(signals, 1)[0]) not in ENDING:
        pass
    main = threading.main_thread().ident or 0
    last = time.monotonic() + _SECONDS_TO_END
    while (left := last - time.monotonic()) > 0:
        time.sleep(min(left, _LOOKS_EVERY_SECONDS))
        if _State.lost() and not _handles_an_error(main):
            signal.pthread_kill(main, came)
    tidy()
    speaker = threading.Thread(target=last_words, args=(came,), name="last words", daemon=True)
    speaker.start()
    speaker.join(_SECONDS_TO_SPEAK)
    os._exit(128 + came)


def _handles_an_error(thread: int) -> bool:
    """Say whether a thread is in an `except` or `finally`: another exception is on its way, and what was begun is put in order."""
    return sys._current_exceptions().get(thread) not in (None, (None, None, None))
