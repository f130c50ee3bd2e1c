"""Whether a version is whole enough to be read, as far as sizes and the digests of its tables tell."""

import logging
from collections.abc import Iterator
from functools import partial
from typing import Final

from aesthetics_ops.dataset.layout import DOCUMENTS, SHARDS, version_prefix
from aesthetics_ops.dataset.manifest import Manifest
from aesthetics_ops.dataset.sidecars import is_kept
from aesthetics_ops.errors import IntegrityError
from aesthetics_ops.progress import Progress, silent
from aesthetics_ops.store import Store, StoreThreads

__all__ = ["require_whole"]

_FILES_AT_ONCE: Final = 4  # each holds a piece of 16 MiB
_log = logging.getLogger(__name__)


def require_whole(dataset: Store, manifest: Manifest, *, stays: str = "LATEST", progress: Progress = silent) -> None:
    """Make sure that every shard of a version has its size, and every table its bytes; a damaged document is a warning.

    Args:
        dataset: that it lies in.
        manifest: of the version.
        stays: what was to name the version, for the message.
        progress: told of the listing, and of the files' bytes.

    Raises:
        IntegrityError: a shard is gone or has another size, or a table is not what the manifest states.
    """
    with progress("list shards", 1, "listing") as done:
        listing = dataset.list(SHARDS)
        done(1)
    sizes = dict(zip(listing["key"].to_pylist(), listing["size"].to_pylist(), strict=True))
    for split in manifest.splits.values():
        for shard in split.shards:
            found = sizes.get(shard.path)
            if found != shard.bytes:
                is_not = "is gone" if found is None else f"has {found} bytes where the manifest states {shard.bytes}"
                raise IntegrityError(
                    f"version {manifest.version!r} needs {dataset.url_of(shard.path)}, which {is_not}; {stays} stays"
                )
    spoilt = [file for file in _not_kept(dataset, manifest, progress) if _may_be_spoilt(dataset, manifest, file, stays)]
    if spoilt:
        _log.warning(
            "version %s is whole but for %s, which no training reads; `aesthetics-ops verify %s --version %s --repair` makes it anew "
            "where it can",
            manifest.version, " and ".join(spoilt), dataset.url, manifest.version,
        )  # fmt: skip


def _not_kept(dataset: Store, manifest: Manifest, progress: Progress) -> Iterator[str]:
    """Yield the names of the files that are not what the manifest states; some are read side by side, a piece at a time."""
    files = manifest.files or {}
    keys = [f"{version_prefix(manifest.version)}{file}" for file in files]
    with (
        progress("compare files", sum(stated.bytes for stated in files.values()), "B") as done,
        StoreThreads(_FILES_AT_ONCE, thread_name_prefix="whole") as pool,
    ):
        found = pool.map(partial(is_kept, dataset), keys, files.values())
        for (file, stated), kept in zip(files.items(), found, strict=True):
            done(stated.bytes)
            if not kept:
                yield file


def _may_be_spoilt(dataset: Store, manifest: Manifest, file: str, stays: str) -> bool:
    """Say of a file that is spoilt that training does without it.

    Raises:
        IntegrityError: it does not.
    """
    if file not in DOCUMENTS:
        raise IntegrityError(
            f"version {manifest.version!r} needs {dataset.url_of(version_prefix(manifest.version) + file)}, which is gone or not what the "
            f"manifest states; {stays} stays: `aesthetics-ops verify DATASET --version V --repair` makes it anew where it can"
        )
    return True
