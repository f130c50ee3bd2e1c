"""Stratified splits: equal distributions of scores, and no photo moves."""

from collections import Counter, defaultdict
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import settings as settings_of_hypothesis
from hypothesis import strategies as st

from aesthetics_ops.dataset.recipe import Converter
from aesthetics_ops.errors import PlanError, SettingsError
from aesthetics_ops.planning.model import ParentPlan, Plan
from aesthetics_ops.planning.plan import plan_photos
from aesthetics_ops.planning.regrouping import regroup_photos
from aesthetics_ops.settings import BuildSettings, parse_settings
from aesthetics_ops.sources.labels import read_labels

CONVERTER = Converter(1, "c0dec" + "0" * 11)
URLS = {"photos": "memory://p/photos/", "labels": "memory://p/scores.csv", "dataset": "memory://p/dataset/"}


def settings(**changes: Any) -> BuildSettings:
    return parse_settings(URLS | {"stratify": True, "shard_bytes": 10_000} | changes, where="test")


def plan(
    scores: dict[str, float], parent: Plan | None = None, groups: dict[str, str] | None = None, **changes: Any
) -> Plan:
    of = settings(**changes)
    names = sorted(scores)
    listing = pa.table(
        {
            "key": pa.array([f"{name}.jpg" for name in names], pa.string()),
            "size": pa.array([1000] * len(names), pa.int64()),
            "etag": pa.array([f"of {name}" for name in names], pa.string()),
        }
    )
    text = "id,score\n" + "\n".join(f"{name},{scores[name]}" for name in names)
    labels = read_labels(text.encode(), source=of.labels, settings=of)
    before = None
    if parent is not None:
        alike = pa.table(
            {
                "key": pa.array([f"{name}.jpg" for name in groups or {}], pa.string()),
                "group": pa.array((groups or {}).values(), pa.string()),
            }
        )
        before = ParentPlan(parent.photos, alike, seed=0, shard_bytes=10_000, edges=parent.edges)
    return plan_photos(listing, labels, of, converter=CONVERTER, parent=before)


def splits(of: Plan) -> dict[str, str]:
    return dict(zip(of.photos["id"].to_pylist(), of.photos["split"].to_pylist(), strict=True))


def skewed(count: int, first: int = 0) -> dict[str, float]:
    """Scores of which most are low and few are high."""
    random = np.random.default_rng(first)
    return {f"p{first + n}": float(score) for n, score in enumerate(1 + 9 * random.beta(1.2, 6, count))}


def distance(of: Plan, scores: dict[str, float]) -> tuple[float, float]:
    """The largest distance of Kolmogorov and Smirnov, and of means, between train and another split."""
    by_split: dict[str, list[float]] = defaultdict(list)
    for name, split in splits(of).items():
        by_split[split].append(scores[name])
    train = np.sort(by_split["train"])
    found = []
    for other in (np.sort(by_split[split]) for split in ("validation", "test")):
        points = np.concatenate([train, other])
        shares = [np.searchsorted(values, points, side="right") / len(values) for values in (train, other)]
        found.append((float(np.abs(shares[0] - shares[1]).max()), abs(float(train.mean() - other.mean()))))
    return max(ks for ks, _ in found), max(mean for _, mean in found)


@pytest.mark.parametrize("salt", ["aesthetics", "a", "b"])
@pytest.mark.parametrize("count", [500, 3000])
def test_scores_are_spread_more_evenly_than_by_the_hash_alone(count: int, salt: str) -> None:
    scores = skewed(count)
    even = distance(plan(scores, split_salt=salt), scores)
    plain = distance(plan(scores, split_salt=salt, stratify=False), scores)
    assert even[0] < plain[0]
    assert even[1] < plain[1]


def test_every_split_has_its_share_of_every_bin() -> None:
    scores = skewed(2000)
    planned = plan(scores)
    edges = planned.edges
    assert edges is not None
    assert len(edges) == 19
    counts = Counter(
        (int(np.searchsorted(edges, scores[name], side="right")), split) for name, split in splits(planned).items()
    )
    assert {counts[number, split] for number in range(20) for split in ("validation", "test")} == {10}


def test_photos_that_arrive_move_none_and_are_spread_evenly_too() -> None:
    scores = skewed(400)
    first = plan(scores)
    planned, before = first, splits(first)
    for night in range(1, 6):
        scores |= skewed(300, night * 1000)
        planned = plan(scores, planned)
        after = splits(planned)
        assert before.items() <= after.items()
        assert planned.edges == first.edges
        before = after
    counts = Counter(before.values())
    assert (counts["test"], counts["validation"]) == (190, 190)
    assert distance(planned, scores)[0] < distance(plan(scores, stratify=False), scores)[0]


def test_nothing_new_plans_the_same_shards() -> None:
    scores = skewed(300)
    first = plan(scores)
    assert plan(scores, first).shards == first.shards


def test_a_photo_whose_score_crosses_an_edge_stays() -> None:
    scores = skewed(300)
    first = plan(scores)
    changed = scores | dict.fromkeys(list(scores)[:40], 9.9)
    assert splits(plan(changed, first)) == splits(first)


def test_photos_that_go_and_come_back_fill_the_places_that_they_left() -> None:
    scores = skewed(600)
    first = plan(scores)
    gone = list(scores)[::7]
    second = plan({name: score for name, score in scores.items() if name not in gone}, first)
    third = splits(plan(scores, second))
    assert Counter(third.values()) == Counter(splits(first).values())
    assert sum(third[name] != split for name, split in splits(first).items()) <= len(gone) // 10


@pytest.mark.parametrize(
    "change", [{"reshuffle": True}, {"seed": 3}, {"shard_bytes": 7000}, {"label_scale": "minmax"}], ids=str
)
def test_what_is_no_matter_of_splits_moves_none(change: dict[str, Any]) -> None:
    scores = skewed(300)
    first = plan(scores)
    scores |= skewed(50, 1000)
    assert splits(first).items() <= splits(plan(scores, first, **change)).items()


def test_another_share_moves_few_photos() -> None:
    scores = skewed(1000)
    first, second = splits(plan(scores)), splits(plan(scores, test_fraction=0.2))
    assert all(second[name] == "test" for name, split in first.items() if split == "test")


@pytest.mark.parametrize("scores", [[5.0], [5.0, 1.0, 3.0], [5.0] * 100, [1.0, 2.0] * 50, [1.0] * 95 + [9.0] * 5])
def test_few_photos_and_equal_scores_are_split_all_the_same(scores: list[float]) -> None:
    named = {f"p{n}": score for n, score in enumerate(scores)}
    planned = plan(named, test_fraction=0.2, validation_fraction=0.2)
    counts = Counter(splits(planned).values())
    assert counts["test"] == round(0.2 * len(scores))
    assert counts.total() == len(scores)
    assert plan(named, planned, test_fraction=0.2, validation_fraction=0.2).shards == planned.shards


def test_scores_of_few_values_are_bins_of_their_own() -> None:
    scores = {f"p{n}": float(n % 5) for n in range(1000)}
    planned = plan(scores)
    assert planned.edges == (1.0, 2.0, 3.0, 4.0)
    counts = Counter((scores[name], split) for name, split in splits(planned).items())
    assert {counts[float(score), "test"] for score in range(5)} == {20}


def test_near_duplicates_come_into_one_split_and_stay_there() -> None:
    scores = skewed(300)
    first = plan(scores)
    groups = {f"p{n}": "p7" for n in range(7, 30)}
    keys = pa.table({"key": [f"{name}.jpg" for name in groups], "group": list(groups.values())})
    again = regroup_photos(first.photos, keys, settings(), converter=CONVERTER)
    moved = splits(again)
    assert len({moved[name] for name in groups}) == 1
    assert {name for name, split in splits(first).items() if moved[name] != split} <= groups.keys()
    parent = Plan(again.photos, again.shards, again.unmatched, None, edges=first.edges)
    second = plan(scores, parent, groups)
    assert second.shards == again.shards
    # one that is like them comes to them
    third = plan(scores | {"q": 5.0}, parent, groups | {"q": "p7"})
    assert splits(third) == moved | {"q": moved["p7"]}


def test_a_plan_from_scratch_keeps_a_group_together() -> None:
    scores = skewed(300)
    first = plan(scores)
    groups = {f"p{n}": "p7" for n in range(7, 30)}
    found = splits(plan(scores, Plan(first.photos, first.shards, first.unmatched, None), groups))
    assert len({found[name] for name in groups}) == 1


def test_splits_that_the_file_names_leave_nothing_to_stratify() -> None:
    with pytest.raises(SettingsError, match="stratify is on, but split_column 'part' names the splits; leave one"):
        settings(split_column="part")
    of = settings()
    data = b"image_name,MOS,set\na.jpg,1,test\n"
    labels = read_labels(data, source="x.csv", settings=of)
    assert labels.names_splits
    listing = pa.table({"key": ["a.jpg"], "size": [1], "etag": ["e"]})
    with pytest.raises(PlanError, match="names the splits, but stratify is on"):
        plan_photos(listing, labels, of, converter=CONVERTER, parent=None)


def test_recipes_and_digests_are_what_they_were_without_it() -> None:
    plain = BuildSettings.model_validate(URLS)
    assert settings().recipe == plain.recipe
    assert BuildSettings.model_validate(URLS | {"stratify": False}).digest == plain.digest
    assert BuildSettings.model_validate(URLS | {"stratify": True}).digest != plain.digest


@settings_of_hypothesis(max_examples=15, deadline=None)
@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=80),
    st.lists(st.integers(1, 9), max_size=40),
    st.sampled_from([(0.0, 0.0), (0.1, 0.1), (0.5, 0.3), (0.0, 0.9)]),
)
def test_whatever_arrives_nobody_moves_and_everybody_has_a_split(
    first: list[int], more: list[int], shares: tuple[float, float]
) -> None:
    changes: dict[str, Any] = {"test_fraction": shares[0], "validation_fraction": shares[1]}
    scores = {f"p{n}": float(score) for n, score in enumerate(first)}
    planned = plan(scores, **changes)
    later = plan(scores | {f"q{n}": float(score) for n, score in enumerate(more)}, planned, **changes)
    assert splits(planned).items() <= splits(later).items()
    assert None not in splits(later).values()
    for split, share in zip(("test", "validation"), shares, strict=True):
        wanted = share * len(splits(planned))
        assert abs(Counter(splits(planned).values())[split] - wanted) <= 1
