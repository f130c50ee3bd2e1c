"""The log of moves: who made LATEST, or a pointer beside it, name which version, when, and why.

A move stands first in the pointer itself, written by the same compare-and-swap; so none is lost, and none is logged that never
was.  Its entry in `log/` is written right after, and again by whoever moves the pointer next, in case that the first writer
died in between.  Until then `read_log` takes it from the pointer.
"""

import getpass
import logging
import os
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Final, Literal, Self

from pydantic import AwareDatetime, Field, field_validator

from aesthetics_ops.dataset.documents import Document
from aesthetics_ops.dataset.layout import LOG, log_key
from aesthetics_ops.errors import IntegrityError, SettingsError, StoreRefusedError, StoreUnavailableError
from aesthetics_ops.store import Store, StoreThreads

__all__ = ["MOST_CHARACTERS", "Given", "LogEntry", "Move", "log_move", "logged_moves"]

_log = logging.getLogger(__name__)
MOST_CHARACTERS: Final = 1000  # of who and why
_READS: Final = 16
_FIRST_YEAR, _LAST_YEAR = 1970, 9998  # in any zone

Action = Literal["publish", "promote", "rollback", "point", "unpoint", "pin", "unpin"]


@dataclass(frozen=True, slots=True)
class Given:
    """What a person or a program says of a move.

    Attributes:
        by: who, as given; nothing checks it.
        reason: why; empty where none was asked for.
    """

    by: str
    reason: str = ""

    @classmethod
    def of(cls, by: str | None, reason: str | None, *, needs_reason: bool = True) -> Self:
        """Check what was given; the default for `by` is the system's user.

        Raises:
            SettingsError: one is empty where it may not be, too long, or no text.
        """
        by = _user() if by is None else by.strip()
        reason = (reason or "").strip()
        for name, text, is_needed in (("by", by, True), ("reason", reason, needs_reason)):
            if is_needed and not text:
                raise SettingsError(
                    f"--{name} is empty; say {'who moves it' if name == 'by' else 'why'}, the log keeps it"
                )
            if len(text) > MOST_CHARACTERS:
                raise SettingsError(f"--{name} has {len(text):,} characters; {MOST_CHARACTERS:,} are the most")
            try:
                text.encode()
            except UnicodeEncodeError as error:
                raise SettingsError(f"--{name} {text!r} is no text: {error.reason}; write it in UTF-8") from error
        return cls(by, reason)


class Move(Document):
    """How a pointer came to name what it names."""

    action: str = Field(description="publish, promote, rollback, point or unpoint; of a pin: pin or unpin")
    at: AwareDatetime
    by: str = Field(description="who, as given; of a publish the build")
    reason: str = Field("", description="as given; empty for a publish")
    previous: str | None = Field(
        description="version that it named before; null where it named none that could be read"
    )
    overruled: tuple[str, ...] = Field(
        (), description="gates that refused the version, and that the promoter overruled"
    )
    tag: str = Field(pattern="^[0-9a-f]{8}$", description="of this move alone")

    @field_validator("at")
    @classmethod
    def _time_has_a_name(cls, at: datetime) -> datetime:
        if not _FIRST_YEAR <= at.year <= _LAST_YEAR:
            raise ValueError(f"{at.year} is no year of a move")
        return at

    @classmethod
    def now(cls, action: Action, given: Given, *, previous: str | None, overruled: tuple[str, ...] = ()) -> Self:
        """Return a move that is about to be made."""
        return cls(
            action=action, at=datetime.now(UTC), by=given.by, reason=given.reason, previous=previous, overruled=overruled,
            tag=uuid.uuid4().hex[:8],
        )  # fmt: skip


class LogEntry(Document):
    """log/<time>-<pointer>-<tag>.json: one move."""

    kind = "entry of the log"
    is_sealed = True

    pointer: str = Field(description="LATEST, or the name of a pointer or pin")
    version: str | None = Field(description="that it names since; null where it was taken away")
    move: Move

    @property
    def key(self) -> str:
        """Where the entry lies."""
        return log_key(self.pointer, self.move.at, self.move.tag)


def log_move(dataset: Store, entry: LogEntry) -> None:
    """Write a move's entry, unless it is there; where that fails, the next move of the pointer does it."""
    try:
        if dataset.head(entry.key) is None:
            dataset.put(entry.key, entry.encoded())
    except (StoreRefusedError, StoreUnavailableError) as error:
        _log.warning(
            "%s names version %s; the entry in the log could not be written now: %s",
            entry.pointer,
            entry.version,
            error,
        )


def logged_moves(dataset: Store, *, since: datetime | None = None) -> list[LogEntry]:
    """Return the entries of the log, by time; one that cannot be read is left out, with a warning.

    Args:
        dataset: whose log.
        since: those of earlier moves are not read; None reads all.
    """
    first = LOG if since is None else log_key("", since, "").removesuffix("--.json")
    keys = sorted(key for key in dataset.list(LOG)["key"].to_pylist() if key.endswith(".json") and key >= first)
    with StoreThreads(_READS, thread_name_prefix="log") as pool:
        entries = pool.map(partial(_read_entry, dataset), keys)
        return [entry for entry in entries if entry is not None]


def _read_entry(dataset: Store, key: str) -> LogEntry | None:
    try:
        return LogEntry.read(dataset, key)
    except IntegrityError as error:
        _log.warning("%s; it is left out", error)
        return None


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return f"uid {os.getuid()}"
