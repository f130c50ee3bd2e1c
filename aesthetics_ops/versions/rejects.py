"""Look at what a version left out: list it, and fetch the originals of the rejected photos.

In: a published version, and the store that its photos came from.  Out: rows of rejects.parquet, and files.
Promised: a saved file has the size and the ETag of its row; no key and no reason, whatever they hold, name a file outside
the directory or the file of another row.
"""

import json
import logging
import os
import re
import urllib.parse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from aesthetics_ops.dataset.documents import parse_json
from aesthetics_ops.dataset.layout import VersionFile
from aesthetics_ops.dataset.manifest import Manifest
from aesthetics_ops.dataset.reading_manifests import read_manifest
from aesthetics_ops.dataset.sidecars import read_table
from aesthetics_ops.errors import AccessDeniedError, ObjectArchivedError, ObjectMissingError
from aesthetics_ops.machine import naming
from aesthetics_ops.rejects import RejectReason
from aesthetics_ops.store import Store, StoreThreads

__all__ = ["Outcome", "Saved", "list_rejects", "safe_path", "save_rejects"]

_log = logging.getLogger(__name__)

_INDEX: Final = "rejects.jsonl"
_DOWNLOADS: Final = 8
_LONGEST_NAME_BYTES: Final = 200  # file systems take 255; a partial file's suffix needs some
_LONGEST_SUFFIX: Final = 20
_UNSAFE: Final = '%\\:<>"|?*'


class Outcome(StrEnum):
    """What became of one photo that was to be saved."""

    SAVED = "saved"
    KEPT = "kept"  # it was there already, from an earlier call
    CHANGED = "changed"  # the store holds another object under its key now
    VANISHED = "vanished"  # the store holds nothing under its key now
    DENIED = "denied"  # these credentials may not read it
    ARCHIVED = "archived"  # it must be restored before it can be read


@dataclass(frozen=True, slots=True)
class Saved:
    """One photo that was to be saved.

    Attributes:
        key: of the photo, relative to the photos prefix.
        reason: why it was left out.
        outcome: what became of it.
        path: the file, relative to the directory; None where there is none.
    """

    key: str
    reason: str
    outcome: Outcome
    path: str | None


def list_rejects(
    dataset: Store, *, version: str | None = None, reasons: Sequence[RejectReason] = ()
) -> tuple[Manifest, pa.Table]:
    """Return a version's manifest, and the rows of its rejects.parquet (tables.REJECTS).

    Args:
        dataset: that the version is published in.
        version: by default the one that LATEST names.
        reasons: those to list; by default all.

    Raises:
        NoSuchVersionError: there is no such version.
        ObjectMissingError: its rejects.parquet is gone.
    """
    manifest = read_manifest(dataset, version)
    rejects = read_table(dataset, manifest, VersionFile.REJECTS)
    if reasons:
        rejects = rejects.filter(pc.is_in(rejects["reason"], pa.array(map(str, reasons), pa.string())))
    return manifest, rejects


def save_rejects(
    rejects: pa.Table, photos: Store, directory: Path, *, progress: Callable[[int], None] = lambda photos: None
) -> list[Saved]:
    """Fetch the originals into `<directory>/<reason>/<key>`, names made safe, each with its row in `rejects.jsonl`.

    Photos only: a label row without photo has nothing to fetch.

    Args:
        rejects: rows of rejects.parquet.
        photos: the store that the version's photos came from.
        directory: made where it does not exist.
        progress: called with the number of photos just done.

    Raises:
        StoreRefusedError, StoreUnavailableError: the store says no, or nothing.
        OSError: the directory cannot be written, or its disk is full; names the file.
    """
    rows = rejects.filter(pc.is_valid(rejects["key"])).to_pylist()
    directory.mkdir(parents=True, exist_ok=True)
    index = _read_index(directory)
    done: list[Saved] = []
    pool = StoreThreads(_DOWNLOADS, thread_name_prefix="reject")
    try:
        for row, saved in zip(rows, pool.map(partial(_save, photos, directory, index), rows), strict=True):
            done.append(saved)
            if saved.path is not None:
                facts = {name: row[name] for name in ("key", "reason", "detail", "etag", "bytes")}
                index[saved.path] = {"file": saved.path, **facts}
            progress(1)
    finally:
        pool.shutdown(cancel_futures=True)  # what stops this call stops it soon
        _write_index(directory, index)
    return done


def safe_path(key: str) -> PurePosixPath:
    """Return a relative path for a key: another one for every key, and none that is a directory of another.

    Characters that a file system or a terminal may take amiss are percent-encoded, and so are dots that start a name or
    stand in a directory's: only files have a dot, at need an added `.%`.  A long name ends in a hash.
    """
    *folders, name = key.split("/")
    parts = map(_folder, folders)
    last = re.sub(r"^\.", "%2E", _encoded(name))
    suffix = PurePosixPath(last).suffix
    last = _shortened(last, suffix if len(suffix) <= _LONGEST_SUFFIX else "")
    return PurePosixPath(*parts, last if "." in last else f"{last}.%")


def _folder(name: str) -> str:
    """Return a directory's name for any text; another one for every text."""
    return _shortened(_encoded(name).replace(".", "%2E").replace("/", "%2F"), "")


def _encoded(name: str) -> str:
    # '%' is always followed by two hex digits here, so a '%' that is not cannot come from a key
    return re.sub(r".", _encoded_character, name, flags=re.DOTALL) or "%"


def _encoded_character(found: re.Match[str]) -> str:
    is_safe = found[0].isprintable() and found[0] not in _UNSAFE
    return found[0] if is_safe else urllib.parse.quote(found[0], safe="", errors="surrogatepass")


def _shortened(name: str, suffix: str) -> str:
    data = name.encode()
    if len(data) <= _LONGEST_NAME_BYTES:
        return name
    return f"{data[: _LONGEST_NAME_BYTES // 2].decode(errors='ignore')}%~{sha256(data).hexdigest()[:32]}{suffix}"


def _save(photos: Store, directory: Path, index: dict[str, dict[str, Any]], row: dict[str, Any]) -> Saved:
    """Fetch one original, unless an earlier call did."""
    key, expected = row["key"], (row["bytes"], row["etag"])
    name = str(PurePosixPath(_folder(row["reason"])) / safe_path(key))
    path = directory / name
    before = index.get(name, {})
    if (before.get("bytes"), before.get("etag")) == expected and path.is_file() and path.stat().st_size == row["bytes"]:
        return Saved(key, row["reason"], Outcome.KEPT, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial_file = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        if (found := photos.head(key)) != expected:
            return _not_saved(row, found)
        with naming(partial_file):
            photos.download(key, partial_file)
        # once more: it may have been replaced meanwhile
        if (found := photos.head(key)) != expected or partial_file.stat().st_size != row["bytes"]:
            return _not_saved(row, found)
        partial_file.replace(path)
    except ObjectMissingError:
        return _not_saved(row, None)
    except AccessDeniedError:
        return Saved(key, row["reason"], Outcome.DENIED, None)
    except ObjectArchivedError:
        return Saved(key, row["reason"], Outcome.ARCHIVED, None)
    finally:
        partial_file.unlink(missing_ok=True)
    return Saved(key, row["reason"], Outcome.SAVED, name)


def _not_saved(row: dict[str, Any], found: tuple[int, str] | None) -> Saved:
    return Saved(row["key"], row["reason"], Outcome.VANISHED if found is None else Outcome.CHANGED, None)


def _read_index(directory: Path) -> dict[str, dict[str, Any]]:
    """Return what earlier calls saved, by path; what cannot be read is fetched again."""
    try:
        lines = (directory / _INDEX).read_text(encoding="utf-8").splitlines()
        return {entry["file"]: entry for entry in map(parse_json, lines)}
    except FileNotFoundError:
        return {}
    except (ValueError, KeyError, TypeError) as error:
        _log.warning("%s cannot be read, so every photo is fetched again: %s", directory / _INDEX, error)
        return {}


def _write_index(directory: Path, index: dict[str, dict[str, Any]]) -> None:
    partial_file = directory / f"{_INDEX}.{os.getpid()}.partial"
    try:
        with naming(partial_file):
            partial_file.write_text("".join(json.dumps(index[name]) + "\n" for name in sorted(index)), encoding="utf-8")
        partial_file.replace(directory / _INDEX)
    finally:
        partial_file.unlink(missing_ok=True)
