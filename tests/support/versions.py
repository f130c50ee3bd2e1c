"""A dataset with real photos and hostile names, published for the browser's tests."""

import hashlib
import itertools
import json
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa

from aesthetics_ops.dataset.example import FEATURES, Example
from aesthetics_ops.dataset.layout import LATEST_KEY, SPLITS, published_key, shard_key, version_key
from aesthetics_ops.dataset.manifest import Manifest
from aesthetics_ops.dataset.tables import RECORDS, REJECTS, write_parquet
from aesthetics_ops.dataset.tfrecord import ShardWriter
from aesthetics_ops.rejects import RejectReason
from aesthetics_ops.settings import BuildSettings
from aesthetics_ops.store import Store, open_store
from tests.support.paths import ROOT

PHOTOS = ROOT / "samples" / "photos"
HOSTILE = '<script>alert(1)</script>"><img src=x onerror=alert(2)>/../../x.jpg'
START = datetime(2026, 11, 22, 2, tzinfo=UTC)
_names = itertools.count()

Photo = tuple[str, bytes, float, str]


@dataclass(frozen=True)
class Published:
    """A version in a store, and the rows of its tables."""

    store: Store
    manifest: Manifest
    records: list[dict[str, Any]]

    @property
    def version(self) -> str:
        return self.manifest.version


def new_store(root: str = "") -> Store:
    return open_store(f"{root or f'memory://browser{next(_names)}/'}datasets/flowers/")


def sample_photos(count: int = 30) -> list[Photo]:
    files = [path for path in sorted(PHOTOS.glob("*.jpg")) if path.stem not in ("959620", "948740")][:count]
    splits = itertools.cycle(["train"] * 8 + ["validation", "test"])
    return [
        (path.stem, path.read_bytes(), 3.0 + number / 10, split)
        for number, (path, split) in enumerate(zip(files, splits, strict=False))
    ]


def sample_rejects() -> list[tuple[str | None, str, str]]:
    return [
        ("959620.jpg", RejectReason.CORRUPT, "Premature end of JPEG file"),
        (HOSTILE, RejectReason.NOT_A_PHOTO, HOSTILE),
        (None, RejectReason.LABEL_WITHOUT_PHOTO, "row 17 of the score file"),
        *((f"tagged/{n}.jpg", RejectReason.UNLABELLED, "no row names it") for n in range(120)),
    ]


def publish(
    store: Store,
    folder: Path,
    photos: list[Photo],
    rejects: list[tuple[str | None, str, str]],
    *,
    number: int = 0,
    per_shard: int = 10,
    **changes: Any,
) -> Published:
    """Write shards, tables, report, manifest and LATEST as a build would."""
    rows: list[dict[str, Any]] = []
    splits = {}
    for split in SPLITS:
        chosen = [photo for photo in photos if photo[3] == split]
        shards = [
            _write_shard(store, folder, split, chosen[first : first + per_shard], rows)
            for first in range(0, len(chosen), per_shard)
        ]
        splits[split] = {
            "records": len(chosen), "bytes": sum(shard["bytes"] for shard in shards), "shards": shards,
        }  # fmt: skip
    created_at = START + timedelta(days=number)
    version = f"{created_at:%Y%m%dT%H%M%SZ}-{hashlib.sha256(str(number).encode()).hexdigest()[:8]}-000000"
    manifest = make_manifest(store.url, version, created_at, rows, rejects, splits, changes)
    left_out = [
        {"id": (key or detail).rpartition("/")[2], "key": key, "bytes": 100 if key else None, "reason": reason, "detail": detail}
        for key, reason, detail in rejects
    ]  # fmt: skip
    put = {
        "records.parquet": write_parquet(pa.Table.from_pylist(rows, schema=RECORDS.schema)),
        "rejects.parquet": write_parquet(pa.Table.from_pylist(left_out, schema=REJECTS.schema)),
        "report.html": b"<!doctype html><title>report</title><style>p{color:red}</style><p>the report",
        "manifest.json": manifest.model_dump_json(indent=1).encode(),
    }
    for name, data in put.items():
        store.put(version_key(version, name), data)
    pointer = {
        "version": version, "manifest": version_key(version, "manifest.json"),
        "sha256": hashlib.sha256(put["manifest.json"]).hexdigest(),
    }  # fmt: skip
    store.put(LATEST_KEY, json.dumps(pointer).encode())
    store.put(published_key(version), json.dumps({name: pointer[name] for name in ("version", "sha256")}).encode())
    return Published(store, manifest, rows)


def _write_shard(
    store: Store, folder: Path, split: str, photos: list[Photo], rows: list[dict[str, Any]]
) -> dict[str, Any]:
    path = folder / "shard.tfrecord"
    digest = hashlib.sha256("".join([split, *(photo[0] for photo in photos)]).encode()).hexdigest()
    key = shard_key(digest, ".tfrecord")
    with ShardWriter(path) as shard:
        for photo_id, data, label, _ in photos:
            height, width = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR).shape[:2]
            span = shard.write(Example(data, label, photo_id, height, width, None))
            rows.append(
                {
                    "id": photo_id, "key": f"{photo_id}.jpg", "etag": hashlib.sha256(data).hexdigest()[:32], "split": split,
                    "shard": key, "offset": span.offset, "length": span.length, "label": label, "width": width,
                    "height": height, "bytes": len(data), "transforms": ["metadata_dropped"], "phash": "0" * 16,
                }
            )  # fmt: skip
    store.upload(key, path)
    path.unlink()
    for mark in (".json", ".validated.json"):
        store.put(shard_key(digest, mark), b"{}")
    return {
        "path": key, "records": shard.records, "bytes": shard.bytes_written, "sha256": shard.sha256, "crc32c": shard.crc32c,
    }  # fmt: skip


def make_manifest(
    url: str,
    version: str,
    created_at: datetime,
    rows: list[dict[str, Any]],
    rejects: list[tuple[str | None, str, str]],
    splits: dict[str, Any],
    changes: dict[str, Any],
) -> Manifest:
    reasons = Counter(reason for _, reason, _ in rejects)
    unmatched = reasons["label_without_photo"]
    converted, rejected = sum(split["records"] for split in splits.values()), reasons.total() - unmatched
    settings = BuildSettings(photos="s3://bucket/photos/", labels="s3://bucket/AVA.txt", dataset=url)
    labels = [row["label"] for row in rows] or [5.0]
    built = sum(len(split["shards"]) for split in splits.values())
    quantiles = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
    values = {
        "dataset": url, "version": version, "parent": None, "created_at": created_at,
        "source": {
            "photos": settings.photos, "listed": converted + rejected, "bytes": 9_000_000,
            "labels": settings.labels, "labels_etag": "e", "label_rows": converted + unmatched,
        },
        "settings": settings.model_dump(mode="json"), "settings_digest": settings.digest,
        "software": {"aesthetics-ops": "0.1.0"}, "features": FEATURES,
        "accounting": {
            "listed": converted + rejected, "converted": converted, "rejected": rejected,
            "label_rows": converted + unmatched, "matched": converted, "unmatched": unmatched,
        },
        "rejects": dict(reasons.most_common()), "transforms": {}, "splits": splits,
        "labels": {
            "min": min(labels), "max": max(labels), "mean": sum(labels) / len(labels), "std": 1.0,
            "histogram": {"edges": [1.0, 10.0], "counts": [converted]},
            "scale": "none", "source_min": None, "source_max": None,
        },
        "images": {"quantiles": quantiles, "total_pixels": 1, "width": quantiles, "height": quantiles, "bytes": quantiles},
        "reuse": {"shards_total": built, "shards_added": built, "shards_reused": 0},
        "near_duplicates": {"max_distance": None, "groups": 0, "records": 0, "spanning_splits": 0, "examples": []},
        "gates": [], "validation": {"records": converted, "decoded": converted}, "fingerprint": "f" * 64,
    }  # fmt: skip
    return Manifest.model_validate(values | changes)


def start_build(store: Store, build: str, created_at: datetime, shards: list[list[str]], *, plan: bool = True) -> None:
    """Write the state of a build, with the planned digests of each partition's shards."""
    store.put(f"builds/{build}/plan.parquet", b"")
    if not plan:
        return
    settings = BuildSettings(photos="s3://bucket/photos/", labels="s3://bucket/AVA.txt", dataset=store.url)
    record = {
        "build": build, "plan": "0" * 64, "created_at": created_at.isoformat(), "settings": settings.model_dump(mode="json"),
        "parent": None, "latest_etag": None, "labels_etag": "e", "label_rows": 10, "unmatched": 0, "label_range": None, "compares": True,
        "listed": 100, "listed_bytes": 1_000_000, "shards": 5, "planned": sum(map(len, shards)),
        "partitions": [{"shards": part, "photos": 7, "source_bytes": 70_000} for part in shards],
    }  # fmt: skip
    store.put(f"builds/{build}/plan.json", json.dumps(record).encode())
