"""Memory of batches is used again, and never while anything holds what is in it."""

import copy
import gc
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aesthetics_ops import Pixels, open_dataset
from aesthetics_ops.readers.buffers import Buffers, Scratch
from aesthetics_ops.readers.options import ReadOptions
from aesthetics_ops.store import open_store
from aesthetics_ops.testing.datasets import SyntheticDataset, synthetic_photos

SHAPE = (4, 30, 40, 3)


def address(array: Any) -> int:
    found: int = np.asarray(array).ctypes.data
    return found


def test_memory_of_what_was_let_go_is_used_again() -> None:
    buffers = Buffers(2)
    array = buffers.take(SHAPE)
    assert array.shape == SHAPE
    assert array.dtype == np.uint8
    assert array.flags.c_contiguous
    assert array.flags.writeable
    first = address(array)
    assert first % 64 == 0
    del array
    assert address(buffers.take((3, *SHAPE[1:]))) == first, "a smaller batch, too"


@pytest.mark.parametrize(
    "held", [lambda array: array[1, 2:], lambda array: array.T, memoryview], ids=["part", "T", "view"]
)
def test_a_view_holds_the_memory(held: Any) -> None:
    buffers = Buffers(2)
    array = buffers.take(SHAPE)
    array[...] = 7
    first, view = address(array), held(array)
    del array
    other = buffers.take(SHAPE)
    other[...] = 8
    assert address(other) != first
    assert np.all(np.asarray(view) == 7)
    del view
    assert address(buffers.take(SHAPE)) == first


def test_what_lies_free_is_bounded_and_can_be_given_back() -> None:
    buffers = Buffers(2)
    arrays = [buffers.take(SHAPE) for _ in range(5)]
    del arrays
    assert len(buffers._free) == 2
    assert len(copy.copy(buffers)._free) == 0
    buffers.clear()
    assert len(buffers._free) == 0
    assert buffers.take(SHAPE).size == np.prod(SHAPE), "and there is more"


def test_memory_that_is_too_small_is_not_used() -> None:
    buffers = Buffers(2)
    array = buffers.take(SHAPE)
    del array
    large = buffers.take((9, *SHAPE[1:]))
    large[...] = 1
    assert len(buffers._free) == 0


def test_an_array_of_nothing_needs_no_memory() -> None:
    assert Buffers(2).take((0, 30, 40, 3)).shape == (0, 30, 40, 3)


def test_a_batch_beyond_all_memory_is_a_memory_error() -> None:
    with pytest.raises(MemoryError, match=r"a batch of 1,125,899,906,842,624 bytes"):
        Buffers(2).take((1 << 25, 1 << 25))


def test_threads_never_share_memory() -> None:
    buffers, wrong = Buffers(3), []

    def use(number: int) -> None:
        draws, held = np.random.default_rng(number), {}
        for turn in range(400):
            mark = (number * 50 + turn) % 251
            held[turn] = (array := buffers.take((2, 8, 8, 3)), mark)
            array[...] = mark
            for at in [at for at in held if draws.random() < 0.4]:
                kept, expected = held.pop(at)
                wrong.extend([at] * (not np.all(kept == expected)))

    threads = [threading.Thread(target=use, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_scratch_is_each_threads_own_and_stays_small() -> None:
    scratch = Scratch(2)
    first, second = scratch.array(0, (10, 10, 3)), scratch.array(1, (10, 10, 3))
    assert not np.may_share_memory(first, second)
    assert np.may_share_memory(first, scratch.array(0, (5, 5)))
    theirs: list[Any] = []
    thread = threading.Thread(target=lambda: theirs.append(scratch.array(0, (10, 10, 3))))
    thread.start()
    thread.join()
    assert not np.may_share_memory(first, theirs[0])
    large = scratch.array(0, (2000, 2000, 3))
    assert not np.may_share_memory(large, scratch.array(0, (2000, 2000, 3))), "a large picture's memory is not kept"


@pytest.mark.parametrize("cache", [None, "uint8"])
def test_batches_that_are_kept_stay_as_they_were(tmp_path: Path, cache: Any) -> None:
    url = f"{tmp_path.as_uri()}/dataset/"
    SyntheticDataset(open_store(url)).publish(synthetic_photos(100))
    options: ReadOptions = {"pixels": Pixels(16), "batch": 7, "shuffle": True}
    if cache:
        options |= {"cache": cache, "directory": tmp_path / "kept"}
    batches = open_dataset(url).numpy("train", **options)
    kept = [images for _ in range(3) for images, _ in batches]
    copies = [images.copy() for images in kept]
    addresses = {address(images) for images in kept}
    assert len(addresses) == len(kept)
    for _ in range(2):
        for images, _ in batches:
            images[...] = 9
    for images, expected in zip(kept, copies, strict=True):
        np.testing.assert_array_equal(images, expected)
    del images, kept
    gc.collect()
    again = {address(images) for images, _ in batches}
    assert len(again) <= batches.ahead + 3, "and what nobody holds is used again"
