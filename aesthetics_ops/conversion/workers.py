"""Threads that download photos ahead, and one codec thread per core that converts them in the plan's order.

What the parent has of a photo that has not changed since is taken from there, and not converted again.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Final

from aesthetics_ops.builds import Build
from aesthetics_ops.conversion.copying import StoredRecord
from aesthetics_ops.conversion.known import RecordReader
from aesthetics_ops.conversion.photos import PlannedPhoto
from aesthetics_ops.dataset.example import Example
from aesthetics_ops.dataset.layout import ShardFile, shard_key
from aesthetics_ops.dataset.results import read_shard_result, withdraw
from aesthetics_ops.dataset.tfrecord import FramedRecord, frame_example
from aesthetics_ops.errors import (
    AccessDeniedError,
    ObjectAlteredError,
    ObjectArchivedError,
    ObjectMissingError,
)
from aesthetics_ops.machine import PixelRoom, codec_threads
from aesthetics_ops.pixels.photo import Converted, convert_photos
from aesthetics_ops.rejects import Rejected, RejectReason
from aesthetics_ops.sources.intact import IntactReader
from aesthetics_ops.store import Store, StoreThreads, log_paces

__all__ = ["Built", "Outcome", "Workers"]

_DOWNLOADS: Final = 16  # requests in flight: they feed two codec cores through 20 ms of latency
_GROUP_PHOTOS: Final = 16  # go from thread to thread at once, unless they have more bytes than this
_GROUP_BYTES: Final = 2 << 20
_WINDOW_BYTES_PER_CODEC: Final = 32 << 20  # of sources, held in memory
_PIXELS_PER_THREAD: Final = 25_000_000  # one camera photo; a decoded pixel takes 3 to 8 bytes while it is worked on


@dataclass(frozen=True, slots=True)
class Built:
    """A photo that became a record.

    Attributes:
        photo: as the index of its shard tells of it.
        record: framed as it stands in the shard.
        is_copied: whether the JPEG is that of the parent's record.
    """

    photo: Converted
    record: FramedRecord
    is_copied: bool = False


Outcome = Built | Rejected
_Source = bytes | memoryview | Converted | Rejected  # Rejected where the photo is lost, or known not to be a record


def _is_finished(dataset: Store, digest: str) -> bool:
    result = read_shard_result(dataset, digest)
    if result is None:
        return False
    found = dataset.head(shard_key(digest, ShardFile.RECORDS))
    if found is not None and found[0] == result.bytes:
        return True
    # someone deleted or cut the file: what was said of it must not pass for said of the next one
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
        self._photos = IntactReader(build.photos)
        self._records = RecordReader(build.dataset)
        self._downloads = StoreThreads(_DOWNLOADS, thread_name_prefix="download")
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
        log_paces()

    def finished(self, digests: Iterable[str]) -> Iterator[bool]:
        """Tell of each shard, in order, whether there is nothing left to do."""
        return self._downloads.map(partial(_is_finished, self._build.dataset), digests)

    def outcomes(self, photos: Iterable[PlannedPhoto]) -> Iterator[tuple[PlannedPhoto, Outcome]]:
        """Yield every photo with its outcome, in the photos' order, holding a bounded window of them."""
        window: deque[tuple[list[PlannedPhoto], Future[list[Outcome]]]] = deque()
        held = held_bytes = 0
        for group in _groups(photos):
            group_bytes = _bytes_of(group)
            while window and (held + len(group) > self._window_photos or held_bytes + group_bytes > self._window_bytes):
                done, outcomes = window.popleft()
                yield from zip(done, outcomes.result(), strict=True)
                held -= len(done)
                held_bytes -= _bytes_of(done)
            held += len(group)
            held_bytes += group_bytes
            sources = self._downloads.submit(self._download, group)
            window.append((group, self._codecs.submit(self._convert, group, sources)))
        for done, outcomes in window:
            yield from zip(done, outcomes.result(), strict=True)

    def _download(self, group: list[PlannedPhoto]) -> list[_Source]:
        copied = self._records.read(group)
        return [copied[photo.key] if photo.key in copied else self._source(photo) for photo in group]

    def _source(self, photo: PlannedPhoto) -> _Source:
        if isinstance(photo.known, Rejected):
            return photo.known
        try:
            source = self._photos.get(photo.key, (photo.size, photo.etag))
        except ObjectAlteredError as error:
            return Rejected(RejectReason.SOURCE_CHANGED, str(error))
        except ObjectMissingError:
            return Rejected(RejectReason.SOURCE_MISSING, "listed, but gone when it was read")
        except AccessDeniedError as error:
            return Rejected(RejectReason.SOURCE_DENIED, str(error))
        except ObjectArchivedError as error:
            return Rejected(RejectReason.SOURCE_ARCHIVED, str(error))
        found = len(source.data)
        if source.etag != photo.etag or found != photo.size:
            return Rejected(
                RejectReason.SOURCE_CHANGED,
                f"listed with ETag {photo.etag} and {photo.size} bytes, read with ETag {source.etag} and {found} bytes",
            )
        return source.data

    def _convert(self, group: list[PlannedPhoto], sources: Future[list[_Source]]) -> list[Outcome]:
        read = sources.result()
        converted = iter(
            convert_photos(
                [source for source in read if not isinstance(source, Rejected | Converted)],
                self._build.settings.pixels,
                reserve=self._room.reserve,
            )
        )
        names = self._build.settings.extra_scores
        return [
            _framed(photo, source if isinstance(source, Rejected | Converted) else next(converted), source, names)
            for photo, source in zip(group, read, strict=True)
        ]


def _framed(
    planned: PlannedPhoto, photo: Converted | Rejected, source: _Source, extra_scores: Sequence[str]
) -> Outcome:
    if isinstance(photo, Rejected):
        return photo
    example = Example(
        image=photo.jpeg,
        label=planned.label,
        id=planned.id,
        height_px=photo.height_px,
        width_px=photo.width_px,
        distribution=planned.distribution,
        votes=planned.votes,
        label_std=planned.label_std,
        extra_scores=dict(zip(extra_scores, planned.extra_scores or (), strict=True)),
    )
    return Built(photo, frame_example(example), is_copied=photo is source)


def _groups(photos: Iterable[PlannedPhoto]) -> Iterator[list[PlannedPhoto]]:
    """Cut photos into what one thread handles at a time: a few small ones or a single large one."""
    group: list[PlannedPhoto] = []
    for photo in photos:
        if len(group) == _GROUP_PHOTOS or (group and _bytes_of(group) + _bytes_to_read(photo) > _GROUP_BYTES):
            yield group
            group = []
        group.append(photo)
    if group:
        yield group


def _bytes_of(group: list[PlannedPhoto]) -> int:
    return sum(map(_bytes_to_read, group))


def _bytes_to_read(photo: PlannedPhoto) -> int:
    match photo.known:
        case None:
            return photo.size
        case StoredRecord():
            return photo.known.length
        case _:
            return 0
