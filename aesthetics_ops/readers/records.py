"""The records of a split by their number: any of them, in any order, without reading those before it.

In: a split of a version, wherever it lies.  Out: `Records`, a sequence of examples, whose decoded pixels come as one array.
Promised: the checksum of each record is compared at each read, and what is damaged is named; no Python object is kept per
record; nothing open crosses a fork or a pickle.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self, overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import ArrayLike, NDArray

from aesthetics_ops.dataset.example import Example
from aesthetics_ops.errors import SettingsError
from aesthetics_ops.readers.fetching.split import PHOTOS_AT_ONCE, SplitReader
from aesthetics_ops.readers.pixels import Pixels
from aesthetics_ops.readers.sampling.sampler import Draws
from aesthetics_ops.readers.targets import Asked, Targets, table_columns
from aesthetics_ops.readers.where import matching_rows

__all__ = ["Choice", "Records"]

_READ_AT_ONCE: Final = 64  # records in plain iteration


@dataclass(frozen=True, slots=True)
class Choice:
    """How records were chosen from their split; a receipt names it.

    Attributes:
        where: the SQL filter; None without one.
        digest: sha256 of their numbers in the split, in hex; None where `where` alone chose, or all are there.
    """

    where: str | None = None
    digest: str | None = None


class Records(Sequence[Example]):
    """Records of one split, all of them or a choice, in reading order.

    Attributes:
        reader: fetches them.
        choice: how they were chosen from their split.
    """

    def __init__(
        self, reader: SplitReader, *, choice: Choice | None = None, rows: NDArray[np.int64] | None = None
    ) -> None:
        """Read nothing yet.

        Args:
            reader: of the split.
            choice: how `rows` were found.
            rows: numbers of the split's records, shape (n,); None takes all.
        """
        self.reader, self.choice = reader, choice or Choice()
        self._rows = rows

    def __len__(self) -> int:
        return self.reader.entry.records if self._rows is None else len(self._rows)

    @overload
    def __getitem__(self, row: int) -> Example: ...
    @overload
    def __getitem__(self, row: slice) -> "Records": ...
    def __getitem__(self, row: int | slice) -> "Example | Records":
        if isinstance(row, slice):
            return self.select(np.arange(len(self))[row])
        if not -len(self) <= row < len(self):
            raise IndexError(f"row {row} of {len(self)} records")
        return self.__getitems__([row % len(self)])[0]

    def __getitems__(self, rows: Sequence[int]) -> list[Example]:
        """Return several records; neighbours in a store come in one request.

        Raises:
            IntegrityError: a record is damaged; names version, shard, record and id.
        """
        asked = self.reader.ask(self.rows_in_split(rows))
        return [asked.example(at) for at in range(len(asked))]

    def __iter__(self) -> Iterator[Example]:
        for first in range(0, len(self), _READ_AT_ONCE):
            yield from self.__getitems__(range(first, min(first + _READ_AT_ONCE, len(self))))

    @property
    def labels(self) -> NDArray[np.float32]:
        """The scores after scaling, shape (n,)."""
        labels = self.reader.index.labels
        return labels if self._rows is None else labels[self._rows]

    @property
    def ids(self) -> pa.ChunkedArray:
        """What names each photo, n texts."""
        ids = self.reader.index.ids
        return ids if self._rows is None else ids.take(self._rows)

    @property
    def shards(self) -> NDArray[np.int32]:
        """The number of each record's shard in the split, shape (n,)."""
        shards = self.reader.index.shards
        return shards if self._rows is None else shards[self._rows]

    def labels_as(self, labels: Asked) -> Any:
        """Return votes, their deviation or extra scores, as batches have them: shape (n,), or for votes (n, ratings).

        Args:
            labels: a name of `Dataset.label_names`, which gives an array, or a list of names, which gives a dict of arrays.

        Raises:
            SettingsError: the version has no such labels; names those that it has.
        """
        return Targets(self.reader, labels).at(np.arange(len(self.reader.index)) if self._rows is None else self._rows)

    def table(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Return the rows of records.parquet (docs/format.md), n of them.

        Args:
            columns: by default all.

        Raises:
            SettingsError: there is no such column.
        """
        wanted = None if columns is None else list(dict.fromkeys(["split", *columns]))
        known = table_columns(self.reader.version.manifest)
        if unknown := [column for column in columns or () if column not in known]:
            raise SettingsError(f"records.parquet has no column {unknown[0]!r}; it has {', '.join(known)}")
        rows = self.reader.version.table(wanted)
        rows = rows.filter(pc.equal(rows["split"], self.reader.split))
        if self._rows is not None:
            rows = rows.take(self._rows)
        return rows if columns is None else rows.select(list(columns))

    def select(self, rows: ArrayLike) -> "Records":
        """Return a choice of these records: a subset, a fold, an order of one's own.  Nothing is copied but the numbers.

        Args:
            rows: a mask of shape (n,), or row numbers of shape (m,), which may repeat.

        Raises:
            SettingsError: a mask of another length, or a number that no record has.
        """
        return self._chosen(self.rows_in_split(_row_numbers(np.asarray(rows), len(self))), self.choice.where)

    def where(self, condition: str) -> "Records":
        """Return the records for which an SQL condition over records.parquet is true.

        Two conditions after one another are one, joined by AND, over the rows of the split.

        Raises:
            SettingsError: it is no such condition; names the columns.
        """
        if self.choice.digest is not None:
            return self._chosen(self.rows_in_split(matching_rows(self.table(), condition)), self.choice.where)
        if self.choice.where is not None:
            condition = f"({self.choice.where}) AND ({condition})"
        whole = Records(self.reader)
        return Records(self.reader, choice=Choice(where=condition), rows=matching_rows(whole.table(), condition))

    def arrays(
        self,
        rows: "Draws | ArrayLike",
        pixels: Pixels,
        *,
        out: NDArray[np.uint8] | None = None,
        labels: Asked = "label",
    ) -> tuple[NDArray[np.uint8], Any]:
        """Decode some records, in this thread.

        Args:
            rows: numbers, or the draws of a sampler, on which random crops depend.
            pixels: what to make of each photo; all of one size.
            out: uint8, shape (b, height, width, 3), to be filled; by default a new array.
            labels: as for `labels_as`.

        Returns:
            The images, uint8, shape (b, height, width, 3), sRGB; the labels, float32, shape (b,), or what is asked for.

        Raises:
            IntegrityError: a record is damaged; names version, shard, record and id.
            SettingsError: `pixels` gives photos of different sizes; no list of numbers; `out` is for other photos.
        """
        if pixels.shape is None:
            raise SettingsError(
                "fit='short_side' gives photos of different sizes; take another fit for an array of them"
            )
        if not isinstance(rows, Draws):
            self.rows_in_split(rows)  # refuses what is no list of numbers
            chosen = np.asarray(rows, np.int64)
            rows = Draws(chosen, chosen, epoch=0, seed=0)
        if out is not None and (not isinstance(out, np.ndarray) or len(out) != len(rows)):
            raise SettingsError(f"out is {_shape_of(out)}; give an array for {len(rows)} photos")
        numbers, targets = self.rows_in_split(rows.rows), Targets(self.reader, labels)
        asked, bits = self.reader.ask(numbers), rows.bits.tolist()
        images = np.empty((len(asked), *pixels.shape), np.uint8) if out is None else out
        for first in range(0, len(asked), PHOTOS_AT_ONCE):
            asked.decode(range(first, min(first + PHOTOS_AT_ONCE, len(asked))), pixels, bits, images)
        return images, targets.at(numbers)

    def jpegs(self, rows: ArrayLike) -> list[bytes]:
        """Return the JPEG of some records, as stored: for decoders on a GPU.

        Raises:
            IntegrityError: a record is damaged; names version, shard, record and id.
        """
        asked = self.reader.ask(self.rows_in_split(rows))
        return [bytes(asked.image(at)) for at in range(len(asked))]

    def rows_in_split(self, rows: ArrayLike) -> NDArray[np.int64]:
        """Return the numbers in the split of some of these records, shape (m,).

        Raises:
            IndexError: a number that none of them has.
            SettingsError: no list of numbers; a mask is none.
        """
        numbers = np.asarray(rows)
        if numbers.ndim != 1 or not (np.issubdtype(numbers.dtype, np.integer) or numbers.size == 0):
            raise SettingsError(
                f"rows are {numbers.dtype} of shape {numbers.shape}; give a list of row numbers, or select by a mask first"
            )
        if numbers.size and not 0 <= numbers.min() <= numbers.max() < len(self):
            wrong = numbers[(numbers < 0) | (numbers >= len(self))][0]
            raise IndexError(f"row {wrong} of {len(self)} records")
        numbers = numbers.astype(np.int64, copy=False)
        return numbers if self._rows is None else self._rows[numbers]

    def close(self) -> None:
        """Let go of files and connections, while nobody reads; a later use opens them again."""
        self.reader.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _chosen(self, rows: NDArray[np.int64], where: str | None) -> "Records":
        """Return records whose numbers in the split no condition tells: a receipt names their digest."""
        digest = hashlib.sha256(rows.astype("<i8").tobytes()).hexdigest()
        return Records(self.reader, choice=Choice(where, digest), rows=rows)

    def __repr__(self) -> str:
        return f"<{len(self):,} records of {self.reader.split!r}, version {self.reader.version.manifest.version}>"


def _row_numbers(rows: NDArray[Any], count: int) -> NDArray[np.int64]:
    """Return the numbers that a mask or a list of numbers stands for."""
    if rows.ndim != 1 or not (rows.dtype == bool or np.issubdtype(rows.dtype, np.integer) or rows.size == 0):
        raise SettingsError(
            f"rows are {rows.dtype} of shape {rows.shape}; give a mask of shape ({count},), or a list of row numbers"
        )
    if rows.dtype == bool:
        if len(rows) != count:
            raise SettingsError(
                f"the mask has {len(rows):,} entries, but there are {count:,} records; give one for each"
            )
        return np.flatnonzero(rows)
    chosen = rows.astype(np.int64)
    outside = chosen[(chosen < 0) | (chosen >= count)]
    if len(outside):
        raise SettingsError(f"row {outside[0]} is none of the {count:,} records; give numbers from 0")
    return chosen


def _shape_of(given: object) -> str:
    return f"of shape {given.shape}" if isinstance(given, np.ndarray) else f"a {type(given).__name__}"
