"""One pull at a time in a directory.

In: a directory.  Out: a lock on it, which the system ends with the process; or a warning, where the file system knows no locks.
"""

import errno
import fcntl
import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final

__all__ = ["LOCK", "locked"]

_log = logging.getLogger(__name__)

LOCK: Final = ".aesthetics-ops-lock"
_READ_ONLY: Final = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})
_NO_LOCKS: Final = frozenset({errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EINVAL})


@contextmanager
def locked(directory: Path) -> Iterator[bool]:
    """Wait until no other process pulls into a directory; the system ends the lock of a process that dies.

    Gives False where the file system knows no locks.
    """
    with _lock_file(directory) as lock:
        try:
            _wait_for(lock.fileno(), directory)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            _log.warning("%s: its file system knows no locks; let one pull at a time write there", directory)
            yield False
        else:
            yield True


def _lock_file(directory: Path) -> BinaryIO:
    try:
        return (directory / LOCK).open("ab")
    except OSError as error:
        if error.errno not in _READ_ONLY or not (directory / LOCK).exists():
            raise
        return (directory / LOCK).open("rb")  # what is whole can be found whole where nothing may be written


def _wait_for(lock: int, directory: Path) -> None:
    with suppress(BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return
    _log.warning("%s: another pull is at work there; waiting for it", directory)
    fcntl.flock(lock, fcntl.LOCK_EX)
