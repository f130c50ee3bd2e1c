"""The order in which an epoch visits records: computed from a few numbers, never stored per record.

In: a number of records, a seed and an epoch.  Out: functions from places in the epoch to rows.
Pure integer arithmetic on 64 bits: the same rows on every machine and with every version of numpy.
"""

import math
from typing import Final

import numpy as np
import numpy.typing as npt

from aesthetics_ops.errors import SettingsError

__all__ = ["BlockShuffle", "Permutation", "Weighted", "blocks_of", "random_bits"]

_Rows = npt.NDArray[np.int64]
_Bits = npt.NDArray[np.uint64]

_MASK: Final = (1 << 64) - 1
_GOLDEN: Final = 0x9E3779B97F4A7C15
_MULTIPLIERS: Final = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
_ROUNDS: Final = 16  # with fewer, some orders of five records are rarer than others
_MOST_RECORDS: Final = 1 << 60

# What randomness is for: two uses with one seed and epoch have nothing in common.
_ORDER: Final = 0
_BITS: Final = 1
_OFFSET: Final = 2
_BLOCKS: Final = 3
_GROUPS: Final = 4


def random_bits(seed: int, epoch: int, positions: _Rows) -> _Bits:
    """Return 64 random bits for each place in an epoch: what augmentation is drawn from.

    Args:
        seed: 0 or more.
        epoch: 0 or more.
        positions: places in the epoch, int64, any shape.

    Returns:
        uint64, of the same shape; the same on every machine.
    """
    return _mixed(positions.astype(np.uint64) * np.uint64(_GOLDEN) + np.uint64(_key(seed, epoch, _BITS)))


class Permutation:
    """A random order of `n` records, as a function from places to rows that hits every row once.

    A Feistel network over Z_a x Z_b, a and b close to the root of n and a * b >= n; who lands at n or above goes on until
    it is below.  Its memory does not grow with n.

    Args:
        n: number of records; 0 to 2^60.
        seed, epoch: 0 or more; together they name the order.
        stream: tells apart orders of one seed and epoch.
    """

    def __init__(self, n: int, seed: int, epoch: int, *, stream: tuple[int, ...] = (_ORDER,)) -> None:
        if not 0 <= n <= _MOST_RECORDS:
            raise SettingsError(f"an order of {n} records cannot be drawn; take 0 to 2^60")
        self.n = n
        a = math.isqrt(max(n - 1, 0)) + 1
        self._sides = np.uint64(a), np.uint64(-(-n // a))
        key = _key(seed, epoch, *stream)
        self._keys = [np.uint64(_mix(key + number * _GOLDEN)) for number in range(_ROUNDS)]

    def __call__(self, positions: _Rows) -> _Rows:
        """Return the rows at these places.

        Args:
            positions: int64, any shape, each 0 <= position < n.

        Raises:
            IndexError: a position outside.
        """
        _check_inside(positions, self.n)
        rows = self._step(positions.astype(np.uint64))
        while (outside := rows >= np.uint64(self.n)).any():
            rows[outside] = self._step(rows[outside])
        return rows.astype(np.int64)

    def _step(self, values: _Bits) -> _Bits:
        """Permute 0 .. a * b - 1."""
        a, b = self._sides
        left, right = np.divmod(values, b)
        for number in range(0, _ROUNDS, 2):
            _add(left, right, self._keys[number], a)
            _add(right, left, self._keys[number + 1], b)
        return left * b + right


class BlockShuffle:
    """A random order of blocks of neighbouring records, mixed within groups of blocks: an order for range reads.

    The first groups are small, so that the first batch comes from two or three blocks; each next one is twice as large,
    up to `window` blocks.  How well it mixes: docs/order.md.

    Args:
        blocks: where each block begins, and the number of records last; int64, from `blocks_of`.
        seed, epoch: 0 or more; together they name the order.
        block: records that a block is meant to have.
        window: blocks in a group, at most about.
    """

    def __init__(self, blocks: _Rows, seed: int, epoch: int, *, block: int, window: int) -> None:
        self.n = int(blocks[-1])
        self._seed, self._epoch = seed, epoch
        order = Permutation(len(blocks) - 1, seed, epoch, stream=(_BLOCKS,))(np.arange(len(blocks) - 1))
        self._rows = blocks[:-1][order]  # the first row of each block, in the epoch's order
        self._places = np.concatenate(([0], np.cumsum(np.diff(blocks)[order])))  # and its first place before mixing
        self._groups = _groups(self._places, block, window)

    def __call__(self, positions: _Rows) -> _Rows:
        """Return the rows at these places, as `Permutation` does."""
        _check_inside(positions, self.n)
        places = np.empty_like(positions)
        group_of = np.searchsorted(self._groups, positions, side="right") - 1
        for group in np.unique(group_of).tolist():
            start, end = self._groups[group : group + 2].tolist()
            mixed = Permutation(end - start, self._seed, self._epoch, stream=(_GROUPS, group))
            here = group_of == group
            places[here] = mixed(positions[here] - start) + start
        found = np.searchsorted(self._places, places, side="right") - 1
        rows: _Rows = self._rows[found] + places - self._places[found]
        return rows


class Weighted:
    """An epoch of n draws in which a record of weight w comes floor or ceil of n * w / sum(weights) times.

    Systematic resampling: the weights lie side by side on a line, and n points at equal distances, shifted at random in
    each epoch, say which are drawn.  Weights become whole numbers first, in units of about 2^-60 of their sum, so that all
    that follows is exact.

    Args:
        weights: float64, shape (n,), at most 2^31 of them.

    Raises:
        SettingsError: one is negative or not finite, all are 0, or there are too many.
    """

    def __init__(self, weights: npt.NDArray[np.float64]) -> None:
        self.n = len(weights)
        _check_weights(weights)
        scaled = np.ldexp(
            weights, -math.frexp(weights.max(initial=0.0))[1]
        )  # the largest 0.5 to 1, for any sum is finite
        self._ends = np.cumsum(np.ldexp(scaled, 61 - math.frexp(math.fsum(scaled))[1]).astype(np.int64))
        self._step, self._rest = divmod(int(self._ends[-1]), self.n) if self.n else (0, 0)

    def rows(self, draws: _Rows, seed: int, epoch: int) -> _Rows:
        """Return the rows of these draws, 0 to n - 1; neighbouring draws have neighbouring rows."""
        offset = (_key(seed, epoch, _OFFSET) * self._step) >> 64
        points = draws * self._step + draws * self._rest // max(self.n, 1) + offset
        return np.searchsorted(self._ends, points, side="right").astype(np.int64)


def blocks_of(shards: npt.NDArray[np.integer], block: int) -> _Rows:
    """Cut records into blocks of neighbours; none reaches across a shard.

    Args:
        shards: the number of each record's shard, shape (n,), in the order of the rows.
        block: records that a block is meant to have; a shard of m records has max(1, round(m / block)), nearly equal.

    Returns:
        Where each block begins, and n: int64, one number per block and one more.
    """
    changes = np.flatnonzero(np.diff(shards)) + 1
    ends = np.concatenate((changes, [len(shards)])) if len(shards) else changes
    starts = np.concatenate(([0], ends[:-1])).astype(np.int64) if len(ends) else np.zeros(0, np.int64)
    sizes = ends - starts
    block = min(block, 2 * len(shards) + 1)  # from there on, one block a shard
    counts = np.maximum(1, (2 * sizes + block) // (2 * block))
    first = np.cumsum(counts) - counts
    within = np.arange(counts.sum()) - np.repeat(first, counts)
    begins = np.repeat(starts, counts) + within * np.repeat(sizes, counts) // np.repeat(counts, counts)
    return np.concatenate((begins, [len(shards)])).astype(np.int64)


def _groups(places: _Rows, block: int, window: int) -> _Rows:
    """Return the first place of each group, and the number of records: ends of blocks after 2, 4, 8, ... `window` blocks.

    They are counted in records, so that small blocks make no small group.  What is left for the last group goes to the one
    before it, if it is less than half as much.
    """
    n = int(places[-1])
    size, groups = min(2, window), [0]
    while groups[-1] < n:
        end = int(places[np.searchsorted(places, min(groups[-1] + size * block, n))])
        rest = n - end
        size = min(2 * size, window)
        groups.append(n if 2 * rest < size * block and len(groups) > 1 else end)
    return np.array(groups, np.int64)


def _add(half: _Bits, other: _Bits, key: np.uint64, modulus: np.uint64) -> None:
    """Add a random function of the other half, in place."""
    half += ((_mixed(other + key) >> np.uint64(32)) * modulus) >> np.uint64(32)
    np.subtract(half, modulus, out=half, where=half >= modulus)


def _mixed(values: _Bits) -> _Bits:
    """Scatter 64 bits over 64 bits: the end of splitmix64; changes its argument."""
    values ^= values >> np.uint64(30)
    values *= np.uint64(_MULTIPLIERS[0])
    values ^= values >> np.uint64(27)
    values *= np.uint64(_MULTIPLIERS[1])
    values ^= values >> np.uint64(31)
    return values


def _mix(value: int) -> int:
    """Scatter one number, as `_mixed`; of whole numbers, for which arrays are slow."""
    value &= _MASK
    value = (value ^ value >> 30) * _MULTIPLIERS[0] & _MASK
    value = (value ^ value >> 27) * _MULTIPLIERS[1] & _MASK
    return value ^ value >> 31


def _key(*numbers: int) -> int:
    """Return 64 bits that these numbers name."""
    key = 0
    for number in numbers:
        key = _mix((key ^ number) + _GOLDEN)
    return key


def _check_inside(positions: _Rows, n: int) -> None:
    if positions.size and not (positions.min() >= 0 and positions.max() < n):
        raise IndexError(f"places {positions.min()} to {positions.max()} do not all lie in an epoch of {n} records")


def _check_weights(weights: npt.NDArray[np.float64]) -> None:
    if len(weights) > 1 << 31:
        raise SettingsError(f"{len(weights):,} weights are more than 2^31; select fewer records")
    wrong = np.flatnonzero(~(np.isfinite(weights) & (weights >= 0)))
    if wrong.size:
        raise SettingsError(f"the weight of row {wrong[0]} is {weights[wrong[0]]}; weights are finite and 0 or more")
    if len(weights) and not weights.any():
        raise SettingsError("every weight is 0; give at least one record a weight above 0")
