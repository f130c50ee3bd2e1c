"""Threads that download photos ahead, and one codec thread per core that converts them; outcomes come in the plan's order.

What the parent has of a photo that has not changed since is taken from there, and not converted again.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import Final

from aesthetics_ops.builds import Build
from aesthetics_ops.conversion.copying import StoredRecord
from aesthetics_ops.conversion.flow import Flow
from aesthetics_ops.conversion.known import RecordReader
from aesthetics_ops.conversion.photos import PlannedPhoto
from aesthetics_ops.conversion.reads import Reads
from aesthetics_ops.conversion.steering import LEAST_REQUESTS
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
from aesthetics_ops.store import Store, StoredObject, StoreThreads, log_paces

__all__ = ["Built", "Outcome", "Workers"]

_CHECKS: Final = 16  # of finished shards, at once
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


class _Group:
    """Photos that a codec thread converts at once, while they are read and converted.

    Attributes:
        photos: in the plan's order.
        bytes: that have to be read for them.
        sources: of each, as they come.
        done: their outcomes.
    """

    def __init__(self, photos: list[PlannedPhoto]) -> None:
        self.photos, self.bytes = photos, _bytes_of(photos)
        self.sources: list[_Source] = [b""] * len(photos)
        self.done: Future[list[Outcome]] = Future()
        self._lock = threading.Lock()
        self._parts = 0

    def parts(self, number: int) -> list[list[int]]:
        """Share out among threads what each has to read, as places of photos: known records lie side by side and stay together."""
        known = [place for place, photo in enumerate(self.photos) if photo.known is not None]
        new = [place for place, photo in enumerate(self.photos) if photo.known is None]
        size = -(-len(new) // number) or 1
        parts = [part for part in (known, *(new[first : first + size] for first in range(0, len(new), size))) if part]
        self._parts = len(parts)
        return parts

    def part_ended(self, error: BaseException | None) -> bool:
        """Note that a part was read, or failed; say whether all of the group is there now."""
        with self._lock:
            self._parts -= 1
            if error is not None and not self.done.done():
                self.done.set_exception(error)
            return self._parts == 0 and not self.done.done()


class Workers:
    """Threads that download ahead, and one codec thread per core that converts whatever group is there.

    Two pools, because a thread that allocates pixels should be one of few: its memory is then warm and reused.  Photos
    go from thread to thread in groups: handing over each small one alone cost about a tenth of its codec's time.  Sixteen groups of
    small photos are read at once, each by more threads the farther away the store is; of large ones so many are held as fit into 32
    MiB for each codec thread.

    Attributes:
        flow: how many requests are in flight, and what limits them.
    """

    def __init__(self, build: Build) -> None:
        self._build = build
        self._photos = IntactReader(build.photos)
        self._at_once = build.photos.asks_at_once
        self._records = RecordReader(build.dataset)
        threads = codec_threads()
        self.flow = Flow(threads, local_photos=build.photos.is_local, local_records=build.dataset.is_local)
        self._reads = Reads(self.flow)
        self._codecs = ThreadPoolExecutor(threads, thread_name_prefix="codec")
        self._room = PixelRoom(threads * _PIXELS_PER_THREAD)
        self._threads = threads
        self._window_bytes = threads * _WINDOW_BYTES_PER_CODEC

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *_: object) -> None:
        self._reads.end()
        self._codecs.shutdown(cancel_futures=True)
        log_paces()

    def finished(self, digests: Iterable[str]) -> Iterator[bool]:
        """Tell of each shard, in order, whether there is nothing left to do."""
        with StoreThreads(_CHECKS, thread_name_prefix="finished") as threads:
            yield from threads.map(partial(_is_finished, self._build.dataset), digests)

    def outcomes(self, photos: Iterable[PlannedPhoto]) -> Iterator[tuple[PlannedPhoto, Outcome]]:
        """Yield every photo with its outcome, in the photos' order, holding a bounded window of them."""
        window: deque[_Group] = deque()
        held = held_bytes = 0
        for group in map(_Group, _groups(photos)):
            while window:
                is_full = held_bytes + group.bytes > self._window_bytes
                if not is_full and held + len(group.photos) <= self._window_photos:
                    break
                if is_full:
                    self.flow.full()
                first = window.popleft()
                yield from self._given(first)
                held -= len(first.photos)
                held_bytes -= first.bytes
            held += len(group.photos)
            held_bytes += group.bytes
            self.flow.start()
            for part in group.parts(self.flow.parts(len(group.photos), self._at_once)):
                self._reads.submit(partial(self._read, group, part), min(len(part), self._at_once))
            window.append(group)
        for first in window:
            yield from self._given(first)

    @property
    def _window_photos(self) -> int:
        """Every thread may have a group; beyond sixteen requests each may have a photo more, for threads to find when others are late."""
        return (LEAST_REQUESTS + self._threads) * _GROUP_PHOTOS + self.flow.requests - LEAST_REQUESTS

    def _given(self, group: _Group) -> Iterator[tuple[PlannedPhoto, Outcome]]:
        outcomes = group.done.result()
        with self.flow.writing():
            yield from zip(group.photos, outcomes, strict=True)

    def _read(self, group: _Group, part: list[int]) -> None:
        """Read a part of a group; the last one to end has the group converted."""
        failed: BaseException | None = None
        try:
            self._read_part(group, part)
        except BaseException as error:
            failed = error
        if group.part_ended(failed):
            self._codecs.submit(self._convert_group, group)

    def _read_part(self, group: _Group, part: list[int]) -> None:
        copied = self._records.read([group.photos[place] for place in part])
        wanted: list[int] = []
        for place in part:
            photo = group.photos[place]
            known = copied.get(photo.key) or (photo.known if isinstance(photo.known, Rejected) else None)
            if known is not None:
                group.sources[place] = known
            else:
                wanted.append(place)
        seconds: list[float] = []
        data_bytes = 0
        for first in range(0, len(wanted), self._at_once):
            places = wanted[first : first + self._at_once]
            started = perf_counter()
            sources = self._read_at_once([group.photos[place] for place in places])
            seconds += [perf_counter() - started] * len(places)  # each was under way for as long as all of them
            for place, source in zip(places, sources, strict=True):
                group.sources[place] = source
                data_bytes += 0 if isinstance(source, Rejected) else len(source)
        self.flow.read(seconds, data_bytes, copied=len(copied))

    def _read_at_once(self, photos: Sequence[PlannedPhoto]) -> list[bytes | memoryview | Rejected]:
        if len(photos) == 1:
            return [self._source(photos[0])]
        readings = self._build.photos.readings([photo.key for photo in photos])
        return [self._source(photo, read) for photo, read in zip(photos, readings, strict=True)]

    def _source(
        self, photo: PlannedPhoto, first: Callable[[], StoredObject] | None = None
    ) -> bytes | memoryview | Rejected:
        try:
            source = self._photos.get(photo.key, (photo.size, photo.etag), first)
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

    def _convert_group(self, group: _Group) -> None:
        try:
            with self.flow.converting(sum(not isinstance(source, Rejected) for source in group.sources)):
                outcomes = self._convert(group.photos, group.sources)
        except BaseException as error:
            group.done.set_exception(error)
        else:
            group.done.set_result(outcomes)
        group.sources = []

    def _convert(self, photos: list[PlannedPhoto], sources: list[_Source]) -> list[Outcome]:
        converted = iter(
            convert_photos(
                [source for source in sources if not isinstance(source, Rejected | Converted)],
                self._build.settings.pixels,
                reserve=self._room.reserve,
            )
        )
        names = self._build.settings.extra_scores
        return [
            _framed(photo, source if isinstance(source, Rejected | Converted) else next(converted), source, names)
            for photo, source in zip(photos, sources, strict=True)
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
