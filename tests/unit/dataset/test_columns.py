"""Columns out of Arrow's buffers are what Arrow's own conversions make of them, however a table was cut and put together."""

from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aesthetics_ops.dataset.columns import lists_of, numbers_of, singles_of, texts_of

TEXTS = st.one_of(st.none(), st.text(st.characters(exclude_categories=["Cs"]), max_size=4))
NUMBERS = st.integers(0, 9)
LISTS = st.one_of(st.none(), st.lists(NUMBERS, max_size=3))


def column(values: list[Any], kind: pa.DataType, cuts: list[int]) -> pa.ChunkedArray:
    """Return the values in chunks, each a slice of a longer array."""
    ends = sorted({0, len(values), *(cut for cut in cuts if cut < len(values))})
    pieces = [[None, *values[low:high], None] for low, high in pairwise(ends)]
    return pa.chunked_array([pa.array(piece, kind).slice(1, len(piece) - 2) for piece in pieces], kind)


def rows_of(offsets: np.ndarray, values: Any) -> list[Any]:
    assert offsets.dtype == np.int64
    return [values[low:high] for low, high in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True)]


cuts = st.lists(st.integers(0, 12), max_size=3)


@given(st.lists(TEXTS, max_size=12), cuts, st.sampled_from([pa.string(), pa.large_string(), pa.string_view()]))
def test_texts(values: list[str | None], places: list[int], kind: pa.DataType) -> None:
    offsets, data = texts_of(column(values, kind, places))
    assert [bytes(row).decode() for row in rows_of(offsets, data)] == [value or "" for value in values]


@given(
    st.lists(LISTS, max_size=12),
    cuts,
    st.sampled_from([pa.list_, pa.large_list]),
    st.sampled_from([pa.float32(), pa.float64(), pa.int64(), pa.int16()]),
)
def test_lists(values: list[list[int] | None], places: list[int], listed: Any, kind: pa.DataType) -> None:
    offsets, data = lists_of(column(values, listed(kind), places), kind)
    assert [row.tolist() for row in rows_of(offsets, data)] == [value or [] for value in values]
    assert data.dtype == kind.to_pandas_dtype() or not len(data)


@given(
    st.lists(st.one_of(st.none(), NUMBERS), max_size=12), cuts, st.sampled_from([pa.float32(), pa.int64(), pa.int8()])
)
def test_numbers(values: list[int | None], places: list[int], kind: pa.DataType) -> None:
    found = column(values, kind, places)
    offsets, data = singles_of(found)
    assert [row.tolist() for row in rows_of(offsets, data)] == [[] if value is None else [value] for value in values]
    np.testing.assert_array_equal(numbers_of(found), found.to_numpy())


@pytest.mark.parametrize("validity", [0b101, 0b111])
def test_a_null_has_no_values_though_some_stand_at_its_place(validity: int) -> None:
    offsets, values = pa.array([0, 2, 4, 5], pa.int32()), pa.array([1, 2, 3, 4, 5], pa.float32())
    buffers = [pa.py_buffer(bytes([validity])), offsets.buffers()[1]]
    lists = pa.Array.from_buffers(pa.list_(pa.float32()), 3, buffers, children=[values])
    expected = [[1, 2], [3, 4] if validity == 0b111 else [], [5]]
    found = rows_of(*lists_of(pa.chunked_array([lists]), pa.float32()))
    assert [row.tolist() for row in found] == expected
