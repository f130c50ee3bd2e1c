"""Grain gets the batches of numpy by number, in its threads too, or single photos for an order of its own."""

from typing import Any

import grain
import numpy as np
import pytest

from aesthetics_ops import Dataset, IntegrityError, Pixels
from aesthetics_ops.readers.options import ReadOptions
from aesthetics_ops.testing.datasets import synthetic_photos

PHOTOS = synthetic_photos(100)
TRAIN = [photo for photo in PHOTOS if photo.split == "train"]
OPTIONS: ReadOptions = {"pixels": Pixels(16, "random_crop", flip=True), "batch": 7, "shuffle": True, "seed": 3}


def two_epochs(dataset: Dataset, **options: Any) -> list[tuple[Any, Any]]:
    batches = dataset.numpy("train", **options)
    return [batch for _ in range(2) for batch in batches]


def assert_same(found: Any, expected: list[tuple[Any, Any]]) -> None:
    found = list(found)
    assert len(found) == len(expected) > 0
    for (images, labels), (images_expected, labels_expected) in zip(found, expected, strict=True):
        np.testing.assert_array_equal(images, images_expected)
        np.testing.assert_array_equal(labels, labels_expected)


@pytest.mark.parametrize(
    "options",
    [
        OPTIONS,
        {"size": 24, "batch": 16},
        {"size": 24, "shuffle": "block", "block": 4, "batch": 9, "rank": 1, "ranks": 3},
        {"size": 24, "shuffle": True, "balance": "label", "last": "pad", "batch": 9, "rank": 1, "ranks": 3},
        {"raw": True, "last": "drop", "batch": 9},
    ],
    ids=lambda options: "-".join(options),
)
def test_two_epochs_are_those_of_numpy(dataset: Dataset, options: ReadOptions) -> None:
    data, expected = dataset.grain("train", **options), two_epochs(dataset, **options)
    assert len(data) * 2 == len(expected)
    assert_same(data.repeat(2), expected)
    assert_same([data[number] for number in reversed(range(len(expected)))][::-1], expected)


@pytest.mark.parametrize("threads", [0, 1, 3])
def test_threads_change_nothing(dataset: Dataset, threads: int) -> None:
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=2)
    assert_same(dataset.grain("train", **OPTIONS).repeat(2).to_iter_dataset(options), two_epochs(dataset, **OPTIONS))


def test_an_iterator_goes_on_from_grains_own_state_and_from_ours(dataset: Dataset) -> None:
    expected = two_epochs(dataset, **OPTIONS)
    data = dataset.grain("train", **OPTIONS)
    reading = iter(data.repeat(2))
    begun = [next(reading) for _ in range(17)]
    again = iter(data.repeat(2))
    again.set_state(reading.get_state())
    assert_same([*begun, *again], expected)
    resumed = dataset.numpy("train", **OPTIONS)
    resumed.load_state_dict(data.sampler.state_at(17))
    assert_same(list(resumed), expected[17:])
    other = dataset.grain("train", **OPTIONS)
    other.sampler.load_state_dict(data.sampler.state_at(5))
    assert_same([other[number] for number in range(19)], expected[5:])


def test_single_photos_can_have_an_order_of_grains_own(dataset: Dataset) -> None:
    source = dataset.grain("train", size=24).source
    own = grain.MapDataset.source(source).shuffle(seed=1).batch(32)
    images, labels = zip(*own, strict=True)
    assert [part.shape for part in images] == [(32, 24, 24, 3), (32, 24, 24, 3), (16, 24, 24, 3)]
    assert sorted(np.concatenate(labels)) == sorted(dataset.open_split("train").labels)
    expected, _ = dataset.open_split("train").arrays([79, 3], Pixels(24))
    np.testing.assert_array_equal([source[-1][0], source[3][0]], expected)
    with pytest.raises(IndexError, match="row 80 of 80 records"):
        source[80]


def test_slices_and_maps_are_grains(dataset: Dataset) -> None:
    data = dataset.grain("train", **OPTIONS)
    assert_same(data[3:5], two_epochs(dataset, **OPTIONS)[3:5])
    assert len(data.map(lambda batch: batch[1])[0]) == 7


def test_nothing_is_no_batch(dataset: Dataset) -> None:
    data = dataset.grain("train", where="label > 1e9")
    assert list(data) == []
    with pytest.raises(IndexError, match="batch 0, of 0 in an epoch"):
        data[0]


def test_a_damaged_record_is_named(dataset: Dataset) -> None:
    records = dataset.open_split("train")
    path = records.reader.version.local_shard("train", int(records.shards[9]))
    assert path is not None
    data = bytearray(path.read_bytes())
    data[int(records.reader.index.offsets[9]) + 200] ^= 1
    path.write_bytes(data)
    with pytest.raises(IntegrityError, match=f"version {dataset.version}.*id '{TRAIN[9].id}'"):
        list(dataset.grain("train", size=16))
