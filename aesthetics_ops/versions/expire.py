"""Delete old versions, old builds' state, and every shard that nothing kept names."""

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from aesthetics_ops.builds import PartitionResult
from aesthetics_ops.dataset.layout import (
    BuildFile,
    VersionFile,
    build_key,
    build_of,
    digest_of,
    is_partition_result,
    version_key,
    version_of,
)
from aesthetics_ops.dataset.manifest import read_manifest
from aesthetics_ops.dataset.tables import read_parquet
from aesthetics_ops.errors import ObjectMissingError
from aesthetics_ops.store import Store
from aesthetics_ops.versions.listing import list_versions

__all__ = ["Expired", "expire_versions"]

# A build this young may still be running or be resumed: expiry touches neither its state nor its shards.
_BUILD_GRACE: Final = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Expired:
    """What expiry deleted.

    Attributes:
        versions: their names.
        builds: ids of builds whose state went.
        objects: number of objects deleted, shards included.
        bytes: their size.
    """

    versions: tuple[str, ...]
    builds: tuple[str, ...]
    objects: int
    bytes: int


def expire_versions(dataset: Store, *, keep: int, now: datetime) -> Expired:
    """Delete all but the newest versions, old builds' state, and every shard that nothing kept names.

    Args:
        dataset: to clean.
        keep: number of versions to keep; >= 1.  The one that LATEST names is kept in any case.
        now: the time, with a zone; builds planned less than 7 days before it are left alone.

    Raises:
        NoSuchVersionError: nothing was ever published.
    """
    versions = list_versions(dataset)
    kept = [info for number, info in enumerate(versions) if number < keep or info.is_latest]
    gone = [info.version for info in versions if info not in kept]
    named = {
        shard.digest
        for info in kept
        for split in read_manifest(dataset, info.version).splits.values()
        for shard in split.shards
    }
    # a kept version's plan also names shards without records, whose results save reading their photos again
    plans = [version_key(info.version, VersionFile.PLAN) for info in kept]
    listing = dataset.list("")
    keys = listing["key"].to_pylist()
    builds = {build for key in keys if (build := build_of(key)) is not None}
    running = {build for build in builds if _is_young(dataset, build, now)}
    plans += [build_key(build, BuildFile.ROWS) for build in running]
    for key in plans:
        named |= _digests_in(dataset, key)
    # a photo that was lost gave its shard a name that stands in no plan yet
    for key in keys:
        if build_of(key) in running and is_partition_result(key):
            named |= set(PartitionResult.parse(dataset.get(key).data, name=dataset.url_of(key)).shards.values())
    stale_builds = sorted(builds - running)
    doomed = {
        key: size
        for key, size in zip(keys, listing["size"].to_pylist(), strict=True)
        if ((digest := digest_of(key)) is not None and digest not in named)
        or version_of(key) in gone
        or build_of(key) in stale_builds
    }
    # manifests first: a version whose shards go must not look published for a moment
    dataset.delete(sorted(doomed, key=lambda key: (not key.endswith(f"/{VersionFile.MANIFEST}"), key)))
    return Expired(tuple(gone), tuple(stale_builds), len(doomed), sum(doomed.values()))


def _digests_in(dataset: Store, key: str) -> set[str]:
    try:
        return set(read_parquet(dataset, key)["digest"].unique().drop_null().to_pylist())
    except ObjectMissingError:
        return set()


def _is_young(dataset: Store, build: str, now: datetime) -> bool:
    try:
        plan = json.loads(bytes(dataset.get(build_key(build, BuildFile.PLAN)).data))
    except ObjectMissingError:
        return True  # being planned right now
    # only this field is read, since an older release may have written the others
    return now - datetime.fromisoformat(plan["created_at"]) < _BUILD_GRACE
