"""The commands of `aesthetics-ops` that say which version counts, and which may go.

Each takes the parsed flags, and returns a JSON document and the lines that say the same.
"""

import argparse
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final

from aesthetics_ops.dataset.layout import LATEST_KEY, LATEST_NAME
from aesthetics_ops.dataset.moves import Given, Move
from aesthetics_ops.errors import NoSuchVersionError
from aesthetics_ops.parsing import whole_number
from aesthetics_ops.progress import Progress, silent
from aesthetics_ops.shell import positive, show_progress
from aesthetics_ops.store import Store, open_store

__all__ = ["add_version_commands", "progress_of"]

_UNITS: Final = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}
_LONGEST: Final = 100_000
_PATIENCE_S: Final = 1.5

Command = Callable[[argparse.Namespace], tuple[Any, list[str]]]


def add_version_commands(command: Callable[[str, Command, str], argparse.ArgumentParser]) -> None:
    """Add the commands to the command line.

    Args:
        command: adds one, by its name, the function that runs it, and what its help says.
    """
    command(
        "versions",
        _versions,
        "List the published versions, newest first, and after them the candidates that a gate refused.",
    )
    rollback = command("rollback", _rollback, "Make LATEST name another published version.")
    promote = command(
        "promote", _promote, "Publish a candidate that gates refused; the log says who overruled them, and why."
    )
    point = command("point", _point, "Make a pointer beside LATEST, such as prod, name a published version.")
    point.add_argument("name", metavar="NAME", help="of the pointer: lower-case letters, digits, '-' and '_'")
    unpoint = command("unpoint", _unpoint, "Take a pointer away.")
    pin = command("pin", _pin, "Keep a version from expiry.")
    for sub, needs_reason in ((rollback, False), (promote, True), (point, True), (pin, True)):
        sub.add_argument("of_version", metavar="VERSION", help="its name, or the name of a pointer")
        if sub is pin:
            pin.add_argument("name", metavar="NAME", help="of the pin, such as that of a training run")
        _add_given(sub, needs_reason=needs_reason)
    unpin = command("unpin", _unpin, "Let expiry have a version again.")
    for sub, what in ((unpoint, "pointer"), (unpin, "pin")):
        sub.add_argument("name", metavar="NAME", help=f"of the {what}")
        _add_given(sub)
    command(
        "pointers",
        _pointers,
        "List LATEST, the pointers beside it, and the pins: what each names, since when, by whom and why.",
    )
    command(
        "log", _log_of_moves, "List every move of LATEST, pointers and pins, newest first: who, when, why, from and to."
    )
    expire = command(
        "expire",
        _expire,
        "Say which old versions, candidates and shards may go, and why the others stay; --yes deletes.",
    )
    expire.add_argument("--keep", type=positive, metavar="N", help="number of newest versions to keep")
    expire.add_argument(
        "--older-than", type=_duration, metavar="TIME", help="only versions planned longer ago: 90d, 12h or 6w"
    )
    expire.add_argument(
        "--grace", type=_duration, metavar="TIME", default=timedelta(days=1),
        help="what LATEST or a pointer named so lately stays, since a training may still read it; by default 1d",
    )  # fmt: skip
    expire.add_argument("--yes", action="store_true", help="delete; without it nothing is")


def progress_of(options: argparse.Namespace) -> Progress:
    """Return how a command that is quick as a rule says what it is at: after a moment, and not with `--json`."""
    return silent if options.json else partial(show_progress, after_s=_PATIENCE_S)


def _add_given(sub: argparse.ArgumentParser, *, needs_reason: bool = True) -> None:
    sub.add_argument("--reason", metavar="TEXT", required=needs_reason, help="why; the log of moves keeps it")
    sub.add_argument("--by", metavar="NAME", help="who; by default the system's user")


def _given(options: argparse.Namespace, *, needs_reason: bool = True) -> Given:
    return Given.of(options.by, options.reason, needs_reason=needs_reason)


def _versions(options: argparse.Namespace) -> tuple[Any, list[str]]:
    from aesthetics_ops.versions.listing import list_candidates, list_versions

    dataset = open_store(options.dataset)
    progress = progress_of(options)
    candidates = list_candidates(dataset, progress=progress)
    try:
        versions = list_versions(dataset, progress=progress)
    except NoSuchVersionError:
        if not candidates:
            raise
        versions = []
    lines = [
        _line(info, ["LATEST"] * info.is_latest + list(info.pointers) + _pinned(info.pins)) for info in versions
    ] or ["nothing is published yet"]
    lines += [
        _line(info, [f"candidate, refused by {' and '.join(info.refused)}"] * bool(info.refused) + _pinned(info.pins))
        for info in candidates
    ]
    return {"versions": [asdict(info) for info in versions], "candidates": [asdict(info) for info in candidates]}, lines


def _line(info: Any, notes: list[str]) -> str:
    size = info.problem or f"{info.records:>10,} records  {info.bytes:>15,} bytes"
    return f"{info.version}  {size}{'  ' if notes else ''}{', '.join(notes)}"


def _pinned(pins: tuple[str, ...]) -> list[str]:
    return [f"pinned by {pin}" for pin in pins]


def _rollback(options: argparse.Namespace) -> tuple[Any, list[str]]:
    from aesthetics_ops.versions.rollback import rollback

    given, dataset = _given(options, needs_reason=False), open_store(options.dataset)
    manifest = rollback(dataset, options.of_version, given, progress=progress_of(options))
    return {"version": manifest.version}, [f"LATEST names {manifest.version} {_since(_move_of_latest(dataset), given)}"]


def _promote(options: argparse.Namespace) -> tuple[Any, list[str]]:
    from aesthetics_ops.versions.promote import promote

    given, dataset = _given(options), open_store(options.dataset)
    manifest = promote(dataset, options.of_version, given)
    overruled = [gate.name for gate in manifest.gates if not gate.passed]
    since = _since(_move_of_latest(dataset), given)
    gates = f"; overruled: {', '.join(overruled) or 'no gate'}" if since == "now" else ""
    return {"version": manifest.version, "overruled": overruled}, [f"LATEST names {manifest.version} {since}{gates}"]


def _point(options: argparse.Namespace) -> tuple[Any, list[str]]:
    from aesthetics_ops.versions.pointing import point

    given = _given(options)
    pointer = point(open_store(options.dataset), options.name, options.of_version, given)
    line = f"{options.name} names {pointer.version} {_since(pointer.move, given)}"
    return {"pointer": options.name, "version": pointer.version}, [line]


def _move_of_latest(dataset: Store) -> Move | None:
    from aesthetics_ops.dataset.latest import peek_latest

    latest = peek_latest(dataset)[0]
    return latest.move if latest is not None else None


def _since(move: Move | None, given: Given) -> str:
    """Return `now`, or who made it so before: then nothing was moved, and the log has nothing of what was given."""
    if move is None or (move.by, move.reason) == (given.by, given.reason):
        return "now"
    return f"already, {_how(move)}; nothing is moved, and this reason is not kept"


def _unpoint(options: argparse.Namespace) -> tuple[Any, list[str]]:
    from aesthetics_ops.versions.pointing import unpoint

    version = unpoint(open_store(options.dataset), options.name, _given(options))
    return {"pointer": options.name, "version": version}, [f"{options.name} is gone; it named {version}"]


def _pin(options: argparse.Namespace) -> tuple[Any, list[str]]:
    from aesthetics_ops.versions.pointing import pin

    given = _given(options)
    made = pin(open_store(options.dataset), options.name, options.of_version, given)
    since = _since(made.move, given).removeprefix("now")
    return {"pin": made.name, "version": made.version}, [f"{made.name} keeps {made.version} {since}".rstrip()]


def _unpin(options: argparse.Namespace) -> tuple[Any, list[str]]:
    from aesthetics_ops.versions.pointing import unpin

    version = unpin(open_store(options.dataset), options.name, _given(options))
    return {"pin": options.name, "version": version}, [f"{options.name} is gone; it kept {version}"]


def _pointers(options: argparse.Namespace) -> tuple[Any, list[str]]:
    from aesthetics_ops.dataset.latest import read_latest
    from aesthetics_ops.dataset.pointers import read_pins, read_pointers
    from aesthetics_ops.dataset.reading_manifests import nothing_published

    dataset = open_store(options.dataset)
    latest = read_latest(dataset)
    if latest is None:
        raise nothing_published(dataset)
    pointers = {LATEST_NAME: latest[0], **read_pointers(dataset)}
    pins = read_pins(dataset)
    named = [(name, pointer.version, pointer.move) for name, pointer in pointers.items()]
    lines = [f"{name}  {version}  {_how(move)}" for name, version, move in named]
    lines += [f"pin {pin.name}  {pin.version}  {_how(pin.move)}" for pin in pins]
    document = {
        "pointers": [_moved(name, version, move) for name, version, move in named],
        "pins": [_moved(pin.name, pin.version, pin.move) for pin in pins],
    }
    return document, lines


def _log_of_moves(options: argparse.Namespace) -> tuple[Any, list[str]]:
    from aesthetics_ops.dataset.reading_manifests import nothing_published
    from aesthetics_ops.versions.pointing import all_moves

    dataset = open_store(options.dataset)
    entries = list(reversed(all_moves(dataset)))
    if not entries and dataset.head(LATEST_KEY) is None:
        raise nothing_published(dataset)
    lines = [
        f"{entry.move.at:%Y-%m-%d %H:%M:%S}  {entry.move.action:<8}  {entry.pointer}  {entry.move.previous or '-'} -> {entry.version or '-'}  "
        f"{_who(entry.move)}"
        for entry in entries
    ]
    return [_moved(entry.pointer, entry.version, entry.move) for entry in entries], lines or ["no move is noted"]


def _moved(name: str, version: str | None, move: Move | None) -> dict[str, Any]:
    """Return a pointer and its last move as a document; without a move, as an earlier release wrote it, its fields are null."""
    fields = dict.fromkeys(Move.model_fields) if move is None else move.model_dump(mode="json")
    return {"name": name, "version": version, **fields}


def _how(move: Move | None) -> str:
    return "no move is noted" if move is None else f"since {move.at:%Y-%m-%d %H:%M} UTC ({move.action})  {_who(move)}"


def _who(move: Move) -> str:
    overruled = f" (overruled {', '.join(move.overruled)})" if move.overruled else ""
    return f"{move.by}{': ' if move.reason else ''}{move.reason}{overruled}"


def _expire(options: argparse.Namespace) -> tuple[Any, list[str]]:
    from aesthetics_ops.versions.expire import expire_versions, plan_expiry

    act = expire_versions if options.yes else plan_expiry
    expired = act(
        open_store(options.dataset), keep=options.keep, older_than=options.older_than, grace=options.grace,
        now=datetime.now(UTC), progress=progress_of(options),
    )  # fmt: skip
    goes, done = ("deleted", "deleted") if options.yes else ("goes", "would delete")
    lines = [f"stays    {version}  {'; '.join(why)}" for version, why in expired.stays.items()]
    lines += [f"{goes:<7}  {version}" for version in expired.versions]
    lines += [f"{goes:<7}  {version}  candidate" for version in expired.candidates]
    counts = f"{len(expired.versions)} versions, {len(expired.candidates)} candidates and {len(expired.builds)} builds"
    lines.append(f"{done} {counts}: {expired.objects:,} objects, {expired.bytes:,} bytes")
    if not options.yes:
        lines.append("nothing is deleted; --yes deletes")
    return {"deleted": options.yes, **asdict(expired)}, lines


def _duration(text: str) -> timedelta:
    number, unit = whole_number(text[:-1], 0, _LONGEST), text[-1:]
    if number is None or unit not in _UNITS:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a time; write 90d, 12h or 6w")
    return number * _UNITS[unit]
