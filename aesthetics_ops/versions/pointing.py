"""Move pointers beside LATEST, pin versions, and read the log of all moves.

A pointer or a pin is written, then the version's mark is looked for; an expiry takes the mark, then looks for pointers and pins.  So
one of both sees the other, and stands back.
"""

from aesthetics_ops.dataset.candidates import CandidateMark, refused_in_words
from aesthetics_ops.dataset.latest import (
    LatestPointer,
    compares_writes,
    is_published,
    mark_published,
    peek_latest,
    pointer_in_object,
    pointer_to,
    put_back,
    write_pointer,
)
from aesthetics_ops.dataset.layout import (
    LATEST_NAME,
    VersionFile,
    candidate_key,
    is_label_name,
    is_name,
    pin_key,
    pointer_key,
    version_key,
)
from aesthetics_ops.dataset.manifest import Manifest
from aesthetics_ops.dataset.moves import Given, LogEntry, Move, log_move, logged_moves
from aesthetics_ops.dataset.pointers import Pin, read_pin, read_pins, read_pointers, resolve_version
from aesthetics_ops.dataset.reading_manifests import nothing_published, read_manifest_of
from aesthetics_ops.errors import (
    IntegrityError,
    NoSuchVersionError,
    PublishConflictError,
    SettingsError,
    StoreUnavailableError,
)
from aesthetics_ops.store import Store, Swap
from aesthetics_ops.versions.whole import require_whole

__all__ = ["all_moves", "pin", "point", "published_version", "unpin", "unpoint"]


def point(dataset: Store, name: str, version: str, given: Given) -> LatestPointer:
    """Make a pointer name a published version, by compare-and-swap.

    Args:
        dataset: that both lie in.
        name: of the pointer; lower case.
        version: its name, or the name of a pointer, or LATEST.
        given: who moves it, and why.

    Raises:
        SettingsError: the name cannot be a pointer's.
        NoSuchVersionError: there is no such version, or it was never published.
        IntegrityError: its manifest cannot be read, or a shard or table of it is not what that states.
        PublishConflictError: somebody else moved the pointer just now, the write's end is unknown, or the version is being deleted.
        StoreRefusedError: the store ignores conditions on writes, and the version's settings do not say `single_writer`.
    """
    _require_pointer_name(dataset, name)
    key = pointer_key(name)
    before = LatestPointer.stored(dataset, key)
    manifest, pointer = published_version(dataset, version)
    now = pointer_in_object(before)
    if now is not None and (now.version, now.sha256) == (pointer.version, pointer.sha256):
        _log_pointer(dataset, name, now)
        return now
    require_whole(dataset, manifest, stays=f"pointer {name!r}")
    if now is not None:
        _log_pointer(dataset, name, now)
    move = Move.now("point", given, previous=now.version if now is not None else None)
    pointer = pointer.model_copy(update={"move": move})
    compares = compares_writes(dataset, single_writer=bool(manifest.settings.get("single_writer")))
    ending = write_pointer(dataset, key, pointer, before.etag if before is not None else None, compares=compares)
    if ending is not Swap.DONE:
        raise PublishConflictError(
            f"{dataset.url_of(key)} could not be moved to {pointer.version!r} ({ending.name.lower()}): somebody else may have moved it; "
            "look at `aesthetics-ops pointers`, then try again"
        )
    if not is_published(dataset, pointer.version):
        if before is None:
            dataset.delete([key])
        else:
            put_back(dataset, key, pointer.version, before, compares=compares)
        raise _going(dataset, pointer.version, f"pointer {name!r} names what it named before")
    _log_pointer(dataset, name, pointer)
    return pointer


def unpoint(dataset: Store, name: str, given: Given) -> str | None:
    """Take a pointer away; return the version that it named, None where that cannot be read.

    Raises:
        NoSuchVersionError: there is no such pointer.
    """
    stored = LatestPointer.stored(dataset, pointer_key(name)) if is_name(name) else None
    if stored is None:
        raise NoSuchVersionError(f"{dataset.url} has no pointer {name!r}; `aesthetics-ops pointers` lists those it has")
    now = pointer_in_object(stored)
    if now is not None:
        _log_pointer(dataset, name, now)
    version = now.version if now is not None else None
    log_move(dataset, LogEntry(pointer=name, version=None, move=Move.now("unpoint", given, previous=version)))
    dataset.delete([pointer_key(name)])
    return version


def pin(dataset: Store, name: str, version: str, given: Given, *, training: str | None = None) -> Pin:
    """Keep a version, or a candidate, from expiry, until `unpin`.

    Args:
        dataset: that it lies in.
        name: of the pin, such as that of a training run; a dataset has one pin of a name.
        version: its name, or the name of a pointer, or LATEST.
        given: who pins it, and why.
        training: URL of the training that pins it; None: a person does.

    Raises:
        SettingsError: the name cannot be a pin's.
        NoSuchVersionError: there is no such version or candidate.
        IntegrityError: the pin of this name cannot be read.
        PublishConflictError: the name pins another version, or is that of a training's pin; or the version is being deleted.
        StoreUnavailableError: the store says no, or loses the pin.
    """
    if not is_name(name):
        raise SettingsError(
            f"{name!r} cannot name a pin; use letters, digits, '-', '_' and '.', and no '-' or '.' first"
        )
    version = _version(dataset, version)
    if not _is_marked(dataset, version):
        raise NoSuchVersionError(
            f"{dataset.url} has no version and no candidate {version!r}; `aesthetics-ops versions` lists both"
        )
    made = Pin(name=name, version=version, move=Move.now("pin", given, previous=None), training=training)
    dataset.put_if_absent(pin_key(name), made.encoded())
    made = _same_pin(dataset, name, version)  # another's, or ours as the store keeps it
    if training is None and made.training is not None:
        raise PublishConflictError(
            f"pin {name!r} of {dataset.url} is that of a training, {made.training}, which may let it go; take another name"
        )
    if not _is_marked(dataset, version):
        dataset.delete([pin_key(name)])
        raise _going(dataset, version, f"it is not pinned by {name!r}")
    log_move(dataset, LogEntry(pointer=name, version=version, move=made.move))
    return made


def unpin(dataset: Store, name: str, given: Given) -> str | None:
    """Take a pin away; return the version that it pinned, None where that cannot be read.

    Raises:
        NoSuchVersionError: there is no such pin.
    """
    if not is_name(name) or dataset.head(pin_key(name)) is None:
        raise NoSuchVersionError(f"{dataset.url} has no pin {name!r}; `aesthetics-ops pointers` lists those it has")
    try:
        found = Pin.read(dataset, pin_key(name))
    except IntegrityError:
        found = None
    if found is not None:
        log_move(dataset, LogEntry(pointer=name, version=found.version, move=found.move))
    version = found.version if found is not None else None
    log_move(dataset, LogEntry(pointer=name, version=None, move=Move.now("unpin", given, previous=version)))
    dataset.delete([pin_key(name)])
    return version


def all_moves(dataset: Store) -> list[LogEntry]:
    """Return every move of LATEST, of pointers and of pins, by time; also those whose entry in the log is still to be written.

    Raises:
        IntegrityError: a pointer or a pin cannot be read.
    """
    entries = logged_moves(dataset)
    seen = {entry.move.tag for entry in entries}
    latest = peek_latest(dataset)[0]
    heads = [(LATEST_NAME, latest)] if latest is not None else []
    named = [(name, pointer.version, pointer.move) for name, pointer in [*heads, *read_pointers(dataset).items()]]
    named += [(found.name, found.version, found.move) for found in read_pins(dataset)]
    entries += [
        LogEntry(pointer=name, version=version, move=move)
        for name, version, move in named
        if move is not None and move.tag not in seen
    ]
    return sorted(entries, key=lambda entry: (entry.move.at, entry.key))


def _require_pointer_name(dataset: Store, name: str) -> None:
    if not is_label_name(name):
        raise SettingsError(
            f"{name!r} cannot name a pointer; use 1 to 63 lower-case letters, digits, '-' and '_', a letter first, and not 'latest', which "
            "builds move"
        )
    if dataset.head(version_key(name, VersionFile.MANIFEST)) is not None:
        raise SettingsError(f"{name!r} is the name of a version of {dataset.url}; give the pointer another one")


def _version(dataset: Store, name: str) -> str:
    """Return the version that a name stands for; of LATEST also the mark is there then, which an expiry takes first."""
    version = resolve_version(dataset, name)
    latest = peek_latest(dataset)[0]
    if latest is not None and version in (None, latest.version) and not is_published(dataset, latest.version):
        mark_published(dataset, latest)
    if version is None:
        if latest is None:
            raise nothing_published(dataset)
        return latest.version
    return version


def published_version(dataset: Store, name: str) -> tuple[Manifest, LatestPointer]:
    """Return the manifest of a published version, and a pointer to it.

    Args:
        dataset: that it lies in.
        name: of the version, or of a pointer, or LATEST.

    Raises:
        NoSuchVersionError: there is no such version, or it was never published.
        IntegrityError: its manifest cannot be read.
        PublishConflictError: an expiry has just deleted it.
    """
    version = _version(dataset, name)
    manifest = read_manifest_of(dataset, version, peek_latest(dataset)[0])
    if not is_published(dataset, version):
        mark = CandidateMark.read(dataset, candidate_key(version))
        why = (
            f"is a candidate, {refused_in_words(mark.refused)}"
            if mark is not None
            else "was never published, or is being deleted"
        )
        raise NoSuchVersionError(
            f"version {version!r} of {dataset.url} {why}; `aesthetics-ops versions` lists those that were published, `aesthetics-ops "
            "promote` publishes a candidate"
        )
    stored = Manifest.stored(dataset, version_key(version, VersionFile.MANIFEST))
    if stored is None:
        raise _going(dataset, version, "nothing is moved")
    return manifest, pointer_to(version, bytes(stored.data))


def _is_marked(dataset: Store, version: str) -> bool:
    return is_name(version) and (is_published(dataset, version) or dataset.head(candidate_key(version)) is not None)


def _same_pin(dataset: Store, name: str, version: str) -> Pin:
    found = read_pin(dataset, name)
    if found is None:
        raise StoreUnavailableError(
            f"{dataset.url_of(pin_key(name))} was written and is not there: somebody took the pin away just now, or the store, or "
            f"something before it, answers well and loses what is uploaded; version {version!r} is not pinned: try again later"
        )
    if found.version != version:
        raise PublishConflictError(
            f"pin {name!r} of {dataset.url} keeps {found.version!r}; take another name, or `aesthetics-ops unpin {dataset.url} {name} --reason TEXT` "
            "first"
        )
    return found


def _going(dataset: Store, version: str, end: str) -> PublishConflictError:
    return PublishConflictError(
        f"version {version!r} of {dataset.url} is being deleted by an expiry; {end}: choose another of `aesthetics-ops versions`"
    )


def _log_pointer(dataset: Store, name: str, pointer: LatestPointer) -> None:
    if pointer.move is not None:
        log_move(dataset, LogEntry(pointer=name, version=pointer.version, move=pointer.move))
