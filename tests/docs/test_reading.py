"""docs/reading.md names every option of a reader, and every choice there is for pixels."""

import dataclasses
from typing import get_args

import pytest

from aesthetics_ops.readers.dataset import READERS
from aesthetics_ops.readers.options import ReadOptions
from aesthetics_ops.readers.pixels import Antialias, Fit, Pixels
from tests.support.paths import ROOT

PAGE = (ROOT / "docs" / "reading.md").read_text()


@pytest.mark.parametrize("choice", [*get_args(Fit), *get_args(Antialias)])
def test_every_choice_has_a_row(choice):
    assert any(line.startswith(f"| `{choice}`") for line in PAGE.splitlines())


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(Pixels)])
def test_every_setting_is_named(name):
    assert f"`{name}`" in PAGE or f"`{name}=" in PAGE


def test_the_defaults_are_called_so():
    pixels = Pixels()
    assert f"| `{pixels.fit}` (default) |" in PAGE
    assert f"| `{pixels.antialias}` (default) |" in PAGE


@pytest.mark.parametrize("name", ReadOptions.__annotations__)
def test_every_option_has_a_row(name):
    assert any(f"`{name}`" in line.split("|")[1] for line in PAGE.splitlines() if line.startswith("| "))


@pytest.mark.parametrize("name", READERS)
def test_every_reader_is_called_once_at_least(name):
    assert f"dataset.{name}(" in PAGE
