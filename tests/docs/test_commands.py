"""Commands stand in the pages as they are: `make` has the targets, and no command or setting goes unnamed."""

import re

import pytest

from aesthetics_ops.cli import main
from aesthetics_ops.settings import BuildSettings
from tests.support.paths import ROOT

PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in (*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), ROOT / "benchmarks/README.md")
}
CODE = re.compile(r"```(?s:.*?)```|`[^`\n]+`|^ {4}.*$", re.MULTILINE)


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(arguments) == 0
    return capsys.readouterr().out


def test_every_file_of_this_project_that_a_page_names_is_there() -> None:
    folders = "aesthetics_ops|benchmarks|dags|demo|deploy|docs|plugins|samples|tests"
    named = {
        (page, file)
        for page, text in PAGES.items()
        for file in re.findall(rf"(?<![\w/.-])((?:{folders})/[\w./-]*\w)(?![\w/*<{{-])", text)
    }
    assert len(named) > 50
    assert [(page, file) for page, file in sorted(named) if not (ROOT / file).exists()] == []


def test_make_has_every_target_that_a_page_names() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {
        (page, target)
        for page, text in PAGES.items()
        for code in CODE.findall(text)
        for target in re.findall(r"\bmake ([a-z][a-z-]*)", code)
    }
    assert len(named) > 10
    assert {(page, target) for page, target in named if target not in targets} == set()


def test_the_readme_names_every_command_and_no_page_names_another(capsys: pytest.CaptureFixture[str]) -> None:
    commands = set(re.findall(r"^    ([a-z]+)  ", printed(capsys, "--help"), re.MULTILINE))
    assert {"build", "pull", "versions"} <= commands
    called = {
        word
        for text in PAGES.values()
        for word in re.findall(r"\baesthetics-ops ([a-z]+)", "".join(CODE.findall(text)))
    }
    assert called <= commands
    in_readme = called | {code.strip("`") for code in CODE.findall(PAGES["README.md"])}
    assert commands - in_readme == set()


def test_the_help_explains_every_setting(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "10000")
    shown = printed(capsys, "build", "--help")
    for name, field in BuildSettings.model_fields.items():
        assert f"--{name.replace('_', '-')}" in shown
        assert field.description is not None
        assert field.description.replace("%", "") in shown.replace("%", ""), name
