"""Which records each trainer process gets, batch by batch, epoch by epoch.

In: a number of records and how to order them.  Out: `Draws`, the rows of one batch of one rank.
Promised: the order depends on seed and epoch alone; every rank gets the same number of batches; a few numbers say where
training stood, and with them it goes on exactly, also with another batch or other ranks.  All is decided in the trainer's
process: workers get rows.
"""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from aesthetics_ops.errors import SettingsError
from aesthetics_ops.readers.given import whole_number
from aesthetics_ops.readers.sampling.order import BlockShuffle, Permutation, Weighted, blocks_of, random_bits
from aesthetics_ops.readers.sampling.state import Layout, ReaderState, Receipt
from aesthetics_ops.readers.sampling.steps import LASTS, Last, Steps
from aesthetics_ops.readers.sampling.weights import by_label, by_weights

__all__ = ["Draws", "Order", "Sampler", "Shuffle", "order_of"]

_log = logging.getLogger(__name__)

Shuffle = bool | Literal["block"]
_Rows = npt.NDArray[np.int64]
Order = Callable[[_Rows], _Rows]

_BLOCK: Final = 64  # records; a global batch that is larger makes larger blocks
_WINDOW: Final = 64  # blocks; docs/order.md has the figures
_DRAWN_AT_ONCE: Final = 4096  # records: one call for many batches costs little more than for one


@dataclass(frozen=True, slots=True, eq=False)
class Draws:
    """What one rank decodes for one batch.

    Attributes:
        rows: of the records, int64, shape (b,).
        positions: their places in the epoch, int64, shape (b,).
        epoch, seed: that they were drawn with.
    """

    rows: _Rows
    positions: _Rows
    epoch: int
    seed: int

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def bits(self) -> npt.NDArray[np.uint64]:
        """64 random bits per record, uint64, shape (b,): what its augmentation is drawn from."""
        return random_bits(self.seed, self.epoch, self.positions)


@dataclass(slots=True)
class _Pass:
    """One iteration: an epoch, or the rest of one."""

    epoch: int
    steps: Steps
    before: tuple[Layout, ...]  # layouts of this epoch, up to where the iteration begins
    handed: int = 0  # batches
    is_over: bool = False

    @property
    def is_done(self) -> bool:
        """Every batch was handed out, whether or not somebody asked for one more."""
        return self.is_over or 0 < self.handed == len(self.steps)

    @property
    def layouts(self) -> tuple[Layout, ...]:
        """The layouts of this epoch with this iteration's own, if it is another one."""
        own: Layout = (self.steps.start, self.steps.batch, self.steps.ranks, self.steps.last)
        return self.before if self.before and self.before[-1][1:] == own[1:] else (*self.before, own)


class Sampler:
    """The batches of one rank: an iterable of `Draws`, one iteration an epoch.

    The iteration after one that handed out all its batches is the next epoch; after a break the same epoch begins again
    where the iteration began.  `len` is the number of batches of an iteration, the same on every rank.
    """

    def __init__(
        self,
        records: int,
        batch: int,
        *,
        shuffle: Shuffle = False,
        seed: int = 0,
        rank: int = 0,
        ranks: int = 1,
        last: Last = "even",
        weights: npt.ArrayLike | None = None,
        balance: Literal["label"] | None = None,
        block: int | None = None,
        window: int | None = None,
        labels: npt.NDArray[np.floating[Any]] | None = None,
        shards: npt.NDArray[np.integer[Any]] | None = None,
        receipt: Receipt | None = None,
    ) -> None:
        """Say how to draw.

        Args:
            records: number of records, 0 or more.
            batch: records that a rank gets at once; 1 or more.
            shuffle: False: reading order; True: a random order of all records; "block": blocks of neighbours in random
                order, mixed in groups, which costs few range reads.
            seed: of the order; 0 to 2^63 - 1.
            rank: of this process, 0 to ranks - 1.
            ranks: trainer processes.
            last: what becomes of records that fill no batch on all ranks: "even" deals them out, each once; "drop" leaves
                them out; "pad" fills up with records from the epoch's beginning.
            weights: how often each record comes, in proportion; shape (records,), finite, 0 or more.
            balance: "label": every one of ten equal ranges of the label comes equally often.
            block: records of a block; by default 64, or a batch of all ranks if that is more.
            window: blocks that are mixed; by default 64.
            labels: shape (records,); for balance.
            shards: number of each record's shard, shape (records,); for "block".
            receipt: what is read.

        Raises:
            SettingsError: a value is out of range or contradicts another, or some rank would get no batch.
        """
        self._records = whole_number("records", records, 0)
        self._rank, self._ranks = whole_number("rank", rank, 0), whole_number("ranks", ranks, 1)
        self._batch, self._last = whole_number("batch", batch, 1), last
        self._seed = whole_number("seed", seed, 0)
        self._shuffle, self._receipt = shuffle, receipt or Receipt()
        self._check(weights, balance, block, window)
        self._weights = self._weigh(weights, balance, labels)
        self._chosen = block, window
        self._shards = self._shards_of(shards)
        self._block, self._window = block or max(_BLOCK, self._batch * self._ranks), window or _WINDOW
        self._said = False
        self._last_order: tuple[int, Order | None] = -1, None
        self._pass = self._whole_epoch(0)
        self._pass.steps.check()

    @property
    def epoch(self) -> int:
        """The epoch that is being read; after its end the next one.  May be set."""
        return self._pass.epoch + self._pass.is_over

    @epoch.setter
    def epoch(self, epoch: int) -> None:
        self.set_epoch(epoch)

    def set_epoch(self, epoch: int) -> None:
        """Make the next iteration one of this epoch.

        An epoch that `load_state_dict` set goes on where the state stands; any other begins at its beginning.

        Raises:
            SettingsError: not a whole number, 0 or more.
        """
        epoch = whole_number("epoch", epoch, 0)
        is_same = epoch == self._pass.epoch and not self._pass.is_done
        self._pass = replace(self._pass, handed=0) if is_same else self._whole_epoch(epoch)

    @property
    def steps(self) -> Steps:
        """How the next iteration is cut into batches."""
        return self._next().steps

    @property
    def upcoming(self) -> int:
        """The epoch that the next iteration reads."""
        return self._next().epoch

    def broke_off(self, batches: int) -> None:
        """Say that the trainer took only so many batches of this iteration: the epoch has ended if these were all.

        For who reads ahead: what was handed out says nothing of the trainer then.
        """
        if batches < len(self._pass.steps):
            self._pass = replace(self._pass, handed=0, is_over=False)

    @property
    def whole_steps(self) -> Steps:
        """How a whole epoch is cut into batches."""
        return self._whole_epoch(0).steps

    @property
    def dropped(self) -> int:
        """Records that last="drop" leaves out of this epoch."""
        return self._pass.steps.dropped

    @property
    def padded(self) -> int:
        """Draws of this epoch that repeat a record for last="pad"."""
        return self._pass.steps.padded

    def __len__(self) -> int:
        return len(self._next().steps)

    def __iter__(self) -> Iterator[Draws]:
        self._pass = replace(self._next(), handed=0)
        self._say(self._pass.steps)
        return self._draw(self._pass)

    def draws_at(self, number: int) -> Draws:
        """Return one batch of this rank by its number, counted over all epochs from where the next iteration begins.

        Nothing is changed by it, so batches may be asked for in any order, by many threads.

        Raises:
            IndexError: `number` is below 0, or there are no batches.
        """
        now, step = self._pass_at(number)
        positions = now.steps.positions(step, self._rank)
        epoch, order = self._last_order
        if epoch != now.epoch or order is None:
            order = self._order(now.epoch)
            self._last_order = now.epoch, order
        return Draws(order(positions), positions, now.epoch, self._seed)

    def state_at(self, number: int) -> dict[str, Any]:
        """Return the state after so many batches, counted as for `draws_at`, as JSON keeps it.

        Raises:
            IndexError: `number` is below 0, or there are no batches.
        """
        if number == 0:
            return self._state(self._next(), 0).encoded()
        now, step = self._pass_at(number - 1)
        return self._state(now, step + 1).encoded()

    def state_dict(self, batches: int | None = None) -> dict[str, Any]:
        """Return where training stands, as JSON keeps it.

        Args:
            batches: of this iteration, that the trainer really took: who reads ahead has handed out more; by default those
                that were handed out.

        Raises:
            SettingsError: so many were not handed out.
        """
        now = self._pass
        if batches is None:
            if now.is_over:
                return self._state(self._whole_epoch(now.epoch + 1), 0).encoded()
            batches = now.handed
        if whole_number("batches", batches, 0) > now.handed:
            raise SettingsError(f"{batches} batches are more than the {now.handed} that this iteration has handed out")
        return self._state(now, batches).encoded()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where a state stands: the next iteration is the rest of its epoch.

        Batch, ranks, rank and last may differ from those of the state.  Block and window become the state's, unless they
        were given.

        Raises:
            SettingsError: not a state, a damaged one, one of other data or of another order, or too few records are left
                for the ranks; nothing has changed then.
        """
        theirs = ReaderState.parse(state)
        block, window = self._chosen
        is_block = theirs.shuffle == "block" == self._shuffle
        own = self._state(self._pass, 0)
        if is_block:
            own = own.model_copy(update={"block": block or theirs.block, "window": window or theirs.window})
        theirs.check_same(own)
        steps = replace(self._pass.steps, start=theirs.position)
        steps.check()
        if is_block and own.block and own.window:
            self._block, self._window = own.block, own.window
        self._last_order = -1, None
        self._pass = _Pass(theirs.epoch, steps, theirs.layouts if theirs.position else ())

    def _next(self) -> _Pass:
        """Return the iteration that `iter` would begin."""
        return self._whole_epoch(self._pass.epoch + 1) if self._pass.is_done else self._pass

    def _pass_at(self, number: int) -> tuple[_Pass, int]:
        """Return the epoch, or the rest of one, that a batch lies in, and how many batches of it come before."""
        now, whole = self._next(), self._whole_epoch(0)
        left, length = len(now.steps), len(whole.steps)
        if number < 0 or (number >= left and length == 0):
            raise IndexError(f"batch {number}, of {length} in an epoch")
        if number < left:
            return now, number
        more, step = divmod(number - left, length)
        return self._whole_epoch(now.epoch + 1 + more), step

    def _whole_epoch(self, epoch: int) -> _Pass:
        return _Pass(epoch, Steps(self._records, 0, self._batch, self._ranks, self._last), ())

    def _draw(self, now: _Pass) -> Iterator[Draws]:
        order, steps = self._order(now.epoch), now.steps
        regular, many = steps.regular(), max(1, _DRAWN_AT_ONCE // self._batch)
        for first in range(0, regular, many):
            begins = np.arange(first, min(first + many, regular), dtype=np.int64) * steps.whole + steps.start
            positions = begins[:, None] + self._rank + np.arange(self._batch, dtype=np.int64) * self._ranks
            for batch in zip(order(positions), positions, strict=True):
                now.handed += 1
                yield Draws(*batch, now.epoch, self._seed)
        for step in range(regular, len(steps)):
            positions = steps.positions(step, self._rank)
            now.handed += 1
            yield Draws(order(positions), positions, now.epoch, self._seed)
        now.is_over = True

    def _order(self, epoch: int) -> Order:
        state = self._state(self._whole_epoch(epoch), 0)
        return order_of(state, weights=self._weights and self._weights[1], shards=self._shards)

    def _state(self, now: _Pass, batches: int) -> ReaderState:
        position = now.steps.end(batches)
        is_block = self._shuffle == "block"
        return ReaderState.model_construct(
            dataset=self._receipt.dataset,
            version=self._receipt.version,
            manifest_sha256=self._receipt.manifest_sha256,
            split=self._receipt.split,
            where=self._receipt.where,
            selection=self._receipt.selection,
            records=self._records,
            seed=self._seed,
            shuffle=self._shuffle,
            block=self._block if is_block else None,
            window=self._window if is_block else None,
            weights=self._weights and self._weights[0],
            epoch=now.epoch,
            position=position,
            layouts=now.layouts if batches or not now.before else now.before,
        )

    def _say(self, steps: Steps) -> None:
        """Say once, on one rank, what an epoch leaves out or repeats."""
        if self._rank == 0 and not self._said:
            if steps.dropped:
                _log.warning("%s of %s records are left out of an epoch, for last='drop'", steps.dropped, steps.records)
            if steps.padded:
                _log.warning("%s of %s records come twice in an epoch, for last='pad'", steps.padded, steps.records)
            self._said = True

    def _check(self, weights: Any, balance: Any, block: int | None, window: int | None) -> None:
        """Refuse values that contradict each other."""
        if self._rank >= self._ranks:
            raise SettingsError(f"rank is {self._rank}, and ranks {self._ranks}; ranks count from 0 to ranks - 1")
        if self._last not in LASTS:
            raise SettingsError(f"last is {self._last!r}; it is one of {', '.join(map(repr, LASTS))}")
        if self._shuffle not in (False, True, "block") or not isinstance(self._shuffle, bool | str):
            raise SettingsError(f"shuffle is {self._shuffle!r}; it is False, True or 'block'")
        for name, value in (("block", block), ("window", window)):
            if value is not None and self._shuffle != "block":
                raise SettingsError(f"{name} is {value}, which needs shuffle='block'")
            if value is not None:
                whole_number(name, value, 1)
        if balance not in (None, "label"):
            raise SettingsError(f"balance is {balance!r}; it is None or 'label'")
        if weights is not None and balance is not None:
            raise SettingsError("weights and balance exclude each other; give one of them")
        if (weights is not None or balance is not None) and self._shuffle is not True:
            raise SettingsError(
                f"weights and balance draw at random, and shuffle is {self._shuffle!r}; give shuffle=True"
            )

    def _weigh(self, weights: Any, balance: Any, labels: Any) -> tuple[str, Weighted] | None:
        if balance is None:
            return None if weights is None else by_weights(weights, self._records)
        if labels is None:
            raise SettingsError("balance='label' needs the labels of the records; give labels")
        return by_label(labels, self._records)

    def _shards_of(self, shards: Any) -> npt.NDArray[np.integer[Any]] | None:
        if self._shuffle != "block":
            return None
        if shards is None:
            raise SettingsError("shuffle='block' needs the shard of each record; give shards")
        found = np.asarray(shards)
        if found.shape != (self._records,):
            raise SettingsError(f"shards have shape {found.shape}; give one number for each of {self._records} records")
        return found


def order_of(
    state: ReaderState, *, weights: Weighted | None = None, shards: npt.NDArray[np.integer[Any]] | None = None
) -> Order:
    """Return the order of a state's epoch: a function from places in it to rows.

    Args:
        state: names seed, epoch and shuffle.
        weights: of the records, where the state has weights.
        shards: number of each record's shard, for shuffle="block".
    """
    if state.shuffle == "block" and state.block and state.window and shards is not None:
        blocks = blocks_of(shards, state.block)
        return BlockShuffle(blocks, state.seed, state.epoch, block=state.block, window=state.window)
    if not state.shuffle:
        return lambda positions: positions
    permutation = Permutation(state.records, state.seed, state.epoch)
    if weights is None:
        return permutation
    return lambda positions: weights.rows(permutation(positions), state.seed, state.epoch)
