"""Bring files of a version to local disk over many connections at once, each hashed in order while it arrives.

In: keys, sizes and digests.  Out: whole files, each found to be what its digest says.
A file is asked for in pieces, so a few large files keep all connections busy.  What has arrived of a file stands in a part
file beside a byte per MiB that says so: a transfer that was cut off goes on there.  What a crash of the machine left of it
half-written fails the digest, and the file is fetched anew.
"""

import hashlib
import logging
import os
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from aesthetics_ops.errors import (
    AccessDeniedError,
    AestheticsOpsError,
    IntegrityError,
    ObjectArchivedError,
    ObjectMissingError,
    StoreRefusedError,
)
from aesthetics_ops.machine import naming
from aesthetics_ops.store import begun, give_up_if_interrupted

__all__ = ["Arriving", "Origin", "arrived_bytes", "transfer"]

_log = logging.getLogger(__name__)

_UNIT_BYTES: Final = 1 << 20  # what a byte of a part file's end stands for
_LARGEST_PIECE: Final = 8 << 20  # most that one request asks for; in memory once or twice for each connection
_ROUNDS: Final = 4  # pieces for each connection, at least, so that all of them end at about the same time


class Origin(Protocol):
    """Where the files come from."""

    def url_of(self, key: str) -> str:
        """Return what names a file in messages."""

    def head(self, key: str) -> tuple[int, str] | None:
        """Return a file's size in bytes and its ETag; None where it is missing."""

    def get_range(self, key: str, offset: int, length: int) -> bytes | memoryview:
        """Return these bytes of a file."""

    def explain_missing(self, key: str) -> AestheticsOpsError:
        """Return the error for a file that is not there."""


@dataclass(frozen=True, slots=True)
class Arriving:
    """A file that is to come.

    Attributes:
        key: of the version.
        bytes: its size; above 0.
        sha256: its digest; None where it is not known.
        part: where it grows; what is there of it is not fetched again.
        whole: its name once it is whole.
    """

    key: str
    bytes: int
    sha256: str | None
    part: Path
    whole: Path


def transfer(origin: Origin, files: Sequence[Arriving], *, connections: int, progress: Callable[[int], None]) -> int:
    """Bring files, and give each its name once it is whole.

    What had arrived when an error came stays in the part files.

    Args:
        origin: where they come from.
        files: each once.
        connections: requests at once.
        progress: called, in this thread, with the bytes that were there or have arrived; they add up to the files' sizes,
            since bytes that turn out to be damaged are taken back.

    Returns:
        Bytes that were fetched.

    Raises:
        IntegrityError: a file is not what its digest says, or is missing.
        NoSuchVersionError: the version has expired meanwhile.
        OSError: the disk is full, or cannot be written; names the file.
    """
    fetched = 0
    again = list(files)
    while again:
        transfer_once = _Transfer(origin, again, connections)
        fetched += transfer_once.run(progress)
        again = transfer_once.again
        if again:
            progress(-sum(file.bytes for file in again))  # they come a second time
    return fetched


def arrived_bytes(part: Path) -> int:
    """Return the bytes that a part file takes on the disk; 0 where there is none."""
    try:
        return part.stat().st_blocks * 512
    except FileNotFoundError:
        return 0


class _Part:
    """A file on its way: its bytes, then one byte per MiB of them that says whether it has arrived."""

    def __init__(self, file: Arriving) -> None:
        self.file = file
        self._units = -(-file.bytes // _UNIT_BYTES)
        self._hash, self._hashed = hashlib.sha256(), 0  # in order, up to this byte
        self._lock, self._is_hashing = threading.Lock(), False
        with naming(file.part):
            self._handle = os.open(file.part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            found, size = os.fstat(self._handle).st_size, file.bytes + self._units
            if found == file.bytes:  # all had arrived, and its end was cut off already
                self._write(b"\1" * self._units, file.bytes)
            elif found != size:
                os.ftruncate(self._handle, 0)
                os.ftruncate(self._handle, size)
            self._arrived = bytearray(os.pread(self._handle, self._units, file.bytes))
        self.there = sum(self._size_of(unit) for unit in range(self._units) if self._arrived[unit])

    def pieces(self, piece_bytes: int) -> Iterator[tuple[int, int]]:
        """Yield offset and length of what is missing; at least one, if of no length, so that somebody ends the file."""
        units, unit, is_whole = piece_bytes // _UNIT_BYTES, 0, True
        while unit < self._units:
            end = unit
            while end < min(unit + units, self._units) and not self._arrived[end]:
                end += 1
            if end > unit:
                is_whole = False
                yield unit * _UNIT_BYTES, min(end * _UNIT_BYTES, self.file.bytes) - unit * _UNIT_BYTES
            unit = max(end, unit + 1)
        if is_whole:
            yield 0, 0

    def add(self, offset: int, data: bytes | memoryview) -> bool:
        """Write a piece, and hash what can be hashed; True for the one caller after whom all is hashed."""
        with naming(self.file.part):
            self._write(data, offset)
            first, last = offset // _UNIT_BYTES, -(-(offset + len(data)) // _UNIT_BYTES)
            self._write(b"\1" * (last - first), self.file.bytes + first)
        with self._lock:
            self._arrived[first:last] = b"\1" * (last - first)
            if self._is_hashing:
                return False
            self._is_hashing = True
        return self._hash_on(offset, data)

    def end(self) -> str:
        """Make the file whole, and return its sha256; its name is still that of the part."""
        with naming(self.file.part):
            os.ftruncate(self._handle, self.file.bytes)
            # the file system's own clock ticks too slowly to tell this from a change a moment later
            os.utime(self._handle, ns=(now := time.time_ns(), now))
            os.fdatasync(self._handle)
        self.close()
        return self._hash.hexdigest()

    def close(self) -> None:
        """Close the file, while nobody writes to it."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def _hash_on(self, offset: int, data: bytes | memoryview) -> bool:
        """Hash, as far as all before it has arrived; what is not at hand is read back from the part file."""
        while True:
            with self._lock:
                unit = end = self._hashed // _UNIT_BYTES if self._hashed < self.file.bytes else self._units
                while end < self._units and self._arrived[end]:
                    end += 1
                if end == unit:
                    self._is_hashing = False
                    return self._hashed == self.file.bytes
            if self._hashed == offset and data:
                block = memoryview(data)
            else:
                with naming(self.file.part):
                    block = memoryview(os.pread(self._handle, self._size_of(unit), self._hashed))
            self._hash.update(block)
            self._hashed += len(block)

    def _size_of(self, unit: int) -> int:
        return min(_UNIT_BYTES, self.file.bytes - unit * _UNIT_BYTES)

    def _write(self, data: bytes | memoryview, offset: int) -> None:
        left = memoryview(data)
        while left:
            written = os.pwrite(self._handle, left, offset)
            left, offset = left[written:], offset + written


class _Transfer:
    """One run over some files.

    Attributes:
        again: files of which a part was there, and which turned out to be something else; they are to be fetched anew.
    """

    def __init__(self, origin: Origin, files: Iterable[Arriving], connections: int) -> None:
        self.again: list[Arriving] = []
        self._origin = origin
        files = list(files)
        missing = sum(file.bytes for file in files)
        share = missing // (connections * _ROUNDS) // _UNIT_BYTES * _UNIT_BYTES
        self._piece_bytes = max(_UNIT_BYTES, min(share, _LARGEST_PIECE))
        self._connections = connections
        self._told: queue.SimpleQueue[tuple[int, int] | BaseException | None] = queue.SimpleQueue()
        self._open: set[_Part] = set()
        self._lock, self._stop = threading.Lock(), threading.Event()
        self._pieces = self._cut(files)

    def run(self, progress: Callable[[int], None]) -> int:
        """Bring all files; return the bytes that were fetched."""
        threads = [
            threading.Thread(target=begun(self._work), name=f"pull-{number}", daemon=True)
            for number in range(self._connections)
        ]
        for thread in threads:
            thread.start()
        working, fetched = len(threads), 0
        try:
            while working:
                told = self._told.get()
                if isinstance(told, BaseException):
                    raise told
                if told is None:
                    working -= 1
                    continue
                there, new = told
                fetched += new
                progress(there + new)
        finally:
            self._stop.set()
            give_up_if_interrupted()
            for thread in threads:
                thread.join()
            for part in self._open:
                part.close()
        return fetched

    def _cut(self, files: Iterable[Arriving]) -> Iterator[tuple[_Part, int, int]]:
        """Yield the pieces of all files, one file after another; a file is opened when its first piece is due."""
        for file in files:
            part = _Part(file)
            self._open.add(part)
            if part.there:
                self._told.put((part.there, 0))
            for offset, length in part.pieces(self._piece_bytes):
                yield part, offset, length

    def _work(self) -> None:
        """Fetch pieces until there are none, one has failed, or this run is to stop."""
        try:
            while not self._stop.is_set():
                with self._lock:
                    piece = next(self._pieces, None)
                if piece is None:
                    break
                part, offset, length = piece
                is_whole = part.add(offset, self._fetch(part.file, offset, length))
                if is_whole:
                    self._end(part)
                self._told.put((0, length))
        except BaseException as error:  # raised again in the thread that asked for the files
            self._stop.set()
            self._told.put(error)
        finally:
            self._told.put(None)

    def _fetch(self, file: Arriving, offset: int, length: int) -> bytes | memoryview:
        if not length:
            return b""
        try:
            data = self._origin.get_range(file.key, offset, length)
        except ObjectMissingError as error:
            raise self._origin.explain_missing(file.key) from error
        except (AccessDeniedError, ObjectArchivedError):
            raise
        except StoreRefusedError as error:
            found = self._origin.head(file.key)
            if found is None or found[0] >= offset + length:
                raise
            raise self._cut_off(file, found[0]) from error
        if len(data) != length:
            raise self._cut_off(file, offset + len(data))
        return data

    def _cut_off(self, file: Arriving, size: int) -> IntegrityError:
        return IntegrityError(
            f"{self._origin.url_of(file.key)} has {size:,} bytes, and its manifest states {file.bytes:,}; run verify, or roll "
            "back"
        )

    def _end(self, part: _Part) -> None:
        file = part.file
        digest = part.end()
        with self._lock:
            self._open.discard(part)
        if file.sha256 in (None, digest):
            file.part.replace(file.whole)
            return
        file.part.unlink()
        if part.there:
            _log.warning(
                "%s: what an earlier pull left of it is damaged; fetching it anew", self._origin.url_of(file.key)
            )
            self.again.append(file)
            return
        raise IntegrityError(
            f"{self._origin.url_of(file.key)} has not the sha256 that its manifest states; pull again, or run verify"
        )
