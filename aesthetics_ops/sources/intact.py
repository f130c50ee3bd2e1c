"""Read photos and score files, and compare their bytes with their ETags where these are MD5s.

In: a store of sources.  Out: objects as the store keeps them, or an error: no byte that changed on its way is used.
An ETag of 32 hex digits is an MD5 of the bytes, unless the store encrypts with a key of its own making (SSE-KMS, SSE-C): then
it looks like one and is none, and nothing in a listing tells which.  So an object that differs is read again.  Where two
readings agree with each other, the ETag is no MD5, and the bytes are good; where none agrees with another, they are not.
"""

import hashlib
import logging
import re
import threading
from collections.abc import Callable
from typing import Final

from aesthetics_ops.errors import ObjectAlteredError
from aesthetics_ops.store import Store, StoredObject

__all__ = ["IntactReader", "looks_like_md5"]

_log = logging.getLogger(__name__)

_MD5: Final = re.compile("[0-9a-f]{32}")
_READINGS: Final = 4  # of one object; of an ETag that is no MD5, two of them have to agree
_ENOUGH: Final = 8  # objects whose ETags are no MD5s, and none whose is: then the store's are not


def looks_like_md5(etag: str) -> bool:
    """Say whether an ETag may be the MD5 of an object's bytes: that of an upload in parts has a dash."""
    return _MD5.fullmatch(etag) is not None


class IntactReader:
    """Reads whole objects of one store.  Its methods may be called from many threads at once.

    Every object is compared, so one of another kind of ETag costs a second reading.  In a store whose ETags are never MD5s
    that ends after a few objects: their sizes alone are compared from then on, and the log says so.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._right = self._other = 0

    def get(
        self,
        key: str,
        listed: tuple[int, str] | None = None,
        first: Callable[[], StoredObject] | None = None,
    ) -> StoredObject:
        """Return a whole object.

        Args:
            key: of the object.
            listed: its size in bytes and its ETag when it was listed; None where it was not.  An object that has another
                ETag now, or none that looks like an MD5, is returned as it came.
            first: reads it the first time, where it was asked for already; None where it was not.

        Raises:
            ObjectAlteredError: its bytes are others each time that it is read, and never those that its ETag stands for.
            StoreRefusedError, StoreUnavailableError: as `Store.get`.
        """
        seen: set[str] = set()
        found = ""
        for number in range(_READINGS):
            stored = first() if first is not None and number == 0 else self._store.get(key)
            if listed is not None and stored.etag != listed[1]:
                return stored
            is_whole = listed is None or len(stored.data) == listed[0]
            if is_whole and not (looks_like_md5(stored.etag) and self._compares()):
                return stored
            found = hashlib.md5(stored.data, usedforsecurity=False).hexdigest()
            if is_whole and found == stored.etag:
                self._right += 1
                return stored
            if f"{stored.etag} {found}" in seen:
                if is_whole:
                    self._learn_of_other(key)
                return stored
            seen.add(f"{stored.etag} {found}")
        raise ObjectAlteredError(
            f"{self._store.url_of(key)!r} was read {_READINGS} times and came with other bytes each time, last with MD5 {found}, "
            f"while its ETag is {stored.etag}: something between here and the store alters what is read; check the network "
            "and proxies, then try again"
        )

    def _compares(self) -> bool:
        return self._right > 0 or self._other < _ENOUGH

    def _learn_of_other(self, key: str) -> None:
        """Note an object whose ETag looks like an MD5 and is none."""
        with self._lock:
            self._other += 1
            number = self._other
        if number == 1:
            _log.warning(
                "the ETag of %s looks like an MD5 and is none, as where the store encrypts with KMS or a customer's key; "
                "such objects are read twice, and objects of which none has an MD5 are compared by size alone",
                self._store.url_of(key),
            )
