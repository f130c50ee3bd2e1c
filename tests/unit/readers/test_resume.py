"""Batches that are made ahead: the state is that of the last one given out, and the epoch the one that is trained on."""

from itertools import chain
from typing import Any

import pytest

from aesthetics_ops import Batches, Dataset, open_dataset
from aesthetics_ops.store import open_store
from aesthetics_ops.testing.datasets import SyntheticDataset, synthetic_photos

URL = "memory://resume/dataset/"


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    SyntheticDataset(open_store(URL)).publish(synthetic_photos(60))
    return open_dataset(URL)


def batches_of(dataset: Dataset, **options: Any) -> Batches:
    return dataset.numpy("train", **({"batch": 8, "raw": True, "shuffle": True} | options))


def labels_in(batches: Batches) -> list[list[float]]:
    """The rest of an epoch; labels tell the synthetic photos apart."""
    return [labels.tolist() for _, labels in batches]


@pytest.mark.parametrize("ahead", [0, 2, 50])
def test_epoch_and_position_are_those_of_the_batch_in_hand(dataset: Dataset, ahead: int) -> None:
    batches = batches_of(dataset, ahead=ahead)
    count = dataset.splits["train"].records
    for epoch in range(2):
        seen = [(batches.epoch, batches.state_dict()["position"], len(batches)) for _ in batches]
        assert seen == [(epoch, min(8 * (n + 1), count), len(seen)) for n in range(len(seen))]
        assert (batches.epoch, batches.state_dict()["position"]) == (epoch + 1, 0)


@pytest.mark.parametrize("ahead", [0, 50])
@pytest.mark.parametrize("taken", range(7))
def test_a_resume_goes_on_after_the_batch_in_hand(dataset: Dataset, ahead: int, taken: int) -> None:
    whole = labels_in(batches_of(dataset))
    first = batches_of(dataset, ahead=ahead)
    iterator = iter(first)
    for _ in range(min(taken, len(whole))):
        next(iterator)
    state = first.state_dict()
    again = batches_of(dataset, ahead=1, threads=1)
    again.load_state_dict(state)
    assert labels_in(again) == whole[taken:]
    smaller = batches_of(dataset, batch=3)
    smaller.load_state_dict(state)
    assert list(chain(*labels_in(smaller))) == list(chain(*whole[taken:]))
    assert labels_in(again) == labels_in(at_epoch(dataset, 1))


def at_epoch(dataset: Dataset, epoch: int) -> Batches:
    batches = batches_of(dataset)
    batches.epoch = epoch
    return batches


def test_another_epoch_after_a_break_begins_at_its_beginning(dataset: Dataset) -> None:
    batches = batches_of(dataset)
    for number, _ in enumerate(batches):
        if number == 3:
            break
    assert batches.state_dict()["position"] == 32
    batches.epoch = 5
    state = batches.state_dict()
    assert (state["epoch"], state["position"]) == (5, 0)
    assert labels_in(batches) == labels_in(at_epoch(dataset, 5))
