"""What a trial found: how often each kind came, and which cases are wrong.  Prints as it goes, so who ends it early has read the most."""

# ruff: noqa: T201 -- a command that prints its findings
from collections import Counter
from collections.abc import Iterable

__all__ = ["Tally"]


class Tally:
    """The findings so far.

    Attributes:
        kinds: how many cases there were of each kind.
        bad: cases that are wrong.
    """

    def __init__(self) -> None:
        self.kinds: Counter[str] = Counter()
        self.bad = 0

    def note(self, case: object, kind: str, wrong: Iterable[str]) -> None:
        """Count a case; one that is wrong is printed with what is wrong of it."""
        found = list(wrong)
        self.kinds[kind] += 1
        self.bad += bool(found)
        if found:
            print(case, *found, sep="; ", flush=True)

    def tell(self) -> None:
        """Print how many cases there were of each kind."""
        for kind, count in sorted(self.kinds.items()):
            print(f"{kind}: {count}")
