"""Silence for the moment of an import that writes to stderr whatever its settings say."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["quiet_stderr"]


@contextmanager
def quiet_stderr() -> Iterator[None]:
    """Send what C++ code writes to file descriptor 2 nowhere.  Exceptions still tell what went wrong.

    TensorFlow reports missing GPU drivers there while it is imported, before its own log level counts.
    """
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(nowhere)
        os.close(kept)
