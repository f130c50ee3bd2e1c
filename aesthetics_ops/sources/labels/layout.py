"""What is known about the columns of a kind of score file, whether it comes as CSV, JSON, Parquet or Excel."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

__all__ = ["Layout", "squeeze"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """The columns of one kind of score file.  Names are compared as `squeeze` returns them.

    Attributes:
        name: what messages and the manifest call it; unique.
        needs: names that a file of this kind has, beside those below.
        id: columns that name the photo; of several, the values with a slash between.  Empty: found as in any file.
        score: the score's column; None where votes make it.
        votes: columns of counts, and the rating that each counts the votes for.
        ratings: of single votes: the score's column holds one person's vote, and these are all there can be.
        range: lowest and highest score, where votes do not say it.
        mean: column with the mean of the votes, which files of this kind may have; the counts have to agree with it.
        rows_alike: returns the names of the columns where a first row without a header is of this kind, else None.
    """

    name: str
    needs: tuple[str, ...] = ()
    id: tuple[str, ...] = ()
    score: str | None = None
    votes: Mapping[str, float] = field(default_factory=dict)
    ratings: tuple[float, ...] = ()
    range: tuple[float, float] | None = None
    mean: str | None = None
    rows_alike: Callable[[Sequence[str]], Sequence[str] | None] = lambda _: None

    def is_in(self, names: Mapping[str, int]) -> bool:
        """Whether a file with these squeezed names is of this kind."""
        wanted = (*self.needs, *self.id, *self.votes, *(() if self.score is None else (self.score,)))
        return all(squeeze(name) in names for name in wanted)


def squeeze(name: str) -> str:
    """Return a column's name without what files of one kind write differently: case, blanks, _ and -, and 1.0 for 1."""
    return re.sub(r"(\d)\.0$", r"\1", re.sub(r"[\s_-]+", "", name.casefold()))
