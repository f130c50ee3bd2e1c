"""Find the columns that hold id, score and split among a table's names."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aesthetics_ops.sources.labels.file import LabelFile, LabelRows

__all__ = ["FoundColumns", "find_columns"]

_ID_COLUMNS = ("key", "path", "filename", "id", "image_id")
_SCORE_COLUMNS = ("score", "label", "mean", "mos")


@dataclass(frozen=True, slots=True)
class FoundColumns:
    """Which columns of a table are read.

    Attributes:
        names: of all columns, in the file's order.
        ids: positions of the columns that may name the photos, in the order in which they are preferred; at least one.
        score: position of the score's column.
        split: position of the split's column; None where none is set.
    """

    names: tuple[str, ...]
    ids: tuple[int, ...]
    score: int
    split: int | None

    @property
    def places(self) -> list[int]:
        """The positions of all columns to read; each once."""
        return list(dict.fromkeys((*self.ids, self.score, *(() if self.split is None else (self.split,)))))

    def rows(self, row: Any, values: Mapping[int, Any]) -> LabelRows:
        """Return the rows of a file from their numbers and the columns by position; an id that is not among them is left out."""
        ids = {self.names[place]: values[place] for place in self.ids if place in values}
        first = next(iter(ids))
        used = {"id": first, "score": self.names[self.score]}
        if self.split is not None:
            used["split"] = self.names[self.split]
        return LabelRows(
            row,
            ids.pop(first),
            values[self.score],
            None if self.split is None else values[self.split],
            columns=used,
            other_names=ids,
        )


def find_columns(file: LabelFile, columns: Sequence[str]) -> FoundColumns:
    """Return where the id, the score and, if one is set, the split are among `columns`."""
    settings = file.settings
    ids = (settings.id_column,) if settings.id_column else _ID_COLUMNS
    first = _column(file, columns, "id_column", ids)
    others = [found[0] for name in ids if len(found := _named(columns, name)) == 1]
    return FoundColumns(
        names=tuple(columns),
        ids=tuple(dict.fromkeys((first, *others))),
        score=_column(
            file, columns, "score_column", (settings.score_column,) if settings.score_column else _SCORE_COLUMNS
        ),
        split=_column(file, columns, "split_column", (settings.split_column,)) if settings.split_column else None,
    )


def _named(columns: Sequence[str], name: str) -> list[int]:
    same = [place for place, column in enumerate(columns) if column == name]
    return same or [place for place, column in enumerate(columns) if column.casefold() == name.casefold()]


def _column(file: LabelFile, columns: Sequence[str], setting: str, wanted: Sequence[str]) -> int:
    for name in wanted:
        same = _named(columns, name)
        if len(same) > 1:
            raise file.error(f"has {len(same)} columns named {name!r}; rename all but one, or set {setting} to another")
        if same:
            return same[0]
    shown = ", ".join(repr(column[:80]) for column in columns[:50])
    raise file.error(
        f"has no column {' or '.join(map(repr, wanted))}; its columns are {shown}; set {setting} to one of them"
    )
