"""Ready batches, one after the other, decoded by threads ahead of the training step.

In: records, a sampler that says which of them make each batch, and what to make of each photo.  Out: arrays.
Promised: the batches are the same, bit for bit, for any number of threads and any read-ahead; memory is bounded by the
batches that are ahead; an error comes with the batch that it belongs to.
"""

import os
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass
from math import prod
from typing import Any, Final, Protocol, Self

from aesthetics_ops.errors import SettingsError
from aesthetics_ops.machine import cpus
from aesthetics_ops.readers.buffers import Buffers, Take, fresh
from aesthetics_ops.readers.cache import PixelCache
from aesthetics_ops.readers.fetching.split import PHOTOS_AT_ONCE
from aesthetics_ops.readers.given import whole_number
from aesthetics_ops.readers.pixels import Pixels
from aesthetics_ops.readers.records import Records
from aesthetics_ops.readers.sampling.progress import Progress, Resumable
from aesthetics_ops.readers.sampling.sampler import Draws, Sampler
from aesthetics_ops.readers.targets import Asked, Targets
from aesthetics_ops.store import StoreThreads, give_up_if_interrupted

__all__ = ["Batch", "Batches", "Begun", "Pending", "drawn_by", "make_batch", "was_closed"]

_LEAST_AHEAD: Final = 2  # batches that are made while one is trained on
_PHOTOS_AHEAD: Final = 24  # for each thread, so that none waits for the next batch to begin
_MOST_AHEAD_BYTES: Final = 256 << 20  # of batches beyond the least, with the JPEGs that they are made of
_PARTS: Final = 3  # under way for each thread

_HELD: Final = 3  # batches: what is made, what is trained on, and what a framework lets go of only at the next one

Batch = tuple[Any, Any]  # images and labels, as `Batches` says


class Batches(Resumable):
    """Batches of one rank; one iteration is one epoch, or what is left of it after `load_state_dict`.

    A batch is (images, labels).  images: uint8, shape (b, height, width, 3), sRGB; a list of such arrays where the photos
    keep their shape; a list of JPEGs where nothing is to be decoded.  labels: float32, shape (b,), or what `labels` asks for.
    A batch is its receiver's for as long as anything holds it; the memory of one that was let go is used again.

    Attributes:
        records: what is read.
        sampler: which records make each batch.
        pixels: what becomes of each photo; None gives JPEGs.
        targets: the labels.
        cache: of decoded pixels, if any.
        threads: that decode.
        ahead: batches that are made while one is trained on.
        take: gives the memory of each batch, where its maker is not to; set before the first is begun.
    """

    def __init__(
        self,
        records: Records,
        sampler: Sampler,
        pixels: Pixels | None,
        *,
        cache: PixelCache | None = None,
        threads: int | None = None,
        ahead: int | None = None,
        labels: Asked = "label",
    ) -> None:
        """Begin nothing yet.

        Args:
            records: to read.
            sampler: over these records.
            pixels: what to make of each photo; None gives the JPEGs as they are stored.
            cache: of the records' split and these pixels; what it has is not decoded.
            threads: that decode; by default one per core that this process may use.
            ahead: batches that are made while one is trained on; by default 24 photos for each thread, which is 2 batches or
                more; more than 2 take 256 MiB at most.
            labels: a name of `Dataset.label_names`, or a list of names, which gives a dict of arrays.

        Raises:
            SettingsError: the version has no such labels, `threads` is no whole number above 0, or `ahead` none from 0 on.
        """
        self.records, self.sampler, self.pixels = records, sampler, pixels
        self.targets = Targets(records.reader, labels)
        self.cache = cache
        self.threads = cpus() if threads is None else whole_number("threads", threads, 1)
        self.ahead = self._enough() if ahead is None else whole_number("ahead", ahead, 0)
        self.take: Take | None = None
        self._pool: StoreThreads | None = None
        self._process = 0
        self._closed = 0  # times
        self._buffers = Buffers(self.ahead + _HELD)
        self.progress = Progress(sampler)

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator[Batch]:
        return (batch for _, batch in self.drawn())

    def drawn(self) -> Iterator[tuple[Draws, Batch]]:
        """Iterate over batches together with the draws that they are made of, which tell their records."""
        return drawn_by(self, self.begin)

    def close(self) -> None:
        """End the threads and iterations, and let go of files and connections; a new iteration opens them again."""
        if self._pool is not None and self._process == os.getpid():
            self._pool.shutdown(cancel_futures=True)
        self._pool = None
        self._buffers.clear()
        self._closed += 1
        self.records.close()

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_pool": None}  # a copy begins threads of its own

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def begin(self, draws: Draws) -> "Begun":
        """Have one batch made by the threads, for who asks for batches by number; `result` waits for it."""
        work = _work_on(self.records, draws, self.pixels, self.cache, self.targets, self.take or self._buffers.take)
        count = len(draws)
        photos = max(1, min(PHOTOS_AT_ONCE, count * (self.ahead + 1) // (_PARTS * self.threads)))
        parts = [
            self._threads().submit(work.do, range(first, min(first + photos, count)))
            for first in range(0, count, photos)
        ]
        return Begun(draws, work.images, work.labels, parts, work.cancel)

    def _enough(self) -> int:
        """Return how many batches give every thread photos to decode, in bounded memory."""
        entry, batch = self.records.reader.entry, self.sampler.whole_steps.batch
        photo_bytes = entry.bytes // max(1, entry.records)
        if self.pixels is not None:
            size = self.pixels.size  # a number where the longer side is not known
            photo_bytes += 2 * size * size * 3 if isinstance(size, int) else prod((*size, 3))
        wanted = -(-_PHOTOS_AHEAD * self.threads // batch)
        return max(_LEAST_AHEAD, min(wanted, _MOST_AHEAD_BYTES // max(1, batch * photo_bytes)))

    def _threads(self) -> StoreThreads:
        if self._pool is None or self._process != os.getpid():
            self._pool, self._process = StoreThreads(self.threads, thread_name_prefix="decode"), os.getpid()
        return self._pool


def drawn_by(batches: Batches, begin: "Callable[[Draws], Pending]") -> Generator[tuple[Draws, Batch], None, None]:
    """Iterate over batches that a function has made, for who does more with each before it is handed over.

    Args:
        batches: whose order, progress and end it is.
        begin: has one batch made, as `Batches.begin`.
    """
    waiting: deque[Pending] = deque()
    closed = batches._closed
    try:
        with batches.progress.iteration() as took:
            draws = iter(batches.sampler)
            while True:
                if closed != batches._closed:
                    raise was_closed()
                while len(waiting) <= batches.ahead and (drawn := next(draws, None)) is not None:
                    waiting.append(begin(drawn))
                if not waiting:
                    break
                batch = waiting[0].result()
                begun = waiting.popleft()
                took()
                yield begun.draws, batch
    finally:
        give_up_if_interrupted()  # or the interpreter's end would wait for the threads
        for begun in waiting:
            begun.cancel()


def make_batch(
    records: Records, draws: Draws, pixels: Pixels | None, cache: PixelCache | None, targets: Targets
) -> Batch:
    """Make one batch in this thread, the same as `Batches` makes it."""
    work = _work_on(records, draws, pixels, cache, targets, fresh)
    for first in range(0, len(draws), PHOTOS_AT_ONCE):
        work.do(range(first, min(first + PHOTOS_AT_ONCE, len(draws))))
    return work.images, work.labels


def _work_on(
    records: Records, draws: Draws, pixels: Pixels | None, cache: PixelCache | None, targets: Targets, take: Take
) -> "_Work | _CachedWork":
    if pixels is None or cache is None:
        return _Work(records, draws, pixels, targets, take)
    return _CachedWork(records, draws, pixels, cache, targets, take)


class _Work:
    """A batch to be made: what it needs is on its way."""

    def __init__(self, records: Records, draws: Draws, pixels: Pixels | None, targets: Targets, take: Take) -> None:
        self._pixels, self._bits = pixels, draws.bits.tolist()
        rows = records.rows_in_split(draws.rows)
        self._asked = records.reader.ask(rows)
        self.labels = targets.at(rows)
        self.cancel = self._asked.cancel
        shape = pixels.shape if pixels else None
        self.images: Any = [None] * len(draws) if shape is None else take((len(draws), *shape))

    def do(self, numbers: Sequence[int]) -> None:
        """Make some photos of the batch."""
        if self._pixels is not None:
            self._asked.decode(numbers, self._pixels, self._bits, self.images)
            return
        for at in numbers:
            self.images[at] = bytes(self._asked.image(at))


class _CachedWork:
    """A batch of pixels that may be kept already; only the others are asked for."""

    def __init__(
        self, records: Records, draws: Draws, pixels: Pixels, cache: PixelCache, targets: Targets, take: Take
    ) -> None:
        self._reader, self._pixels, self._cache = records.reader, pixels, cache
        self._rows = records.rows_in_split(draws.rows)
        self._places = self._reader.places(self._rows)
        missing = [at for at, place in enumerate(self._places) if not cache.has(*place)]
        self._asked = self._reader.ask(self._rows[missing])
        self.cancel = self._asked.cancel
        self._asked_at = {at: number for number, at in enumerate(missing)}
        self.labels = targets.at(self._rows)
        self.images = take((len(draws), *(pixels.shape or ())))

    def do(self, numbers: Sequence[int]) -> None:
        """Read some photos of the batch, and decode those that are not there or not whole."""
        for at in numbers:
            image, place, number = self.images[at], self._places[at], self._asked_at.get(at)
            if number is None and self._cache.read(*place, image):
                continue
            asked = self._asked if number is not None else self._reader.ask(self._rows[at : at + 1])
            asked.decode_one(number or 0, self._pixels, out=image)
            self._cache.write(*place, image)


class Pending(Protocol):
    """A batch that is on its way."""

    @property
    def draws(self) -> Draws:
        """What it is made of."""

    def result(self) -> Batch:
        """Wait for it, and return it."""

    def cancel(self) -> None:
        """Leave unmade what nobody has begun."""


@dataclass(frozen=True, slots=True)
class Begun:
    """A batch that threads are at work on."""

    draws: Draws
    images: Any
    labels: Any
    parts: list[Future[None]]
    give_up: Callable[[], None]

    def result(self) -> Batch:
        """Wait for it, and return it.

        Raises:
            IntegrityError: a record is damaged; names version, shard, record and id.
            SettingsError: `Batches.close` was called meanwhile.
        """
        try:
            for part in self.parts:
                part.result()
        except CancelledError as error:
            raise was_closed() from error
        return self.images, self.labels

    def cancel(self) -> None:
        """Leave unmade what nobody has begun."""
        for part in self.parts:
            part.cancel()
        self.give_up()


def was_closed() -> SettingsError:
    """Return the error of who asks for a batch after `Batches.close`."""
    return SettingsError("the batches were closed while they were iterated over; begin a new iteration")
