"""Publish a candidate that gates refused: a person overrules them, and says why."""

from aesthetics_ops.dataset.candidates import CandidateMark, drop_candidates
from aesthetics_ops.dataset.latest import (
    LatestPointer,
    compares_writes,
    drop_marks,
    is_published,
    mark_published,
    move_latest,
    pointer_in_object,
    pointer_to,
    put_back,
)
from aesthetics_ops.dataset.layout import LATEST_KEY, candidate_key, is_name
from aesthetics_ops.dataset.manifest import Manifest
from aesthetics_ops.dataset.moves import Given, Move
from aesthetics_ops.dataset.reading_manifests import manifest_in, stored_manifest
from aesthetics_ops.errors import NoSuchVersionError, PublishConflictError, PublishUnknownError
from aesthetics_ops.store import Store, StoredObject, Swap
from aesthetics_ops.versions.whole import require_whole

__all__ = ["candidate_to_promote", "promote"]


def candidate_to_promote(dataset: Store, version: str) -> tuple[Manifest, CandidateMark | None]:
    """Return a candidate and its mark, if it can be promoted as things are; the mark is None where LATEST names it already.

    Args:
        dataset: that it lies in.
        version: its name.

    Raises:
        NoSuchVersionError, IntegrityError, PublishConflictError: as `promote`, which also looks at every file of it.
    """
    before = LatestPointer.stored(dataset, LATEST_KEY)
    latest = pointer_in_object(before)
    if latest is not None and latest.version == version:
        return _finished(dataset, latest), None
    mark = _candidate(dataset, version)
    manifest, _ = _manifest_of(dataset, version)
    _require_parent(dataset, mark, latest, before)
    return manifest, mark


def promote(dataset: Store, version: str, given: Given) -> Manifest:
    """Make LATEST name a candidate; the mark of the version, and the log, say who overruled which gates, and why.

    A candidate whose promotion was cut off is promoted to the end.

    Args:
        dataset: that it lies in.
        version: its name.
        given: who promotes it, and why.

    Raises:
        NoSuchVersionError: there is no such candidate; or it is published already, and LATEST has moved on.
        IntegrityError: its manifest cannot be read, or a shard or table of it is not what that states.
        PublishConflictError: LATEST does not name what it named when the candidate was built, or moved just now; or the candidate
            is being deleted.
        PublishUnknownError: the reply was lost, and LATEST could not be read back.
        StoreRefusedError: the store ignores conditions on writes, and the version's settings do not say `single_writer`.
    """
    before = LatestPointer.stored(dataset, LATEST_KEY)
    latest = pointer_in_object(before)
    if latest is not None and latest.version == version:
        return _finished(dataset, latest)
    mark = _candidate(dataset, version)
    manifest, data = _manifest_of(dataset, version)
    require_whole(dataset, manifest)
    _require_parent(dataset, mark, latest, before)
    move = Move.now(
        "promote",
        given,
        previous=latest.version if latest else None,
        overruled=tuple(gate.name for gate in mark.refused),
    )
    pointer = pointer_to(version, data, move)
    compares = compares_writes(dataset, single_writer=bool(manifest.settings.get("single_writer")))
    ending = move_latest(dataset, pointer, expected_etag=before.etag if before else None, compares=compares)
    _require_done(dataset, version, ending)
    _stand_back(dataset, version, before, compares=compares)
    _finish(dataset, pointer, mark)
    return manifest


def _candidate(dataset: Store, version: str) -> CandidateMark:
    mark = CandidateMark.read(dataset, candidate_key(version)) if is_name(version) else None
    if is_name(version) and is_published(dataset, version):
        raise NoSuchVersionError(
            f"version {version!r} of {dataset.url} is published already; `aesthetics-ops rollback` makes LATEST name it"
        )
    if mark is None:
        raise NoSuchVersionError(
            f"{dataset.url} has no candidate {version!r}; `aesthetics-ops versions` lists the candidates after the versions"
        )
    return mark


def _manifest_of(dataset: Store, version: str) -> tuple[Manifest, bytes]:
    """Return a candidate's manifest, and its bytes."""
    stored = stored_manifest(dataset, version, None)
    return manifest_in(dataset, version, stored), bytes(stored.data)


def _require_parent(
    dataset: Store, mark: CandidateMark, latest: LatestPointer | None, before: StoredObject | None
) -> None:
    """Make sure that LATEST names what it named when the candidate was built, or holds the very bytes that it held."""
    if (before.etag if before else None) == mark.latest_etag:
        return
    if latest is not None and latest.version == mark.parent:
        return
    named = repr(latest.version) if latest is not None else "nothing that can be read"
    back = f", or go back first: `aesthetics-ops rollback {dataset.url} {mark.parent}`" if mark.parent else ""
    raise PublishConflictError(
        f"LATEST of {dataset.url} names {named}, and candidate {mark.version!r} was built on {mark.parent!r}: what came between would be "
        f"lost; build again, finished shards are kept{back}"
    )


def _require_done(dataset: Store, version: str, ending: Swap) -> None:
    if ending is Swap.REFUSED:
        raise PublishConflictError(
            f"LATEST of {dataset.url} was moved by another writer just now, so {version!r} is not promoted; look at "
            "`aesthetics-ops log`, then try again"
        )
    if ending is Swap.UNKNOWN:
        raise PublishUnknownError(
            f"the reply to writing {dataset.url_of(LATEST_KEY)} was lost and it could not be read back; promote {version!r} again: it "
            "looks at LATEST first"
        )


def _stand_back(dataset: Store, version: str, before: StoredObject | None, *, compares: bool) -> None:
    """Undo the move where an expiry took the candidate's mark meanwhile: its files may go at any moment.

    An expiry takes the mark, then looks at LATEST, then deletes; so one of both sees the other.  It takes those of published
    versions, too, whose marks as such stay.
    """
    if dataset.head(candidate_key(version)) is not None or is_published(dataset, version):
        return
    if before is not None:
        put_back(dataset, LATEST_KEY, version, before, compares=compares)
    raise PublishConflictError(
        f"candidate {version!r} of {dataset.url} is being deleted by an expiry; LATEST names what it named before: build again"
    )


def _finish(dataset: Store, pointer: LatestPointer, mark: CandidateMark | None) -> None:
    mark_published(dataset, pointer)
    if mark is not None:
        drop_marks(dataset, mark.unreadable)
    drop_candidates(dataset, [pointer.version])


def _finished(dataset: Store, latest: LatestPointer) -> Manifest:
    """Return the version that LATEST names already; what a promotion that was cut off left undone is done."""
    stored = stored_manifest(dataset, latest.version, latest)
    mark = CandidateMark.read(dataset, candidate_key(latest.version))
    if mark is not None:
        _finish(dataset, latest, mark)
    return manifest_in(dataset, latest.version, stored)
