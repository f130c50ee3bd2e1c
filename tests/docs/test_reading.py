"""docs/reading.md names every choice there is for pixels."""

import dataclasses
from typing import get_args

import pytest

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
