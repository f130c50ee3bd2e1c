"""A sandbox of Airflow that is gone afterwards."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from demo.sandbox import Sandbox, open_sandbox
from tests.support.paths import ROOT

__all__ = ["passing_sandbox"]


@contextmanager
def passing_sandbox(name: str) -> Iterator[Sandbox]:
    """Open a sandbox as `make shell` does, with a fresh metadata database and the samples in its bucket; delete it at the end."""
    try:
        with open_sandbox(name) as opened:
            yield opened
    finally:
        shutil.rmtree(ROOT / ".sandbox" / name, ignore_errors=True)
