"""The published versions of a dataset."""

from dataclasses import dataclass
from datetime import datetime

from aesthetics_ops.dataset.latest import read_latest
from aesthetics_ops.dataset.layout import VERSIONS, VersionFile, version_key, version_of
from aesthetics_ops.dataset.manifest import read_manifest
from aesthetics_ops.errors import NoSuchVersionError
from aesthetics_ops.store import Store

__all__ = ["VersionInfo", "list_versions"]


@dataclass(frozen=True, slots=True)
class VersionInfo:
    """One published version.

    Attributes:
        version: its name.
        created_at: when its build was planned.
        records, bytes: in all splits.
        is_latest: LATEST names it.
    """

    version: str
    created_at: datetime
    records: int
    bytes: int
    is_latest: bool


def list_versions(dataset: Store) -> list[VersionInfo]:
    """Return every published version, newest first.

    Raises:
        NoSuchVersionError: nothing was ever published.
    """
    latest = read_latest(dataset)
    keys = dataset.list(VERSIONS)["key"].to_pylist()
    names = [name for key in keys if (name := version_of(key)) and key == version_key(name, VersionFile.MANIFEST)]
    manifests = (read_manifest(dataset, name) for name in names)
    versions = [
        VersionInfo(m.version, m.created_at, m.records, m.bytes, latest is not None and latest[0].version == m.version)
        for m in manifests
    ]
    if not versions:
        raise NoSuchVersionError(f"nothing is published under {dataset.url}; run a build, or check the dataset's URL")
    return sorted(versions, key=lambda info: (info.created_at, info.version), reverse=True)
