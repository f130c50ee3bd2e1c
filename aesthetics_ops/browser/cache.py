"""What was read from the store and will not change, kept while there is room.

One `Cache` is shared by all requests of a process.  When several ask for the same thing at once, it is read once.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Any, TypeVar, cast

__all__ = ["Cache"]

_Value = TypeVar("_Value")


class Cache:
    """Keeps the values used last, up to a number of bytes.  May be used from many threads."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._held: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()
        self._held_bytes = 0
        self._loading: dict[Hashable, Future[Any]] = {}
        self._lock = threading.Lock()

    def get(self, key: Hashable, load: Callable[[], _Value], weigh: Callable[[_Value], int]) -> _Value:
        """Return the value of a key, loaded if it is not held; what `load` raises is raised.

        Args:
            key: of the value.
            load: makes it.
            weigh: returns about how many bytes it takes; a value over the limit is returned and not kept.
        """
        with self._lock:
            if key in self._held:
                self._held.move_to_end(key)
                return cast(_Value, self._held[key][0])
            pending = self._loading.get(key)
            if pending is None:
                mine = self._loading[key] = Future()
        if pending is not None:
            return cast(_Value, pending.result())
        try:
            value = load()
            self._keep(key, value, weigh(value))
        except BaseException as error:
            mine.set_exception(error)
            raise
        finally:
            with self._lock:
                del self._loading[key]
        mine.set_result(value)
        return value

    def _keep(self, key: Hashable, value: object, size_bytes: int) -> None:
        if size_bytes > self._limit_bytes:
            return
        with self._lock:
            self._held[key] = (value, size_bytes)
            self._held_bytes += size_bytes
            while self._held_bytes > self._limit_bytes:
                _, (_, freed_bytes) = self._held.popitem(last=False)
                self._held_bytes -= freed_bytes
