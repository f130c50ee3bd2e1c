"""Find the columns that hold id, score and split among a table's names."""

from collections.abc import Sequence

from aesthetics_ops.sources.labels.file import LabelFile

__all__ = ["find_columns"]

_ID_COLUMNS = ("key", "path", "filename", "id", "image_id")
_SCORE_COLUMNS = ("score", "label", "mean", "mos")


def find_columns(file: LabelFile, columns: Sequence[str]) -> list[int]:
    """Where the id, the score and, if one is set, the split are among `columns`."""
    settings = file.settings
    found = [
        _column(file, columns, "id_column", (settings.id_column,) if settings.id_column else _ID_COLUMNS),
        _column(file, columns, "score_column", (settings.score_column,) if settings.score_column else _SCORE_COLUMNS),
    ]
    if settings.split_column:
        found.append(_column(file, columns, "split_column", (settings.split_column,)))
    return found


def _column(file: LabelFile, columns: Sequence[str], setting: str, wanted: Sequence[str]) -> int:
    for name in wanted:
        same = [place for place, column in enumerate(columns) if column == name]
        same = same or [place for place, column in enumerate(columns) if column.casefold() == name.casefold()]
        if len(same) > 1:
            raise file.error(f"has {len(same)} columns named {name!r}; rename all but one, or set {setting} to another")
        if same:
            return same[0]
    shown = ", ".join(repr(column[:80]) for column in columns[:50])
    raise file.error(
        f"has no column {' or '.join(map(repr, wanted))}; its columns are {shown}; set {setting} to one of them"
    )
