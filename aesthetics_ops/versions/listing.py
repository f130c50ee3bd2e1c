"""The published versions of a dataset, with what points at them and pins them; and apart from them its candidates."""

import logging
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Final

from pydantic import AwareDatetime

from aesthetics_ops.dataset.candidates import CandidateMark, candidate_names
from aesthetics_ops.dataset.documents import Document
from aesthetics_ops.dataset.latest import LatestPointer, published_versions, read_latest
from aesthetics_ops.dataset.layout import candidate_key, version_stamp
from aesthetics_ops.dataset.manifest import Accounting, Reuse
from aesthetics_ops.dataset.pointers import read_pins, read_pointers
from aesthetics_ops.dataset.reading_manifests import listed_manifest, nothing_published
from aesthetics_ops.errors import IntegrityError, NoSuchVersionError
from aesthetics_ops.progress import Progress, silent, told
from aesthetics_ops.store import Store, StoreThreads

__all__ = [
    "CandidateInfo",
    "Headline",
    "SplitSize",
    "VersionInfo",
    "kept_by_name",
    "list_candidates",
    "list_versions",
    "read_headline",
    "version_names",
]

_READS: Final = 16
_log = logging.getLogger(__name__)


class SplitSize(Document):
    """A split without its shards."""

    records: int
    bytes: int


class Headline(Document):
    """What a list of versions shows of one: its manifest without the shards, which take most of the time to parse."""

    kind = "manifest"

    version: str
    parent: str | None
    created_at: AwareDatetime
    accounting: Accounting
    reuse: Reuse
    splits: dict[str, SplitSize]

    @property
    def records(self) -> int:
        """Records in all splits."""
        return self.accounting.converted

    @property
    def bytes(self) -> int:
        """Size of all shards, bytes."""
        return sum(split.bytes for split in self.splits.values())


@dataclass(frozen=True, slots=True)
class VersionInfo:
    """One published version.

    Attributes:
        version: its name.
        created_at: when its build was planned; None where the manifest cannot be read.
        records, bytes: in all splits; 0 where the manifest cannot be read.
        is_latest: LATEST names it.
        problem: why its manifest cannot be read, in one line; empty where it can.
        pointers: names of the pointers beside LATEST that name it.
        pins: what pins it, in words: name and reason.
    """

    version: str
    created_at: datetime | None
    records: int
    bytes: int
    is_latest: bool
    problem: str = ""
    pointers: tuple[str, ...] = ()
    pins: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CandidateInfo:
    """A version that a gate refused.

    Attributes:
        version: its name.
        created_at: when its build was planned; None where the manifest cannot be read.
        records, bytes: in all splits; 0 where the manifest cannot be read.
        parent: version that it was built on; None where there was none, or its mark cannot be read.
        refused: names of the gates that refuse it.
        problem: why its manifest or its mark cannot be read, in one line; empty where both can.
        pins: what pins it, in words: name and reason.
    """

    version: str
    created_at: datetime | None
    records: int
    bytes: int
    parent: str | None
    refused: tuple[str, ...]
    problem: str = ""
    pins: tuple[str, ...] = ()


def version_names(dataset: Store) -> list[str]:
    """Return the names of the published versions, newest first: names begin with the time of their plan.

    What was refused, or never came to its end, is none of them.  A LATEST that cannot be read hides nothing but itself.
    """
    return sorted(published_versions(dataset, _latest(dataset)), reverse=True)


def list_versions(dataset: Store, *, progress: Progress = silent) -> list[VersionInfo]:
    """Return every published version, newest first; one whose manifest cannot be read says why.

    Args:
        dataset: that they are published in.
        progress: told of each version that is read.

    Raises:
        NoSuchVersionError: nothing was ever published.
    """
    latest = _latest(dataset)
    names = sorted(published_versions(dataset, latest))
    with (
        progress("read versions", len(names), "version") as done,
        StoreThreads(_READS, thread_name_prefix="manifest") as pool,
    ):
        found = told(pool.map(partial(_look, dataset, latest), names), done)
        versions = [info for info in found if info is not None]
    if not versions:
        raise nothing_published(dataset)
    pointers, pins = kept_by_name(dataset)
    versions = [
        replace(info, pointers=tuple(pointers.get(info.version, ())), pins=tuple(pins.get(info.version, ())))
        for info in versions
    ]
    return sorted(versions, key=_age, reverse=True)


def list_candidates(dataset: Store, *, progress: Progress = silent) -> list[CandidateInfo]:
    """Return every candidate, newest first; one whose manifest or mark cannot be read says why.  Arguments as `list_versions`."""
    names = candidate_names(dataset, _latest(dataset))
    pins = kept_by_name(dataset)[1] if names else {}
    with (
        progress("read candidates", len(names), "candidate") as done,
        StoreThreads(_READS, thread_name_prefix="manifest") as pool,
    ):
        found = told(pool.map(partial(_look_at_candidate, dataset), names), done)
        return [replace(info, pins=tuple(pins.get(info.version, ()))) for info in found if info is not None]


def kept_by_name(dataset: Store) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Return, by version, the names of the pointers beside LATEST that name it, and what pins it, in words.

    Raises:
        IntegrityError: a pointer or a pin cannot be read.
    """
    pointers: dict[str, list[str]] = {}
    for name, pointer in read_pointers(dataset).items():
        pointers.setdefault(pointer.version, []).append(name)
    pins: dict[str, list[str]] = {}
    for pin in read_pins(dataset):
        pins.setdefault(pin.version, []).append(f"{pin.name} ({pin.move.reason})")
    return pointers, pins


def read_headline(dataset: Store, version: str, latest: LatestPointer | None) -> Headline:
    """Return what a version's manifest says first.

    Args:
        dataset: that it is published in.
        version: its name.
        latest: what LATEST holds, so that the manifest that it names is checked; None checks none.

    Raises:
        NoSuchVersionError: there is no such version.
        IntegrityError: the manifest is not the one that LATEST promises, or cannot be read.
    """
    stored = listed_manifest(dataset, version, latest)
    return Headline.parse(stored.data, name=dataset.url_of(stored.key))


def _latest(dataset: Store) -> LatestPointer | None:
    """Return what LATEST holds; None where there is none, or one that cannot be read, which the log says then."""
    try:
        found = read_latest(dataset)
    except IntegrityError as error:
        _log.warning("%s", error)
        return None
    return found[0] if found else None


def _look(dataset: Store, latest: LatestPointer | None, version: str) -> VersionInfo | None:
    is_latest = latest is not None and latest.version == version
    try:
        headline = read_headline(dataset, version, latest)
    except NoSuchVersionError:
        return None
    except IntegrityError as error:
        return VersionInfo(version, None, 0, 0, is_latest, str(error))
    return VersionInfo(version, headline.created_at, headline.records, headline.bytes, is_latest)


def _look_at_candidate(dataset: Store, version: str) -> CandidateInfo | None:
    try:
        mark = CandidateMark.read(dataset, candidate_key(version))
        if mark is None:
            return None
        headline = read_headline(dataset, version, None)
    except NoSuchVersionError:
        return None
    except IntegrityError as error:
        return CandidateInfo(version, None, 0, 0, None, (), str(error))
    refused = tuple(gate.name for gate in mark.refused)
    return CandidateInfo(version, headline.created_at, headline.records, headline.bytes, mark.parent, refused)


def _age(info: VersionInfo) -> tuple[str, datetime, str]:
    """Return a sort key; where the manifest cannot be read, the name's beginning stands for the time."""
    stamp = version_stamp(info.created_at) if info.created_at else info.version
    return (stamp, info.created_at or datetime.min.replace(tzinfo=UTC), info.version)
