"""Make one partition's shards: download photos, convert them, write TFRecords, upload.

In: the plan's rows for the partition.  Out: per shard `<digest>.tfrecord` and, after it, `<digest>.json`, its result and
done-marker; per partition `converted/<n>.json`.
Promised: a shard that has its result is not touched again; records stand in the plan's order whatever finishes first;
equal recipes give equal bytes; memory and scratch space do not grow with the number of photos.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
from threadpoolctl import threadpool_limits

from aesthetics_ops.builds import Build, BuildPlan, LostPhoto, PartitionResult
from aesthetics_ops.conversion.upload import Uploader
from aesthetics_ops.conversion.workers import Built, Lost, Outcome, Row, Workers, rows_of
from aesthetics_ops.dataset.layout import partition_result_key
from aesthetics_ops.dataset.recipe import CONVERTER_VERSION, recipe_digest
from aesthetics_ops.dataset.results import RecordIndex, RejectedPhoto, ShardResult
from aesthetics_ops.dataset.tfrecord import ShardWriter
from aesthetics_ops.errors import InputMissingError
from aesthetics_ops.machine import batch_scheduling, scratch_for
from aesthetics_ops.rejects import Rejected

__all__ = ["ConversionSummary", "convert_partition"]

_log = logging.getLogger(__name__)

_SCRATCH_GROWTH: Final = 2  # encoding anew at high quality can make a photo larger than its source
_SCRATCH_SHARDS: Final = 2  # one being written while the one before is uploaded


@dataclass(frozen=True, slots=True)
class ConversionSummary:
    """What one call did.

    Attributes:
        shards: in the partition.
        built: made by this call; the others were finished before.
        photos: read by this call.
        rejected: of those, left out, by reason.
    """

    shards: int
    built: int
    photos: int
    rejected: dict[str, int]


def convert_partition(
    build: Build, record: BuildPlan, partition: int, *, progress: Callable[[int], None] = lambda photos: None
) -> ConversionSummary:
    """Make every shard of one partition that is not finished yet.

    Args:
        build: with the plan's settings.
        record: its plan.
        partition: 0 <= partition < len(record.partitions).
        progress: called with the number of photos just done, finished shards' included.

    Raises:
        InputMissingError: the partition is not in the plan.
        ScratchSpaceError: the disk has no room for two shards.
        StoreRefusedError, StoreUnavailableError: a store says no, or nothing.
    """
    if not 0 <= partition < len(record.partitions):
        raise InputMissingError(
            f"build {build.id!r} has {len(record.partitions)} partitions, so none has number {partition}"
        )
    rows = build.partition_photos(partition)
    shards = list(_by_shard(rows))
    made: dict[str, str] = {}
    lost: list[LostPhoto] = []
    rejected: Counter[str] = Counter()
    photos = built = 0
    with (
        batch_scheduling(),
        scratch_for(_SCRATCH_SHARDS * _SCRATCH_GROWTH * _largest_shard(rows)) as scratch,
        Uploader(build.dataset) as uploader,
        Workers(build) as workers,
        threadpool_limits(1, user_api="blas"),  # a hash's small product must not wake threads of its own
    ):
        unfinished: list[tuple[str, pa.Table]] = []
        for (digest, members), is_finished in zip(shards, workers.finished(shards), strict=True):
            if is_finished:
                made[digest] = digest
                progress(members.num_rows)
            else:
                unfinished.append((digest, members))
        # one stream over all shards: cores go on with the next one's photos while the last of a shard are written
        outcomes = workers.photos(row for _, members in unfinished for row in rows_of(members))
        for digest, members in unfinished:
            path = scratch / f"{digest}.tfrecord"
            result, gone = _convert_shard(build, digest, members, path, islice(outcomes, members.num_rows), progress)
            uploader.upload(result, path)
            made[digest] = result.digest if result.photos else ""
            lost += [
                LostPhoto(key=key, digest=digest, reason=why.reason, detail=why.detail) for key, why in gone.items()
            ]
            rejected.update(photo.reason for photo in result.rejected)
            rejected.update(why.reason for why in gone.values())
            photos += members.num_rows
            built += 1
            _log.info(
                "shard %s: %d records, %d bytes, %d rejected, %d lost",
                result.digest[:12], result.records, result.bytes, len(result.rejected), len(gone),
            )  # fmt: skip
    outcome = PartitionResult(plan=record.plan, shards=made, lost=tuple(lost))
    build.dataset.put(partition_result_key(build.id, partition), outcome.encoded())
    return ConversionSummary(len(made), built, photos, dict(rejected))


def _by_shard(rows: pa.Table) -> Iterator[tuple[str, pa.Table]]:
    encoded = rows["digest"].combine_chunks().dictionary_encode()
    first = 0
    lengths = [run["counts"] for run in encoded.value_counts().to_pylist()]
    for digest, length in zip(encoded.dictionary.to_pylist(), lengths, strict=True):
        yield digest, rows.slice(first, length)
        first += length


def _largest_shard(rows: pa.Table) -> int:
    """Return the most source bytes that one of the shards has."""
    sizes = rows.group_by("digest").aggregate([("size", "sum")])["size_sum"]
    return int(pc.max(sizes).as_py() or 0)


def _convert_shard(
    build: Build,
    digest: str,
    members: pa.Table,
    path: Path,
    outcomes: Iterable[tuple[Row, Outcome]],
    progress: Callable[[int], None],
) -> tuple[ShardResult, dict[str, Lost]]:
    """Write one shard's file; return its result and the photos that were lost since the plan."""
    index = RecordIndex()
    rejected: list[RejectedPhoto] = []
    lost: dict[str, Lost] = {}
    with ShardWriter(path) as shard:
        for row, outcome in outcomes:
            match outcome:
                case Built():
                    _add(shard, index, row, outcome)
                case Rejected(reason, detail):
                    rejected.append(RejectedPhoto(key=row["key"], reason=reason, detail=detail))
                case Lost():
                    lost[row["key"]] = outcome
            progress(1)
    if lost:
        # The file is what a plan without these photos would make, so it gets that plan's name: a recipe's digest
        # never stands for a file that depends on anything but the recipe.
        kept = members.filter(pa.array(key not in lost for key in members["key"].to_pylist()))
        digest = recipe_digest(kept, build.settings, converter_version=CONVERTER_VERSION) if kept.num_rows else ""
    result = ShardResult(
        digest=digest,
        photos=members.num_rows - len(lost),
        records=shard.records,
        bytes=shard.bytes_written,
        sha256=shard.sha256,
        crc32c=shard.crc32c,
        converter_version=CONVERTER_VERSION,
        index=index,
        rejected=tuple(rejected),
    )
    return result, lost


def _add(shard: ShardWriter, index: RecordIndex, row: Row, made: Built) -> None:
    span = shard.append(made.record)
    photo = made.photo
    index.key.append(row["key"])
    index.id.append(row["id"])
    index.offset.append(span.offset)
    index.length.append(span.length)
    index.bytes.append(len(photo.jpeg))
    index.width.append(photo.width_px)
    index.height.append(photo.height_px)
    index.transforms.append(list(photo.transforms))
    index.phash.append(f"{photo.phash:016x}")
