"""Planning through its public door: every listed photo has one place, and that place is stable."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import settings as settings_of_hypothesis
from hypothesis import strategies as st

from aesthetics_ops.dataset.recipe import Converter, recipe_digest
from aesthetics_ops.errors import PlanError
from aesthetics_ops.planning.model import ParentPlan, Plan
from aesthetics_ops.planning.partitions import balance
from aesthetics_ops.planning.plan import plan_photos
from aesthetics_ops.settings import BuildSettings
from aesthetics_ops.sources.labels import Labels, read_labels

CONVERTER = Converter(1, "c0dec" + "0" * 11)
SHARD_BYTES = 10_000


def settings(**changes: object) -> BuildSettings:
    urls = {"photos": "memory://p/photos/", "labels": "memory://p/scores.csv", "dataset": "memory://p/dataset/"}
    return BuildSettings.model_validate(urls | {"shard_bytes": SHARD_BYTES} | changes)


def listing(sizes: dict[str, int], etags: dict[str, str] | None = None) -> pa.Table:
    keys = sorted(sizes)
    columns = {
        "key": pa.array(keys, pa.string()),
        "size": pa.array([sizes[key] for key in keys], pa.int64()),
        "etag": pa.array([(etags or {}).get(key, f"etag-of-{key}") for key in keys], pa.string()),
    }
    return pa.table(columns)


def scores(rows: Mapping[str, object] | Sequence[tuple[str, object]], of: BuildSettings) -> Labels:
    pairs = rows.items() if isinstance(rows, Mapping) else rows
    text = "id,score\n" + "\n".join(f"{name},{score}" for name, score in pairs)
    return read_labels(text.encode(), source=of.labels, settings=of)


def plan(
    photos: dict[str, int],
    rows: Mapping[str, object] | Sequence[tuple[str, object]],
    *,
    parent: Plan | None = None,
    etags: dict[str, str] | None = None,
    groups: dict[str, str] | None = None,
    **changes: object,
) -> Plan:
    of = settings(**changes)
    grouped = pa.table(
        {"key": pa.array(groups or {}, pa.string()), "group": pa.array((groups or {}).values(), pa.string())}
    )
    before = ParentPlan(parent.photos, grouped, seed=0, shard_bytes=SHARD_BYTES) if parent else None
    return plan_photos(listing(photos, etags), scores(rows, of), of, converter=CONVERTER, parent=before)


def many(count: int) -> tuple[dict[str, int], dict[str, object]]:
    return {f"{n}.jpg": 1000 for n in range(count)}, {str(n): n % 10 + 1 for n in range(count)}


def reasons(of: Plan) -> dict[str, str | None]:
    return dict(zip(of.photos["key"].to_pylist(), of.photos["reason"].to_pylist(), strict=True))


def digests(of: Plan) -> set[str]:
    return {shard.digest for shard in of.shards}


@settings_of_hypothesis(max_examples=25, deadline=None)
@given(st.dictionaries(st.integers(0, 10_000).map("{}.jpg".format), st.integers(1, 30_000), min_size=1, max_size=60))
def test_every_photo_is_in_exactly_one_shard_and_shards_end_at_most_one_photo_over(photos: dict[str, int]) -> None:
    planned = plan(photos, {key[:-4]: 5 for key in photos})
    assert sorted(planned.photos["key"].to_pylist()) == sorted(photos)
    assert sum(shard.photos for shard in planned.shards) == len(photos)
    assert sum(shard.source_bytes for shard in planned.shards) == sum(photos.values())
    for shard in planned.shards:
        rows = planned.photos.slice(shard.first, shard.photos)
        assert set(rows["digest"].to_pylist()) == {shard.digest}
        assert shard.source_bytes - max(rows["size"].to_pylist()) < SHARD_BYTES


def test_the_order_of_listing_and_labels_changes_nothing() -> None:
    photos, rows = many(50)
    of = settings()
    forward = plan_photos(listing(photos), scores(rows, of), of, converter=CONVERTER, parent=None)
    table = listing(photos).take(np.arange(49, -1, -1))
    backward = plan_photos(table, scores(dict(reversed(rows.items())), of), of, converter=CONVERTER, parent=None)
    assert forward.photos.equals(backward.photos)
    assert forward.shards == backward.shards


def test_photos_are_shuffled_and_another_seed_shuffles_differently() -> None:
    photos, rows = many(50)
    orders = [
        plan(photos, rows, seed=seed, shard_bytes=1 << 20, test_fraction=0, validation_fraction=0)
        .photos["id"]
        .to_pylist()
        for seed in (0, 1)
    ]
    assert orders[0] != orders[1]
    assert sorted(orders[0]) != orders[0]
    assert sorted(orders[0]) == sorted(orders[1])


def test_splits_follow_the_shares_and_never_change_when_photos_arrive() -> None:
    photos, rows = many(2000)
    few = plan(dict(list(photos.items())[:500]), rows, test_fraction=0.2, validation_fraction=0.1)
    all_of_them = plan(photos, rows, test_fraction=0.2, validation_fraction=0.1)
    before = dict(zip(few.photos["id"].to_pylist(), few.photos["split"].to_pylist(), strict=True))
    after = dict(zip(all_of_them.photos["id"].to_pylist(), all_of_them.photos["split"].to_pylist(), strict=True))
    assert before.items() <= after.items()
    counts = Counter(after.values())
    assert 340 <= counts["test"] <= 460
    assert 140 <= counts["validation"] <= 260


class TestNearDuplicates:
    """Photos that the parent found alike go by the name of their group."""

    ROWS = many(300)

    def splits(self, of: Plan) -> dict[str, str]:
        return dict(zip(of.photos["id"].to_pylist(), of.photos["split"].to_pylist(), strict=True))

    def test_a_group_comes_into_one_split_and_nothing_else_moves(self) -> None:
        photos, rows = self.ROWS
        first = plan(photos, rows)
        groups = {f"{n}.jpg": "7" for n in range(7, 30)}
        second = plan(photos, rows, parent=first, groups=groups)
        before, after = self.splits(first), self.splits(second)
        assert {after[key[:-4]] for key in groups} == {before["7"]}
        assert {name for name in before if before[name] != after[name]} <= {key[:-4] for key in groups}
        third = plan(photos, rows, parent=second, groups=groups)
        assert third.shards == second.shards

    def test_a_photo_that_moves_touches_the_shard_it_leaves_and_the_one_it_comes_to(self) -> None:
        photos, rows = self.ROWS
        first = plan(photos, rows)
        splits = self.splits(first)
        stays, moves = (next(name for name in splits if splits[name] == split) for split in ("train", "test"))
        second = plan(photos, rows, parent=first, groups={f"{stays}.jpg": stays, f"{moves}.jpg": stays})
        assert self.splits(second) == splits | {moves: "train"}
        assert len(digests(second) - digests(first)) == 2

    def test_a_plan_from_scratch_keeps_them_and_no_distance_forgets_them(self) -> None:
        photos, rows = self.ROWS
        first = plan(photos, rows)
        groups = {f"{n}.jpg": "7" for n in range(7, 30)}
        scratch = self.splits(plan(photos, rows, parent=first, groups=groups, seed=3))
        assert len({scratch[key[:-4]] for key in groups}) == 1
        apart = plan(photos, rows, parent=first, groups=groups, near_duplicate_distance=None)
        assert self.splits(apart) == self.splits(first)


def test_a_split_column_is_obeyed() -> None:
    of = settings(split_column="part")
    labels = read_labels(b"id,score,part\n1,5,test\n2,5,train\n3,5,dev\n4,5,nowhere", source="x.csv", settings=of)
    planned = plan_photos(listing({f"{n}.jpg": 10 for n in range(1, 5)}), labels, of, converter=CONVERTER, parent=None)
    assert dict(zip(planned.photos["id"].to_pylist(), planned.photos["split"].to_pylist(), strict=True)) == {
        "1": "test", "2": "train", "3": "validation", "4": None,
    }  # fmt: skip
    assert reasons(planned)["4.jpg"] == "label_invalid"


class TestSticky:
    """A plan with a parent keeps every photo where it was."""

    def test_the_same_input_gives_the_same_shards(self) -> None:
        photos, rows = many(200)
        first = plan(photos, rows)
        assert plan(photos, rows, parent=first).shards == first.shards

    def test_one_new_photo_touches_one_shard(self) -> None:
        photos, rows = many(200)
        first = plan(photos, rows)
        second = plan(photos | {"new.jpg": 1000}, rows | {"new": 3}, parent=first)
        assert len(digests(second) - digests(first)) == 1

    @pytest.mark.parametrize("change", ["deleted", "replaced", "relabelled"])
    def test_one_changed_photo_touches_its_own_shard_only(self, change: str) -> None:
        photos, rows = many(200)
        first = plan(photos, rows)
        key = first.photos["key"][0].as_py()
        etags = {key: "another"} if change == "replaced" else None
        labels = rows | {key[:-4]: 9.5} if change == "relabelled" else rows
        kept = {name: size for name, size in photos.items() if change != "deleted" or name != key}
        second = plan(kept, labels, parent=first, etags=etags)
        assert first.shards[0].digest not in digests(second)
        assert digests(first) - digests(second) == {first.shards[0].digest}

    def test_many_new_photos_fill_the_last_shard_then_make_new_ones(self) -> None:
        photos, rows = many(200)
        first = plan(photos, rows, test_fraction=0, validation_fraction=0)
        arrived = {f"n{n}.jpg": 1000 for n in range(35)}
        second = plan(
            photos | arrived,
            rows | {key[:-4]: 2 for key in arrived},
            parent=first,
            test_fraction=0,
            validation_fraction=0,
        )
        assert len(digests(first) - digests(second)) <= 1
        assert all(shard.source_bytes <= SHARD_BYTES for shard in second.shards)
        assert sum(shard.photos for shard in second.shards) == 235

    def test_a_shard_emptied_below_half_takes_new_photos(self) -> None:
        photos, rows = many(200)
        first = plan(photos, rows, test_fraction=0, validation_fraction=0)
        gone = first.photos.slice(first.shards[2].first, 8)["key"].to_pylist()
        kept = {key: size for key, size in photos.items() if key not in gone}
        second = plan(kept, rows, parent=first, test_fraction=0, validation_fraction=0)
        arrived = {f"n{n}.jpg": 1000 for n in range(8)}
        third = plan(
            kept | arrived,
            rows | {key[:-4]: 2 for key in arrived},
            parent=second,
            test_fraction=0,
            validation_fraction=0,
        )
        assert {shard.slot for shard in third.shards} <= {shard.slot for shard in first.shards} | {len(first.shards)}
        assert next(shard for shard in third.shards if shard.slot == first.shards[2].slot).photos > 2

    @pytest.mark.parametrize("change", [{"reshuffle": True}, {"seed": 7}, {"shard_bytes": 7_000}], ids=str)
    def test_reshuffle_a_new_seed_and_a_new_shard_size_plan_from_scratch(self, change: dict[str, Any]) -> None:
        photos, rows = many(200)
        first = plan(photos, rows)
        photos, rows = photos | {"new.jpg": 1000}, rows | {"new": 3}
        assert plan(photos, rows, parent=first, **change).shards == plan(photos, rows, **change).shards
        # and that is not what keeping to the parent gives
        assert plan(photos, rows, parent=first).shards != plan(photos, rows).shards

    def test_a_setting_that_touches_bytes_renames_every_shard_and_moves_no_photo(self) -> None:
        photos, rows = many(100)
        first = plan(photos, rows)
        second = plan(photos, rows, parent=first, quality=80)
        assert not digests(first) & digests(second)
        assert second.photos.drop_columns("digest").equals(first.photos.drop_columns("digest"))


class TestReasons:
    """What keeps a photo out of every shard is said."""

    def test_each_reason_is_given(self) -> None:
        photos = {
            "good.jpg": 10, "a/twin.jpg": 11, "b/twin.jpg": 12, "copy.jpg": 10, "bad.jpg": 13, "mute.jpg": 14, "good.xmp": 5,
            "big.jpg": 5000, "noise": 7,
        }  # fmt: skip
        rows = {"good": 5, "twin": 5, "copy": 5, "bad": "abc", "big": 5, "absent": 5, "noise": 5}
        planned = plan(photos, rows, etags={"good.jpg": "same", "copy.jpg": "same"}, max_photo_bytes=1000)
        assert reasons(planned) == {
            "good.jpg": "duplicate_photo", "a/twin.jpg": None, "b/twin.jpg": "duplicate_id", "copy.jpg": None,
            "bad.jpg": "label_invalid", "mute.jpg": "unlabelled", "good.xmp": "not_a_photo", "big.jpg": "too_large", "noise": None,
        }  # fmt: skip
        assert planned.unmatched["name"].to_pylist() == ["absent"]
        details = dict(zip(planned.photos["key"].to_pylist(), planned.photos["detail"].to_pylist(), strict=True))
        assert details["b/twin.jpg"] == "id twin belongs to a/twin.jpg"
        assert "abc" in details["bad.jpg"]

    def test_equal_repeated_rows_are_one_label_and_contradicting_ones_are_none(self) -> None:
        rows = [("1", 5), ("2", 5), ("1", 5), ("2", 6)]
        planned = plan({"1.jpg": 10, "2.jpg": 11}, rows)
        assert reasons(planned) == {"1.jpg": None, "2.jpg": "label_invalid"}
        detail = planned.photos.filter(pa.compute.equal(planned.photos["key"], "2.jpg"))["detail"][0].as_py()
        assert "2 label rows disagree" in detail
        assert "6" in detail
        assert planned.unmatched.num_rows == 0

    def test_a_name_with_a_suffix_joins_the_key_and_is_the_id(self) -> None:
        planned = plan({"a/1.jpg": 10, "b/1.jpg": 11, "b/2.jpg": 12}, {"a/1.jpg": 4, "b/1.jpg": 6, "2": 5})
        assert sorted(planned.photos["id"].to_pylist()) == ["2", "a/1.jpg", "b/1.jpg"]
        assert set(reasons(planned).values()) == {None}

    def test_a_file_that_is_no_photo_does_not_use_up_a_label(self) -> None:
        planned = plan({"1.jpg": 10, "2.xmp": 4}, {"1": 5, "2": 5})
        assert planned.unmatched["name"].to_pylist() == ["2"]


class TestScaling:
    """Labels are scaled over the photos that are used."""

    def test_minmax_maps_the_used_extremes_to_0_and_1(self) -> None:
        planned = plan(
            {"1.jpg": 10, "2.jpg": 11, "3.jpg": 12}, {"1": 2, "2": 4, "3": 3, "absent": 9}, label_scale="minmax"
        )
        assert dict(zip(planned.photos["id"].to_pylist(), planned.photos["label"].to_pylist(), strict=True)) == {
            "1": 0.0,
            "2": 1.0,
            "3": 0.5,
        }
        assert planned.label_range == (2.0, 4.0)

    def test_a_new_extreme_changes_every_shard(self) -> None:
        photos, rows = many(100)
        first = plan(photos, rows, label_scale="minmax")
        second = plan(photos | {"x.jpg": 1000}, rows | {"x": 99}, parent=first, label_scale="minmax")
        assert not digests(first) & digests(second)

    def test_unit_maps_the_declared_range(self) -> None:
        planned = plan({"1.jpg": 10, "2.jpg": 11}, {"1": 5, "2": 12}, label_scale="unit", label_min=0, label_max=10)
        assert planned.photos.slice(0, 1)["label"].to_pylist() == [0.5]
        assert reasons(planned)["2.jpg"] == "label_invalid"

    def test_one_score_for_all_cannot_be_scaled(self) -> None:
        with pytest.raises(PlanError, match="needs two different scores, but every score is 5"):
            plan({"1.jpg": 10, "2.jpg": 11}, {"1": 5, "2": 5}, label_scale="minmax")


def test_nothing_listed_is_an_error_that_names_the_prefix() -> None:
    with pytest.raises(PlanError, match="no objects under 'memory://p/photos/'"):
        plan({}, {"1": 5})


def test_no_usable_photo_is_an_error_that_shows_both_sides_of_the_join() -> None:
    with pytest.raises(PlanError, match=r"2 unlabelled; the first photo is 'x1.jpg', the first label '1'"):
        plan({"x1.jpg": 10, "x2.jpg": 10}, {"1": 5, "2": 5})


def test_a_recipe_digest_is_the_one_that_a_plan_of_just_these_photos_gives() -> None:
    photos, rows = many(30)
    planned = plan(photos, rows, shard_bytes=1 << 20, test_fraction=0, validation_fraction=0)
    kept = planned.photos.slice(0, 29)
    again = plan(
        dict.fromkeys(kept["key"].to_pylist(), 1000),
        rows,
        shard_bytes=1 << 20,
        test_fraction=0,
        validation_fraction=0,
    )
    assert recipe_digest(kept, settings(shard_bytes=1 << 20), converter=CONVERTER) == again.shards[0].digest
    assert recipe_digest(kept, settings(), converter=Converter(2, CONVERTER.codecs)) != again.shards[0].digest


@given(st.lists(st.integers(1, 1000), max_size=40), st.integers(1, 8), st.integers(1, 5000))
def test_work_is_dealt_out_whole_evenly_and_to_no_more_tasks_than_it_is_worth(
    sizes: list[int], partitions: int, worth: int
) -> None:
    work = [(f"{number:03}", size) for number, size in enumerate(sizes)]
    parts = balance(work, partitions=partitions, partition_bytes=worth)
    assert sorted(digest for part in parts for digest in part) == [digest for digest, _ in work]
    assert all(parts)
    assert len(parts) <= min(partitions, len(sizes))
    assert len(parts) <= max(1, -(-sum(sizes) // worth)) or not parts
    if parts:
        size_of = dict(work)
        loads = [sum(size_of[digest] for digest in part) for part in parts]
        assert max(loads) <= sum(sizes) / len(parts) + max(sizes)
