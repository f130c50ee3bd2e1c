"""The stores that obstore speaks to: memory://, gs:// and az:// as they are, and the bulk bytes of s3://.

In: a bucket, a container or a memory's name, and a prefix.  Out: a `Store`, at a tenth of boto3's cost.
What obstore cannot do: address odd keys (`//`, `.` and `..` segments, control characters, a slash at either end).  A
key that ends in `/` is a marker that S3 browsers write for a directory, not an object: an empty one is left out of
listings.  The first use starts threads that a forked child lacks, so the child is refused.
"""
# ruff: noqa: D102 - what the methods do stands in contract.py

import contextlib
import os
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

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
from aesthetics_ops.store.answers import explain_native
from aesthetics_ops.store.contract import Store, StoredObject
from aesthetics_ops.store.limits import CLIENT_OPTIONS, RETRY_CONFIG
from aesthetics_ops.store.listing import in_key_order, listing
from aesthetics_ops.store.transfers import exactly, removed_on_failure

__all__ = ["NativeStore", "is_odd", "open_native", "was_used_before_fork"]

_PART_BYTES = 16 << 20
_PARTS_AT_ONCE = 4
_LIST_PAGE = 1000
_ODD_CHARACTER = re.compile(r"[\x00-\x1f\x7f]")


def open_native(scheme: str, root: str, prefix: str) -> "NativeStore":
    """Open a prefix of memory://, gs:// or az://; credentials come from the environment.

    Args:
        scheme: memory, gs or az.
        root: the bucket, the container or the memory's name.  One memory name is one store throughout the process.
        prefix: empty, or ends with `/`.
    """
    makers: dict[str, Callable[[], ObjectStore]] = {
        "memory": lambda: _memory(root),
        "gs": lambda: GCSStore(root, client_options=CLIENT_OPTIONS, retry_config=RETRY_CONFIG),
        "az": lambda: AzureStore(root, client_options=CLIENT_OPTIONS, retry_config=RETRY_CONFIG),
    }
    return NativeStore(f"{scheme}://{root}/", prefix, makers[scheme])


_memories: dict[str, MemoryStore] = {}

_memories_lock = threading.Lock()


def _memory(name: str) -> MemoryStore:
    with _memories_lock:
        return _memories.setdefault(name, MemoryStore())


_process_of_first_use: int | None = None


def was_used_before_fork() -> bool:
    """Say whether this process was forked from one that has used obstore."""
    return _process_of_first_use not in (None, os.getpid())


def _refuse_after_fork() -> None:
    """Raise in a process forked from one that has used obstore: its calls would wait for threads that are not there."""
    global _process_of_first_use
    if _process_of_first_use is None:
        _process_of_first_use = os.getpid()
    elif was_used_before_fork():
        raise PermanentError(
            f"process {os.getpid()} was forked after process {_process_of_first_use} had used a store, so its calls "
            "would hang; start workers by spawn or forkserver, or use no store before the fork"
        )


class NativeStore(Store):
    """A store that obstore speaks to."""

    def __init__(
        self,
        where: str,
        prefix: str,
        make: Callable[[], ObjectStore],
        explain: Callable[[str, Exception], AestheticsOpsError] = explain_native,
    ) -> None:
        self.url = where + prefix
        self._where, self._prefix = where, prefix
        self._make, self._explain = make, explain
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
            return self._without_markers(listing(len(self._prefix), self._listed(pages, full)))

    def folders(self, prefix: str) -> Sequence[str]:
        with self._explained(prefix):
            found = obstore.list_with_delimiter(self._store(), self._prefix + prefix)
        return sorted(path.rstrip("/").rsplit("/", 1)[-1] for path in found["common_prefixes"])

    def get(self, key: str) -> StoredObject:
        with self._explained(key):
            result = obstore.get(self._store(), self._path(key))
            data = memoryview(result.bytes())
            meta = result.meta
        self._require_whole(key, len(data), meta["size"])
        return StoredObject(key, data, _bare(meta["e_tag"]))

    def get_range(self, key: str, offset: int, length: int) -> bytes | memoryview:
        if length == 0:
            return b""
        with self._explained(key):
            data = memoryview(obstore.get_range(self._store(), self._path(key), start=offset, length=length))
        return exactly(self.url_of(key), data, offset, length)

    def download(self, key: str, path: Path) -> None:
        with self._explained(key):
            result = obstore.get(self._store(), self._path(key))
            size = result.meta["size"]
            chunks = iter(result.stream(min_chunk_size=_PART_BYTES))
        with removed_on_failure(path), path.open("wb") as file:
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
        return in_key_order(pa.concat_tables([table.filter(pc.invert(empty)), listing(0, iter(real))]))

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
            raise self._explain(self.url_of(key), error) from error


def _bare(etag: str | None) -> str:
    return (etag or "").strip('"')


def is_odd(key: str) -> bool:
    """Say whether obstore cannot address a key: an empty, `.` or `..` segment, or a control character."""
    return _ODD_CHARACTER.search(key) is not None or any(part in ("", ".", "..") for part in key.split("/"))
