"""Whether a version is whole enough to be read, as far as sizes and the digests of its tables tell."""

import logging

from aesthetics_ops.dataset.layout import DOCUMENTS, SHARDS, version_prefix
from aesthetics_ops.dataset.manifest import Manifest
from aesthetics_ops.dataset.sidecars import is_kept
from aesthetics_ops.errors import IntegrityError
from aesthetics_ops.store import Store

__all__ = ["require_whole"]

_log = logging.getLogger(__name__)


def require_whole(dataset: Store, manifest: Manifest, *, stays: str = "LATEST") -> None:
    """Make sure that every shard of a version has its size, and every table its bytes; a damaged document is a warning.

    Args:
        dataset: that it lies in.
        manifest: of the version.
        stays: what was to name the version, for the message.

    Raises:
        IntegrityError: a shard is gone or has another size, or a table is not what the manifest states.
    """
    listing = dataset.list(SHARDS)
    sizes = dict(zip(listing["key"].to_pylist(), listing["size"].to_pylist(), strict=True))
    for split in manifest.splits.values():
        for shard in split.shards:
            found = sizes.get(shard.path)
            if found != shard.bytes:
                is_not = "is gone" if found is None else f"has {found} bytes where the manifest states {shard.bytes}"
                raise IntegrityError(
                    f"version {manifest.version!r} needs {dataset.url_of(shard.path)}, which {is_not}; {stays} stays"
                )
    spoilt = []
    for file, stated in (manifest.files or {}).items():
        key = f"{version_prefix(manifest.version)}{file}"
        if is_kept(dataset, key, stated):
            continue
        if file not in DOCUMENTS:
            raise IntegrityError(
                f"version {manifest.version!r} needs {dataset.url_of(key)}, which is gone or not what the manifest states; {stays} stays: "
                "`aesthetics-ops verify DATASET --version V --repair` makes it anew where it can"
            )
        spoilt.append(file)
    if spoilt:
        _log.warning(
            "version %s is whole but for %s, which no training reads; `aesthetics-ops verify %s --version %s --repair` makes it anew "
            "where it can",
            manifest.version, " and ".join(spoilt), dataset.url, manifest.version,
        )  # fmt: skip
