"""What CONTRIBUTING.md names is there, and what pre-commit runs is what `make check` runs."""

import re
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()


def test_every_file_that_a_contributor_is_sent_to_is_there() -> None:
    named = re.findall(r"(?:`|\]\()((?:aesthetics_ops|tests|docs)/[\w/.]+|[A-Z]+\.md)", CONTRIBUTING)
    assert len(named) > 20
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_every_entry_that_a_contributor_is_sent_to_is_there() -> None:
    entries = "".join(re.findall(r"^- Entry: .+$", CONTRIBUTING, re.MULTILINE))
    named = re.findall(r"`([A-Za-z_]+)`", entries)
    assert len(named) >= 9
    package = "\n".join(path.read_text() for path in (ROOT / "aesthetics_ops").rglob("*.py"))
    assert [name for name in named if not re.search(rf"^(def )?{name}\b", package, re.MULTILINE)] == []


def test_pre_commit_runs_what_make_check_runs() -> None:
    (repository,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    check = re.search(r"^check:.*\n((?:\t.+\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert check is not None
    commands = [line.strip().replace("$(BIN)", ".venv/bin") for line in check[1].splitlines()]
    assert [hook["entry"] for hook in repository["hooks"]] == commands
