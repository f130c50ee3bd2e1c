"""Where the sources of a build lie: the folders of its score files and of its S3 Inventory; nothing is read.

Every stage opens a build and so comes here; the libraries that read scores and inventories are not loaded for that.
"""

from typing import Final

from aesthetics_ops.settings import BuildSettings
from aesthetics_ops.store import S3Access, Store, StoreLimits, open_store

__all__ = ["INVENTORY_MANIFEST", "folder_of", "open_score_folders"]

INVENTORY_MANIFEST: Final = "manifest.json"
"""What S3 calls the manifest of an inventory."""


def open_score_folders(settings: BuildSettings, *, s3: S3Access | None = None) -> tuple[Store, ...]:
    """Open, for each URL of the score files, the folder that it is in; nothing is read yet.

    Raises:
        SettingsError: a URL cannot be opened.
    """
    limits = StoreLimits.of(settings.store_timeout_s, settings.store_retry_s)
    return tuple(open_store(url.rpartition("/")[0] + "/", s3=s3, limits=limits) for url in settings.label_urls)


def folder_of(url: str) -> str:
    """Return the URL of the configuration's folder that the `inventory` setting names, itself or by a manifest in it."""
    parts = url.rstrip("/").split("/")
    return "/".join(parts[:-2] if parts[-1] == INVENTORY_MANIFEST else parts) + "/"
