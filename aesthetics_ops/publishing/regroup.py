"""The second, small round of a build: near-duplicates that conversion has found come into one split before anyone sees them.

Perceptual hashes are known once photos are converted, so the first round may leave a photo and its copy in two splits.
Here the plan's photos are placed again with the groups, and the shards that this changes are made out of records that are
there already, and read back.  Nothing is read from the source.  Where no group spans splits, nothing happens.
Running it again is safe: the shards are named by their recipes, and those that are there are not made again.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from aesthetics_ops.builds import Build, BuildPlan
from aesthetics_ops.conversion.copying import StoredRecord, copy_shard
from aesthetics_ops.dataset.layout import BuildFile, ShardFile, build_key, shard_key
from aesthetics_ops.dataset.recipe import recipe_digest
from aesthetics_ops.dataset.results import ShardResult, StoredJpeg, read_shard_result, read_verdict, write_shard_result
from aesthetics_ops.dataset.tables import put_rows
from aesthetics_ops.machine import scratch_for
from aesthetics_ops.planning.model import Plan, PlannedShard
from aesthetics_ops.planning.regrouping import regroup_photos
from aesthetics_ops.publishing.tables import Outcome
from aesthetics_ops.rejects import Rejected, RejectReason
from aesthetics_ops.store import StoreThreads
from aesthetics_ops.validation.partition import validate_shard

__all__ = ["ReadBack", "Regrouped", "regroup"]

ReadBack = Callable[[Iterable[ShardResult]], Iterable[ShardResult]]  # gives them back, read by others or not

_AT_ONCE: Final = 4  # shards that are made side by side
_FIELDS: Final = (
    ["key", "shard", "offset", "length", *(field.name for field in fields(StoredJpeg))],
    ["key", "reason", "detail"],
)  # of records and rejects
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Regrouped:
    """A build after its second round.

    Attributes:
        rows: of PLAN.schema, as the version's plan has them.
        outcome: what became of the shards that they name.
    """

    rows: pa.Table
    outcome: Outcome


def regroup(
    build: Build,
    plan: BuildPlan,
    rows: pa.Table,
    outcome: Outcome,
    tables: tuple[pa.Table, pa.Table],
    groups: pa.Table,
    scratch: Path,
    read_back: ReadBack = iter,
) -> Regrouped:
    """Put every group into one split.

    Args:
        build: converted and validated.
        plan: of the build.
        rows: of the plan, whole rows of PLAN.schema.
        outcome: of the first round.
        tables: records and rejects of the first round.
        groups: rows of near_duplicates.parquet.
        scratch: an empty folder, which has to stay as long as the rows.
        read_back: has shards read back by others, as they are made; what they leave is read back here.

    Raises:
        IntegrityError: a record is damaged, or a new shard cannot be read back.
        ScratchSpaceError: the disk is full.
        StoreRefusedError, StoreUnavailableError: the store says no, or nothing.
    """
    again = regroup_photos(
        rows, groups.select(["key", "group"]), plan.settings, converter=plan.converter, scratch=scratch
    )
    # an expiry keeps what this names
    put_rows(build.dataset, build_key(build.id, BuildFile.REGROUPED), again.photos, scratch)
    before = set(rows["digest"].unique().to_pylist())
    lost = {photo.key for photo in outcome.lost}
    built: dict[str, str] = {}
    work: list[tuple[str, pa.Table, int]] = []
    for shard in again.shards:
        if shard.digest in before:
            built[shard.digest] = outcome.digest(shard.digest)
            continue
        kept, built[shard.digest] = _without_lost(again, shard, lost, plan)
        if kept.num_rows:
            work.append((built[shard.digest], kept, shard.source_bytes))
    _log.info(
        "%d of %d shards are made again, so that near-duplicates come into one split", len(work), len(again.shards)
    )
    _make(build, plan, work, tables, read_back)
    moves = again.photos.select(["key", "digest"]).filter(
        pc.is_in(again.photos["key"], pa.array(sorted(lost), pa.string()))
    )
    places = dict(zip(moves["key"].to_pylist(), moves["digest"].to_pylist(), strict=True))
    moved = tuple(photo.model_copy(update={"digest": places[photo.key]}) for photo in outcome.lost)
    return Regrouped(again.photos, Outcome(built, moved))


def _without_lost(again: Plan, shard: PlannedShard, lost: set[str], plan: BuildPlan) -> tuple[pa.Table, str]:
    """Return the rows of a shard but for lost photos, and the digest of their recipe; empty where nothing is left."""
    members = again.photos.slice(shard.first, shard.photos)
    if not lost:
        return members, shard.digest
    kept = members.filter(pa.array(key not in lost for key in members["key"].to_pylist()))
    if kept.num_rows == members.num_rows:
        return members, shard.digest
    return kept, recipe_digest(kept, plan.settings, converter=plan.converter) if kept.num_rows else ""


def _make(
    build: Build,
    plan: BuildPlan,
    work: Sequence[tuple[str, pa.Table, int]],
    tables: tuple[pa.Table, pa.Table],
    read_back: ReadBack,
) -> None:
    """Make and read back every shard that is not there, a few side by side."""
    largest = max((size for _, _, size in work), default=0)
    with scratch_for(2 * _AT_ONCE * largest) as scratch, StoreThreads(_AT_ONCE, "regroup") as pool:
        records, rejects = (_by_shard(table.select(names), work) for table, names in zip(tables, _FIELDS, strict=True))

        def make(number: int) -> ShardResult:
            digest, rows, _ = work[number]
            if (there := _finished(build, digest)) is not None:
                return there
            path = scratch / f"{digest}.tfrecord"
            entries = dict(_entries(records(number), rejects(number)))
            result = copy_shard(build.dataset, digest, rows, entries, plan.converter, path)
            build.dataset.upload(shard_key(digest, ShardFile.RECORDS), path)
            write_shard_result(build.dataset, result)
            path.unlink()
            return result

        for result in read_back(pool.map(make, range(len(work)))):
            verdict = read_verdict(build.dataset, result.digest)
            if verdict is None or verdict.sha256 != result.sha256:
                validate_shard(build.dataset, result, plan.features)


def _finished(build: Build, digest: str) -> ShardResult | None:
    result = read_shard_result(build.dataset, digest)
    there = build.dataset.head(shard_key(digest, ShardFile.RECORDS)) if result is not None else None
    return result if result is not None and there is not None and there[0] == result.bytes else None


def _by_shard(table: pa.Table, work: Sequence[tuple[str, pa.Table, int]]) -> Callable[[int], pa.Table]:
    """Return what gives those rows of a table that are of a shard's photos, by the shard's place in the work."""
    ends = np.cumsum([rows.num_rows for _, rows, _ in work])
    keys = pa.concat_tables([rows.select(["key"]) for _, rows, _ in work])["key"] if work else pa.array([], pa.string())
    held = table.filter(pc.is_in(table["key"], keys))
    shards = np.searchsorted(ends, pc.index_in(held["key"], keys).to_numpy(), side="right")
    order = np.argsort(shards, kind="stable")
    limits = np.searchsorted(shards[order], np.arange(len(work) + 1))
    return lambda number: held.take(pa.array(order[limits[number] : limits[number + 1]]))


def _entries(records: pa.Table, rejects: pa.Table) -> Iterator[tuple[str, StoredRecord | Rejected]]:
    """Yield for each photo where its record lies, or why there is none."""
    for row in records.to_pylist():
        key, shard, offset, length = (row.pop(name) for name in ("key", "shard", "offset", "length"))
        yield key, StoredRecord(shard, offset, length, StoredJpeg(**row))
    for row in rejects.to_pylist():
        yield row["key"], Rejected(RejectReason(row["reason"]), row["detail"])
