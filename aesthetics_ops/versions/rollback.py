"""Make LATEST name another published version."""

from aesthetics_ops.dataset.latest import compares_writes, move_latest, read_latest
from aesthetics_ops.dataset.layout import LATEST_KEY, SHARDS
from aesthetics_ops.dataset.manifest import Manifest, stored_manifest
from aesthetics_ops.errors import IntegrityError, PublishConflictError
from aesthetics_ops.store import Store, Swap

__all__ = ["rollback"]


def rollback(dataset: Store, version: str) -> Manifest:
    """Make LATEST name an older (or newer) published version; the next build starts from it.

    Raises:
        NoSuchVersionError: there is no such version, or nothing is published.
        IntegrityError: a shard of it is gone.
        PublishConflictError: LATEST moved meanwhile, or the write's end is unknown.
        StoreRefusedError: the store ignores conditions on writes, and the version's settings do not say `single_writer`.
    """
    latest = read_latest(dataset)
    stored = stored_manifest(dataset, version, latest[0] if latest else None)
    manifest = Manifest.parse(stored.data, name=dataset.url_of(stored.key))
    there = set(dataset.list(SHARDS)["key"].to_pylist())
    for split in manifest.splits.values():
        for shard in split.shards:
            if shard.path not in there:
                raise IntegrityError(
                    f"version {version!r} needs {dataset.url_of(shard.path)}, which is gone; LATEST stays"
                )
    compares = compares_writes(dataset, single_writer=bool(manifest.settings.get("single_writer")))
    ending = move_latest(
        dataset, version, bytes(stored.data), expected_etag=latest[1] if latest else None, compares=compares
    )
    if ending is not Swap.DONE:
        raise PublishConflictError(
            f"{dataset.url_of(LATEST_KEY)} could not be moved to {version!r} ({ending.name.lower()}): a build may be publishing; "
            "look at `aesthetics-ops versions`, then try again"
        )
    return manifest
