"""Find out what a store does with conditions on writes, by trying each on a key of the store's own.

In: a store and a key that is nobody else's.  Out: `ConditionalWrites`.  The key is gone afterwards.
Promised: an answer is judged by what the key holds after it, not by the answer's word.  One wrong answer judges nothing:
a trial is repeated, and only what comes out wrong in the same way four times, and never right, is called so.  A busy store is waited for.
"""

import time
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from typing import Final, Literal, Protocol
from uuid import uuid4

from aesthetics_ops.errors import StoreRefusedError, StoreUnavailableError

__all__ = ["ConditionalWrites", "probe_conditions"]

_TRIALS: Final = 4  # of one outcome; even, so that each way of writing an ETag has its share
_INTERRUPTIONS: Final = 6  # with the pauses between them, which double, 13 s
_PAUSE_SECONDS: Final = 0.2
_FAILURES: Final = 3  # of plain requests, which the store repeats by itself where that may help
_NO_ETAG: Final = "0" * 32


@dataclass(frozen=True, slots=True)
class ConditionalWrites:
    """What a store does with a condition on a write; the answer of `Store.probe`.

    Attributes:
        creates_once: a second "only if there is none" is refused.
        compares: a write with the right ETag is taken, and one with a wrong ETag is refused.
        checks_uploads: bytes that do not match their checksum are refused; None where it was not asked, or the store
            takes no checksum.
        said: what the store says to a condition that it does not take; empty where it takes or ignores them.
    """

    creates_once: bool
    compares: bool
    checks_uploads: bool | None
    said: str = ""

    @property
    def are_safe(self) -> bool:
        """Whether of several writers exactly one wins."""
        return self.creates_once and self.compares


class _Held(Protocol):
    @property
    def data(self) -> bytes | memoryview: ...


class _Writes(Protocol):
    """The part of a `Store` that is used here; contract.py says what its methods do."""

    @property
    def url(self) -> str: ...
    def url_of(self, key: str) -> str: ...
    def head(self, key: str) -> tuple[int, str] | None: ...
    def put(self, key: str, data: bytes | memoryview) -> None: ...
    def delete(self, keys: Iterable[str]) -> None: ...
    def _put_if(self, key: str, data: bytes, expected_etag: str | None, attempt: int) -> bool: ...
    def _read_back(self, key: str) -> _Held | None: ...
    def _checks_uploads(self, key: str) -> bool | None: ...


class _Verdict(Enum):
    """What one trial showed."""

    RIGHT = "right"
    IGNORED = "ignored"  # written where it should not have been
    NOT_TAKEN = "not taken"  # not written, with an error or where it should have been
    SPOILED = "spoiled"  # the key holds what nobody wrote


class _Unsettled(Exception):  # noqa: N818 -- not an error of the program: the trial is repeated
    """The trial was disturbed, and shows nothing."""


@dataclass(frozen=True, slots=True)
class _Trial:
    """One conditional write after a plain one.

    Attributes:
        etag: the one to name: "right" is the one that the key has, None says that there must be no object.
        is_taken: whether a store that keeps conditions writes.
        is_there: whether the key holds an object before.
        attempts: the ways of asking to try in turn; more than one where a store may know one of them alone.
    """

    etag: Literal["right", "stale"] | None
    is_taken: bool
    is_there: bool = True
    attempts: tuple[int, ...] = (0, 1)


_CREATED_AGAIN: Final = _Trial(None, is_taken=False)
_CREATED: Final = _Trial(None, is_taken=True, is_there=False)
# Whichever way a stale ETag is written, it must be refused; the right one must be taken in one way.
_STALE: Final = tuple(_Trial("stale", is_taken=False, attempts=(attempt,)) for attempt in (0, 1))
_REPLACED: Final = _Trial("right", is_taken=True)


def probe_conditions(store: _Writes, key: str) -> ConditionalWrites:
    """Try conditions on writes, as `Store.probe` does.

    Raises:
        StoreRefusedError: plain writes are denied, or the store keeps other bytes than it is sent.
        StoreUnavailableError: the store did not answer.
    """
    said: list[str] = []
    try:
        # the first deletes before it writes: where that is denied, nothing is left behind
        create = [_judged(store, key, trial, said) for trial in (_CREATED, _CREATED_AGAIN)]
        compare = [_judged(store, key, trial, said) for trial in (*_STALE, _REPLACED)]
        return ConditionalWrites(all(create), all(compare), store._checks_uploads(key), said[0] if said else "")
    finally:
        # what a busy store keeps of it, expiry deletes
        with suppress(StoreRefusedError, StoreUnavailableError):
            store.delete([key])


def _judged(store: _Writes, key: str, trial: _Trial, said: list[str]) -> bool:
    """Repeat a trial until it comes out right, or wrong every time; note what the store said to it."""
    wrong: list[tuple[_Verdict, str]] = []
    interruptions = failures = 0
    while (verdict := _settled(wrong)) is None:
        attempt = trial.attempts[len(wrong) % len(trial.attempts)]
        try:
            shown, words = _tried(store, key, trial, attempt)
        except (StoreRefusedError, StoreUnavailableError) as error:
            failures += 1
            if failures == _FAILURES or (isinstance(error, StoreUnavailableError) and error.gave_up):
                raise
            time.sleep(_PAUSE_SECONDS)
            continue
        except _Unsettled as error:
            interruptions += 1
            if interruptions > _INTERRUPTIONS:
                raise StoreUnavailableError(
                    f"what the store of {store.url} does with conditions on writes could not be found out: {error}"
                ) from error
            time.sleep(_PAUSE_SECONDS * 2 ** (interruptions - 1))
            continue
        if shown is _Verdict.RIGHT:
            return True
        wrong.append((shown, words))
    words = next(words for shown, words in wrong if shown is verdict)
    if verdict is _Verdict.SPOILED:
        raise StoreRefusedError(words)
    if verdict is _Verdict.NOT_TAKEN and not trial.is_taken:
        return True  # nothing was written, and whether the condition is taken at all, another trial shows
    said.extend([words] if words else [])
    return False


def _settled(wrong: list[tuple[_Verdict, str]]) -> _Verdict | None:
    """Return what was shown often enough."""
    counts = Counter(verdict for verdict, _ in wrong)
    return next((verdict for verdict, count in counts.items() if count == _TRIALS), None)


def _tried(store: _Writes, key: str, trial: _Trial, attempt: int) -> tuple[_Verdict, str]:
    """Make one trial.

    Raises:
        _Unsettled: the key is gone, or the reply was lost and nothing was written.
        StoreRefusedError, StoreUnavailableError: a plain request is denied or has no answer.
    """
    unique = uuid4().hex.encode()
    before, after = b"before " + unique, b"after " + unique
    if trial.is_there:
        store.put(key, before)  # without conditions: a denial is to be called a denial
    else:
        store.delete([key])
    etag = _etag(store, key) if trial.etag == "right" else _NO_ETAG if trial.etag == "stale" else None
    words = lost = ""
    try:
        if store._put_if(key, after, etag, attempt):
            lost = f"{store.url_of(key)!r} was written, but is not there; try again later"
    except StoreUnavailableError as error:
        lost = str(error)
    except StoreRefusedError as error:
        words = str(error)
    current = store._read_back(key)
    if current is None and trial.is_there:
        raise _gone(store, key)
    held = bytes(current.data) if current is not None else None
    if held == after:
        return _Verdict.RIGHT if trial.is_taken else _Verdict.IGNORED, ""
    if held not in (before, None):
        return _Verdict.SPOILED, _spoiled(store, key, max(len(before), len(after)), held or b"")
    if lost:
        raise _Unsettled(lost)
    if trial.is_taken or words:
        return _Verdict.NOT_TAKEN, words or "a write whose condition holds is refused"
    return _Verdict.RIGHT, ""


def _etag(store: _Writes, key: str) -> str:
    found = store.head(key)
    if found is None:
        raise _gone(store, key)
    return found[1]


def _gone(store: _Writes, key: str) -> _Unsettled:
    return _Unsettled(f"{store.url_of(key)!r} was written and is gone; try again later")


def _spoiled(store: _Writes, key: str, written: int, held: bytes) -> str:
    return (
        f"the store of {store.url} does not keep what it is sent: at most {written} bytes were written to "
        f"{store.url_of(key)!r}, and it holds {len(held)} that begin with {held[:24]!r}; use a server, or a proxy before it, "
        "that stores uploads as they are (one that does not decode aws-chunked uploads is known to do this)"
    )
