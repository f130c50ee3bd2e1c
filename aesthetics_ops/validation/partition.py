"""Read one partition's shards back from the store.

In: uploaded shards and their results.  Out: `<digest>.validated.json` beside each, so that a shard is checked once.
A shard that fails loses its result, so that the next conversion makes it anew.
"""

import logging
from collections.abc import Callable

from aesthetics_ops.builds import Build, BuildPlan
from aesthetics_ops.dataset.layout import ShardFile, shard_key
from aesthetics_ops.dataset.results import (
    ShardResult,
    ShardVerdict,
    read_shard_result,
    read_verdict,
    withdraw,
    write_verdict,
)
from aesthetics_ops.errors import InputMissingError, IntegrityError, ObjectMissingError
from aesthetics_ops.machine import scratch_for
from aesthetics_ops.store import Store
from aesthetics_ops.validation.shard import check_shard

__all__ = ["validate_partition"]

_log = logging.getLogger(__name__)


def validate_partition(
    build: Build, record: BuildPlan, partition: int, *, progress: Callable[[int], None] = lambda photos: None
) -> dict[str, int]:
    """Read back every shard of one partition that has no verdict yet.

    Args:
        build: with the plan's settings.
        record: its plan.
        partition: 0 <= partition < len(record.partitions).
        progress: called with the number of records just checked.

    Returns:
        shards and records of the partition, and how many shards were read by this call.

    Raises:
        InputMissingError: the partition is not converted.
        IntegrityError: a shard is not what its result says; names the shard, the record and its id.
        ScratchSpaceError: the disk has no room for a shard.
        StoreRefusedError, StoreUnavailableError: the store says no, or nothing.
    """
    outcome = build.partition_result(record, partition)
    if outcome is None:
        raise InputMissingError(
            f"partition {partition} of build {build.id!r} is not converted; run download_and_convert --map-index {partition} first"
        )
    summary = {"shards": 0, "records": 0, "read": 0}
    for digest in filter(None, outcome.shards.values()):
        result = read_shard_result(build.dataset, digest)
        if result is None:
            raise InputMissingError(
                f"shard {digest} has no result; run download_and_convert --map-index {partition} again, it makes only what is missing"
            )
        verdict = read_verdict(build.dataset, digest)
        if verdict is None or verdict.sha256 != result.sha256:
            _validate_shard(build.dataset, result)
            summary["read"] += 1
        summary["shards"] += 1
        summary["records"] += result.records
        progress(result.records)
    return summary


def _validate_shard(dataset: Store, result: ShardResult) -> None:
    key = shard_key(result.digest, ShardFile.RECORDS)
    with scratch_for(result.bytes) as scratch:
        path = scratch / "shard.tfrecord"
        try:
            dataset.download(key, path)
            check_shard(path, result, name=dataset.url_of(key))
        except (IntegrityError, ObjectMissingError) as error:
            withdraw(dataset, result.digest)
            raise IntegrityError(
                f"{error}; its result is withdrawn: run download_and_convert again, which makes this shard anew"
            ) from error
    import tensorflow as tf

    verdict = ShardVerdict(
        digest=result.digest,
        sha256=result.sha256,
        records=result.records,
        decoded=result.records,
        tensorflow=tf.__version__,
    )
    write_verdict(dataset, verdict)
    _log.info("shard %s: %d records read back", result.digest[:12], result.records)
