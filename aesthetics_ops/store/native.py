"""The stores that obstore speaks to: memory://, gs:// and az://.

In: a bucket, a container or a memory's name, and a prefix.  Out: a `Store`.
obstore follows redirects.  It takes the header with a credential, `Authorization`, off a request to another host, but not a
session token, so s3:// does not go through it; docs/dependencies.md says what of az:// stays.
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
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import obstore.exceptions
import pyarrow as pa
from obstore.store import AzureStore, GCSStore, MemoryStore, ObjectStore

from aesthetics_ops.errors import (
    AestheticsOpsError,
    ObjectMissingError,
    PermanentError,
    StoreRefusedError,
    StoreUnavailableError,
)
from aesthetics_ops.store.answers import explain_native, hush, is_busy, native_answer
from aesthetics_ops.store.contract import Store, StoredObject
from aesthetics_ops.store.etags import bare_etag
from aesthetics_ops.store.interrupts import StoreThreads
from aesthetics_ops.store.limits import StoreLimits
from aesthetics_ops.store.listing import listing
from aesthetics_ops.store.pace import Pace, pace_of
from aesthetics_ops.store.transfers import exactly, removed_on_failure
from aesthetics_ops.store.trying import UnservedError, patiently

__all__ = ["NativeStore", "open_native"]

_T = TypeVar("_T")

_PART_BYTES = 16 << 20
_PARTS_AT_ONCE = 4
_LIST_PAGE = 1000
_ODD_CHARACTER = re.compile(r"[\x00-\x1f\x7f]")


def open_native(scheme: str, root: str, prefix: str, limits: StoreLimits) -> "NativeStore":
    """Open a prefix of memory://, gs:// or az://; credentials come from the environment.

    Args:
        scheme: memory, gs or az.
        root: the bucket, the container or the memory's name.  One memory name is one store throughout the process.
        prefix: empty, or ends with `/`.
        limits: how long the server of gs or az may take.
    """
    client = limits.native_client
    if os.environ.get("AZURE_STORAGE_ENDPOINT", "").startswith("http://"):  # an emulator
        client["allow_http"] = True
    options: Any = {"client_options": client, "retry_config": limits.native_retries}
    makers: dict[str, Callable[[], ObjectStore]] = {
        "memory": lambda: _memory(root),
        "gs": lambda: GCSStore(root, **options),
        "az": lambda: AzureStore(root, **options),
    }
    where = f"{scheme}://{root}/"
    return NativeStore(where, prefix, makers[scheme], limits, pace=None if scheme == "memory" else pace_of(where))


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


class NativeStore(Store):
    """A store that obstore speaks to."""

    def __init__(
        self,
        where: str,
        prefix: str,
        make: Callable[[], ObjectStore],
        limits: StoreLimits,
        pace: Pace | None,
    ) -> None:
        self.url = where + prefix
        self.is_local = pace is None
        self._where, self._prefix = where, prefix
        self._make, self._limits, self._pace = make, limits, pace  # no pace: in this process's memory
        self._made: ObjectStore | None = None
        self._lock = threading.Lock()

    def check(self) -> None:
        self._asked("", lambda store: next(iter(obstore.list(store, self._prefix, chunk_size=1)), None))

    def list(self, prefix: str = "", *, scratch: Path | None = None) -> pa.Table:
        full = self._prefix + prefix

        def listed(store: ObjectStore) -> pa.Table:
            pages = obstore.list(store, full, chunk_size=_LIST_PAGE)
            return listing(len(self._prefix), self._listed(pages, full), scratch)

        return self._without_markers(self._asked(prefix, listed))

    def folders(self, prefix: str) -> Sequence[str]:
        found = self._asked(prefix, lambda store: obstore.list_with_delimiter(store, self._prefix + prefix))
        return sorted(path.rstrip("/").rsplit("/", 1)[-1] for path in found["common_prefixes"])

    def get(self, key: str) -> StoredObject:
        path = self._path(key)

        def got(store: ObjectStore) -> StoredObject:
            result = obstore.get(store, path)
            data = memoryview(result.bytes())
            self._require_whole(key, len(data), result.meta["size"])
            return StoredObject(key, data, bare_etag(result.meta["e_tag"] or ""))

        return self._asked(key, got)

    def get_first(self, key: str, most: int) -> bytes | memoryview:
        path = self._path(key)

        def got(store: ObjectStore) -> memoryview | None:
            result = obstore.get(store, path)
            if result.meta["size"] > most:
                return None
            data = memoryview(result.bytes())
            self._require_whole(key, len(data), result.meta["size"])
            return data

        data = self._asked(key, got)
        return self.get_range(key, 0, most) if data is None else data

    def get_range(self, key: str, offset: int, length: int) -> bytes | memoryview:
        if length == 0:
            return b""
        path = self._path(key)
        data = self._asked(key, lambda store: memoryview(obstore.get_range(store, path, start=offset, length=length)))
        return exactly(self.url_of(key), data, offset, length)

    def download(self, key: str, path: Path) -> None:
        source = self._path(key)

        def copied(store: ObjectStore) -> OSError | None:
            result = obstore.get(store, source)
            with path.open("wb") as file:
                for chunk in result.stream(min_chunk_size=_PART_BYTES):
                    try:
                        file.write(memoryview(chunk))
                    except OSError as error:  # this machine's fault, not the store's
                        return error
                self._require_whole(key, file.tell(), result.meta["size"])
            return None

        with removed_on_failure(path):
            path.open("wb").close()
            error = self._asked(key, copied)
            if error is not None:
                raise error

    def head(self, key: str) -> tuple[int, str] | None:
        path = self._path(key)
        try:
            meta = self._asked(key, lambda store: obstore.head(store, path))
        except ObjectMissingError:
            return None
        return meta["size"], bare_etag(meta["e_tag"] or "")

    def put(self, key: str, data: bytes | memoryview) -> None:
        self._put(key, data)

    def upload(self, key: str, path: Path) -> None:
        path.stat()  # a missing local file is the caller's error, not the store's
        self._put(key, path)

    def delete(self, keys: Iterable[str]) -> None:
        paths = map(self._path, keys)
        while batch := list(islice(paths, _LIST_PAGE)):
            self._asked("", lambda store, batch=batch: _deleted(store, batch))  # type: ignore[misc]

    def _put(self, key: str, source: Any) -> None:
        path = self._path(key)
        self._asked(
            key,
            lambda store: obstore.put(store, path, source, chunk_size=_PART_BYTES, max_concurrency=_PARTS_AT_ONCE),
        )

    def _put_if(self, key: str, data: bytes, expected_etag: str | None, attempt: int) -> bool:
        path = self._path(key)
        lost: list[UnservedError] = []

        def written(store: ObjectStore) -> bool:
            mode: Any = "create"
            try:
                if expected_etag is not None:
                    found = obstore.head(store, path)
                    if bare_etag(found["e_tag"] or "") != expected_etag:
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

        def may_repeat(error: UnservedError) -> bool:
            lost.append(error)
            return error.is_busy

        is_written = self._asked(key, written, may_repeat)
        if lost and not is_written:  # an earlier attempt may be what stands there now
            raise StoreUnavailableError(f"{lost[-1]}; try again later")
        return is_written

    def _asked(
        self,
        key: str,
        ask: Callable[[ObjectStore], _T],
        may_repeat: Callable[[UnservedError], bool] = lambda error: True,
    ) -> _T:
        """Call obstore until the store serves it; errors are ours."""
        store, pace = self._store(), self._pace
        if pace is None:
            with self._explained(key):
                return ask(store)

        def attempt() -> _T:
            with self._explained(key):
                return ask(store)

        return patiently(attempt, pace=pace, limits=self._limits, may_repeat=may_repeat)

    def _store(self) -> ObjectStore:
        _refuse_after_fork()
        with self._lock, self._explained(""):
            if self._made is None:
                self._made = self._make()
            return self._made

    def _path(self, key: str) -> str:
        if _is_odd(self._prefix + key):
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
                    yield item["path"], item["size"], bare_etag(item["e_tag"] or "")

    def _without_markers(self, table: pa.Table) -> pa.Table:
        # obstore lists the marker "a/" as "a": only asking for an object "a" tells them apart
        empty = table["size"].to_numpy() == 0
        if not empty.any():
            return table
        suspects = sorted(set(table.filter(empty)["key"].to_pylist()))
        with StoreThreads(16) as pool:
            found = list(pool.map(self.head, suspects))
        real = [(key, 0, answer[1]) for key, answer in zip(suspects, found, strict=True) if answer and answer[0] == 0]
        # batch by batch: the others stay where they are, in memory or in a file
        kept = pa.Table.from_batches([_not_empty(batch) for batch in table.to_batches()], table.schema)
        return pa.concat_tables([kept, listing(0, iter(real))]).sort_by("key") if real else kept

    def _require_whole(self, key: str, got_bytes: int, size_bytes: int) -> None:
        if got_bytes != size_bytes:
            raise UnservedError(
                f"{self.url_of(key)!r} broke off after {got_bytes} of {size_bytes} bytes", is_silent=True
            )

    @contextlib.contextmanager
    def _explained(self, key: str) -> Iterator[None]:
        try:
            yield
        except AestheticsOpsError:
            raise
        except (obstore.exceptions.BaseError, OSError, ValueError) as error:
            hush(error)
            explained = explain_native(self.url_of(key), error)
            if self._pace is not None and isinstance(explained, StoreUnavailableError):
                status, code, _ = native_answer(error)
                said = str(explained).removesuffix("; try again later")
                raise UnservedError(said, is_busy=is_busy(status, code), is_silent=status is None) from error
            raise explained from error


def _not_empty(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return the rows of objects that have bytes."""
    has_bytes = batch["size"].to_numpy() > 0
    return batch if has_bytes.all() else batch.filter(pa.array(has_bytes))


def _deleted(store: ObjectStore, paths: list[str]) -> None:
    try:
        obstore.delete(store, paths)
    except FileNotFoundError:  # some stores mind a missing key, and stop there
        for path in paths:
            with contextlib.suppress(FileNotFoundError):
                obstore.delete(store, path)


def _is_odd(key: str) -> bool:
    """Say whether obstore cannot address a key: an empty, `.` or `..` segment, or a control character."""
    return _ODD_CHARACTER.search(key) is not None or any(part in ("", ".", "..") for part in key.split("/"))
