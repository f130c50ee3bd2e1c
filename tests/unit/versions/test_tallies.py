"""Statistics that are taken some rows at a time are those of all rows at once."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aesthetics_ops.dataset.statistics import (
    image_statistics,
    jpeg_statistics,
    label_statistics,
    score_statistics,
    vote_statistics,
)
from aesthetics_ops.dataset.tables import EXTRA_SCORE
from aesthetics_ops.errors import IntegrityError
from aesthetics_ops.versions.tallies import RecordStatistics, record_statistics


def records(count: int, seed: int) -> pa.Table:
    random = np.random.default_rng(seed)
    votes = random.integers(0, 50, (count, 5)) + np.array([1, 0, 0, 0, 0])
    return pa.table(
        {
            "label": pa.array(random.normal(5, 1, count), pa.float32()),
            f"{EXTRA_SCORE}quality": pa.array(random.choice([0.5, 0.5, 0.25], count), pa.float32()),
            "width": random.integers(1, 4000, count),
            "height": random.integers(1, 40, count),
            "bytes": random.integers(1000, 2**40, count),
            "transforms": pa.array([["resized"] * (number % 3) for number in range(count)], pa.list_(pa.string())),
            "progressive": pa.array([(None, False, True)[number % 3] for number in range(count)]),
            "sampling": pa.array([("4:2:0", "gray", None)[number % 2] for number in range(count)], pa.string()),
            "brightness": pa.array([None if number % 4 == 1 else number / 16 for number in range(count)], pa.float32()),
            "contrast": pa.array([None if number % 4 == 1 else number / 2 for number in range(count)], pa.float32()),
            "votes": pa.array(votes.tolist(), pa.list_(pa.int64())),
            "distribution": pa.array((votes / votes.sum(axis=1, keepdims=True)).tolist(), pa.list_(pa.float32())),
            "label_std": pa.array(random.random(count), pa.float32()),
        }
    )


def tallied(rows: pa.Table, at_once: int) -> RecordStatistics:
    def batches(columns: list[str] | None) -> Iterator[pa.Table]:
        for first in range(0, rows.num_rows, at_once):
            yield rows.slice(first, at_once).select(columns or rows.column_names)

    return record_statistics(batches, rows.column_names, "records.parquet")


@given(st.integers(1, 60), st.integers(0, 2**32), st.integers(1, 61))
def test_pieces_give_what_the_whole_gives(count: int, seed: int, at_once: int) -> None:
    rows = records(count, seed)
    found = tallied(rows, at_once)
    labels = label_statistics(rows["label"], "none", None, None).model_dump()
    for field in ("min", "max", "mean", "std"):
        assert found.label[field] == pytest.approx(labels[field], rel=1e-9, abs=1e-12)
    assert found.label["histogram"] == labels["histogram"]
    assert found.images.total_pixels == image_statistics(rows).total_pixels
    for size in ("width", "height", "bytes"):
        assert getattr(found.images, size) == pytest.approx(getattr(image_statistics(rows), size), rel=1e-9)
    for tone in ("measured", "brightness", "contrast"):  # sums of sixteenths are exact
        assert getattr(found.images, tone) == getattr(image_statistics(rows), tone)
    assert found.jpegs == jpeg_statistics(rows)
    assert found.votes is not None
    votes = vote_statistics(rows)
    assert votes is not None
    assert (found.votes.counts, found.votes.fewest, found.votes.most) == (votes.counts, votes.fewest, votes.most)
    assert found.votes.mean_distribution == pytest.approx(votes.mean_distribution)
    assert found.votes.mean_std == pytest.approx(votes.mean_std)
    assert found.scores["quality"].histogram == score_statistics(rows)["quality"].histogram
    assert found.transforms.total() == len(rows["transforms"].combine_chunks().flatten())


def test_sizes_that_all_differ_are_merged_on_the_way() -> None:
    rows = records(1, 0)
    count = 600_000
    many = pa.table({name: pa.chunked_array([pa.repeat(rows[name][0], count)]) for name in rows.column_names})
    many = many.set_column(many.schema.get_field_index("bytes"), "bytes", pa.array(np.arange(count)[::-1].copy()))
    assert tallied(many, 50_000).images.bytes == image_statistics(many).bytes


@pytest.mark.parametrize(
    ("column", "values", "said"),
    [
        ("width", [1, None], "lacks values of 'width'"),
        ("label", [1.0, float("inf")], "label of a record is no finite number"),
        (f"{EXTRA_SCORE}quality", [1.0, None], "lacks values of 'label/quality'"),
        ("votes", [[1] * 5, [1] * 4], "votes has not the same number of ratings in every record"),
        ("distribution", [[0.2] * 5, None], "distribution has not the same number of ratings in every record"),
    ],
)
@pytest.mark.parametrize("at_once", [1, 2])
def test_what_has_no_statistics_is_named(column: str, values: list[object], said: str, at_once: int) -> None:
    rows = records(2, 0)
    place = rows.schema.get_field_index(column)
    altered = rows.set_column(place, column, pa.array(values, rows.schema.field(column).type))
    with pytest.raises(IntegrityError, match=f"^records.parquet.*{said}"):
        tallied(altered, at_once)


def test_no_record_is_no_version() -> None:
    with pytest.raises(IntegrityError, match="has no record"):
        tallied(records(1, 0).slice(0, 0), 5)
