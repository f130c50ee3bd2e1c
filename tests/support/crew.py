"""The other processes of a build: where it can have any, which there are, and what they leave."""

import os
import re
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from aesthetics_ops.progress import Progress
from tests.support.documents import make_reports_quick
from tests.support.nights import PHOTOS, Source, photo

__all__ = ["Counted", "are_gone", "at_first", "end_first", "others", "scratch_left", "stored_photos"]


def stored_photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Source:
    """Photos and scores in files, which other processes see, and a scratch folder that nobody else uses."""
    make_reports_quick(monkeypatch)
    (tmp_path / "scratch").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "scratch"))
    monkeypatch.setattr(tempfile, "tempdir", None)
    source = Source(f"{tmp_path.as_uri()}/", {})
    for name in PHOTOS:
        source.add(name, photo(name))
    source.score({name: number / 2 + 1 for number, name in enumerate(PHOTOS)})
    return source


class Counted:
    """A progress that notes of each stage that ended its name, how much there was to do, and how much was told."""

    def __init__(self) -> None:
        self.stages: list[tuple[str, int, int]] = []

    @contextmanager
    def __call__(self, stage: str, total: int, unit: str) -> Iterator[Callable[[int], None]]:
        done: list[int] = []
        yield done.append
        self.stages.append((stage, total, sum(done)))


def at_first(act: Callable[[], None]) -> Progress:
    """Return a progress that acts when the first photo of a build is done."""
    has_acted = False

    @contextmanager
    def progress(stage: str, total: int, unit: str) -> Iterator[Callable[[int], None]]:
        def told(amount: int) -> None:
            nonlocal has_acted
            if not has_acted:
                has_acted = True
                act()

        yield told

    return progress


def others(parent: int | None = None) -> list[int]:
    """Return the ids of the processes that a process has started for a build."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            is_child = int(status.read_text().rpartition(")")[2].split()[1]) == (parent or os.getpid())
            if is_child and b"aesthetics_ops.processes" in status.with_name("cmdline").read_bytes():
                found.append(int(status.parent.name))
    return found


def end_first(end: signal.Signals) -> None:
    """Send a signal to the first of the other processes, once it handles signals: until then it ends as any program does."""
    process = others()[0]
    while not _handles(process, signal.SIGHUP):  # the last that it asks for
        time.sleep(0.01)
    os.kill(process, end)


def _handles(process: int, number: signal.Signals) -> bool:
    caught = re.search(r"^SigCgt:\s*(\w+)$", Path(f"/proc/{process}/status").read_text(), re.MULTILINE)
    return bool(caught and int(caught[1], 16) >> (number - 1) & 1)


def are_gone(found: list[int]) -> bool:
    """Wait a while for processes that nobody waits for any more."""
    for _ in range(600):
        if not any(Path(f"/proc/{process}").exists() for process in found):
            return True
        time.sleep(0.1)
    return False


def scratch_left() -> list[str]:
    return [path.name for path in Path(os.environ["TMPDIR"]).glob("aesthetics-ops-scratch-*")]
