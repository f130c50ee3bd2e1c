"""Account for every shard of a build: what was planned, what was built, what was read back."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa

from aesthetics_ops.builds import Build, BuildPlan, LostPhoto
from aesthetics_ops.dataset.layout import SHARDS, ShardFile, shard_key
from aesthetics_ops.dataset.manifest import Manifest, Shard, Validation
from aesthetics_ops.dataset.results import read_shard_result, read_verdict
from aesthetics_ops.errors import InputMissingError, IntegrityError
from aesthetics_ops.publishing.tables import ShardRows, rows_of
from aesthetics_ops.store import Store

__all__ = ["BuiltShard", "account_shards", "check_stored", "partition_results"]

_READS: Final = 16


@dataclass(frozen=True, slots=True)
class BuiltShard:
    """A shard of the version to be, in reading order; `facts` is None for one without records.

    `validation` is what was counted when it was read back.
    """

    split: str
    digest: str
    facts: Shard | None
    validation: Validation


def partition_results(build: Build, record: BuildPlan) -> tuple[dict[str, str], list[LostPhoto]]:
    """Return what planned digests became, for the shards of partitions, and the photos lost on the way."""
    made: dict[str, str] = {}
    lost: list[LostPhoto] = []
    for partition in range(len(record.partitions)):
        outcome = build.partition_result(record, partition)
        if outcome is None:
            raise InputMissingError(
                f"partition {partition} of build {build.id!r} is not converted; convert and validate it first",
                stage="convert",
                partition=partition,
            )
        made.update(outcome.shards)
        lost += outcome.lost
    return made, lost


def account_shards(
    build: Build, plan: pa.Table, made: dict[str, str], parent: Manifest | None
) -> tuple[list[BuiltShard], dict[str, ShardRows]]:
    """Return the version's shards in order, and the rows of those that the parent does not have."""
    inherited = {shard.digest: shard for split in parent.splits.values() for shard in split.shards} if parent else {}
    order = [(split, made.get(digest, digest)) for split, digest in _planned(plan)]
    order = [(split, digest) for split, digest in order if digest]
    with ThreadPoolExecutor(_READS) as pool:
        new = [digest for _, digest in order if digest not in inherited]
        results = dict(zip(new, pool.map(lambda digest: _checked_result(build, digest), new), strict=True))
    shards = [
        BuiltShard(split, digest, *(_inherited(inherited[digest]) if digest in inherited else results[digest][:2]))
        for split, digest in order
    ]
    return shards, {digest: rows for digest, (_, _, rows) in results.items()}


def _inherited(shard: Shard) -> tuple[Shard, Validation]:
    """Return a shard of the parent's; that was published, so all of the shard's images decoded."""
    return shard, Validation(records=shard.records, decoded=shard.records)


def _planned(plan: pa.Table) -> list[tuple[str, str]]:
    """Return split and digest of the planned shards, whose rows stand together, in order."""
    digests = plan["digest"].combine_chunks()
    codes = digests.indices.fill_null(-1).to_numpy()
    first = np.flatnonzero(np.diff(codes, prepend=-1) * (codes >= 0))
    rows = plan.select(["split", "digest"]).take(pa.array(first)).to_pylist()
    return [(row["split"], row["digest"]) for row in rows]


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
    facts = (
        Shard(path=path, records=result.records, bytes=result.bytes, sha256=result.sha256, crc32c=result.crc32c)
        if result.records
        else None
    )
    return facts, Validation(records=verdict.records, decoded=verdict.decoded), rows_of(result)


def check_stored(dataset: Store, shards: list[BuiltShard]) -> None:
    """Compare every shard's size in the store with what the manifest is about to promise."""
    listing = dataset.list(SHARDS)
    sizes = dict(zip(listing["key"].to_pylist(), listing["size"].to_pylist(), strict=True))
    for shard in shards:
        if shard.facts is not None and (found := sizes.get(shard.facts.path)) != shard.facts.bytes:
            is_not = "is not in the store" if found is None else f"has {found} bytes in the store"
            raise IntegrityError(
                f"shard {dataset.url_of(shard.facts.path)} {is_not}, its result says {shard.facts.bytes} bytes; delete {dataset.url_of(shard_key(shard.digest, ShardFile.RESULT))} and the .validated.json beside it, "
                "then build again"
            )
