"""The records of one split where they lie, fetched by their numbers and checked.

In: a version, wherever it lies.  Out: the data of records, or an error that names the record that is damaged.
Promised: the checksum of each record is compared at each read; nothing open crosses a fork or a pickle.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from aesthetics_ops.dataset.example import Example, decode_example, image_in
from aesthetics_ops.dataset.layout import VersionFile, pulled_shard_name, version_key
from aesthetics_ops.dataset.manifest import Split
from aesthetics_ops.dataset.tfrecord import read_framed
from aesthetics_ops.errors import IntegrityError
from aesthetics_ops.readers.fetching.index import INDEX_COLUMNS, Index, index_of, numbers_of
from aesthetics_ops.readers.fetching.ranges import KeptRecords, StoreShards
from aesthetics_ops.readers.fetching.shards import Buffer, Coming, LocalShards, ShardBytes
from aesthetics_ops.readers.opened import Version
from aesthetics_ops.readers.pixels import Pixels, decode

__all__ = ["PHOTOS_AT_ONCE", "Asked", "Keeping", "SplitReader"]

PHOTOS_AT_ONCE: Final = 16  # that one thread reads, and then decodes

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Keeping:
    """What becomes of records that a store had to send.

    Attributes:
        directory: keeps them, for all versions, splits and processes of a machine; None keeps nothing.
        max_bytes: of all that it keeps; None leaves 1 GiB of the disk free.
    """

    directory: Path | None = None
    max_bytes: int | None = None


class SplitReader:
    """The records of one split, by their numbers in it.

    Attributes:
        version: that they belong to.
        split: the name of the split.
    """

    def __init__(self, version: Version, split: str, keeping: Keeping) -> None:
        """Read nothing yet.

        Args:
            version: to read.
            split: one of its splits.
            keeping: what becomes of records that a store had to send.
        """
        self.version, self.split, self._keeping = version, split, keeping
        self._index: Index | None = None
        self._wanted: set[str] = set()
        self._columns: dict[str, NDArray[Any]] = {}
        self._bytes: ShardBytes | None = None

    @property
    def entry(self) -> Split:
        """What the manifest says of the split."""
        return self.version.manifest.splits[self.split]

    @property
    def index(self) -> Index:
        """Where each record lies; read at the first use.

        Raises:
            NoSuchVersionError: the version has expired since it was opened.
            IntegrityError: records.parquet is not that of this version.
        """
        if self._index is None:
            url = self.version.url_of(version_key(self.version.manifest.version, VersionFile.RECORDS))
            wanted = tuple(self._wanted)
            table = self.version.table([*INDEX_COLUMNS, *wanted])
            self._take_columns(table, wanted)
            self._index = index_of(table, self.split, self.entry, url)
        return self._index

    def want(self, columns: Iterable[str]) -> None:
        """Say which columns of numbers will be asked for, so that they are read together with the index."""
        self._wanted = self._wanted | set(columns)

    def column(self, name: str) -> NDArray[Any]:
        """Return a column of records.parquet beside those of the index, of numbers or of lists of equally many numbers.

        Returns:
            Shape (records,) or (records, numbers).

        Raises:
            NoSuchVersionError: the version has expired since it was opened.
            IntegrityError: records.parquet is not that of this version.
        """
        _ = self.index
        if name not in self._columns:
            self._take_columns(self.version.table(["split", name]), (name,))
        return self._columns[name]

    def _take_columns(self, table: pa.Table, names: Sequence[str]) -> None:
        rows = table.filter(pc.equal(table["split"], self.split)) if names else table
        for name in names:
            url = self.version.url_of(version_key(self.version.manifest.version, VersionFile.RECORDS))
            self._columns[name] = numbers_of(rows, name, url)

    @property
    def is_local(self) -> bool:
        """Whether every shard is a file of this machine."""
        return isinstance(self._opened(), LocalShards)

    def ask(self, rows: NDArray[np.int64]) -> "Asked":
        """Begin to fetch some records, and return what waits for them."""
        return Asked(self, rows, self._opened().ask(rows))

    def again(self, row: int) -> Buffer | None:
        """Fetch a record anew whose bytes, kept on this machine, proved damaged; None where they are all there is."""
        return self._opened().again(row)

    def places(self, rows: NDArray[np.int64]) -> list[tuple[int, int]]:
        """Return the numbers of some records' shards in the split, and of the records in them."""
        shards = self.index.shards[rows]
        return list(zip(shards.tolist(), (rows - self.index.firsts[shards]).tolist(), strict=True))

    def name_of(self, row: int) -> str:
        """Return what names a record in messages."""
        shard = int(self.index.shards[row])
        path, count = self.entry.shards[shard].path, len(self.entry.shards)
        return (
            f"version {self.version.manifest.version}, {path} ({pulled_shard_name(self.split, shard, count)}), "
            f"record {self.index.number(row)} at byte {self.index.offsets[row]}, id {self.index.ids[row].as_py()!r}"
        )

    def named(self, row: int, error: IntegrityError) -> IntegrityError:
        """Return an error that names the record in which it was found."""
        return IntegrityError(f"{self.name_of(row)}: {error}")

    def read_ahead(self) -> None:
        """Have the system read all shards into its memory, in the background, where they are local."""
        shards = self._opened()
        if isinstance(shards, LocalShards):
            shards.read_ahead()

    def close(self) -> None:
        """Let go of files and connections, while nobody reads; a later use opens them again."""
        if self._bytes is not None:
            self._bytes.close()

    def __reduce__(self) -> tuple[Any, ...]:
        return SplitReader, (self.version, self.split, self._keeping)

    def _opened(self) -> ShardBytes:
        if self._bytes is None:
            self._bytes = self._open()
        return self._bytes

    def _open(self) -> ShardBytes:
        shards = self.entry.shards
        files = [self.version.local_shard(self.split, number) for number in range(len(shards))]
        there = [file for file in files if file is not None]
        if len(there) == len(files):
            return LocalShards(self.index, there, shards)
        directory = self._keeping.directory
        kept = None if directory is None else KeptRecords(directory, shards, self._keeping.max_bytes)
        return StoreShards(self.index, self.version, shards, kept=kept)


class Asked:
    """Some records on their way; each is waited for when it is taken.  Threads may take different ones at once."""

    def __init__(self, reader: SplitReader, rows: NDArray[np.int64], coming: Coming) -> None:
        """Records of a split by their numbers in it, and what gives the framed bytes of each."""
        self._reader, self._rows, self._coming = reader, rows, coming

    def __len__(self) -> int:
        return len(self._rows)

    def cancel(self) -> None:
        """Give up what was not requested yet."""
        self._coming.cancel()

    def example(self, at: int) -> Example:
        """Return one record."""
        return self._checked(at, decode_example)

    def image(self, at: int) -> memoryview:
        """Return the JPEG of one record."""
        return self._checked(at, image_in)

    def decode(self, numbers: Sequence[int], pixels: Pixels, draws: Sequence[int], images: Any) -> None:
        """Decode some records, and put what comes of each into `images`, under its number.

        All are read and checked before the first is decoded: after a decode, the core has to fetch the code around it anew.

        Args:
            numbers: which of these records.
            pixels: what to make of each photo.
            draws: 64 random bits for each of these records.
            images: an array of shape (records, height, width, 3), uint8; a list where photos differ in size.
        """
        jpegs = [self.image(at) for at in numbers]
        for at, jpeg in zip(numbers, jpegs, strict=True):
            if pixels.shape is None:
                images[at] = self._decoded(at, jpeg, pixels, draws[at])
            else:
                self._decoded(at, jpeg, pixels, draws[at], images[at])

    def decode_one(
        self, at: int, pixels: Pixels, *, draw: int = 0, out: NDArray[np.uint8] | None = None
    ) -> NDArray[np.uint8]:
        """Decode one record; arguments and result as `decode` of pixels.py."""
        return self._decoded(at, self.image(at), pixels, draw, out)

    def _decoded(
        self, at: int, jpeg: memoryview, pixels: Pixels, draw: int, out: NDArray[np.uint8] | None = None
    ) -> NDArray[np.uint8]:
        try:
            return decode(jpeg, pixels, draw=draw, out=out)
        except IntegrityError as error:
            raise self._named(at, error) from error

    def _checked(self, at: int, use: Callable[[memoryview], _T]) -> _T:
        """Give the checked data of a record to a function; whatever is damaged is named."""
        try:
            return use(read_framed(self._coming.get(at)))
        except IntegrityError as error:
            fresh = self._reader.again(int(self._rows[at]))
            if fresh is None:
                raise self._named(at, error) from error
        try:
            return use(read_framed(fresh))
        except IntegrityError as error:
            raise self._named(at, error) from error

    def _named(self, at: int, error: IntegrityError) -> IntegrityError:
        return self._reader.named(int(self._rows[at]), error)
