"""The published versions of a dataset: list them, check one, compare two, go back, and delete old ones."""

import hashlib
import json
import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import duckdb
import pyarrow.compute as pc

from aesthetics_ops.build import PLAN_KEY, PartitionResult, compares_writes, read_parquet
from aesthetics_ops.errors import IntegrityError, NoSuchVersionError, ObjectMissingError, PublishConflictError
from aesthetics_ops.machine import scratch_for
from aesthetics_ops.manifest import (
    LATEST_KEY,
    LatestPointer,
    Manifest,
    Shard,
    read_latest,
    read_manifest,
    shard_key,
    version_key,
)
from aesthetics_ops.store import Store, Swap
from aesthetics_ops.tfrecord import decode_example, read_records

__all__ = ["Expired", "VersionInfo", "diff_versions", "expire_versions", "list_versions", "rollback", "verify_version"]

# A build this young may still be running or be resumed: expiry touches neither its state nor its shards.
_BUILD_GRACE: Final = timedelta(days=7)
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class VersionInfo:
    """One published version.

    Attributes:
        version: its name.
        created_at: when its build was planned.
        records, bytes: in all splits.
        is_latest: LATEST names it.
    """

    version: str
    created_at: datetime
    records: int
    bytes: int
    is_latest: bool


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


def list_versions(dataset: Store) -> list[VersionInfo]:
    """Return every published version, newest first.

    Raises:
        NoSuchVersionError: nothing was ever published.
    """
    latest = read_latest(dataset)
    keys = [key for key in dataset.list("versions/")["key"].to_pylist() if key.endswith("/manifest.json")]
    manifests = (read_manifest(dataset, key.split("/")[1]) for key in keys)
    versions = [
        VersionInfo(m.version, m.created_at, m.records, m.bytes, latest is not None and latest[0].version == m.version)
        for m in manifests
    ]
    if not versions:
        raise NoSuchVersionError(f"nothing is published under {dataset.url}; run a build, or check the dataset's URL")
    return sorted(versions, key=lambda info: (info.created_at, info.version), reverse=True)


def verify_version(dataset: Store, version: str | None = None) -> Manifest:
    """Read a version whole and compare it with what it says of itself.

    Every shard's size, sha256 and CRCs, every record's framing and id, and the sidecars' counts are checked.  Images
    are not decoded again: their bytes are those that were, when the version was validated.

    Raises:
        NoSuchVersionError: there is no such version.
        IntegrityError: names what differs.
    """
    manifest = read_manifest(dataset, version)
    try:
        records = read_parquet(dataset, version_key(manifest.version, "records.parquet"))
        rejects = read_parquet(dataset, version_key(manifest.version, "rejects.parquet"))
        planned = read_parquet(dataset, version_key(manifest.version, "plan.parquet")).num_rows
    except ObjectMissingError as error:
        raise IntegrityError(f"version {manifest.version!r} is incomplete: {error}") from error
    left_out = sum(manifest.rejects.values())
    if (records.num_rows, rejects.num_rows, planned) != (manifest.records, left_out, manifest.source.listed):
        raise IntegrityError(
            f"version {manifest.version!r} lists {records.num_rows} records, {rejects.num_rows} rejects and {planned} photos, "
            f"its manifest {manifest.records}, {left_out} and {manifest.source.listed}"
        )
    with scratch_for() as scratch:
        for split in manifest.splits.values():
            for shard in split.shards:
                expected = records.filter(pc.equal(records["shard"], shard.path))["id"].to_pylist()
                _verify_shard(dataset, shard, expected, scratch / "shard.tfrecord")
    return manifest


def _verify_shard(dataset: Store, shard: Shard, ids: list[str], path: Path) -> None:
    name = dataset.url_of(shard.path)
    try:
        dataset.download(shard.path, path)
    except ObjectMissingError as error:
        raise IntegrityError(f"shard {name} is missing; {_repair(dataset, shard)}") from error
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        if sha256 != shard.sha256:
            raise IntegrityError(
                f"shard {name} has sha256 {sha256}, its manifest says {shard.sha256}; {_repair(dataset, shard)}"
            )
        file.seek(0)
        found = [decode_example(record).id for record in read_records(file)]
    if found != ids:
        raise IntegrityError(f"shard {name} holds {len(found)} records that are not the {len(ids)} of records.parquet")
    _log.info("shard %s: %d records, as the manifest says", shard.digest[:12], len(found))


def _repair(dataset: Store, shard: Shard) -> str:
    return (
        f"to make it anew delete {dataset.url_of(shard_key(shard.digest, '.json'))} and the .validated.json beside it, "
        "then build again while its photos are there unchanged, or roll back"
    )


def diff_versions(dataset: Store, before: str, after: str) -> dict[str, Any]:
    """Compare two versions photo by photo.

    Returns:
        JSON-able: counts of records `added`, `removed`, `relabelled`, `repixelled` (same photo key, other source or
        transforms) and `moved` (other split), each with up to 10 example ids, and of shards `shared`, `dropped`, `new`.

    Raises:
        NoSuchVersionError: one of them does not exist.
    """
    manifests = [read_manifest(dataset, version) for version in (before, after)]
    with duckdb.connect() as db:
        for name, manifest in zip(("old", "new"), manifests, strict=True):
            db.register(name, read_parquet(dataset, version_key(manifest.version, "records.parquet")))
        changes = {
            change: {"count": count, "examples": examples} for change, count, examples in db.sql(_CHANGES).fetchall()
        }
    shards = [{shard.path for split in manifest.splits.values() for shard in split.shards} for manifest in manifests]
    return {
        "before": manifests[0].version,
        "after": manifests[1].version,
        "records": [manifest.records for manifest in manifests],
        "bytes": [manifest.bytes for manifest in manifests],
        "label_mean": [manifest.labels.mean for manifest in manifests],
        "changes": changes,
        "shards": {
            "shared": len(shards[0] & shards[1]),
            "dropped": len(shards[0] - shards[1]),
            "new": len(shards[1] - shards[0]),
        },
    }


_CHANGES = """
    WITH pair AS (
        SELECT coalesce(new.id, old.id) AS id, unnest(
            CASE WHEN old.key IS NULL THEN ['added'] WHEN new.key IS NULL THEN ['removed']
            ELSE list_filter([
                CASE WHEN old.label IS DISTINCT FROM new.label THEN 'relabelled' END,
                CASE WHEN (old.etag, old.transforms) IS DISTINCT FROM (new.etag, new.transforms) THEN 'repixelled' END,
                CASE WHEN old.split <> new.split THEN 'moved' END], lambda change: change IS NOT NULL) END) AS change
        FROM old FULL JOIN new USING (key))
    SELECT kind.change, count(pair.id), coalesce(list(pair.id ORDER BY pair.id) FILTER (pair.id IS NOT NULL), [])[1:10]
    FROM unnest(['added', 'removed', 'relabelled', 'repixelled', 'moved']) AS kind(change) LEFT JOIN pair USING (change)
    GROUP BY kind.change ORDER BY list_position(['added', 'removed', 'relabelled', 'repixelled', 'moved'], kind.change)
"""


def rollback(dataset: Store, version: str) -> Manifest:
    """Make LATEST name an older (or newer) published version; the next build starts from it.

    Raises:
        NoSuchVersionError: there is no such version, or nothing is published.
        IntegrityError: a shard of it is gone.
        PublishConflictError: LATEST moved meanwhile, or the write's end is unknown.
        StoreRefusedError: the store ignores conditions on writes, and the version's settings do not say `single_writer`.
    """
    latest = read_latest(dataset)
    manifest = read_manifest(dataset, version)
    there = set(dataset.list("shards/")["key"].to_pylist())
    for split in manifest.splits.values():
        for shard in split.shards:
            if shard.path not in there:
                raise IntegrityError(
                    f"version {version!r} needs {dataset.url_of(shard.path)}, which is gone; LATEST stays"
                )
    data = bytes(dataset.get(version_key(version, "manifest.json")).data)
    pointer = LatestPointer(
        version=version, manifest=version_key(version, "manifest.json"), sha256=hashlib.sha256(data).hexdigest()
    )
    single_writer = bool(manifest.settings.get("single_writer"))
    swap = dataset.swap if compares_writes(dataset, single_writer=single_writer) else dataset.replace
    ending = swap(LATEST_KEY, pointer.model_dump_json(indent=1).encode() + b"\n", latest[1] if latest else None)
    if ending is not Swap.DONE:
        raise PublishConflictError(
            f"{dataset.url_of(LATEST_KEY)} could not be moved to {version!r} ({ending.name.lower()}): a build may be publishing; "
            "look at `aesthetics-ops versions`, then try again"
        )
    return manifest


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
    plans = [version_key(info.version, "plan.parquet") for info in kept]
    listing = dataset.list("")
    builds = {key.split("/")[1] for key in listing["key"].to_pylist() if key.startswith("builds/")}
    running = {build for build in builds if _is_young(dataset, build, now)}
    plans += [f"builds/{build}/plan.parquet" for build in running]
    for key in plans:
        named |= _digests_in(dataset, key)
    # a photo that was lost gave its shard a name that stands in no plan yet
    for key in listing["key"].to_pylist():
        if key.startswith("builds/") and key.split("/")[1] in running and key.split("/")[2] == "converted":
            named |= set(PartitionResult.model_validate_json(bytes(dataset.get(key).data)).shards.values())
    stale_builds = sorted(builds - running)
    doomed = {
        key: size
        for key, size in zip(listing["key"].to_pylist(), listing["size"].to_pylist(), strict=True)
        if (key.startswith("shards/") and key.rsplit("/", 1)[1].split(".")[0] not in named)
        or any(key.startswith(f"versions/{version}/") for version in gone)
        or any(key.startswith(f"builds/{build}/") for build in stale_builds)
    }
    # manifests first: a version whose shards go must not look published for a moment
    dataset.delete(sorted(doomed, key=lambda key: (not key.endswith("/manifest.json"), key)))
    return Expired(tuple(gone), tuple(stale_builds), len(doomed), sum(doomed.values()))


def _digests_in(dataset: Store, key: str) -> set[str]:
    try:
        return set(read_parquet(dataset, key)["digest"].unique().drop_null().to_pylist())
    except ObjectMissingError:
        return set()


def _is_young(dataset: Store, build: str, now: datetime) -> bool:
    try:
        plan = json.loads(bytes(dataset.get(f"builds/{build}/{PLAN_KEY}").data))
    except ObjectMissingError:
        return True  # being planned right now
    # only this field is read, since an older release may have written the others
    return now - datetime.fromisoformat(plan["created_at"]) < _BUILD_GRACE
