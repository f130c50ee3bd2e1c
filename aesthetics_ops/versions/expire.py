"""Delete old versions, old builds' state, and every shard that nothing kept names.

A shard is deleted only where it is known what everything kept needs.  So expiry refuses while a kept version cannot be
read, and leaves all shards alone while a build is being planned, or a young build's state cannot be read.
"""

import logging
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import pyarrow as pa
from pydantic import AwareDatetime

from aesthetics_ops.builds import BuildStart, PartitionResult
from aesthetics_ops.dataset.documents import Document
from aesthetics_ops.dataset.latest import PublishedMark, read_latest
from aesthetics_ops.dataset.layout import (
    BuildFile,
    VersionFile,
    build_key,
    build_of,
    digest_of,
    is_partition_result,
    is_probe,
    published_in,
    published_key,
    version_of,
    version_time,
)
from aesthetics_ops.dataset.lease import LEASE, ExpiryLease, expiry_lease
from aesthetics_ops.dataset.manifest import read_manifest_of
from aesthetics_ops.dataset.sidecars import read_table
from aesthetics_ops.dataset.tables import read_parquet
from aesthetics_ops.errors import DatasetBusyError, IntegrityError, ObjectMissingError, PublishConflictError
from aesthetics_ops.store import Store
from aesthetics_ops.versions.listing import VersionInfo, list_versions

__all__ = ["Expired", "expire_versions"]

_log = logging.getLogger(__name__)

# A build planned this lately may still run or be resumed: expiry touches neither its state nor its shards.
_BUILD_GRACE: Final = timedelta(days=7)
# A plan begun this lately may still be in the making; one that died is made anew, never resumed.
_PLANNING_GRACE: Final = timedelta(days=1)
_CLOCKS_DIFFER: Final = timedelta(days=1)
_KEYS_AT_ONCE: Final = 1000
_LEASE_REST: Final = timedelta(minutes=5)  # the last keys are deleted well before the lease ends


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


class _PlanDate(Document):
    """The part of a build's plan that is read here, since an older release may have written the others."""

    kind = "plan of a build"
    is_sealed = True

    created_at: AwareDatetime


@dataclass(frozen=True, slots=True)
class _Needs:
    """What a build needs.

    Attributes:
        digests: of its shards.
        are_known: False where it may need others too, because it is still being planned or cannot be read.
    """

    digests: frozenset[str]
    are_known: bool = True


def expire_versions(dataset: Store, *, keep: int, now: datetime) -> Expired:
    """Delete all but the newest versions, old builds' state, and every shard that nothing kept names.

    What a build left under `versions/` and never published goes too, once it is a week old.

    Args:
        dataset: to clean.
        keep: number of versions to keep; >= 1.  The one that LATEST names is kept in any case.
        now: the time, with a zone.  Builds planned less than 7 days before it are left alone.  While a plan is in the
            making that began less than a day before it, no shard is deleted: it may have found any of them.

    Raises:
        NoSuchVersionError: nothing was ever published.
        IntegrityError: LATEST or a version cannot be read, so which shards are needed is unknown; nothing is deleted.
        DatasetBusyError: another expiry is at work.
        PublishConflictError: LATEST was moved to a version that was to go; nothing is deleted.
    """
    with expiry_lease(dataset) as lease:
        read_latest(dataset)
        versions = list_versions(dataset)
        _require_readable(dataset, versions)
        kept = [info.version for number, info in enumerate(versions) if number < keep or info.is_latest]
        gone = [info.version for info in versions if info.version not in kept]
        named = _needs_of_versions(dataset, kept)
        listing = dataset.list("")
        sizes = dict(zip(listing["key"].to_pylist(), listing["size"].to_pylist(), strict=True))
        needs = _needs_of_builds(dataset, sizes, now)
        named = named.union(*(need.digests for need in needs.values()))
        are_known = all(need.are_known for need in needs.values())
        stale_builds = sorted({build for key in sizes if (build := build_of(key)) is not None} - needs.keys())
        unpublished = _old_unpublished(sizes, {info.version for info in versions}, now)
        doomed = [
            key
            for key in sizes
            if (are_known and (digest := digest_of(key)) is not None and digest not in named)
            or published_in(key) in gone
            or version_of(key) in gone
            or version_of(key) in unpublished
            or build_of(key) in stale_builds
            or is_probe(key)
        ]
        _take_marks(dataset, gone)
        _delete(dataset, doomed, lease)
        return Expired(tuple(gone), tuple(stale_builds), len(doomed), sum(sizes[key] for key in doomed))


def _old_unpublished(keys: Iterable[str], published: Collection[str], now: datetime) -> set[str]:
    """Return the versions that no build can publish any more, and none has."""
    names = {name for key in keys if (name := version_of(key)) is not None} - set(published)
    return {name for name in names if (at := version_time(name)) is not None and now - at >= _BUILD_GRACE}


def _take_marks(dataset: Store, gone: Sequence[str]) -> None:
    """Take the marks of versions that are to go, unless LATEST names one of them by now.

    Whoever makes LATEST name a version looks for its mark afterwards; so one of both sees the other.
    """
    marks = {version: stored for version in gone if (stored := PublishedMark.stored(dataset, published_key(version)))}
    dataset.delete([published_key(version) for version in gone])
    latest = read_latest(dataset)
    if latest is not None and latest[0].version in gone:
        for version, stored in marks.items():
            dataset.put(published_key(version), stored.data)
        raise PublishConflictError(
            f"LATEST of {dataset.url} was moved to {latest[0].version!r}, which was to be deleted; nothing is deleted: "
            "run expire again"
        )


def _delete(dataset: Store, keys: Sequence[str], lease: ExpiryLease) -> None:
    """Delete, manifests first: a version whose shards go must not look whole for a moment."""
    ordered = sorted(keys, key=lambda key: (not key.endswith(f"/{VersionFile.MANIFEST}"), key))
    for first in range(0, len(ordered), _KEYS_AT_ONCE):
        if datetime.now(UTC) - lease.since > LEASE - _LEASE_REST:
            raise DatasetBusyError(
                f"expiring {dataset.url} takes longer than its lease; {first} of {len(ordered)} objects are deleted: "
                "run expire again, it goes on"
            )
        dataset.delete(ordered[first : first + _KEYS_AT_ONCE])


def _require_readable(dataset: Store, versions: list[VersionInfo]) -> None:
    broken = [info for info in versions if info.problem]
    if broken:
        names = ", ".join(repr(info.version) for info in broken)
        raise IntegrityError(
            f"which shards of {dataset.url} version {names} needs is unknown, so nothing is deleted: {broken[0].problem}; "
            "restore the manifest, or delete the version's files"
        )


def _needs_of_versions(dataset: Store, versions: list[str]) -> frozenset[str]:
    """Return the digests of all shards that versions name.

    Their plans also name shards without records, whose results save reading their photos again.
    """
    found = read_latest(dataset)
    named: set[str] = set()
    for version in versions:
        manifest = read_manifest_of(dataset, version, found[0] if found else None)
        named |= {shard.digest for split in manifest.splits.values() for shard in split.shards}
        try:
            with suppress(ObjectMissingError):
                named |= _named(read_table(dataset, manifest, VersionFile.PLAN, ["digest"]))
        except IntegrityError as error:
            raise IntegrityError(
                f"which shards version {version!r} needs is unknown, so nothing is deleted: {error}; "
                "restore that file, or delete the version's files"
            ) from error
    return frozenset(named)


def _needs_of_builds(dataset: Store, keys: Iterable[str], now: datetime) -> dict[str, _Needs]:
    """Return what every build needs that may still run or be resumed.

    Planning writes a start before anything else, so a build without start and plan is dead: one of a release that wrote
    no start, and died before its plan was whole.
    """
    results: dict[str, list[str]] = {}
    for key in keys:
        if (build := build_of(key)) is not None:
            results.setdefault(build, []).extend([key] if is_partition_result(key) else [])
    needs = {}
    for build, keys_of_results in results.items():
        planned_at, started_at = _times(dataset, build, now)
        is_planning = started_at not in (None, planned_at) and now - started_at < _PLANNING_GRACE
        if is_planning:
            _log.warning("build %s is being planned since %s, so no shard is deleted now", build, started_at)
            needs[build] = _Needs(frozenset(), are_known=False)
        elif planned_at is not None and now - planned_at < _BUILD_GRACE:
            needs[build] = _needs_of_build(dataset, build, keys_of_results)
    return needs


def _times(dataset: Store, build: str, now: datetime) -> tuple[datetime | None, datetime | None]:
    """Return when a build was planned, and when its last plan began; None for what is missing or damaged.

    A time that is still to come, by more than clocks differ, is damage too: it would hold up expiry until then.
    """
    times: list[datetime | None] = []
    for kind, file, field in ((_PlanDate, BuildFile.PLAN, "created_at"), (BuildStart, BuildFile.STARTED, "started_at")):
        try:
            document = kind.read(dataset, build_key(build, file))
        except IntegrityError as error:
            _log.warning("%s", error)
            document = None
        time = getattr(document, field, None)
        if time is not None and time - now > _CLOCKS_DIFFER:
            _log.warning(
                "%s says %s, which is still to come; it is passed over", dataset.url_of(build_key(build, file)), time
            )
            time = None
        times.append(time)
    return times[0], times[1]


def _needs_of_build(dataset: Store, build: str, results: list[str]) -> _Needs:
    try:
        named = _digests_in(dataset, build_key(build, BuildFile.ROWS))
        named |= _digests_in(dataset, build_key(build, BuildFile.REGROUPED))
        # a photo that was lost gave its shard a name that stands in no plan yet
        for key in results:
            named |= set(PartitionResult.parse(dataset.get(key).data, name=dataset.url_of(key)).shards.values())
    except IntegrityError as error:
        _log.warning("which shards build %s needs is unknown, so no shard is deleted now: %s", build, error)
        return _Needs(frozenset(), are_known=False)
    return _Needs(frozenset(named))


def _digests_in(dataset: Store, key: str) -> set[str]:
    try:
        return _named(read_parquet(dataset, key, ["digest"]))
    except ObjectMissingError:
        return set()


def _named(rows: pa.Table) -> set[str]:
    return set(rows["digest"].unique().drop_null().to_pylist())
