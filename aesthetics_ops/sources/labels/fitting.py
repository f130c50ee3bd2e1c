"""Whether the values of a file are those of the kind whose columns it has.

In: a kind, and the first rows of its columns.  Out: why the file is of another kind, or nothing.
Columns such as `image_id`, `user_id` and `score` are in many files; taken for another kind, they give wrong labels.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from aesthetics_ops.sources.labels.judging import SPLITS_BY_NAME
from aesthetics_ops.sources.labels.layout import Layout, squeeze

__all__ = ["SAMPLE_ROWS", "Sample", "find_misfit", "find_set", "find_splits"]

SAMPLE_ROWS: Final = 500
"""Rows from the first that are looked at."""

Sample: TypeAlias = Callable[[Sequence[int]], Sequence[Sequence[Any]]]
"""Returns the values of columns, by their positions, in up to SAMPLE_ROWS rows: text, numbers or None."""

_SET: Final = "set"  # the column that names the split in files of known kinds, AVA's and KonIQ-10k's
_SPLITS: Final = ("split", "set", "subset", "partition", "datasplit", "dataset")
_FEWEST: Final = 5  # rows of which something can be said
_TOTALS: Final = (1.0, 100.0)  # of shares


def find_misfit(layout: Layout, places: Mapping[str, int], sample: Sample) -> str | None:
    """Return why a file with the columns of a kind is not of it; None where it may be.

    A few odd rows are problems of theirs, so what counts is what most of the rows have.

    Args:
        layout: the kind.
        places: position of each column by its squeezed name.
        sample: of the file.
    """
    if layout.votes:
        return _misfit_of_counts(layout, places, sample)
    if layout.score is not None:
        (scores,) = sample([places[squeeze(layout.score)]])
        odd = _misfit_of_votes(layout, scores) if layout.ratings else _misfit_of_scores(layout, scores)
        if odd is not None:
            return odd
    if _SET in layout.needs:
        (splits,) = sample([places[_SET]])
        known = _are_splits(splits)
        return None if _most(known) else f"{_SET} {_first(splits, known)} is no split"
    return None


def find_set(places: Mapping[str, int], sample: Sample) -> int | None:
    """Return the place of the column `set` of a file of a known kind, where most of its rows name a split; else None.

    Args:
        places: position of each column by its squeezed name.
        sample: of the file.
    """
    if (place := places.get(_SET)) is None:
        return None
    (splits,) = sample([place])
    return place if _most(_are_splits(splits)) else None


def find_splits(columns: Sequence[str], sample: Sample) -> int | None:
    """Return the place of a column with a usual name for splits, where most of its rows name one; else None."""
    for place in (place for place, name in enumerate(columns) if squeeze(name) in _SPLITS):
        (splits,) = sample([place])
        if splits and _most(_are_splits(splits)):
            return place
    return None


def _are_splits(found: Sequence[Any]) -> list[bool]:
    return [str(split).strip().casefold() in SPLITS_BY_NAME for split in found]


def _misfit_of_votes(layout: Layout, votes: Sequence[Any]) -> str | None:
    good = [_number(vote) in layout.ratings for vote in votes]
    rule = f"one of the {len(layout.ratings)} ratings {min(layout.ratings):g} to {max(layout.ratings):g}"
    return None if _most(good) else f"{layout.score} {_first(votes, good)} is not {rule}"


def _misfit_of_scores(layout: Layout, scores: Sequence[Any]) -> str | None:
    low, high = layout.range or (-math.inf, math.inf)
    numbers = [_number(score) for score in scores]
    good = [number is not None and low <= number <= high for number in numbers]
    rule = "a number" if layout.range is None else f"a number from {low:g} to {high:g}"
    return None if _most(good) else f"{layout.score} {_first(scores, good)} is not {rule}"


def _misfit_of_counts(layout: Layout, places: Mapping[str, int], sample: Sample) -> str | None:
    filled = [
        row
        for row in zip(*sample([places[squeeze(name)] for name in layout.votes]), strict=True)
        if any(map(_is_filled, row))
    ]
    rows = [[_number(value) for value in row] for row in filled]
    good = [_are_counts(row) for row in rows]
    if not _most(good):
        names = list(layout.votes)
        shown = ", ".join(str(value)[:12] for value in filled[good.index(False)])
        return f"{names[0]} to {names[-1]} have {shown}, which are neither counts nor shares"
    ratings = [*layout.votes.values()]
    whole = [row for row, is_good in zip(rows, good, strict=True) if is_good]
    if len(whole) >= _FEWEST and all(value in ratings for row in whole for value in row):
        return (
            f"every value of its columns of votes is a rating from {min(ratings):g} to {max(ratings):g}, and none is 0, as where "
            "each column is one person's vote"
        )
    return _misfit_of_mean(layout, places, sample)


def _misfit_of_mean(layout: Layout, places: Mapping[str, int], sample: Sample) -> str | None:
    """Compare the counts with the mean that a file of this kind has beside them."""
    if layout.mean is None or (place := places.get(squeeze(layout.mean))) is None:
        return None
    means, *columns = sample([place, *(places[squeeze(name)] for name in layout.votes)])
    near, shown = [], ""
    for said, *row in zip(*(map(_number, column) for column in (means, *columns)), strict=True):
        counts = [value for value in row if value is not None]
        if said is None or len(counts) < len(row) or sum(counts) <= 0:
            continue
        mean = sum(count * rating for count, rating in zip(counts, layout.votes.values(), strict=True)) / sum(counts)
        near.append(abs(mean - said) < 0.1)
        shown = shown or ("" if near[-1] else f"the mean of its votes is {mean:.3g}, but {layout.mean} is {said:.3g}")
    return None if _most(near) else shown


def _are_counts(row: Sequence[float | None]) -> bool:
    """Whether a row may be counts, or shares of them; with a value missing or negative it may be, as a row with a mistake."""
    values = [value for value in row if value is not None]
    if len(values) < len(row) / 2 or not all(map(math.isfinite, values)):
        return False
    if all(value.is_integer() for value in values):
        return sum(value < 0 for value in values) <= 1
    return any(abs(sum(values) - total) < total / 50 for total in _TOTALS)


def _is_filled(value: Any) -> bool:
    return value is not None and (not isinstance(value, str) or value.strip() != "")


def _most(good: Sequence[bool]) -> bool:
    """Whether at least half of the rows are good; of no rows nothing is said."""
    return 2 * sum(good) >= len(good)


def _first(values: Sequence[Any], good: Sequence[bool]) -> str:
    """Return the first value that is not good, as messages show it."""
    return repr(str(values[good.index(False)])[:40])


def _number(value: Any) -> float | None:
    try:
        return float(value.strip().replace(",", ".") if isinstance(value, str) else value)
    except (TypeError, ValueError, OverflowError):
        return None
