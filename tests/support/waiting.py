"""Waits that end although what is waited for never comes."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from aesthetics_ops.store import give_up


@contextmanager
def ending_by_itself(many_s: float = 60.0) -> Iterator[None]:
    """Fail, and end what waits for a store, if the block takes so many seconds: many times what it should."""
    is_late = threading.Event()

    def stop() -> None:
        is_late.set()
        give_up()

    watch = threading.Timer(many_s, stop)
    watch.start()
    try:
        yield
    finally:
        watch.cancel()
    assert not is_late.is_set()
