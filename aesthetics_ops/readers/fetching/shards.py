"""The bytes of framed records in files, by positioned reads; a mapped file that is cut would be SIGBUS.

In: rows of a split's index.  Out: the bytes of their records.
Promised: threads may read at once, and so may processes that were forked.
"""

import errno
import os
import resource
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from aesthetics_ops.dataset.manifest import Shard
from aesthetics_ops.errors import IntegrityError
from aesthetics_ops.readers.fetching.index import Index

__all__ = ["NOT_OURS", "Buffer", "Coming", "Files", "LocalShards", "Place", "ShardBytes", "places_of"]

_SHARE: Final = (
    4  # of the files that this process may have open, one in four; those after these are opened for each read
)
_READ_ONLY: Final = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
# What writing says where this user may not; EBADF where a file that may only be read was opened so.
NOT_OURS: Final = _READ_ONLY | {errno.EBADF, errno.ENOTDIR, errno.EEXIST}
_open: Final[set[int]] = set()  # handles that all `Files` of this process keep; a forked child inherits both

Buffer = bytes | memoryview


class Place(NamedTuple):
    """Where a framed record lies.

    Attributes:
        shard: number of the shard in its split.
        offset: bytes before the record.
        length: bytes of the record.
    """

    shard: int
    offset: int
    length: int


class Coming(NamedTuple):
    """Records on their way.

    Attributes:
        get: waits for the framed record with a number, and gives its bytes.
        cancel: gives up what was not begun yet; who still waits for it gets a CancelledError.
    """

    get: Callable[[int], Buffer]
    cancel: Callable[[], None]


def places_of(index: Index, rows: NDArray[np.int64]) -> list[Place]:
    """Return the places of some rows."""
    columns = (index.shards[rows].tolist(), index.offsets[rows].tolist(), index.lengths[rows].tolist())
    return list(map(Place, *columns))


class ShardBytes(ABC):
    """The shards of one split, wherever they lie."""

    @abstractmethod
    def ask(self, rows: NDArray[np.int64]) -> Coming:
        """Begin to fetch records, and return what gives the bytes of each by its number in `rows`.

        It raises IntegrityError where there are fewer bytes than there should be.
        """

    def again(self, row: int) -> Buffer | None:
        """Return a record's bytes anew after the ones that were kept here proved damaged; None where there is no other place."""
        return None

    @abstractmethod
    def close(self) -> None:
        """Let go of files and connections, while nobody reads; a later use opens them again."""


class Files:
    """Open files, one per shard, for positioned reads.

    Handles are opened when they are first needed, and closed when nobody has the object any more.  A forked child may go on
    with those it inherits: a positioned read moves nothing that they share.  A file that may only be read is opened so.
    """

    def __init__(self, paths: Sequence[Path], flags: int = os.O_RDONLY) -> None:
        self._paths, self._flags = tuple(paths), flags | os.O_CLOEXEC
        self._handles: dict[int, int] = {}
        self._renew()

    @property
    def paths(self) -> tuple[Path, ...]:
        """Where the files lie."""
        return self._paths

    def read(self, place: Place) -> bytes:
        """Return the bytes at a place, fewer where the file ends.

        Raises:
            OSError: the file cannot be opened or read.
        """
        shard, offset, length = place
        with self.handle(shard) as handle:
            data = os.pread(handle, length, offset)
            while len(data) < length and (more := os.pread(handle, length - len(data), offset + len(data))):
                data += more
        return data

    def handle(self, number: int) -> "_Handle":
        """Return a context that gives the handle of a file.

        Raises:
            OSError: the file cannot be opened.
        """
        handle = self._handles.get(number)
        if handle is not None:
            return _Handle(handle, is_kept=True)
        if self._process != os.getpid():
            self._renew()  # another thread of the parent may have held the lock
        with self._lock:
            handle = self._handles.get(number)
            if handle is None:
                handle = self._opened(self._paths[number])
                if len(_open) >= _most_open():
                    return _Handle(handle, is_kept=False)
                _open.add(handle)
                self._handles[number] = handle
        return _Handle(handle, is_kept=True)

    def close(self) -> None:
        """Close every file, while nobody reads."""
        handles, self._handles = self._handles, {}
        for handle in handles.values():
            _open.discard(handle)
            os.close(handle)

    def __del__(self) -> None:
        if os is not None:  # at the interpreter's end the system closes them
            self.close()

    def _opened(self, path: Path) -> int:
        try:
            return os.open(path, self._flags, 0o666)
        except OSError as error:
            if error.errno not in _READ_ONLY or not self._flags & os.O_RDWR:
                raise
            with suppress(OSError):
                return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            raise

    def _renew(self) -> None:
        self._lock, self._process = threading.Lock(), os.getpid()

    def __reduce__(self) -> tuple[object, ...]:
        return Files, (self._paths, self._flags)


class _Handle:
    """A file's handle, closed at the end of a `with` block unless it is kept."""

    __slots__ = ("_handle", "_is_kept")

    def __init__(self, handle: int, *, is_kept: bool) -> None:
        self._handle, self._is_kept = handle, is_kept

    def __enter__(self) -> int:
        return self._handle

    def __exit__(self, *_: object) -> None:
        if not self._is_kept:
            os.close(self._handle)


class LocalShards(ShardBytes):
    """Shards on a disk of this machine."""

    def __init__(self, index: Index, files: Sequence[Path], shards: Sequence[Shard]) -> None:
        """Look at the files.

        Args:
            index: of the split.
            files: one per shard.
            shards: what the manifest says of them.

        Raises:
            IntegrityError: a file is missing, or has not the size that the manifest states.
        """
        self._index, self._files = index, Files(files)
        for file, shard in zip(files, shards, strict=True):
            _check_size(file, shard.bytes)

    def ask(self, rows: NDArray[np.int64]) -> Coming:
        """Let the system read the records from the disk, and return what takes them from its cache."""
        places = places_of(self._index, rows)
        for place in places:
            self._advise(place)
        return Coming(lambda number: self._read(places[number]), lambda: None)

    def read_ahead(self) -> None:
        """Have the system read every file into its memory, in the background."""
        threading.Thread(target=self._read_ahead, name="read-ahead", daemon=True).start()

    def close(self) -> None:
        """Close the files."""
        self._files.close()

    def _read_ahead(self) -> None:
        for path in self._files.paths:
            with suppress(OSError), path.open("rb") as file:  # a reader says what is wrong
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_WILLNEED)

    def _advise(self, place: Place) -> None:
        try:
            with self._files.handle(place.shard) as handle:
                os.posix_fadvise(handle, place.offset, place.length, os.POSIX_FADV_WILLNEED)
        except OSError as error:
            raise _unreadable(self._files.paths[place.shard], error) from error

    def _read(self, place: Place) -> bytes:
        path = self._files.paths[place.shard]
        try:
            found = self._files.read(place)
        except OSError as error:
            raise _unreadable(path, error) from error
        if len(found) < place.length:
            raise IntegrityError(
                f"{path} ends after {place.offset + len(found):,} bytes, inside the record at byte {place.offset:,}; "
                "run pull again"
            )
        return found


def _check_size(file: Path, size: int) -> None:
    try:
        found = file.stat().st_size
    except OSError as error:
        raise _unreadable(file, error) from error
    if found != size:
        raise IntegrityError(f"{file} has {found:,} bytes, but its manifest states {size:,}; run pull again")


def _unreadable(file: Path, error: OSError) -> IntegrityError:
    way = "check its owner and mode" if error.errno in _READ_ONLY else "run pull again"
    return IntegrityError(f"{file} cannot be read: {error.strerror}; {way}")


def _most_open() -> int:
    """Return how many handles all `Files` of this process may keep."""
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 1 << 16 if most == resource.RLIM_INFINITY else most // _SHARE
