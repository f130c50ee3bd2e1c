"""Memory that a GPU copies from while the training loop goes on, which threads decode straight into.

In: shapes of batches.  Out: arrays over PyTorch's pinned memory, and the tensors that they belong to.
Only PyTorch's allocator knows when an asynchronous copy to a GPU has ended.  So the memory is its own, the tensor handed out shares
the storage that it gave, and what is let go returns to it: nothing here uses memory twice.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

__all__ = ["empty_pinned", "pinned_copy", "take_pinned", "tensor_under"]


def empty_pinned(shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    """Return a tensor in pinned memory, whose content is not defined."""
    return torch.empty(shape, dtype=dtype, pin_memory=True)


def take_pinned(shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Return an array over a pinned tensor, uint8: a `Take` for `Batches`."""
    return np.asarray(empty_pinned(shape, torch.uint8).numpy(), np.uint8)


def tensor_under(array: NDArray[np.uint8]) -> torch.Tensor:
    """Return the tensor whose memory `take_pinned` gave: PyTorch notes on its storage until when a GPU copies from it."""
    under: Any = array.base
    return under if isinstance(under, torch.Tensor) else torch.from_numpy(array)


def pinned_copy(values: torch.Tensor) -> torch.Tensor:
    """Return a copy of a few numbers in pinned memory, made in this thread alone."""
    copy = empty_pinned(tuple(values.shape), values.dtype)
    copy.numpy()[...] = values.numpy()
    return copy
