"""Requests that a thread sends before it reads the first answer: it waits once for all of them, and not once for each.

A thread that waits for an answer asks for the interpreter's lock when it comes, and finds that the core has forgotten its code.
In: requests, and what reads each answer.  Out: what became of each one's first attempt; `patiently` makes the others.
Promised: no request is sent that has to wait for its turn, and all answers were read before anything is tried again.  Silence is waited
for once: what a request that was sent long ago has not brought by then is waited for no longer.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Final

from aesthetics_ops.errors import AestheticsOpsError
from aesthetics_ops.store.bucket import Begun, Request, S3Bucket
from aesthetics_ops.store.interrupts import Interrupts, interruptions
from aesthetics_ops.store.pace import Pace
from aesthetics_ops.store.reply import Reply
from aesthetics_ops.store.trying import UnservedError, in_turn

__all__ = ["ask_ahead"]

_Read = Callable[[Reply], None]
_First = Callable[[], None]

_LATE: Final = 0.9  # of the limit: the kernel's waits may end a little early


@dataclass(frozen=True, slots=True)
class _UnderWay:
    """A request that was sent.

    Attributes:
        begun: it.
        round: of its turn.
        sent_s: when, by the monotonic clock.
    """

    begun: Begun
    round: int
    sent_s: float


def ask_ahead(bucket: S3Bucket, requests: Sequence[Request], reads: Sequence[_Read]) -> list[_First | None]:
    """Send requests, read the answers, and return for each a function that raises what its attempt raised.

    None stands for a request that has to be sent anew: the store asks for less, or could not be reached, or an answer was not there
    when others had been waited for as long as the limit.

    Args:
        bucket: that is asked.
        requests: without bodies.
        reads: takes the answer of each, of status 200 to 299.
    """
    pace = bucket.pace
    under_way: deque[_UnderWay] = deque()
    firsts: list[_First | None] = []
    try:
        for request in requests:
            sent = _sent(bucket, pace, request)
            if sent is None:
                break
            under_way.append(sent)
        for read in reads[: len(under_way)]:
            firsts.append(_first(bucket, pace, under_way.popleft(), read))
    finally:
        for left in under_way:
            pace.leave()
            bucket.drop(left.begun)
    return firsts + [None] * (len(requests) - len(firsts))


def _sent(bucket: S3Bucket, pace: Pace, request: Request) -> _UnderWay | None:
    """Send a request; None where it has to wait, or whoever sends it in its turn is to be told why not."""
    round_ = pace.enter_at_once() if Interrupts.count == interruptions() else None
    if round_ is None:
        return None
    try:
        return _UnderWay(bucket.begin(request), round_, monotonic())
    except AestheticsOpsError:
        pace.leave()
        return None
    except BaseException:
        pace.leave()
        raise


def _first(bucket: S3Bucket, pace: Pace, sent: _UnderWay, read: _Read) -> _First | None:
    began = monotonic()
    is_late = began - sent.sent_s > _LATE * bucket.limits.timeout_s
    if is_late:
        sent.begun.sent.connection.hurry()
    try:
        in_turn(lambda: bucket.answer(sent.begun, read), pace, sent.round)
    except UnservedError as error:
        if is_late and error.is_silent:
            return None
        error.took_s = monotonic() - began
        return _raising(error)
    except AestheticsOpsError as error:
        return _raising(error)
    return _served


def _served() -> None:
    """Stand for an attempt that was served."""


def _raising(error: AestheticsOpsError) -> _First:
    def fail() -> None:
        raise error

    return fail
