"""A command dies at a request: what it asked before is done, and nothing after."""

from collections.abc import Callable
from typing import TypeVar

from aesthetics_ops.store import Store
from aesthetics_ops.testing.stores import Request, WrappedStore

__all__ = ["cut_off", "restore", "snapshot"]

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
