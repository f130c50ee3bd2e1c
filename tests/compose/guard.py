"""What the whole run may take: so many seconds, and so much disk.  Whatever takes more is ended where it stands.

In: the directory that everything lies in.  Out: a `Guard`, to be entered around the run.  Promised: past a limit the main
thread gets pytest's own failure, which no `except Exception` catches, and fixtures then take everything down.
"""

import os
import signal
import subprocess
import threading
from pathlib import Path
from types import FrameType
from typing import Final, Self

import pytest

__all__ = ["MOST_BYTES", "Guard"]

MOST_BYTES: Final = 15_000_000_000
_EVERY_SECONDS: Final = 20


class Guard:
    """Holds a run to its limits while it is entered.

    Attributes:
        peak_bytes: most that the directory was seen to hold.
    """

    def __init__(self, directory: Path, most_seconds: int, most_bytes: int = MOST_BYTES) -> None:
        self.peak_bytes = 0
        self._directory = directory
        self._most_seconds = most_seconds
        self._most_bytes = most_bytes
        self._over = threading.Event()
        self._watch = threading.Thread(target=self._measure_again_and_again, daemon=True)

    def __enter__(self) -> Self:
        """Start to count."""
        signal.signal(signal.SIGALRM, self._end)
        signal.alarm(self._most_seconds)
        self._watch.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop counting."""
        signal.alarm(0)
        self._over.set()
        self._watch.join()

    def measure(self) -> int:
        """Return how many bytes the directory holds now."""
        words = ("du", "--summarize", "--one-file-system", "--block-size=1", str(self._directory))
        said = subprocess.run(words, capture_output=True, text=True, check=False).stdout  # files may vanish meanwhile
        found = int(said.split()[0]) if said else 0
        self.peak_bytes = max(self.peak_bytes, found)
        return found

    def _measure_again_and_again(self) -> None:
        while not self._over.wait(_EVERY_SECONDS):
            if self.measure() > self._most_bytes:
                os.kill(os.getpid(), signal.SIGALRM)
                return

    def _end(self, _signal: int, _frame: FrameType | None) -> None:
        if self.peak_bytes > self._most_bytes:
            pytest.fail(f"the run takes {self.peak_bytes / 1e9:.1f} GB of disk; at most {self._most_bytes / 1e9:g} are allowed", pytrace=False)  # fmt: skip
        pytest.fail(f"the run takes longer than {self._most_seconds} s, which AESTHETICS_COMPOSE_SECONDS can raise", pytrace=False)  # fmt: skip
