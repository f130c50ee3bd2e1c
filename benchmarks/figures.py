"""Figures of several rounds as text: medians with their range, targets, Markdown tables.

In: samples of the benchmark.  Out: what its pages are made of.
Pure.  A ratio is taken inside each round, between runs that followed each other, and then its median, smallest and
largest are shown: `1.20 (1.15..1.31)`.
"""

import re
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

__all__ = [
    "Results",
    "Sample",
    "Spread",
    "Target",
    "at_least",
    "at_most",
    "failed_runs",
    "headline",
    "last_line",
    "short",
    "table",
]

Sample = Mapping[str, Any]
_EXCEPTION: Final = re.compile(r"[\w.]*(Error|Exception|Exit)\b")


@dataclass(frozen=True, slots=True)
class Spread:
    """Some values of one quantity.

    Attributes:
        median, low, high: of them; low and high are the smallest and the largest.
    """

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread | None":
        """Sum up values; None where there is none."""
        return cls(statistics.median(values), min(values), max(values)) if values else None

    def __str__(self) -> str:
        return f"{short(self.median)} ({short(self.low)}..{short(self.high)})"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table; every column but the first is aligned right."""
    rule = ["---", *("---:" for _ in head[1:])]
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, rule, *rows)) + "\n"


class Results:
    """Samples by job and round, without those that failed."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.sizes = document["sizes"]
        self.peers = [name for name in document["peers"] if name not in document["absent"]]
        self._samples: dict[str, dict[int, Sample]] = {}
        for sample in document["samples"]:
            if not sample["error"]:
                self._samples.setdefault(sample["job"], {})[sample["round"]] = sample

    def has(self, *jobs: str) -> bool:
        """Tell whether all these jobs ran."""
        return all(job in self._samples for job in jobs)

    def spread(self, jobs: Sequence[str], value: Callable[..., float]) -> Spread | None:
        """Sum up a value that is computed from one sample of each job, all of the same round."""
        if not jobs or not self.has(*jobs):
            return None
        rounds = set.intersection(*(set(self._samples[job]) for job in jobs))
        return Spread.of([value(*(self._samples[job][number] for job in jobs)) for number in sorted(rounds)])

    def runs(self, job: str) -> list[Sample]:
        """Return a job's samples."""
        return list(self._samples.get(job, {}).values())

    def on(self, cores: int) -> str:
        """Return what the names of jobs on so many cores end with; nothing where that is all of them."""
        return f" @{cores}" if cores < self.sizes["cores"] else ""

    def buckets(self, photo_set: str) -> tuple[str, str]:
        """Return the names of a set's large bucket and its small one."""
        large, small = self.sizes[photo_set]
        return f"{photo_set}-{large}x1", f"{photo_set}-{small}x1"


@dataclass(frozen=True, slots=True)
class Target:
    """One target and what was found.

    Attributes:
        what, wanted: in words.
        found: values of several rounds.
        is_met: None where nothing was promised.
        limit: what the bare codec and GETs would reach.
    """

    what: str
    wanted: str
    found: Spread
    is_met: bool | None
    limit: Spread | None = None

    @property
    def verdict(self) -> str:
        """One word for the table."""
        return {True: "met", False: "**missed**", None: ""}[self.is_met]

    @property
    def shrinks(self) -> str:
        """Say by how much it was missed; nothing where it was met."""
        return f"{self.what}: wanted {self.wanted}, found {self.found}." if self.is_met is False else ""


def at_most(
    what: str, most: float, found: Spread | None, unit: str = "", limit: Spread | None = None
) -> Iterator[Target]:
    """Give the target that the median is at most so much, if there is anything to compare."""
    if found:
        yield Target(what, f"at most {short(most)}{unit}", found, found.median <= most, limit)


def at_least(what: str, least: float, found: Spread | None, limit: Spread | None = None) -> Iterator[Target]:
    """Give the target that the median is at least so much, if there is anything to compare."""
    if found:
        yield Target(what, f"at least {short(least)}", found, found.median >= least, limit)


def headline(document: Mapping[str, Any], file: str) -> str:
    """Say when and where the samples of a document were taken, and of which code."""
    machine = document["machine"]
    commit = f" at commit {machine['commit']}" if "commit" in machine else ""
    versions = ", ".join(f"{name} {number}" for name, number in document["versions"].items())
    return (
        f"`make bench` on {machine['date']}{commit}: {machine['cpu']}, {machine['memory']}, {machine['system']}, Python "
        f"{machine['python']}; {versions}. {document['rounds']} rounds; what each row is stands in [README.md](README.md), every "
        f"run in [{file}]({file}).\n"
    )


def failed_runs(document: Mapping[str, Any]) -> list[str]:
    """Return a section about the runs that failed; nothing where there were none."""
    failed = [sample for sample in document["samples"] if sample["error"]]
    lines = [f"- {sample['job']}, round {sample['round'] + 1}: {last_line(sample['error'])}" for sample in failed]
    return ["### Failed runs\n", "\n".join(lines) + "\n"] if lines else []


def last_line(text: str) -> str:
    """Return the line of a log that says what went wrong: an exception's, or else the last with words in it."""
    lines = [line.strip() for line in text.splitlines() if any(map(str.isalpha, line))] or ["no message"]
    exceptions = [line for line in lines if _EXCEPTION.match(line)]
    return (exceptions or lines)[-1][:300].replace("|", "\\|")


def short(number: float) -> str:
    """Return a number with three digits that matter."""
    if abs(number) >= 100:
        return f"{number:,.0f}"
    return f"{number:.1f}" if abs(number) >= 10 else f"{number:.2f}"
