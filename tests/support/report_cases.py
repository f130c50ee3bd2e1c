"""A version in memory, for what is made of one: report, data card, Croissant."""

import hashlib
import itertools
from collections import Counter
from datetime import UTC, datetime

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from aesthetics_ops.dataset.example import FEATURES, Example
from aesthetics_ops.dataset.layout import SPLITS, shard_key, version_key
from aesthetics_ops.dataset.manifest import Manifest
from aesthetics_ops.dataset.tables import RECORDS, REJECTS
from aesthetics_ops.dataset.tfrecord import ShardWriter
from aesthetics_ops.rejects import RejectReason
from aesthetics_ops.report.page import render_report
from aesthetics_ops.settings import BuildSettings
from aesthetics_ops.store import open_store
from tests.support.paths import ROOT

PHOTOS = ROOT / "samples" / "photos"


HOSTILE = '<script>alert(1)</script>"><img src=x onerror=alert(2)>/../../x.jpg'


_names = itertools.count()


class Version:
    """A version in memory: stores with photos and shards, and the tables that describe them."""

    def __init__(self, folder, photos, rejected=(), **changes):
        name = f"report{next(_names)}"
        self.dataset = open_store(f"memory://{name}/datasets/flowers&<b>/")
        self.photos = open_store(f"memory://{name}/photos/")
        self.rows = []
        shards = {split: self._write_shard(folder, split, photos) for split in SPLITS}
        self.records = pa.Table.from_pylist(self.rows, schema=RECORDS.schema)
        for key, data, _, _ in rejected:
            if key is not None and data is not None:
                self.photos.put(key, data)
        self.rejects = pa.Table.from_pylist(
            [
                {
                    "id": (key or detail).rpartition("/")[2],
                    "key": key,
                    "bytes": len(data or b""),
                    "reason": reason,
                    "detail": detail,
                }
                for key, data, reason, detail in rejected
            ],
            schema=REJECTS.schema,
        )
        self.manifest = self._manifest(shards, changes)
        parquet = pa.BufferOutputStream()
        pq.write_table(self.records, parquet)
        self.dataset.put(version_key(self.manifest.version, "records.parquet"), parquet.getvalue().to_pybytes())

    def _write_shard(self, folder, split, photos):
        chosen = [photo for photo in photos if photo[3] == split]
        if not chosen:
            return {"records": 0, "bytes": 0, "shards": ()}
        path = folder / f"{split}.tfrecord"
        digest = hashlib.sha256(split.encode()).hexdigest()
        key = shard_key(digest, ".tfrecord")
        with ShardWriter(path) as shard:
            for photo_id, data, label, _ in chosen:
                height, width = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR).shape[:2]
                span = shard.write(Example(data, label, photo_id, height, width, None))
                self.rows.append(
                    {
                        "id": photo_id, "key": f"{photo_id}.jpg", "etag": hashlib.sha256(data).hexdigest()[:32], "split": split,
                        "shard": key, "offset": span.offset, "length": span.length, "label": label, "width": width,
                        "height": height, "bytes": len(data), "transforms": ["metadata_dropped"], "phash": "0" * 16,
                    }
                )  # fmt: skip
        self.dataset.upload(key, path)
        path.unlink()
        facts = {
            "path": key,
            "records": shard.records,
            "bytes": shard.bytes_written,
            "sha256": shard.sha256,
            "crc32c": shard.crc32c,
        }
        return {"records": shard.records, "bytes": shard.bytes_written, "shards": (facts,)}

    def _manifest(self, splits, changes):
        columns = {name: self.records[name].to_numpy() for name in ("label", "width", "height", "bytes")}
        counts, edges = np.histogram(columns["label"], bins=20)
        reasons = Counter(self.rejects["reason"].to_pylist())
        unmatched = reasons["label_without_photo"]
        rejected, converted = reasons.total() - unmatched, self.records.num_rows
        settings = BuildSettings(photos="s3://bucket/photos/", labels="s3://bucket/AVA.txt", dataset=self.dataset_url)
        quantiles = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
        built = sum(bool(split["shards"]) for split in splits.values())
        values = {
            "dataset": self.dataset_url,
            "version": "20261122T020000Z-0123abcd",
            "parent": None,
            "created_at": datetime(2026, 11, 22, 2, tzinfo=UTC),
            "source": {
                "photos": settings.photos, "listed": converted + rejected, "bytes": int(columns["bytes"].sum() * 1.07),
                "labels": settings.labels, "labels_etag": "e", "label_rows": converted + unmatched,
            },
            "settings": settings.model_dump(mode="json"),
            "settings_digest": settings.digest,
            "software": {"aesthetics-ops": "0.1.0", "numpy": "2.4.6", "python": "3.11.2"},
            "features": FEATURES,
            "accounting": {
                "listed": converted + rejected, "converted": converted, "rejected": rejected,
                "label_rows": converted + unmatched, "matched": converted, "unmatched": unmatched,
            },
            "rejects": dict(reasons.most_common()),
            "transforms": {"metadata_dropped": converted, "icc_to_srgb": 2},
            "splits": splits,
            "near_duplicates": {"max_distance": 6, "groups": 0, "records": 0, "spanning_splits": 0, "examples": ()},
            "labels": {
                "min": columns["label"].min(), "max": columns["label"].max(), "mean": columns["label"].mean(),
                "std": columns["label"].std(), "histogram": {"edges": edges.tolist(), "counts": counts.tolist()},
                "scale": "none", "source_min": None, "source_max": None,
            },
            "images": {
                "quantiles": quantiles, "total_pixels": int((columns["width"] * columns["height"]).sum()),
                **{name: np.quantile(columns[name], quantiles).tolist() for name in ("width", "height", "bytes")},
            },
            "reuse": {"shards_total": built, "shards_added": built, "shards_reused": 0},
            "gates": [
                {"name": "max_reject_fraction", "measured": 0.0274, "limit": 0.05, "unit": "fraction", "bound": "most"},
                {"name": "max_shrink_fraction", "measured": 0.0, "limit": 0.1, "unit": "fraction", "bound": "most"},
                {"name": "min_records", "measured": converted, "limit": 1, "unit": "records", "bound": "least"},
            ],
            "validation": {"records": converted, "decoded": converted},
            "fingerprint": "f" * 64,
        }  # fmt: skip
        return Manifest.model_validate(values | changes)

    @property
    def dataset_url(self):
        return self.dataset.url

    def page(self, parent=None, **stores):
        stores = {"dataset": self.dataset, "photos": self.photos} | stores
        return render_report(self.manifest, parent, self.records, self.rejects, **stores)


def sample_photos(count=60):
    files = [path for path in sorted(PHOTOS.glob("*.jpg")) if path.stem not in ("959620", "948740")][:count]
    splits = itertools.cycle(["train"] * 6 + ["validation", "test"])
    scores = np.random.default_rng(7).normal(5.4, 1.1, len(files)).clip(1, 10)
    return [
        (path.stem, path.read_bytes(), float(np.float32(score)), split)
        for path, score, split in zip(files, scores, splits, strict=False)
    ]


def sample_rejects():
    photo = (PHOTOS / "959620.jpg").read_bytes()
    return [
        ("959620.jpg", photo, RejectReason.CORRUPT, "Premature end of JPEG file"),
        ("952299.jpg", (PHOTOS / "952299.jpg").read_bytes(), RejectReason.DUPLICATE_PHOTO, "same bytes as 926301"),
        ("a/937125.png", (PHOTOS / "937125.jpg").read_bytes(), RejectReason.UNLABELLED, "no row names it"),
        ("empty.jpg", b"", RejectReason.EMPTY, "the object holds no bytes"),
        ("fake.jpg", b"GIF, honestly", RejectReason.UNLABELLED, "no row names it"),
        (HOSTILE, None, RejectReason.NOT_A_PHOTO, HOSTILE),
        ("<script>\"'.jpg", photo[:9000], RejectReason.CORRUPT, "<b>Premature</b> end of JPEG file"),
        (None, None, RejectReason.LABEL_WITHOUT_PHOTO, "row 17 of the score file"),
        ("gone.jpg", None, RejectReason.SOURCE_MISSING, "listed, but gone when it was read"),
    ]
