"""Photos are decoded straight into pinned memory.  Here a stand-in gives PyTorch's ordinary memory; benchmarks/gpu.py asks a GPU."""

import gc
import weakref
from typing import Any

import numpy as np
import pytest
import torch

from aesthetics_ops import Dataset, Pixels
from aesthetics_ops.readers.torch import pinning

OPTIONS: dict[str, Any] = {"batch": 8, "shuffle": True, "seed": 3, "pixels": Pixels(24, "random_crop", flip=True)}
IMAGES = torch.uint8


class Allocator:
    """Stands in for PyTorch's allocator of pinned memory, and tells what it gave."""

    def __init__(self) -> None:
        self.given: list[tuple[torch.dtype, int, int]] = []
        self.held: set[int] = set()

    def empty(self, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        memory = np.empty(torch.empty(shape, dtype=dtype, device="meta").nbytes, np.uint8)
        number, tensor = len(self.given), torch.from_numpy(memory)
        self.given.append((dtype, tensor.untyped_storage()._cdata, memory.ctypes.data))
        self.held.add(number)
        weakref.finalize(memory, self.held.discard, number)
        return tensor.view(dtype).view(shape)

    def storages(self, dtype: torch.dtype) -> list[int]:
        return [storage for kind, storage, _ in self.given if kind == dtype]


@pytest.fixture
def allocator(monkeypatch: pytest.MonkeyPatch) -> Allocator:
    allocator = Allocator()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(pinning, "empty_pinned", allocator.empty)
    return allocator


def storage(tensor: torch.Tensor) -> int:
    """What PyTorch notes a copy to a GPU on."""
    return int(tensor.untyped_storage()._cdata)


@pytest.mark.parametrize("layout", ["channels_last", "hwc"])
@pytest.mark.parametrize("cache", [None, "uint8"])
def test_what_is_handed_out_is_what_was_allocated(
    dataset: Dataset, allocator: Allocator, tmp_path: Any, cache: Any, layout: Any
) -> None:
    options = OPTIONS if cache is None else OPTIONS | {"pixels": Pixels(24), "cache": cache, "directory": tmp_path}
    found = list(dataset.torch("train", pin_memory=True, layout=layout, **options))
    assert [storage(images) for images, _ in found] == allocator.storages(IMAGES)
    assert [storage(labels) for _, labels in found] == allocator.storages(torch.float32)
    for (images, labels), (arrays, scores) in zip(found, dataset.numpy("train", **options), strict=True):
        assert images.storage_offset() == 0
        assert images.is_contiguous(
            memory_format=torch.channels_last if layout == "channels_last" else torch.contiguous_format
        )
        np.testing.assert_array_equal(images.permute(0, 2, 3, 1) if layout == "channels_last" else images, arrays)
        np.testing.assert_array_equal(labels, scores)


def test_memory_is_never_used_twice_and_goes_back_to_who_gave_it(dataset: Dataset, allocator: Allocator) -> None:
    batches = dataset.torch("train", pin_memory=True, **OPTIONS)
    kept = [images for _ in range(3) for images, _ in batches]
    copies = [images.clone() for images in kept]
    assert len({images.data_ptr() for images in kept}) == len(kept) == 30
    for images, _labels in batches:
        images.fill_(9)
    for images, expected in zip(kept, copies, strict=True):
        assert torch.equal(images, expected)
    assert len(allocator.storages(IMAGES)) == 40, "each batch asks for memory"
    del images, _labels, kept
    gc.collect()
    assert allocator.held == set()


def test_labels_of_several_names_are_pinned(dataset: Dataset, allocator: Allocator) -> None:
    wanted = dataset.numpy("train", batch=8, size=8, labels=["label"])
    for (_, labels), (_, scores) in zip(
        dataset.torch("train", batch=8, size=8, labels=["label"], pin_memory=True), wanted, strict=True
    ):
        assert storage(labels["label"]) in allocator.storages(torch.float32)
        np.testing.assert_array_equal(labels["label"], scores["label"])


def test_a_split_that_is_left_empty(dataset: Dataset, allocator: Allocator) -> None:
    assert list(dataset.torch("train", size=8, where="label > 100", pin_memory=True)) == []


def test_a_device_that_decodes_needs_no_pinned_memory(dataset: Dataset, allocator: Allocator) -> None:
    assert len(list(dataset.torch("train", pin_memory=True, decode_on="cpu", **OPTIONS))) == 10
    assert allocator.given == []
