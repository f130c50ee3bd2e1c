"""The order of an epoch is a function of a few numbers: every row once, the same on every machine, well mixed."""

from collections import Counter
from itertools import pairwise
from math import factorial, sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aesthetics_ops.errors import SettingsError
from aesthetics_ops.readers.sampling.order import BlockShuffle, Permutation, Weighted, blocks_of, random_bits

AVA = 255_508


def is_bijection(rows: np.ndarray) -> bool:
    return np.array_equal(np.sort(rows), np.arange(len(rows)))


def meeting_again(one: np.ndarray, next_one: np.ndarray, batch: int) -> float:
    """How often two records of one batch are in one batch in the next epoch, over what chance gives."""
    n = len(one)
    place = np.empty(n, np.int64)
    place[next_one] = np.arange(n)
    batches = place[one][: n // batch * batch].reshape(-1, batch) // batch
    in_order = np.sort(batches, axis=1)
    pairs = 0
    for distance in range(1, batch):  # equal numbers lie side by side
        pairs += int((in_order[:, distance:] == in_order[:, :-distance]).sum())
    expected = len(batches) * batch * (batch - 1) / 2 * (batch - 1) / (n - 1)
    return pairs / expected


class TestPermutation:
    """Every row once, computed from its place."""

    @pytest.mark.parametrize("n", [*range(130), 255, 256, 257, 1000, 4095, 4096, 4097, 65_537, AVA])
    def test_every_row_comes_once(self, n: int) -> None:
        assert is_bijection(Permutation(n, 3, 5)(np.arange(n)))

    @pytest.mark.parametrize("n", [10**9, 10**12, 1 << 60])
    def test_numbers_of_records_that_no_memory_would_hold(self, n: int) -> None:
        places = np.unique(np.concatenate((np.arange(2000), n - 1 - np.arange(2000), np.arange(2000) * (n // 2000))))
        rows = Permutation(n, 1, 2)(places)
        assert rows.min() >= 0
        assert rows.max() < n
        assert len(np.unique(rows)) == len(places)

    def test_the_rows_are_the_same_on_every_machine(self) -> None:
        """Golden: a change here breaks the resume of every state that was ever saved."""
        assert Permutation(10, 0, 0)(np.arange(10)).tolist() == GOLDEN_10
        assert Permutation(AVA, 42, 7)(np.arange(8)).tolist() == GOLDEN_AVA
        assert Permutation(10**12, 42, 7)(np.arange(4)).tolist() == GOLDEN_LARGE
        assert random_bits(42, 7, np.arange(3)).tolist() == GOLDEN_BITS

    @given(st.integers(1, 10**12), st.integers(0, 2**63 - 1), st.integers(0, 2**31), st.data())
    @settings(max_examples=60, deadline=None)
    def test_a_row_depends_on_its_place_alone(self, n: int, seed: int, epoch: int, data: st.DataObject) -> None:
        places = np.array(data.draw(st.lists(st.integers(0, n - 1), min_size=1, max_size=20)))
        together = Permutation(n, seed, epoch)(places)
        assert together.tolist() == [int(Permutation(n, seed, epoch)(places[i : i + 1])[0]) for i in range(len(places))]
        assert Permutation(n, seed, epoch)(places.reshape(1, -1)).tolist() == [together.tolist()]

    @pytest.mark.parametrize("n", [2, 3, 4, 5, 6])
    def test_all_orders_of_few_records_are_equally_likely(self, n: int) -> None:
        kinds = factorial(n)
        seen = Counter(tuple(Permutation(n, 7, epoch)(np.arange(n)).tolist()) for epoch in range(12 * kinds))
        assert len(seen) == kinds
        chi_square = sum((count - 12) ** 2 / 12 for count in seen.values())
        assert abs(chi_square - (kinds - 1)) < 5 * sqrt(2 * (kinds - 1))

    def test_records_of_one_batch_meet_again_as_often_as_by_chance(self) -> None:
        n, batch = 20_000, 64
        orders = [Permutation(n, 1, epoch)(np.arange(n)) for epoch in range(6)]
        figures = [meeting_again(one, other, batch) for one, other in pairwise(orders)]
        pairs = n / batch * batch * (batch - 1) / 2 * (batch - 1) / (n - 1) * len(figures)
        assert abs(np.mean(figures) - 1) < 4 / sqrt(pairs)

    def test_an_epoch_tells_nothing_of_the_next_nor_a_seed_of_its_neighbour(self) -> None:
        orders = [Permutation(AVA, seed, epoch)(np.arange(AVA)) for seed, epoch in ((0, 0), (0, 1), (1, 0), (1, 1))]
        correlations = np.corrcoef([np.arange(AVA), *orders])[np.triu_indices(5, 1)]
        assert np.abs(correlations).max() < 5 / sqrt(AVA)

    @pytest.mark.parametrize("place", [-1, 10])
    def test_a_place_outside_the_epoch_is_an_error(self, place: int) -> None:
        with pytest.raises(IndexError, match=f"places {place} to {place} do not all lie in an epoch of 10 records"):
            Permutation(10, 0, 0)(np.array([place]))

    @pytest.mark.parametrize("n", [-1, (1 << 60) + 1])
    def test_a_number_of_records_that_cannot_be_is_refused(self, n: int) -> None:
        with pytest.raises(SettingsError, match="take 0 to"):
            Permutation(n, 0, 0)


class TestBits:
    """What augmentation is drawn from."""

    def test_bits_differ_from_place_to_place_epoch_to_epoch_and_are_half_set(self) -> None:
        bits = np.stack([random_bits(seed, epoch, np.arange(5000)) for seed in (0, 1) for epoch in (0, 1)])
        assert len(np.unique(bits)) == bits.size
        shares = np.unpackbits(bits.reshape(-1, 1).view(np.uint8), axis=1).mean(axis=0)
        assert np.abs(shares - 0.5).max() < 5 * 0.5 / sqrt(bits.size)


sizes_of_shards = st.lists(st.integers(1, 300), max_size=12)


class TestBlockShuffle:
    """Neighbours together, and every row once."""

    @given(sizes_of_shards, st.integers(1, 100), st.integers(1, 9), st.integers(0, 5))
    @settings(max_examples=80, deadline=None)
    def test_every_row_comes_once(self, sizes: list[int], block: int, window: int, epoch: int) -> None:
        shards = np.repeat(np.arange(len(sizes)), sizes)
        order = BlockShuffle(blocks_of(shards, block), 1, epoch, block=block, window=window)
        assert is_bijection(order(np.arange(len(shards))))

    @given(sizes_of_shards, st.integers(1, 100))
    @settings(max_examples=100, deadline=None)
    def test_blocks_are_nearly_equal_and_stay_in_their_shard(self, sizes: list[int], block: int) -> None:
        shards = np.repeat(np.arange(len(sizes)), sizes)
        starts = blocks_of(shards, block)
        assert set(np.concatenate(([0], np.cumsum(sizes))).tolist()) <= set(starts.tolist())
        for number, size in enumerate(sizes):
            own = np.diff(starts)[shards[starts[:-1]] == number]
            assert len(own) == max(1, int(size / block + 0.5))
            assert own.sum() == size
            assert own.max() - own.min() <= 1

    def test_rows_in_an_order_of_their_own_make_blocks_too(self) -> None:
        shards = np.array([3, 3, 1, 3, 3, 3, 0])
        assert blocks_of(shards, 64).tolist() == [0, 2, 3, 6, 7]

    @pytest.mark.parametrize("size", [60, 64, 97, 130, 700, 1971])
    @pytest.mark.parametrize("epoch", range(4))
    def test_the_first_batch_comes_from_three_blocks_at_most(self, size: int, epoch: int) -> None:
        blocks = blocks_of(np.repeat(np.arange(100), size), 64)
        rows = BlockShuffle(blocks, 5, epoch, block=64, window=64)(np.arange(64))
        assert len(np.unique(np.searchsorted(blocks, rows, side="right"))) <= 3

    def test_a_batch_in_the_middle_comes_from_almost_as_many_blocks_as_it_has_records(self) -> None:
        blocks = blocks_of(np.repeat(np.arange(130), 1965), 64)
        rows = BlockShuffle(blocks, 5, 0, block=64, window=64)(np.arange(100_032, 100_096))
        assert len(np.unique(np.searchsorted(blocks, rows, side="right"))) > 32

    @pytest.mark.parametrize(("window", "least", "most"), [(16, 8, 12), (64, 1.4, 1.8), (128, 1.0, 1.3)])
    def test_how_often_records_meet_again(self, window: int, least: float, most: float) -> None:
        """About 1 + n / (block * window^2) times as often as by chance; the table in docs/order.md has more."""
        blocks = blocks_of(np.repeat(np.arange(80), 2000), 64)
        orders = [BlockShuffle(blocks, 1, epoch, block=64, window=window)(np.arange(160_000)) for epoch in range(4)]
        figures = [meeting_again(one, other, 64) for one, other in pairwise(orders)]
        assert least < np.mean(figures) < most

    def test_the_rows_are_the_same_on_every_machine(self) -> None:
        blocks = blocks_of(np.repeat(np.arange(9), 100), 16)
        assert BlockShuffle(blocks, 42, 7, block=16, window=4)(np.arange(0, 900, 90)).tolist() == GOLDEN_BLOCKS


class TestWeighted:
    """Each record as often as its weight says, to the next whole number."""

    @given(
        st.lists(st.integers(0, 50), min_size=1, max_size=60).filter(any), st.integers(0, 3), st.floats(1e-300, 1e300)
    )
    @settings(max_examples=200, deadline=None)
    def test_counts_are_the_floor_or_the_ceiling(self, numbers: list[int], epoch: int, unit: float) -> None:
        n, total = len(numbers), sum(numbers)
        weighted = Weighted(np.ldexp(np.array(numbers, np.float64), int(np.frexp(unit)[1]) // 2))
        counts = np.bincount(weighted.rows(np.arange(n), 1, epoch), minlength=n).tolist()
        assert sum(counts) == n
        for number, count in zip(numbers, counts, strict=True):
            assert count in {n * number // total, -(-n * number // total)}

    @given(st.lists(st.floats(0, 1e308), min_size=1, max_size=60).filter(any))
    @settings(max_examples=200, deadline=None)
    def test_any_weights_give_rows_in_their_order(self, numbers: list[float]) -> None:
        n = len(numbers)
        rows = Weighted(np.array(numbers)).rows(np.arange(n), 1, 0)
        assert (np.diff(rows) >= 0).all()
        assert rows.min() >= 0
        assert rows.max() < n
        assert all(numbers[row] > 0 for row in rows.tolist())

    def test_the_mean_over_many_epochs_is_the_weight(self) -> None:
        weights = np.array([0.1, 0.2, 0.3, 1.4, 3.0])
        weighted = Weighted(weights)
        counts = np.mean([np.bincount(weighted.rows(np.arange(5), 9, e), minlength=5) for e in range(4000)], axis=0)
        assert np.abs(counts - weights).max() < 5 * 0.5 / sqrt(4000)

    def test_no_record_has_no_draws(self) -> None:
        assert Weighted(np.zeros(0)).rows(np.zeros(0, np.int64), 1, 0).tolist() == []

    @pytest.mark.parametrize(
        ("weights", "words"),
        [
            ([1, -1], "the weight of row 1 is -1.0; weights are finite and 0 or more"),
            ([np.nan, 1], "the weight of row 0 is nan"),
            ([1, np.inf], "the weight of row 1 is inf"),
            ([0, 0], "every weight is 0; give at least one record a weight above 0"),
        ],
    )
    def test_weights_that_cannot_be_are_refused(self, weights: list[float], words: str) -> None:
        with pytest.raises(SettingsError, match=words):
            Weighted(np.array(weights, np.float64))


GOLDEN_10: list[int] = [8, 5, 2, 3, 1, 0, 9, 6, 4, 7]
GOLDEN_AVA: list[int] = [74400, 36974, 141725, 48671, 235443, 189570, 121426, 235411]
GOLDEN_LARGE: list[int] = [889217535161, 181143202807, 5246588979, 687611155892]
GOLDEN_BITS: list[int] = [6058174388771432682, 7182434684303301661, 48158525058301820]
GOLDEN_BLOCKS: list[int] = [55, 344, 511, 211, 620, 417, 46, 662, 317, 723]
