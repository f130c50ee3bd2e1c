"""LATEST.json, the pointer to the version that readers should take: read it, and move it.

A move has three ends: done; refused, when another writer was first; unknown, when the reply was lost.

A version is published once LATEST has named it.  `published/<version>.json` keeps that when LATEST moves on: the mark is
written right after the move, and again by whoever moves LATEST next, in case that the first writer died in between.  So
what was refused, or never came to its end, is never listed, whatever it left under `versions/`.
"""

import hashlib
import logging
from collections.abc import Collection
from contextlib import suppress
from typing import Final, Self

from pydantic import Field, model_validator

from aesthetics_ops.dataset.documents import Document
from aesthetics_ops.dataset.layout import (
    LATEST_KEY,
    LATEST_NAME,
    PUBLISHED,
    VersionFile,
    is_name,
    probe_key,
    published_in,
    published_key,
    version_key,
)
from aesthetics_ops.dataset.moves import LogEntry, Move, log_move
from aesthetics_ops.errors import IntegrityError, StoreRefusedError, StoreUnavailableError
from aesthetics_ops.store import Store, StoredObject, Swap

__all__ = [
    "WAY_BACK",
    "LatestPointer",
    "PublishedMark",
    "compares_writes",
    "drop_marks",
    "is_published",
    "log_latest",
    "mark_published",
    "move_latest",
    "peek_latest",
    "pointer_in_object",
    "pointer_to",
    "promotion_of",
    "published_sha256",
    "published_versions",
    "put_back",
    "read_latest",
    "write_pointer",
]

WAY_BACK: Final = (
    "`aesthetics-ops rollback DATASET VERSION` makes LATEST name one of `aesthetics-ops versions DATASET`; where none of "
    "them is whole, a build with start_anew (`--start-anew`) takes their place, and keeps finished shards"
)
_WRITES: Final = 3  # of a pointer that is lost or altered on its way
_log = logging.getLogger(__name__)


class LatestPointer(Document):
    """LATEST.json: which version readers should take; or pointers/<name>.json, the same for those who ask for a name."""

    kind = "pointer to a version"

    version: str
    manifest: str = Field(description="key relative to the dataset")
    sha256: str = Field(pattern="^[0-9a-f]{64}$", description="of the manifest's bytes")
    move: Move | None = Field(
        None, description="how it came to name the version; null where the writer did not note it"
    )

    @model_validator(mode="after")
    def _is_of_a_version(self) -> Self:
        if not is_name(self.version):
            raise ValueError(f"{self.version!r} cannot name a version")
        if self.manifest != version_key(self.version, VersionFile.MANIFEST):
            raise ValueError(f"{self.manifest!r} is not the key of the manifest of version {self.version!r}")
        return self


class PublishedMark(Document):
    """published/<version>.json: LATEST names this version, or has named it."""

    kind = "mark of a published version"

    version: str
    sha256: str = Field(pattern="^[0-9a-f]{64}$", description="of the manifest's bytes")
    promotion: Move | None = Field(
        None, description="the move that published a candidate; null where the gates were passed"
    )


def read_latest(dataset: Store) -> tuple[LatestPointer, str] | None:
    """Return LATEST and its ETag, or None where nothing was ever published.

    Raises:
        IntegrityError: LATEST cannot be read, or is gone though versions were published.
    """
    stored = LatestPointer.stored(dataset, LATEST_KEY)
    if stored is None:
        marked = sorted(published_versions(dataset, None), reverse=True)
        if not marked:
            return None
        stored = LatestPointer.stored(dataset, LATEST_KEY)  # marks are written after LATEST
        if stored is None:
            raise IntegrityError(
                f"{dataset.url_of(LATEST_KEY)} is gone, though versions were published, the newest {marked[0]!r}; "
                f"{WAY_BACK}"
            )
    try:
        return LatestPointer.parse(stored.data, name=dataset.url_of(LATEST_KEY)), stored.etag
    except IntegrityError as error:
        raise IntegrityError(f"{error}; {WAY_BACK}") from error


def peek_latest(dataset: Store) -> tuple[LatestPointer | None, str | None]:
    """Return LATEST and its ETag, in whatever state it is: no pointer where it cannot be read, neither where it is gone."""
    stored = LatestPointer.stored(dataset, LATEST_KEY)
    return pointer_in_object(stored), stored.etag if stored is not None else None


def pointer_in_object(stored: StoredObject | None) -> LatestPointer | None:
    """Return the pointer that an object holds; None where there is no object, or it holds something else."""
    try:
        return None if stored is None else LatestPointer.parse(stored.data, name=stored.key)
    except IntegrityError:
        return None


def published_versions(dataset: Store, latest: LatestPointer | None) -> set[str]:
    """Return the names of all published versions; nothing but marks is listed, however many there are."""
    marked = {name for key in dataset.list(PUBLISHED)["key"].to_pylist() if (name := published_in(key)) is not None}
    return marked | ({latest.version} if latest is not None else set())


def is_published(dataset: Store, version: str) -> bool:
    """Say whether a version has the mark of one that was published and is not being deleted."""
    return dataset.head(published_key(version)) is not None


def published_sha256(dataset: Store, version: str) -> str | None:
    """Return the sha256 of the manifest that a version was published with; None where no mark tells it."""
    try:
        mark = PublishedMark.read(dataset, published_key(version))
    except IntegrityError as error:
        _log.warning("%s", error)
        return None
    return None if mark is None else mark.sha256


def move_latest(dataset: Store, pointer: LatestPointer, *, expected_etag: str | None, compares: bool) -> Swap:
    """Make LATEST name a version whose files are all in the store.

    The version that it names now gets its mark before, if it has none, and the move that made it so its entry in the log.

    Args:
        dataset: the store that LATEST lies in.
        pointer: what LATEST is to hold.
        expected_etag: of the LATEST that is to be replaced; None where there must be none yet.
        compares: the answer of `compares_writes`; False looks, writes and reads back.

    Raises:
        IntegrityError: the store keeps other bytes than were written.
        StoreRefusedError, StoreUnavailableError: the store says no, or nothing; nothing was written.
    """
    _mark_current(dataset)
    return write_pointer(dataset, LATEST_KEY, pointer, expected_etag, compares=compares)


def pointer_to(version: str, manifest: bytes, move: Move | None = None) -> LatestPointer:
    """Return what LATEST holds when it names a version.

    Args:
        version: its name.
        manifest: the bytes of its manifest, as they are stored.
        move: that makes it so; None notes none.
    """
    key = version_key(version, VersionFile.MANIFEST)
    return LatestPointer(version=version, manifest=key, sha256=hashlib.sha256(manifest).hexdigest(), move=move)


def promotion_of(dataset: Store, version: str, latest: LatestPointer | None) -> Move | None:
    """Return the move that published a candidate, though gates refused it; None for any other version.

    Args:
        dataset: that the version lies in.
        version: its name.
        latest: what LATEST holds.
    """
    if latest is not None and latest.version == version and latest.move is not None and latest.move.action == "promote":
        return latest.move
    try:
        mark = PublishedMark.read(dataset, published_key(version))
    except IntegrityError as error:
        _log.warning("%s", error)
        return None
    return None if mark is None else mark.promotion


def mark_published(dataset: Store, pointer: LatestPointer) -> None:
    """Mark the version that LATEST has just been made to name, and log the move; where that fails, the next move does it."""
    try:
        _mark(dataset, pointer)
        log_latest(dataset, pointer)
    except (StoreRefusedError, StoreUnavailableError) as error:
        _log.warning("version %s is published; its mark could not be written now: %s", pointer.version, error)


def drop_marks(dataset: Store, versions: Collection[str]) -> None:
    """Take the marks of versions that cannot be read, and whose place another has taken: no command lists them any more."""
    try:
        dataset.delete([published_key(version) for version in versions])
    except (StoreRefusedError, StoreUnavailableError) as error:
        _log.warning("versions %s cannot be read; their marks could not be taken now: %s", ", ".join(versions), error)


def _mark(dataset: Store, pointer: LatestPointer) -> None:
    key = published_key(pointer.version)
    if dataset.head(key) is None:
        promotion = pointer.move if pointer.move is not None and pointer.move.action == "promote" else None
        mark = PublishedMark(version=pointer.version, sha256=pointer.sha256, promotion=promotion)
        dataset.put(key, mark.encoded())


def log_latest(dataset: Store, pointer: LatestPointer) -> None:
    """Write the entry of the move that made LATEST what it is, unless it is there."""
    if pointer.move is not None:
        log_move(dataset, LogEntry(pointer=LATEST_NAME, version=pointer.version, move=pointer.move))


def _mark_current(dataset: Store) -> None:
    """Mark the version that LATEST names now, and log its move; one that cannot be read cannot be marked."""
    with suppress(IntegrityError):
        found = read_latest(dataset)
        if found is not None and dataset.head(version_key(found[0].version, VersionFile.MANIFEST)) is not None:
            _mark(dataset, found[0])
            log_latest(dataset, found[0])


def write_pointer(
    dataset: Store, key: str, pointer: LatestPointer, expected_etag: str | None, *, compares: bool
) -> Swap:
    """Write LATEST, or another pointer, and read it back; what was lost or altered on its way is written again.

    Args:
        dataset: the store that it lies in.
        key: of the pointer.
        pointer: what it is to hold.
        expected_etag: of the object that is to be replaced; None where there must be none yet.
        compares: the answer of `compares_writes`; False looks, writes and reads back.

    Raises:
        StoreUnavailableError: time and again it holds what it held before.
        IntegrityError: time and again it holds something else, which is no pointer to another version.
    """
    swap = dataset.swap if compares else dataset.replace
    expected = expected_etag
    for _ in range(_WRITES):
        ending = swap(key, pointer.encoded(), expected)
        try:
            stored = LatestPointer.stored(dataset, key)
        except (StoreUnavailableError, StoreRefusedError):
            if ending is Swap.DONE:
                raise
            return ending
        if stored is not None and bytes(stored.data) == pointer.encoded():
            return Swap.DONE
        found = pointer_in_object(stored)
        is_lost = stored is None or stored.etag == expected
        is_altered = not is_lost and (
            found is None or (found.version == pointer.version and ending is not Swap.REFUSED)
        )
        if not is_altered and not (is_lost and (ending is Swap.DONE or not compares)):
            return ending  # somebody else was first, or has moved it on, or what was written may still come
        _log.warning("%s was written, and does not hold what was written; that is done again", dataset.url_of(key))
        expected = stored.etag if stored is not None else None
    raise _not_kept(dataset, key, pointer, stored, expected_etag)


def put_back(dataset: Store, key: str, written: str, before: StoredObject, *, compares: bool) -> None:
    """Make a pointer hold what it held before, unless it is gone meanwhile; where somebody else moved it since, that stays.

    Args:
        dataset: the store that it lies in.
        key: of the pointer.
        written: the version that it was just made to name.
        before: what it held before that.
        compares: the answer of `compares_writes`.
    """
    swap = dataset.swap if compares else dataset.replace
    for _ in range(_WRITES):
        now = LatestPointer.stored(dataset, key)
        if now is None or bytes(now.data) == bytes(before.data):
            return
        named = pointer_in_object(now)
        if named is not None and named.version != written:
            return
        if swap(key, bytes(before.data), now.etag) is not Swap.DONE:
            return


def _not_kept(
    dataset: Store, key: str, pointer: LatestPointer, stored: StoredObject | None, replaced_etag: str | None
) -> IntegrityError | StoreUnavailableError:
    """Return the error for a store that answers well and keeps something else, or what it had, whose ETag is given."""
    if stored is not None and stored.etag == replaced_etag:
        return StoreUnavailableError(
            f"{dataset.url_of(key)} was written, and holds what it held before: the store, or something before it, "
            f"answers well and loses what is uploaded; it does not name version {pointer.version!r}: try again later"
        )
    found = "nothing" if stored is None else f"{len(stored.data)} bytes that begin with {bytes(stored.data[:24])!r}"
    return IntegrityError(
        f"{dataset.url_of(key)} was written as {len(pointer.encoded())} bytes and holds {found}: the store or "
        f"something before it changes what is uploaded; correct it, then {WAY_BACK}"
    )


def compares_writes(dataset: Store, *, single_writer: bool) -> bool:
    """Find out whether a store refuses a write that another writer has overtaken.

    Args:
        dataset: the store that LATEST lies in.
        single_writer: the setting: there is no other writer.

    Raises:
        StoreRefusedError: it does not, and there may be another writer; or it keeps other bytes than it is sent.
        StoreUnavailableError: it gave no answer that can be relied on.
    """
    found = dataset.probe(probe_key())
    _log.info(
        "%s: creates once %s, compares ETags %s, checks uploads %s",
        dataset.url, found.creates_once, found.compares, "not asked" if found.checks_uploads is None else found.checks_uploads,
    )  # fmt: skip
    if not found.are_safe and not single_writer:
        headers = " and ".join(
            name for name, kept in (("If-None-Match", found.creates_once), ("If-Match", found.compares)) if not kept
        )
        fault = f"refuses {headers} on writes ({found.said})" if found.said else f"ignores {headers} on writes"
        raise StoreRefusedError(
            f"the store of {dataset.url} {fault}, so two builds could each believe that they published; "
            "use a store that honours them, or set single_writer where nothing else moves this dataset's LATEST.json"
        )
    return found.are_safe
