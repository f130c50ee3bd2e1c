"""The pins by which trainings keep their versions from expiry, and how long.

A training pins its version before it begins.  Where the settings say how many of the newest trainings keep their pins, one that
has succeeded lets older ones of the same trainer go.
Promised: no pin of a person or of another trainer goes, none of a version that a pointer names, and none of a training that began
later.  What goes wrong here undoes no training.
"""

import logging
from hashlib import sha256
from typing import Final

from aesthetics_ops.dataset.latest import peek_latest
from aesthetics_ops.dataset.layout import is_name
from aesthetics_ops.dataset.moves import Given
from aesthetics_ops.dataset.pointers import Pin, read_pins, read_pointers
from aesthetics_ops.errors import AestheticsOpsError
from aesthetics_ops.store import Store
from aesthetics_ops.versions.pointing import pin, unpin

__all__ = ["keep_newest", "pin_name", "pin_training"]

_log = logging.getLogger(__name__)
_LONGEST_RUN: Final = 120  # characters of a run's name in that of its pin


def pin_name(run: str, version: str, folder: str) -> str:
    """Return the name of the pin that a run keeps a version by: two trainers' pins never share one."""
    words = "".join(letter if is_name(f"x{letter}") else "-" for letter in run)
    return f"training-{words[:_LONGEST_RUN]}-{version}-{sha256(folder.encode()).hexdigest()[:8]}"


def pin_training(dataset: Store, version: str, folder: str, *, run: str) -> Pin:
    """Pin a version, so that no expiry deletes it under its model.

    Args:
        dataset: that it lies in.
        version: its name.
        folder: URL of its training.
        run: who trains.

    Raises:
        NoSuchVersionError, PublishConflictError: it is being deleted.
    """
    given = Given.of(run, f"a model is trained on it: {folder}")
    return pin(dataset, pin_name(run, version, folder), version, given, training=folder)


def keep_newest(dataset: Store, version: str, url: str, *, count: int, run: str) -> list[str]:
    """Let a trainer's pins go, but for those of its newest trainings; return the names of those that went.

    Args:
        dataset: that they lie in.
        version: that was trained on just now; its pin stays, and is made again where it went meanwhile.
        url: that the trainer's trainings lie below.
        count: trainings whose pins stay, >= 1.
        run: who trains, for the log of moves.
    """
    gone: list[str] = []
    try:
        own = pin_training(dataset, version, f"{url}{version}/", run=run)
        mine = [found for found in read_pins(dataset) if found.training == f"{url}{found.version}/"]
        begun = {found.version: found.move.at for found in sorted(mine, key=lambda found: found.move.at)}
        older = [
            name
            for name, at in sorted(begun.items(), key=lambda item: item[1])
            if name != version and at <= own.move.at
        ]
        go = set(older[: max(0, len(older) - count + 1)]) - _named(dataset)
        reason = f"the newest {count} trainings below {url} keep their pins"
        for found in mine:
            if found.version in go:
                unpin(dataset, found.name, Given.of(run, reason))
                gone.append(found.name)
    except AestheticsOpsError as error:
        _log.warning("the training is done; pins of older ones stay until the next: %s", error)
    return gone


def _named(dataset: Store) -> set[str]:
    """Return the versions that LATEST and pointers name."""
    latest = peek_latest(dataset)[0]
    named = {pointer.version for pointer in read_pointers(dataset).values()}
    return named | ({latest.version} if latest is not None else set())
