"""Make LATEST name another published version."""

from aesthetics_ops.dataset.candidates import CandidateMark, refused_in_words
from aesthetics_ops.dataset.latest import (
    LatestPointer,
    compares_writes,
    is_published,
    log_latest,
    move_latest,
    pointer_in_object,
    pointer_to,
    put_back,
    read_latest,
)
from aesthetics_ops.dataset.layout import LATEST_KEY, candidate_key
from aesthetics_ops.dataset.manifest import Manifest
from aesthetics_ops.dataset.moves import Given, Move
from aesthetics_ops.dataset.pointers import resolve_version
from aesthetics_ops.dataset.reading_manifests import manifest_in, stored_manifest
from aesthetics_ops.errors import NoSuchVersionError, PublishConflictError
from aesthetics_ops.progress import Progress, silent
from aesthetics_ops.store import Store, StoredObject, Swap
from aesthetics_ops.versions.whole import require_whole

__all__ = ["rollback"]


def rollback(dataset: Store, version: str, given: Given | None = None, *, progress: Progress = silent) -> Manifest:
    """Make LATEST name an older (or newer) published version; the next build starts from it.

    This is the way back from a LATEST that cannot be read, too: what it holds is replaced, whatever it is.
    The version's data must be whole.  Where only its report, card or croissant.json is damaged, a warning says so.

    Args:
        dataset: that it lies in.
        version: its name, or that of a pointer.
        given: who goes back, and why, for the log of moves; by default this system's user, who says no reason.
        progress: told of what is listed and read of the version.

    Raises:
        NoSuchVersionError: there is no such version, or it was never published.
        IntegrityError: its manifest cannot be read or is another version's, a shard of it is gone or has another size, or a
            table of it is not what the manifest states.
        PublishConflictError: LATEST moved meanwhile, the version is being deleted, or the write's end is unknown.
        StoreRefusedError: the store ignores conditions on writes, and the version's settings do not say `single_writer`.
    """
    before = LatestPointer.stored(dataset, LATEST_KEY)
    version = resolve_version(dataset, version) or _latest_version(dataset)
    target = stored_manifest(dataset, version, None)
    manifest = manifest_in(dataset, version, target)
    if not is_published(dataset, version):
        raise _unpublished(dataset, version)
    require_whole(dataset, manifest, progress=progress)
    pointer = pointer_to(version, bytes(target.data))
    now = pointer_in_object(before)
    if now is not None and now.model_copy(update={"move": None}) == pointer:
        return manifest  # a build that has been planned meanwhile may still publish
    given = given or Given.of(None, None, needs_reason=False)
    move = Move.now("rollback", given, previous=now.version if now is not None else None)
    pointer = pointer.model_copy(update={"move": move})
    compares = compares_writes(dataset, single_writer=bool(manifest.settings.get("single_writer")))
    ending = move_latest(dataset, pointer, expected_etag=before.etag if before else None, compares=compares)
    if ending is not Swap.DONE:
        raise PublishConflictError(
            f"{dataset.url_of(LATEST_KEY)} could not be moved to {version!r} ({ending.name.lower()}): a build may be publishing; "
            "look at `aesthetics-ops versions`, then try again"
        )
    _stand_back(dataset, manifest, before, compares=compares)
    log_latest(dataset, pointer)
    return manifest


def _latest_version(dataset: Store) -> str:
    found = read_latest(dataset)
    return found[0].version if found else LATEST_KEY


def _unpublished(dataset: Store, version: str) -> NoSuchVersionError:
    mark = CandidateMark.read(dataset, candidate_key(version))
    if mark is not None:
        return NoSuchVersionError(
            f"version {version!r} of {dataset.url} is a candidate, {refused_in_words(mark.refused)}; "
            f"`aesthetics-ops promote {dataset.url} {version} --reason TEXT` publishes it all the same"
        )
    return NoSuchVersionError(
        f"version {version!r} of {dataset.url} was never published, or is being deleted; "
        "`aesthetics-ops versions` lists those that were"
    )


def _stand_back(dataset: Store, manifest: Manifest, before: StoredObject | None, *, compares: bool) -> None:
    """Undo the move where an expiry took the version's mark meanwhile: its files may go at any moment.

    An expiry takes the mark, then looks at LATEST, then deletes; so one of both sees the other.
    """
    if is_published(dataset, manifest.version):
        return
    if before is not None:
        put_back(dataset, LATEST_KEY, manifest.version, before, compares=compares)
    raise PublishConflictError(
        f"version {manifest.version!r} of {dataset.url} is being deleted by an expiry; LATEST names what it named before: "
        "choose another of `aesthetics-ops versions`"
    )
