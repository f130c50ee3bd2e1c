"""Compare two versions photo by photo."""

from typing import Any

import duckdb

from aesthetics_ops.dataset.layout import VersionFile, version_key
from aesthetics_ops.dataset.manifest import read_manifest
from aesthetics_ops.dataset.tables import read_parquet
from aesthetics_ops.store import Store

__all__ = ["diff_versions"]


def diff_versions(dataset: Store, before: str, after: str) -> dict[str, Any]:
    """Compare two versions photo by photo.

    Returns:
        JSON-able: counts of records `added`, `removed`, `relabelled`, `repixelled` (same photo key, other source or
        transforms) and `moved` (other split), each with up to 10 example ids, and of shards `shared`, `dropped`, `new`.

    Raises:
        NoSuchVersionError: one of them does not exist.
    """
    manifests = [read_manifest(dataset, version) for version in (before, after)]
    with duckdb.connect() as db:
        for name, manifest in zip(("old", "new"), manifests, strict=True):
            db.register(name, read_parquet(dataset, version_key(manifest.version, VersionFile.RECORDS)))
        changes = {
            change: {"count": count, "examples": examples} for change, count, examples in db.sql(_CHANGES).fetchall()
        }
    shards = [{shard.path for split in manifest.splits.values() for shard in split.shards} for manifest in manifests]
    return {
        "before": manifests[0].version,
        "after": manifests[1].version,
        "records": [manifest.records for manifest in manifests],
        "bytes": [manifest.bytes for manifest in manifests],
        "label_mean": [manifest.labels.mean for manifest in manifests],
        "changes": changes,
        "shards": {
            "shared": len(shards[0] & shards[1]),
            "dropped": len(shards[0] - shards[1]),
            "new": len(shards[1] - shards[0]),
        },
    }


_CHANGES = """
    WITH pair AS (
        SELECT coalesce(new.id, old.id) AS id, unnest(
            CASE WHEN old.key IS NULL THEN ['added'] WHEN new.key IS NULL THEN ['removed']
            ELSE list_filter([
                CASE WHEN old.label IS DISTINCT FROM new.label THEN 'relabelled' END,
                CASE WHEN (old.etag, old.transforms) IS DISTINCT FROM (new.etag, new.transforms) THEN 'repixelled' END,
                CASE WHEN old.split <> new.split THEN 'moved' END], lambda change: change IS NOT NULL) END) AS change
        FROM old FULL JOIN new USING (key))
    SELECT kind.change, count(pair.id), coalesce(list(pair.id ORDER BY pair.id) FILTER (pair.id IS NOT NULL), [])[1:10]
    FROM unnest(['added', 'removed', 'relabelled', 'repixelled', 'moved']) AS kind(change) LEFT JOIN pair USING (change)
    GROUP BY kind.change ORDER BY list_position(['added', 'removed', 'relabelled', 'repixelled', 'moved'], kind.change)
"""
