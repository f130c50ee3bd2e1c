"""LATEST.json, the pointer to the version that readers should take: read it, and move it.

A move has three ends: done; refused, when another writer was first; unknown, when the reply was lost.
"""

import hashlib
import logging

from pydantic import Field

from aesthetics_ops.dataset.documents import Document
from aesthetics_ops.dataset.layout import LATEST_KEY, VersionFile, probe_key, version_key
from aesthetics_ops.errors import StoreRefusedError
from aesthetics_ops.store import Store, Swap

__all__ = ["LatestPointer", "compares_writes", "move_latest", "read_latest"]

_log = logging.getLogger(__name__)


class LatestPointer(Document):
    """LATEST.json: which version readers should take."""

    kind = "pointer to a version"

    version: str
    manifest: str = Field(description="key relative to the dataset")
    sha256: str = Field(pattern="^[0-9a-f]{64}$", description="of the manifest's bytes")


def read_latest(dataset: Store) -> tuple[LatestPointer, str] | None:
    """Return LATEST and its ETag, or None where nothing was ever published.

    Raises:
        IntegrityError: LATEST is there but cannot be read.
    """
    stored = LatestPointer.stored(dataset, LATEST_KEY)
    if stored is None:
        return None
    return LatestPointer.parse(stored.data, name=dataset.url_of(LATEST_KEY)), stored.etag


def move_latest(dataset: Store, version: str, manifest: bytes, *, expected_etag: str | None, compares: bool) -> Swap:
    """Make LATEST name a version whose files are all in the store.

    Args:
        dataset: the store that LATEST lies in.
        version: its name.
        manifest: the bytes of its manifest, as they are stored.
        expected_etag: of the LATEST that is to be replaced; None where there must be none yet.
        compares: the answer of `compares_writes`; False looks, writes and reads back.
    """
    key = version_key(version, VersionFile.MANIFEST)
    pointer = LatestPointer(version=version, manifest=key, sha256=hashlib.sha256(manifest).hexdigest())
    swap = dataset.swap if compares else dataset.replace
    return swap(LATEST_KEY, pointer.encoded(), expected_etag)


def compares_writes(dataset: Store, *, single_writer: bool) -> bool:
    """Find out whether a store refuses a write that another writer has overtaken.

    Args:
        dataset: the store that LATEST lies in.
        single_writer: the setting: there is no other writer.

    Raises:
        StoreRefusedError: it does not, and there may be another writer.
    """
    found = dataset.probe(probe_key())
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
