"""Batches for Keras: those of numpy, by number.  `fit` itself runs in tests/integration/test_reader_processes.py."""

from typing import Any

import numpy as np
import pytest

from aesthetics_ops import Dataset, IntegrityError, Pixels, SettingsError
from aesthetics_ops.readers.options import ReadOptions
from aesthetics_ops.testing.datasets import synthetic_photos

PHOTOS = synthetic_photos(100)
TRAIN = [photo for photo in PHOTOS if photo.split == "train"]
OPTIONS: ReadOptions = {"pixels": Pixels(16, flip=True), "batch": 7, "shuffle": True, "seed": 3}


def epochs(dataset: Dataset, count: int) -> list[list[float]]:
    batches = dataset.numpy("train", **OPTIONS)
    return [labels.tolist() for _ in range(count) for _, labels in batches]


class TestBatches:
    """Batches by number, as Keras asks for them."""

    def test_they_are_those_of_numpy(self, dataset: Dataset) -> None:
        data, batches = dataset.keras("train", **OPTIONS), dataset.numpy("train", **OPTIONS)
        for _ in range(2):
            assert len(data) == len(batches)
            data.on_epoch_begin()
            found = [data[number] for number in range(len(data))]
            data.on_epoch_end()
            for (images, labels), (images_expected, labels_expected) in zip(found, batches, strict=True):
                np.testing.assert_array_equal(images, images_expected)
                np.testing.assert_array_equal(labels, labels_expected)

    @pytest.mark.parametrize("index", [-1, 12])
    def test_there_are_no_others(self, dataset: Dataset, index: int) -> None:
        with pytest.raises(IndexError, match=f"batch {index} of 12"):
            dataset.keras("train", **OPTIONS)[index]

    def test_after_a_state_no_record_is_left_out(self, dataset: Dataset) -> None:
        data, expected = dataset.keras("train", **OPTIONS), epochs(dataset, 3)
        state = data.state_dict(7)
        data[3]
        data.load_state_dict(state)
        assert len(data) == 12
        data.on_epoch_begin()
        assert [data[number][1].tolist() for number in [*range(12), *range(12)]] == expected[7:31]
        assert data.state_dict(2)["epoch"] == 1
        assert data.state_dict(12 + 5)["epoch"] == 2

    @pytest.mark.parametrize(
        "options", [{"raw": True}, {"pixels": Pixels(8, "short_side")}], ids=["jpegs", "of different sizes"]
    )
    def test_what_is_no_array_is_refused(self, dataset: Dataset, options: Any) -> None:
        with pytest.raises(SettingsError, match="Keras takes photos of one size"):
            dataset.keras("train", **options)

    def test_workers_of_keras_are_refused(self, dataset: Dataset) -> None:
        data = dataset.keras("train", **OPTIONS)
        data.workers = 1
        with pytest.raises(SettingsError, match="workers is 2, but Keras's workers give some batches twice"):
            data.workers = 2

    def test_nothing_is_no_batch(self, dataset: Dataset) -> None:
        assert len(dataset.keras("train", where="label > 1e9")) == 0

    def test_a_damaged_record_is_named(self, dataset: Dataset) -> None:
        records = dataset.open_split("train")
        path = records.reader.version.local_shard("train", int(records.shards[9]))
        assert path is not None
        stored = bytearray(path.read_bytes())
        stored[int(records.reader.index.offsets[9]) + 200] ^= 1
        path.write_bytes(stored)
        data = dataset.keras("train", size=16, batch=5)
        assert len(data[0][1]) == 5
        with pytest.raises(IntegrityError, match=f"version {dataset.version}.*id '{TRAIN[9].id}'"):
            data[1]
