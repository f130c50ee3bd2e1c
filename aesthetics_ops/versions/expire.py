"""Delete old versions and candidates, old builds' state, and every shard that nothing kept names.

A shard is deleted only where it is known what everything kept needs.  So expiry refuses while a kept version cannot be
read, and leaves all shards alone while a build is being planned, or a young build's state cannot be read.
"""

import logging
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from aesthetics_ops.dataset.latest import PublishedMark, read_latest
from aesthetics_ops.dataset.layout import (
    LATEST_NAME,
    VersionFile,
    build_of,
    candidate_in,
    candidate_key,
    digest_of,
    is_probe,
    published_in,
    published_key,
    version_key,
    version_of,
    version_time,
)
from aesthetics_ops.dataset.lease import LEASE, ExpiryLease, expiry_lease, note_marks
from aesthetics_ops.dataset.moves import logged_moves
from aesthetics_ops.errors import (
    DatasetBusyError,
    IntegrityError,
    PublishConflictError,
    SettingsError,
)
from aesthetics_ops.progress import Progress, silent
from aesthetics_ops.store import Store
from aesthetics_ops.versions.listing import CandidateInfo, VersionInfo, kept_by_name, list_candidates, list_versions
from aesthetics_ops.versions.needs import BUILD_GRACE, CLOCKS_DIFFER, needs_of_builds, needs_of_versions

__all__ = ["Expired", "expire_versions", "in_words", "plan_expiry"]

_log = logging.getLogger(__name__)

# Candidates are to be looked at soon, or never: so few are kept, and for so long.
_CANDIDATES: Final = 3
_CANDIDATE_AGE: Final = timedelta(days=30)
_KEYS_AT_ONCE: Final = 1000
_LEASE_REST: Final = timedelta(minutes=5)  # the last keys are deleted well before the lease ends


@dataclass(frozen=True, slots=True)
class Expired:
    """What expiry deleted, or would delete.

    Attributes:
        versions: names of published versions.
        candidates: names of versions that a gate refused.
        builds: ids of builds whose state goes.
        objects: number of objects deleted, shards included.
        bytes: their size.
        stays: names of the versions and candidates that stay, each with the reasons why.
    """

    versions: tuple[str, ...]
    candidates: tuple[str, ...]
    builds: tuple[str, ...]
    objects: int
    bytes: int
    stays: dict[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class _Rules:
    """Which versions may go.

    Attributes:
        keep: so many of the newest stay; None says nothing.
        older_than: younger ones stay; None says nothing.
        grace: what LATEST or a pointer named so lately stays, since somebody may still read it.
        now: the time, with a zone.
    """

    keep: int | None
    older_than: timedelta | None
    grace: timedelta
    now: datetime

    def why(self, number: int, created_at: datetime | None) -> list[str]:
        """Say why a version stays, by its number, 0 for the newest, and its age; nothing where it may go."""
        why = []
        if self.keep is not None and number < self.keep:
            why.append("the newest" if self.keep == 1 else f"one of the newest {self.keep}")
        if self.older_than is not None and created_at is not None and self.now - created_at <= self.older_than:
            why.append(f"not older than {in_words(self.older_than)}")
        return why


@dataclass(frozen=True, slots=True)
class _Doomed:
    """What goes.

    Attributes:
        expired: in names and numbers.
        marks: keys of the marks of versions and candidates, which go first.
        keys: of all that goes.
    """

    expired: Expired
    marks: tuple[str, ...]
    keys: tuple[str, ...]


def expire_versions(
    dataset: Store,
    *,
    keep: int | None = None,
    older_than: timedelta | None = None,
    grace: timedelta = timedelta(0),
    now: datetime,
    progress: Progress = silent,
) -> Expired:
    """Delete old versions and candidates, old builds' state, and every shard that nothing kept names.

    A version goes where all that is given allows it: it is none of the newest `keep`, and older than `older_than`.  What LATEST, a
    pointer or a pin names stays.  Three candidates stay, for thirty days, and those that are pinned.  What a build left under
    `versions/` and never finished goes once it is a week old.

    Args:
        dataset: to clean.
        keep: number of versions to keep; >= 1.  None gives no number; one of both must be given.
        older_than: age since its plan that a version must have to go; None gives none.
        grace: a version that LATEST or a pointer named so lately stays.
        now: the time, with a zone.  Builds planned less than 7 days before it are left alone.  While a plan is in the
            making that began less than a day before it, no shard is deleted: it may have found any of them.
        progress: told of what is read, listed and deleted.

    Raises:
        SettingsError: neither `keep` nor `older_than` is given.
        NoSuchVersionError: nothing was ever published.
        IntegrityError: LATEST, a pointer, a pin or a version cannot be read, so which shards are needed is unknown; nothing is
            deleted.
        DatasetBusyError: another expiry is at work.
        PublishConflictError: LATEST or a pointer was moved to a version that was to go, or one was pinned; nothing is deleted.
    """
    rules = _rules(keep, older_than, grace, now)
    with expiry_lease(dataset) as lease:
        _bring_back_marks(dataset, lease)
        doomed = _doomed(dataset, rules, progress)
        _take_marks(dataset, doomed, lease)
        _delete(dataset, doomed.keys, lease, progress)
        return doomed.expired


def plan_expiry(
    dataset: Store,
    *,
    keep: int | None = None,
    older_than: timedelta | None = None,
    grace: timedelta = timedelta(0),
    now: datetime,
    progress: Progress = silent,
) -> Expired:
    """Say what `expire_versions` would delete, and why the rest stays; nothing is written.  Arguments and errors are the same."""
    return _doomed(dataset, _rules(keep, older_than, grace, now), progress).expired


def in_words(time: timedelta) -> str:
    """Return a time in days and hours: `90 days`, `36 hours`."""
    hours = time / timedelta(hours=1)
    return f"{hours / 24:g} days" if hours % 24 == 0 and hours != 24 else f"{hours:g} hours"


def _rules(keep: int | None, older_than: timedelta | None, grace: timedelta, now: datetime) -> _Rules:
    if keep is None and older_than is None:
        raise SettingsError("nothing says which versions may go; give --keep N, --older-than 90d, or both")
    if keep is not None and keep < 1:
        raise SettingsError(f"keep is {keep}; at least 1 version stays")
    return _Rules(keep, older_than, grace, now)


def _doomed(dataset: Store, rules: _Rules, progress: Progress) -> _Doomed:
    read_latest(dataset)
    candidates = list_candidates(
        dataset, progress=progress
    )  # first: one that is promoted meanwhile is among the versions
    versions = list_versions(dataset, progress=progress)
    _require_readable(dataset, versions)
    with progress("list objects", 1, "listing") as done:
        listing = dataset.list("")
        done(1)
    sizes = dict(zip(listing["key"].to_pylist(), listing["size"].to_pylist(), strict=True))
    stays = _staying(dataset, versions, candidates, rules) | _without_mark(dataset, sizes, versions, candidates)
    gone = [info.version for info in versions if info.version not in stays]
    refused = [info.version for info in candidates if info.version not in stays]
    named = needs_of_versions(dataset, list(stays), progress)
    needs = needs_of_builds(dataset, sizes, rules.now, progress)
    named = named.union(*(need.digests for need in needs.values()))
    are_known = all(need.are_known for need in needs.values())
    stale_builds = sorted({build for key in sizes if (build := build_of(key)) is not None} - needs.keys())
    published = {info.version for info in versions}
    unpublished = _old_unpublished(sizes, published.union(stays, refused), rules.now)
    going = {*gone, *refused}
    marked = {published_in(key) for key in sizes} - {None}  # a promotion that has no mark yet looks for the candidate's
    doomed = [
        key
        for key in sizes
        if (are_known and (digest := digest_of(key)) is not None and digest not in named)
        or published_in(key) in gone
        or candidate_in(key) in going | marked
        or version_of(key) in going | unpublished
        or build_of(key) in stale_builds
        or is_probe(key)
    ]
    expired = Expired(
        tuple(gone), tuple(refused), tuple(stale_builds), len(doomed), sum(sizes[key] for key in doomed), stays
    )
    marks = (*map(published_key, gone), *map(candidate_key, refused))
    return _Doomed(expired, marks, tuple(doomed))


def _staying(
    dataset: Store, versions: Sequence[VersionInfo], candidates: Sequence[CandidateInfo], rules: _Rules
) -> dict[str, tuple[str, ...]]:
    """Return the versions and candidates that stay, and why."""
    lately = _named_lately(dataset, rules)
    stays = {}
    for number, info in enumerate(versions):
        why = ["LATEST names it"] if info.is_latest else []
        why += [f"pointer {name} names it" for name in info.pointers] + [f"pinned by {pin}" for pin in info.pins]
        why += rules.why(number, info.created_at) + lately.get(info.version, [])
        if why:
            stays[info.version] = tuple(why)
    for number, refused in enumerate(candidates):
        why = [f"pinned by {pin}" for pin in refused.pins]
        is_young = refused.created_at is not None and rules.now - refused.created_at <= _CANDIDATE_AGE
        if not refused.problem and is_young and number < _CANDIDATES:
            why.append(f"one of the newest {_CANDIDATES} candidates, and not older than {in_words(_CANDIDATE_AGE)}")
        if why:
            stays[refused.version] = tuple(why)
    return stays


def _without_mark(
    dataset: Store, keys: Collection[str], versions: Sequence[VersionInfo], candidates: Sequence[CandidateInfo]
) -> dict[str, tuple[str, ...]]:
    """Return the versions that a pointer or a pin names, and whose marks an expiry took that was killed before it saw this."""
    pointers, pins = kept_by_name(dataset)
    marked = {info.version for info in versions} | {info.version for info in candidates}
    return {
        version: tuple(
            f"named by {name}, though its mark is gone" for name in (*pointers.get(version, ()), *pins.get(version, ()))
        )
        for version in {*pointers, *pins} - marked
        if version_key(version, VersionFile.MANIFEST) in keys
    }


def _named_lately(dataset: Store, rules: _Rules) -> dict[str, list[str]]:
    """Return the versions that LATEST or a pointer named until lately, and until when."""
    found: dict[str, list[str]] = {}
    if not rules.grace:
        return found
    moves = [
        (entry.pointer, entry.move)
        for entry in logged_moves(dataset, since=rules.now - rules.grace)
        if entry.move.action not in ("pin", "unpin")
    ]
    latest = read_latest(dataset)
    if latest is not None and latest[0].move is not None:
        moves.append((LATEST_NAME, latest[0].move))  # its entry may still be to be written
    for pointer, move in moves:
        if move.previous is not None and -CLOCKS_DIFFER < rules.now - move.at < rules.grace:
            said = f"{pointer} named it until {move.at:%Y-%m-%d %H:%M} UTC"
            if said not in found.setdefault(move.previous, []):
                found[move.previous].append(said)
    return found


def _old_unpublished(keys: Iterable[str], published: Collection[str], now: datetime) -> set[str]:
    """Return the versions that no build can publish any more, and none has."""
    names = {name for key in keys if (name := version_of(key)) is not None} - set(published)
    return {name for name in names if (at := version_time(name)) is not None and now - at >= BUILD_GRACE}


def _bring_back_marks(dataset: Store, lease: ExpiryLease) -> None:
    """Bring back the marks that an expiry took which died before it deleted their versions: what is named since stays one.

    Manifests go first, so a version that has its manifest has all of its files.
    """
    for key, mark in lease.marks.items():
        version = published_in(key) or candidate_in(key)
        if version is None or dataset.head(key) is not None:
            continue
        if dataset.head(version_key(version, VersionFile.MANIFEST)) is not None:
            dataset.put(key, mark.encode())
            _log.info("version %s has its mark again, which an expiry took that died", version)


def _take_marks(dataset: Store, doomed: _Doomed, lease: ExpiryLease) -> None:
    """Take the marks of versions and candidates that are to go, unless LATEST, a pointer or a pin names one of them by now.

    Whoever makes one of these name a version looks for its mark afterwards; so one of both sees the other.
    """
    marks = {key: stored for key in doomed.marks if (stored := PublishedMark.stored(dataset, key)) is not None}
    if marks or lease.marks:
        texts = {key: bytes(stored.data).decode(errors="replace") for key, stored in marks.items()}
        note_marks(dataset, lease, texts)
    try:
        dataset.delete(doomed.marks)
        _require_unnamed(dataset, {*doomed.expired.versions, *doomed.expired.candidates})
    except BaseException:  # a signal, too: until here every version is whole
        for key, stored in marks.items():
            dataset.put(key, stored.data)
        raise


def _require_unnamed(dataset: Store, gone: Collection[str]) -> None:
    latest = read_latest(dataset)
    pointers, pins = kept_by_name(dataset)
    kept = {*pointers, *pins, *([latest[0].version] if latest is not None else [])}.intersection(gone)
    if kept:
        raise PublishConflictError(
            f"{', '.join(map(repr, sorted(kept)))} of {dataset.url} was to be deleted, and LATEST, a pointer or a pin names it since; "
            "nothing is deleted: run expire again"
        )


def _delete(dataset: Store, keys: Sequence[str], lease: ExpiryLease, progress: Progress) -> None:
    """Delete, manifests first: a version whose shards go must not look whole for a moment."""
    ordered = sorted(keys, key=lambda key: (not key.endswith(f"/{VersionFile.MANIFEST}"), key))
    with progress("delete", len(ordered), "object") as done:
        for first in range(0, len(ordered), _KEYS_AT_ONCE):
            if datetime.now(UTC) - lease.since > LEASE - _LEASE_REST:
                raise DatasetBusyError(
                    f"expiring {dataset.url} takes longer than its lease; {first} of {len(ordered)} objects are deleted: "
                    "run expire again, it goes on"
                )
            some = ordered[first : first + _KEYS_AT_ONCE]
            dataset.delete(some)
            done(len(some))


def _require_readable(dataset: Store, versions: list[VersionInfo]) -> None:
    broken = [info for info in versions if info.problem]
    if broken:
        names = ", ".join(repr(info.version) for info in broken)
        raise IntegrityError(
            f"which shards of {dataset.url} version {names} needs is unknown, so nothing is deleted: {broken[0].problem}; "
            "restore the manifest, or delete the version's files"
        )
