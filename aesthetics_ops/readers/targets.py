"""What comes with each photo of a batch: its label, or votes, their deviation and extra scores where records have them.

In: a split of a version, and names.  Out: arrays by the numbers of records; only columns that are asked for are read.
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from aesthetics_ops.dataset.example import more_labels
from aesthetics_ops.dataset.manifest import Manifest
from aesthetics_ops.dataset.tables import EXTRA_SCORE, RECORDS
from aesthetics_ops.errors import SettingsError
from aesthetics_ops.readers.fetching.split import SplitReader

__all__ = ["Asked", "Targets", "label_names", "one_of", "table_columns"]

_LABEL: Final = "label"

Asked = str | Sequence[str]
"""Names of labels: one, which gives an array, or several, which give a dict of arrays."""


def label_names(manifest: Manifest) -> tuple[str, ...]:
    """Return the names of all that a reader may be asked for as labels: `label`, then what there is of votes and scores."""
    more = _more_columns(manifest)
    plain = {column: column.removeprefix(EXTRA_SCORE) for column in more}
    return (_LABEL, *(column if column != name and name in (_LABEL, *more) else name for column, name in plain.items()))


def table_columns(manifest: Manifest) -> tuple[str, ...]:
    """Return the columns of a version's records.parquet."""
    return (*RECORDS.names, *_more_columns(manifest), *manifest.settings.get("keep_columns", ()))


class Targets:
    """The labels of a split that a reader gives with the photos.

    Attributes:
        names: as they were asked for.
        is_one: one was asked for by its name alone, so there is no dict.
    """

    def __init__(self, reader: SplitReader, asked: Asked = _LABEL) -> None:
        """Read nothing yet.

        Args:
            reader: of the split.
            asked: `label`, `distribution`, `votes`, `label_std`, or an extra score by its name; or a list of such.  An extra
                score that is called like one of the first four is asked for as `label/<name>`.

        Raises:
            SettingsError: the version has no such labels; names those that it has.
        """
        manifest = reader.version.manifest
        self.is_one = isinstance(asked, str)
        self.names: tuple[str, ...] = (asked,) if isinstance(asked, str) else _listed(asked)
        self._reader = reader
        self._columns = {name: _column(manifest, name) for name in self.names}
        self._width = len(manifest.source.ratings)
        reader.want(column for column in self._columns.values() if column != _LABEL)

    def at(self, rows: NDArray[np.int64]) -> Any:
        """Return the labels of some records by their numbers in the split, shape (b,) or for votes (b, ratings).

        label, distribution, label_std and extra scores: float32; votes: int64.  None is NaN.  An array where one name was
        asked for, else a dict of arrays by the names that were asked for.
        """
        found = {name: self._values(column)[rows] for name, column in self._columns.items()}
        return found[self.names[0]] if self.is_one else found

    def load(self) -> None:
        """Read the columns now, so that forked processes share them."""
        for column in self._columns.values():
            self._values(column)

    @property
    def kinds(self) -> dict[str, tuple[tuple[int, ...], type[np.generic]]]:
        """Shape of one record's labels, and their dtype, by name."""
        wide = ("distribution", "votes")
        return {
            name: ((self._width,) if column in wide else (), np.int64 if column == "votes" else np.float32)
            for name, column in self._columns.items()
        }

    def _values(self, column: str) -> NDArray[Any]:
        return self._reader.index.labels if column == _LABEL else self._reader.column(column)


def one_of(labels: Any, number: int) -> Any:
    """Return the labels of one photo of a batch."""
    return {name: values[number] for name, values in labels.items()} if isinstance(labels, dict) else labels[number]


def _more_columns(manifest: Manifest) -> tuple[str, ...]:
    return tuple(feature.removeprefix("image/") for feature in more_labels(manifest.features))


def _listed(asked: Any) -> tuple[str, ...]:
    if not isinstance(asked, list | tuple) or not asked or not all(isinstance(name, str) for name in asked):
        raise SettingsError(f"labels is {asked!r}; give the name of one, such as 'label', or a list of names")
    if len(set(asked)) < len(asked):
        raise SettingsError(f"labels is {asked!r}, which has a name twice; give each once")
    return tuple(asked)


def _column(manifest: Manifest, name: str) -> str:
    """Return the column of records.parquet that a name stands for."""
    more = _more_columns(manifest)
    for column in (name, EXTRA_SCORE + name):
        if column in (_LABEL, *more):
            return column
    raise SettingsError(
        f"version {manifest.version!r} has no labels {name!r}; it has {', '.join(label_names(manifest))}"
    )
