"""Find the pairs of perceptual hashes that differ in few bits.

In: distinct hashes.  Out: every pair within a distance, or within a smaller one where the first is too much work.
Exact: of two hashes that differ in `distance` bits at most, one choice of blocks of bits agrees, and all choices are looked at.
"""

import itertools
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import comb
from typing import Final

import numpy as np

__all__ = ["closest_pairs"]

_BITS: Final = 64
_MOST_PAIRS: Final = 5_000_000  # kept in memory, 17 bytes each
_MOST_COMPARISONS: Final = 2_000_000_000  # under a minute
_SORTING: Final = 4  # comparisons of two hashes that took as long as sorting one; decides which distance is too much
_HASHES_AT_ONCE: Final = 1 << 14
_SORTED_AT_ONCE: Final = 1 << 15  # 256 KiB: in a core's cache
_FEW: Final = 8  # one of so many


def closest_pairs(hashes: np.ndarray, max_distance: int) -> tuple[int, np.ndarray]:
    """Return the distance searched, and pairs of positions at most that far apart, the closest first.

    Args:
        hashes: ascending, distinct.
        max_distance: to try first.
    """
    # hashes with as many ones as zeros, as this project's are, differ in an even number of bits
    for distance in range(max_distance, 0, -2):
        found = _pairs_within(hashes, distance)
        if found is not None:
            bits = np.bitwise_count(hashes[found[:, 0]] ^ hashes[found[:, 1]])
            return distance, found[np.lexsort((found[:, 1], found[:, 0], bits))]
    return 0, np.empty((0, 2), np.int64)


def _pairs_within(hashes: np.ndarray, distance: int) -> np.ndarray | None:
    """Return every pair of positions at most this far apart, int64, shape (n, 2), or None where that is too much.

    Of `distance + k` blocks of bits, two such hashes share k at least.  So for every choice of k blocks the hashes are
    sorted by them, and those that agree are compared; the first choice that brings two together reports them.

    Sorted are the hashes themselves, with the chosen bits as the highest: that is several times as fast as sorting positions.
    """
    blocks, shared = _blocks(distance, len(hashes))
    order = [bit for block in blocks for bit in block]
    search = _Search(_moved(hashes, _moves(order)), [len(block) for block in blocks], distance)
    pairs = search.pairs(shared)
    if pairs is None:
        return None
    back = _moves(_inverse(order))
    places = np.searchsorted(hashes, np.stack([_moved(some, back) for some in pairs], axis=1))
    return np.sort(places, axis=1).astype(np.int64)


@dataclass(frozen=True, slots=True)
class _Sort:
    """How hashes are sorted by chosen blocks.

    Attributes:
        bits: that must agree, the highest when they are sorted.
        there: shifts that bring the chosen blocks to the top.
        back: shifts to the order in which the blocks are counted.
        earlier: the bits, in that order, of the choices before: who agrees in one of them was found by it.
    """

    bits: int
    there: Mapping[int, int]
    back: Mapping[int, int]
    earlier: Sequence[int]


class _Search:
    """Looks for pairs of hashes whose bits stand block by block, the first block as the highest.

    Args:
        hashes: uint64, in any order.
        widths: bits of each block.
        distance: most differing bits of a pair.
    """

    def __init__(self, hashes: np.ndarray, widths: list[int], distance: int) -> None:
        self._hashes, self._widths, self._distance = hashes, widths, distance
        self._compared = self._pairs = 0
        self._found: list[tuple[np.ndarray, np.ndarray]] = []

    def pairs(self, shared: int) -> tuple[np.ndarray, np.ndarray] | None:
        """Return the one and the other of each pair; None where that is too much.  Pairs agree in so many blocks at least.

        The hashes are sorted by the first block of a choice once.  Those that agree there are sorted by the others of each such
        choice: so few at once that they stay in the processor's cache.
        """
        choices = [*itertools.combinations(range(len(self._widths)), shared)]
        masks = [self._mask(chosen) for chosen in choices]
        for first, some in itertools.groupby(enumerate(choices), lambda choice: choice[1][:1]):
            layout = self._layout(first)
            hashes = _shifted(self._hashes, self._shifts(range(len(self._widths)), layout))
            hashes.sort()
            sorts = [self._sort(layout, chosen, masks[:number]) for number, chosen in some]
            for rows in self._parts(hashes, first):
                if not all(self._search(rows, sort) for sort in sorts):
                    return None
        ones, others = zip(*self._found, strict=True) if self._found else ((), ())
        none = np.empty(0, np.uint64)
        return np.concatenate([none, *ones]), np.concatenate([none, *others])

    def _sort(self, layout: Sequence[int], chosen: tuple[int, ...], earlier: list[int]) -> "_Sort":
        target, whole = self._layout(chosen), range(len(self._widths))
        bits = sum(self._widths[block] for block in chosen)
        return _Sort(bits, self._shifts(layout, target), self._shifts(target, whole), earlier)

    def _search(self, hashes: np.ndarray, sort: "_Sort") -> bool:
        """Compare those that agree in the chosen blocks; say whether it was not too much."""
        values = _shifted(hashes, sort.there)
        values.sort()
        for compared, ones, others in self._near(values, sort.bits):
            self._compared += compared
            if ones.size:
                ones, others = _shifted(ones, sort.back), _shifted(others, sort.back)
                for mask in sort.earlier:
                    is_new = (ones ^ others) & np.uint64(mask) != 0
                    ones, others = ones[is_new], others[is_new]
                self._found.append((ones, others))
                self._pairs += ones.size
            if self._compared > _MOST_COMPARISONS or self._pairs > _MOST_PAIRS:
                return False
        return True

    def _near(self, values: np.ndarray, bits: int) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """Yield, for each step from one sorted value to another, how many agree in the highest bits, and the near ones."""
        highest = np.uint64((1 << _BITS - bits) - 1)  # difference of two that agree
        at: np.ndarray | None = None  # the values that agree with the one a step further; None where they are many
        for step in range(1, len(values)):
            ones = values[:-step] if at is None else values[at[: np.searchsorted(at, len(values) - step)]]
            others = values[step:] if at is None else values[at[: len(ones)] + step]
            differing = ones ^ others
            agrees = differing <= highest
            count = int(np.count_nonzero(agrees))
            if not count:
                return
            is_near = agrees & (np.bitwise_count(differing) <= self._distance)
            yield count, ones[is_near], others[is_near]
            if at is not None:
                at = at[: len(ones)][agrees]
            elif count * _FEW < len(ones):
                at = np.flatnonzero(agrees)

    def _parts(self, hashes: np.ndarray, first: tuple[int, ...]) -> list[np.ndarray]:
        """Cut sorted hashes into parts that fit a cache; no two that agree in the first block are in different ones."""
        widest = sum(self._widths[block] for block in first)
        bits = min(widest, (len(hashes) // _SORTED_AT_ONCE).bit_length())
        if not bits:
            return [hashes]
        edges = np.arange(1, 1 << bits, dtype=np.uint64) << np.uint64(_BITS - bits)
        return np.split(hashes, np.searchsorted(hashes, edges))

    def _layout(self, chosen: tuple[int, ...]) -> tuple[int, ...]:
        """Return the order of blocks with the chosen ones as the first."""
        return *chosen, *(block for block in range(len(self._widths)) if block not in chosen)

    def _mask(self, chosen: Sequence[int]) -> int:
        """Return the bits of blocks where these stand in order."""
        places = self._places(range(len(self._widths)))
        return sum((1 << self._widths[block]) - 1 << places[block] for block in chosen)

    def _places(self, layout: Sequence[int]) -> dict[int, int]:
        """Return the lowest bit of each block."""
        ends = itertools.accumulate(self._widths[block] for block in layout)
        return {block: _BITS - end for block, end in zip(layout, ends, strict=True)}

    def _shifts(self, layout: Sequence[int], target: Sequence[int]) -> dict[int, int]:
        """Return which bits go how far to the left, by that distance, from one order of blocks to another."""
        shifts: dict[int, int] = defaultdict(int)
        before, after = self._places(layout), self._places(target)
        for block, place in before.items():
            shifts[after[block] - place] |= (1 << self._widths[block]) - 1 << place
        return shifts


def _shifted(hashes: np.ndarray, shifts: Mapping[int, int]) -> np.ndarray:
    """Return hashes with their bits shifted to the left; `shifts` holds the bits that go each distance."""
    moved = np.zeros(len(hashes), np.uint64)
    for first in range(0, len(hashes), _HASHES_AT_ONCE):
        some, target = hashes[first : first + _HASHES_AT_ONCE], moved[first : first + _HASHES_AT_ONCE]
        for distance, mask in shifts.items():
            part = some & np.uint64(mask)
            if distance > 0:
                part <<= np.uint64(distance)
            elif distance < 0:
                part >>= np.uint64(-distance)
            target |= part
    return moved


def _blocks(distance: int, count: int) -> tuple[list[list[int]], int]:
    """Return the bits of each block, and how many blocks must agree; as many as make the search shortest."""

    def work(shared: int) -> float:
        agreeing = count / 2 ** (_BITS * shared / (distance + shared))
        return comb(distance + shared, shared) * count * (_SORTING + agreeing / 2)

    shared = min(range(min(6, _BITS - distance + 1)), key=work)
    return [list(range(first, _BITS, distance + shared)) for first in range(distance + shared)], shared


def _moves(order: list[int]) -> np.ndarray:
    """Return where the bits of each byte of a hash go, uint64, shape (8, 256), for an order from the highest bit to the lowest."""
    values = np.arange(256, dtype=np.uint64)
    moves = np.zeros((8, 256), np.uint64)
    for place, bit in enumerate(order):
        moves[bit // 8] |= (values >> np.uint64(bit % 8) & np.uint64(1)) << np.uint64(_BITS - 1 - place)
    return moves


def _moved(hashes: np.ndarray, moves: np.ndarray) -> np.ndarray:
    """Return hashes with their bits in another order."""
    moved = np.empty_like(hashes)
    for first in range(0, len(hashes), _HASHES_AT_ONCE):
        parts = hashes[first : first + _HASHES_AT_ONCE].astype("<u8").view(np.uint8).reshape(-1, 8)
        some = moves[0].take(parts[:, 0])
        for number in range(1, 8):
            some |= moves[number].take(parts[:, number])
        moved[first : first + _HASHES_AT_ONCE] = some
    return moved


def _inverse(order: list[int]) -> list[int]:
    """Return the order of bits that undoes another."""
    places = {bit: _BITS - 1 - place for place, bit in enumerate(order)}
    return [places[bit] for bit in reversed(range(_BITS))]
