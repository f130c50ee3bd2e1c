"""file://: a directory of files as a store.

In: a directory.  Out: a `Store` whose files are seen whole or not at all, as in the other stores; its own temporary
files and locks have names that start with `.aesthetics-ops-`, and are no objects.
"""
# ruff: noqa: D102 - what the methods do stands in contract.py

import errno
import fcntl
import os
import shutil
import stat
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final
from urllib.parse import quote

import pyarrow as pa

from aesthetics_ops.errors import AccessDeniedError, ObjectMissingError, StoreRefusedError
from aesthetics_ops.machine import sync
from aesthetics_ops.store.contract import Store, StoredObject
from aesthetics_ops.store.listing import listing
from aesthetics_ops.store.transfers import exactly, removed_on_failure
from aesthetics_ops.system import next_step

__all__ = ["DirectoryStore"]

_BLOCK_BYTES = 16 << 20
_OWN_FILES = ".aesthetics-ops-"
_LEADS_NOWHERE: Final = frozenset({errno.ENOENT, errno.ELOOP})  # a link; or the file was deleted just now
# what a file system without hard links answers
_NO_LINKS: Final = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK})


class DirectoryStore(Store):
    """A directory of files, which are seen whole or not at all, as in the other stores."""

    is_local = True

    def __init__(self, root: Path) -> None:
        self._root = root
        self.url = root.as_uri().removesuffix("/") + "/"

    def url_of(self, key: str) -> str:
        return self.url + quote(key)

    def check(self) -> None:
        with self._explained(""):
            self._is_there()

    def list(self, prefix: str = "", *, scratch: Path | None = None) -> pa.Table:
        top = self._path(prefix.rstrip("/")) if prefix else self._root
        with self._explained(prefix):
            if self._is_there() and top.is_dir():
                return listing(0, self._files(top, prefix, frozenset()), scratch)
            return listing(0, iter(()))

    def get(self, key: str) -> StoredObject:
        with self._explained(key):
            descriptor, size = self._descriptor(key)
            try:
                return StoredObject(key, _read_first(descriptor, size), _file_etag(os.fstat(descriptor)))
            finally:
                os.close(descriptor)

    def get_first(self, key: str, most: int) -> bytes:
        with self._explained(key):
            descriptor, size = self._descriptor(key)
            try:
                return _read_first(descriptor, size, most)
            finally:
                os.close(descriptor)

    def get_range(self, key: str, offset: int, length: int) -> bytes:
        with self._explained(key), self._opened(key) as file:
            file.seek(offset)
            return exactly(self.url_of(key), file.read(length), offset, length)

    def download(self, key: str, path: Path) -> None:
        with self._explained(key):
            source = self._opened(key)
        with source, removed_on_failure(path), path.open("wb") as target:
            while block := source.read(_BLOCK_BYTES):
                target.write(block)

    def local_path(self, key: str) -> Path | None:
        return self._path(key)

    def head(self, key: str) -> tuple[int, str] | None:
        try:
            with self._explained(key), self._opened(key) as file:
                found = os.fstat(file.fileno())
        except ObjectMissingError:
            return None
        return found.st_size, _file_etag(found)

    def put(self, key: str, data: bytes | memoryview) -> None:
        with self._explained(key, writes=True), self._written(key, data) as new:
            new.replace(self._path(key))

    def upload(self, key: str, path: Path) -> None:
        path = path.resolve(strict=True)  # a missing local file is the caller's error, not the store's
        with self._explained(key, writes=True), self._written(key, path) as new:
            new.replace(self._path(key))

    def delete(self, keys: Iterable[str]) -> None:
        for key in keys:
            with self._explained(key, writes=True), suppress(NotADirectoryError):  # below a file: no object
                self._path(key).unlink(missing_ok=True)

    def _put_if(self, key: str, data: bytes, expected_etag: str | None, attempt: int) -> bool:
        path = self._path(key)
        with self._explained(key, writes=True), self._written(key, data) as new:
            if expected_etag is None:
                if not _given_name(path, new):
                    return False
            else:
                with _locked(path.parent):
                    found = self.head(key)
                    if not found or found[1] != expected_etag:
                        return False
                    new.replace(path)
            sync(path.parent)
        return True

    def _path(self, key: str) -> Path:
        return Path(self._path_text(key))

    def _path_text(self, key: str) -> str:
        """Return the path of a key's file; objects of paths take longer than the file's opening."""
        parts = key.split("/")
        if "\0" in key or any(part in ("", ".", "..") or part.startswith(_OWN_FILES) for part in parts):
            raise StoreRefusedError(
                f"{self.url_of(key)!r} cannot be a file; use keys without empty, '.' or '..' segments, without "
                f"NUL, and without names that start with {_OWN_FILES!r}"
            )
        return os.path.join(self._root, key)  # noqa: PTH118 - see above

    def _opened(self, key: str) -> BinaryIO:
        return os.fdopen(self._descriptor(key)[0], "rb")

    def _descriptor(self, key: str) -> tuple[int, int]:
        """Open a regular file, without waiting for whoever might write into a pipe; return it and its size in bytes."""
        path = self._path_text(key)
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        except NotADirectoryError as error:  # below a file: no object
            raise FileNotFoundError(error.errno, error.strerror, error.filename) from error
        found = os.fstat(descriptor)
        if stat.S_ISREG(found.st_mode):
            return descriptor, found.st_size
        os.close(descriptor)
        if stat.S_ISDIR(found.st_mode):  # above files: no object
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        raise StoreRefusedError(f"{self.url_of(key)!r} is a device or a pipe; name a regular file")

    def _is_there(self) -> bool:
        """Say whether the directory is there; one that is not yet is an empty store."""
        try:
            os.scandir(self._root).close()
        except FileNotFoundError:
            if _in_the_way(self._root) is not None:
                raise
            return False
        return True

    def _files(self, directory: Path, prefix: str, above: frozenset[tuple[int, int]]) -> Iterator[tuple[str, int, str]]:
        here = directory.stat()
        above |= {(here.st_dev, here.st_ino)}
        with os.scandir(directory) as entries:
            for entry in entries:
                if entry.name.startswith(_OWN_FILES):
                    continue
                try:
                    found = entry.stat()
                except OSError as error:
                    if error.errno not in _LEADS_NOWHERE:
                        raise
                    continue
                # a name that is not UTF-8 is listed escaped, so that it is counted as missing and not overlooked
                key = prefix + os.fsencode(entry.name).decode("utf-8", "backslashreplace")
                if stat.S_ISREG(found.st_mode):
                    yield key, found.st_size, _file_etag(found)
                elif stat.S_ISDIR(found.st_mode) and (found.st_dev, found.st_ino) not in above:
                    yield from self._files(directory / entry.name, key + "/", above)

    @contextmanager
    def _written(self, key: str, content: bytes | memoryview | Path) -> Iterator[Path]:
        """Give a complete temporary file beside the key's own, and remove it unless it was moved there."""
        path = self._path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.parent / f"{_OWN_FILES}{uuid.uuid4().hex}"
        try:
            if isinstance(content, Path):
                _link_or_copy(content, new)
            else:
                new.write_bytes(content)
            sync(new)
            # the file system's own clock ticks too slowly to tell two quick writes apart
            os.utime(new, ns=(now := time.time_ns(), now))
            yield new
        finally:
            new.unlink(missing_ok=True)

    @contextmanager
    def _explained(self, key: str, *, writes: bool = False) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            url = self.url_of(key)
            what = _in_the_way(self._path(key).parent if writes else self._root)
            if what is not None:
                raise StoreRefusedError(f"{url!r} cannot be used: {what}; name another place") from error
            if isinstance(error, FileNotFoundError) and not writes:
                raise ObjectMissingError(f"{url!r} does not exist; check the name, or list the prefix") from error
            if isinstance(error, PermissionError):
                there = next(path for path in (Path(error.filename), *Path(error.filename).parents) if _exists(path))
                raise AccessDeniedError(
                    f"access to {url!r} is denied; check the owner and mode of {str(there)!r}"
                ) from error
            raise StoreRefusedError(f"{url!r} cannot be used: {_reason(error)}") from error


def _in_the_way(directory: Path) -> str | None:
    """Say what stands where a directory, or one above it, should be; None where nothing does."""
    for path in (directory, *directory.parents):
        if _exists(path):
            if path.is_symlink() and not path.exists():
                return f"{str(path)!r} is a link that leads nowhere"
            return None if path.is_dir() else f"{str(path)!r} is not a directory"
    return None


def _exists(path: Path) -> bool:
    try:
        path.lstat()
    except OSError:
        return False
    return True


def _reason(error: OSError) -> str:
    """Say what is wrong with which file, in words that fit the error."""
    name = error.filename if error.filename2 is None else error.filename2  # of a rename, where it should go
    if isinstance(error, FileNotFoundError):  # of a file that was to be made
        return f"{str(Path(name).parent)!r} lets nothing be made in it, or is being deleted; name another place"
    return f"{name!r}: {next_step(error)}"


def _read_first(descriptor: int, size: int, most: int | None = None) -> bytes:
    """Read `most` bytes of a file, or all to its end, which is most often where its size says, by as few calls as can be.

    Each call lets go of the interpreter's lock, and many threads wait for that.
    """
    data = os.read(descriptor, size + 1 if most is None else min(most, size + 1))
    if len(data) in (size, most):
        return data
    parts, left = [data], None if most is None else most - len(data)
    while part := os.read(descriptor, _BLOCK_BYTES if left is None else min(left, _BLOCK_BYTES)):
        parts.append(part)
        left = None if left is None else left - len(part)
    return b"".join(parts)


def _given_name(path: Path, new: Path) -> bool:
    """Give a new file its name unless there is one of that name; return whether it got it."""
    try:
        path.hardlink_to(new)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        # every writer of this file system comes here
        with _locked(path.parent):
            if path.exists():
                return False
            new.replace(path)
    return True


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    with (directory / f"{_OWN_FILES}lock").open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _link_or_copy(source: Path, new: Path) -> None:
    """Give a file a second name; where that cannot be, on another file system for example, copy it."""
    try:
        new.hardlink_to(source)
    except OSError:
        shutil.copyfile(source, new)


def _file_etag(found: os.stat_result) -> str:
    return f"{found.st_mtime_ns:x}-{found.st_size:x}-{found.st_ino:x}"
