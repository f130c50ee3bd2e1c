"""The group `labels`: what it takes to read a file of scores, beside the bare library for its format.

In: a folder for the files.  Out: jobs.
The files are made before the first job, and stay in `.bench/labels` for the next run.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from jobs import Job
from score_files import KINDS, make_score_file

__all__ = ["LABELS", "QUICK_LABELS", "LabelSizes", "label_jobs"]

HERE: Final = Path(__file__).parent
LABELS: Final = "labels"
_LARGE_KINDS: Final = ("scores.csv", "scores.parquet")
_SMALL_ROWS: Final = 100


@dataclass(frozen=True, slots=True)
class LabelSizes:
    """How many rows the files have.

    Attributes:
        rows: of every kind; as many as AVA.txt.
        large_rows: of CSV and Parquet, read once.
    """

    rows: int = 255_530
    large_rows: int = 10_000_000


QUICK_LABELS: Final = LabelSizes(rows=300, large_rows=1_000)


def label_jobs(folder: Path, sizes: LabelSizes) -> Iterator[Job]:
    """Make the files, and give the jobs that read them."""
    for kind in KINDS:
        small = make_score_file(folder, kind, _SMALL_ROWS)
        for who in ("ours", "bare"):
            yield _job(who, kind, make_score_file(folder, kind, sizes.rows), small, sizes.rows, 1000)
        if kind in _LARGE_KINDS:
            for who in ("ours", "bare"):
                yield _job(who, kind, make_score_file(folder, kind, sizes.large_rows), small, sizes.large_rows, 1)


def _job(who: str, kind: str, path: Path, small: Path, rows: int, most_rounds: int) -> Job:
    command = (sys.executable, str(HERE / "read_labels.py"), who, str(path.resolve()), str(small.resolve()))
    name = f"read {kind} {rows} {who}"
    return Job(name, frozenset({LABELS}), rows, command, prints_costs=True, most_rounds=most_rounds)
