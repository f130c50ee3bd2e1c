"""Read the score files that the settings name: one, all of a folder, or those that a pattern means."""

import fnmatch
import hashlib
from contextlib import suppress
from urllib.parse import unquote

from aesthetics_ops.errors import LabelError, ObjectMissingError, StoreRefusedError
from aesthetics_ops.settings import BuildSettings
from aesthetics_ops.sources.intact import IntactReader
from aesthetics_ops.sources.labels import Labels, combine_labels, is_score_file, read_labels
from aesthetics_ops.store import Store

__all__ = ["read_score_files"]


def read_score_files(folder: Store, settings: BuildSettings) -> tuple[Labels, str]:
    """Read the score file, or all score files of a folder, or those that a name with * means.

    Args:
        folder: where the last slash of the labels URL is.
        settings: name the files, and say how to read them.

    Returns:
        What they say, and an ETag: the file's, or one of all of them.

    Raises:
        LabelError: there is none, or one that makes no sense; see `read_labels` and `combine_labels`.
        SettingsError: `label_format` is unknown.
        StoreRefusedError, StoreUnavailableError, ObjectAlteredError: the store says no, nothing, or something else each time.
    """
    name = settings.labels.rpartition("/")[2]
    if settings.labels.startswith("file:"):
        name = unquote(name)
    files = IntactReader(folder)
    if name and "*" not in name:
        labels, etag = _read_one(folder, files, settings, name, settings.labels)
    else:
        read = {
            found: _read_one(folder, files, settings, found, folder.url_of(found))
            for found in _names_of_labels(folder, name, settings.labels)
        }
        labels = combine_labels({found: labels for found, (labels, _) in read.items()}, settings.labels)
        etag = hashlib.sha256("".join(f"{found} {etag}\n" for found, (_, etag) in read.items()).encode()).hexdigest()
    return labels, etag


def _names_of_labels(folder: Store, pattern: str, url: str) -> list[str]:
    """Return the names of the score files in the folder, not below it, in order: all, or those that a pattern means."""
    beside = [key for key in folder.list()["key"].to_pylist() if "/" not in key]
    if pattern:
        found = [name for name in beside if fnmatch.fnmatchcase(name, pattern.replace("[", "[[]"))]
    else:
        found = [name for name in beside if is_score_file(name)]
    if not found:
        there = f"; there are {', '.join(map(repr, beside[:3]))}" if beside else "; nothing lies there"
        raise LabelError(f"no score file is meant by {url!r}{there}; name one, or upload it")
    return sorted(found)


def _read_one(folder: Store, files: IntactReader, settings: BuildSettings, name: str, url: str) -> tuple[Labels, str]:
    try:
        stored = files.get(name)
    except StoreRefusedError as error:
        _explain_missing(folder, name, url)
        if not isinstance(error, ObjectMissingError):
            raise
        raise LabelError(f"score file {url!r} does not exist; check the labels setting, or upload it") from error
    labels = read_labels(
        bytes(stored.data),
        source=url,
        settings=settings,
        beside=lambda other: _get_or_none(files, other),
    )
    return labels, stored.etag


def _explain_missing(folder: Store, name: str, url: str) -> None:
    """Say why a score file could not be read, where the store tells; who may only read the file cannot look further."""
    with suppress(StoreRefusedError):
        held = folder.list(f"{name}/")["key"].to_pylist()
        if held:
            raise LabelError(
                f"score file {url!r} is a folder; name a file in it, such as {folder.url_of(held[0])!r}, or end it with a slash to read all of them"
            )
        folder.check()


def _get_or_none(files: IntactReader, key: str) -> bytes | None:
    try:
        return bytes(files.get(key).data)
    except ObjectMissingError:
        return None
