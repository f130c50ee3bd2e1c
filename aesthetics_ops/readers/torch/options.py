"""What PyTorch's readers share: their options, the ranks of torch.distributed, arrays as tensors."""

import logging
import os
from collections.abc import Callable
from typing import Any, Literal, Protocol, Unpack

import numpy as np
import torch
from torch import distributed

from aesthetics_ops.errors import SettingsError
from aesthetics_ops.readers.batches import Batches
from aesthetics_ops.readers.options import ReadOptions

__all__ = [
    "Layout",
    "LoaderOptions",
    "PartsOptions",
    "Splits",
    "TorchBatch",
    "TorchOptions",
    "as_labels",
    "as_tensors",
    "checked_layout",
    "laid_out",
    "parted",
]

_log = logging.getLogger(__name__)

Layout = Literal["channels_last", "hwc"]
TorchBatch = tuple[Any, Any]  # images are a tensor, by some options a list of tensors or JPEGs; labels one, or a dict


class TorchOptions(ReadOptions, total=False):
    """What can be asked of batches of tensors.

    Rank and ranks are those of torch.distributed's default group, where it is initialised and neither is given.

    Attributes:
        layout: "channels_last": shape (b, 3, height, width), in the memory of (b, height, width, 3), which is
            torch.channels_last: convolutions take it as it is, and on tensor cores it is the faster one.  "hwc": shape
            (b, height, width, 3).  Neither copies anything.
        pin_memory: has photos decoded into memory that a GPU copies from without waiting (`non_blocking=True`); where there
            is no CUDA device it changes nothing.
        decode_on: a device, such as "cuda", that JPEGs are decoded on, a batch or two ahead; images and labels are there then.
    """

    layout: Layout
    pin_memory: bool
    decode_on: str | torch.device


class PartsOptions(ReadOptions, total=False):
    """What can be asked of records by number; `threads` and `ahead` cannot, since workers decode, each in one thread.

    Attributes:
        layout: as for TorchOptions.
    """

    layout: Layout


class LoaderOptions(PartsOptions, total=False):
    """What can be asked of a DataLoader.

    Attributes:
        num_workers, prefetch_factor, persistent_workers, pin_memory, timeout, multiprocessing_context, worker_init_fn: of
            torch.utils.data.DataLoader.
    """

    num_workers: int
    prefetch_factor: int | None
    persistent_workers: bool
    pin_memory: bool
    timeout: float
    multiprocessing_context: Any
    worker_init_fn: Callable[[int], None] | None


class Splits(Protocol):
    """What is asked of a `Dataset`, whose module imports this package."""

    def numpy(self, split: str, **options: Unpack[ReadOptions]) -> Batches:
        """Read a split in batches of arrays."""


def parted(options: Any, own: frozenset[str]) -> tuple[dict[str, Any], Any]:
    """Part the options of a reader from those of all readers, to which rank and ranks are added."""
    asked = {name: value for name, value in options.items() if name not in own}
    if "rank" not in asked and "ranks" not in asked:
        if distributed.is_available() and distributed.is_initialized():
            asked |= {"rank": distributed.get_rank(), "ranks": distributed.get_world_size()}
        elif os.environ.get("WORLD_SIZE", "1") != "1":
            _log.warning(
                "WORLD_SIZE is %s, but torch.distributed is not initialised, so every process reads all records; initialise "
                "it first, or give rank and ranks",
                os.environ["WORLD_SIZE"],
            )
    return {name: value for name, value in options.items() if name in own}, asked


def as_tensors(images: Any, layout: Layout) -> Any:
    """Return the memory of arrays as tensors; JPEGs as they are."""
    if isinstance(images, np.ndarray):
        return laid_out(torch.from_numpy(images), layout)
    return [as_tensors(one, layout) for one in images] if isinstance(images, list) else images


def as_labels(labels: Any, then: Callable[[torch.Tensor], torch.Tensor] = lambda one: one) -> Any:
    """Return the memory of labels as a tensor, or a dict of tensors, each after a last step."""
    if isinstance(labels, dict):
        return {name: then(torch.from_numpy(values)) for name, values in labels.items()}
    return then(torch.from_numpy(labels))


def laid_out(images: Any, layout: Layout) -> Any:
    """Return a view of (..., height, width, 3) in a layout."""
    if layout == "hwc":
        return images
    if isinstance(images, list):
        return [laid_out(one, layout) for one in images]
    return images.movedim(-1, -3)


def checked_layout(layout: Layout) -> Layout:
    """Return a layout that there is.

    Raises:
        SettingsError: it is none.
    """
    if layout not in ("channels_last", "hwc"):
        raise SettingsError(f"layout is {layout!r}; it is 'channels_last' or 'hwc'")
    return layout
