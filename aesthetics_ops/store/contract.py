"""What every store promises, whatever keeps its objects.

A listing is in key order and complete; no read is ever short; a write is seen whole or not at all; errors are
`ObjectMissingError`, `StoreRefusedError` and `StoreUnavailableError`, with the URL and the next step, and no secret.
A local file that cannot be read or written (`download`, `upload`) raises OSError as usual.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import partial
from pathlib import Path

import pyarrow as pa

from aesthetics_ops.errors import ObjectMissingError, StoreRefusedError, StoreUnavailableError
from aesthetics_ops.store.probing import ConditionalWrites, probe_conditions

__all__ = ["ConditionalWrites", "Store", "StoredObject", "Swap"]

_CONDITIONAL_ATTEMPTS = 4


class Swap(Enum):
    """The three ends of a compare-and-swap."""

    DONE = "done"  # the key holds our bytes
    REFUSED = "refused"  # another writer was first; nothing was written
    UNKNOWN = "unknown"  # the reply was lost, and the key could not be read back


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object, read whole.

    Attributes:
        key: its name, relative to the store's prefix.
        data: its bytes, read-only; a view where a copy would cost what reading them costs.
        etag: what the store calls this content, without quotes.
    """

    key: str
    data: bytes | memoryview
    etag: str


class Store(ABC):
    """The objects below one prefix.  Every method may be called from many threads at once.

    Attributes:
        url: of the prefix; ends with `/`.
        asks_at_once: for how many objects `readings` asks before it reads the first one; 1 where that saves nothing.
        is_local: whether its objects lie in files, as on a disk, or in this process's memory: no request is sent over a network.

    Every method may raise `StoreRefusedError` (the store says no, and will again) and `StoreUnavailableError` (no
    answer, or "not now"); reading a key that does not exist raises `ObjectMissingError`.
    """

    url: str
    asks_at_once: int = 1
    is_local: bool = False

    def url_of(self, key: str) -> str:
        """Return the full URL of a key."""
        return self.url + key

    @abstractmethod
    def check(self) -> None:
        """Make sure that the store is there and readable; a prefix without objects is fine."""

    @abstractmethod
    def list(self, prefix: str = "", *, scratch: Path | None = None) -> pa.Table:
        """Return all objects whose key starts with a prefix.

        Args:
            prefix: empty, or ends with `/`.
            scratch: a folder where a store may keep many rows, mapped and not in memory; None keeps them in memory.

        Returns:
            Columns key (string), size (int64, bytes), etag (string, no quotes); ordered by key, as UTF-8 bytes.
        """

    def folders(self, prefix: str) -> Sequence[str]:
        """Return, in order, what keys have between a prefix that ends with `/` and the next `/`.

        A store that can ask for just these does: what lies below is not listed then.
        """
        keys = self.list(prefix)["key"].to_pylist()
        below = (key.removeprefix(prefix) for key in keys)
        return sorted({key.split("/", 1)[0] for key in below if "/" in key})

    @abstractmethod
    def get(self, key: str) -> StoredObject:
        """Return a whole object."""

    def readings(self, keys: Sequence[str]) -> Sequence[Callable[[], StoredObject]]:
        """Return for each key a function that does what `get` does, once; a store may have asked for all of them by then.

        Args:
            keys: as many as `asks_at_once`, or fewer.
        """
        return [partial(self.get, key) for key in keys]

    def get_first(self, key: str, most: int) -> bytes | memoryview:
        """Return the first bytes of an object, `most` at least 1: all of it where it has no more; one without bytes may be refused."""
        found = self.head(key)
        return self.get(key).data if found is None or found[0] <= most else self.get_range(key, 0, most)

    @abstractmethod
    def get_range(self, key: str, offset: int, length: int) -> bytes | memoryview:
        """Return exactly these bytes of an object, a view where a copy would cost; a range that ends beyond it is refused."""

    @abstractmethod
    def download(self, key: str, path: Path) -> None:
        """Copy an object to a local file; what a failed copy leaves is removed."""

    def local_path(self, key: str) -> Path | None:
        """Return where an object lies as a file of this machine, there or not; None where a store keeps no such files."""
        return None

    @abstractmethod
    def head(self, key: str) -> tuple[int, str] | None:
        """Return an object's size in bytes and ETag, or None when there is none."""

    @abstractmethod
    def put(self, key: str, data: bytes | memoryview) -> None:
        """Write an object."""

    @abstractmethod
    def upload(self, key: str, path: Path) -> None:
        """Write an object from a local file, a large one in parallel parts.

        The file may be deleted afterwards, but not changed: a store of files may have kept it instead of a copy.
        """

    @abstractmethod
    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects; missing ones are fine."""

    @abstractmethod
    def _put_if(self, key: str, data: bytes, expected_etag: str | None, attempt: int) -> bool:
        """Write if the key has this ETag (None: does not exist); False when it has not.

        A StoreUnavailableError means that the write may have happened.
        """

    def put_if_absent(self, key: str, data: bytes) -> bool:
        """Write an object unless the key exists; return whether it is ours now.

        After a lost reply the key is read back, and equal bytes count as ours.
        """
        lost: StoreUnavailableError | None = None
        for attempt in range(_CONDITIONAL_ATTEMPTS):
            time.sleep(0.2 * attempt)
            try:
                if self._put_if(key, data, None, attempt):
                    return True
                if lost is None:
                    return False
            except StoreUnavailableError as error:
                lost = error
            current = self._read_back(key)
            if current is not None:
                return current.data == data
            if lost is not None and lost.gave_up:
                break
        raise lost or StoreUnavailableError(f"{self.url_of(key)!r} was created and deleted by others; try again later")

    def swap(self, key: str, data: bytes, expected_etag: str | None) -> Swap:
        """Replace an object's bytes if no other writer was first.

        After a lost reply or a refusal the key is read back, and equal bytes mean DONE: so make them unique to
        the writer, or two writers of the same bytes both succeed.

        Args:
            key: the object.
            data: its new bytes.
            expected_etag: the ETag of what is to be replaced; None when nothing may be there yet.

        Raises:
            StoreUnavailableError: the store serves reads but no writes; by the last reading, nothing was written.
        """
        lost: StoreUnavailableError | None = None
        for attempt in range(_CONDITIONAL_ATTEMPTS):
            time.sleep(0.2 * attempt)
            try:
                if self._put_if(key, data, expected_etag, attempt):
                    return Swap.DONE
            except StoreUnavailableError as error:
                lost = error
            try:
                current = self._read_back(key)
            except (StoreUnavailableError, StoreRefusedError):
                return Swap.UNKNOWN
            if current is not None and current.data == data:
                return Swap.DONE
            if (current.etag if current else None) != expected_etag:
                return Swap.REFUSED
            if lost is not None and lost.gave_up:
                break
        if lost is not None:
            raise lost
        return Swap.REFUSED

    def replace(self, key: str, data: bytes, expected_etag: str | None) -> Swap:
        """Do what `swap` does, for a store that ignores conditions: look first, then write.

        Safe only while nobody else writes this key.
        """
        try:
            before = self.head(key)
            if (before[1] if before else None) != expected_etag:
                return Swap.REFUSED
            self.put(key, data)
            after = self._read_back(key)
        except StoreUnavailableError:
            return Swap.UNKNOWN
        return Swap.DONE if after is not None and after.data == data else Swap.UNKNOWN

    def probe(self, key: str) -> ConditionalWrites:
        """Find out what this store does with conditions, by writing a key of its own and deleting it again.

        Args:
            key: nobody else's; nothing is there yet.

        Raises:
            StoreRefusedError: plain writes are denied, or the store keeps other bytes than it is sent.
            StoreUnavailableError: no answer.
        """
        return probe_conditions(self, key)

    def _checks_uploads(self, key: str) -> bool | None:
        return None

    def _read_back(self, key: str) -> StoredObject | None:
        try:
            return self.get(key)
        except ObjectMissingError:
            return None
