"""A command dies at a request, or is overtaken there: what it asked before is done, and nothing after, or only later."""

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from aesthetics_ops.errors import AestheticsOpsError
from aesthetics_ops.store import Store
from aesthetics_ops.testing.stores import Request, WrappedStore

__all__ = ["cut_off", "overtaken", "restore", "snapshot"]

_Result = TypeVar("_Result")
_SMALL = ("LATEST.json", "published/", "candidates/", "pointers/", "pins/", "log/", "expiry.json")


class _DyingStore(WrappedStore):
    """Another store, for so many requests; a process that is killed asks no more, nor cleans up."""

    def __init__(self, inner: Store, most: int) -> None:
        super().__init__(inner)
        self._most = most
        self.is_dead = False

    def pass_on(self, request: Request, ask: Callable[[], _Result]) -> _Result:
        if request.total >= self._most:
            self.is_dead = True
            raise KeyboardInterrupt
        return ask()


def cut_off(act: Callable[[Store], object], dataset: Store, *, after: int) -> bool:
    """Do something with a store that answers so many requests and no more; return whether it wanted more."""
    store = _DyingStore(dataset, after)
    try:
        act(store)
    except KeyboardInterrupt:
        assert store.is_dead
    return store.is_dead


def snapshot(dataset: Store) -> dict[str, bytes]:
    """Return the objects that say which version counts, and which is kept."""
    keys = [key for key in dataset.list("")["key"].to_pylist() if key.startswith(_SMALL)]
    return {key: bytes(dataset.get(key).data) for key in keys}


def restore(dataset: Store, objects: dict[str, bytes]) -> None:
    """Bring these objects back to what they were."""
    now = snapshot(dataset)
    dataset.delete([key for key in now if key not in objects])
    for key, data in objects.items():
        if now.get(key) != data:
            dataset.put(key, data)


class _OvertakenStore(WrappedStore):
    """Another store, in which somebody else does something just before a request is answered."""

    def __init__(self, inner: Store, before: int, other: Callable[[Store], object]) -> None:
        super().__init__(inner)
        self._before, self._other = before, other
        self._once = threading.Lock()
        self.is_overtaken = False

    def pass_on(self, request: Request, ask: Callable[[], _Result]) -> _Result:
        with self._once:
            if request.total >= self._before and not self.is_overtaken:
                self.is_overtaken = True
                with suppress(AestheticsOpsError):
                    self._other(self.inner)
        return ask()


def overtaken(act: Callable[[Store], object], dataset: Store, *, before: int, other: Callable[[Store], object]) -> bool:
    """Do something while somebody else does something else before one of its requests; return whether it came to that.

    Both may be refused, as long as the store is left whole.
    """
    store = _OvertakenStore(dataset, before, other)
    with suppress(AestheticsOpsError):
        act(store)
    return store.is_overtaken
