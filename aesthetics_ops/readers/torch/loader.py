"""Records by number and a sampler for PyTorch's DataLoader, and a DataLoader of them whose state is exact."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, TypedDict

import numpy as np
from torch.utils.data import DataLoader, default_collate
from torch.utils.data import Dataset as MapDataset

from aesthetics_ops.errors import SettingsError
from aesthetics_ops.readers.batches import make_batch
from aesthetics_ops.readers.cache import PixelCache
from aesthetics_ops.readers.pixels import Pixels
from aesthetics_ops.readers.records import Records
from aesthetics_ops.readers.sampling.progress import Progress, Resumable
from aesthetics_ops.readers.sampling.sampler import Draws
from aesthetics_ops.readers.targets import Asked, Targets, one_of
from aesthetics_ops.readers.torch.options import (
    Layout,
    LoaderOptions,
    PartsOptions,
    Splits,
    TorchBatch,
    as_labels,
    as_tensors,
    checked_layout,
    parted,
)

__all__ = ["LoaderParts", "TorchLoader", "TorchRecords", "collate", "read_torch_loader", "read_torch_parts"]

_NOT_FOR_LOADERS: Final = {
    "ahead": "workers make prefetch_factor batches in advance",
    "batch_sampler": "the order comes from shuffle, seed, weights and balance",
    "batch_size": "its name is batch here",
    "collate_fn": "batches come ready",
    "drop_last": "last='drop' is its name here",
    "sampler": "the order comes from shuffle, seed, weights and balance",
    "threads": "a worker decodes in one thread; give num_workers",
}


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
        labels: Asked = "label",
    ) -> None:
        """Read the index, so that forked workers share it.

        Args:
            records: to read.
            pixels: what to make of each photo; None gives JPEGs.
            cache: of decoded pixels.
            layout: as TorchOptions say, without b for a single photo.
            labels: as for every reader.

        Raises:
            SettingsError: no such layout.
            IntegrityError: the table of records is not what the manifest says.
        """
        self.records, self._pixels, self._cache, self._layout = records, pixels, cache, checked_layout(layout)
        self._targets = Targets(records.reader, labels)
        _ = records.reader.index
        self._targets.load()

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
        return [(image, one_of(labels, number)) for number, image in enumerate(images)]

    def _batch(self, draws: Draws) -> TorchBatch:
        images, labels = make_batch(self.records, draws, self._pixels, self._cache, self._targets)
        return as_tensors(images, self._layout), as_labels(labels)


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


class TorchLoader(Resumable, DataLoader[Any]):
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
        self.progress = Progress(parts["batch_sampler"])
        super().__init__(**parts, **options)

    def __iter__(self) -> Iterator[TorchBatch]:  # type: ignore[override]
        with self.progress.iteration() as took:
            for batch in super().__iter__():
                took()
                yield batch


def read_torch_parts(dataset: Splits, split: str, **options: Any) -> LoaderParts:
    """Return the arguments for a DataLoader of one's own: the reader "torch_parts", as `Dataset.torch_parts` describes it."""
    for name in options.keys() & _NOT_FOR_LOADERS.keys():
        raise SettingsError(f"{name} is no option for a DataLoader here: {_NOT_FOR_LOADERS[name]}")
    own, asked = parted(options, frozenset({"layout"}))
    batches = dataset.numpy(split, **asked)
    labels = asked.get("labels", "label")
    records = TorchRecords(batches.records, batches.pixels, cache=batches.cache, labels=labels, **own)
    return {
        "dataset": records,
        "batch_sampler": batches.sampler,
        "collate_fn": collate,
        "worker_init_fn": _WorkerStart(),
    }


def read_torch_loader(dataset: Splits, split: str, **options: Any) -> TorchLoader:
    """Read a split by worker processes: the reader "torch_loader", as `Dataset.torch_loader` describes it."""
    names = LoaderOptions.__annotations__.keys() - PartsOptions.__annotations__.keys()
    own = {name: value for name, value in options.items() if name in names}
    asked = {name: value for name, value in options.items() if name not in names}
    parts = read_torch_parts(dataset, split, **asked)
    parts["worker_init_fn"] = _WorkerStart(own.pop("worker_init_fn", None))
    if own.get("num_workers") and not parts["dataset"].records.reader.is_local:
        own.setdefault(
            "multiprocessing_context", "forkserver"
        )  # the client for gs:// and az:// does not survive a fork
    return TorchLoader(parts, **own)
