"""Account for every shard of a build: what was planned, what was built, what was read back."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from aesthetics_ops.builds import Build, BuildPlan, LostPhoto
from aesthetics_ops.dataset.layout import SHARDS, ShardFile, shard_key
from aesthetics_ops.dataset.manifest import Manifest, Shard, Validation
from aesthetics_ops.dataset.results import read_shard_result, read_verdict
from aesthetics_ops.dataset.tables import iterate_rows
from aesthetics_ops.errors import InputMissingError, IntegrityError
from aesthetics_ops.publishing.tables import AddedRows, Outcome, ShardRows, rows_of
from aesthetics_ops.store import Store, StoreThreads

__all__ = ["BuiltShard", "account_shards", "check_stored", "partition_results"]

_READS: Final = 16
_RESULTS_HELD: Final = 4 * _READS


@dataclass(frozen=True, slots=True)
class BuiltShard:
    """A shard of the version to be.

    Attributes:
        split: that it belongs to.
        digest: of its recipe.
        entry: what the manifest says of it; None for a shard without records, which the manifest does not name.
        validation: what was counted when it was read back.
    """

    split: str
    digest: str
    entry: Shard | None
    validation: Validation


def partition_results(build: Build, plan: BuildPlan) -> Outcome:
    """Return what became of the shards of all partitions.

    Raises:
        InputMissingError: a partition is not converted; names it.
    """
    built: dict[str, str] = {}
    lost: list[LostPhoto] = []
    for partition in range(len(plan.partitions)):
        result = build.partition_result(plan, partition)
        if result is None:
            raise InputMissingError(
                f"partition {partition} of build {build.id!r} is not converted; convert and validate it first",
                stage="convert",
                partition=partition,
            )
        built.update(result.shards)
        lost += result.lost
    return Outcome(built, tuple(lost))


def account_shards(
    build: Build, plan: Path, outcome: Outcome, parent: Manifest | None, added: AddedRows
) -> list[BuiltShard]:
    """Return the version's shards in reading order.

    Args:
        build: converted and validated.
        plan: Parquet file of PLAN.schema.
        outcome: what became of its shards.
        parent: the version before; None where there is none.
        added: takes the rows of the shards that the parent does not have, and is closed.

    Raises:
        InputMissingError: a shard was not converted, or not validated.
        IntegrityError: what was read back is not what was written.
    """
    inherited = {shard.digest: shard for split in parent.splits.values() for shard in split.shards} if parent else {}
    order = [(split, outcome.digest(digest)) for split, digest in _planned(plan)]
    order = [(split, digest) for split, digest in order if digest]
    new = [digest for _, digest in order if digest not in inherited]
    results: dict[str, tuple[Shard | None, Validation]] = {}
    with StoreThreads(_READS) as pool:
        for first in range(0, len(new), _RESULTS_HELD):
            some = new[first : first + _RESULTS_HELD]
            for digest, (entry, validation, rows) in zip(
                some, pool.map(lambda digest: _checked_result(build, digest), some), strict=True
            ):
                results[digest] = entry, validation
                added.add(rows)
    added.close()
    return [
        BuiltShard(split, digest, *(_inherited(inherited[digest]) if digest in inherited else results[digest]))
        for split, digest in order
    ]


def _inherited(shard: Shard) -> tuple[Shard, Validation]:
    """Return a shard of the parent's; that was published, so all of the shard's images decoded."""
    return shard, Validation(records=shard.records, decoded=shard.records)


def _planned(plan: Path) -> list[tuple[str, str]]:
    """Return split and digest of the planned shards, whose rows stand together, in order."""
    found: list[tuple[str, str]] = []
    last: str | None = None
    for rows in iterate_rows(plan, ["split", "digest"], name="the plan"):
        codes = pc.rank(rows["digest"], tiebreaker="dense").to_numpy()
        starts = np.flatnonzero(np.diff(codes, prepend=-1))
        for split, digest in zip(
            *(rows[name].take(pa.array(starts)).to_pylist() for name in rows.schema.names), strict=True
        ):
            if digest is not None and digest != last:
                found.append((split, digest))
            last = digest
    return found


def _checked_result(build: Build, digest: str) -> tuple[Shard | None, Validation, ShardRows]:
    result = read_shard_result(build.dataset, digest)
    if result is None:
        raise InputMissingError(
            f"shard {digest} of build {build.id!r} has no result; convert and validate its partition again",
            stage="convert",
        )
    verdict = read_verdict(build.dataset, digest)
    if verdict is None or verdict.sha256 != result.sha256:
        raise InputMissingError(
            f"shard {digest} of build {build.id!r} was not read back; validate its partition first", stage="validate"
        )
    if not verdict.records == verdict.decoded == result.records:
        raise IntegrityError(
            f"shard {digest} holds {result.records} records, but {verdict.records} were read back and {verdict.decoded} decoded"
        )
    path = shard_key(digest, ShardFile.RECORDS)
    entry = (
        Shard(path=path, records=result.records, bytes=result.bytes, sha256=result.sha256, crc32c=result.crc32c)
        if result.records
        else None
    )
    return entry, Validation(records=verdict.records, decoded=verdict.decoded), rows_of(result)


def check_stored(dataset: Store, shards: list[BuiltShard]) -> None:
    """Compare every shard's size in the store with what the manifest is about to promise.

    Raises:
        IntegrityError: a shard is not there, or has another size.
    """
    listing = dataset.list(SHARDS)
    sizes = dict(zip(listing["key"].to_pylist(), listing["size"].to_pylist(), strict=True))
    for shard in shards:
        if shard.entry is not None and (found := sizes.get(shard.entry.path)) != shard.entry.bytes:
            is_not = "is not in the store" if found is None else f"has {found} bytes in the store"
            raise IntegrityError(
                f"shard {dataset.url_of(shard.entry.path)} {is_not}, its result says {shard.entry.bytes} bytes; delete "
                f"{dataset.url_of(shard_key(shard.digest, ShardFile.RESULT))} and the .validated.json beside it, then build again"
            )
