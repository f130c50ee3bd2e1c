"""How fast the browser's list pages answer, on 1,000 versions of a dataset with 10,000 shards.

    .venv/bin/python benchmarks/browser.py [--versions 1000] [--shards 10000] [--store memory|s3]

`s3` is the embedded server (moto), in this process, so its time is part of what is measured.  The newest 25 versions
have manifests of full size, 2.3 MB of shards each; the older ones, whose manifests no first page reads, are small.
"Cold" is the first request of a new process, "warm" the median of five more.
"""

import argparse
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
from aesthetics_ops.dataset.layout import ShardFile, VersionFile, shard_key, version_key
from aesthetics_ops.dataset.manifest import Manifest, Shard
from aesthetics_ops.store import Store, open_store
from aesthetics_ops.testing.manifests import bare_manifest, publish_manifest

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from starlette.testclient import TestClient

FULL = 25
START = datetime(2024, 1, 1, 2, tzinfo=UTC)


def fill(store: Store, versions: int, shards: int) -> str:
    """Write manifests and the marks of all shards, as nights would; return the newest version's name."""
    digests = [f"{number:02x}"[-2:] + f"{number:062x}" for number in range(shards)]
    for digest in digests:
        for part in ShardFile:
            store.put(shard_key(digest, part), b"{}")
    for number in range(versions):
        created_at = START + timedelta(days=number)
        name = f"{created_at:%Y%m%dT%H%M%SZ}-{number:08x}"
        held = digests if number >= versions - FULL else digests[:10]
        made = manifest(store.url, name, created_at, held)
        for file in VersionFile:
            if file is not VersionFile.MANIFEST:
                store.put(version_key(name, file), b"{}")
        publish_manifest(store, made)
    return made.version


def manifest(url: str, version: str, created_at: datetime, digests: list[str]) -> Manifest:
    """Return a manifest with these shards, all of them in the train split."""
    shards = [
        Shard(path=shard_key(digest, ShardFile.RECORDS), records=100, bytes=1000, sha256=digest, crc32c="0" * 8)
        for digest in digests
    ]
    return bare_manifest(url, {"train": shards}, version=version, created_at=created_at)


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
