"""The bytes of framed records in a store, by ranges, when they are first asked for; a directory may keep them.

In: rows of a split's index.  Out: the bytes of their records.
Promised: neighbours are asked for in one request, no request is made for what is kept, and the disk is never filled.
A store is opened where it is used, so nothing of it crosses a fork or a pickle.
"""

import errno
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from aesthetics_ops.dataset.manifest import Shard
from aesthetics_ops.errors import ObjectMissingError, SettingsError
from aesthetics_ops.readers.fetching.index import Index
from aesthetics_ops.readers.fetching.shards import NOT_OURS, Buffer, Coming, Files, Place, ShardBytes, places_of
from aesthetics_ops.readers.opened import Version
from aesthetics_ops.store import StoreThreads

__all__ = ["CONNECTIONS", "KeptRecords", "StoreShards"]

_log = logging.getLogger(__name__)

CONNECTIONS: Final = 32  # requests at once; a batch of 64 photos in random order takes two rounds of them
_GAP_BYTES: Final = 64 << 10  # between two records, cheaper to fetch than another request
_WIDE_GAP_BYTES: Final = 2 << 20  # the same where enough of what comes was asked for
_LEAST_SHARE: Final = 1 / 4  # that is: of all that a batch brings, or else of a single request
_LEAST_SHARE_KEPT: Final = 1 / 8  # where the rest stays for later batches
_RANGE_BYTES: Final = 16 << 20  # most that one request asks for, when it asks for more than one record
_FREE_BYTES: Final = 1 << 30  # left on the disk
_LOOK_BYTES: Final = 64 << 20  # written between two looks at the disk


class KeptRecords:
    """A directory that keeps records of shards: per shard a sparse file, and a byte per record that says what is there.

    Several processes may use one directory: whoever writes a record writes the same bytes.  What a crash of the machine
    leaves half-written fails its checksum when it is read, and is fetched again.
    Nothing is evicted: of records in a random order, none is more likely to be asked for than another.
    """

    def __init__(self, directory: Path, shards: Sequence[Shard], max_bytes: int | None = None) -> None:
        """Make the directory.

        Args:
            directory: made if it does not exist.
            shards: of the split.
            max_bytes: of all that it keeps; None leaves 1 GiB of the disk free.

        Raises:
            SettingsError: it cannot be made.
        """
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SettingsError(
                f"{str(directory)!r} cannot be made: {error.strerror}; give another directory, or none to keep nothing"
            ) from error
        self._directory, self._max_bytes = directory, max_bytes
        self._counts = tuple(shard.records for shard in shards)
        flags = os.O_RDWR | os.O_CREAT
        self._data = Files([directory / f"{shard.digest}.records" for shard in shards], flags)
        self._marks = Files([directory / f"{shard.digest}.there" for shard in shards], flags)
        self._there: dict[int, NDArray[np.uint8]] = {}
        self._room = self._look()

    def has(self, shard: int, number: int) -> bool:
        """Say whether a record is there, whoever brought it."""
        there = self._there.get(shard)
        first, count = (number, 1) if there is not None else (0, self._counts[shard])
        if there is None:
            there = self._there.setdefault(shard, np.zeros(count, np.uint8))
        if not there[number]:
            with suppress(PermissionError), self._marks.handle(shard) as handle:
                os.preadv(handle, [there[first : first + count].data], first)
        return bool(there[number])

    @property
    def has_room(self) -> bool:
        """Whether more is kept."""
        return self._room > 0

    def read(self, place: Place) -> bytes:
        """Return a record that is there."""
        return self._data.read(place)

    def write(self, place: Place, number: int, record: bytes | memoryview) -> None:
        """Keep a record if there is room; once there is none, nothing more is kept."""
        if self._room < place.length:
            return
        try:
            with self._data.handle(place.shard) as handle:
                os.pwrite(handle, record, place.offset)
            with self._marks.handle(place.shard) as handle:
                os.pwrite(handle, b"\1", number)
        except OSError as error:
            if error.errno not in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, *NOT_OURS}:
                raise
            self._is_full("this user may not write there" if error.errno in NOT_OURS else os.strerror(error.errno))
            return
        self._there[place.shard][number] = 1
        self._spend(place.length)

    def forget(self, place: Place, number: int) -> None:
        """Take a record for missing."""
        self._there[place.shard][number] = 0

    def close(self) -> None:
        """Close the files, while nobody reads."""
        self._data.close()
        self._marks.close()

    def _spend(self, length: int) -> None:
        before, self._room = self._room, self._room - length
        if before // _LOOK_BYTES != self._room // _LOOK_BYTES:
            self._room = min(self._room, self._look())
            if self._room <= 0:
                self._is_full("that is the limit")

    def _is_full(self, reason: str) -> None:
        self._room = 0
        _log.warning("%s keeps no more records: %s; they come from the store each time", self._directory, reason)

    def _look(self) -> int:
        """Return how many bytes may still be written."""
        disk = os.statvfs(self._directory)
        free = disk.f_bavail * disk.f_frsize - _FREE_BYTES
        if self._max_bytes is None:
            return free
        used = sum(entry.stat().st_blocks * 512 for entry in os.scandir(self._directory))
        return min(free, self._max_bytes - used)


@dataclass(frozen=True, slots=True)
class _Range:
    """One request: bytes of a shard that hold some records.

    Attributes:
        shard: its number.
        start: its first byte.
        numbers: which of the records that were asked for it holds.
        end: after its last byte.
    """

    shard: int
    start: int
    numbers: list[int]
    end: int


class StoreShards(ShardBytes):
    """Shards in a store."""

    def __init__(
        self, index: Index, version: Version, shards: Sequence[Shard], *, kept: KeptRecords | None = None
    ) -> None:
        """Ask nothing yet.

        Args:
            index: of the split.
            version: that the shards belong to.
            shards: of the split, by the manifest.
            kept: where records stay; None asks the store each time.
        """
        self._index, self._version, self._shards = index, version, tuple(shards)
        self._kept = kept
        self._pool: StoreThreads | None = None
        self._process = 0

    def ask(self, rows: NDArray[np.int64]) -> Coming:
        """Request what is not kept, in as few ranges as neighbours allow, and return what waits for it."""
        places = places_of(self._index, rows)
        numbers = [self._index.number(row) for row in rows.tolist()]
        missing = [
            at for at, place in enumerate(places) if self._kept is None or not self._kept.has(place.shard, numbers[at])
        ]
        coming: dict[int, tuple[_Range, Future[bytes | memoryview]]] = {}
        for wanted in self._ranges(places, missing):
            answer = self._threads().submit(self._fetch, wanted)
            coming |= dict.fromkeys(wanted.numbers, (wanted, answer))

        def get(at: int) -> Buffer:
            place = places[at]
            if self._kept is not None and at not in coming:
                return self._kept.read(place)
            wanted, answer = coming[at]
            first = place.offset - wanted.start
            return memoryview(answer.result())[first : first + place.length]

        def cancel() -> None:
            for _, answer in coming.values():
                answer.cancel()

        return Coming(get, cancel)

    def again(self, row: int) -> Buffer | None:
        """Ask the store for a record whose kept bytes are damaged."""
        if self._kept is None:
            return None
        (place,) = places_of(self._index, np.array([row]))
        number = self._index.number(row)
        self._kept.forget(place, number)
        return self._fetch(_Range(place.shard, place.offset, [0], place.offset + place.length), is_damaged=True)

    def close(self) -> None:
        """Wait for requests that are under way, and close the files."""
        if self._pool is not None and self._process == os.getpid():
            self._pool.shutdown(cancel_futures=True)
        self._pool = None
        if self._kept is not None:
            self._kept.close()

    def _ranges(self, places: Sequence[Place], missing: Sequence[int]) -> list[_Range]:
        """Return the requests for the places numbered `missing`, the one with the first of them first."""
        wide = _joined(places, sorted(missing, key=lambda at: places[at]), self._is_worth_its_bytes)
        least = _LEAST_SHARE_KEPT if self._kept is not None and self._kept.has_room else _LEAST_SHARE
        found = wide
        if _share(places, wide) < least:  # of some of them at least, too much was not asked for
            found = []
            for one in wide:
                is_worth_it = _share(places, [one]) >= least
                found += [one] if is_worth_it else _joined(places, one.numbers, _is_near)
        return sorted(found, key=lambda wanted: min(wanted.numbers))

    def _is_worth_its_bytes(self, shard: int, start: int, end: int) -> bool:
        """Whether bytes between two records are fetched with them; not when they are at hand already."""
        if _is_near(shard, start, end):
            return True
        if end - start > _WIDE_GAP_BYTES:
            return False
        kept = self._kept
        return kept is None or not any(kept.has(shard, number) for number, _ in self._records_in(shard, start, end))

    def _records_in(self, shard: int, start: int, end: int) -> Iterator[tuple[int, Place]]:
        """Yield number and place of the records of a shard that lie between two offsets whole."""
        first = int(self._index.firsts[shard])
        rows = slice(first, first + self._shards[shard].records)
        offsets = self._index.offsets[rows]
        for number in range(int(np.searchsorted(offsets, start)), int(np.searchsorted(offsets, end))):
            place = Place(shard, int(offsets[number]), int(self._index.lengths[first + number]))
            if place.offset + place.length <= end:
                yield number, place

    def _fetch(self, wanted: _Range, *, is_damaged: bool = False) -> bytes | memoryview:
        shard = self._shards[wanted.shard]
        try:
            data = self._version.get_range(shard.path, wanted.start, wanted.end - wanted.start)
        except ObjectMissingError as error:
            raise self._version.explain_missing(shard.path) from error
        if self._kept is not None:
            for number, place in self._records_in(wanted.shard, wanted.start, wanted.end):
                if is_damaged or not self._kept.has(wanted.shard, number):
                    first = place.offset - wanted.start
                    self._kept.write(place, number, memoryview(data)[first : first + place.length])
        return data

    def _threads(self) -> StoreThreads:
        if self._pool is None or self._process != os.getpid():
            self._pool, self._process = StoreThreads(CONNECTIONS, thread_name_prefix="range"), os.getpid()
        return self._pool

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("a store is opened where it is used; pickle the Records instead")


def _is_near(shard: int, start: int, end: int) -> bool:
    """Whether bytes between two records cost less than another request, whatever they are."""
    return end - start <= _GAP_BYTES


def _share(places: Sequence[Place], ranges: Sequence[_Range]) -> float:
    """Return how much of what requests bring was asked for, 0 to 1."""
    useful = sum(places[at].length for wanted in ranges for at in wanted.numbers)
    return useful / max(1, sum(wanted.end - wanted.start for wanted in ranges))


def _joined(
    places: Sequence[Place], ordered: Sequence[int], is_joined: Callable[[int, int, int], bool]
) -> list[_Range]:
    """Return requests for places in the order of a shard's bytes; `is_joined` judges shard, start and end of a gap."""
    found: list[_Range] = []
    for at in ordered:
        shard, offset, length = places[at]
        last = found[-1] if found else None
        if (
            last is not None
            and last.shard == shard
            and offset + length - last.start <= _RANGE_BYTES
            and is_joined(shard, last.end, offset)
        ):
            last.numbers.append(at)
            found[-1] = _Range(shard, last.start, last.numbers, max(last.end, offset + length))
        else:
            found.append(_Range(shard, offset, [at], offset + length))
    return found
