"""Votes that stand in one cell: a list of counts as text, or an object of ratings and counts.

In: a column of text such as `[1, 0, 4]`, `1 0 4` or `{"1": 1, "3": 4}`.  Out: counts, one for each rating, and what is wrong.
"""

import ast
import json
import math
import re
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa

from aesthetics_ops.parsing import RepeatedNameError, each_name_once
from aesthetics_ops.sources.labels.file import LabelFile

__all__ = ["mixes_votes", "rated_in", "ratings_in_cells", "read_cells"]

_SIGNS: Final = ";|,"  # between counts; of those that are there the first: a comma may be a decimal point then
_LONGEST: Final = 10_000  # characters of a cell that is looked at
_MOST: Final = 100  # ratings


def ratings_in_cells(cells: Sequence[Any]) -> tuple[float, ...]:
    """Return the ratings that cells are votes for: the names in objects, or 1, 2, 3 and so on as most lists are long; else none."""
    objects = [found for cell in cells if isinstance(found := _parsed(cell), dict)]
    if objects:
        ratings = sorted({rating for found in objects for rating in found})
    else:
        lengths = [len(found) for cell in cells if isinstance(found := _parsed(cell), list)]
        most = max(lengths, key=lengths.count) if lengths else 0
        ratings = [float(rating) for rating in range(1, most + 1)]
    return tuple(ratings) if len(ratings) <= _MOST else ()


def rated_in(names: Sequence[str], name: str) -> list[tuple[int, float | None]]:
    """Return the columns that the elements of a list or object became, in order, and the rating where its name is one.

    Args:
        names: of all columns.
        name: of the list or object: `votes[0]`, `votes[1]` are the elements of the list `votes`, `votes.1`, `votes.2` those of an object.
    """
    of_list = re.compile(re.escape(name) + r"\[(\d{1,3})\]", re.IGNORECASE)
    of_object = re.compile(re.escape(name) + r"\.(-?\d{1,6}(?:\.\d{1,6})?)", re.IGNORECASE)
    elements = [(int(found[1]), place) for place, one in enumerate(names) if (found := of_list.fullmatch(one))]
    if elements:
        return [(place, None) for _, place in sorted(elements)]
    members = [(float(found[1]), place) for place, one in enumerate(names) if (found := of_object.fullmatch(one))]
    return [(place, rating) for rating, place in sorted(members)]


def read_cells(file: LabelFile | None, row: Any, column: Any, ratings: Sequence[float]) -> tuple[np.ndarray, Any]:
    """Read a column of votes.

    Args:
        file: that has it.
        row: number of each row in the file.
        column: text.
        ratings: what lists count the votes for, in this order; objects name some of them, and nobody gave the others.

    Returns:
        Counts or shares, float64, shape (rows, ratings), and the problem of each row that has something else.

    Raises:
        LabelError: some rows have lists, and some objects: what a place in a list stands for is not sure then.
    """
    places = {rating: place for place, rating in enumerate(ratings)}
    cells = column.to_pylist()
    counts = np.zeros((len(cells), len(ratings)))
    problems: list[str | None] = [None] * len(cells)
    first: dict[type, int] = {}
    for number, cell in enumerate(cells):
        found = _parsed(cell)
        if (
            found is not None
            and first.setdefault(type(found), number) == number
            and len(first) > 1
            and file is not None
        ):
            raise file.error(mixes_votes(row[number].as_py(), is_list=isinstance(found, list)))
        if isinstance(found, dict):
            other = next((rating for rating in found if rating not in places), None)
            if other is not None:
                problems[number] = f"votes for {other:g}, which is none of the {len(ratings)} ratings"
                continue
            for rating, count in found.items():
                counts[number, places[rating]] = count
        elif isinstance(found, list) and len(found) == len(ratings):
            counts[number] = found
        elif isinstance(found, list):
            problems[number] = f"{len(found)} counts of votes, where there are {len(ratings)} ratings"
        else:
            problems[number] = (
                f"votes {str(cell)[:40]!r} are no counts" if (cell or "").strip() else "vote count is missing"
            )
    return counts, pa.array(problems, pa.string())


def mixes_votes(row: int, *, is_list: bool) -> str:
    """Return what has to be said of a file whose votes are lists in some rows and objects in others, after its name.

    Args:
        row: the first that has the other kind.
        is_list: that is a list.
    """
    kind, others = ("a list", "objects") if is_list else ("an object", "lists")
    return (
        f"has {kind} of votes in row {row}, and {others} in others; write them in one way: a list has one count for each rating, in order, and "
        "an object names the ratings"
    )


def _parsed(cell: Any) -> list[float] | dict[float, float] | None:
    """Return counts, by their ratings where a cell has these; None where it has no finite numbers."""
    text = str(cell if cell is not None else "").strip()
    if not text or len(text) > _LONGEST:
        return None
    try:
        if text.startswith("{"):
            parsed = _object(text)
            members = {float(name): float(count) for name, count in parsed.items()}
            is_good = len(members) == len(parsed) > 0 and all(map(math.isfinite, (*members, *members.values())))
            return members if is_good else None
        numbers = _numbers(text.strip("[](){} \t"))
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError, OverflowError):
        return None
    return numbers if len(numbers) > 1 and all(map(math.isfinite, numbers)) else None


def _object(text: str) -> dict[Any, Any]:
    """Return an object as JSON or as Python writes it, whose names may be numbers and stand once.

    Raises:
        ValueError, TypeError, SyntaxError and others of Python's parser: it is no such object.
    """
    try:
        parsed = json.loads(text, object_pairs_hook=each_name_once)
    except RepeatedNameError:
        raise
    except ValueError:
        written = ast.parse(text, mode="eval").body
        parsed = ast.literal_eval(written)
        if isinstance(written, ast.Dict) and len(parsed) != len(written.keys):
            raise ValueError(text) from None
    if not isinstance(parsed, dict):
        raise TypeError(text)  # {1, 2} is a set
    return parsed


def _numbers(text: str) -> list[float]:
    """Return the numbers between one sign, or between blanks where there is none; a comma is a decimal point between other signs."""
    sign = next((sign for sign in _SIGNS if sign in text), None)
    parts = text.split() if sign is None else text.removesuffix(sign).split(sign)
    return [float(part.strip().strip("\"'").replace(",", ".")) for part in parts]
