"""A split as PyTorch takes it: ready batches made by threads, or a data set and a sampler for any DataLoader.

In: a dataset's split and `TorchOptions`.  Out: tensors over the memory that the photos were decoded into.
Promised: the batches are those of `Dataset.numpy`, bit for bit, for any number of threads and workers, by fork, forkserver and
spawn.  The order is decided in the trainer's process: workers get rows, so a worker that persists gets a new order in each
epoch.  With torch.distributed at work, each process gets its own part, without a DistributedSampler.
"""

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, Literal, Protocol, Self, TypedDict, Unpack

import numpy as np
import torch
from torch import distributed
from torch.utils.data import DataLoader, default_collate
from torch.utils.data import Dataset as MapDataset

from aesthetics_ops.errors import SettingsError
from aesthetics_ops.readers.batches import Batches, make_batch
from aesthetics_ops.readers.cache import PixelCache
from aesthetics_ops.readers.options import ReadOptions, pixels_of
from aesthetics_ops.readers.pixels import Pixels
from aesthetics_ops.readers.progress import Progress
from aesthetics_ops.readers.records import Records
from aesthetics_ops.readers.sampler import Draws, Sampler
from aesthetics_ops.readers.torch_decode import decode_on, jpeg_decoder

__all__ = [
    "Layout",
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

_log = logging.getLogger(__name__)

Layout = Literal["channels_last", "hwc"]
TorchBatch = tuple[Any, torch.Tensor]  # images are a tensor, by some options a list of tensors or JPEGs

_OWN: Final = frozenset({"layout", "pin_memory", "decode_on"})
_NOT_FOR_LOADERS: Final = {
    "ahead": "workers make prefetch_factor batches in advance",
    "batch_sampler": "the order comes from shuffle, seed, weights and balance",
    "batch_size": "its name is batch here",
    "collate_fn": "batches come ready",
    "drop_last": "last='drop' is its name here",
    "sampler": "the order comes from shuffle, seed, weights and balance",
    "threads": "a worker decodes in one thread; give num_workers",
}


class TorchOptions(ReadOptions, total=False):
    """What can be asked of batches of tensors.

    Rank and ranks are those of torch.distributed's default group, where it is initialised and neither is given.

    Attributes:
        layout: "channels_last": shape (b, 3, height, width), in the memory of (b, height, width, 3), which is
            torch.channels_last: convolutions take it as it is, and on tensor cores it is the faster one.  "hwc": shape
            (b, height, width, 3).  Neither copies anything.
        pin_memory: copies each batch into memory from which a GPU takes it without waiting (`non_blocking=True`); where
            there is no CUDA device it changes nothing.
        decode_on: a device, such as "cuda", that JPEGs are decoded on; images and labels are there then.
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


class LoaderParts(TypedDict):
    """The arguments that make any DataLoader, also torchdata's StatefulDataLoader, read a split.

    Attributes:
        dataset: the records by number.
        batch_sampler: a `Sampler`, which DataLoader's types would not take: it yields `Draws`.
        collate_fn: `collate`.
        worker_init_fn: keeps OpenCV from starting threads in a worker.
    """

    dataset: "TorchRecords"
    batch_sampler: Any
    collate_fn: Callable[[Any], Any]
    worker_init_fn: Callable[[int], None]


class _Splits(Protocol):
    """A `Dataset`, which imports this module."""

    def numpy(self, split: str, **options: Unpack[ReadOptions]) -> Batches: ...


class TorchBatches:
    """Batches of one rank, made by threads: (images, labels); one iteration is an epoch, or what is left of it.

    images: uint8, shape (b, 3, height, width) or as `layout` says, sRGB; a list of such tensors where the photos keep their
    shape; a list of JPEGs with raw=True.  labels: float32, shape (b,).

    Attributes:
        batches: the same as arrays.
    """

    def __init__(
        self,
        batches: Batches,
        *,
        layout: Layout = "channels_last",
        pin_memory: bool = False,
        decode_on: str | torch.device | None = None,
        pixels: Pixels | None = None,
    ) -> None:
        """Begin nothing yet.

        Args:
            batches: of arrays; of JPEGs where `decode_on` is given.
            layout: as TorchOptions say.
            pin_memory: as TorchOptions say.
            decode_on: as TorchOptions say.
            pixels: what to make of each photo where `decode_on` is given.

        Raises:
            SettingsError: no such layout or device, or nothing that decodes on it.
        """
        self.batches, self._layout = batches, _checked(layout)
        self._pins = pin_memory and torch.cuda.is_available()
        self._device = None if decode_on is None else _device(decode_on)
        self._decoder = None if self._device is None else jpeg_decoder(self._device)
        self._pixels = pixels or Pixels()

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[TorchBatch]:
        for draws, (images, labels) in self.batches.drawn():
            yield self._moved(draws, images, torch.from_numpy(labels))

    @property
    def records(self) -> Records:
        """What is read."""
        return self.batches.records

    @property
    def sampler(self) -> Sampler:
        """Which records make each batch."""
        return self.batches.sampler

    @property
    def epoch(self) -> int:
        """The epoch that is being read; after its end the next one.  May be set."""
        return self.batches.epoch

    @epoch.setter
    def epoch(self, epoch: int) -> None:
        self.batches.epoch = epoch

    def state_dict(self) -> dict[str, Any]:
        """Return where training stands: after the last batch that was given out, whatever was read ahead."""
        return self.batches.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where a state was taken, at the next iteration.

        Raises:
            SettingsError: it is of other records or another order.
        """
        self.batches.load_state_dict(state)

    def close(self) -> None:
        """End the threads, and let go of files and connections."""
        self.batches.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _moved(self, draws: Draws, images: Any, labels: torch.Tensor) -> TorchBatch:
        if self._device is not None and self._decoder is not None:
            decoded = decode_on(self._device, images, self._pixels, draws.bits, self._decoder)
            return _laid_out(decoded, self._layout), labels.to(self._device, non_blocking=True)
        tensors = _tensors(images, self._layout)
        if self._pins:
            pinned = tensors.pin_memory() if isinstance(tensors, torch.Tensor) else [_pinned(one) for one in tensors]
            return pinned, labels.pin_memory()
        return tensors, labels


class TorchRecords(MapDataset[Any]):
    """The records of a split as a data set by number.

    A sampler of this package asks for its `Draws` and gets one finished batch, (images, labels) as of TorchBatches; `collate`
    passes it on.  Who asks for a number gets (image, label), whose random crop, if any, is the same each time.
    """

    def __init__(
        self,
        records: Records,
        pixels: Pixels | None,
        *,
        cache: PixelCache | None = None,
        layout: Layout = "channels_last",
    ) -> None:
        """Read the index, so that forked workers share it.

        Args:
            records: to read.
            pixels: what to make of each photo; None gives JPEGs.
            cache: of decoded pixels.
            layout: as TorchOptions say, without b for a single photo.

        Raises:
            SettingsError: no such layout.
            IntegrityError: the table of records is not what the manifest says.
        """
        self.records, self._pixels, self._cache, self._layout = records, pixels, cache, _checked(layout)
        _ = records.reader.index

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, row: int) -> TorchBatch:
        if not -len(self) <= row < len(self):
            raise IndexError(f"row {row} of {len(self)} records")
        image, label = self.__getitems__([row % len(self)])[0]
        return image, label

    def __getitems__(self, rows: Draws | Sequence[int]) -> Any:
        """Return one batch for draws, and a list of (image, label) for numbers."""
        if isinstance(rows, Draws):
            return self._batch(rows)
        chosen = np.asarray(rows, np.int64)
        images, labels = self._batch(Draws(chosen, chosen, epoch=0, seed=0))
        return list(zip(images, labels, strict=True))

    def _batch(self, draws: Draws) -> TorchBatch:
        images, labels = make_batch(self.records, draws, self._pixels, self._cache)
        return _tensors(images, self._layout), torch.from_numpy(labels)


def collate(samples: Any) -> Any:
    """Pass a finished batch on; put single photos together as PyTorch does: the `collate_fn` for TorchRecords."""
    return samples if isinstance(samples, tuple) else default_collate(samples)


class _WorkerStart:
    """What a worker does first: OpenCV starts no threads beside it."""

    def __init__(self, then: Callable[[int], None] | None = None) -> None:
        self._then = then

    def __call__(self, worker: int) -> None:
        import cv2

        # 0, never 1: in a forked child OpenCV would wait for threads of its parent that are not there.
        cv2.setNumThreads(0)
        if self._then is not None:
            self._then(worker)


class TorchLoader(DataLoader[Any]):
    """A DataLoader over a split, whose state is that of every other reader: exact, and good for any number of workers.

    Attributes:
        batch_sampler: the `Sampler`; its `set_epoch` chooses an epoch.
    """

    def __init__(self, parts: LoaderParts, **options: Any) -> None:
        """Begin nothing yet.

        Args:
            parts: of `read_torch_parts`.
            options: of DataLoader.
        """
        self._progress = Progress(parts["batch_sampler"])
        super().__init__(**parts, **options)

    def __iter__(self) -> Iterator[TorchBatch]:  # type: ignore[override]
        with self._progress.iteration():
            for batch in super().__iter__():
                self._progress.took()
                yield batch

    @property
    def epoch(self) -> int:
        """The epoch that is being read; after its end the next one.  May be set."""
        return self._progress.epoch

    @epoch.setter
    def epoch(self, epoch: int) -> None:
        self._progress.epoch = epoch

    def state_dict(self) -> dict[str, Any]:
        """Return where training stands: after the last batch that was given out, whatever workers read ahead."""
        return self._progress.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where a state was taken, at the next iteration.

        Raises:
            SettingsError: it is of other records or another order.
        """
        self._progress.load_state_dict(state)


def read_torch(dataset: _Splits, split: str, **options: Unpack[TorchOptions]) -> TorchBatches:
    """Read a split in batches of tensors: the reader "torch", as `Dataset.torch` describes it."""
    own, asked = _parted(options, _OWN)
    if own.get("decode_on") is None:
        return TorchBatches(dataset.numpy(split, **asked), **own)
    pixels = pixels_of(asked)
    if pixels is None or asked.get("cache") == "uint8":
        raise SettingsError("decode_on decodes every photo on the device; leave raw and cache='uint8' out")
    jpegs = {name: value for name, value in asked.items() if name not in ("size", "pixels")} | {"raw": True}
    return TorchBatches(dataset.numpy(split, **jpegs), **own, pixels=pixels)


def read_torch_parts(dataset: _Splits, split: str, **options: Any) -> LoaderParts:
    """Return the arguments for a DataLoader of one's own: the reader "torch_parts", as `Dataset.torch_parts` describes it."""
    for name in options.keys() & _NOT_FOR_LOADERS.keys():
        raise SettingsError(f"{name} is no option for a DataLoader here: {_NOT_FOR_LOADERS[name]}")
    own, asked = _parted(options, frozenset({"layout"}))
    batches = dataset.numpy(split, **asked)
    records = TorchRecords(batches.records, batches.pixels, cache=batches.cache, **own)
    return {
        "dataset": records,
        "batch_sampler": batches.sampler,
        "collate_fn": collate,
        "worker_init_fn": _WorkerStart(),
    }


def read_torch_loader(dataset: _Splits, split: str, **options: Any) -> TorchLoader:
    """Read a split by worker processes: the reader "torch_loader", as `Dataset.torch_loader` describes it."""
    names = LoaderOptions.__annotations__.keys() - PartsOptions.__annotations__.keys()
    own = {name: value for name, value in options.items() if name in names}
    asked = {name: value for name, value in options.items() if name not in names}
    parts = read_torch_parts(dataset, split, **asked)
    parts["worker_init_fn"] = _WorkerStart(own.pop("worker_init_fn", None))
    if own.get("num_workers") and not parts["dataset"].records.reader.is_local:
        own.setdefault("multiprocessing_context", "forkserver")  # a store's client does not survive a fork
    return TorchLoader(parts, **own)


def _parted(options: Any, own: frozenset[str]) -> tuple[dict[str, Any], Any]:
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


def _tensors(images: Any, layout: Layout) -> Any:
    """Return the memory of arrays as tensors; JPEGs as they are."""
    if isinstance(images, np.ndarray):
        return _laid_out(torch.from_numpy(images), layout)
    return [_tensors(one, layout) for one in images] if isinstance(images, list) else images


def _laid_out(images: Any, layout: Layout) -> Any:
    """Return a view of (..., height, width, 3) in a layout."""
    if layout == "hwc":
        return images
    if isinstance(images, list):
        return [_laid_out(one, layout) for one in images]
    return images.movedim(-1, -3)


def _pinned(one: Any) -> Any:
    return one.pin_memory() if isinstance(one, torch.Tensor) else one


def _device(device: str | torch.device) -> torch.device:
    try:
        found = torch.device(device)
    except RuntimeError as error:
        raise SettingsError(f"decode_on is {device!r}, which is no device; give 'cuda', or leave it out") from error
    if found.type == "cuda" and not torch.cuda.is_available():
        raise SettingsError(f"decode_on is {device!r}, and torch finds no CUDA device here; leave decode_on out")
    return found


def _checked(layout: Layout) -> Layout:
    if layout not in ("channels_last", "hwc"):
        raise SettingsError(f"layout is {layout!r}; it is 'channels_last' or 'hwc'")
    return layout
