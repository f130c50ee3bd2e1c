"""The object store's narrow door: s3://, file://, memory://, and what obstore brings along, gs:// and az://.

In: the URL of a prefix.  Out: a `Store`, whose keys are relative to that prefix.
Promised: a listing is in key order and complete; no read is ever short; a write is seen whole or not at all; errors
are `ObjectMissingError`, `StoreRefusedError` and `StoreUnavailableError`, with the URL and the next step, and no
secret.  A local file that cannot be read or written (`download`, `upload`) raises OSError as usual.
Use a store in one process only: its first use starts threads that a forked child lacks, so the child is refused.

Bulk bytes and listings go through obstore, at a tenth of boto3's cost.  What obstore cannot do on S3 goes through
boto3 (`s3.py`): checks, conditional writes, and odd keys (`//`, `.` and `..` segments, control characters, a slash at
either end).  A key that ends in `/` is a marker that S3 browsers write for a directory, not an object: an empty one
is left out of listings.
"""

import contextlib
import fcntl
import os
import re
import stat
import threading
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import Enum
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote, unquote

import obstore
import obstore.exceptions
import pyarrow as pa
import pyarrow.compute as pc
from obstore.store import AzureStore, GCSStore, MemoryStore, ObjectStore

from aesthetics_ops.errors import (
    AestheticsOpsError,
    ObjectMissingError,
    PermanentError,
    StoreRefusedError,
    StoreUnavailableError,
)
from aesthetics_ops.s3 import CLIENT_OPTIONS, RETRY_CONFIG, S3Access, S3Bucket, explain_answer, is_odd

__all__ = ["S3Access", "Store", "StoredObject", "Swap", "open_store"]

_LISTING = pa.schema([("key", pa.string()), ("size", pa.int64()), ("etag", pa.string())])
_PART_BYTES = 16 << 20
_PARTS_AT_ONCE = 4
_LIST_PAGE = 1000
_CONDITIONAL_ATTEMPTS = 4
_OWN_FILES = ".aesthetics-ops-"


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
        data: its bytes.
        etag: what the store calls this content, without quotes.
    """

    key: str
    data: bytes
    etag: str


class Store(ABC):
    """The objects below one prefix.  Every method may be called from many threads at once.

    Attributes:
        url: of the prefix; ends with `/`.

    Every method may raise `StoreRefusedError` (the store says no, and will again) and `StoreUnavailableError` (no
    answer, or "not now"); reading a key that does not exist raises `ObjectMissingError`.
    """

    url: str

    def url_of(self, key: str) -> str:
        """Return the full URL of a key."""
        return self.url + key

    @abstractmethod
    def check(self) -> None:
        """Make sure that the store is there and readable; a prefix without objects is fine."""

    @abstractmethod
    def list(self, prefix: str = "") -> pa.Table:
        """Return all objects whose key starts with a prefix.

        Args:
            prefix: empty, or ends with `/`.

        Returns:
            Columns key (string), size (int64, bytes), etag (string, no quotes); ordered by key, as UTF-8 bytes.
        """

    @abstractmethod
    def get(self, key: str) -> StoredObject:
        """Return a whole object."""

    @abstractmethod
    def get_range(self, key: str, offset: int, length: int) -> bytes:
        """Return exactly these bytes of an object; a range that ends beyond it is refused."""

    @abstractmethod
    def download(self, key: str, path: Path) -> None:
        """Copy an object to a local file; what a failed copy leaves is removed."""

    @abstractmethod
    def head(self, key: str) -> tuple[int, str] | None:
        """Return an object's size in bytes and ETag, or None when there is none."""

    @abstractmethod
    def put(self, key: str, data: bytes | memoryview) -> None:
        """Write an object."""

    @abstractmethod
    def upload(self, key: str, path: Path) -> None:
        """Write an object from a local file, a large one in parallel parts."""

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
        if lost is not None:
            raise lost
        return Swap.REFUSED

    def _read_back(self, key: str) -> StoredObject | None:
        try:
            return self.get(key)
        except ObjectMissingError:
            return None


def open_store(url: str, *, s3: S3Access | None = None) -> Store:
    """Open the prefix that a URL names.  Nothing is asked of the store yet.

    Args:
        url: s3://bucket/prefix/, file:///directory/, memory://name/prefix/, gs://bucket/prefix/ or
            az://container/prefix/.  A file URL is percent-decoded, the others are taken as they are.  One memory
            name is one store throughout the process.  For gs and az, credentials come from the environment.
        s3: how to reach s3:// URLs; None leaves it to boto3: environment, profile, AWS_ENDPOINT_URL.

    Raises:
        StoreRefusedError: not such a URL.
    """
    scheme, separator, rest = url.partition("://")
    if scheme == "file" and rest.removeprefix("localhost").startswith("/"):
        return _Directory(Path(unquote(rest.removeprefix("localhost"))))
    root, _, prefix = rest.partition("/")
    if not separator or not root or scheme not in ("s3", "memory", "gs", "az"):
        raise StoreRefusedError(
            f"{url!r} is not a store; write s3://bucket/prefix/, file:///directory/, memory://name/, gs:// or az://"
        )
    if prefix and not prefix.endswith("/"):
        prefix += "/"
    where = f"{scheme}://{root}/"
    if scheme == "s3":
        return _S3(where, prefix, S3Bucket(root, s3))
    makers: dict[str, Callable[[], ObjectStore]] = {
        "memory": lambda: _memory(root),
        "gs": lambda: GCSStore(root, client_options=CLIENT_OPTIONS, retry_config=RETRY_CONFIG),
        "az": lambda: AzureStore(root, client_options=CLIENT_OPTIONS, retry_config=RETRY_CONFIG),
    }
    return _Native(where, prefix, makers[scheme])


_memories: dict[str, MemoryStore] = {}
_memories_lock = threading.Lock()


def _memory(name: str) -> MemoryStore:
    with _memories_lock:
        return _memories.setdefault(name, MemoryStore())


_process_of_first_use: int | None = None


def _refuse_after_fork() -> None:
    """Raise in a process forked from one that has used obstore: its calls would wait for threads that are not there."""
    global _process_of_first_use
    if _process_of_first_use is None:
        _process_of_first_use = os.getpid()
    elif _process_of_first_use != os.getpid():
        raise PermanentError(
            f"process {os.getpid()} was forked after process {_process_of_first_use} had used a store, so its calls "
            "would hang; start workers by spawn or forkserver, or use no store before the fork"
        )


class _Native(Store):
    """A store that obstore speaks to."""

    def __init__(self, where: str, prefix: str, make: Callable[[], ObjectStore]) -> None:
        self.url = where + prefix
        self._where, self._prefix = where, prefix
        self._make = make
        self._made: ObjectStore | None = None
        self._lock = threading.Lock()

    def check(self) -> None:
        with self._explained(""):
            for _ in obstore.list(self._store(), self._prefix, chunk_size=1):
                break

    def list(self, prefix: str = "") -> pa.Table:
        full = self._prefix + prefix
        with self._explained(prefix):
            pages = obstore.list(self._store(), full, chunk_size=_LIST_PAGE)
            return self._without_markers(_table(len(self._prefix), self._listed(pages, full)))

    def get(self, key: str) -> StoredObject:
        with self._explained(key):
            result = obstore.get(self._store(), self._path(key))
            data = result.bytes().to_bytes()
            meta = result.meta
        self._require_whole(key, len(data), meta["size"])
        return StoredObject(key, data, _bare(meta["e_tag"]))

    def get_range(self, key: str, offset: int, length: int) -> bytes:
        if length == 0:
            return b""
        with self._explained(key):
            data = obstore.get_range(self._store(), self._path(key), start=offset, length=length).to_bytes()
        return _exactly(self.url_of(key), data, offset, length)

    def download(self, key: str, path: Path) -> None:
        with self._explained(key):
            result = obstore.get(self._store(), self._path(key))
            size = result.meta["size"]
            chunks = iter(result.stream(min_chunk_size=_PART_BYTES))
        with _removed_on_failure(path), path.open("wb") as file:
            while True:
                with self._explained(key):
                    chunk = next(chunks, None)
                if chunk is None:
                    break
                file.write(memoryview(chunk))
            self._require_whole(key, file.tell(), size)

    def head(self, key: str) -> tuple[int, str] | None:
        try:
            with self._explained(key):
                meta = obstore.head(self._store(), self._path(key))
        except ObjectMissingError:
            return None
        return meta["size"], _bare(meta["e_tag"])

    def put(self, key: str, data: bytes | memoryview) -> None:
        with self._explained(key):
            obstore.put(self._store(), self._path(key), data, chunk_size=_PART_BYTES, max_concurrency=_PARTS_AT_ONCE)

    def upload(self, key: str, path: Path) -> None:
        path.stat()  # a missing local file is the caller's error, not the store's
        with self._explained(key):
            obstore.put(self._store(), self._path(key), path, chunk_size=_PART_BYTES, max_concurrency=_PARTS_AT_ONCE)

    def delete(self, keys: Iterable[str]) -> None:
        paths = map(self._path, keys)
        while batch := list(islice(paths, _LIST_PAGE)):
            with self._explained(""):
                try:
                    obstore.delete(self._store(), batch)
                except FileNotFoundError:  # some stores mind a missing key, and stop there
                    for path in batch:
                        with contextlib.suppress(FileNotFoundError):
                            obstore.delete(self._store(), path)

    def _put_if(self, key: str, data: bytes, expected_etag: str | None, attempt: int) -> bool:
        path, store = self._path(key), self._store()
        mode: Any = "create"
        with self._explained(key):
            try:
                if expected_etag is not None:
                    found = obstore.head(store, path)
                    if _bare(found["e_tag"]) != expected_etag:
                        return False
                    mode = {name: value for name, value in found.items() if name in ("e_tag", "version") and value}
                obstore.put(store, path, data, mode=mode, use_multipart=False)
            except (obstore.exceptions.AlreadyExistsError, obstore.exceptions.PreconditionError):
                return False
            except FileNotFoundError:
                if expected_etag is None:
                    raise
                return False
        return True

    def _store(self) -> ObjectStore:
        _refuse_after_fork()
        with self._lock:
            if self._made is None:
                self._made = self._make()
            return self._made

    def _path(self, key: str) -> str:
        if is_odd(self._prefix + key):
            raise StoreRefusedError(
                f"{self.url_of(key)!r} cannot be addressed; use keys without control characters and without "
                "empty, '.' or '..' segments"
            )
        return self._prefix + key

    def _listed(self, pages: Iterable[Any], full: str) -> Iterator[tuple[str, int, str]]:
        for page in pages:
            for item in page:
                # a marker of the prefix itself comes without its slash
                if item["path"].startswith(full):
                    yield item["path"], item["size"], _bare(item["e_tag"])

    def _without_markers(self, table: pa.Table) -> pa.Table:
        # obstore lists the marker "a/" as "a": only asking for an object "a" tells them apart
        empty = pc.equal(table["size"], 0)
        suspects = sorted(set(table.filter(empty)["key"].to_pylist()))
        if not suspects:
            return table
        with ThreadPoolExecutor(16) as pool:
            found = list(pool.map(self.head, suspects))
        real = [(key, 0, answer[1]) for key, answer in zip(suspects, found, strict=True) if answer and answer[0] == 0]
        return _in_order(pa.concat_tables([table.filter(pc.invert(empty)), _table(0, iter(real))]))

    def _require_whole(self, key: str, got_bytes: int, size_bytes: int) -> None:
        if got_bytes != size_bytes:
            raise StoreUnavailableError(
                f"{self.url_of(key)!r} broke off after {got_bytes} of {size_bytes} bytes; try again later"
            )

    @contextlib.contextmanager
    def _explained(self, key: str) -> Iterator[None]:
        try:
            yield
        except AestheticsOpsError:
            raise
        except (obstore.exceptions.BaseError, OSError, ValueError) as error:
            raise _explain(self.url_of(key), error) from error


class _S3(_Native):
    """A prefix of an S3 bucket: obstore, and boto3 for what obstore cannot do there."""

    def __init__(self, where: str, prefix: str, bucket: S3Bucket) -> None:
        super().__init__(where, prefix, bucket.native)
        self._bucket = bucket

    def check(self) -> None:
        self._bucket.check(self._prefix)

    def list(self, prefix: str = "") -> pa.Table:
        full = self._prefix + prefix
        if not is_odd(full + "x") and (full or not self._bucket.starts_with_slash()):
            with contextlib.suppress(_OddKeyError):
                return super().list(prefix)
        return _table(len(self._prefix), self._bucket.list(full))

    def get(self, key: str) -> StoredObject:
        if is_odd(full := self._prefix + key):
            return StoredObject(key, *self._bucket.get(full))
        return super().get(key)

    def get_range(self, key: str, offset: int, length: int) -> bytes:
        if length and is_odd(full := self._prefix + key):
            data, _ = self._bucket.get(full, offset, offset + length - 1)
            return _exactly(self.url_of(key), data, offset, length)
        return super().get_range(key, offset, length)

    def download(self, key: str, path: Path) -> None:
        if is_odd(self._prefix + key):
            path.write_bytes(self.get(key).data)
        else:
            super().download(key, path)

    def head(self, key: str) -> tuple[int, str] | None:
        if is_odd(full := self._prefix + key):
            with contextlib.suppress(ObjectMissingError):
                return self._bucket.head(full)
            return None
        return super().head(key)

    def put(self, key: str, data: bytes | memoryview) -> None:
        if is_odd(full := self._prefix + key):
            self._bucket.put(full, data)
        else:
            super().put(key, data)

    def upload(self, key: str, path: Path) -> None:
        if is_odd(full := self._prefix + key):
            self._bucket.upload(full, path)
        else:
            super().upload(key, path)

    def delete(self, keys: Iterable[str]) -> None:
        usual = []
        for key in keys:
            if is_odd(full := self._prefix + key):
                self._bucket.delete([full])
            else:
                usual.append(key)
        super().delete(usual)

    def _put_if(self, key: str, data: bytes, expected_etag: str | None, attempt: int) -> bool:
        # a second try at an unchanged key goes without quotes, which is all that Ceph understands
        return self._bucket.put_if(self._prefix + key, data, expected_etag, quoted=attempt % 2 == 0)

    def _read_back(self, key: str) -> StoredObject | None:
        try:
            return StoredObject(key, *self._bucket.get(self._prefix + key))
        except ObjectMissingError:
            return None


class _Directory(Store):
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
            return _in_order(_table(0, self._files(top, prefix, frozenset()))) if top.exists() else _table(0, iter(()))

    def get(self, key: str) -> StoredObject:
        with self._explained(key), self._opened(key) as file:
            return StoredObject(key, file.read(), _file_etag(os.fstat(file.fileno())))

    def get_range(self, key: str, offset: int, length: int) -> bytes:
        with self._explained(key), self._opened(key) as file:
            file.seek(offset)
            return _exactly(self.url_of(key), file.read(length), offset, length)

    def download(self, key: str, path: Path) -> None:
        with self._explained(key):
            source = self._opened(key)
        with source, _removed_on_failure(path), path.open("wb") as target:
            while block := source.read(_PART_BYTES):
                target.write(block)

    def head(self, key: str) -> tuple[int, str] | None:
        try:
            with self._explained(key), self._opened(key) as file:
                found = os.fstat(file.fileno())
        except ObjectMissingError:
            return None
        return found.st_size, _file_etag(found)

    def put(self, key: str, data: bytes | memoryview) -> None:
        with self._explained(key), self._written(key, [data]) as new:
            new.replace(self._path(key))

    def upload(self, key: str, path: Path) -> None:
        with path.open("rb") as file:
            blocks = iter(lambda: file.read(_PART_BYTES), b"")
            with self._explained(key), self._written(key, blocks) as new:
                new.replace(self._path(key))

    def delete(self, keys: Iterable[str]) -> None:
        for key in keys:
            with self._explained(key):
                self._path(key).unlink(missing_ok=True)

    def _put_if(self, key: str, data: bytes, expected_etag: str | None, attempt: int) -> bool:
        path = self._path(key)
        with self._explained(key), self._written(key, [data]) as new:
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
            _sync_directory(path.parent)
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

    @contextlib.contextmanager
    def _written(self, key: str, blocks: Iterable[bytes | memoryview]) -> Iterator[Path]:
        """Give a complete temporary file beside the key's own, and remove it unless it was moved there."""
        path = self._path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.parent / f"{_OWN_FILES}{uuid.uuid4().hex}"
        try:
            with new.open("xb") as file:
                for block in blocks:
                    file.write(block)
                file.flush()
                os.fsync(file.fileno())
            # the file system's own clock ticks too slowly to tell two quick writes apart
            os.utime(new, ns=(now := time.time_ns(), now))
            yield new
        finally:
            new.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _explained(self, key: str) -> Iterator[None]:
        url = self.url_of(key)
        try:
            yield
        except FileNotFoundError as error:
            raise ObjectMissingError(f"{url!r} does not exist; check the name, or list the prefix") from error
        except PermissionError as error:
            raise StoreRefusedError(
                f"access to {url!r} is denied; check the owner and mode of {error.filename!r}"
            ) from error
        except OSError as error:
            raise StoreRefusedError(
                f"{url!r} cannot be used: {error.strerror}; correct the path, or free some space"
            ) from error


@contextlib.contextmanager
def _locked(directory: Path) -> Iterator[None]:
    with (directory / f"{_OWN_FILES}lock").open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _sync_directory(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _file_etag(found: os.stat_result) -> str:
    return f"{found.st_mtime_ns:x}-{found.st_size:x}-{found.st_ino:x}"


@contextlib.contextmanager
def _removed_on_failure(path: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _exactly(url: str, data: bytes, offset: int, length: int) -> bytes:
    if len(data) != length:
        raise StoreRefusedError(
            f"{url!r} has {len(data)} of the {length} bytes asked for at {offset}; it is shorter than its index says"
        )
    return data


def _bare(etag: str | None) -> str:
    return (etag or "").strip('"')


def _table(skip: int, objects: Iterator[tuple[str, int, str]]) -> pa.Table:
    """Gather (key, size, etag) in columns, a page at a time, cutting `skip` characters off each key."""
    batches = []
    while page := list(islice(objects, 64 * _LIST_PAGE)):
        keys, sizes, etags = zip(*page, strict=True)
        batches.append(pa.record_batch([[key[skip:] for key in keys], sizes, etags], schema=_LISTING))
    return _in_order(pa.Table.from_batches(batches, _LISTING))


def _in_order(table: pa.Table) -> pa.Table:
    keys = table["key"]
    if pc.all(pc.less_equal(keys[:-1], keys[1:])).as_py() is False:
        return table.sort_by("key")
    return table


class _OddKeyError(StoreRefusedError):
    """A listing met a key that obstore cannot express."""


_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<Code>(\w+)</Code>")
_MESSAGE = re.compile(r"<Message>(.*?)</Message>", re.DOTALL)


def _explain(url: str, error: Exception) -> AestheticsOpsError:
    """Return the error that stands for one of obstore's, which tells most of what it knows in its text only."""
    text = str(error).partition("\n\nDebug source")[0]
    if isinstance(error, obstore.exceptions.InvalidPathError):
        return _OddKeyError(f"{url!r}: {text}; rename that object")
    status, code, message = (
        match[1] if match else "" for match in (p.search(text) for p in (_STATUS, _CODE, _MESSAGE))
    )
    if not message:
        message = text.partition("<?xml")[0].strip()[:300]
    number = int(status) if status else None
    if "RetrievalError: " in text:  # botocore's, when what provides the credentials gives no answer
        return StoreUnavailableError(f"no answer about the credentials for {url!r}; check what provides them")
    if isinstance(error, FileNotFoundError):
        number = 404
    elif isinstance(error, obstore.exceptions.PermissionDeniedError | obstore.exceptions.UnauthenticatedError):
        number = 403
    elif isinstance(error, ValueError | obstore.exceptions.NotSupportedError) or "Invalid range" in text:
        number = 400
    return explain_answer(url, number, code, message)
