"""What an error of the operating system means, and what to do about it: its errno decides the words."""

import errno
from typing import Final

__all__ = ["next_step"]

# The file is named before it.
_NEXT_STEPS: Final[dict[int, str]] = {
    errno.EEXIST: "it is in the way, and not a directory; move it away, or name another directory",
    errno.ENOTDIR: "it is in the way, and not a directory; move it away, or name another directory",
    errno.EISDIR: "a directory is in the way of a file; move it away, or name another directory",
    errno.ENOTEMPTY: "a directory is in the way of a file; move it away, or name another directory",
    errno.EACCES: "access is denied; check its owner and mode, or name another place",
    errno.EPERM: "access is denied; check its owner and mode, or name another place",
    errno.EROFS: "its file system is read-only; name another place",
    errno.ENAMETOOLONG: "the name is too long for its file system; name a shorter one",
    errno.ENOENT: "it does not exist; check the name",
    errno.ELOOP: "its links lead in a circle; name another place",
    errno.ENOSPC: "its disk is full; free some space, and run the same command again",
    errno.EDQUOT: "the disk quota is used up; free some space, and run the same command again",
    errno.EFBIG: "the file is larger than its file system or `ulimit -f` allows; name another place",
    errno.ENFILE: "too many files are open on this machine; end other programs",
    errno.EMFILE: "too many files are open; raise `ulimit -n`",
    errno.EIO: "the device cannot read or write it; check the disk",
    errno.ESTALE: "the server of its network file system does not know it any more; mount it again",
    errno.EBADF: "it is closed, so the command's output cannot be written",
}


def next_step(error: OSError) -> str:
    """Return what happened to a file and what to do, to be read after the file's name."""
    known = _NEXT_STEPS.get(error.errno or 0)
    return known or f"{error.strerror or error}; check the disk and the file"
