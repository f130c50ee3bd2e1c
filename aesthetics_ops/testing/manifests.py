"""Manifests that no build made: of shards that may not even exist, for tests and benchmarks that read nothing else.

In: the shards of each split.  Out: the least that is a manifest; and LATEST, which names it.  `datasets.py` makes whole
versions.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from aesthetics_ops.dataset.example import FEATURES
from aesthetics_ops.dataset.latest import mark_published, move_latest, pointer_to, read_latest
from aesthetics_ops.dataset.layout import SPLITS, VersionFile, version_key
from aesthetics_ops.dataset.manifest import Manifest, Shard, Split
from aesthetics_ops.errors import PublishConflictError
from aesthetics_ops.settings import BuildSettings
from aesthetics_ops.store import Store, Swap

__all__ = ["FIRST_NIGHT", "bare_manifest", "publish_manifest", "settings_of"]

FIRST_NIGHT: Final = datetime(2026, 11, 22, 2, tzinfo=UTC)


def bare_manifest(url: str, splits: Mapping[str, Sequence[Shard]], **changes: Any) -> Manifest:
    """Return the least that is a manifest: these shards, nothing left out, and statistics of nothing.

    Args:
        url: of the dataset.
        splits: the shards of each split; a split that is not named has none.
        changes: fields of the manifest that are to say something else.
    """
    shards = [shard for split in splits.values() for shard in split]
    records = sum(shard.records for shard in shards)
    settings = settings_of(url, {})
    none = (0.0,) * 7
    values: dict[str, Any] = {
        "dataset": url, "version": "v0", "parent": None, "created_at": FIRST_NIGHT,
        "source": {
            "photos": settings.photos, "listed": records, "bytes": records, "labels": settings.labels,
            "labels_etag": "e", "label_rows": records,
        },
        "settings": settings.model_dump(mode="json"), "settings_digest": settings.digest,
        "software": {}, "features": FEATURES,
        "accounting": {
            "listed": records, "converted": records, "rejected": 0, "label_rows": records, "matched": records,
            "unmatched": 0,
        },
        "rejects": {}, "transforms": {}, "splits": {name: _split(splits.get(name, ())) for name in SPLITS},
        "labels": {
            "min": 1, "max": 9, "mean": 5, "std": 1, "histogram": {"edges": (1, 9), "counts": (records,)},
            "scale": "none", "source_min": None, "source_max": None,
        },
        "images": {
            "quantiles": (0, 0.05, 0.25, 0.5, 0.75, 0.95, 1), "width": none, "height": none, "bytes": none,
            "total_pixels": 0,
        },
        "reuse": {"shards_total": len(shards), "shards_added": len(shards), "shards_reused": 0},
        "near_duplicates": {"max_distance": None, "groups": 0, "records": 0, "spanning_splits": 0, "examples": ()},
        "gates": (), "validation": {"records": records, "decoded": records}, "fingerprint": "f" * 64,
    }  # fmt: skip
    return Manifest.model_validate(values | changes)


def publish_manifest(dataset: Store, manifest: Manifest) -> None:
    """Write the manifest of a version whose other files are there, and make LATEST name it, with the mark of a version that was published.

    Raises:
        PublishConflictError: somebody else moved LATEST at the same time.
    """
    data = manifest.encoded()
    dataset.put(version_key(manifest.version, VersionFile.MANIFEST), data)
    found = read_latest(dataset)
    pointer = pointer_to(manifest.version, data)
    ending = move_latest(dataset, pointer, expected_etag=found[1] if found else None, compares=True)
    if ending is not Swap.DONE:
        raise PublishConflictError(
            f"LATEST of {dataset.url} was moved by another writer while version {manifest.version!r} was being published"
        )
    mark_published(dataset, pointer)


def settings_of(url: str, changes: Mapping[str, Any]) -> BuildSettings:
    """Return the settings of a build into a dataset; `changes` are those that are not as by default."""
    places = {"photos": "s3://bucket/photos/", "labels": "s3://bucket/AVA.txt", "dataset": url}
    return BuildSettings(**(places | dict(changes)))


def _split(shards: Sequence[Shard]) -> Split:
    return Split(
        records=sum(shard.records for shard in shards), bytes=sum(shard.bytes for shard in shards), shards=tuple(shards)
    )
