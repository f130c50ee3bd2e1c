"""Find a version's manifest in a dataset, and have it only as those state it who vouch for it.

In: a dataset, and the name of a version or a pointer, or none for LATEST.  Out: the manifest.
Promised: its sha256 is what LATEST states, or the mark of a version that LATEST has named, or that of a candidate.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from aesthetics_ops.dataset.candidates import candidate_sha256
from aesthetics_ops.dataset.documents import parse_json
from aesthetics_ops.dataset.latest import WAY_BACK, LatestPointer, peek_latest, published_sha256, read_latest
from aesthetics_ops.dataset.layout import (
    LATEST_KEY,
    PULLED_MANIFEST,
    VersionFile,
    candidate_key,
    is_name,
    published_key,
    version_key,
)
from aesthetics_ops.dataset.manifest import SCHEMA_VERSION, Manifest
from aesthetics_ops.dataset.pointers import resolve_version
from aesthetics_ops.errors import IntegrityError, NoSuchVersionError
from aesthetics_ops.store import Store, StoredObject

__all__ = [
    "explaining_expiry",
    "is_of_a_newer_release",
    "listed_manifest",
    "manifest_in",
    "nothing_published",
    "read_manifest",
    "read_manifest_of",
    "stored_manifest",
]

_READINGS: Final = 2


def read_manifest(dataset: Store, version: str | None = None) -> Manifest:
    """Return the manifest of a version, by default the one that LATEST names.

    Args:
        dataset: that it lies in.
        version: its name, or the name of a pointer; a candidate's, too.

    Raises:
        NoSuchVersionError: nothing is published there, or not this version.
        IntegrityError: the manifest is not the one that LATEST promises, or cannot be read; or LATEST is to name the
            version, and cannot be read or is gone.
    """
    version = resolve_version(dataset, version)
    if version is not None:
        return read_manifest_of(dataset, version, peek_latest(dataset)[0])
    found = read_latest(dataset)
    if found is None:
        raise nothing_published(dataset)
    return read_manifest_of(dataset, found[0].version, found[0])


def nothing_published(dataset: Store) -> NoSuchVersionError:
    """Return the error for a URL under which no version was published; it knows a directory that one was pulled into."""
    with suppress(IntegrityError):
        stored = Manifest.stored(dataset, PULLED_MANIFEST)
        if stored is not None:
            pulled = Manifest.parse(stored.data, name=dataset.url_of(PULLED_MANIFEST))
            return NoSuchVersionError(
                f"{dataset.url} is a directory that version {pulled.version!r} was pulled into: readers open it, and `aesthetics-ops "
                f"pull {pulled.dataset} DIR --version {pulled.version} --verify` checks it; ask {pulled.dataset} for anything else"
            )
    return NoSuchVersionError(f"nothing is published under {dataset.url}; run a build, or check the dataset's URL")


def read_manifest_of(dataset: Store, version: str, latest: LatestPointer | None) -> Manifest:
    """Return the manifest of a version, where LATEST is known already.

    Args:
        dataset: that it is published in.
        version: its name.
        latest: what LATEST holds; the manifest that it names must have the sha256 that it states.

    Raises:
        NoSuchVersionError: there is no such version.
        IntegrityError: as `read_manifest`.
    """
    return manifest_in(dataset, version, stored_manifest(dataset, version, latest))


def manifest_in(dataset: Store, version: str, stored: StoredObject) -> Manifest:
    """Return the manifest that an object holds.

    Args:
        dataset: that it was read from.
        version: whose manifest it must be.
        stored: the object.

    Raises:
        IntegrityError: it cannot be read, or is another version's; says what else there is to do.
    """
    name = dataset.url_of(stored.key)
    try:
        manifest = Manifest.parse(stored.data, name=name)
    except IntegrityError as error:
        if is_of_a_newer_release(stored.data):  # which the message says, and what to do
            raise
        raise IntegrityError(f"{error}; do not use it: {WAY_BACK}") from error
    if manifest.version != version:
        raise IntegrityError(f"{name} is the manifest of version {manifest.version!r}; do not use it: {WAY_BACK}")
    return manifest


def is_of_a_newer_release(data: bytes | memoryview) -> bool:
    """Say whether a manifest states a schema above those that this release reads, whatever else is in it."""
    try:
        document = parse_json(bytes(data))
    except ValueError:
        return False
    number = document.get("schema_version") if isinstance(document, dict) else None
    return isinstance(number, int) and number > SCHEMA_VERSION


def stored_manifest(dataset: Store, version: str, latest: LatestPointer | None) -> StoredObject:
    """Return a version's manifest as it is stored; arguments and errors as `read_manifest_of`, but it is not parsed.

    It has the sha256 that LATEST states, or else the mark of a version that LATEST has named, or that of a candidate.
    """
    if not is_name(str(version)):
        raise _no_such_version(dataset, version)
    if latest is not None and latest.version == version:
        return _stored(dataset, version, latest, (latest.sha256, LATEST_KEY))
    if (sha256 := published_sha256(dataset, version)) is not None:
        return _stored(dataset, version, latest, (sha256, published_key(version)))
    if (sha256 := candidate_sha256(dataset, version)) is not None:
        return _stored(dataset, version, latest, (sha256, candidate_key(version)))
    return _stored(dataset, version, latest, None)


def _no_such_version(dataset: Store, version: object) -> NoSuchVersionError:
    return NoSuchVersionError(
        f"dataset {dataset.url} has no version {version!r}; `aesthetics-ops versions` lists those it has, and the pointers to them"
    )


@contextmanager
def explaining_expiry(dataset: Store, *manifests: Manifest) -> Iterator[None]:
    """Say that a version has expired where what is missing of it, or its shards, went with its manifest.

    Args:
        dataset: that is read.
        manifests: of the versions that are read; an expiry deletes manifests first.

    Raises:
        NoSuchVersionError: in place of an IntegrityError.
    """
    try:
        yield
    except IntegrityError as error:
        for manifest in manifests:
            if dataset.head(version_key(manifest.version, VersionFile.MANIFEST)) is None:
                raise NoSuchVersionError(
                    f"version {manifest.version!r} of {dataset.url} has expired while it was read; take one of `aesthetics-ops versions`"
                ) from error
        raise


def listed_manifest(dataset: Store, version: str, latest: LatestPointer | None) -> StoredObject:
    """Return what `stored_manifest` does, and ask for no mark: a list of versions is to look at."""
    is_latest = latest is not None and latest.version == version
    return _stored(dataset, version, latest, (latest.sha256, LATEST_KEY) if latest is not None and is_latest else None)


def _stored(dataset: Store, version: str, latest: LatestPointer | None, stated: tuple[str, str] | None) -> StoredObject:
    """Return a version's manifest; `stated` is the sha256 that it must have, and the key of the object that states it."""
    key = version_key(version, VersionFile.MANIFEST)
    is_latest = latest is not None and latest.version == version
    stored = Manifest.stored(dataset, key)
    if stored is None and is_latest:
        raise NoSuchVersionError(
            f"{dataset.url_of(LATEST_KEY)} names version {version!r}, but {dataset.url_of(key)} does not exist; {WAY_BACK}"
        )
    if stored is None:
        raise _no_such_version(dataset, version)
    for attempt in range(_READINGS):
        if stated is None or hashlib.sha256(stored.data).hexdigest() == stated[0]:
            return stored
        if attempt + 1 < _READINGS:  # the way may have spoiled it
            stored = Manifest.stored(dataset, key) or stored
    where = stated[1] if stated is not None else LATEST_KEY
    raise IntegrityError(
        f"{dataset.url_of(key)} is not the manifest whose sha256 stands in {where}; do not use it: {WAY_BACK}"
    )
