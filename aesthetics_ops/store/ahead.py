"""Requests that a thread sends before it reads the first answer: it waits once for all of them, and not once for each.

A thread that waits for an answer asks for the interpreter's lock when it comes, and finds that the core has forgotten its code.
In: requests, and what reads each answer.  Out: what became of each one's first attempt; `patiently` makes the others.
Promised: no request is sent that has to wait for its turn, and all answers were read before anything is tried again.
"""

from collections import deque
from collections.abc import Callable, Sequence
from time import monotonic

from aesthetics_ops.errors import AestheticsOpsError
from aesthetics_ops.store.bucket import Begun, Request, S3Bucket
from aesthetics_ops.store.interrupts import Interrupts, interruptions
from aesthetics_ops.store.pace import Pace
from aesthetics_ops.store.reply import Reply
from aesthetics_ops.store.trying import in_turn

__all__ = ["ask_ahead"]

_Read = Callable[[Reply], None]
_First = Callable[[], None]


def ask_ahead(bucket: S3Bucket, requests: Sequence[Request], reads: Sequence[_Read]) -> list[_First | None]:
    """Send requests, read the answers, and return for each a function that raises what its attempt raised.

    None stands for a request that has to be sent anew: the store asks for less, or could not be reached, or was silent for too long.

    Args:
        bucket: that is asked.
        requests: without bodies.
        reads: takes the answer of each, of status 200 to 299.
    """
    pace, started = bucket.pace, monotonic()
    under_way: deque[tuple[Begun, int]] = deque()
    firsts: list[_First | None] = []
    try:
        for request in requests:
            sent = _sent(bucket, pace, request)
            if sent is None:
                break
            under_way.append(sent)
        for read in reads[: len(under_way)]:
            is_late = monotonic() - started > bucket.limits.timeout_s and under_way[0][0].sent.connection.is_quiet
            if is_late:  # it was silent for as long as a request may be
                break
            firsts.append(_first(bucket, pace, *under_way.popleft(), read))
    finally:
        for begun, _ in under_way:
            pace.leave()
            bucket.drop(begun)
    return firsts + [None] * (len(requests) - len(firsts))


def _sent(bucket: S3Bucket, pace: Pace, request: Request) -> tuple[Begun, int] | None:
    """Send a request, and return it with its round; None where it has to wait, or whoever sends it in its turn is to be told why not."""
    round_ = pace.enter_at_once() if Interrupts.count == interruptions() else None
    if round_ is None:
        return None
    try:
        return bucket.begin(request), round_
    except AestheticsOpsError:
        pace.leave()
        return None
    except BaseException:
        pace.leave()
        raise


def _first(bucket: S3Bucket, pace: Pace, begun: Begun, round_: int, read: _Read) -> _First:
    try:
        in_turn(lambda: bucket.answer(begun, read), pace, round_)
    except AestheticsOpsError as error:
        return _raising(error)
    return _served


def _served() -> None:
    """Stand for an attempt that was served."""


def _raising(error: AestheticsOpsError) -> _First:
    def fail() -> None:
        raise error

    return fail
