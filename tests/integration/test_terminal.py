"""No command prints a control character that came from data: not as text, not in a log line, not in an error."""

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from aesthetics_ops.cli import main
from aesthetics_ops.shell import one_line
from aesthetics_ops.store import open_store
from aesthetics_ops.testing.datasets import LeftOut, SyntheticDataset, SyntheticVersion, synthetic_photos
from tests.support.nights import reseal

EVIL = "\x1b[2J\x1b]0;owned\x07\x9b31m\r\x08\u202e"
BAD = {chr(code) for code in (*range(32), *range(127, 160), 0x202E)} - {"\n"}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, list[SyntheticVersion]]:
    """Two versions in which every text that data can bring holds escape sequences."""
    dataset = SyntheticDataset(open_store(f"file://{tmp_path_factory.mktemp('evil')}/"), per_shard=3)
    photos = [replace(photo, id=f"{photo.id}{EVIL}") for photo in synthetic_photos(9)]
    left_out = [
        LeftOut(f"a{EVIL}.jpg", f"reason{EVIL}", f"detail{EVIL}"),
        LeftOut(None, "label_without_photo", f"row{EVIL}"),
    ]
    changes = {"software": {f"lib{EVIL}": EVIL}, "transforms": {}}
    versions = [dataset.publish(photos[:some], left_out) for some in (7, 9)]
    for version in versions:
        reseal(
            dataset.store,
            version.version,
            lambda values: values["source"].update(photos=f"memory://x{EVIL}/", label_columns={f"id{EVIL}": EVIL}),
        )
        reseal(dataset.store, version.version, lambda values: values.update(software=changes["software"]))
    return dataset.store.url, versions


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[[Sequence[str]], str]:
    """Runs a command; returns what a terminal gets to see of it, log lines included."""

    def runs(words: Sequence[str]) -> str:
        with monkeypatch.context() as patch:
            patch.setattr(logging.root, "handlers", [])  # pytest's own would keep the command from setting up its own
            patch.setattr(logging.root, "level", logging.root.level)
            assert main(words) in (0, 1, 2, 3)
        printed = capsys.readouterr()
        return printed.out + printed.err

    return runs


def words_of(kind: str, url: str, versions: Sequence[SyntheticVersion], folder: Path) -> list[str]:
    first, second = (version.version for version in versions)
    state = folder / "state.json"
    state.write_text(json.dumps({"version": f"v{EVIL}", "split": EVIL, EVIL: EVIL}))
    scores = folder / "scores.csv"
    scores.write_text(f"id{EVIL},score\nx{EVIL},{EVIL}\n\ny{EVIL},3\n")
    (folder / "photos").mkdir()
    (folder / "photos" / f"x{EVIL}.jpg").write_bytes(b"no photo")
    photos = f"--photos=file://{folder}/photos/"
    return {
        "show": ["show", url], "verify": ["verify", url], "repair": ["verify", url, "--repair"], "versions": ["versions", url],
        "diff": ["diff", url, first, second], "rejects": ["rejects", url], "save": ["rejects", url, "--save", str(folder / f"o{EVIL}")],
        "pull": ["pull", url, str(folder / f"pulled{EVIL}")], "replay": ["replay", url, "--state", str(state)],
        "expire": ["expire", url, "--keep", "5"], "point": ["point", url, "prod", second, "--reason", EVIL, "--by", EVIL],
        "pin": ["pin", url, second, "run", "--reason", EVIL], "pointers": ["pointers", url], "log": ["log", url], "promote": ["promote", url, EVIL, "--reason", EVIL],
        "rollback": ["rollback", url, second], "no version": ["show", url, "--version", f"x{EVIL}"],
        "no dataset": ["show", f"file:///nowhere{EVIL}/"], "usage": ["show", url, f"--{EVIL}"], "no command": [f"x{EVIL}"],
        "labels": ["labels", f"file://{scores}", photos], "column": ["labels", f"file://{scores}", "--id-column", EVIL],
        "build": ["build", f"--labels=file://{scores}", photos, f"--dataset=file://{folder}/dataset{EVIL}/"],
        "setting": ["build", f"--labels=file://{scores}", photos, f"--dataset=file://{folder}/d/", "--quality", EVIL],
    }[kind]  # fmt: skip


KINDS = (
    "show", "verify", "repair", "versions", "diff", "rejects", "save", "pull", "replay", "expire", "point", "pin", "pointers", "log", "promote", "rollback", "no version", "no dataset", "usage",
    "no command", "labels", "column", "build", "setting",
)  # fmt: skip


@pytest.mark.parametrize("flag", ["", "--verbose", "--json"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_command_prints_no_control_character(
    run: Callable[[Sequence[str]], str], made: tuple[str, list[SyntheticVersion]], tmp_path: Path, kind: str, flag: str
) -> None:
    printed = run([*words_of(kind, *made, tmp_path), *([flag] if flag else [])])
    assert printed
    assert {character for character in printed if character in BAD} == set(), printed


def test_a_damaged_version_is_told_without_them(
    run: Callable[[Sequence[str]], str], made: tuple[str, list[SyntheticVersion]]
) -> None:
    store = open_store(made[0])
    path = made[1][1].manifest.splits["train"].shards[0].path
    data = bytes(store.get(path).data)
    store.put(path, data[:-1])
    try:
        printed = run(["verify", made[0], "--verbose"])
    finally:
        store.put(path, data)
    assert "`--repair` cannot" in printed
    assert {character for character in printed if character in BAD} == set()


def test_what_a_line_shows_is_only_what_prints() -> None:
    assert one_line(f"a{EVIL}b\n") == "a\\x1b[2J\\x1b]0;owned\\x07\\x9b31m\\r\\x08\\u202eb\\n"
    assert one_line("Ä 写真 🐈") == "Ä 写真 🐈"


def test_who_logs_already_keeps_the_logging_as_it_is() -> None:
    from aesthetics_ops.shell import log_to_stderr

    before = list(logging.root.handlers)
    assert before, "pytest has its own"
    log_to_stderr(logging.INFO)
    assert logging.root.handlers == before
