"""Batches for Keras 3, whatever its backend.

In: `Batches`.  Out: a keras.utils.PyDataset for `fit`, `evaluate` and `predict`.
Promised: the order is the sampler's, each epoch another one; batches are made by this package's threads ahead of the step.
"""

import os
from threading import Lock
from typing import Any, Final, Unpack

from aesthetics_ops.errors import SettingsError
from aesthetics_ops.machine import quiet_stderr
from aesthetics_ops.readers.batches import Batch, Batches, Begun
from aesthetics_ops.readers.ending import end_iterators_at_exit
from aesthetics_ops.readers.options import ReadOptions

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
with quiet_stderr():
    import keras  # type: ignore[import-untyped]

__all__ = ["KerasBatches", "read_keras"]

_WORKERS: Final = 1


class KerasBatches(keras.utils.PyDataset):  # type: ignore[misc]
    """Batches of one rank by their number in the epoch: (images, labels).

    images: uint8, shape (b, height, width, 3), sRGB.  labels: float32, shape (b,), or what `labels` asked for.

    `fit` needs shuffle=False: the order is the sampler's.  Epochs are those of Keras; the next one has another order when all
    batches of the one before were asked for.  After a state was loaded in the middle of an epoch, an epoch of Keras, which
    is always as long, ends in the middle of the next one; no record is left out.

    Attributes:
        batches: the same, to iterate over.
    """

    def __init__(self, batches: Batches) -> None:
        """Begin nothing yet.

        Args:
            batches: of arrays of one size.

        Raises:
            SettingsError: Keras takes no JPEGs, and no photos of different sizes.
        """
        if batches.pixels is None or batches.pixels.shape is None:
            raise SettingsError("Keras takes photos of one size; leave raw out, and take another fit than 'short_side'")
        super().__init__(workers=_WORKERS)
        end_iterators_at_exit()
        self.batches = batches
        self._lock = Lock()
        self._first = 0  # number of this epoch's first batch, counted from where reading began
        self._asked: set[int] = set()  # of the batches of this epoch
        self._is_within = False  # an epoch of Keras
        self._begun: dict[int, Begun] = {}

    def __len__(self) -> int:
        return len(self.batches.sampler.whole_steps)

    def __getitem__(self, index: int) -> Batch:
        if not 0 <= index < len(self):
            raise IndexError(f"batch {index} of {len(self)}")
        with self._lock:
            is_in_turn = self._take(index)
            begun = self._begin(self._first + index, self.batches.ahead if is_in_turn else 0)
        return begun.result()

    def on_epoch_begin(self) -> None:
        """Keras calls it."""
        self._is_within = True

    def on_epoch_end(self) -> None:
        """Keras calls it."""
        self._is_within = False

    @property
    def workers(self) -> int:
        """Of Keras: always 1, since it is this package's threads that decode."""
        return _WORKERS

    @workers.setter
    def workers(self, workers: int) -> None:
        if workers != _WORKERS:
            raise SettingsError(
                f"workers is {workers}, but Keras's workers give some batches twice and leave others out; leave it at 1, and "
                "give threads"
            )

    def state_dict(self, batches: int) -> dict[str, Any]:
        """Return where training stands; Keras reads ahead, so it has to be told how far it came.

        Args:
            batches: of this epoch, that were trained on: in `on_train_batch_end(batch, logs)` of a callback, batch + 1.

        Raises:
            IndexError: below 0.
        """
        return self.batches.sampler.state_at(self._first + batches)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where a state was taken, at the next call of `fit`.

        Raises:
            SettingsError: it is of other records or another order.
        """
        self.batches.load_state_dict(state)
        with self._lock:
            self._drop(set(self._begun))
            self._first = 0
            self._asked.clear()

    def _take(self, index: int) -> bool:
        """Note that Keras asks for a batch; say whether it asks in turn.

        Between epochs it tries the first two.  It begins anew after one that it built the model with.
        """
        if index == 0 and self._is_within:
            self._first += len(self) * (len(self._asked) == len(self))
            self._asked = {0}
            return True
        if index - 1 in self._asked:
            self._asked.add(index)
            return True
        if self._is_within and index not in self._asked:
            raise SettingsError(
                f"Keras asks for batch {index} out of turn; give fit shuffle=False: the order is that of shuffle and seed here"
            )
        return False

    def _begin(self, number: int, ahead: int) -> Begun:
        """Return a batch by its number, with some after it on their way; forget all others."""
        wanted = range(number, number + 1 + ahead)
        self._drop(self._begun.keys() - set(wanted))
        for each in wanted:
            if each not in self._begun:
                self._begun[each] = self.batches.begin(self.batches.sampler.draws_at(each))
        return self._begun.pop(number)

    def _drop(self, numbers: set[int]) -> None:
        for number in numbers:
            self._begun.pop(number).cancel()


def read_keras(dataset: Any, split: str, **options: Unpack[ReadOptions]) -> KerasBatches:
    """Return a split as a keras.utils.PyDataset: the reader "keras", as `Dataset.keras` describes it."""
    return KerasBatches(dataset.numpy(split, **options))
