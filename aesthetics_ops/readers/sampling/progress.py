"""How far a trainer got in an iteration whose batches are made ahead of it.

A sampler knows what it has handed out; the trainer has taken less.  Here the two are kept apart.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from aesthetics_ops.readers.sampling.sampler import Sampler

__all__ = ["Progress", "Resumable"]


class Progress:
    """The batches that a trainer took of the last iteration that began over a sampler.

    What an iteration before it still gives counts no more; nor does one during which an epoch or a state was set.
    """

    def __init__(self, sampler: Sampler) -> None:
        self._sampler = sampler
        self._taken: int | None = None  # None outside an iteration; it stays after a break
        self._epoch = 0
        self._number = 0  # of the iteration that counts

    @contextmanager
    def iteration(self) -> Iterator[Callable[[], None]]:
        """Surround one iteration, which begins the sampler's inside; give what counts a batch of it.

        A break before its end leaves the epoch unfinished.
        """
        if self._taken is not None:
            self._sampler.broke_off(self._taken)
        self._epoch, self._taken = self._sampler.upcoming, 0
        self._number += 1
        number = self._number

        def took() -> None:
            if number == self._number and self._taken is not None:
                self._taken += 1

        yield took
        if number == self._number:
            self._taken = None

    @property
    def epoch(self) -> int:
        """The epoch that is being read, whatever was read ahead; after its end the next one.  May be set."""
        return self._sampler.upcoming if self._taken is None else self._epoch

    @epoch.setter
    def epoch(self, epoch: int) -> None:
        self._sampler.set_epoch(epoch)
        self._end()

    def state_dict(self) -> dict[str, Any]:
        """Return the state after the last batch that was counted."""
        return self._sampler.state_dict(self._taken)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where a state was taken, at the next iteration.

        Raises:
            SettingsError: it is of other records or another order.
        """
        self._sampler.load_state_dict(state)
        self._end()

    def _end(self) -> None:
        self._taken = None
        self._number += 1


class Resumable:
    """Batches whose position a training loop saves and loads: what every iterable reader offers.

    Attributes:
        progress: how far the loop got.
    """

    progress: Progress

    @property
    def epoch(self) -> int:
        """The epoch that is being read; after its end the next one.  May be set."""
        return self.progress.epoch

    @epoch.setter
    def epoch(self, epoch: int) -> None:
        self.progress.epoch = epoch

    def set_epoch(self, epoch: int) -> None:
        """Make the next iteration one of this epoch, as `Sampler.set_epoch`.

        Raises:
            SettingsError: not a whole number, 0 or more.
        """
        self.epoch = epoch

    def state_dict(self) -> dict[str, Any]:
        """Return where training stands: after the last batch that was given out, whatever was read ahead."""
        return self.progress.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where a state was taken, at the next iteration.

        Raises:
            SettingsError: it is of other records or another order.
        """
        self.progress.load_state_dict(state)
