"""Columns whose names differ in a number alone, as columns of votes do: found, named for a setting, compared with ratings."""

import re
from collections.abc import Sequence

__all__ = ["in_setting", "numbered_alike", "other_numbers"]


def numbered_alike(columns: Sequence[str]) -> list[list[str]]:
    """Return the names that differ in their number alone, in its order, the longest series first: c1 to c5, label[0] to label[4]."""
    series: dict[tuple[str, str], dict[int, str]] = {}
    for column in columns:
        if found := re.fullmatch(r"(.*?)(\d{1,3})(\]?)", column):
            series.setdefault((found[1], found[3]), {})[int(found[2])] = column
    names = [[numbers[number] for number in sorted(numbers)] for numbers in series.values()]
    return sorted(names, key=len, reverse=True)


def in_setting(series: Sequence[str]) -> str:
    """Return how `vote_columns` names a series: as a range where it has no gap, else one by one."""
    numbers = [_last_number(name) for name in series]
    is_whole = numbers == [*range(numbers[0], numbers[0] + len(numbers))]
    is_plain = not re.search(r"(?<!\d)0\d+\]?$", series[0])
    return f"{series[0]}..{series[-1]}" if is_whole and is_plain else ", ".join(series)


def _rating(name: str) -> float:
    """Return the number that a name is, with its sign and fraction, or else the one that it ends in."""
    return float(name) if re.fullmatch(r"[+-]?\d{1,9}(\.\d{1,9})?", name) else _last_number(name)


def _last_number(name: str) -> int:
    return int(re.findall(r"\d+", name)[-1])


def other_numbers(names: Sequence[str], places: Sequence[int]) -> str | None:
    """Say that columns of votes count other ratings than the numbers in their names; None where they do not.

    Names that are the numbers of their places, from 1, are those of a file without a header, and say nothing.
    """
    if list(names) == [str(place + 1) for place in places] or not all(re.search(r"\d$", name) for name in names):
        return None
    numbers = [_rating(name) for name in names]
    if numbers == [*range(1, len(names) + 1)] or len(set(numbers)) < len(numbers):
        return None
    return (
        f"counts the votes for 1 to {len(names)} in {names[0]} to {names[-1]}, whose names have other numbers; set vote_values to "
        f"{', '.join(f'{number:g}' for number in numbers)} if these are the ratings"
    )
