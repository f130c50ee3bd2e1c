"""Make one partition's shards: download photos, convert them, write TFRecords, upload.

In: the plan's rows for the partition.  Out: per shard `<digest>.tfrecord` and, after it, `<digest>.json`, its result and
done-marker; per partition `converted/<n>.json`.
Promised: a shard that has its result is not touched again; records stand in the plan's order whatever finishes first;
equal recipes give equal bytes; memory and scratch space do not grow with the number of photos.
"""

import logging
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field
from threadpoolctl import threadpool_limits

from aesthetics_ops.build import Build, BuildRecord, LostPhoto, PartitionResult
from aesthetics_ops.errors import InputMissingError, ObjectMissingError
from aesthetics_ops.machine import PixelRoom, codec_threads, long_slices, scratch_for
from aesthetics_ops.manifest import shard_key
from aesthetics_ops.photo import CONVERTER_VERSION, Converted, convert_photos
from aesthetics_ops.planning import recipe_digest
from aesthetics_ops.rejects import Rejected, RejectReason
from aesthetics_ops.store import Store
from aesthetics_ops.tfrecord import Example, FramedRecord, ShardWriter, frame_example

__all__ = ["ConversionSummary", "RecordIndex", "RejectedPhoto", "ShardResult", "convert_partition", "read_shard_result"]

_DOWNLOADS: Final = 16  # requests in flight: they feed two codec cores through 20 ms of latency
_GROUP_PHOTOS: Final = 16  # go from thread to thread at once, unless they have more bytes than this
_GROUP_BYTES: Final = 2 << 20
_WINDOW_BYTES_PER_CODEC: Final = 32 << 20  # of sources, held in memory
_PIXELS_PER_THREAD: Final = 25_000_000  # one camera photo; a decoded pixel takes 3 to 8 bytes while it is worked on
_SCRATCH_GROWTH: Final = 2  # encoding anew at high quality can make a photo larger than its source
_SCRATCH_SHARDS: Final = 2  # one being written while the one before is uploaded

_Row = dict[str, Any]
_log = logging.getLogger(__name__)


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RecordIndex(_Record):
    """One entry per record of a shard, column by column, in file order."""

    key: list[str] = Field(default_factory=list, description="of the source photo, relative to the photos prefix")
    id: list[str] = Field(default_factory=list)
    offset: list[int] = Field(default_factory=list, description="of the framed record in the file, bytes")
    length: list[int] = Field(default_factory=list, description="of the framed record, bytes")
    bytes: list[int] = Field(default_factory=list, description="of the JPEG")
    width: list[int] = Field(default_factory=list, description="px")
    height: list[int] = Field(default_factory=list, description="px")
    transforms: list[list[str]] = Field(default_factory=list)
    phash: list[str] = Field(default_factory=list, description="perceptual hash, 16 hex digits")


class RejectedPhoto(_Record):
    """A photo of a shard's recipe that is not in its file."""

    key: str
    reason: RejectReason
    detail: str


class ShardResult(_Record):
    """What a finished shard holds; a pure function of its recipe.

    Attributes:
        digest: of the recipe.
        photos: in the recipe; = records + rejected.
        records, bytes, sha256, crc32c: of the TFRecord file.
        index: where each record is.
        rejected: photos left out.
        converter_version: of the code that made it.
    """

    digest: str
    photos: int
    records: int
    bytes: int
    sha256: str
    crc32c: str
    converter_version: int
    index: RecordIndex
    rejected: tuple[RejectedPhoto, ...]


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


@dataclass(frozen=True, slots=True)
class _Lost:
    reason: RejectReason
    detail: str


@dataclass(frozen=True, slots=True)
class _Made:
    photo: Converted
    record: FramedRecord


_Outcome = _Made | Rejected | _Lost


def read_shard_result(dataset: Store, digest: str) -> ShardResult | None:
    """Read a shard's result; None while the shard is not finished."""
    try:
        stored = dataset.get(shard_key(digest, ".json"))
    except ObjectMissingError:
        return None
    return ShardResult.model_validate_json(bytes(stored.data))


def convert_partition(
    build: Build, record: BuildRecord, partition: int, *, progress: Callable[[int], None] = lambda photos: None
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
        long_slices(),
        scratch_for(_SCRATCH_SHARDS * _SCRATCH_GROWTH * _largest_shard(rows)) as scratch,
        _Uploader(build.dataset) as uploader,
        _Workers(build) as workers,
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
        outcomes = workers.photos(row for _, members in unfinished for row in _rows(members))
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
    build.dataset.put(build.key(f"converted/{partition}.json"), outcome.model_dump_json(indent=1).encode())
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


def _is_finished(dataset: Store, digest: str) -> bool:
    if dataset.head(shard_key(digest, ".json")) is None:
        return False
    if dataset.head(shard_key(digest, ".tfrecord")) is not None:
        return True
    # someone deleted the file: what was said of it must not pass for said of the next one
    dataset.delete([shard_key(digest, ".json"), shard_key(digest, ".validated.json")])
    return False


class _Workers:
    """Threads that download ahead, and one codec thread per core that converts in the plan's order.

    Two pools, because a thread that allocates pixels should be one of few: its memory is then warm and reused.  Photos
    go from thread to thread in groups: handing over each small one alone cost about a tenth of its codec's time.  Every
    thread may have a group of small photos; of large ones so many are held as fit into 32 MiB for each codec thread.
    """

    def __init__(self, build: Build) -> None:
        self._build = build
        self._downloads = ThreadPoolExecutor(_DOWNLOADS, thread_name_prefix="download")
        threads = codec_threads()
        self._codecs = ThreadPoolExecutor(threads, thread_name_prefix="codec")
        self._room = PixelRoom(threads * _PIXELS_PER_THREAD)
        self._window_photos = (_DOWNLOADS + threads) * _GROUP_PHOTOS
        self._window_bytes = threads * _WINDOW_BYTES_PER_CODEC

    def __enter__(self) -> "_Workers":
        return self

    def __exit__(self, *_: object) -> None:
        self._downloads.shutdown(cancel_futures=True)
        self._codecs.shutdown(cancel_futures=True)

    def finished(self, shards: Iterable[tuple[str, pa.Table]]) -> Iterator[bool]:
        """Tell of each shard, in order, whether there is nothing left to do."""
        return self._downloads.map(partial(_is_finished, self._build.dataset), (digest for digest, _ in shards))

    def photos(self, rows: Iterable[_Row]) -> Iterator[tuple[_Row, _Outcome]]:
        """Yield every row with its outcome, in the rows' order, holding a bounded window of photos."""
        window: deque[tuple[list[_Row], Future[list[_Outcome]]]] = deque()
        photos = held_bytes = 0
        for group in _groups(rows):
            group_bytes = _bytes_of(group)
            while window and (
                photos + len(group) > self._window_photos or held_bytes + group_bytes > self._window_bytes
            ):
                done, outcomes = window.popleft()
                yield from zip(done, outcomes.result(), strict=True)
                photos -= len(done)
                held_bytes -= _bytes_of(done)
            photos += len(group)
            held_bytes += group_bytes
            sources = self._downloads.submit(self._download, group)
            window.append((group, self._codecs.submit(self._convert, group, sources)))
        for done, outcomes in window:
            yield from zip(done, outcomes.result(), strict=True)

    def _download(self, group: list[_Row]) -> list[bytes | memoryview | _Lost]:
        return [self._source(row["key"], row["etag"], row["size"]) for row in group]

    def _source(self, key: str, etag: str, size: int) -> bytes | memoryview | _Lost:
        try:
            source = self._build.photos.get(key)
        except ObjectMissingError:
            return _Lost(RejectReason.SOURCE_MISSING, "listed, but gone when it was read")
        found = len(source.data)
        if source.etag != etag or found != size:
            return _Lost(
                RejectReason.SOURCE_CHANGED,
                f"listed with ETag {etag} and {size} bytes, read with ETag {source.etag} and {found} bytes",
            )
        return source.data

    def _convert(self, group: list[_Row], sources: Future[list[bytes | memoryview | _Lost]]) -> list[_Outcome]:
        read = sources.result()
        photos = iter(
            convert_photos(
                [source for source in read if not isinstance(source, _Lost)],
                self._build.settings.pixels,
                seat=self._room.seat,
            )
        )
        return [
            source if isinstance(source, _Lost) else _framed(row, next(photos))
            for row, source in zip(group, read, strict=True)
        ]


def _framed(row: _Row, photo: Converted | Rejected) -> _Made | Rejected:
    if isinstance(photo, Rejected):
        return photo
    example = Example(
        image=photo.jpeg,
        label=row["label"],
        id=row["id"],
        height_px=photo.height_px,
        width_px=photo.width_px,
        distribution=row["distribution"],
    )
    return _Made(photo, frame_example(example))


def _groups(rows: Iterable[_Row]) -> Iterator[list[_Row]]:
    """Cut rows into what one thread handles at a time: a few small photos or a single large one."""
    group: list[_Row] = []
    for row in rows:
        if len(group) == _GROUP_PHOTOS or (group and _bytes_of(group) + row["size"] > _GROUP_BYTES):
            yield group
            group = []
        group.append(row)
    if group:
        yield group


def _bytes_of(group: list[_Row]) -> int:
    return sum(row["size"] for row in group)


def _rows(members: pa.Table) -> Iterator[_Row]:
    for batch in members.to_batches(max_chunksize=1024):
        yield from batch.to_pylist()


def _convert_shard(
    build: Build,
    digest: str,
    members: pa.Table,
    path: Path,
    outcomes: Iterable[tuple[_Row, _Outcome]],
    progress: Callable[[int], None],
) -> tuple[ShardResult, dict[str, _Lost]]:
    """Write one shard's file; return its result and the photos that were lost since the plan."""
    index = RecordIndex()
    rejected: list[RejectedPhoto] = []
    lost: dict[str, _Lost] = {}
    with ShardWriter(path) as shard:
        for row, outcome in outcomes:
            match outcome:
                case _Made():
                    _add(shard, index, row, outcome)
                case Rejected(reason, detail):
                    rejected.append(RejectedPhoto(key=row["key"], reason=reason, detail=detail))
                case _Lost():
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


def _add(shard: ShardWriter, index: RecordIndex, row: _Row, made: _Made) -> None:
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


class _Uploader:
    """Uploads one finished shard while the next is made; never more than one waits."""

    def __init__(self, dataset: Store) -> None:
        self._dataset = dataset
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="upload")
        self._pending: Future[None] | None = None

    def __enter__(self) -> "_Uploader":
        return self

    def __exit__(self, *failure: object) -> None:
        try:
            if failure[0] is None:
                self._wait()
        finally:
            self._pool.shutdown()

    def upload(self, result: ShardResult, path: Path) -> None:
        """Take over a finished file: upload it, then its result, then delete it."""
        self._wait()
        self._pending = self._pool.submit(self._upload, result, path)

    def _wait(self) -> None:
        if self._pending is not None:
            self._pending.result()

    def _upload(self, result: ShardResult, path: Path) -> None:
        if result.photos:
            self._dataset.upload(shard_key(result.digest, ".tfrecord"), path)
            self._dataset.put(shard_key(result.digest, ".json"), result.model_dump_json().encode())
        path.unlink()
