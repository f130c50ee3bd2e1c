"""Read one partition's shards back from the store.

In: uploaded shards and their results.  Out: `<digest>.validated.json` beside each, so that a shard is checked once.
A shard that fails loses its result, so that the next conversion makes it anew.  How fast it went stands in
`validated/<n>.json` of the build.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from aesthetics_ops.builds import Build, BuildPlan, ValidationResult
from aesthetics_ops.dataset.layout import ShardFile, shard_key, validation_result_key
from aesthetics_ops.dataset.results import (
    ShardResult,
    ShardVerdict,
    read_shard_result,
    read_verdict,
    withdraw,
    write_verdict,
)
from aesthetics_ops.errors import InputMissingError, IntegrityError, ObjectMissingError
from aesthetics_ops.figures import ShardReading, ValidationFigures
from aesthetics_ops.machine import scratch_for
from aesthetics_ops.store import Store
from aesthetics_ops.validation.kernels import kernels
from aesthetics_ops.validation.shard import check_shard

__all__ = ["ValidationSummary", "validate_made", "validate_partition", "validate_shard"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ValidationSummary:
    """What one call did.

    Attributes:
        shards, records: in the partition.
        read: shards that were read by this call; the others had their verdict.
        figures: of it, and of what was read for it meanwhile.
    """

    shards: int
    records: int
    read: int
    figures: ValidationFigures

    @property
    def numbers(self) -> dict[str, float]:
        """A fixed set of numbers, small enough to pass between tasks."""
        return {"shards": self.shards, "records": self.records, "read": self.read, **self.figures.numbers}


def validate_partition(
    build: Build,
    plan: BuildPlan,
    partition: int,
    *,
    progress: Callable[[int], None] = lambda photos: None,
    meanwhile: Sequence[ShardReading] = (),
) -> ValidationSummary:
    """Read back every shard of one partition that has no verdict yet.

    Args:
        build: with the plan's settings.
        plan: of the build.
        partition: 0 <= partition < len(plan.partitions).
        progress: called with the number of records just checked.
        meanwhile: how another process of this build read shards, of any partition, while they were made.

    Raises:
        InputMissingError: the partition is not converted, or lacks a shard; says so in `stage` and `partition`.
        IntegrityError: a shard is not what its result says; names the shard, the record and its id, and likewise the
            stage that makes it anew.
        ScratchSpaceError: the disk has no room for a shard.
        StoreRefusedError, StoreUnavailableError: the store says no, or nothing.
    """
    started = perf_counter()
    shards = records = 0
    read: list[ShardReading] = []
    read_meanwhile = {reading.digest: reading for reading in meanwhile}
    elsewhere: list[ShardReading] = []
    for result in _converted(build, plan, partition):
        if _is_read_back(build.dataset, result):
            elsewhere += [read_meanwhile[result.digest]] if result.digest in read_meanwhile else []
        else:
            try:
                read.append(validate_shard(build.dataset, result, plan.features))
            except IntegrityError as error:
                raise IntegrityError(
                    f"{error}: convert partition {partition} of build {build.id!r} again, which makes this shard anew",
                    stage="convert",
                    partition=partition,
                ) from error
        shards += 1
        records += result.records
        progress(result.records)
    seconds = perf_counter() - started + sum(reading.seconds for reading in elsewhere)
    figures = ValidationFigures.of_shards(elsewhere + read, seconds)
    if figures.shards:
        _log.info("partition %d: %s", partition, figures)
        result_of_all = ValidationResult(plan=plan.plan, figures=figures)
        build.dataset.put(validation_result_key(build.id, partition), result_of_all.encoded())
    return ValidationSummary(shards, records, len(read), figures)


def _converted(build: Build, plan: BuildPlan, partition: int) -> Iterator[ShardResult]:
    """Yield the results of a partition's shards, in order."""
    converted = build.partition_result(plan, partition)
    if converted is None:
        raise InputMissingError(
            f"partition {partition} of build {build.id!r} is not converted; convert it first",
            stage="convert",
            partition=partition,
        )
    for digest in filter(None, converted.shards.values()):
        result = read_shard_result(build.dataset, digest)
        if result is None:
            raise InputMissingError(
                f"shard {digest} in partition {partition} of build {build.id!r} has no result; convert the partition again, "
                "which makes only what is missing",
                stage="convert",
                partition=partition,
            )
        yield result


def _is_read_back(dataset: Store, result: ShardResult) -> bool:
    verdict = read_verdict(dataset, result.digest)
    return verdict is not None and verdict.sha256 == result.sha256


def validate_made(build: Build, plan: BuildPlan, digest: str) -> ShardReading | None:
    """Read back one shard that conversion has just made, before its partition is finished; one with a verdict is not read again.

    Args:
        build: with the plan's settings.
        plan: of the build.
        digest: of the shard as it was built.

    Returns:
        How it was read; None where there was nothing to do.

    Raises:
        As `validate_shard`.
    """
    result = read_shard_result(build.dataset, digest)
    if result is None or _is_read_back(build.dataset, result):
        return None
    return validate_shard(build.dataset, result, plan.features)


def validate_shard(dataset: Store, result: ShardResult, features: Mapping[str, Any]) -> ShardReading:
    """Read one shard back and write its verdict; one that fails loses its result.

    Args:
        dataset: that it lies in.
        result: of the shard.
        features: that its records have, as manifests say it.

    Returns:
        How it was read.

    Raises:
        IntegrityError: the shard is not what its result says; names it, the record and its id.
        ScratchSpaceError: the disk has no room for it.
        StoreRefusedError, StoreUnavailableError: the store says no, or nothing.
    """
    key = shard_key(result.digest, ShardFile.RECORDS)
    started = perf_counter()
    with scratch_for(result.bytes) as scratch:
        path = scratch / "shard.tfrecord"
        try:
            dataset.download(key, path)
            waited = perf_counter() - started
            counts = check_shard(path, result, features, name=dataset.url_of(key))
        except (IntegrityError, ObjectMissingError) as error:
            withdraw(dataset, result.digest)
            raise IntegrityError(f"{error}; its result is withdrawn", stage="convert") from error
    verdict = ShardVerdict(
        digest=result.digest,
        sha256=result.sha256,
        records=counts.records,
        decoded=counts.decoded,
        tensorflow=kernels().version,
    )
    write_verdict(dataset, verdict)
    _log.info("shard %s: %d records read back", result.digest[:12], counts.records)
    return ShardReading(result.digest, result.records, result.bytes, waited, perf_counter() - started)
