"""tf.data gives the batches of numpy, bit for bit, epoch after epoch, and says of an error what we said."""

import gc
import weakref
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from aesthetics_ops import Dataset, IntegrityError, NoSuchSplitError, Pixels, SettingsError, as_tf
from aesthetics_ops.readers.buffers import Buffers
from aesthetics_ops.readers.options import ReadOptions
from aesthetics_ops.testing.datasets import synthetic_photos

PHOTOS = synthetic_photos(100)
TRAIN = [photo for photo in PHOTOS if photo.split == "train"]


def arrays(data: Any) -> list[tuple[Any, Any]]:
    return [(images.numpy(), labels.numpy()) for images, labels in data]


def assert_same(found: list[tuple[Any, Any]], expected: list[tuple[Any, Any]]) -> None:
    assert len(found) == len(expected) > 0
    for (images, labels), (images_expected, labels_expected) in zip(found, expected, strict=True):
        assert images.dtype == np.uint8
        np.testing.assert_array_equal(images, images_expected)
        np.testing.assert_array_equal(labels, labels_expected)


@pytest.mark.parametrize(
    "options",
    [
        {"size": 24},
        {"size": (16, 24), "batch": 7},
        {"pixels": Pixels(24, "random_crop", flip=True), "shuffle": True, "seed": 3, "batch": 9},
        {"pixels": Pixels(24, "squash"), "shuffle": "block", "block": 4, "batch": 9},
        {"pixels": Pixels((24, 16), "pad", fill=9), "rank": 1, "ranks": 3, "shuffle": True, "batch": 7},
        {"size": 24, "rank": 2, "ranks": 3, "last": "drop", "batch": 7, "ahead": 0, "threads": 1},
        {"size": 24, "rank": 2, "ranks": 3, "last": "pad", "batch": 7, "shuffle": True, "balance": "label"},
        {"size": 24, "where": "label > 0.5", "batch": 5},
        {"size": 24, "cache": "jpeg"},
    ],
    ids=lambda options: "-".join(options),
)
def test_two_epochs_are_those_of_numpy(dataset: Dataset, options: ReadOptions) -> None:
    data, batches = dataset.tf("train", **options), dataset.numpy("train", **options)
    for _ in range(2):
        assert data.cardinality() == len(batches)
        assert_same(arrays(data), list(batches))


def test_decoded_pixels_are_kept_by_the_core(dataset: Dataset, tmp_path: Path) -> None:
    expected = list(dataset.numpy("train", size=24))
    for _ in range(2):
        data = dataset.tf("train", size=24, cache="uint8", directory=tmp_path / "kept")
        assert_same(arrays(data), expected)
    assert list((tmp_path / "kept").rglob("*.u8"))


@pytest.mark.parametrize(
    ("options", "shape"),
    [
        ({"batch": 16}, (16, 24, 40, 3)),
        ({"batch": 17}, (None, 24, 40, 3)),
        ({"batch": 17, "last": "drop"}, (17, 24, 40, 3)),
        ({"batch": 17, "last": "pad"}, (17, 24, 40, 3)),
        ({"batch": 10, "ranks": 4}, (10, 24, 40, 3)),
        ({"batch": 11, "ranks": 4}, (None, 24, 40, 3)),
        ({"batch": 999}, (None, 24, 40, 3)),
    ],
)
def test_shapes_are_known_before_the_first_batch(
    dataset: Dataset, options: ReadOptions, shape: tuple[int | None, ...]
) -> None:
    data = dataset.tf("train", **(options | {"size": (24, 40)}))
    assert data.element_spec == (tf.TensorSpec(shape, tf.uint8), tf.TensorSpec(shape[:1], tf.float32))
    assert len(arrays(data)) == data.cardinality()


def test_jpegs_are_strings_for_those_who_decode_themselves(dataset: Dataset) -> None:
    data = dataset.tf("train", raw=True, batch=7, shuffle=True)
    assert data.element_spec == (tf.TensorSpec((None,), tf.string), tf.TensorSpec((None,), tf.float32))
    expected = [jpeg for jpegs, _ in dataset.numpy("train", raw=True, batch=7, shuffle=True) for jpeg in jpegs]
    assert [jpeg for jpegs, _ in arrays(data) for jpeg in jpegs] == expected
    parts = data.unbatch().map(lambda jpeg, label: (tf.io.decode_and_crop_jpeg(jpeg, [2, 3, 8, 9], channels=3), label))
    assert {image.shape for image, _ in arrays(parts)} == {(8, 9, 3)}


def test_photos_of_different_sizes_come_one_by_one(dataset: Dataset) -> None:
    pixels = Pixels(20, "short_side", flip=True)
    data = dataset.tf("train", pixels=pixels, batch=7, shuffle=True)
    assert data.element_spec == (tf.TensorSpec((None, None, 3), tf.uint8), tf.TensorSpec((), tf.float32))
    batches = dataset.numpy("train", pixels=pixels, batch=7, shuffle=True)
    for _ in range(2):
        expected = [pair for images, labels in batches for pair in zip(images, labels, strict=True)]
        assert_same(arrays(data), expected)


class TestMemory:
    """Tensors share the memory that photos were decoded into, and it is used again only when no tensor is left over it."""

    OPTIONS: ReadOptions = {"pixels": Pixels(16, flip=True), "batch": 7, "shuffle": True}  # noqa: RUF012

    @pytest.mark.parametrize("cache", [None, "uint8"])
    def test_nothing_is_copied(self, dataset: Dataset, tmp_path: Path, cache: Any, monkeypatch: Any) -> None:
        taken: set[int] = set()

        def take(self: Buffers, shape: tuple[int, ...]) -> Any:
            array = original(self, shape)
            taken.add(array.ctypes.data)
            return array

        original = Buffers.take
        monkeypatch.setattr(Buffers, "take", take)
        options: ReadOptions = {"size": 24, "cache": cache, "directory": tmp_path / "kept"} if cache else self.OPTIONS
        for _ in range(2):
            found = [np.asarray(memoryview(images)).ctypes.data for images, _ in dataset.tf("train", **options)]
            assert set(found) <= taken

    @pytest.mark.parametrize(
        "made",
        [
            lambda data: data,
            lambda data: data.prefetch(4),
            lambda data: data.map(lambda images, labels: (255 - (255 - images), labels), tf.data.AUTOTUNE).prefetch(2),
            lambda data: data.unbatch().batch(7),
            lambda data: data.cache(),
        ],
        ids=["as it is", "prefetch", "map", "unbatch", "cache"],
    )
    def test_batches_that_are_kept_stay_as_they_were(self, dataset: Dataset, made: Any) -> None:
        data, batches = made(dataset.tf("train", **self.OPTIONS)), dataset.numpy("train", **self.OPTIONS)
        kept = list(data)
        views = [np.asarray(memoryview(images)) for images, _ in kept]
        labels = [labels.numpy() for _, labels in kept]
        for _ in range(3):
            for images, _ in data:
                tf.bitwise.invert(images)  # in place, where nobody else holds it
        assert_same(list(zip(views, labels, strict=True)), list(batches))
        assert_same([(images.numpy(), one.numpy()) for images, one in kept], list(_epoch(dataset, 0, self.OPTIONS)))

    def test_what_is_derived_is_not_tuned_unless_that_is_asked_for(self, dataset: Dataset) -> None:
        """An iterator that is tuned waits at its end for the tuner."""
        data = dataset.tf("train", **self.OPTIONS)
        derived = data.map(lambda images, labels: (images + 1, labels), tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)
        assert not derived.options().autotune.enabled
        assert derived.cardinality() == len(arrays(derived)) == 12
        tuned = tf.data.Options()
        tuned.autotune.enabled = True
        assert derived.with_options(tuned).options().autotune.enabled


class TestPosition:
    """The batches that a tf.data.Dataset was made of know where training stands."""

    OPTIONS: ReadOptions = {"pixels": Pixels(16, flip=True), "batch": 7, "shuffle": True}  # noqa: RUF012

    def test_a_state_goes_on_with_the_next_batch(self, dataset: Dataset) -> None:
        expected = [*dataset.numpy("train", **self.OPTIONS)]
        batches = dataset.numpy("train", **self.OPTIONS)
        epochs = [arrays(as_tf(batches)) for _ in range(2)]
        assert_same(epochs[0], expected)
        taken = []
        for images, labels in islice(as_tf(batches), 5):
            taken.append((images.numpy(), labels.numpy()))
            state = batches.state_dict()
        resumed = dataset.numpy("train", **self.OPTIONS)
        resumed.load_state_dict(state)
        data = as_tf(resumed)
        assert data.cardinality() == tf.data.UNKNOWN_CARDINALITY
        rest = arrays(data)
        assert len(rest) == len(expected) - 5
        again = dataset.numpy("train", **self.OPTIONS)
        again.epoch = 2
        assert_same(taken + rest, list(again))
        assert_same(arrays(data), list(again))

    def test_who_prefetches_says_how_many_batches_were_trained_on(self, dataset: Dataset) -> None:
        batches = dataset.numpy("train", **self.OPTIONS)
        data = as_tf(batches).prefetch(4)
        for trained, (_images, last) in enumerate(data, 1):
            if trained == 3:
                labels = last.numpy()
                state = batches.sampler.state_dict(trained)
                break
        resumed = dataset.numpy("train", **self.OPTIONS)
        resumed.load_state_dict(state)
        fresh = list(dataset.numpy("train", **self.OPTIONS))
        np.testing.assert_array_equal(labels, fresh[2][1])
        assert_same(arrays(as_tf(resumed)), fresh[3:])

    def test_after_a_break_the_epoch_begins_again(self, dataset: Dataset) -> None:
        data = dataset.tf("train", **self.OPTIONS)
        first = arrays(islice(data, 5))
        second = arrays(data)
        assert_same(first, second[:5])
        assert_same(arrays(data), list(_epoch(dataset, 1, self.OPTIONS)))

    @pytest.mark.parametrize("ahead", [0, 2])
    def test_an_epoch_is_over_when_its_last_batch_was_given_out(self, dataset: Dataset, ahead: int) -> None:
        """Keras takes as many batches as there are, and never asks for one more."""
        options: ReadOptions = self.OPTIONS | {"ahead": ahead}
        data = dataset.tf("train", **options)
        epochs = [arrays(islice(data, 12)) for _ in range(3)]
        for number, found in enumerate(epochs):
            assert_same(found, list(_epoch(dataset, number, options)))

    def test_a_state_that_comes_too_late_is_refused(self, dataset: Dataset) -> None:
        batches = dataset.numpy("train", **self.OPTIONS)
        next(iter(batches))
        state = batches.state_dict()
        late = dataset.numpy("train", **self.OPTIONS)
        data = as_tf(late)
        late.load_state_dict(state)
        with pytest.raises(tf.errors.OpError, match=r"11 batches are left.*made for 12; load a state before as_tf"):
            arrays(data)


def _epoch(dataset: Dataset, number: int, options: ReadOptions) -> Any:
    batches = dataset.numpy("train", **options)
    batches.epoch = number
    return batches


class TestErrors:
    """What is wrong is said in our words."""

    def test_a_damaged_record_is_named(self, dataset: Dataset) -> None:
        records = dataset.open_split("train")
        path = records.reader.version.local_shard("train", int(records.shards[9]))
        assert path is not None
        data = bytearray(path.read_bytes())
        data[int(records.reader.index.offsets[9]) + 200] ^= 1
        path.write_bytes(data)
        with pytest.raises(IntegrityError) as ours:
            list(dataset.numpy("train", size=16, batch=4))
        batches = dataset.tf("train", size=16, batch=4)
        with pytest.raises(tf.errors.OpError) as theirs:
            arrays(batches)
        assert f"IntegrityError: {ours.value}" in str(theirs.value)
        assert f"version {dataset.version}" in str(ours.value)
        assert f"id '{TRAIN[9].id}'" in str(ours.value)
        assert len(arrays(islice(batches, 2))) == 2, "and those before it are read as before"

    def test_wrong_options_are_refused_at_once(self, dataset: Dataset) -> None:
        with pytest.raises(SettingsError, match="size and raw say different things"):
            dataset.tf("train", size=3, raw=True)
        with pytest.raises(NoSuchSplitError, match="has no split 'holdout'"):
            dataset.tf("holdout")

    @pytest.mark.parametrize("options", [{}, {"raw": True}, {"shuffle": True, "ranks": 2}])
    def test_nothing_is_no_batch(self, dataset: Dataset, options: ReadOptions) -> None:
        data = dataset.tf("train", **(options | {"where": "label > 1e9"}))
        assert data.cardinality() == 0
        assert arrays(data) == arrays(data) == []


def test_a_dataset_that_is_let_go_takes_its_batches_along(dataset: Dataset) -> None:
    batches = dataset.numpy("train", size=16)
    data = as_tf(batches)
    assert data.batches is batches
    # AutoGraph fails on functions in Python 3.13 and keeps the error, whose frames hold the batches
    same = tf.autograph.experimental.do_not_convert(lambda images, labels: (images, labels))
    derived = data.map(same).prefetch(1)
    gone = weakref.ref(batches)
    del batches, data
    gc.collect()
    assert len(arrays(derived)) == 2
    del derived
    gc.collect()
    assert gone() is None
