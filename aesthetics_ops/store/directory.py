"""file://: a directory of files as a store.

In: a directory.  Out: a `Store` whose files are seen whole or not at all, as in the other stores; its own temporary
files and locks have names that start with `.aesthetics-ops-`, and are no objects.
"""
# ruff: noqa: D102 - what the methods do stands in contract.py

import fcntl
import os
import shutil
import stat
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

import pyarrow as pa

from aesthetics_ops.errors import AccessDeniedError, ObjectMissingError, StoreRefusedError
from aesthetics_ops.store.contract import Store, StoredObject
from aesthetics_ops.store.listing import in_key_order, listing
from aesthetics_ops.store.transfers import exactly, removed_on_failure

__all__ = ["DirectoryStore"]

_BLOCK_BYTES = 16 << 20
_OWN_FILES = ".aesthetics-ops-"


class DirectoryStore(Store):
    """A directory of files, which are seen whole or not at all, as in the other stores."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.url = root.as_uri().rstrip("/") + "/"

    def url_of(self, key: str) -> str:
        return self.url + quote(key)

    def check(self) -> None:
        with self._explained(""):
            if self._root.exists():
                os.scandir(self._root).close()

    def list(self, prefix: str = "") -> pa.Table:
        top = self._path(prefix.rstrip("/")) if prefix else self._root
        with self._explained(prefix):
            return (
                in_key_order(listing(0, self._files(top, prefix, frozenset())))
                if top.exists()
                else listing(0, iter(()))
            )

    def get(self, key: str) -> StoredObject:
        with self._explained(key), self._opened(key) as file:
            return StoredObject(key, file.read(), _file_etag(os.fstat(file.fileno())))

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

    def head(self, key: str) -> tuple[int, str] | None:
        try:
            with self._explained(key), self._opened(key) as file:
                found = os.fstat(file.fileno())
        except ObjectMissingError:
            return None
        return found.st_size, _file_etag(found)

    def put(self, key: str, data: bytes | memoryview) -> None:
        with self._explained(key), self._written(key, data) as new:
            new.replace(self._path(key))

    def upload(self, key: str, path: Path) -> None:
        path = path.resolve(strict=True)  # a missing local file is the caller's error, not the store's
        with self._explained(key), self._written(key, path) as new:
            new.replace(self._path(key))

    def delete(self, keys: Iterable[str]) -> None:
        for key in keys:
            with self._explained(key):
                self._path(key).unlink(missing_ok=True)

    def _put_if(self, key: str, data: bytes, expected_etag: str | None, attempt: int) -> bool:
        path = self._path(key)
        with self._explained(key), self._written(key, data) as new:
            if expected_etag is None:
                try:
                    path.hardlink_to(new)
                except FileExistsError:
                    return False
            else:
                with _locked(path.parent):
                    found = self.head(key)
                    if not found or found[1] != expected_etag:
                        return False
                    new.replace(path)
            _sync(path.parent)
        return True

    def _path(self, key: str) -> Path:
        parts = key.split("/")
        if "\0" in key or any(part in ("", ".", "..") or part.startswith(_OWN_FILES) for part in parts):
            raise StoreRefusedError(
                f"{self.url_of(key)!r} cannot be a file; use keys without empty, '.' or '..' segments, without "
                f"NUL, and without names that start with {_OWN_FILES!r}"
            )
        return self._root.joinpath(*parts)

    def _opened(self, key: str) -> BinaryIO:
        try:
            return self._path(key).open("rb")
        except (IsADirectoryError, NotADirectoryError) as error:  # below a file, or above files: no object
            raise FileNotFoundError(error.errno, error.strerror, error.filename) from error

    def _files(self, directory: Path, prefix: str, above: frozenset[tuple[int, int]]) -> Iterator[tuple[str, int, str]]:
        here = directory.stat()
        above |= {(here.st_dev, here.st_ino)}
        with os.scandir(directory) as entries:
            for entry in entries:
                if entry.name.startswith(_OWN_FILES):
                    continue
                try:
                    found = entry.stat()
                except FileNotFoundError:  # a link to nowhere, or deleted just now
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
            _sync(new)
            # the file system's own clock ticks too slowly to tell two quick writes apart
            os.utime(new, ns=(now := time.time_ns(), now))
            yield new
        finally:
            new.unlink(missing_ok=True)

    @contextmanager
    def _explained(self, key: str) -> Iterator[None]:
        url = self.url_of(key)
        try:
            yield
        except FileNotFoundError as error:
            raise ObjectMissingError(f"{url!r} does not exist; check the name, or list the prefix") from error
        except PermissionError as error:
            raise AccessDeniedError(
                f"access to {url!r} is denied; check the owner and mode of {error.filename!r}"
            ) from error
        except OSError as error:
            raise StoreRefusedError(
                f"{url!r} cannot be used: {error.strerror}; correct the path, or free some space"
            ) from error


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


def _sync(path: Path) -> None:
    """Wait until a file's content, or a directory's names, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _file_etag(found: os.stat_result) -> str:
    return f"{found.st_mtime_ns:x}-{found.st_size:x}-{found.st_ino:x}"
