"""Batches that PyTorch must get: those of numpy, bit for bit."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from aesthetics_ops import Dataset, Pixels, open_dataset
from aesthetics_ops.store import open_store
from aesthetics_ops.testing.datasets import Photo, SyntheticDataset, synthetic_photos

__all__ = ["ORDER", "PHOTOS", "TRAIN", "assert_same", "expected", "published"]

PIXELS = Pixels(24, "random_crop", flip=True)
PHOTOS = [replace(photo, score=1 + number / 100) for number, photo in enumerate(synthetic_photos(100))]
TRAIN = [photo for photo in PHOTOS if photo.split == "train"]
ORDER: dict[str, Any] = {"batch": 8, "shuffle": True, "seed": 3, "pixels": PIXELS}


def published(directory: Path, photos: list[Photo]) -> Dataset:
    url = f"{directory.as_uri()}/dataset/"
    SyntheticDataset(open_store(url)).publish(photos)
    return open_dataset(url)


def expected(dataset: Dataset, epoch: int = 0, **options: Any) -> Any:
    batches = dataset.numpy("train", **ORDER | options)
    batches.epoch = epoch
    return list(batches)


def assert_same(found: Any, wanted: Any) -> None:
    """The same batches bit for bit; of `channels_last`."""
    found = list(found)
    assert len(found) == len(wanted)
    for (images, labels), (arrays, scores) in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(images.permute(0, 2, 3, 1).numpy(), arrays)
        np.testing.assert_array_equal(labels.numpy(), scores)
