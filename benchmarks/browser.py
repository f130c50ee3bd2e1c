"""How fast the browser's list pages answer, on 1,000 versions of a dataset with 10,000 shards.

    .venv/bin/python benchmarks/browser.py [--versions 1000] [--shards 10000] [--store memory|s3]

`s3` is the embedded server (moto), in this process, so its time is part of what is measured.  The newest 25 versions
have manifests of full size, 2.3 MB of shards each; the older ones, whose manifests no first page reads, are small.
"Cold" is the first request of a new process, "warm" the median of five more.
"""

import argparse
import hashlib
import json
import logging
import statistics
import sys
import time
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from fastapi import FastAPI

from aesthetics_ops.browser import make_browser
from aesthetics_ops.dataset.layout import LATEST_KEY, shard_key, version_key
from aesthetics_ops.settings import BuildSettings
from aesthetics_ops.store import Store, open_store

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from starlette.testclient import TestClient

FULL = 25
START = datetime(2024, 1, 1, 2, tzinfo=UTC)


def fill(store: Store, versions: int, shards: int) -> str:
    """Write manifests and the marks of all shards, as nights would; return the newest version's name."""
    digests = [f"{number:02x}"[-2:] + f"{number:062x}" for number in range(shards)]
    for digest in digests:
        for suffix in (".tfrecord", ".json", ".validated.json"):
            store.put(shard_key(digest, suffix), b"{}")
    name, newest = "", b""
    for number in range(versions):
        created_at = START + timedelta(days=number)
        name = f"{created_at:%Y%m%dT%H%M%SZ}-{number:08x}"
        held = digests if number >= versions - FULL else digests[:10]
        newest = manifest(store.url, name, created_at, held)
        store.put(version_key(name, "manifest.json"), newest)
        for other in (
            "plan.parquet",
            "records.parquet",
            "rejects.parquet",
            "report.html",
            "croissant.json",
            "README.md",
        ):
            store.put(version_key(name, other), b"{}")
    sha256 = hashlib.sha256(newest).hexdigest()
    pointer = {"version": name, "manifest": version_key(name, "manifest.json"), "sha256": sha256}
    store.put(LATEST_KEY, json.dumps(pointer).encode())
    return name


def manifest(url: str, version: str, created_at: datetime, digests: list[str]) -> bytes:
    """Return a manifest with these shards, all of them in the train split."""
    records = 100 * len(digests)
    settings = BuildSettings(photos="s3://bucket/photos/", labels="s3://bucket/AVA.txt", dataset=url)
    shards = [
        {"path": shard_key(digest, ".tfrecord"), "records": 100, "bytes": 1000, "sha256": digest, "crc32c": "00000000"}
        for digest in digests
    ]
    empty = {"records": 0, "bytes": 0, "shards": []}
    quantiles = [0, 0.05, 0.25, 0.5, 0.75, 0.95, 1]
    document = {
        "schema_version": 1, "dataset": url, "version": version, "parent": None, "created_at": created_at.isoformat(),
        "source": {
            "photos": settings.photos, "listed": records, "bytes": 1, "labels": settings.labels, "labels_etag": "e",
            "label_rows": records,
        },
        "settings": settings.model_dump(mode="json"), "settings_digest": settings.digest, "software": {}, "features": {},
        "accounting": {
            "listed": records, "converted": records, "rejected": 0, "label_rows": records, "matched": records,
            "unmatched": 0,
        },
        "rejects": {}, "transforms": {},
        "splits": {
            "train": {"records": records, "bytes": 1000 * len(digests), "shards": shards}, "validation": empty,
            "test": empty,
        },
        "labels": {
            "min": 1, "max": 9, "mean": 5, "std": 1, "histogram": {"edges": [1, 9], "counts": [records]}, "scale": "none",
            "source_min": None, "source_max": None,
        },
        "images": {
            "quantiles": quantiles, "width": quantiles, "height": quantiles, "bytes": quantiles, "total_pixels": 1,
        },
        "reuse": {"shards_total": len(digests), "shards_added": 1, "shards_reused": len(digests) - 1},
        "near_duplicates": {"max_distance": None, "groups": 0, "records": 0, "spanning_splits": 0, "examples": []},
        "gates": [], "validation": {"records": records, "decoded": records}, "fingerprint": "f" * 64,
    }  # fmt: skip
    return json.dumps(document, indent=1).encode()


@contextmanager
def opened(kind: str) -> Iterator[Store]:
    """Give an empty store of one kind."""
    if kind == "memory":
        yield open_store(f"memory://{uuid.uuid4().hex}/dataset/")
        return
    import boto3
    from moto.server import ThreadedMotoServer

    from aesthetics_ops.store import S3Access

    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # a line per request otherwise
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        session = boto3.Session("sandbox", "sandbox", region_name="us-east-1")
        access = S3Access(session, endpoint_url=f"http://{host}:{port}")
        session.client("s3", endpoint_url=access.endpoint_url).create_bucket(Bucket="bench")
        yield open_store("s3://bench/dataset/", s3=access)
    finally:
        server.stop()


def measure(store: Store, path: str) -> tuple[float, float]:
    """Return the seconds that a page takes at first, and then."""
    app: FastAPI = make_browser(lambda: {"bench"}, {"bench": lambda: store})
    with TestClient(app) as client:
        seconds = []
        for _ in range(6):
            started = time.perf_counter()
            reply = client.get(path)
            seconds.append(time.perf_counter() - started)
            if reply.status_code != 200:
                sys.exit(f"{path}: {reply.status_code}\n{reply.text[:2000]}")
    return seconds[0], statistics.median(seconds[1:])


def main() -> int:
    """Fill a store, ask for pages, print a table; return 1 when a list of versions takes a second or more."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--versions", type=int, default=1000)
    parser.add_argument("--shards", type=int, default=10_000)
    parser.add_argument("--store", choices=("memory", "s3"), default="memory")
    options = parser.parse_args()
    with opened(options.store) as store:
        newest = fill(store, options.versions, options.shards)
        measure(store, "/")  # templates and imports
        pages = {
            "datasets": "/",
            "versions": "/datasets/bench",
            "one version": f"/datasets/bench/versions/{newest}",
            "its shards, last page": f"/datasets/bench/versions/{newest}/shards/train?page={-(-options.shards // 50)}",
        }
        print(
            f"{options.versions:,} versions, {options.shards:,} shards, {options.store}\n\n| page | cold, s | warm, s |"
        )
        print("|---|---|---|")
        slow = False
        for name, path in pages.items():
            cold, warm = measure(store, path)
            print(f"| {name} | {cold:.2f} | {warm:.2f} |", flush=True)
            slow |= cold >= 1 and name == "versions"
    return 1 if slow else 0


if __name__ == "__main__":
    sys.exit(main())
