"""Votes: how many people gave a photo each rating, and what follows from it.

In: columns of counts, one for each rating, or rows of single votes.  Out: means, shares, and what is wrong with a row.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from aesthetics_ops.sources.labels.parsing import UNCERTAIN_COMMA, has_uncertain_comma, to_numbers

__all__ = ["PhotoVotes", "RatedVotes", "count_votes", "rate_counts", "read_counts", "whole_ratings"]

_MOST_RATINGS: Final = 100
_LARGEST: Final = 2.0**53  # of a count; above it float64 has gaps


@dataclass(frozen=True, slots=True)
class RatedVotes:
    """What the votes of each row amount to: Arrow arrays of one length.

    Attributes:
        score: float64, mean of the ratings, null where there is a problem.
        problem: string, null where there is none.
        shares: fixed-size lists of float32, one share per rating; null where there is a problem.
        votes: int64, how many there are; null where there is a problem, and where the counts are shares.
        counts: fixed-size lists of int64, one count per rating; null likewise.
        deviation: float64, population standard deviation of the ratings; null where there is a problem.
    """

    score: Any
    problem: Any
    shares: Any
    votes: Any
    counts: Any
    deviation: Any


@dataclass(frozen=True, slots=True)
class PhotoVotes:
    """Single votes put together, photo by photo, in the order in which photos come first.

    Attributes:
        row: int64, of the photo's first vote.
        name: string.
        counts: float64, shape (photos, ratings).
        problem: string, null where every vote is one of the ratings.
        photo: the photo that each vote is for, int64, shape (votes,).
    """

    row: Any
    name: Any
    counts: np.ndarray
    problem: Any
    photo: np.ndarray


def read_counts(columns: Sequence[Any]) -> tuple[np.ndarray, Any]:
    """Read one column of text or numbers per rating.

    Returns:
        Counts or shares, float64, shape (rows, ratings), and the problem of each row that has something else.
    """
    counts = np.empty((len(columns[0]), len(columns)))
    for place, column in enumerate(columns):
        counts[:, place] = np.asarray(to_numbers(column))  # null becomes NaN
    bad = ~np.isfinite(counts)
    problem = pa.nulls(len(counts), pa.string())
    for place in np.flatnonzero(bad.any(axis=0)).tolist():
        found = pc.fill_null(columns[place].cast(pa.string()), "")
        text = pc.utf8_slice_codeunits(pc.utf8_trim_whitespace(found), 0, 40)
        why = pc.if_else(has_uncertain_comma(text), UNCERTAIN_COMMA, "is not a number")
        said = pc.binary_join_element_wise("vote count '", text, "' ", why, "")
        said = pc.if_else(pc.equal(text, ""), "vote count is missing", said)
        problem = pc.coalesce(problem, pc.if_else(pa.array(bad[:, place]), said, pa.scalar(None, pa.string())))
    return np.where(bad, 0, counts), problem


def rate_counts(counts: np.ndarray, values: Sequence[float], problem: Any) -> RatedVotes:
    """Return means, shares, whole counts and deviations.

    Args:
        counts: votes, or shares of them, per rating; shape (rows, ratings).
        values: the ratings.
        problem: what is known to be wrong with rows: strings or nulls.
    """
    total = counts.sum(axis=1)
    reasons = np.select([(counts < 0).any(axis=1), total == 0, (counts > _LARGEST).any(axis=1)], [1, 0, 2], default=-1)
    found = pa.array(["no votes", "negative vote count", "vote count above 2**53"])
    problem = pc.coalesce(problem, found.take(pa.array(reasons, mask=reasons < 0)))
    invalid = np.asarray(pc.is_valid(problem))
    counts = np.where(invalid[:, np.newaxis], 0, counts)
    shares = counts / np.where(invalid, 1, total)[:, np.newaxis]
    mean = (counts @ np.asarray(values, np.float64)) / np.where(invalid, 1, total)
    unknown = invalid | (counts != np.floor(counts)).any(axis=1)
    votes = pa.array(np.where(unknown, 0, total).astype(np.int64), mask=unknown)
    spread = ((np.asarray(values, np.float64) - mean[:, np.newaxis]) ** 2 * shares).sum(axis=1)
    return RatedVotes(
        pa.array(mean, mask=invalid),
        problem,
        _lists(shares.astype(np.float32), invalid),
        votes,
        _lists(counts.astype(np.int64), unknown),
        pa.array(np.sqrt(spread), mask=invalid),
    )


def _lists(values: np.ndarray, is_null: np.ndarray) -> Any:
    """Fixed-size lists of the rows of an array, null where said."""
    values = np.where(is_null[:, np.newaxis], 0, values)
    return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1], mask=pa.array(is_null))


def count_votes(row: Any, name: Any, vote: Any, values: Sequence[float]) -> PhotoVotes:
    """Put single votes together.

    Args:
        row: int64, where each vote stands.
        name: string, the photo it is for.
        vote: text or numbers.
        values: the ratings that there are; another vote is a problem of its photo.
    """
    name = pc.utf8_trim_whitespace(pc.fill_null(name, ""))
    name = name.combine_chunks() if isinstance(name, pa.ChunkedArray) else name
    encoded = (name.chunk(0) if isinstance(name, pa.ChunkedArray) else name).dictionary_encode()
    photo = np.asarray(encoded.indices)
    photos = len(encoded.dictionary)
    numbers = np.asarray(to_numbers(vote, max(values)))
    ratings = np.asarray(values, np.float64)
    order = np.argsort(ratings)
    place = order[np.minimum(np.searchsorted(ratings[order], numbers), len(ratings) - 1)]
    good = ratings[place] == numbers
    counts = np.bincount(photo[good] * len(ratings) + place[good], minlength=photos * len(ratings))
    first = np.unique(photo, return_index=True)[1]
    return PhotoVotes(
        row=pc.take(row, pa.array(first)),
        name=encoded.dictionary,
        counts=counts.reshape(photos, len(ratings)).astype(np.float64),
        problem=_odd_votes(vote, row, photo, ~good, photos, values),
        photo=photo,
    )


def _odd_votes(vote: Any, row: Any, photo: np.ndarray, bad: np.ndarray, photos: int, values: Sequence[float]) -> Any:
    """The first vote of each photo that is none of the ratings, in words; null where there is none."""
    problem: list[str | None] = [None] * photos
    where = np.flatnonzero(bad)[::-1]
    texts = pc.take(vote, pa.array(where)).cast(pa.string()).to_pylist()
    lines = pc.take(row, pa.array(where)).to_pylist()
    rule = f"one of the {len(values)} ratings {min(values):g} to {max(values):g}"
    for place, text, line in zip(photo[where], texts, lines, strict=True):
        shown = "a vote that is missing" if not text else f"vote {text[:40]!r}, which is not {rule}"
        problem[place] = f"row {line} has {shown}"
    return pa.array(problem, pa.string())


def whole_ratings(low: float | None, high: float | None) -> tuple[float, ...]:
    """Return the whole numbers from one to the other; none where one of them is unknown or no whole number, or they are too many."""
    if low is None or high is None or not (low.is_integer() and high.is_integer() and high - low < _MOST_RATINGS):
        return ()
    return tuple(float(rating) for rating in range(int(low), int(high) + 1))
