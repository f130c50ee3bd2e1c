"""Statistics of a version's records, taken in two passes over them, some rows at a time.

In: batches of `records.parquet`.  Out: what `dataset.statistics` gives for all of them at once; sums of floats may differ in
their last digits.  Memory grows with the number of different widths, heights and sizes only.  Pure.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from aesthetics_ops.dataset.manifest import Images, Jpegs, ScoreStatistics, VoteStatistics
from aesthetics_ops.dataset.statistics import BINS, QUANTILES, jpegs_of
from aesthetics_ops.dataset.tables import EXTRA_SCORE
from aesthetics_ops.errors import IntegrityError

__all__ = ["RecordStatistics", "record_statistics"]

_SIZES: Final = ("width", "height", "bytes")
_TONE: Final = ("brightness", "contrast")


class RecordStatistics:
    """What two passes over the records found."""

    def __init__(self, columns: list[str], name: str) -> None:
        """Begin with no record.

        Args:
            columns: that `records.parquet` has.
            name: of it, for messages.

        Attributes:
            label: of the stored labels.
            scores: of each extra score, by its name.
            votes: None where the records have none.
        """
        self._name = name
        self.numbers = {column: _Numbers() for column in columns if column == "label" or column.startswith(EXTRA_SCORE)}
        self._sizes = {column: _Counted() for column in _SIZES}
        self._pixels = 0
        self._tone = {column: _Mean() for column in _TONE}
        self._votes = _Votes(name, "votes" in columns) if "distribution" in columns else None
        self._jpegs: Counter[tuple[bool | None, str | None]] = Counter()
        self.transforms: Counter[str] = Counter()

    def count(self, rows: pa.Table) -> None:
        """Take rows in, in the first pass.

        Raises:
            IntegrityError: a value is missing, or a list of votes has another length.
        """
        for column in (*self.numbers, *self._sizes):
            if rows[column].null_count:
                raise IntegrityError(f"{self._name} lacks values of {column!r}")
        for column, numbers in self.numbers.items():
            numbers.count(_floats(rows[column], f"{self._name}: {column}"))
        for column, sizes in self._sizes.items():
            sizes.count(rows[column].to_numpy())
        self._pixels += pc.sum(pc.multiply(rows["width"], rows["height"])).as_py() or 0
        for column, mean in self._tone.items():
            mean.count(rows[column])
        for row in pc.value_counts(pc.list_flatten(rows["transforms"])).to_pylist():
            self.transforms[row["values"]] += row["counts"]
        for row in rows.group_by(["progressive", "sampling"]).aggregate([([], "count_all")]).to_pylist():
            self._jpegs[row["progressive"], row["sampling"]] += row["count_all"]
        if self._votes is not None:
            self._votes.count(rows)

    def spread(self, rows: pa.Table) -> None:
        """Take the same rows in, in the second pass."""
        for column, numbers in self.numbers.items():
            numbers.spread(_floats(rows[column], f"{self._name}: {column}"))

    @property
    def label(self) -> dict[str, Any]:
        """The fields of the labels' statistics that are counted."""
        return self.numbers["label"].fields

    @property
    def scores(self) -> dict[str, ScoreStatistics]:
        """The statistics of the extra scores."""
        return {
            column.removeprefix(EXTRA_SCORE): ScoreStatistics(**numbers.fields)
            for column, numbers in self.numbers.items()
            if column != "label"
        }

    @property
    def votes(self) -> VoteStatistics | None:
        """The statistics of the votes."""
        return None if self._votes is None else self._votes.statistics

    @property
    def images(self) -> Images:
        """The quantiles of the images' sizes, and their mean brightness and contrast."""
        quantiles = {column: sizes.quantiles() for column, sizes in self._sizes.items()}
        means = {column: mean.value for column, mean in self._tone.items()}
        return Images(
            quantiles=QUANTILES,
            **quantiles,
            total_pixels=self._pixels,
            measured=self._tone["brightness"].values,
            **means,
        )

    @property
    def jpegs(self) -> Jpegs:
        """How the JPEGs are coded."""
        return jpegs_of(self._jpegs)


def record_statistics(
    batches: Callable[[list[str] | None], Iterator[pa.Table]], columns: list[str], name: str
) -> RecordStatistics:
    """Return the statistics of records.

    Args:
        batches: gives the records anew at each call, with these columns or all.
        columns: that the table has.
        name: of the table, for messages.

    Raises:
        IntegrityError: there is no record, a value is missing or no number, or a list of votes has another length.
    """
    found = RecordStatistics(columns, name)
    rows = 0
    for batch in batches(None):
        found.count(batch)
        rows += batch.num_rows
    if not rows:
        raise IntegrityError(f"{name} has no record")
    for batch in batches(list(found.numbers)):
        found.spread(batch)
    return found


def _floats(column: pa.ChunkedArray, name: str) -> np.ndarray:
    values: np.ndarray = column.to_numpy().astype(np.float64)
    if not np.isfinite(values).all():
        raise IntegrityError(f"{name} of a record is no finite number")
    return values


class _Numbers:
    """The statistics of a column of finite floats."""

    def __init__(self) -> None:
        self._rows = 0
        self._sum = self._squares = 0.0
        self._low, self._high = np.inf, -np.inf
        self._counts = np.zeros(BINS, np.int64)
        self._edges: np.ndarray | None = None

    def count(self, values: np.ndarray) -> None:
        if len(values):
            self._rows += len(values)
            self._sum += values.sum()
            self._low, self._high = min(self._low, values.min()), max(self._high, values.max())

    def spread(self, values: np.ndarray) -> None:
        counts, self._edges = np.histogram(values, bins=BINS, range=(self._low, self._high))
        self._counts += counts
        self._squares += np.square(values - self._sum / self._rows).sum()

    @property
    def fields(self) -> dict[str, Any]:
        edges = () if self._edges is None else tuple(self._edges.tolist())
        return {
            "min": self._low, "max": self._high, "mean": self._sum / self._rows, "std": np.sqrt(self._squares / self._rows),
            "histogram": {"edges": edges, "counts": tuple(self._counts.tolist())},
        }  # fmt: skip


class _Mean:
    """The mean of those values of a column that are there."""

    def __init__(self) -> None:
        self.values = 0
        self._sum = 0.0

    def count(self, column: pa.ChunkedArray) -> None:
        self.values += len(column) - column.null_count
        self._sum += pc.sum(column).as_py() or 0.0

    @property
    def value(self) -> float | None:
        return self._sum / self.values if self.values else None


class _Counted:
    """How often each of a column's integers stands in it."""

    _AT_LEAST: Final = 1 << 18

    def __init__(self) -> None:
        self._values = np.zeros(0, np.int64)
        self._counts = np.zeros(0, np.int64)
        self._waiting: list[tuple[np.ndarray, np.ndarray]] = []

    def count(self, values: np.ndarray) -> None:
        self._waiting.append(np.unique(values, return_counts=True))
        if sum(len(some) for some, _ in self._waiting) > max(self._AT_LEAST, len(self._values)):
            self._merge()

    def _merge(self) -> None:
        values = np.concatenate([self._values, *(some for some, _ in self._waiting)])
        counts = np.concatenate([self._counts, *(some for _, some in self._waiting)])
        self._values, places = np.unique(values, return_inverse=True)
        self._counts = np.zeros(len(self._values), np.int64)
        np.add.at(self._counts, places, counts)
        self._waiting = []

    def quantiles(self) -> tuple[float, ...]:
        """Return what `np.quantile` gives: linear between the two nearest ranks."""
        self._merge()
        ends = np.cumsum(self._counts)
        found = []
        for quantile in QUANTILES:
            rank = (int(ends[-1]) - 1) * quantile
            below, above = (
                float(self._values[np.searchsorted(ends, number, side="right")])
                for number in (int(np.floor(rank)), int(np.ceil(rank)))
            )
            found.append(below + (above - below) * (rank - np.floor(rank)))
        return tuple(found)


class _Votes:
    """The statistics of votes."""

    def __init__(self, name: str, are_counted: bool) -> None:
        self._name = name
        self._are_counted = are_counted
        self._rows = 0
        self._shares: np.ndarray | None = None
        self._counts: np.ndarray | None = None
        self._std = 0.0
        self._fewest: int | None = None
        self._most: int | None = None

    def count(self, rows: pa.Table) -> None:
        if not rows.num_rows:
            return
        self._rows += rows.num_rows
        self._std += rows["label_std"].to_numpy().astype(np.float64).sum()
        shares = self._lists(rows, "distribution", self._shares).astype(np.float64).sum(axis=0)
        self._shares = shares if self._shares is None else self._shares + shares
        if not self._are_counted:
            return
        counts = self._lists(rows, "votes", self._counts)
        totals = counts.sum(axis=1)
        self._counts = counts.sum(axis=0) if self._counts is None else self._counts + counts.sum(axis=0)
        self._fewest = int(totals.min()) if self._fewest is None else min(self._fewest, int(totals.min()))
        self._most = int(totals.max()) if self._most is None else max(self._most, int(totals.max()))

    def _lists(self, rows: pa.Table, column: str, before: np.ndarray | None) -> np.ndarray:
        """Return lists of equally many numbers as an array, shape (rows, numbers)."""
        lengths = pc.unique(pc.list_value_length(rows[column])).to_pylist()
        if len(lengths) != 1 or not lengths[0] or (before is not None and lengths[0] != len(before)):
            raise IntegrityError(f"{self._name}: {column} has not the same number of ratings in every record")
        values: np.ndarray = pc.list_flatten(rows[column]).to_numpy()
        return values.reshape(rows.num_rows, -1)

    @property
    def statistics(self) -> VoteStatistics:
        shares = () if self._shares is None else tuple((self._shares / self._rows).tolist())
        return VoteStatistics(
            mean_distribution=shares,
            mean_std=self._std / self._rows,
            counts=None if self._counts is None else tuple(self._counts.tolist()),
            fewest=self._fewest,
            most=self._most,
        )
