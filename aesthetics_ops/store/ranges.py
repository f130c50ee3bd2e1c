"""List a long prefix by ranges of keys side by side, with the result of a listing page after page.

In: pages that begin after any key (`start-after`).  Out: all rows in the store's order, or None where the store does not play along.
A range that is being read is split in two while threads have nothing to do, at a key between the last one read and its end,
by the characters that keys have.  Promised: each range ended at the very key that the next one began with, in rising order of
bytes.  So whatever order a store has, nothing was left out; where that does not hold, None, and the caller reads page after page.
"""

import threading
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise, takewhile
from typing import Final

import pyarrow as pa

from aesthetics_ops.errors import StoreRefusedError
from aesthetics_ops.store.interrupts import StoreThreads
from aesthetics_ops.store.listing import Batches
from aesthetics_ops.store.pages import Page

__all__ = ["Ask", "Split", "list_ranges"]

_AT_ONCE: Final = 16  # requests
_DIGITS: Final = 12  # characters that tell where a key lies between two others
_WORTH_PAGES: Final = 3  # that a range should have left, to be split
_BATCHES: Final = 16  # pages that are put together; each request's range holds so many in memory

_Row = tuple[str, int, str]


class _DisorderedError(Exception):
    """Keys do not come as `start-after` and their bytes say."""


@dataclass(frozen=True, slots=True)
class Ask:
    """How to ask for a listing.

    Attributes:
        pages: gives the pages that begin after a key, in order.
        first: gives the first key after a key; None where there is none.
        batch: makes rows of (key, size, ETag) a batch of the listing.
    """

    pages: Callable[[str], Iterator[Page]]
    first: Callable[[str], str | None]
    batch: Callable[[Sequence[_Row]], pa.RecordBatch]


class Split:
    """Finds keys between two others, by the characters that keys were seen to have."""

    def __init__(self, prefix: str) -> None:
        """Begin.

        Args:
            prefix: that all keys have.
        """
        self._prefix = prefix
        self._letters: list[str] = []

    def learn(self, keys: Sequence[str]) -> None:
        """Take the characters of keys."""
        found = set().union(*(key[len(self._prefix) :] for key in keys))
        if not found <= set(self._letters):
            self._letters = sorted(found | set(self._letters))

    def between(self, low: str, high: str | None) -> str | None:
        """Return a key half-way; None where there is none.

        Args:
            low: a key.
            high: a larger one; None for the end of the prefix.
        """
        start, letters = self._common(low, high), self._letters
        middle = (self._value(low, start, letters) + self._end(high, start, letters)) // 2
        base, digits = len(letters) + 1, []
        for place in reversed(range(_DIGITS)):
            digit, middle = divmod(middle, base**place)
            if digit == 0:
                break
            digits.append(letters[digit - 1])
        found = low[:start] + "".join(digits)
        return found if low < found and (high is None or found < high) else None

    def share_left(self, low: str, last: str, high: str | None) -> float:
        """Return how much lies between `last` and `high`, as a multiple of what lies between `low` and `last`."""
        start, letters = self._common(low, high), self._letters
        values = self._value(low, start, letters), self._value(last, start, letters), self._end(high, start, letters)
        return (values[2] - values[1]) / max(1, values[1] - values[0])

    def _common(self, low: str, high: str | None) -> int:
        return (
            len(self._prefix)
            if high is None
            else sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(low, high, strict=False)))
        )

    def _end(self, high: str | None, start: int, letters: list[str]) -> int:
        return (len(letters) + 1) ** _DIGITS if high is None else self._value(high, start, letters)

    def _value(self, key: str, start: int, letters: list[str]) -> int:
        """Return a key from `start` on as a number whose digits are characters; 0 is the end of a key."""
        value, base = 0, len(letters) + 1
        for letter in key[start : start + _DIGITS].ljust(_DIGITS, "\0"):
            value = value * base + (0 if letter == "\0" else min(bisect_left(letters, letter) + 1, len(letters)))
        return value


@dataclass(slots=True)
class _Range:
    """Keys after one and up to another.

    Attributes:
        low: before the first.
        high: that the last one is not after; None for the end of the prefix.
        begun: the first key; None while there is none.
        last: the key read last, or `low`.
        met: the first key after `high`; None where there is none.
        pages: read.
        batches: of rows that were read last.
        numbers: of the batches that were kept before these.
    """

    low: str
    high: str | None
    begun: str | None = None
    last: str = ""
    met: str | None = None
    pages: int = 0
    batches: list[pa.RecordBatch] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)


def list_ranges(ask: Ask, head: Sequence[_Row], prefix: str, into: Batches) -> list[int] | None:
    """Return what comes after the first rows of a long listing.

    Args:
        ask: the store.
        head: rows that were read, in order.
        prefix: of all keys, in full.
        into: takes the rows.

    Returns:
        Numbers of batches in order, or None: keys do not come as `start-after` says, or changed meanwhile; read page after page.

    Raises:
        StoreUnavailableError: no answer.
        ScratchSpaceError: the disk is full.
    """
    keys = [row[0] for row in head]
    if not keys or any(later <= key for key, later in pairwise(keys)):
        return None
    try:
        return _Reading(ask, keys, prefix, into).numbers()
    except (_DisorderedError, StoreRefusedError):  # what is refused page after page too is told there
        return None


class _Reading:
    """One listing by ranges."""

    def __init__(self, ask: Ask, keys: Sequence[str], prefix: str, into: Batches) -> None:
        self._ask, self._into = ask, into
        self._split = Split(prefix)
        self._split.learn(keys)
        self._whole = _Range(keys[-1], None)
        self._ranges: list[_Range] = []
        self._changed = threading.Condition()
        self._busy = 0
        self._error: BaseException | None = None

    def numbers(self) -> list[int]:
        """Read everything.

        Raises:
            _DisorderedError: what was read may not be all.
        """
        with StoreThreads(_AT_ONCE, thread_name_prefix="list") as self._threads:
            with self._changed:
                self._begin(self._whole)
            with self._changed:
                self._changed.wait_for(lambda: self._busy == 0 or self._error is not None)
            if self._error is not None:
                raise self._error
        ranges = sorted(self._ranges, key=lambda each: each.low)
        filled = [each for each in ranges if each.begun is not None]
        if [each.met for each in filled] != [*(each.begun for each in filled[1:]), None]:
            raise _DisorderedError
        return [number for each in filled for number in each.numbers]

    def _begin(self, found: _Range) -> None:
        """Have a range read; the lock is held."""
        self._ranges.append(found)
        self._busy += 1
        self._threads.submit(self._read, found)

    def _read(self, found: _Range) -> None:
        error: BaseException | None = None
        try:
            self._walk(found)
            self._keep(found)
        except BaseException as caught:
            error = caught
        with self._changed:
            self._busy -= 1
            self._error = self._error or error
            self._changed.notify_all()

    def _walk(self, found: _Range) -> None:
        found.last = found.low
        first = self._ask.first(found.low)
        if first is None or (found.high is not None and first > found.high):
            return
        if first <= found.low:
            raise _DisorderedError
        for page in self._ask.pages(found.low):
            if self._error is not None or not self._take(found, page):
                return
            self._share(found)

    def _take(self, found: _Range, page: Page) -> bool:
        """Take a page's rows; say whether there are more."""
        keys = [row[0] for row in page.objects]
        if any(later <= key for key, later in pairwise([found.last, *keys])):
            raise _DisorderedError
        rows = page.objects
        if found.high is not None and keys and keys[-1] > found.high:
            end = next(place for place, key in enumerate(keys) if key > found.high)
            rows, found.met = rows[:end], keys[end]
        if rows:
            found.begun = found.begun or rows[0][0]
            found.last = rows[-1][0]
            self._split.learn((rows[0][0], found.last))
            found.batches.append(self._ask.batch(rows))
        found.pages += 1
        if found.pages % _BATCHES == 0:
            self._keep(found)
        return found.met is None and page.following is not None

    def _keep(self, found: _Range) -> None:
        """Make one batch of the pages that were read last, and give it away."""
        if found.batches:
            pages = pa.Table.from_batches(found.batches).combine_chunks()
            found.numbers += map(self._into.add, pages.to_batches())
            found.batches.clear()

    def _share(self, found: _Range) -> None:
        """Give the second half of what is left of a range to a thread that has nothing to do."""
        if self._busy >= _AT_ONCE:
            return
        if found.pages * self._split.share_left(found.low, found.last, found.high) < _WORTH_PAGES:
            return
        middle = self._split.between(found.last, found.high)
        with self._changed:
            if middle is not None and self._busy < _AT_ONCE and self._error is None:
                second, found.high = _Range(middle, found.high), middle
                self._begin(second)
