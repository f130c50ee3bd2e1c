"""A split as PyTorch takes it: ready batches made by threads, or a data set and a sampler for any DataLoader.

In: a dataset's split and `TorchOptions`.  Out: tensors over the memory that the photos were decoded into.
Promised: the batches are those of `Dataset.numpy`, bit for bit, for any number of threads and workers, by fork, forkserver and
spawn.  The order is decided in the trainer's process: workers get rows, so a worker that persists gets a new order in each
epoch.  With torch.distributed at work, each process gets its own part, without a DistributedSampler.
"""

from aesthetics_ops.readers.torch.batches import TorchBatches, read_torch
from aesthetics_ops.readers.torch.loader import (
    LoaderParts,
    TorchLoader,
    TorchRecords,
    collate,
    read_torch_loader,
    read_torch_parts,
)
from aesthetics_ops.readers.torch.options import LoaderOptions, PartsOptions, TorchOptions

__all__ = [
    "LoaderOptions",
    "LoaderParts",
    "PartsOptions",
    "TorchBatches",
    "TorchLoader",
    "TorchOptions",
    "TorchRecords",
    "collate",
    "read_torch",
    "read_torch_loader",
    "read_torch_parts",
]
