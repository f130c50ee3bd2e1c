"""What a plan is made of."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pyarrow as pa

from aesthetics_ops.dataset.spilled import Spilled

__all__ = ["SCORES", "ParentPlan", "Plan", "PlannedShard"]

SCORES: Final = ("votes_packed", "label_std", "extra_scores")
"""The columns of a row that become columns of the plan, as `Scores.columns` takes them."""


@dataclass(frozen=True, slots=True)
class ParentPlan:
    """What the parent version decided, as far as this plan keeps to it.

    Attributes:
        photos: rows of PLAN.schema, of which what says where a photo is, and which photo it is, is looked at; or a Parquet file of them.
        groups: key and group (strings) of photos that it found to be near-duplicates; a key stands in one group only.
        seed: its shuffle seed.
        shard_bytes: its shard size, bytes.
        edges: where its bins of scores begin; None where it was not stratified, or by another salt or other shares, so that
            its splits are not kept.
    """

    photos: pa.Table | Path
    groups: pa.Table
    seed: int
    shard_bytes: int
    edges: tuple[float, ...] | None = None


@dataclass(frozen=True, slots=True)
class PlannedShard:
    """One shard to be.

    Attributes:
        split: one of SPLITS.
        slot: its number inside the split.
        digest: of its recipe.
        first: its first row in the plan's photos.
        photos: its number of rows there.
        source_bytes: their size.
        is_same: whether the parent had the same photo, of this id, in the same slot; boolean, shape (photos,).
    """

    split: str
    slot: int
    digest: str
    first: int
    photos: int
    source_bytes: int
    is_same: pa.BooleanArray = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Plan:
    """Every listed photo's place.

    Attributes:
        photos: rows of PLAN.schema; the shards' photos first, shard by shard in reading order, then the rejected ones.
            With a scratch folder they lie there, mapped and not loaded.
        shards: in reading order: by split, then by slot.
        unmatched: label rows that name no photo: row (1-based), name.
        label_range: (lowest, highest) score that scaling mapped to 0 and 1; None when scores are stored as they are.
        label_columns: the columns of the score file that hold the `id`, `score` or `votes`, and `split`; empty where it names none.
        ratings: what the score file's votes are for; empty without votes.
        has_votes: the records get whole counts of votes.
        kept: key, and the columns to keep, of each photo with a label; None where no column is kept.  With a scratch folder
            it lies there, as `photos` does.
        contrary_copies: photos left out as copies that have another score than the one that stays.
        edges: where the bins of stratified splits begin, in scores before scaling; None where splits are not stratified.
        matched_by: how many label rows each rule has matched, in the order of the rules.
        before: digest of the recipe that the parent planned for each split and slot, where slots are kept.
        file: that `photos` is mapped from; who reads all rows maps it anew, some rows at a time.  None in memory.
    """

    photos: pa.Table
    shards: tuple[PlannedShard, ...]
    unmatched: pa.Table
    label_range: tuple[float, float] | None
    label_columns: Mapping[str, str] = field(default_factory=dict)
    ratings: tuple[float, ...] = ()
    has_votes: bool = False
    kept: pa.Table | None = None
    contrary_copies: int = 0
    matched_by: Mapping[str, int] = field(default_factory=dict)
    edges: tuple[float, ...] | None = None
    before: Mapping[tuple[str, int], str] = field(default_factory=dict)
    file: Spilled | None = None
