"""Stores that watch what is asked of them."""

from dataclasses import dataclass, field
from typing import Any

from aesthetics_ops.store import Store, StoredObject


@dataclass
class CountingStore:
    """Another store, and the keys that were read from it."""

    inner: Store
    read: list[str] = field(default_factory=list)

    def get(self, key: str) -> StoredObject:
        self.read.append(key)
        return self.inner.get(key)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)
