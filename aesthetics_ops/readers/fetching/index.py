"""Where each record of a split lies: arrays, no object per record.

In: the rows of records.parquet that belong to one split, and the split's shards by the manifest.  Out: an `Index`, checked
against the manifest, of about 35 bytes a record.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from aesthetics_ops.dataset.manifest import Split
from aesthetics_ops.dataset.shard_entries import records_of, sizes_of
from aesthetics_ops.errors import IntegrityError

__all__ = ["INDEX_COLUMNS", "Index", "index_of", "numbers_of"]

INDEX_COLUMNS: Final = ("id", "split", "shard", "offset", "length", "label")
_KINDS: Final = {  # of columns that a record cannot be read without
    "shard": (lambda kind: pa.types.is_dictionary(kind) or pa.types.is_string(kind), "text"),
    "offset": (pa.types.is_integer, "whole numbers"),
    "length": (pa.types.is_integer, "whole numbers"),
    "label": (pa.types.is_floating, "numbers"),
}


@dataclass(frozen=True, slots=True, eq=False)
class Index:
    """The records of one split in reading order; arrays of shape (records,).

    Attributes:
        ids: what names each photo; text.
        labels: float32.
        shards: int32, number of the shard in the split, from 0.
        offsets: int64, bytes before the framed record in its shard.
        lengths: int32, bytes of the framed record.
        firsts: int64, of shape (shards,): the row of each shard's first record.
    """

    ids: pa.ChunkedArray
    labels: NDArray[np.float32]
    shards: NDArray[np.int32]
    offsets: NDArray[np.int64]
    lengths: NDArray[np.int32]
    firsts: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def number(self, row: int) -> int:
        """Return the number of a record in its shard, from 0."""
        return int(row - self.firsts[self.shards[row]])


def index_of(rows: pa.Table, name: str, split: Split, url: str) -> Index:
    """Make the index of a split, and compare it with the manifest.

    Args:
        rows: `INDEX_COLUMNS` of all splits, as records.parquet has them.
        name: of the split.
        split: its shards, by the manifest.
        url: of records.parquet, for messages.

    Raises:
        IntegrityError: the table is not that of this manifest.
    """
    rows = rows.filter(pc.equal(rows["split"], name)).combine_chunks()
    _check_values(rows, url)
    shards = _shard_numbers(rows["shard"], split, url)
    offsets = rows["offset"].to_numpy()
    lengths = rows["length"].to_numpy()
    counts = np.array(records_of(split.shards), np.int64)
    ends = np.array(sizes_of(split.shards), np.int64)
    if len(rows) != split.records or not np.array_equal(np.repeat(np.arange(len(counts)), counts), shards):
        raise _not_of_this_version(url, f"it has {len(rows):,} records of split {name!r}, or has them in another order")
    if not _lie_in_order(shards, offsets, lengths, ends):
        raise _not_of_this_version(url, f"the records of split {name!r} do not lie one after another in their shards")
    firsts = np.concatenate([[0], np.cumsum(counts)[:-1]]) if len(counts) else np.zeros(0, np.int64)
    return Index(
        ids=rows["id"],
        labels=rows["label"].to_numpy().astype(np.float32, copy=False),
        shards=shards,
        offsets=offsets,
        lengths=lengths.astype(np.int32),
        firsts=firsts.astype(np.int64),
    )


def numbers_of(rows: pa.Table, name: str, url: str) -> NDArray[Any]:
    """Return a column of numbers, or of lists of equally many numbers, as an array.

    Args:
        rows: of a split.
        name: of the column.
        url: of records.parquet, for messages.

    Raises:
        IntegrityError: a record has none, or the lists differ in length.
    """
    column = rows[name]
    if column.null_count:
        raise _not_of_this_version(url, f"a record has no {name}")
    if not pa.types.is_list(column.type):
        return np.asarray(column.to_numpy())
    lengths = pc.list_value_length(column)
    values = np.asarray(pc.list_flatten(column).to_numpy())
    length = lengths[0].as_py() if len(column) else 0
    if not pc.all(pc.equal(lengths, length), min_count=0).as_py() or len(values) != length * len(column):
        raise _not_of_this_version(url, f"its lists of {name} differ in length")
    return values.reshape(len(column), length)


def _check_values(rows: pa.Table, url: str) -> None:
    """Refuse columns of another kind, and records without a place or a score."""
    for column, (is_such, kind) in _KINDS.items():
        if not is_such(rows.schema.field(column).type):
            raise _not_of_this_version(url, f"column {column} is {rows.schema.field(column).type}, and not {kind}")
        if rows[column].null_count:
            raise _not_of_this_version(url, f"a record has no {column}")
    if not pc.all(pc.is_finite(rows["label"]), min_count=0).as_py():
        row = pc.index(pc.is_finite(rows["label"]), False).as_py()
        raise _not_of_this_version(url, f"the label of record {rows['id'][row].as_py()!r} is no finite number")


def _lie_in_order(
    shards: NDArray[np.int32], offsets: NDArray[np.int64], lengths: NDArray[np.int64], ends: NDArray[np.int64]
) -> bool:
    """Say whether records lie one after another, from each shard's first byte to its last."""
    is_first = np.diff(shards, prepend=-1) != 0
    is_last = np.diff(shards, append=len(ends)) != 0
    after = offsets + lengths
    begins = np.where(is_first, 0, np.roll(after, 1))
    return bool((lengths > 0).all() and (offsets == begins).all() and (after == ends[shards])[is_last].all())


def _shard_numbers(keys: pa.ChunkedArray, split: Split, url: str) -> NDArray[np.int32]:
    """Return the number of each key among the split's shards."""
    if not pa.types.is_dictionary(keys.type):
        keys = keys.dictionary_encode()
    known = {shard.path: number for number, shard in enumerate(split.shards)}
    parts = []
    for chunk in keys.chunks:
        numbers = np.array([known.get(key, -1) for key in chunk.dictionary.to_pylist()], np.int32)
        parts.append(numbers[chunk.indices.to_numpy(zero_copy_only=False)] if len(chunk) else np.zeros(0, np.int32))
    found = np.concatenate(parts) if parts else np.zeros(0, np.int32)
    if (found < 0).any():
        raise _not_of_this_version(url, "it names a shard that the manifest does not name")
    return found


def _not_of_this_version(url: str, what: str) -> IntegrityError:
    return IntegrityError(f"{url} is not the table of this manifest: {what}; pull the version again, or run verify")
