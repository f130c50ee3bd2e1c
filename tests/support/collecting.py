"""Which tests a plain `pytest` leaves out."""

from pathlib import Path

import pytest


def left_out_unless_named(directory: Path, config: pytest.Config) -> bool | None:
    """Answer `pytest_ignore_collect` of a directory: True unless the command line names it, or something in it."""
    start = config.invocation_params.dir
    asked = [(start / argument.partition("::")[0]).resolve() for argument in config.args]
    return None if any(path.is_relative_to(directory) for path in asked) else True
