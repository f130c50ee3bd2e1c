"""Which shards are needed: by versions that stay, and by builds that may still run or be resumed.

In: a dataset, names of versions, keys of objects.  Out: digests of shards, and for a build whether these are all of them.
"""

import logging
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import pyarrow as pa
from pydantic import AwareDatetime

from aesthetics_ops.builds import BuildStart, PartitionResult
from aesthetics_ops.dataset.documents import Document
from aesthetics_ops.dataset.latest import LatestPointer, read_latest
from aesthetics_ops.dataset.layout import BuildFile, VersionFile, build_key, build_of, is_partition_result
from aesthetics_ops.dataset.reading_manifests import read_manifest_of
from aesthetics_ops.dataset.sidecars import read_table
from aesthetics_ops.dataset.tables import read_parquet
from aesthetics_ops.errors import IntegrityError, ObjectMissingError
from aesthetics_ops.progress import Progress, told
from aesthetics_ops.store import Store, StoreThreads

__all__ = ["BUILD_GRACE", "CLOCKS_DIFFER", "Needs", "needs_of_builds", "needs_of_versions"]

_log = logging.getLogger(__name__)

BUILD_GRACE: Final = timedelta(days=7)
"""A build planned this lately may still run or be resumed: expiry touches neither its state nor its shards."""
CLOCKS_DIFFER: Final = timedelta(days=1)
"""At most, by what is told of the machines that write to one dataset."""
# A plan begun this lately may still be in the making; one that died is made anew, never resumed.
_PLANNING_GRACE: Final = timedelta(days=1)
_READS: Final = 16
_PLANS_AT_ONCE: Final = 2  # each is in memory as it is read


class _PlanDate(Document):
    """The part of a build's plan that is read here, since an older release may have written the others."""

    kind = "plan of a build"
    is_sealed = True

    created_at: AwareDatetime


@dataclass(frozen=True, slots=True)
class Needs:
    """What a build needs.

    Attributes:
        digests: of its shards.
        are_known: False where it may need others too, because it is still being planned or cannot be read.
    """

    digests: frozenset[str]
    are_known: bool = True


def needs_of_versions(dataset: Store, versions: list[str], progress: Progress) -> frozenset[str]:
    """Return the digests of all shards that versions name.

    Their plans also name shards without records, whose results save reading their photos again.
    """
    found = read_latest(dataset)
    latest = found[0] if found else None
    with (
        progress("read plans", len(versions), "version") as done,
        StoreThreads(_PLANS_AT_ONCE, thread_name_prefix="needs") as pool,
    ):
        needs: set[str] = set()
        for need in told(pool.map(lambda version: _needs_of_version(dataset, version, latest), versions), done):
            needs |= need
        return frozenset(needs)


def _needs_of_version(dataset: Store, version: str, latest: LatestPointer | None) -> set[str]:
    manifest = read_manifest_of(dataset, version, latest)
    named = {shard.digest for split in manifest.splits.values() for shard in split.shards}
    try:
        with suppress(ObjectMissingError):
            named |= _named(read_table(dataset, manifest, VersionFile.PLAN, ["digest"]))
    except IntegrityError as error:
        raise IntegrityError(
            f"which shards version {version!r} needs is unknown, so nothing is deleted: {error}; "
            "restore that file, or delete the version's files"
        ) from error
    return named


def needs_of_builds(dataset: Store, keys: Iterable[str], now: datetime, progress: Progress) -> dict[str, Needs]:
    """Return what every build needs that may still run or be resumed.

    Planning writes a start before anything else, so a build without start and plan is dead: one of a release that wrote
    no start, and died before its plan was whole.
    """
    results: dict[str, list[str]] = {}
    for key in keys:
        if (build := build_of(key)) is not None:
            results.setdefault(build, []).extend([key] if is_partition_result(key) else [])
    needs = {}
    with (
        progress("read builds", len(results), "build") as done,
        StoreThreads(_READS, thread_name_prefix="builds") as pool,
    ):
        times = list(told(pool.map(lambda build: _times(dataset, build, now), results), done))
    for (build, keys_of_results), (planned_at, started_at) in zip(results.items(), times, strict=True):
        is_planning = started_at not in (None, planned_at) and now - started_at < _PLANNING_GRACE
        if is_planning:
            _log.warning("build %s is being planned since %s, so no shard is deleted now", build, started_at)
            needs[build] = Needs(frozenset(), are_known=False)
        elif planned_at is not None and now - planned_at < BUILD_GRACE:
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
        if time is not None and time - now > CLOCKS_DIFFER:
            _log.warning(
                "%s says %s, which is still to come; it is passed over", dataset.url_of(build_key(build, file)), time
            )
            time = None
        times.append(time)
    return times[0], times[1]


def _needs_of_build(dataset: Store, build: str, results: list[str]) -> Needs:
    try:
        named = _digests_in(dataset, build_key(build, BuildFile.ROWS))
        named |= _digests_in(dataset, build_key(build, BuildFile.REGROUPED))
        # a photo that was lost gave its shard a name that stands in no plan yet
        with StoreThreads(_READS, thread_name_prefix="results") as pool:
            named = named.union(*pool.map(lambda key: _built(dataset, key), results))
    except IntegrityError as error:
        _log.warning("which shards build %s needs is unknown, so no shard is deleted now: %s", build, error)
        return Needs(frozenset(), are_known=False)
    return Needs(frozenset(named))


def _built(dataset: Store, key: str) -> set[str]:
    return set(PartitionResult.parse(dataset.get(key).data, name=dataset.url_of(key)).shards.values())


def _digests_in(dataset: Store, key: str) -> set[str]:
    try:
        return _named(read_parquet(dataset, key, ["digest"]))
    except ObjectMissingError:
        return set()


def _named(rows: pa.Table) -> set[str]:
    return set(rows["digest"].unique().drop_null().to_pylist())
