"""Which version a build starts from: the one that LATEST names, or none.

A build that starts anew goes without a parent where LATEST, or the version that it names, cannot be read.  That is the way
back for a dataset of which no version is whole; for any other it is `rollback`.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from aesthetics_ops.dataset.latest import WAY_BACK, LatestPointer, peek_latest, published_versions, read_latest
from aesthetics_ops.dataset.layout import VersionFile, version_key
from aesthetics_ops.dataset.manifest import Manifest
from aesthetics_ops.dataset.reading_manifests import is_of_a_newer_release, read_manifest_of
from aesthetics_ops.dataset.sidecars import download_table
from aesthetics_ops.dataset.tables import iterate_rows
from aesthetics_ops.errors import IntegrityError, NoSuchVersionError, ObjectMissingError
from aesthetics_ops.machine import scratch_for
from aesthetics_ops.settings import BuildSettings
from aesthetics_ops.store import Store

__all__ = ["Parent", "building_on", "find_parent", "is_stratified_alike"]

_log = logging.getLogger(__name__)

# A build reads these of its parent.
_TABLES: Final = (VersionFile.RECORDS, VersionFile.REJECTS, VersionFile.NEAR_DUPLICATES, VersionFile.PLAN)


@dataclass(frozen=True, slots=True)
class Parent:
    """What a build starts from.

    Attributes:
        manifest: of the parent; None where nothing was published, or the build starts anew.
        latest_etag: of LATEST; None where there is none.
        unreadable: published versions whose manifests cannot be read; a build that starts anew takes their place.
    """

    manifest: Manifest | None
    latest_etag: str | None
    unreadable: tuple[str, ...] = ()


def find_parent(dataset: Store, *, start_anew: bool) -> Parent:
    """Return the version that LATEST names, whole.

    Args:
        dataset: to build into.
        start_anew: go without a parent where that version, its tables included, cannot be read, or LATEST is gone.

    Raises:
        IntegrityError: LATEST is gone or cannot be read, or the manifest that it names; or a newer release wrote that.
        NoSuchVersionError: LATEST names a version that is not there.
    """
    pointer, etag = peek_latest(
        dataset
    )  # before anything is judged: whoever repairs LATEST meanwhile is not overwritten
    try:
        found = read_latest(dataset)
        if found is None:
            return Parent(None, None)
        manifest = read_manifest_of(dataset, found[0].version, found[0])
        if start_anew:
            _require_tables(dataset, manifest)
        return Parent(manifest, found[1])
    except (IntegrityError, NoSuchVersionError) as error:
        if not start_anew or (pointer is not None and _is_newer(dataset, pointer.version)):
            raise
        _log.warning("%s; this build starts anew, without a parent", error)
        return Parent(None, etag, tuple(_unreadable(dataset, pointer)))


@contextmanager
def building_on(version: str) -> Iterator[None]:
    """Name the way back where a parent's tables, read inside, are damaged or missing.

    Raises:
        IntegrityError: one is.
    """
    try:
        yield
    except (ObjectMissingError, IntegrityError) as error:
        raise IntegrityError(f"no build can start from version {version!r}: {error}; {WAY_BACK}") from error


def is_stratified_alike(parent: Manifest, settings: BuildSettings) -> bool:
    """Say whether a parent's splits are stratified as these settings ask, or not at all where they do not ask for it."""
    if not settings.stratify:
        return not parent.settings.get("stratify")
    names = ("stratify", "split_salt", "validation_fraction", "test_fraction")
    return all(parent.settings.get(name) == getattr(settings, name) for name in names)


def _require_tables(dataset: Store, manifest: Manifest) -> None:
    with building_on(manifest.version), scratch_for() as scratch:
        for file in _TABLES:
            download_table(dataset, manifest, file, scratch / file)
            for _ in iterate_rows(scratch / file, None, name=dataset.url_of(version_key(manifest.version, file))):
                pass


def _unreadable(dataset: Store, latest: LatestPointer | None) -> Iterator[str]:
    for version in sorted(published_versions(dataset, latest)):
        try:
            read_manifest_of(dataset, version, latest)
        except (IntegrityError, NoSuchVersionError):
            if not _is_newer(dataset, version):
                yield version


def _is_newer(dataset: Store, version: str) -> bool:
    stored = Manifest.stored(dataset, version_key(version, VersionFile.MANIFEST))
    return stored is not None and is_of_a_newer_release(stored.data)
