"""Columns of Arrow as numpy arrays, taken out of their buffers.

Arrow's own conversions load `pyarrow.compute` and, where it is installed, pandas: half a CPU second, which a process that
converts a few shards would pay for nothing.  What these functions do not know is left to Arrow, which gives the same.
"""

import sys
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa

__all__ = ["lists_of", "numbers_of", "singles_of", "texts_of", "without_pandas"]

_KINDS: Final[dict[pa.DataType, np.dtype[Any]]] = {
    pa.int32(): np.dtype(np.int32),
    pa.int64(): np.dtype(np.int64),
    pa.float32(): np.dtype(np.float32),
    pa.float64(): np.dtype(np.float64),
}
_OFFSETS: Final[dict[str, np.dtype[Any]]] = {
    "string": np.dtype(np.int32),
    "large_string": np.dtype(np.int64),
    "list": np.dtype(np.int32),
    "large_list": np.dtype(np.int64),
}


def numbers_of(column: pa.ChunkedArray) -> np.ndarray:
    """Return a column of numbers, shape (rows,); nulls are what `to_numpy` makes of them."""
    if column.null_count or column.type not in _KINDS:
        return np.asarray(column.to_numpy())
    return _concatenated([_numbers(chunk) for chunk in column.chunks], _KINDS[column.type])


def texts_of(column: pa.ChunkedArray) -> tuple[np.ndarray, memoryview]:
    """Return the offsets of texts, int64, shape (rows + 1,), and their UTF-8 bytes; a null counts as an empty text."""
    if str(column.type) not in _OFFSETS:
        column = column.cast(pa.large_string())
    parts = []
    for chunk in column.chunks:
        offsets, data = _offsets(chunk), chunk.buffers()[2]
        parts.append((offsets, np.frombuffer(data, np.uint8) if data else np.empty(0, np.uint8)))
    offsets, data = _joined(parts, np.dtype(np.uint8))
    return offsets, data.data


def lists_of(column: pa.ChunkedArray, kind: pa.DataType) -> tuple[np.ndarray, np.ndarray]:
    """Return the offsets of lists, int64, shape (rows + 1,), and their values, of this kind; a null counts as an empty list."""
    is_known = kind in _KINDS and column.type in (pa.list_(kind), pa.large_list(kind))
    if not is_known or not all(map(_is_plain, column.chunks)):
        return _lists_by_arrow(column, kind)
    parts = [(_offsets(chunk), _numbers(chunk.values)) for chunk in column.chunks]
    return _joined(parts, _KINDS[kind])


def singles_of(column: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """Return offsets, int64, shape (rows + 1,), and values of a column of numbers: one is a list of itself, a null an empty list."""
    is_there = _concatenated([_present(chunk) for chunk in column.chunks], np.dtype(bool))
    if column.type in _KINDS:
        values = _concatenated([_numbers(chunk) for chunk in column.chunks], _KINDS[column.type])[is_there]
    else:
        values = column.drop_null().to_numpy()
    return np.r_[0, np.cumsum(is_there)].astype(np.int64), values


def _is_plain(lists: pa.Array) -> bool:
    """Say whether a list's values are those between its offsets: no null has any, and no value is null."""
    return lists.values.null_count == 0 and not np.diff(_offsets(lists))[~_present(lists)].any()


def _lists_by_arrow(column: pa.ChunkedArray, kind: pa.DataType) -> tuple[np.ndarray, np.ndarray]:
    array = pa.concat_arrays(column.cast(pa.large_list(kind)).chunks or [pa.array([], pa.large_list(kind))])
    lengths = np.asarray(array.value_lengths().fill_null(0).to_numpy(zero_copy_only=False), np.int64)
    return np.r_[0, np.cumsum(lengths)], array.flatten().to_numpy(zero_copy_only=False)


def _numbers(array: pa.Array) -> np.ndarray:
    kind = _KINDS[array.type]
    data = array.buffers()[-1]
    if not len(array) or data is None:
        return np.empty(0, kind)
    return np.frombuffer(data, kind, len(array), array.offset * kind.itemsize)


def _present(array: pa.Array) -> np.ndarray:
    bits = array.buffers()[0]
    if bits is None or not array.null_count:
        return np.ones(len(array), bool)
    every = np.unpackbits(np.frombuffer(bits, np.uint8), bitorder="little")
    present: np.ndarray = every[array.offset : array.offset + len(array)].astype(bool)
    return present


def _offsets(array: pa.Array) -> np.ndarray:
    """Return where the rows of texts or lists begin, and the last one ends."""
    kind = _OFFSETS[str(array.type).partition("<")[0]]
    offsets = array.buffers()[1]
    if not len(array) or offsets is None:
        return np.zeros(1, np.int64)
    return np.frombuffer(offsets, kind, len(array) + 1, array.offset * kind.itemsize).astype(np.int64)


def _joined(parts: Sequence[tuple[np.ndarray, np.ndarray]], kind: np.dtype[Any]) -> tuple[np.ndarray, np.ndarray]:
    """Put the rows of chunks behind each other: the offsets of all, and their values."""
    if len(parts) == 1:
        return parts[0]
    lengths = [np.diff(offsets) for offsets, _ in parts]
    values = [values[offsets[0] : offsets[-1]] for offsets, values in parts]
    return np.r_[0, np.cumsum(_concatenated(lengths, np.dtype(np.int64)))], _concatenated(values, kind)


def _concatenated(arrays: Sequence[np.ndarray], kind: np.dtype[Any]) -> np.ndarray:
    return arrays[0] if len(arrays) == 1 else np.concatenate([np.empty(0, kind), *arrays])


def without_pandas() -> None:
    """Have PyArrow load no pandas by itself in this process, whose code is all of this project.

    PyArrow looks for pandas once, when the first list becomes an array.  It finds none then, as on a machine without it.
    Whoever imports pandas later has it, and PyArrow's conversions to it work.
    """
    absent = _NoPandas()
    sys.meta_path.insert(0, absent)
    try:
        pa.array([None])
    finally:
        sys.meta_path.remove(absent)


class _NoPandas:
    """A finder of modules for which there is no pandas."""

    def find_spec(self, name: str, *_: object) -> None:
        """Refuse pandas; leave all else to the other finders."""
        if name == "pandas":
            raise ModuleNotFoundError("not looked for", name=name)
