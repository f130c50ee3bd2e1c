"""LATEST.json, the pointer to the version that readers should take: read it, and find out how it can be moved."""

import logging
import uuid

from pydantic import Field

from aesthetics_ops.dataset.documents import Document
from aesthetics_ops.dataset.layout import LATEST_KEY
from aesthetics_ops.errors import IntegrityError, ObjectMissingError, StoreRefusedError
from aesthetics_ops.store import Store

__all__ = ["LatestPointer", "compares_writes", "read_latest"]

_log = logging.getLogger(__name__)


class LatestPointer(Document):
    """LATEST.json: which version readers should take."""

    version: str
    manifest: str = Field(description="key relative to the dataset")
    sha256: str = Field(pattern="^[0-9a-f]{64}$", description="of the manifest's bytes")


def read_latest(dataset: Store) -> tuple[LatestPointer, str] | None:
    """Return LATEST and its ETag, or None where nothing was ever published.

    Raises:
        IntegrityError: LATEST is there but cannot be read.
    """
    try:
        stored = dataset.get(LATEST_KEY)
    except ObjectMissingError:
        return None
    try:
        return LatestPointer.model_validate_json(bytes(stored.data)), stored.etag
    except ValueError as error:
        raise IntegrityError(f"{dataset.url_of(LATEST_KEY)} is not a pointer to a version: {error}") from error


def compares_writes(dataset: Store, *, single_writer: bool) -> bool:
    """Find out whether a store refuses a write that another writer has overtaken.

    Args:
        dataset: the store that LATEST lies in.
        single_writer: the setting: there is no other writer.

    Raises:
        StoreRefusedError: it does not, and there may be another writer.
    """
    found = dataset.probe(f"probe-{uuid.uuid4().hex}")
    _log.info(
        "%s: creates once %s, compares ETags %s, checks uploads %s",
        dataset.url, found.creates_once, found.compares, "not asked" if found.checks_uploads is None else found.checks_uploads,
    )  # fmt: skip
    if not found.are_safe and not single_writer:
        ignored = " and ".join(
            name for name, kept in (("If-None-Match", found.creates_once), ("If-Match", found.compares)) if not kept
        )
        raise StoreRefusedError(
            f"the store of {dataset.url} ignores {ignored} on writes, so two builds could each believe that they published; "
            "use a store that honours them, or set single_writer where nothing else moves this dataset's LATEST.json"
        )
    return found.are_safe
