"""Make damaged objects of a published version anew, exactly as they were, or say what to do about each.

In: a version whose manifest is whole.  Out: for each object that is not what the manifest states, what it was made from, or
why it cannot be made and what to do.
A manifest states every object's sha256, so what is made is either the object or of no use: nothing else is ever written, and
nothing is deleted.  Each write takes the expiry's lease, asks whether the version is still published, and replaces only the
object that was found damaged.
"""

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import pyarrow as pa

from aesthetics_ops.dataset.latest import compares_writes, is_published, peek_latest
from aesthetics_ops.dataset.layout import DOCUMENTS, ShardFile, VersionFile, shard_key, version_key
from aesthetics_ops.dataset.lease import expiry_lease
from aesthetics_ops.dataset.manifest import Manifest, Shard, StoredFile
from aesthetics_ops.dataset.reading_manifests import read_manifest
from aesthetics_ops.dataset.sidecars import is_kept, stored_file
from aesthetics_ops.errors import AestheticsOpsError, IntegrityError, NoSuchVersionError, ObjectMissingError
from aesthetics_ops.machine import scratch_for
from aesthetics_ops.publishing.remaking import Remaker
from aesthetics_ops.store import Store, Swap

__all__ = ["Finding", "repair_version", "survey_version"]

_log = logging.getLogger(__name__)

_AT_ONCE: Final = 4
_TABLES: Final = (VersionFile.PLAN, VersionFile.REJECTS, VersionFile.RECORDS, VersionFile.NEAR_DUPLICATES)
_ANOTHER: Final = "`aesthetics-ops rollback` goes to another version; where none is whole, a build with start_anew (`--start-anew`) takes their place"
_DATA_IS_WHOLE: Final = "the data is whole without it, `aesthetics-ops rollback` takes the version as it is, and the next version has its own"


@dataclass(frozen=True, slots=True)
class Finding:
    """A damaged object.

    Attributes:
        key: of the object.
        problem: what is wrong with it, in words.
        remedy: what the very same bytes can be had from; empty where nothing gives them.
        advice: why not, and what to do; empty where there is a remedy.
    """

    key: str
    problem: str
    remedy: str
    advice: str = ""


@dataclass(frozen=True, slots=True)
class _Damage:
    """An object as it was found.

    Attributes:
        key: of the object.
        stated: what the manifest says of it.
        etag: of what lies there; None where nothing does.
        problem: in words.
    """

    key: str
    stated: StoredFile
    etag: str | None
    problem: str


def survey_version(dataset: Store, version: str | None = None) -> list[Finding]:
    """Say what `repair_version` would do; nothing is written.

    Args:
        dataset: where it is published.
        version: by default the one that LATEST names.

    Raises:
        NoSuchVersionError: there is no such version.
        IntegrityError: its manifest is damaged.
        ScratchSpaceError: the disk has no room for the version's tables and a few shards.
    """
    manifest = read_manifest(dataset, version)
    with scratch_for() as scratch:
        return [finding for finding, _, _ in _findings(dataset, manifest, scratch)]


def repair_version(dataset: Store, version: str | None = None) -> list[Finding]:
    """Write every damaged object of a version anew whose bytes can be had; arguments and errors as `survey_version`.

    Returns:
        What was found damaged, in the order in which it was worked on.  What has a remedy is whole now.

    Raises:
        DatasetBusyError: an expiry is at work.
        NoSuchVersionError: the version is not published any more.
        StoreRefusedError, StoreUnavailableError: the store says no, or nothing.
    """
    manifest = read_manifest(dataset, version)
    done = []
    compares: bool | None = None
    with scratch_for() as scratch:
        for found, damage, path in _findings(dataset, manifest, scratch):
            finding = found
            if path is not None:
                if compares is None:
                    single = bool(manifest.settings.get("single_writer"))
                    compares = compares_writes(dataset, single_writer=single)
                if not _replaced(dataset, manifest, damage, path, compares=compares):
                    finding = Finding(found.key, found.problem, "", "somebody else writes it now; run this again")
                path.unlink(missing_ok=True)
            done.append(finding)
    return done


def _replaced(dataset: Store, manifest: Manifest, damage: _Damage, path: Path, *, compares: bool) -> bool:
    """Put the object where the damaged one lies; False where something else lies there by now.

    While the lease is held no expiry deletes the version; so nothing is left behind of one that is gone.
    """
    with expiry_lease(dataset):
        latest, _ = peek_latest(dataset)
        is_latest = latest is not None and latest.version == manifest.version
        if not is_latest and not is_published(dataset, manifest.version):
            raise NoSuchVersionError(
                f"version {manifest.version!r} of {dataset.url} is not published any more, or never was; nothing is repaired"
            )
        swap = dataset.swap if compares else dataset.replace
        ending = swap(damage.key, path.read_bytes(), damage.etag)
        if is_kept(dataset, damage.key, damage.stated):
            _log.info("%s is made anew", dataset.url_of(damage.key))
            return True
    if ending is Swap.DONE:
        raise IntegrityError(
            f"{dataset.url_of(damage.key)} was written with {damage.stated.bytes} bytes and sha256 {damage.stated.sha256}, and the "
            "store holds something else: it, or something before it, changes or loses what is uploaded; correct that, then "
            "repair again"
        )
    return False


def _findings(dataset: Store, manifest: Manifest, scratch: Path) -> Iterator[tuple[Finding, _Damage, Path | None]]:
    """Yield what is damaged, and where the object lies that belongs there; each is asked for once all before are dealt with."""
    held = scratch / "held"
    held.mkdir()
    damaged = {}
    for name in sorted(manifest.files or {}, key=lambda name: (name not in _TABLES, name)):
        if name in set(VersionFile):
            damage = _sidecar_damage(dataset, manifest, VersionFile(name), held)
            if damage is not None:
                damaged[VersionFile(name)] = damage
    shards = _damaged_shards(dataset, manifest)
    if not damaged and not shards:
        return
    remaker = Remaker(dataset, manifest, held, scratch)
    for file in _TABLES:
        if file in damaged:
            yield _finding(damaged[file], partial(remaker.table, file), _ANOTHER)
    for shard, damage in shards:
        yield _finding(damage, partial(remaker.shard, shard), _advice_on(dataset, shard, damage))
    before = "a damaged shard that it shows must be whole first; " if shards else ""
    for file in DOCUMENTS:
        if file in damaged:
            yield _finding(damaged[file], partial(remaker.document, file), f"{before}{_DATA_IS_WHOLE}")


def _finding(
    damage: _Damage, remake: Callable[[], tuple[Path, str] | str], advice: str
) -> tuple[Finding, _Damage, Path | None]:
    """Try to have the object's bytes."""
    try:
        made = remake()
    except (AestheticsOpsError, pa.ArrowException, OSError) as error:
        made = " ".join(str(error).split())
    if isinstance(made, str):
        return Finding(damage.key, damage.problem, "", f"{made}; {advice}"), damage, None
    path, source = made
    return Finding(damage.key, damage.problem, source), damage, path


def _sidecar_damage(dataset: Store, manifest: Manifest, file: VersionFile, held: Path) -> _Damage | None:
    """Bring a file to `held` if it is whole; say what is wrong with it if not."""
    key, path = version_key(manifest.version, file), held / file
    stated = (manifest.files or {})[file]
    for _ in range(2):  # the way may have spoiled it
        there = dataset.head(key)
        try:
            dataset.download(key, path)
        except ObjectMissingError:
            return _Damage(key, stated, None, "is gone")
        found = stored_file(path)
        if found == stated:
            return None
    path.unlink()
    return _Damage(key, stated, there[1] if there else None, _differs(found, stated))


def _damaged_shards(dataset: Store, manifest: Manifest) -> list[tuple[Shard, _Damage]]:
    """Return the shards that are not what the manifest states, in reading order; a few are read at once."""

    def look(shard: Shard) -> _Damage | None:
        stated = StoredFile(bytes=shard.bytes, sha256=shard.sha256)
        there = dataset.head(shard.path)
        if there is None:
            return _Damage(shard.path, stated, None, "is gone")
        if there[0] != stated.bytes:
            return _Damage(shard.path, stated, there[1], f"has {there[0]} bytes, its manifest says {stated.bytes}")
        if is_kept(dataset, shard.path, stated) or is_kept(dataset, shard.path, stated):
            return None
        return _Damage(
            shard.path, stated, there[1], f"has another sha256 than {stated.sha256}, which its manifest says"
        )

    shards = [shard for split in manifest.splits.values() for shard in split.shards]
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="survey") as pool:
        found = list(pool.map(look, shards))
    return [(shard, damage) for shard, damage in zip(shards, found, strict=True) if damage is not None]


def _differs(found: StoredFile, stated: StoredFile) -> str:
    return f"has {found.bytes} bytes and sha256 {found.sha256}, its manifest says {stated.bytes} and {stated.sha256}"


def _advice_on(dataset: Store, shard: Shard, damage: _Damage) -> str:
    """Say what makes a shard anew that could not be made here."""
    there = dataset.head(shard.path)
    if there is None or there[0] != damage.stated.bytes:
        return f"the next build notices, and makes what its photos still give; until then {_ANOTHER}"
    return (
        f"delete {dataset.url_of(shard_key(shard.digest, ShardFile.RESULT))} and the .validated.json beside it, then the next build "
        f"makes it anew while its photos are there unchanged; until then {_ANOTHER}"
    )
