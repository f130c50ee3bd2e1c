"""One expiry at a time, and none while a plan looks which shards are there.

An expiry writes its lease, then looks for builds.  A plan writes its start, then looks for a lease.  So one of both sees
the other: the expiry leaves all shards alone, or the plan waits.
"""

import logging
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Final, TypeGuard

from pydantic import AwareDatetime, Field

from aesthetics_ops.dataset.documents import Document
from aesthetics_ops.dataset.layout import EXPIRY_KEY
from aesthetics_ops.errors import DatasetBusyError, IntegrityError
from aesthetics_ops.store import Store, StoredObject, Swap

__all__ = ["LEASE", "ExpiryLease", "expiry_lease", "note_marks", "wait_for_expiry"]

LEASE: Final = timedelta(hours=1)  # an expiry that takes longer stops; one that died counts for no longer
_PATIENCE_SECONDS: Final = 60.0
_POLL_SECONDS: Final = 1.0
_log = logging.getLogger(__name__)


class ExpiryLease(Document):
    """expiry.json: an expiry is at work."""

    kind = "lease of an expiry"

    token: str
    since: AwareDatetime
    marks: dict[str, str] = Field(
        default={}, description="marks of versions and candidates that are being taken, by key, as they were"
    )


@contextmanager
def expiry_lease(dataset: Store) -> Iterator[ExpiryLease]:
    """Hold the lease of a dataset.  It has the marks that an expiry was taking which died.

    Raises:
        DatasetBusyError: another expiry has it.
    """
    lease = ExpiryLease(token=uuid.uuid4().hex, since=datetime.now(UTC))
    try:
        yield _take(dataset, lease)
    finally:  # also of what was taken while a signal came
        try:
            _release(dataset, lease)
        except Exception:
            raise
        except BaseException:  # a signal that came just now: without this the lease would stand for its hour
            _release(dataset, lease)
            raise


def note_marks(dataset: Store, lease: ExpiryLease, marks: Mapping[str, str]) -> None:
    """Write the marks into the lease that are taken next, so that whoever finds it dead can bring them back.

    Raises:
        DatasetBusyError: the lease is another's by now.
    """
    held = _held(dataset)
    noted = lease.model_copy(update={"marks": dict(marks)})
    if not _is_of(held, lease) or dataset.swap(EXPIRY_KEY, noted.encoded(), held.etag) is not Swap.DONE:
        raise DatasetBusyError(
            f"the lease of this expiry of {dataset.url} is another's by now; nothing is deleted: run expire again"
        )


def _take(dataset: Store, lease: ExpiryLease) -> ExpiryLease:
    held = _held(dataset)
    if held is not None and (since := _since(held)) is not None:
        raise _busy(dataset, since)
    if held is None:
        taken = dataset.put_if_absent(EXPIRY_KEY, lease.encoded())
    else:  # of an expiry that died
        with suppress(IntegrityError):
            lease = lease.model_copy(update={"marks": ExpiryLease.parse(held.data, name=held.key).marks})
        taken = dataset.swap(EXPIRY_KEY, lease.encoded(), held.etag) is Swap.DONE
    if not taken:
        raise _busy(dataset, lease.since)
    return lease


def _release(dataset: Store, lease: ExpiryLease) -> None:
    """Delete the lease, unless it is another's, or there is none."""
    if _is_of(_held(dataset), lease):
        dataset.delete([EXPIRY_KEY])


def _is_of(held: StoredObject | None, lease: ExpiryLease) -> TypeGuard[StoredObject]:
    """Say whether an object is a lease of the same holder."""
    try:
        return held is not None and ExpiryLease.parse(held.data, name=held.key).token == lease.token
    except IntegrityError:
        return False


def wait_for_expiry(dataset: Store) -> None:
    """Return when no expiry is at work, at once where there is none.

    Raises:
        DatasetBusyError: there still is one after a minute.
    """
    deadline = time.monotonic() + _PATIENCE_SECONDS
    told = False
    while (held := _held(dataset)) is not None and (since := _since(held)) is not None:
        if time.monotonic() > deadline:
            raise _busy(dataset, since)
        if not told:
            _log.info("an expiry of %s is at work since %s; waiting for its end", dataset.url, since)
            told = True
        time.sleep(_POLL_SECONDS)


def _held(dataset: Store) -> StoredObject | None:
    return ExpiryLease.stored(dataset, EXPIRY_KEY)


def _since(held: StoredObject) -> datetime | None:
    """Return since when a lease holds; None where it is over, damaged, or from a clock that is wrong by more than it lasts."""
    try:
        since = ExpiryLease.parse(held.data, name=held.key).since
    except IntegrityError:
        return None
    return since if abs(datetime.now(UTC) - since) < LEASE else None


def _busy(dataset: Store, since: datetime) -> DatasetBusyError:
    return DatasetBusyError(
        f"an expiry of {dataset.url} is at work since {since:%Y-%m-%d %H:%M:%S %Z}; try again when it is done; "
        f"if it died, its lease ends {LEASE.seconds // 3600} h after that"
    )
