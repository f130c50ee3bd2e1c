"""What must hold however many photos there are: an inventory is as good as a listing, and summaries stay small."""

import hashlib
import json
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote_plus

import cv2
import numpy as np
import pytest

from aesthetics_ops.dataset.source_inventory import SourceInventory
from aesthetics_ops.store import open_store
from tests.support.documents import make_reports_quick
from tests.support.nights import ARRIVING, PHOTOS, Source, build_once, finish, photo, shard_hashes, start


def write_inventory(url: str, photos: Source, bucket: str) -> str:
    """Write an inventory of a bucket as it is now, as CSV; return the URL of its configuration's folder."""
    listed = open_store(f"s3://{bucket}/").list().to_pylist()
    lines = [f'"{bucket}","{quote_plus(row["key"], safe="/")}","{row["size"]}","{row["etag"]}"\n' for row in listed]
    data = "".join(lines).encode()
    files = [{"key": "inv/data/0.csv", "size": len(data), "MD5checksum": md5(data)}]
    manifest = json.dumps(
        {
            "sourceBucket": bucket, "creationTimestamp": "1767225600000", "fileFormat": "CSV",
            "fileSchema": "Bucket, Key, Size, ETag", "files": files,
        }
    ).encode()  # fmt: skip
    folder = open_store(url)
    folder.put("data/0.csv", data)
    folder.put("2026-01-01T00-00Z/manifest.json", manifest)
    folder.put("2026-01-01T00-00Z/manifest.checksum", md5(manifest).encode())
    return folder.url


def md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def test_a_build_from_an_inventory_is_the_one_from_a_listing_and_notices_what_happened_since(
    s3_bucket: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_reports_quick(monkeypatch)
    source = Source(s3_bucket.url, {})
    for name in PHOTOS[:8]:
        source.add(f"a b+ü/{name}", photo(name))
    s3_bucket.client.put_object(Bucket=s3_bucket.name, Key="photos/", Body=b"")
    s3_bucket.client.put_object(Bucket=s3_bucket.name, Key="photos/a b+ü/", Body=b"")
    source.score({name: number for number, name in enumerate(PHOTOS[:8], 1)})
    inventory = write_inventory(f"{source.url}inv/", source, s3_bucket.name)
    _, listed = start(source.settings(dataset=f"{source.url}listed/"))
    settings = source.settings(inventory=inventory)
    build, record = start(settings)
    assert [part.shards for part in record.partitions] == [part.shards for part in listed.partitions]
    assert (record.listed, record.listed_bytes) == (listed.listed, listed.listed_bytes) == (8, listed.listed_bytes)
    night = finish(build, record)
    assert listed.inventory is None
    assert night.manifest.source.inventory == SourceInventory(
        manifest=f"{inventory}2026-01-01T00-00Z/manifest.json", created_at=datetime(2026, 1, 1, tzinfo=UTC)
    )
    # the inventory grows old: one photo is replaced, one deleted, one new
    source.add(f"a b+ü/{PHOTOS[0]}", photo(PHOTOS[9]))
    source.remove(f"a b+ü/{PHOTOS[1]}")
    source.add(ARRIVING, photo(ARRIVING), 4)
    source.score({PHOTOS[0]: 9, PHOTOS[1]: 9})  # so that their shards are made again
    again = build_once(settings)
    assert again.manifest.rejects == {"label_without_photo": 1}, "what the inventory calls unchanged is copied"
    assert (again.manifest.records, again.photos_read) == (8, 0)
    assert set(shard_hashes(night.manifest)) != set(shard_hashes(again.manifest))
    # where photos are read, it is noticed
    anew = build_once(settings.model_copy(update={"max_reject_fraction": 1.0, "dataset": f"{source.url}anew/"}))
    assert anew.manifest.rejects == {"source_changed": 1, "source_missing": 1, "label_without_photo": 1}
    assert anew.manifest.records == 6


def summaries(source: Source, photos: int) -> dict[str, Any]:
    """What the tasks of a build pass on."""
    rng = np.random.default_rng(photos)
    for number in range(photos):
        pixels = cv2.resize(rng.integers(0, 256, (4, 4, 3), np.uint8), (32, 32))
        source.store.put(f"photos/{number}.jpg", cv2.imencode(".jpg", pixels)[1].tobytes())
    source.store.put("photos/broken.jpg", b"\xff\xd8\xff")
    source.score(dict.fromkeys(map(str, range(photos)), 5) | {"broken": 5})
    changes = {
        "shard_bytes": 100_000,
        "partition_bytes": 10_000,
        "max_reject_fraction": 1,
        "near_duplicate_distance": 0,
    }
    night = finish(*start(source.settings(**changes), partitions=2))
    return {
        "plan": night.record.summary,
        "download_and_convert": night.conversions[0].numbers,
        "validate": night.validations[0].numbers,
        "publish": night.published.summary,
    }


def test_what_tasks_pass_on_does_not_grow_with_the_photos(monkeypatch: pytest.MonkeyPatch) -> None:
    make_reports_quick(monkeypatch)
    few = summaries(Source("memory://few-photos/", {}), 20)
    many = summaries(Source("memory://many-photos/", {}), 2000)
    assert many["plan"]["shards"] > 5 * few["plan"]["shards"]
    for task, summary in many.items():
        size, before = (len(json.dumps(said)) for said in (summary, few[task]))
        assert size <= before + 40, f"{task}: {summary}"  # some numbers have more digits
        assert size < 1000
