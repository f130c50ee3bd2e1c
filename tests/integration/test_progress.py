"""Commands on versions say on a terminal what they are at, once they take a moment; anywhere else they say nothing of it."""

import os
import pty
import sys
import termios
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from aesthetics_ops import version_commands
from aesthetics_ops.cli import main
from aesthetics_ops.shell import show_progress
from aesthetics_ops.store import open_store
from aesthetics_ops.testing.datasets import SyntheticDataset, synthetic_photos

STAGES = {
    "versions": ["read versions", "read candidates"],
    "diff": ["read records", "compare photos"],
    "expire": ["read versions", "list objects", "read plans"],
    "expire --yes": ["read versions", "list objects", "read plans", "delete"],
    "rollback": ["list shards", "compare files"],
}


@pytest.fixture
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    dataset = SyntheticDataset(open_store(f"file://{tmp_path_factory.mktemp('progress')}/"), per_shard=3)
    for count in (5, 7):
        dataset.publish(synthetic_photos(count))
    return dataset.store.url


def words_of(command: str, url: str) -> list[str]:
    first, second = sorted(open_store(url).folders("versions/"))
    return {
        "versions": ["versions", url],
        "diff": ["diff", url, first, second],
        "expire": ["expire", url, "--keep", "1", "--grace", "0h"],
        "expire --yes": ["expire", url, "--keep", "1", "--grace", "0h", "--yes"],
        "rollback": ["rollback", url, first],
    }[command]


class Terminal:
    """What a pseudo-terminal in the place of stderr is sent.

    Attributes:
        text: so far.
        came: notified at each piece.
    """

    def __init__(self) -> None:
        self.text = ""
        self.came = threading.Condition()
        self._reader, writer = pty.openpty()
        termios.tcsetwinsize(writer, (24, 100))
        self.file = os.fdopen(writer, "w")
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        while True:
            try:
                piece = os.read(self._reader, 4096)
            except OSError:  # the other end is closed
                return
            with self.came:
                self.text += piece.decode()
                self.came.notify_all()

    def close(self) -> None:
        self.file.close()
        self._thread.join()
        os.close(self._reader)


@contextmanager
def terminal(patch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    opened = Terminal()
    try:
        with patch.context() as once:
            once.setattr(sys, "stderr", opened.file)
            yield opened
    finally:
        opened.close()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(version_commands, "_PATIENCE_S", 0)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("command", STAGES)
def test_a_terminal_sees_each_stage(monkeypatch: pytest.MonkeyPatch, url: str, command: str) -> None:
    with terminal(monkeypatch) as seen:
        assert main(words_of(command, url)) == 0
    places = [seen.text.find(stage) for stage in STAGES[command]]
    assert -1 not in places, seen.text
    for stage in STAGES[command]:
        last = seen.text[seen.text.rfind(stage) :].partition("\n")[0]
        assert "100%" in last or "0it" in last or "0candidate" in last, last


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("command", STAGES)
def test_nobody_else_sees_anything(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], url: str, command: str
) -> None:
    with terminal(monkeypatch) as seen:
        assert main([*words_of(command, url), "--json"]) == 0
    assert seen.text == ""
    assert main(["versions", url]) == 0
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("command", STAGES)
def test_what_is_over_at_once_shows_nothing(monkeypatch: pytest.MonkeyPatch, url: str, command: str) -> None:
    monkeypatch.setattr(version_commands, "_PATIENCE_S", 3600)
    with terminal(monkeypatch) as seen:
        assert main(words_of(command, url)) == 0
    assert seen.text == ""


def test_a_stage_that_is_a_single_request_is_shown_before_it_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    with terminal(monkeypatch) as seen, show_progress("list objects", 1, "listing", after_s=0.05) as done:
        with seen.came:
            assert seen.came.wait_for(lambda: "list objects" in seen.text, timeout=300)
        assert "100%" not in seen.text
        done(1)
    assert "100%" in seen.text
