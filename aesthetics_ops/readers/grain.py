"""Batches for Grain.

In: records and a sampler.  Out: a grain.MapDataset of batches, in the sampler's order, and a source of single photos for
Grain's own.  Both are made of numbers, so that Grain's threads and worker processes ask for any batch and get the same one.
"""

from typing import Any, Unpack

import grain
import numpy as np
from numpy.typing import NDArray

from aesthetics_ops.readers.batches import Batch, Batches, make_batch
from aesthetics_ops.readers.options import ReadOptions
from aesthetics_ops.readers.sampling.sampler import Draws
from aesthetics_ops.readers.targets import one_of

__all__ = ["GrainBatches", "GrainSource", "read_grain"]


class GrainSource:
    """The records of a split by number: (image, label), a grain.sources.RandomAccessDataSource.

    image: uint8, shape (height, width, 3), sRGB; or a JPEG.  label: float32, or what `labels` asked for.  A random crop is the same each time.
    """

    def __init__(self, batches: Batches) -> None:
        """Read nothing yet.

        Args:
            batches: of the same records.
        """
        self._records, self._pixels, self._cache = batches.records, batches.pixels, batches.cache
        self._targets = batches.targets

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, row: int) -> tuple[NDArray[np.uint8] | bytes, Any]:
        if not -len(self) <= row < len(self):
            raise IndexError(f"row {row} of {len(self)} records")
        chosen = np.asarray([row % len(self)], np.int64)
        images, labels = self.batch(Draws(chosen, chosen, epoch=0, seed=0))
        return images[0], one_of(labels, 0)

    def batch(self, draws: Draws) -> Batch:
        """Make one batch in this thread.

        Raises:
            IntegrityError: a record is damaged; names version, shard, record and id.
        """
        return make_batch(self._records, draws, self._pixels, self._cache, self._targets)


class GrainBatches(grain.MapDataset):  # type: ignore[misc]
    """Batches of one rank by their number: (images, labels), as `Dataset.numpy` gives them.

    `len` is that of an epoch; numbers beyond are those of the next epochs, which is what `repeat` asks for.

    Attributes:
        source: the photos one by one, for an order of Grain's own.
        sampler: which records make each batch; `sampler.state_at(number)` is the state after so many batches, and a state
            that is loaded into it makes batch 0 the next one.
    """

    def __init__(self, batches: Batches) -> None:
        """Read nothing yet.

        Args:
            batches: the same, to iterate over.
        """
        super().__init__()
        self.source, self.sampler = GrainSource(batches), batches.sampler
        self._threads, self._ahead = batches.threads, batches.ahead

    def __len__(self) -> int:
        return len(self.sampler.whole_steps)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return self.slice(index)
        return self.source.batch(self.sampler.draws_at(index))

    def to_iter_dataset(self, read_options: Any = None, *, allow_nones: bool = False) -> Any:
        """Return the batches to iterate over, made by threads.

        Args:
            read_options: by default the threads and the read-ahead that this was made with.  Grain's own default, which holds
                after `map` and the like, keeps 500 batches in memory.
            allow_nones: as for Grain.
        """
        own = grain.ReadOptions(num_threads=self._threads, prefetch_buffer_size=max(self._threads, self._ahead))
        return super().to_iter_dataset(read_options or own, allow_nones=allow_nones)


def read_grain(dataset: Any, split: str, **options: Unpack[ReadOptions]) -> GrainBatches:
    """Return a split as a grain.MapDataset: the reader "grain", as `Dataset.grain` describes it."""
    return GrainBatches(dataset.numpy(split, **options))
