"""Threads that download photos ahead, and one codec thread per core that converts them in the plan's order."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import pyarrow as pa

from aesthetics_ops.builds import Build
from aesthetics_ops.dataset.example import Example
from aesthetics_ops.dataset.layout import ShardFile, shard_key
from aesthetics_ops.dataset.results import withdraw
from aesthetics_ops.dataset.tfrecord import FramedRecord, frame_example
from aesthetics_ops.errors import ObjectMissingError
from aesthetics_ops.machine import PixelRoom, codec_threads
from aesthetics_ops.pixels.photo import Converted, convert_photos
from aesthetics_ops.rejects import Rejected, RejectReason
from aesthetics_ops.store import Store

__all__ = ["Built", "Lost", "Outcome", "Row", "Workers", "rows_of"]

_DOWNLOADS: Final = 16  # requests in flight: they feed two codec cores through 20 ms of latency
_GROUP_PHOTOS: Final = 16  # go from thread to thread at once, unless they have more bytes than this
_GROUP_BYTES: Final = 2 << 20
_WINDOW_BYTES_PER_CODEC: Final = 32 << 20  # of sources, held in memory
_PIXELS_PER_THREAD: Final = 25_000_000  # one camera photo; a decoded pixel takes 3 to 8 bytes while it is worked on

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Lost:
    """A photo that was listed, and was gone or changed when it was read."""

    reason: RejectReason
    detail: str


@dataclass(frozen=True, slots=True)
class Built:
    """A photo that became a record, framed as it stands in the shard."""

    photo: Converted
    record: FramedRecord


Outcome = Built | Rejected | Lost


def _is_finished(dataset: Store, digest: str) -> bool:
    if dataset.head(shard_key(digest, ShardFile.RESULT)) is None:
        return False
    if dataset.head(shard_key(digest, ShardFile.RECORDS)) is not None:
        return True
    # someone deleted the file: what was said of it must not pass for said of the next one
    withdraw(dataset, digest)
    return False


class Workers:
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

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *_: object) -> None:
        self._downloads.shutdown(cancel_futures=True)
        self._codecs.shutdown(cancel_futures=True)

    def finished(self, shards: Iterable[tuple[str, pa.Table]]) -> Iterator[bool]:
        """Tell of each shard, in order, whether there is nothing left to do."""
        return self._downloads.map(partial(_is_finished, self._build.dataset), (digest for digest, _ in shards))

    def photos(self, rows: Iterable[Row]) -> Iterator[tuple[Row, Outcome]]:
        """Yield every row with its outcome, in the rows' order, holding a bounded window of photos."""
        window: deque[tuple[list[Row], Future[list[Outcome]]]] = deque()
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

    def _download(self, group: list[Row]) -> list[bytes | memoryview | Lost]:
        return [self._source(row["key"], row["etag"], row["size"]) for row in group]

    def _source(self, key: str, etag: str, size: int) -> bytes | memoryview | Lost:
        try:
            source = self._build.photos.get(key)
        except ObjectMissingError:
            return Lost(RejectReason.SOURCE_MISSING, "listed, but gone when it was read")
        found = len(source.data)
        if source.etag != etag or found != size:
            return Lost(
                RejectReason.SOURCE_CHANGED,
                f"listed with ETag {etag} and {size} bytes, read with ETag {source.etag} and {found} bytes",
            )
        return source.data

    def _convert(self, group: list[Row], sources: Future[list[bytes | memoryview | Lost]]) -> list[Outcome]:
        read = sources.result()
        photos = iter(
            convert_photos(
                [source for source in read if not isinstance(source, Lost)],
                self._build.settings.pixels,
                seat=self._room.seat,
            )
        )
        return [
            source if isinstance(source, Lost) else _framed(row, next(photos))
            for row, source in zip(group, read, strict=True)
        ]


def _framed(row: Row, photo: Converted | Rejected) -> Built | Rejected:
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
    return Built(photo, frame_example(example))


def _groups(rows: Iterable[Row]) -> Iterator[list[Row]]:
    """Cut rows into what one thread handles at a time: a few small photos or a single large one."""
    group: list[Row] = []
    for row in rows:
        if len(group) == _GROUP_PHOTOS or (group and _bytes_of(group) + row["size"] > _GROUP_BYTES):
            yield group
            group = []
        group.append(row)
    if group:
        yield group


def _bytes_of(group: list[Row]) -> int:
    return sum(row["size"] for row in group)


def rows_of(members: pa.Table) -> Iterator[Row]:
    """Yield the rows of a table, a thousand at a time in memory."""
    for batch in members.to_batches(max_chunksize=1024):
        yield from batch.to_pylist()
