"""What has to be said about scores that may be something else: counts of votes, or votes of a smaller range.

In: names of columns and some of their values.  Out: a note that follows the file's name, or nothing.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from aesthetics_ops.sources.labels.fitting import Sample
from aesthetics_ops.sources.labels.layout import squeeze
from aesthetics_ops.sources.labels.numbered import in_setting, numbered_alike
from aesthetics_ops.sources.labels.parsing import to_numbers

__all__ = ["doubt_of_counts", "doubt_of_name", "doubt_of_ratings", "doubt_of_sum", "doubt_of_weights"]

_FEWEST_COLUMNS: Final = 3  # of counts; two that add up are a score and its complement, more often
_FEWEST_ROWS: Final = 5
_MOST_BESIDE: Final = 20  # columns on each side that are looked at
_NEAR: Final = 0.1  # of the middle sum
_WEIGHTS: Final = ("weight", "weights", "voteweight", "userweight")
_MANY_VOTES: Final = 30  # of which the highest says something


def doubt_of_name(names: Sequence[str], name: str, scores: Any) -> str | None:
    """Say that scores look like counts of votes by the name of their column; None where they do not.

    Args:
        names: of all columns.
        name: of the score's.
        scores: text or numbers, Arrow.
    """
    alike = _alike(names, name)
    if len(alike) < _FEWEST_COLUMNS:
        return None
    numbers = np.asarray(to_numbers(scores))
    if not len(numbers) or not (np.isfinite(numbers) & (numbers >= 0) & (numbers == np.floor(numbers))).all():
        return None
    return (
        f"has whole numbers in {name!r}, one of {len(alike)} columns that differ in their number: it looks like a count of "
        f"votes, not a score; set vote_columns to {in_setting(alike)} if it is"
    )


def doubt_of_sum(names: Sequence[str], score: int, taken: Sequence[int], sample: Sample) -> str | None:
    """Say that scores look like counts of votes because the columns beside them add up to one number; None where they do not.

    The columns are the score's and those beside it, without a gap, whose first rows are all whole numbers, not all the same.

    Args:
        names: of all columns.
        score: position of the score's.
        taken: positions of columns with another use.
        sample: of the file.
    """
    places = [place for place in range(score - _MOST_BESIDE, score + _MOST_BESIDE + 1) if 0 <= place < len(names)]
    if len(_alike(names, names[score])) >= _FEWEST_COLUMNS:
        return None  # the name says it
    if len(places) < _FEWEST_COLUMNS or _counts(sample([score])[0]) is None:
        return None
    found = zip(places, sample(places), strict=True)
    counts = {place: numbers for place, values in found if (numbers := _counts(values)) is not None}
    run = _run(score, {place: numbers for place, numbers in counts.items() if place not in taken})
    if len(run) < _FEWEST_COLUMNS:
        return None
    run = [place for place in run if place == score or not _is_total(place, run, counts)]
    sums = np.sum([counts[place] for place in run], axis=0)
    middle = float(np.median(sums))
    if np.mean(np.abs(sums - middle) <= _NEAR * middle) < 1 - _NEAR:
        return None
    alike = ", ".join(names[place] for place in run)
    return (
        f"has whole numbers in {names[score]!r}, and with those of the columns beside it they add up to about {middle:g} in each row: it "
        f"looks like a count of votes, not a score; set vote_columns to {alike} if it is"
    )


def doubt_of_ratings(kind: str | None, ratings: Sequence[float], counts: np.ndarray) -> str | None:
    """Say that single votes may have a smaller range than their kind has; None where they use more than half of it.

    Args:
        kind: its name.
        ratings: that there can be.
        counts: of the votes for each, shape (photos, ratings).
    """
    votes = counts.sum(axis=0)
    given = [rating for rating, count in zip(ratings, votes.tolist(), strict=True) if count]
    low, high = min(ratings), max(ratings)
    if votes.sum() < _MANY_VOTES or max(given) > (low + high) / 2:
        return None
    return (
        f"was taken for {kind}, from {low:g} to {high:g}, but none of its {votes.sum():.0f} votes is above {max(given):g}; set "
        f"label_max to {max(given):g}, if that is the most there can be"
    )


def doubt_of_counts(ratings: Sequence[float], counts: np.ndarray) -> str | None:
    """Say that counts look like single votes; None where they do not.

    Args:
        ratings: that there can be.
        counts: of the votes for each, shape (photos, ratings).
    """
    filled = counts[counts.any(axis=1)]
    if len(filled) < _FEWEST_ROWS or not np.isin(filled, ratings).all() or not filled.all():
        return None
    return (
        f"has nothing but ratings from {min(ratings):g} to {max(ratings):g} as counts of votes, and no 0, as where each is one person's "
        "vote; such files are read with one row for each vote, and one_row_per_vote"
    )


def doubt_of_weights(names: Sequence[str]) -> str | None:
    """Say that single votes have weights, which are not used; None where they have none."""
    found = next((name for name in names if squeeze(name) in _WEIGHTS), None)
    return None if found is None else f"has a column {found!r}, which is not used: each row counts as one vote"


def _alike(names: Sequence[str], name: str) -> list[str]:
    """Return the names that differ from one in a number alone, in its order; none where it has no number."""
    return next((alike for alike in numbered_alike(names) if name in alike), [])


def _counts(values: Sequence[Any]) -> Any:
    """Return the values as numbers if all are whole, none is negative, and they are not all the same; else None."""
    try:
        numbers = np.array([float(value) for value in values])
    except (TypeError, ValueError, OverflowError):
        return None
    if len(numbers) < _FEWEST_ROWS or not np.isfinite(numbers).all() or numbers.min() < 0:
        return None
    return numbers if (numbers == np.floor(numbers)).all() and numbers.min() < numbers.max() else None


def _is_total(place: int, run: Sequence[int], counts: Mapping[int, Any]) -> bool:
    """Whether a column holds the sum of the others."""
    others = np.sum([counts[other] for other in run if other != place], axis=0)
    return bool(np.array_equal(others, counts[place]))


def _run(score: int, counts: Mapping[int, Any]) -> list[int]:
    """Return the positions around the score's that follow each other."""
    first = last = score
    while first - 1 in counts:
        first -= 1
    while last + 1 in counts:
        last += 1
    return list(range(first, last + 1))
