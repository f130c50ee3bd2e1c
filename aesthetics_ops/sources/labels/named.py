"""Find a column by its name, or say which columns there are."""

import re
from collections.abc import Sequence
from typing import Any, Final

from aesthetics_ops.sources.labels.file import LabelFile
from aesthetics_ops.sources.labels.layout import squeeze
from aesthetics_ops.sources.labels.numbered import in_setting, numbered_alike

__all__ = ["check_width", "find_column", "like", "named", "names_meant"]

_MOST_COLUMNS: Final = 10_000


def named(columns: Sequence[str], name: str) -> list[int]:
    """Return where a name is among columns: as it is written, or else in any case."""
    same = [place for place, column in enumerate(columns) if column == name]
    return same or [place for place, column in enumerate(columns) if column.casefold() == name.casefold()]


def like(columns: Sequence[str], name: str) -> list[int]:
    """Return where a name is among columns, without what files of one kind write differently."""
    return [place for place, column in enumerate(columns) if squeeze(column) == squeeze(name)]


def find_column(file: LabelFile, columns: Sequence[str], setting: str, wanted: Sequence[str], by: Any = named) -> int:
    """Return the position of the first of the wanted names that is there.

    Args:
        file: that has the columns.
        columns: their names.
        setting: what would name another column.
        wanted: names, in the order in which they are preferred.
        by: compares names, `named` or `like`.

    Raises:
        LabelError: none is there, or one is there twice.
    """
    for name in wanted:
        same: list[int] = by(columns, name)
        if len(same) > 1:
            raise file.error(f"has {len(same)} columns named {name!r}; rename all but one, or set {setting} to another")
        if same:
            return same[0]
    shown = ", ".join(repr(column[:80]) for column in columns[:50])
    helps = f"set {setting} to one of them"
    if setting == "score_column" and (series := next(iter(numbered_alike(columns)), []))[2:]:
        helps += f", or vote_columns to {in_setting(series)} if these count votes"
    if setting == "id_column" and "" in columns:
        helps += f", or write a name above column {columns.index('') + 1}, which has none"
    raise file.error(f"has no column {' or '.join(map(repr, wanted))}; its columns are {shown}; {helps}{file.seen}")


def check_width(file: LabelFile, columns: int) -> None:
    """Refuse more columns than a file of scores has."""
    if columns > _MOST_COLUMNS:
        raise file.error(f"has {columns} columns; at most {_MOST_COLUMNS} are read: leave out what is no score")


def names_meant(file: LabelFile, text: str) -> list[str]:
    """Return the names that `c1..c5`, or `label[0]..label[4]`, stands for; another text is a name itself.

    Raises:
        LabelError: the higher number comes first, or there are too many.
    """
    found = re.fullmatch(r"(.*?)(\d{1,9})(\]?)\.\.(.*?)(\d{1,9})(\]?)", text)
    if found is None or (found[1], found[3]) != (found[4], found[6]):
        return [text]
    first, last = int(found[2]), int(found[5])
    if not first < last < first + _MOST_COLUMNS:
        raise file.error(f"has no columns {text!r}; write the lower number of vote_columns first")
    return [f"{found[1]}{number}{found[3]}" for number in range(first, last + 1)]
