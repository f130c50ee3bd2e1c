"""The published versions of a dataset."""

import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Final

from pydantic import AwareDatetime

from aesthetics_ops.dataset.documents import Document
from aesthetics_ops.dataset.latest import LatestPointer, published_versions, read_latest
from aesthetics_ops.dataset.layout import version_stamp
from aesthetics_ops.dataset.manifest import Accounting, Reuse, listed_manifest, nothing_published
from aesthetics_ops.errors import IntegrityError, NoSuchVersionError
from aesthetics_ops.store import Store, StoreThreads

__all__ = ["Headline", "SplitSize", "VersionInfo", "list_versions", "read_headline", "version_names"]

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
    """

    version: str
    created_at: datetime | None
    records: int
    bytes: int
    is_latest: bool
    problem: str = ""


def version_names(dataset: Store) -> list[str]:
    """Return the names of the published versions, newest first: names begin with the time of their plan.

    What was refused, or never came to its end, is none of them.  A LATEST that cannot be read hides nothing but itself.
    """
    return sorted(published_versions(dataset, _latest(dataset)), reverse=True)


def list_versions(dataset: Store) -> list[VersionInfo]:
    """Return every published version, newest first; one whose manifest cannot be read says why.

    Raises:
        NoSuchVersionError: nothing was ever published.
    """
    latest = _latest(dataset)
    names = sorted(published_versions(dataset, latest))
    with StoreThreads(_READS, thread_name_prefix="manifest") as pool:
        versions = [info for info in pool.map(partial(_look, dataset, latest), names) if info is not None]
    if not versions:
        raise nothing_published(dataset)
    return sorted(versions, key=_age, reverse=True)


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


def _age(info: VersionInfo) -> tuple[str, datetime, str]:
    """Return a sort key; where the manifest cannot be read, the name's beginning stands for the time."""
    stamp = version_stamp(info.created_at) if info.created_at else info.version
    return (stamp, info.created_at or datetime.min.replace(tzinfo=UTC), info.version)
