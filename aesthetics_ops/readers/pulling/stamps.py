"""What is known of the files of a pulled directory: each one's sha256, and how the file looked when that was found.

A file that looks the same is taken for the same, so a second pull reads none.  Looks are size, time of change and inode:
whatever writes to a file, copies or replaces it changes one of them, unless it means to deceive.
"""

import json
import os
from pathlib import Path
from typing import Final, TypedDict

from aesthetics_ops.dataset.documents import parse_json
from aesthetics_ops.machine import naming

__all__ = ["STAMPS", "Stamps"]

STAMPS: Final = ".aesthetics-ops-checked.json"  # in a pulled directory

_SCHEMA: Final = 1


class _Stamp(TypedDict):
    sha256: str
    bytes: int
    mtime_ns: int
    inode: int


class Stamps:
    """The stamps of one directory."""

    def __init__(self, path: Path) -> None:
        """Read them; without the file, or with one that cannot be read, nothing is known."""
        self._path = path
        self._stamps: dict[str, _Stamp] = {}
        try:
            found = parse_json(path.read_bytes())
            if found["schema"] == _SCHEMA:
                self._stamps = {str(name): _checked(stamp) for name, stamp in found["files"].items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            pass
        self._before = dict(self._stamps)

    def digest_of(self, path: Path) -> str | None:
        """Return a file's sha256, if it looks as it did when that was found."""
        stamp = self._stamps.get(path.name)
        return stamp["sha256"] if stamp is not None and stamp == _stamp(path.stat(), stamp["sha256"]) else None

    def note(self, path: Path, sha256: str) -> None:
        """Take note of a file that was found to have this sha256."""
        self._stamps[path.name] = _stamp(path.stat(), sha256)

    def noted(self, path: Path) -> str | None:
        """Return the sha256 that was found last under a file's name, however the file looks now."""
        stamp = self._stamps.get(path.name)
        return stamp["sha256"] if stamp is not None else None

    def write(self, new: Path) -> None:
        """Write them, if there is anything new, but for those of files that are gone.

        Args:
            new: a free name beside the file, for the writing.
        """
        there = {name: stamp for name, stamp in self._stamps.items() if (self._path.parent / name).exists()}
        if there == self._before:
            return
        with naming(new):
            new.write_text(json.dumps({"schema": _SCHEMA, "files": there}, indent=1), encoding="utf-8")
        new.replace(self._path)


def _stamp(found: os.stat_result, sha256: str) -> _Stamp:
    return {"sha256": sha256, "bytes": found.st_size, "mtime_ns": found.st_mtime_ns, "inode": found.st_ino}


def _checked(stamp: dict[str, object]) -> _Stamp:
    sha256, size, mtime_ns, inode = (stamp[name] for name in _Stamp.__annotations__)
    if not (isinstance(sha256, str) and isinstance(size, int) and isinstance(mtime_ns, int) and isinstance(inode, int)):
        raise TypeError(f"{stamp!r} is no stamp")
    return {"sha256": sha256, "bytes": size, "mtime_ns": mtime_ns, "inode": inode}
