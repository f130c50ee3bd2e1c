"""How an epoch is cut into batches that all ranks share.

In: the number of records, where to begin, batch and ranks.  Out: which places of the epoch belong to which batch.
A step is one batch on every rank at once; its records are its *global batch*, which the ranks deal out among them.
"""

from dataclasses import dataclass
from typing import Final, Literal, get_args

import numpy as np
import numpy.typing as npt

from aesthetics_ops.errors import SettingsError

__all__ = ["LASTS", "Last", "Steps"]

Last = Literal["even", "drop", "pad"]
LASTS: Final = get_args(Last)


@dataclass(frozen=True, slots=True)
class Steps:
    """The steps of an epoch, or of the rest of one: as many on every rank.

    Attributes:
        records: draws in the whole epoch, 0 or more.
        start: draws that were handed out before; 0 to records.
        batch: records that a rank gets at once, at most; 1 or more.
        ranks: trainer processes; 1 or more.
        last: what becomes of the records that fill no global batch.  even: each comes exactly once, in batches that differ
            by one record; where fewer records than ranks are left, the last two steps share evenly.  drop: they are left
            out.  pad: records from the epoch's beginning come a second time.
    """

    records: int
    start: int
    batch: int
    ranks: int
    last: Last

    @property
    def whole(self) -> int:
        """Records of a full global batch."""
        return self.batch * self.ranks

    @property
    def dropped(self) -> int:
        """Records that are left out of this epoch."""
        return (self.records - self.start) % self.whole if self.last == "drop" else 0

    @property
    def padded(self) -> int:
        """Draws that repeat a record from the epoch's beginning."""
        return (self.start - self.records) % self.whole if self.last == "pad" else 0

    @property
    def uniform(self) -> int | None:
        """Records of every batch, on every rank; None where some batches are smaller."""
        return self.batch if self.last != "even" or (self.records - self.start) % self.whole == 0 else None

    def __len__(self) -> int:
        full, rest = divmod(self.records - self.start, self.whole)
        return full + (rest > 0 and self.last != "drop")

    def check(self) -> None:
        """Refuse a last batch that would leave a rank without a record.

        Raises:
            SettingsError: says what to do.
        """
        left = self.records - self.start
        rest = left % self.whole
        if self.last != "even" or rest == 0 or rest >= self.ranks or (left > rest and self.batch > 1):
            return
        way = "last='drop' or last='pad'" if self.start == 0 else "last='drop', last='pad' or set_epoch"
        if left == rest:
            raise SettingsError(
                f"{left} of {self.records} records are left in the epoch for {self.ranks} ranks, so some would get no "
                f"batch; take at most {left} ranks, {way}"
            )
        raise SettingsError(
            f"{left} records in batches of 1 leave {rest} for the last batch of {self.ranks} ranks; take a batch of 2 or "
            f"more, {way}"
        )

    def bounds(self, step: int) -> tuple[int, int]:
        """Return where the global batch of a step begins and ends; a padded one ends beyond the epoch."""
        full, rest = divmod(self.records - self.start, self.whole)
        low = self.start + step * self.whole
        if self.last == "even" and 0 < rest < self.ranks and step >= full - 1:
            half = (self.whole + rest + 1) // 2
            middle = self.start + (full - 1) * self.whole + half
            return (middle - half, middle) if step == full - 1 else (middle, self.records)
        return low, low + self.whole if self.last == "pad" else min(low + self.whole, self.records)

    def end(self, steps: int) -> int:
        """Return how many draws of the epoch are handed out after so many steps, with what came before the start."""
        return min(self.bounds(steps - 1)[1], self.records) if steps else self.start

    def until(self, position: int) -> int | None:
        """Return how many steps lead to a position; None where no step ends there."""
        steps = min(max(0, position - self.start) // self.whole, len(self))
        near = range(steps, min(steps + 2, len(self)) + 1)
        return next((count for count in near if self.end(count) == position), None)

    def positions(self, step: int, rank: int) -> npt.NDArray[np.int64]:
        """Return the places of a rank's batch in the epoch: every `ranks`-th of the global batch."""
        low, high = self.bounds(step)
        return np.arange(low + rank, high, self.ranks, dtype=np.int64) % max(self.records, 1)

    def regular(self) -> int:
        """Return how many steps, from the first on, are full and lie one after another."""
        full, rest = divmod(self.records - self.start, self.whole)
        return full - 1 if self.last == "even" and 0 < rest < self.ranks and full else full
