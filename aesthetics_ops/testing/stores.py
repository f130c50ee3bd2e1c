"""Stores around another store: one that counts what is asked, one that fails, one whose bytes lie, one that ignores conditions.

In: a `Store`.  Out: a `Store` that does the same, but for what its class says.

    photos = CountingStore(build.photos)
    convert_partition(replace(build, photos=photos), plan, 0)
    assert photos.read == ["a.jpg", "b.jpg"]

    broken = FailingStore(build.dataset, lambda request: request.method == "upload" and request.number == 2)
"""
# ruff: noqa: D102 - what the methods of a store do stands in store/contract.py

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import pyarrow as pa

from aesthetics_ops.errors import AestheticsOpsError, StoreUnavailableError
from aesthetics_ops.store import Store, StoredObject

__all__ = ["AlteringStore", "CarelessStore", "CountingStore", "FailingStore", "Request", "WrappedStore", "flipped"]

_Result = TypeVar("_Result")

_READING = {"get", "get_range", "download"}


@dataclass(frozen=True, slots=True)
class Request:
    """One thing that a store was asked for.

    Attributes:
        method: check, list, folders, get, get_range, download, head, put, upload, delete; put_if, which `swap`,
            `put_if_absent` and `probe` write with; read_back, which they read with after a refusal or a lost reply;
            checks_uploads, a part of `probe`.
        key: relative to the store's prefix; for list and folders the prefix asked for, for check empty.
        number: how many requests of this method came before.
        total: how many requests came before.
    """

    method: str
    key: str
    number: int
    total: int


class WrappedStore(Store):
    """Another store; every request goes through `pass_on`, which a subclass overrides to watch or to fail.

    `swap`, `put_if_absent`, `replace` and `probe` are made of the others here as in every store, so a subclass sees
    each of their requests.  Keys to delete are passed on one by one: a fault can come between two of them.

    Attributes:
        inner: the other store.
    """

    def __init__(self, inner: Store) -> None:
        self.inner = inner
        self.url = inner.url
        self.is_local = inner.is_local
        self._lock = threading.Lock()
        self._asked: Counter[str] = Counter()

    def pass_on(self, request: Request, ask: Callable[[], _Result]) -> _Result:
        """Return what the other store answers to a request, or raise what it raises.

        Args:
            request: what was asked for.
            ask: asks the other store.
        """
        return ask()

    def url_of(self, key: str) -> str:
        return self.inner.url_of(key)

    def check(self) -> None:
        self._ask("check", "", self.inner.check)

    def list(self, prefix: str = "", *, scratch: Path | None = None) -> pa.Table:
        return self._ask("list", prefix, partial(self.inner.list, prefix, scratch=scratch))

    def folders(self, prefix: str) -> Sequence[str]:
        return self._ask("folders", prefix, partial(self.inner.folders, prefix))

    def get(self, key: str) -> StoredObject:
        return self._ask("get", key, partial(self.inner.get, key))

    def get_first(self, key: str, most: int) -> bytes | memoryview:
        return self._ask("get_first", key, partial(self.inner.get_first, key, most))

    def get_range(self, key: str, offset: int, length: int) -> bytes | memoryview:
        return self._ask("get_range", key, partial(self.inner.get_range, key, offset, length))

    def download(self, key: str, path: Path) -> None:
        self._ask("download", key, partial(self.inner.download, key, path))

    def head(self, key: str) -> tuple[int, str] | None:
        return self._ask("head", key, partial(self.inner.head, key))

    def put(self, key: str, data: bytes | memoryview) -> None:
        self._ask("put", key, partial(self.inner.put, key, data))

    def upload(self, key: str, path: Path) -> None:
        self._ask("upload", key, partial(self.inner.upload, key, path))

    def delete(self, keys: Iterable[str]) -> None:
        for key in keys:
            self._ask("delete", key, partial(self.inner.delete, [key]))

    def _put_if(self, key: str, data: bytes, expected_etag: str | None, attempt: int) -> bool:
        return self._ask("put_if", key, partial(self.inner._put_if, key, data, expected_etag, attempt))

    def _read_back(self, key: str) -> StoredObject | None:
        return self._ask("read_back", key, partial(self.inner._read_back, key))

    def _checks_uploads(self, key: str) -> bool | None:
        return self._ask("checks_uploads", key, partial(self.inner._checks_uploads, key))

    def _ask(self, method: str, key: str, ask: Callable[[], _Result]) -> _Result:
        with self._lock:
            request = Request(method, key, self._asked[method], self._asked.total())
            self._asked[method] += 1
        return self.pass_on(request, ask)


class CountingStore(WrappedStore):
    """Another store, and what was asked of it, in the order in which it was asked.

    Attributes:
        requests: all of them; `requests.clear()` forgets them.
    """

    def __init__(self, inner: Store) -> None:
        super().__init__(inner)
        self.requests: list[Request] = []

    @property
    def read(self) -> Sequence[str]:
        """The keys whose bytes were read, once per reading."""
        return [request.key for request in self.requests if request.method in _READING]

    def pass_on(self, request: Request, ask: Callable[[], _Result]) -> _Result:
        self.requests.append(request)
        return ask()


class FailingStore(WrappedStore):
    """Another store, some requests of which fail.

    Args:
        inner: the other store.
        fails: says which requests fail; or the `total` of the one that does, to try a fault at each request in turn.
        error: what they raise.
        after: whether the other store has done them before, as when the reply to a write is lost.
    """

    def __init__(
        self,
        inner: Store,
        fails: Callable[[Request], bool] | int,
        *,
        error: AestheticsOpsError | None = None,
        after: bool = False,
    ) -> None:
        super().__init__(inner)
        self._fails = fails if callable(fails) else lambda request: request.total == fails
        self._error = error or StoreUnavailableError(f"the store at {inner.url!r} has gone away; try again later")
        self._after = after

    def pass_on(self, request: Request, ask: Callable[[], _Result]) -> _Result:
        if not self._fails(request):
            return ask()
        if self._after:
            ask()
        raise self._error


def flipped(data: bytes | memoryview, bit: int | None = None) -> bytes:
    """Return bytes of which one bit is another one: the middle one, or the one of this number, from the end where negative."""
    changed = bytearray(data)
    bit = 4 * len(changed) if bit is None else bit % (8 * len(changed))
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


class AlteringStore(WrappedStore):
    """Another store; some of the bytes that are read from it or written to it are others, and nobody is told.

    Args:
        inner: the other store.
        alter: called with the method (get, get_first, get_range, download, put, upload or put_if), the key and the bytes of each
            request that has some; returns those that arrive.  None stands for a write that never arrives.
    """

    def __init__(self, inner: Store, alter: Callable[[str, str, bytes], bytes | None]) -> None:
        super().__init__(inner)
        self._alter = alter

    def get(self, key: str) -> StoredObject:
        stored = super().get(key)
        return replace(stored, data=self._alter("get", key, bytes(stored.data)) or b"")

    def get_first(self, key: str, most: int) -> bytes:
        return self._alter("get_first", key, bytes(super().get_first(key, most))) or b""

    def get_range(self, key: str, offset: int, length: int) -> bytes:
        return self._alter("get_range", key, bytes(super().get_range(key, offset, length))) or b""

    def download(self, key: str, path: Path) -> None:
        super().download(key, path)
        path.write_bytes(self._alter("download", key, path.read_bytes()) or b"")

    def put(self, key: str, data: bytes | memoryview) -> None:
        altered = self._alter("put", key, bytes(data))
        if altered is not None:
            super().put(key, altered)

    def upload(self, key: str, path: Path) -> None:
        altered = self._alter("upload", key, path.read_bytes())
        if altered is not None:
            super().put(key, altered)

    def _put_if(self, key: str, data: bytes, expected_etag: str | None, attempt: int) -> bool:
        altered = self._alter("put_if", key, data)
        return altered is None or super()._put_if(key, altered, expected_etag, attempt)

    def _read_back(self, key: str) -> StoredObject | None:
        return Store._read_back(self, key)


class CarelessStore(WrappedStore):
    """Another store, which takes conditional writes without looking at their conditions, as some S3 servers do."""

    def _put_if(self, key: str, data: bytes, expected_etag: str | None, attempt: int) -> bool:
        self.put(key, data)
        return True
