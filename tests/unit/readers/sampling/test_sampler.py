"""Every rank gets its share of an epoch, and a few numbers say where it stood."""

import json
import logging
import pickle
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from aesthetics_ops.errors import SettingsError
from aesthetics_ops.readers.sampling.sampler import Draws, Sampler
from aesthetics_ops.readers.sampling.state import Receipt
from aesthetics_ops.readers.sampling.steps import LASTS, Last, Steps

SHUFFLES: tuple[Any, ...] = (False, True, "block")


def shards_of(n: int) -> np.ndarray:
    return np.arange(n) // 37


def sampler(n: int, batch: int, **options: Any) -> Sampler:
    return Sampler(n, batch, **({"shards": shards_of(n)} | options))


def on_ranks(n: int, batch: int, ranks: int, **options: Any) -> list[Sampler]:
    return [sampler(n, batch, rank=rank, ranks=ranks, **options) for rank in range(ranks)]


def steps_of(samplers: list[Sampler]) -> list[list[list[int]]]:
    """One iteration: per step, each rank's rows."""
    epochs = [[draws.rows.tolist() for draws in each] for each in samplers]
    assert len({len(epoch) for epoch in epochs}) == 1, "every rank has the same number of batches"
    return [list(step) for step in zip(*epochs, strict=True)]


def rows_in(steps: list[list[list[int]]]) -> list[int]:
    return [row for step in steps for batch in step for row in batch]


def can_be_even(left: int, batch: int, ranks: int) -> bool:
    rest = left % (batch * ranks)
    return rest == 0 or rest >= ranks or (left > rest and batch > 1)


class TestEpoch:
    """One iteration."""

    @given(st.integers(0, 300), st.integers(1, 12), st.integers(1, 9), st.sampled_from(SHUFFLES), st.integers(0, 3))
    @settings(max_examples=200, deadline=None)
    def test_even_hands_out_each_record_once_in_equally_many_batches(
        self, n: int, batch: int, ranks: int, shuffle: Any, epoch: int
    ) -> None:
        assume(can_be_even(n, batch, ranks))
        samplers = on_ranks(n, batch, ranks, shuffle=shuffle)
        for each in samplers:
            each.epoch = epoch
        lengths = {len(each) for each in samplers}
        steps = steps_of(samplers)
        assert lengths == {len(steps)}
        assert sorted(rows_in(steps)) == list(range(n))
        assert all(1 <= len(rows) <= batch for step in steps for rows in step)
        assert all(max(map(len, step)) - min(map(len, step)) <= 1 for step in steps)

    @given(st.integers(0, 300), st.integers(1, 12), st.integers(1, 9), st.sampled_from(SHUFFLES))
    @settings(max_examples=100, deadline=None)
    def test_drop_gives_full_batches_and_says_how_many_are_missing(
        self, n: int, batch: int, ranks: int, shuffle: Any
    ) -> None:
        samplers = on_ranks(n, batch, ranks, shuffle=shuffle, last="drop")
        dropped = samplers[0].dropped
        rows = rows_in(steps := steps_of(samplers))
        assert len(set(rows)) == len(rows) == n - dropped
        assert dropped < batch * ranks
        assert all(len(batch_rows) == batch for step in steps for batch_rows in step)

    @given(st.integers(0, 300), st.integers(1, 12), st.integers(1, 9), st.sampled_from(SHUFFLES))
    @settings(max_examples=100, deadline=None)
    def test_pad_gives_full_batches_that_begin_the_epoch_again(
        self, n: int, batch: int, ranks: int, shuffle: Any
    ) -> None:
        samplers = on_ranks(n, batch, ranks, shuffle=shuffle, last="pad")
        padded = samplers[0].padded
        steps = steps_of(samplers)
        assert all(len(batch_rows) == batch for step in steps for batch_rows in step)
        rows = [row for step in steps for turn in zip(*step, strict=True) for row in turn]  # in the epoch's order
        assert sorted(rows[:n]) == list(range(n))
        assert rows[n:] == [rows[place % n] for place in range(padded)]

    @pytest.mark.parametrize("shuffle", SHUFFLES)
    @pytest.mark.parametrize("last", ["even", "drop"])
    def test_the_same_records_form_a_global_batch_on_any_number_of_ranks(self, shuffle: Any, last: Last) -> None:
        def sets(ranks: int) -> list[list[int]]:
            steps = steps_of(on_ranks(1003, 32 // ranks, ranks, shuffle=shuffle, seed=5, last=last))
            return [sorted(row for rows in step for row in rows) for step in steps]

        assert sets(1) == sets(2) == sets(4) == sets(8)

    @pytest.mark.parametrize("last", LASTS)
    @pytest.mark.parametrize("ranks", [1, 16])
    def test_a_split_without_records_is_an_epoch_of_no_batches(self, last: Last, ranks: int) -> None:
        for shuffle in SHUFFLES:
            assert steps_of(on_ranks(0, 4, ranks, shuffle=shuffle, last=last)) == []
        weighted = Sampler(0, 4, shuffle=True, balance="label", labels=np.zeros(0, np.float32), last=last)
        assert list(weighted) == []
        assert weighted.state_dict()["epoch"] == 1

    @pytest.mark.parametrize("shuffle", SHUFFLES)
    def test_a_batch_of_more_than_there_is_is_all_of_it(self, shuffle: Any) -> None:
        one = sampler(50, 1 << 62, ranks=1, shuffle=shuffle)
        assert sorted(rows_in(steps_of([one]))) == list(range(50))
        other = sampler(50, 8, shuffle=shuffle)
        other.load_state_dict(one.state_dict())
        assert other.epoch == 1

    def test_fewer_records_than_ranks_names_the_way_out(self) -> None:
        with pytest.raises(
            SettingsError,
            match=r"3 of 3 records are left in the epoch for 8 ranks.*take at most 3 ranks, last='drop' or last='pad'",
        ):
            Sampler(3, 4, ranks=8)
        assert steps_of(on_ranks(3, 4, 8, last="drop")) == []
        assert len(steps_of(on_ranks(3, 4, 8, last="pad"))) == 1

    def test_batches_of_one_that_do_not_divide_name_the_way_out(self) -> None:
        with pytest.raises(SettingsError, match=r"11 records in batches of 1 leave 3 .* take a batch of 2 or more"):
            Sampler(11, 1, ranks=4)

    def test_an_epoch_is_unlike_the_next_and_the_same_again(self) -> None:
        one = sampler(500, 32, shuffle=True, seed=3)
        epochs = [rows_in(steps_of([one])) for _ in range(3)]
        assert len({tuple(epoch) for epoch in epochs}) == 3
        one.set_epoch(1)
        assert rows_in(steps_of([one])) == epochs[1]
        assert rows_in(steps_of([one])) == epochs[2]
        assert rows_in(steps_of([sampler(500, 32, shuffle=True, seed=4)])) != epochs[0]

    def test_after_a_break_the_epoch_begins_again(self) -> None:
        one = sampler(500, 32, shuffle=True)
        first = next(iter(one)).rows.tolist()
        assert next(iter(one)).rows.tolist() == first
        assert (one.epoch, len(one)) == (0, 16)

    def test_who_takes_as_many_batches_as_there_are_gets_the_next_epoch_then(self) -> None:
        """Without asking for one more: as loops of a given number of steps do."""
        one, other = sampler(100, 10, shuffle=True), sampler(100, 10, shuffle=True)
        epochs = [[next(iterator).rows.tolist() for _ in range(10)] for iterator in map(iter, [one, one])]
        assert epochs == [[draws.rows.tolist() for draws in other] for _ in range(2)]
        assert one.epoch == 1, "until one more is asked for"
        assert one.state_dict()["position"] == 100

    def test_two_iterations_at_once_do_not_disturb_each_other(self) -> None:
        one = sampler(100, 10, shuffle=True)
        older = iter(one)
        next(older)
        newer = iter(one)
        next(newer)
        rest = [draws.rows.tolist() for draws in older]
        assert one.state_dict()["position"] == 10
        assert [draws.rows.tolist() for draws in newer] == rest
        assert one.state_dict()["epoch"] == 1

    @pytest.mark.parametrize("last", ["drop", "pad"])
    def test_what_is_left_out_or_repeated_is_said_once_on_one_rank(
        self, last: Last, caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.WARNING):
            for each in on_ranks(103, 5, 4, last=last):
                list(each)
                list(each)
        words = {"drop": "3 of 103 records are left out", "pad": "17 of 103 records come twice"}
        assert [words[last] in message for message in caplog.messages] == [True]

    def test_draws_are_small_to_pickle_and_have_bits_of_their_own(self) -> None:
        batches = list(sampler(10_000, 64, shuffle=True, seed=9))
        copy = pickle.loads(pickle.dumps(batches[3]))  # noqa: S301
        assert isinstance(copy, Draws)
        assert copy.rows.tolist() == batches[3].rows.tolist()
        assert (len(copy), copy.epoch, copy.seed) == (64, 0, 9)
        assert len(pickle.dumps(batches[3])) < 1600
        bits = np.concatenate([draws.bits for draws in batches])
        assert len(np.unique(bits)) == 10_000


class TestWeights:
    """Some records more often than others."""

    @given(st.lists(st.integers(0, 9), min_size=1, max_size=80).filter(any), st.integers(1, 4))
    @settings(max_examples=80, deadline=None)
    def test_each_record_comes_the_floor_or_the_ceiling_of_its_share(self, weights: list[int], ranks: int) -> None:
        n = len(weights)
        assume(can_be_even(n, 4, ranks))
        counts = Counter(rows_in(steps_of(on_ranks(n, 4, ranks, shuffle=True, weights=weights))))
        for row, weight in enumerate(weights):
            assert counts[row] in {n * weight // sum(weights), -(-n * weight // sum(weights))}

    def test_equal_weights_are_each_record_once(self) -> None:
        for weight in (1, 0.1, 1 / 3, 1e-310, 1e308):
            assert sorted(rows_in(steps_of([Sampler(1001, 7, shuffle=True, weights=np.full(1001, weight))]))) == list(
                range(1001)
            )

    def test_balance_gives_each_range_of_labels_its_share(self) -> None:
        labels = np.concatenate((np.full(10, 0.0), np.full(90, 0.55), np.full(900, 1.0))).astype(np.float32)
        rows = np.array(rows_in(steps_of([Sampler(1000, 64, shuffle=True, balance="label", labels=labels)])))
        drawn = [int((labels[rows] == value).sum()) for value in np.unique(labels)]
        assert all(abs(count - 1000 / 3) <= 1 for count in drawn)
        counts = Counter(rows.tolist())
        assert {counts[row] for row in range(10)} <= {33, 34}

    def test_equal_labels_are_one_range(self) -> None:
        one = Sampler(20, 4, shuffle=True, balance="label", labels=np.full(20, 0.25, np.float32))
        assert sorted(rows_in(steps_of([one]))) == list(range(20))

    @pytest.mark.parametrize("options", [{"weights": np.arange(1, 501)}, {"balance": "label"}])
    def test_a_weighted_epoch_resumes_exactly(self, options: dict[str, Any]) -> None:
        options |= {"shuffle": True, "labels": np.linspace(0, 1, 500) ** 2}
        one = Sampler(500, 16, **options)
        whole = [draws.rows.tolist() for draws in one]
        one.set_epoch(0)
        iterator = iter(one)
        for _ in range(11):
            next(iterator)
        other = Sampler(500, 16, **options)
        other.load_state_dict(one.state_dict())
        assert [draws.rows.tolist() for draws in other] == whole[11:]


def resumed(state: dict[str, Any] | None, epoch: int, n: int, batch: int, ranks: int, **options: Any) -> list[Sampler]:
    """Samplers that go on where a state stands, or begin an epoch."""
    left = n - (state["position"] if state else 0)
    if not (can_be_even(n, batch, ranks) and can_be_even(left, batch, ranks)) and options["last"] == "even":
        options["last"] = "pad"
    samplers = on_ranks(n, batch, ranks, **options)
    for each in samplers:
        if state:
            each.load_state_dict(state)
        each.set_epoch(epoch)  # as training loops do; a loaded state keeps its place
    return samplers


def step_rows(iterators: list[Any], epoch: int) -> dict[int, int]:
    """The next step's rows by their place in the epoch."""
    batches = [next(iterator) for iterator in iterators]
    assert {draws.epoch for draws in batches} == {epoch}
    return {
        place: row
        for draws in batches
        for place, row in zip(draws.positions.tolist(), draws.rows.tolist(), strict=True)
    }


class TestResume:
    """A state is where training stood, exactly."""

    @given(
        st.integers(1, 400),
        st.sampled_from(SHUFFLES),
        st.integers(0, 4),
        st.lists(st.tuples(st.integers(1, 9), st.integers(1, 8), st.integers(0, 60)), min_size=2, max_size=5),
        st.sampled_from(LASTS),
    )
    @settings(max_examples=500, deadline=None)
    def test_no_record_is_missed_or_seen_twice_with_whatever_batch_and_ranks(
        self, n: int, shuffle: Any, epoch: int, layouts: list[tuple[int, int, int]], last: Last
    ) -> None:
        """Train some steps, save, go on with another batch and other ranks; the last reads to the end."""
        options = {"shuffle": shuffle, "seed": 11, "last": last, "block": 16 if shuffle == "block" else None}
        state: dict[str, Any] | None = None
        seen: list[int] = []
        for number, (batch, ranks, steps) in enumerate(layouts):
            samplers = resumed(state, epoch, n, batch, ranks, **options)
            iterators = [iter(each) for each in samplers]
            is_last = number == len(layouts) - 1
            for _ in range(len(samplers[0]) if is_last else min(steps, len(samplers[0]))):
                by_place = step_rows(iterators, epoch)
                new = sorted(place for place in by_place if place >= len(seen))  # the others are what pad repeats
                assert new == list(range(len(seen), len(seen) + len(new)))
                seen += [by_place[place] for place in new]
            states = [each.state_dict() for each in samplers]
            assert all(each == states[0] for each in states), "whichever rank saves it"
            state = json.loads(json.dumps(states[0]))
            assert state["position"] == len(seen)
        assert len(seen) + samplers[0].dropped == n
        [whole] = on_ranks(n, n, 1, **options)
        whole.epoch = epoch
        assert seen == rows_in(steps_of([whole]))[: len(seen)]

    @pytest.mark.parametrize("last", LASTS)
    @pytest.mark.parametrize(("n", "batch", "ranks"), [(103, 4, 4), (98, 4, 4), (96, 4, 4), (7, 4, 4)])
    def test_with_the_same_ranks_each_step_of_the_rest_is_what_it_would_have_been(
        self, n: int, batch: int, ranks: int, last: Last
    ) -> None:
        """Also between the two last steps that share evenly (98 = 6 * 16 + 2), and at the end of an epoch."""
        options = {"shuffle": True, "seed": 2, "last": last}
        whole = steps_of(on_ranks(n, batch, ranks, **options))
        for taken in range(len(whole) + 1):
            samplers = on_ranks(n, batch, ranks, **options)
            iterators = [iter(each) for each in samplers]
            for _ in range(taken):
                step_rows(iterators, 0)
            state = samplers[0].state_dict()
            again = on_ranks(n, batch, ranks, **options)
            for each in again:
                each.load_state_dict(state)
                each.load_state_dict(each.state_dict())  # twice in a row
            assert len(again[0]) == len(whole) - taken
            assert steps_of(again) == whole[taken:]
            assert again[0].epoch == 1
            assert steps_of(again) == steps_of(samplers_of_epoch_one := resumed(None, 1, n, batch, ranks, **options))
            assert samplers_of_epoch_one[0].epoch == 2

    def test_an_iteration_that_ended_stands_at_the_next_epoch(self) -> None:
        one = sampler(10, 5)
        list(one)
        state = one.state_dict()
        assert (state["epoch"], state["position"], one.epoch) == (1, 0, 1)
        assert one.state_dict(batches=2)["position"] == 10, "of who read ahead to the end"
        assert one.state_dict(batches=1)["position"] == 5
        other = sampler(10, 5)
        other.load_state_dict(one.state_dict(batches=1))
        assert (other.epoch, rows_in(steps_of([other]))) == (0, [5, 6, 7, 8, 9])

    def test_the_batches_that_were_trained_count_not_those_handed_out(self) -> None:
        one = sampler(100, 10, shuffle=True)
        batches = [next(iterator).rows.tolist() for iterator in [iter(one)] for _ in range(7)]
        other = sampler(100, 10, shuffle=True)
        other.load_state_dict(one.state_dict(batches=4))
        assert [draws.rows.tolist() for draws in other][:3] == batches[4:]
        with pytest.raises(SettingsError, match="8 batches are more than the 7 that this iteration has handed out"):
            one.state_dict(batches=8)

    def test_another_epoch_than_the_state_s_begins_at_its_beginning(self) -> None:
        one = sampler(100, 10)
        next(iter(one))
        other = sampler(100, 10)
        other.load_state_dict(one.state_dict())
        other.set_epoch(0)
        assert len(other) == 9
        other.set_epoch(1)
        assert len(other) == 10
        other.set_epoch(0)
        assert len(other) == 10

    def test_the_state_has_the_layouts_of_its_epoch(self) -> None:
        one = sampler(100, 10)
        next(iterator := iter(one))
        next(iterator)
        two = sampler(100, 4, ranks=2, last="drop")
        two.load_state_dict(one.state_dict())
        assert two.state_dict()["layouts"] == [[0, 10, 1, "even"]]
        next(iter(two))
        assert two.state_dict()["layouts"] == [[0, 10, 1, "even"], [20, 4, 2, "drop"]]
        two.set_epoch(1)
        assert two.state_dict()["layouts"] == [[0, 4, 2, "drop"]]

    def test_blocks_stay_those_of_the_state_with_another_batch(self) -> None:
        one = Sampler(2000, 256, shuffle="block", shards=shards_of(2000))
        first = next(iter(one)).rows.tolist()
        other = Sampler(2000, 8, ranks=1, shuffle="block", shards=shards_of(2000))
        other.load_state_dict(one.state_dict())
        assert sorted(first + rows_in(steps_of([other]))) == list(range(2000))
        with pytest.raises(SettingsError, match="the state has block 256, and this reader 64; give that block"):
            Sampler(2000, 8, shuffle="block", shards=shards_of(2000), block=64).load_state_dict(one.state_dict())

    def test_too_few_records_left_for_the_ranks_name_the_way_out_and_change_nothing(self) -> None:
        one = sampler(100, 49)
        iterator = iter(one)
        next(iterator), next(iterator)
        other = sampler(100, 2, ranks=5)
        with pytest.raises(SettingsError, match=r"2 of 100 records are left in the epoch for 5 ranks.*or set_epoch"):
            other.load_state_dict(one.state_dict())
        assert len(other) == 10


RECEIPT = Receipt("s3://bucket/ava/", "20260101T020000Z-a", "0" * 64, "train", "label > 0.5", None)
OPTIONS: dict[str, Any] = {"shuffle": True, "seed": 1, "receipt": RECEIPT}


def saved(**changes: Any) -> dict[str, Any]:
    one = sampler(100, 10, **OPTIONS)
    next(iter(one))
    return one.state_dict() | changes


class TestForeignStates:
    """A state of something else is refused in one line, and nothing changes."""

    @pytest.mark.parametrize(
        ("field", "value", "words"),
        [
            ("version", "20260102T020000Z-b", "open that version"),
            ("manifest_sha256", "1" * 64, "read the manifest that it names"),
            ("split", "test", "read that split"),
            ("where", None, "read with that filter"),
            ("where", "label > 0.6", "read with that filter"),
            ("selection", "2" * 64, "select the same rows"),
            ("records", 99, "read the same records"),
            ("weights", "balance=label", "give the same weights"),
            ("shuffle", False, "give that shuffle"),
            ("seed", 2, "give that seed"),
        ],
    )
    def test_the_line_names_field_value_expected_and_what_to_do(self, field: str, value: Any, words: str) -> None:
        one = sampler(100, 10, **OPTIONS)
        ours = saved()[field]
        with pytest.raises(SettingsError) as refused:
            one.load_state_dict(saved(**{field: value}))
        message = str(refused.value)
        assert message.startswith(f"the state has {field} {value!r}, and this reader {ours!r}; {words}")
        assert "\n" not in message
        assert one.state_dict()["position"] == 0

    def test_another_dataset_is_refused_and_one_that_moved_is_not(self) -> None:
        one = sampler(100, 10, **OPTIONS)
        one.load_state_dict(saved(dataset="file:///copy/"))
        with pytest.raises(
            SettingsError, match="dataset 's3://bucket/aadb/', and this reader 's3://bucket/ava/'; open"
        ):
            one.load_state_dict(saved(dataset="s3://bucket/aadb/", manifest_sha256="1" * 64))

    def test_other_weights_are_refused(self) -> None:
        one = Sampler(4, 2, shuffle=True, weights=[1, 2, 3, 4])
        other = Sampler(4, 2, shuffle=True, weights=[1, 2, 3, 5])
        with pytest.raises(SettingsError, match="the state has weights 'sha256="):
            other.load_state_dict(one.state_dict())

    @pytest.mark.parametrize("field", sorted(saved()))
    def test_a_damaged_value_is_refused(self, field: str) -> None:
        one = sampler(100, 10, **OPTIONS)
        values: tuple[Any, ...] = ("x", -1, 1.5, True, [], {}, 1 << 70, [[0, 10, 1]], float("nan"))
        for value in values:
            if (field, value) in [("dataset", "x"), ("shuffle", True)]:  # which may be
                continue
            with pytest.raises(SettingsError) as refused:
                one.load_state_dict(saved(**{field: value}))
            assert "\n" not in str(refused.value)
            assert one.state_dict() == sampler(100, 10, **OPTIONS).state_dict()

    @pytest.mark.parametrize("field", sorted(saved()))
    def test_a_missing_field_is_named(self, field: str) -> None:
        state = saved()
        del state[field]
        with pytest.raises(SettingsError, match=field):
            sampler(100, 10, **OPTIONS).load_state_dict(state)

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"position": 101}, "position 101 is beyond the 100 records"),
            ({"position": 15}, "position 15 is not the end of a batch of 10 on 1 ranks"),
            ({"layouts": [[0, 10, 1, "even"], [10, 3, 1, "even"]]}, "layouts do not lead from position 0 to 10"),
            ({"layouts": [[5, 10, 1, "even"]]}, "layouts do not lead from position 0 to 10"),
            ({"layouts": [[0, 10, 1, "odd"]]}, "layouts.0.3: input should be 'even', 'drop' or 'pad'"),
            ({"layouts": [[0, 0, 1, "even"]]}, "layouts.0.1: input should be greater than or equal to 1"),
            ({"block": 64, "window": 64}, "shuffle True does not go with block 64 and window 64"),
            ({"schema": 2}, "the state has schema 2, and this release reads 1; use the release that wrote it"),
            ({"kind": "x"}, "a reader's state has kind 'aesthetics-ops/reader-state', and this is of kind 'x'"),
            ({"where": {1, 2}}, "the reader's state is damaged: Object of type set is not JSON serializable"),
        ],
    )
    def test_what_does_not_fit_together_is_refused(self, changes: dict[str, Any], words: str) -> None:
        with pytest.raises(SettingsError) as refused:
            sampler(100, 10, **OPTIONS).load_state_dict(saved(**changes))
        assert words in str(refused.value)

    @pytest.mark.parametrize("state", [None, [], "state", 3])
    def test_what_is_no_state_is_refused(self, state: Any) -> None:
        with pytest.raises(SettingsError, match=f"and this is a {type(state).__name__}; give what state_dict"):
            sampler(100, 10, **OPTIONS).load_state_dict(state)

    def test_what_a_newer_release_adds_is_passed_over(self) -> None:
        sampler(100, 10, **OPTIONS).load_state_dict(saved(note="new"))


class TestSettings:
    """Values that cannot be are refused when the sampler is made."""

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"records": -1}, "records is -1; it is a whole number, 0 or more"),
            ({"records": 2.0}, "records is 2.0; it is a whole number"),
            ({"batch": 0}, "batch is 0; it is a whole number, 1 or more"),
            ({"batch": True}, "batch is True; it is a whole number"),
            ({"seed": -1}, "seed is -1"),
            ({"seed": 1 << 63}, "seed is 9223372036854775808"),
            ({"ranks": 0}, "ranks is 0"),
            ({"rank": 2, "ranks": 2}, "rank is 2, and ranks 2; ranks count from 0"),
            ({"last": "keep"}, "last is 'keep'; it is one of 'even', 'drop', 'pad'"),
            ({"shuffle": "blocks"}, "shuffle is 'blocks'; it is False, True or 'block'"),
            ({"shuffle": 1}, "shuffle is 1; it is False, True or 'block'"),
            ({"shuffle": "block"}, "shuffle='block' needs the shard of each record; give shards"),
            ({"shuffle": "block", "shards": [0]}, "shards have shape (1,); give one number for each of 10 records"),
            ({"block": 64}, "block is 64, which needs shuffle='block'"),
            ({"shuffle": "block", "shards": [0] * 10, "window": 0}, "window is 0; it is a whole number, 1 or more"),
            ({"balance": "labels"}, "balance is 'labels'; it is None or 'label'"),
            ({"balance": "label", "shuffle": True}, "balance='label' needs the labels of the records; give labels"),
            ({"balance": "label", "shuffle": True, "labels": [0.0] * 9}, "labels have shape (9,)"),
            (
                {"balance": "label", "shuffle": True, "labels": [np.nan] * 10},
                "the label of row 0 is nan; select records",
            ),
            ({"weights": [1] * 10}, "weights and balance draw at random, and shuffle is False; give shuffle=True"),
            ({"weights": [1] * 10, "balance": "label", "shuffle": True}, "weights and balance exclude each other"),
            ({"weights": [1] * 9, "shuffle": True}, "weights have shape (9,)"),
            ({"weights": ["a"] * 10, "shuffle": True}, "weights are not numbers"),
            ({"weights": [0] * 10, "shuffle": True}, "every weight is 0"),
        ],
    )
    def test_the_line_names_the_value_and_the_rule(self, options: dict[str, Any], words: str) -> None:
        with pytest.raises(SettingsError) as refused:
            Sampler(**({"records": 10, "batch": 2} | options))
        assert words in str(refused.value)

    def test_whole_numbers_of_numpy_are_fine(self) -> None:
        numbers: Any = [np.int64(10), np.int32(3)]
        one = Sampler(*numbers)
        assert json.loads(json.dumps(one.state_dict()))["layouts"] == [[0, 3, 1, "even"]]
        with pytest.raises(SettingsError, match="epoch is -1"):
            one.epoch = -1


class TestSteps:
    """Which places belong to which step."""

    @given(st.integers(0, 200), st.integers(0, 200), st.integers(1, 9), st.integers(1, 9), st.sampled_from(LASTS))
    @settings(max_examples=300, deadline=None)
    def test_every_end_of_a_step_is_found_again_and_no_other_position(
        self, records: int, start: int, batch: int, ranks: int, last: Last
    ) -> None:
        assume(start <= records)
        assume(last != "even" or can_be_even(records - start, batch, ranks))
        steps = Steps(records, start, batch, ranks, last)
        ends = {steps.end(count): count for count in range(len(steps) + 1)}
        assert {position: steps.until(position) for position in range(records + 3)} == {
            position: ends.get(position) for position in range(records + 3)
        }


class TestByNumber:
    """Batches and states by number are those of the iterations that follow."""

    @given(
        st.integers(1, 200),
        st.integers(1, 12),
        st.integers(1, 4),
        st.sampled_from(SHUFFLES),
        st.sampled_from(LASTS),
        st.integers(0, 60),
    )
    @settings(max_examples=150, deadline=None)
    def test_they_are_the_same_from_anywhere(
        self, n: int, batch: int, ranks: int, shuffle: Any, last: Last, handed: int
    ) -> None:
        assume(last != "even" or can_be_even(n, batch, ranks))
        options: dict[str, Any] = {"rank": ranks - 1, "ranks": ranks, "shuffle": shuffle, "last": last}
        reading, by_number = sampler(n, batch, **options), sampler(n, batch, **options)
        assume(len(reading) > 0)
        drawn = [draws for _ in range(3) for draws in reading]
        handed %= len(by_number) + 1
        position = by_number.state_at(handed)
        assume(last == "even" or position["position"] % (batch * ranks) == 0)
        by_number.load_state_dict(json.loads(json.dumps(position)))
        for number in (5, 0, 3, len(reading)):
            if handed + number < len(drawn):
                found, expected = by_number.draws_at(number), drawn[handed + number]
                assert (found.epoch, found.rows.tolist()) == (expected.epoch, expected.rows.tolist())
                assert found.bits.tolist() == expected.bits.tolist()
        iterated = sampler(n, batch, **options)
        taken = 0
        for _ in range(2):
            for _draws in iterated:
                taken += 1
                if taken > handed:
                    assert by_number.state_at(taken - handed)["position"] == iterated.state_dict()["position"]
                    assert by_number.state_at(taken - handed)["epoch"] == iterated.state_dict()["epoch"]

    def test_asking_changes_nothing(self) -> None:
        each = sampler(20, 4, shuffle=True)
        before = each.state_dict()
        each.draws_at(17)
        assert (each.epoch, each.state_dict(), len(each)) == (0, before, 5)

    @pytest.mark.parametrize(("n", "number"), [(20, -1), (0, 0)])
    def test_there_are_no_others(self, n: int, number: int) -> None:
        with pytest.raises(IndexError, match=f"batch {number}, of "):
            sampler(n, 4).draws_at(number)
