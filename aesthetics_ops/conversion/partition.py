"""Make one partition's shards: download photos, convert them, write TFRecords, upload.

Photos that have not changed since the parent version are copied out of its shards (`known.py`).
In: the plan's rows for the partition.  Out: per shard `<digest>.tfrecord` and, after it, `<digest>.json`, its result and
done-marker; per partition `converted/<n>.json`.
Promised: a shard that has its result is not touched again; records stand in the plan's order whatever finishes first;
equal recipes give equal bytes; memory and scratch space do not grow with the number of photos.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby, islice
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
from threadpoolctl import threadpool_limits

from aesthetics_ops.builds import Build, BuildPlan, LostPhoto, PartitionResult
from aesthetics_ops.conversion.known import known_photos
from aesthetics_ops.conversion.photos import PlannedPhoto, photos_of
from aesthetics_ops.conversion.upload import Uploader
from aesthetics_ops.conversion.workers import Built, Outcome, Workers
from aesthetics_ops.dataset.columns import numbers_of
from aesthetics_ops.dataset.layout import partition_result_key
from aesthetics_ops.dataset.recipe import Converter, recipe_digest
from aesthetics_ops.dataset.results import RecordIndex, RejectedPhoto, ShardResult, StoredJpeg
from aesthetics_ops.dataset.tfrecord import ShardWriter
from aesthetics_ops.errors import InputMissingError, IntegrityError
from aesthetics_ops.figures import ConversionFigures
from aesthetics_ops.machine import batch_scheduling, scratch_for
from aesthetics_ops.pixels.codecs import require_converter
from aesthetics_ops.pixels.photo import Converted
from aesthetics_ops.rejects import Rejected
from aesthetics_ops.settings import BuildSettings
from aesthetics_ops.store import Store

__all__ = ["ConversionSummary", "convert_partition", "remake_shard"]

_log = logging.getLogger(__name__)

_SCRATCH_GROWTH: Final = 2  # encoding anew at high quality can make a photo larger than its source
_ROWS_AT_ONCE: Final = 4096
_SCRATCH_SHARDS: Final = 2  # one being written while one, or several that take as much, are uploaded


@dataclass(frozen=True, slots=True)
class ConversionSummary:
    """What one call did.

    Attributes:
        shards: in the partition.
        built: made by this call; the others were finished before.
        photos: read from their source by this call.
        copied: not read, since the parent version has their records, or says why they have none.
        rejected: of both, left out, by reason.
        figures: of this call; zeros where it made nothing.
    """

    shards: int
    built: int
    photos: int
    copied: int
    rejected: dict[str, int]
    figures: ConversionFigures = field(default_factory=ConversionFigures)

    @property
    def numbers(self) -> dict[str, Any]:
        """A fixed set of numbers, small enough to pass between tasks."""
        counts = {"shards": self.shards, "built": self.built, "photos": self.photos, "copied": self.copied}
        return counts | {"rejected": self.rejected, **self.figures.numbers}


@dataclass(frozen=True, slots=True)
class _Shard:
    """A shard that the plan asks for.

    Attributes:
        digest: of its recipe.
        rows: of the plan, in record order.
        converter: that the recipe names.
    """

    digest: str
    rows: pa.Table
    converter: Converter

    @property
    def photos(self) -> int:
        return int(self.rows.num_rows)

    @property
    def source_bytes(self) -> int:
        return int(numbers_of(self.rows["size"]).sum())


@dataclass(slots=True)
class _Account:
    """What became of the partition's shards so far.

    Attributes:
        built: planned digest to built digest, as in `PartitionResult.shards`.
        lost: photos lost since the plan.
        converted: shards converted by this call.
        photos, copied, rejected, figures: as in `ConversionSummary`.
    """

    built: dict[str, str] = field(default_factory=dict)
    lost: list[LostPhoto] = field(default_factory=list)
    converted: int = 0
    photos: int = 0
    copied: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    figures: ConversionFigures = field(default_factory=ConversionFigures)

    def add(self, shard: _Shard, made: "_Made") -> None:
        result, lost = made.result, made.lost
        self.built[shard.digest] = result.digest if result.photos else ""
        self.lost += lost
        self.converted += 1
        self.photos += shard.photos - made.copied
        self.copied += made.copied
        self.rejected.update(photo.reason for photo in result.rejected)
        self.rejected.update(photo.reason for photo in lost)
        _log.info(
            "shard %s: %d records, %d bytes, %d rejected, %d lost; %d photos read, %d copied from the version before",
            result.digest[:12], result.records, result.bytes, len(result.rejected), len(lost), shard.photos - made.copied, made.copied,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Made:
    """A shard whose file is written.

    Attributes:
        result: of it.
        lost: photos lost since the plan.
        copied: as in `ConversionSummary`.
    """

    result: ShardResult
    lost: list[LostPhoto]
    copied: int


def convert_partition(
    build: Build,
    plan: BuildPlan,
    partition: int,
    *,
    progress: Callable[[int], None] = lambda photos: None,
    made: Callable[[str], None] = lambda digest: None,
) -> ConversionSummary:
    """Make every shard of one partition that is not finished yet.

    Args:
        build: with the plan's settings.
        plan: of the build.
        partition: 0 <= partition < len(plan.partitions).
        progress: called with the number of photos just done, finished shards' included.
        made: called, in any thread, with the digest of each shard once it can be read back.

    Raises:
        InputMissingError: the partition is not in the plan.
        IntegrityError: the plan's rows are not those that its digests name; the plan has to be made again.
        PermanentError: this worker would make other bytes than the plan's digests stand for.
        ScratchSpaceError: the disk has no room for two shards.
        StoreRefusedError, StoreUnavailableError: a store says no, or nothing.
    """
    if not 0 <= partition < len(plan.partitions):
        raise InputMissingError(
            f"build {build.id!r} has {len(plan.partitions)} partitions, so none has number {partition}"
        )
    require_converter(plan.converter, plan.codec_releases, build.settings.pixels)
    shards = list(_by_shard(build.partition_photos(plan, partition), plan.converter))
    room_bytes = _SCRATCH_GROWTH * max((shard.source_bytes for shard in shards), default=0)
    with scratch_for(_SCRATCH_SHARDS * room_bytes) as scratch:
        uploader = Uploader(build.dataset, room_bytes, made)
        account = _convert(build, shards, scratch, uploader, progress)
    figures = account.figures if account.figures.seconds else _told_before(build, plan, partition)
    if account.figures.seconds:
        _log.info("partition %d: %s", partition, figures)
    result = PartitionResult(plan=plan.plan, shards=account.built, lost=tuple(account.lost), figures=figures)
    build.dataset.put(partition_result_key(build.id, partition), result.encoded())
    return ConversionSummary(
        len(account.built), account.converted, account.photos, account.copied, dict(account.rejected), account.figures
    )


def remake_shard(build: Build, rows: pa.Table, converter: Converter, path: Path) -> ShardResult:
    """Make the file of one shard again, on this machine alone: nothing is written to the dataset.

    Args:
        build: with the settings of the version that names the shard, and the photos' store.
        rows: of the plan, in record order; none of them was lost when the shard was made.
        converter: that its recipe names.
        path: where the file goes.

    Returns:
        What was made; its digest is the recipe's, unless a photo is gone or changed.

    Raises:
        PermanentError: this machine would make other bytes than the recipe stands for.
        StoreRefusedError, StoreUnavailableError: the photos' store says no, or nothing.
    """
    require_converter(converter, {}, build.settings.pixels)
    digest = recipe_digest(rows, build.settings, converter=converter)
    with batch_scheduling(), Workers(build) as workers, threadpool_limits(1, user_api="blas"):
        outcomes = workers.outcomes(photos_of(rows))
        made = _write_shard(build, _Shard(digest, rows, converter), path, outcomes, lambda photos: None)
    return made.result


def _convert(
    build: Build, shards: list[_Shard], scratch: Path, uploader: Uploader, progress: Callable[[int], None]
) -> _Account:
    """Make and upload the shards that are not finished yet."""
    account = _Account()
    unfinished: list[_Shard] = []
    with (
        batch_scheduling(),
        uploader,
        Workers(build) as workers,
        threadpool_limits(1, user_api="blas"),  # a hash's small product must not wake threads of its own
    ):
        finished = workers.finished(shard.digest for shard in shards)
        for shard, is_finished in zip(shards, finished, strict=True):
            if is_finished:
                account.built[shard.digest] = shard.digest
                progress(shard.photos)
                uploader.made(shard.digest)
            else:
                _require_recipe(build, shard)
                unfinished.append(shard)
        # one stream over all shards: cores go on with the next one's photos while the last of a shard are written
        outcomes = workers.outcomes(photo for shard in unfinished for photo in _photos(build.dataset, shard))
        for shard in unfinished:
            path = scratch / f"{shard.digest}.tfrecord"
            made = _write_shard(build, shard, path, islice(outcomes, shard.photos), progress)
            uploader.upload(made.result, path)
            account.add(shard, made)
    account.figures = workers.flow.figures()
    return account


def _told_before(build: Build, plan: BuildPlan, partition: int) -> ConversionFigures | None:
    """Return the figures of the call that made the shards: a call that finds them finished leaves these as they are."""
    before = build.partition_result(plan, partition)
    return before.figures if before else None


def _photos(dataset: Store, shard: _Shard) -> Iterator[PlannedPhoto]:
    return photos_of(shard.rows, known_photos(dataset, shard.rows, shard.converter))


def _require_recipe(build: Build, shard: _Shard) -> None:
    """Refuse rows that came altered: what is made of them would stand under the digest of others for ever."""
    found = recipe_digest(shard.rows, build.settings, converter=shard.converter)
    if found != shard.digest:
        raise IntegrityError(
            f"the rows of shard {shard.digest} in build {build.id!r} are those of {found}: its plan was altered; plan the build "
            "again, finished shards are kept",
            stage="plan",
        )


def _by_shard(rows: pa.Table, converter: Converter) -> Iterator[_Shard]:
    batches = rows.select(["digest"]).to_batches(max_chunksize=_ROWS_AT_ONCE)
    first = 0
    for digest, run in groupby(digest for batch in batches for digest in batch.column(0).to_pylist()):
        length = sum(1 for _ in run)
        yield _Shard(digest, rows.slice(first, length), converter)
        first += length


def _write_shard(
    build: Build,
    shard: _Shard,
    path: Path,
    outcomes: Iterable[tuple[PlannedPhoto, Outcome]],
    progress: Callable[[int], None],
) -> _Made:
    """Write one shard's file."""
    index = RecordIndex()
    rejected: list[RejectedPhoto] = []
    lost: list[LostPhoto] = []
    copied = 0
    with ShardWriter(path) as file:
        for photo, outcome in outcomes:
            match outcome:
                case Built():
                    index.add(photo.key, photo.id, file.append(outcome.record), _stored(outcome.photo))
                    copied += outcome.is_copied
                case Rejected(reason, detail) if reason.is_loss:
                    lost.append(LostPhoto(key=photo.key, digest=shard.digest, reason=reason, detail=detail))
                case Rejected(reason, detail):
                    rejected.append(RejectedPhoto(key=photo.key, reason=reason, detail=detail))
                    copied += outcome is photo.known
            progress(1)
    result = ShardResult(
        digest=_digest_without(lost, shard, build.settings),
        photos=shard.photos - len(lost),
        records=file.records,
        bytes=file.bytes_written,
        sha256=file.sha256,
        crc32c=file.crc32c,
        converter_version=shard.converter.version,
        codecs=shard.converter.codecs,
        index=index,
        rejected=tuple(rejected),
    )
    return _Made(result, lost, copied)


def _digest_without(lost: list[LostPhoto], shard: _Shard, settings: BuildSettings) -> str:
    """Return the digest of the recipe that a shard's file was made by; empty where all its photos were lost.

    Where some were, the file is what a plan without them would make, so it gets that plan's name: a recipe's digest
    never stands for a file that depends on anything but the recipe.
    """
    if not lost:
        return shard.digest
    gone = {photo.key for photo in lost}
    kept = shard.rows.filter(pa.array(key not in gone for key in shard.rows["key"].to_pylist()))
    return recipe_digest(kept, settings, converter=shard.converter) if kept.num_rows else ""


def _stored(photo: Converted) -> StoredJpeg:
    return StoredJpeg(
        bytes=len(photo.jpeg),
        width=photo.width_px,
        height=photo.height_px,
        transforms=list(photo.transforms),
        phash=f"{photo.phash:016x}",
        progressive=photo.progressive,
        sampling=photo.sampling,
        brightness=photo.brightness,
        contrast=photo.contrast,
    )
