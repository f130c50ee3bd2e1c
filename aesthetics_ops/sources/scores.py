"""Read the score files that the settings name: one or several, all of a folder, or those that a pattern means."""

import fnmatch
import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from urllib.parse import unquote

from aesthetics_ops.errors import LabelError, ObjectMissingError, StoreRefusedError
from aesthetics_ops.settings import BuildSettings
from aesthetics_ops.sources.intact import IntactReader
from aesthetics_ops.sources.labels import Labels, combine_labels, is_score_file, read_labels
from aesthetics_ops.store import Store

__all__ = ["read_score_files"]


def read_score_files(
    folders: Sequence[Store], settings: BuildSettings, *, spill: Callable[[Iterator[Labels]], None] | None = None
) -> tuple[Labels, str]:
    """Read the score files: each URL names one, or all of a folder, or those that a name with * means.

    Args:
        folders: as `open_score_folders` of `places` returns them.
        settings: name the files, and say how to read them.
        spill: takes the rows of a large file, if there is no other; see `read_labels`.

    Returns:
        What they say, and an ETag: the file's, or one of all of them.

    Raises:
        LabelError: there is none, or one that makes no sense; see `read_labels` and `combine_labels`.
        SettingsError: `label_format` or a split of `file_splits` is unknown.
        StoreRefusedError, StoreUnavailableError, ObjectAlteredError: the store says no, nothing, or something else each time.
    """
    urls = settings.label_urls
    is_one = len(urls) == 1 and not settings.file_splits and _is_file(urls[0])
    read: dict[str, tuple[Labels, str]] = {}
    for url, folder in zip(urls, folders, strict=True):
        files = IntactReader(folder)
        for found in _names_of_labels(folder, url):
            name = found if len(urls) == 1 else folder.url_of(found)
            if name in read:
                raise LabelError(f"score file {name!r} is named twice by the labels setting; name it once")
            read[name] = _read_one(folder, files, settings, found, spill if is_one else None)
    if is_one:
        return next(iter(read.values()))
    labels = combine_labels({name: labels for name, (labels, _) in read.items()}, settings)
    etag = hashlib.sha256("".join(f"{name} {etag}\n" for name, (_, etag) in read.items()).encode()).hexdigest()
    return labels, etag


def _name_of(url: str) -> str:
    """Return the name of a file, or what stands for several: a pattern, or nothing for a whole folder."""
    name = url.rpartition("/")[2]
    return unquote(name) if url.startswith("file:") else name


def _is_file(url: str) -> bool:
    name = _name_of(url)
    return name != "" and "*" not in name


def _names_of_labels(folder: Store, url: str) -> list[str]:
    """Return the names of the score files in the folder, not below it, in order: the one named, all, or those that a pattern means."""
    pattern = _name_of(url)
    if _is_file(url):
        return [pattern]
    beside = [key for key in folder.list()["key"].to_pylist() if "/" not in key]
    if pattern:
        found = [name for name in beside if fnmatch.fnmatchcase(name, pattern.replace("[", "[[]"))]
    else:
        found = [name for name in beside if is_score_file(name)]
    if not found:
        there = f"; there are {', '.join(map(repr, beside[:3]))}" if beside else "; nothing lies there"
        raise LabelError(f"no score file is meant by {url!r}{there}; name one, or upload it")
    return sorted(found)


def _read_one(
    folder: Store,
    files: IntactReader,
    settings: BuildSettings,
    name: str,
    spill: Callable[[Iterator[Labels]], None] | None,
) -> tuple[Labels, str]:
    url = folder.url_of(name)
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
        spill=spill,
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
