"""Make LATEST name another published version."""

import logging

from aesthetics_ops.dataset.latest import LatestPointer, compares_writes, is_published, move_latest, pointer_to
from aesthetics_ops.dataset.layout import DOCUMENTS, LATEST_KEY, SHARDS, version_prefix
from aesthetics_ops.dataset.manifest import Manifest, stored_manifest
from aesthetics_ops.dataset.sidecars import is_kept
from aesthetics_ops.errors import IntegrityError, NoSuchVersionError, PublishConflictError
from aesthetics_ops.store import Store, StoredObject, Swap

__all__ = ["rollback"]

_log = logging.getLogger(__name__)


def rollback(dataset: Store, version: str) -> Manifest:
    """Make LATEST name an older (or newer) published version; the next build starts from it.

    This is the way back from a LATEST that cannot be read, too: what it holds is replaced, whatever it is.
    The version's data must be whole.  Where only its report, card or croissant.json is damaged, the log says so in a warning.

    Raises:
        NoSuchVersionError: there is no such version, or it was never published.
        IntegrityError: its manifest cannot be read or is another version's, a shard of it is gone or has another size, or a
            table of it is not what the manifest states.
        PublishConflictError: LATEST moved meanwhile, the version is being deleted, or the write's end is unknown.
        StoreRefusedError: the store ignores conditions on writes, and the version's settings do not say `single_writer`.
    """
    before = LatestPointer.stored(dataset, LATEST_KEY)
    target = stored_manifest(dataset, version, None)
    try:
        manifest = Manifest.parse(target.data, name=dataset.url_of(target.key))
    except IntegrityError as error:
        raise IntegrityError(
            f"{error}; choose another of `aesthetics-ops versions`; where none is whole, a build with start_anew "
            "(`--start-anew`) takes their place, and keeps finished shards"
        ) from error
    if manifest.version != version:
        raise IntegrityError(
            f"{dataset.url_of(target.key)} is the manifest of version {manifest.version!r}; LATEST stays"
        )
    if not is_published(dataset, version):
        raise NoSuchVersionError(
            f"version {version!r} of {dataset.url} was never published, or is being deleted; "
            "`aesthetics-ops versions` lists those that were"
        )
    _require_data(dataset, manifest)
    if before is not None and bytes(before.data) == pointer_to(version, bytes(target.data)).encoded():
        return manifest  # a build that has been planned meanwhile may still publish
    compares = compares_writes(dataset, single_writer=bool(manifest.settings.get("single_writer")))
    ending = move_latest(
        dataset, version, bytes(target.data), expected_etag=before.etag if before else None, compares=compares
    )
    if ending is not Swap.DONE:
        raise PublishConflictError(
            f"{dataset.url_of(LATEST_KEY)} could not be moved to {version!r} ({ending.name.lower()}): a build may be publishing; "
            "look at `aesthetics-ops versions`, then try again"
        )
    _stand_back(dataset, manifest, before, compares=compares)
    return manifest


def _require_data(dataset: Store, manifest: Manifest) -> None:
    listing = dataset.list(SHARDS)
    sizes = dict(zip(listing["key"].to_pylist(), listing["size"].to_pylist(), strict=True))
    for split in manifest.splits.values():
        for shard in split.shards:
            found = sizes.get(shard.path)
            if found != shard.bytes:
                is_not = "is gone" if found is None else f"has {found} bytes where the manifest states {shard.bytes}"
                raise IntegrityError(
                    f"version {manifest.version!r} needs {dataset.url_of(shard.path)}, which {is_not}; LATEST stays"
                )
    spoilt = []
    for file, stated in (manifest.files or {}).items():
        key = f"{version_prefix(manifest.version)}{file}"
        if is_kept(dataset, key, stated):
            continue
        if file not in DOCUMENTS:
            raise IntegrityError(
                f"version {manifest.version!r} needs {dataset.url_of(key)}, which is gone or not what the manifest states; LATEST stays: "
                "`aesthetics-ops verify DATASET --version V --repair` makes it anew where it can"
            )
        spoilt.append(file)
    if spoilt:
        _log.warning(
            "version %s is whole but for %s, which no training reads; `aesthetics-ops verify %s --version %s --repair` makes it anew "
            "where it can",
            manifest.version, " and ".join(spoilt), dataset.url, manifest.version,
        )  # fmt: skip


def _stand_back(dataset: Store, manifest: Manifest, before: StoredObject | None, *, compares: bool) -> None:
    """Undo the move where an expiry took the version's mark meanwhile: its files may go at any moment.

    An expiry takes the mark, then looks at LATEST, then deletes; so one of both sees the other.
    """
    if is_published(dataset, manifest.version):
        return
    moved = LatestPointer.stored(dataset, LATEST_KEY)
    if moved is not None and before is not None:
        swap = dataset.swap if compares else dataset.replace
        swap(LATEST_KEY, bytes(before.data), moved.etag)
    raise PublishConflictError(
        f"version {manifest.version!r} of {dataset.url} is being deleted by an expiry; LATEST names what it named before: "
        "choose another of `aesthetics-ops versions`"
    )
