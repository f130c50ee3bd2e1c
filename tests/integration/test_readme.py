"""The README's first screen, run as a newcomer would."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")

SHOW = """
for each in (images, labels):
    dtype = getattr(each.dtype, "name", str(each.dtype).removeprefix("torch."))
    print(dtype, tuple(each.shape), end=", " if each is images else chr(10))
"""


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def output() -> str:
    """What the first shell block prints."""
    env = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-ec", blocks("sh")[0]], cwd=ROOT, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_commands_end_well_and_print_what_the_readme_shows(output: str) -> None:
    shown = [line for line in blocks("")[0].splitlines() if line]
    printed = [" ".join(line.split()) for line in output.splitlines()]
    assert [line for line in shown if " ".join(line.split()) not in printed] == []


def test_the_second_night_rebuilt_only_what_was_touched(output: str) -> None:
    nights = re.findall(r"(\d+): (\d+) new, (\d+) reused", output.split("On disk")[0])
    (total, built, reused), (total_2, built_2, reused_2) = [tuple(map(int, night)) for night in nights]
    assert (built, reused) == (total, 0)
    assert 1 <= built_2 <= 3
    assert reused_2 == total_2 - built_2


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Where the first Python block built its dataset, and what it printed."""
    directory = tmp_path_factory.mktemp("readme")
    return directory, run_python(blocks("python")[0], directory)


def run_python(script: str, directory: Path) -> str:
    here = script.replace("/tmp/aesthetics/", f"{directory}/")  # noqa: S108
    done = subprocess.run([sys.executable, "-c", here], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_python_example_builds_and_reads_a_batch_as_it_stands(built: tuple[Path, str]) -> None:
    directory, printed = built
    script = blocks("python")[0]
    assert script.count("\n") <= 10
    assert script.endswith(f"  # {printed}")
    assert (directory / "dataset" / "LATEST.json").exists()


@pytest.mark.parametrize(("number", "reader"), [(1, ".tf("), (2, ".torch(")])
def test_three_lines_lead_to_a_batch(built: tuple[Path, str], number: int, reader: str) -> None:
    script = blocks("python")[number]
    assert reader in script
    assert len([line for line in script.splitlines() if line]) == 3
    printed = run_python(f"{script}\n{SHOW}", built[0])
    assert script.endswith(f"  # {printed}")


def test_every_file_that_the_readme_links_to_is_there() -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", README)
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_the_first_screen_is_at_most_40_lines() -> None:
    assert README.split("\n## ")[0].count("\n") <= 41
