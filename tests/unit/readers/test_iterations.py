"""What a trainer may do to an iteration: begin another one, set the epoch within, close, copy, let go."""

import copy
import gc
import pickle
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aesthetics_ops import Batches, Dataset, Pixels, open_dataset
from aesthetics_ops.errors import SettingsError
from aesthetics_ops.readers.fetching import ranges
from aesthetics_ops.readers.opened import open_published
from aesthetics_ops.store import open_store
from aesthetics_ops.testing.datasets import SyntheticDataset, synthetic_photos
from aesthetics_ops.testing.stores import FailingStore, Request

TRAIN = 80


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    path = tmp_path_factory.mktemp("published")
    SyntheticDataset(open_store(f"{path.as_uri()}/")).publish(synthetic_photos(100))
    return open_dataset(path)


@pytest.fixture
def batches(dataset: Dataset) -> Batches:
    return dataset.numpy("train", batch=16, size=8, shuffle=True, seed=3)


def rows_of(batches: Batches) -> list[list[int]]:
    return [draws.rows.tolist() for draws, _ in batches.drawn()]


def test_the_iteration_that_began_last_counts_alone(batches: Batches) -> None:
    earlier = iter(batches)
    next(earlier)
    later = iter(batches)
    next(later)
    for _ in range(3):
        next(earlier)
        assert batches.state_dict()["position"] == 16
    assert len(list(earlier)) == 1
    assert (batches.epoch, batches.state_dict()["position"]) == (0, 16)
    assert len(list(later)) == 4
    assert (batches.epoch, batches.state_dict()["position"]) == (1, 0)


def test_two_iterations_side_by_side_are_the_same_epoch(batches: Batches) -> None:
    for (images, labels), (others, other_labels) in zip(batches, batches, strict=True):
        np.testing.assert_array_equal(images, others)
        np.testing.assert_array_equal(labels, other_labels)
    assert batches.epoch == 1


@pytest.mark.parametrize("name", ["epoch", "set_epoch", "load_state_dict"])
def test_what_is_set_within_an_iteration_is_for_the_next_one(batches: Batches, name: str) -> None:
    reference = copy.deepcopy(batches)
    reference.epoch = 7
    state = reference.state_dict()
    expected = rows_of(reference)
    for number, _ in enumerate(batches):
        if number == 2:
            if name == "epoch":
                batches.epoch = 7
            else:
                getattr(batches, name)(7 if name == "set_epoch" else state)
        assert batches.state_dict()["position"] == (0 if number >= 2 else 16 * (number + 1))
    assert batches.epoch == 7
    assert rows_of(batches) == expected
    assert batches.epoch == 8


def by_pickle(batches: Batches) -> Batches:
    copied: Batches = pickle.loads(pickle.dumps(batches))  # noqa: S301 - its own bytes
    return copied


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, by_pickle])
@pytest.mark.parametrize("used", [False, True])
def test_a_copy_reads_the_same(batches: Batches, copied: Callable[[Batches], Batches], used: bool) -> None:
    taken = iter(batches)
    if used:
        next(taken)
    other = copied(batches)
    assert other.state_dict() == batches.state_dict()
    expected = rows_of(batches)
    batches.epoch = other.epoch = 0
    assert rows_of(other) == expected
    other.close()


def test_closing_ends_an_iteration_with_a_message(batches: Batches) -> None:
    taken = iter(batches)
    next(taken)
    batches.close()
    with pytest.raises(SettingsError, match=r"the batches were closed while they were iterated over; begin a new"):
        next(taken)
    assert sum(len(labels) for _, labels in batches) == TRAIN


@pytest.mark.parametrize("cache", [None, "uint8"])
def test_what_nobody_has_any_more_holds_no_file_open(dataset: Dataset, tmp_path: Path, cache: Any) -> None:
    def of_ours() -> int:
        ours = (tmp_path, dataset.source.url_of("").removeprefix("file://"))
        targets = [str(path.resolve()) for path in Path("/proc/self/fd").iterdir()]
        return sum(target.startswith(tuple(map(str, ours))) for target in targets)

    gc.collect()
    before = of_ours()
    batches = dataset.numpy("train", batch=16, size=8, directory=tmp_path, cache=cache)
    assert len(list(batches)) == 5
    assert of_ours() > before
    del batches
    gc.collect()
    assert of_ours() == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threads": 0}, "threads is 0; it is a whole number, 1 or more"),
        ({"threads": "4"}, "threads is '4'; it is"),
        ({"threads": 2.5}, r"threads is 2\.5; it is"),
        ({"ahead": -1}, "ahead is -1; it is a whole number, 0 or more"),
        ({"ahead": "2"}, "ahead is '2'; it is"),
    ],
)
def test_numbers_that_are_none_are_refused(dataset: Dataset, options: Any, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        dataset.numpy("train", **options)


@pytest.mark.parametrize(
    ("threads", "options", "ahead"),
    [
        (1, {"batch": 64}, 2),
        (2, {"batch": 64}, 2),
        (16, {"batch": 64}, 6),
        (16, {"batch": 256}, 2),
        (2, {"batch": 7}, 7),
        (2, {"batch": 1}, 48),
        (64, {"batch": 64, "size": 1024}, 2),
        (64, {"batch": 16, "size": 1024}, 5),
        (64, {"batch": 16, "pixels": Pixels(1024, "short_side")}, 2),
        (64, {"batch": 16, "raw": True}, 96),
        (64, {"batch": 64, "ahead": 1}, 1),
    ],
)
def test_threads_have_24_photos_each_ahead_within_256_mib(
    dataset: Dataset, threads: int, options: Any, ahead: int
) -> None:
    batches = dataset.numpy("train", threads=threads, **options)
    assert batches.ahead == ahead
    assert dataset.torch("train", threads=threads, **options).batches.ahead == ahead


def test_a_break_gives_up_what_was_not_requested_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranges, "CONNECTIONS", 2)
    inner = open_store("memory://given-up/")
    SyntheticDataset(inner).publish(synthetic_photos(200))
    asked, answers = [], threading.Semaphore(0)

    def fails(request: Request) -> bool:
        if request.method == "get_range":
            asked.append(request.key)
            answers.acquire()
        return False

    dataset = Dataset(open_published(FailingStore(inner, fails), None))
    batches = dataset.numpy("train", batch=8, size=8, shuffle=True, ahead=3)
    draws = next(iter(dataset.numpy("train", batch=8, shuffle=True).sampler))
    for_one = len(set(batches.records.shards[draws.rows].tolist()))
    answers.release(for_one)
    taken = batches.drawn()
    next(taken)
    taken.close()  # type: ignore[attr-defined]
    answers.release(1000)
    del taken, batches
    gc.collect()
    for thread in threading.enumerate():
        if thread.name.startswith("range"):
            thread.join(20)
    assert for_one <= len(asked) <= for_one + 2
