"""What planning and publishing cost as photos grow: seconds and memory, each case in a process of its own.

    .venv/bin/python benchmarks/scale.py --photos 100000 1000000 --scratch /var/tmp/scale

The photos are made up: names as in AVA, sizes lognormal around 120 kB, ETags, scores with ten vote counts (`ava`) or
without (`csv`); 1 % have no score.  Nothing is listed, downloaded or converted: a store of files gives what a listing
would, and forged results stand for shards.  The second night has 1 % of the photos new, 0.5 % gone and 0.5 % replaced.

Cases: `labels` reads the score file.  `plan` is plan_photos alone.  `stage` is the whole plan stage through file://, and
`stage-inventory` takes the photos from an inventory in Parquet.  `-parent` is the second night.  `publish` is the publish
stage, `publish-parent` that of the second night.
"""

# ruff: noqa: S608 - what is put into the queries are numbers and paths of this file's own

import argparse
import contextlib
import hashlib
import json
import logging
import os
import resource
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from aesthetics_ops.builds import Build, BuildPlan, PartitionResult, resume_build
from aesthetics_ops.dataset.layout import (
    BuildFile,
    ShardFile,
    VersionFile,
    build_key,
    partition_result_key,
    shard_key,
    version_key,
)
from aesthetics_ops.dataset.manifest import Manifest, Shard
from aesthetics_ops.dataset.recipe import Converter
from aesthetics_ops.dataset.results import RecordIndex, ShardResult, ShardVerdict
from aesthetics_ops.dataset.tables import NEAR_DUPLICATES, iterate_rows, read_parquet
from aesthetics_ops.planning.model import ParentPlan
from aesthetics_ops.planning.plan import plan_photos
from aesthetics_ops.planning.stage import plan_build
from aesthetics_ops.publishing.publish import publish_build
from aesthetics_ops.settings import BuildSettings, parse_settings
from aesthetics_ops.sources.labels import read_labels
from aesthetics_ops.sources.places import folder_of
from aesthetics_ops.store import Store, open_store
from aesthetics_ops.store.listing import LISTING, Batches
from aesthetics_ops.testing.manifests import bare_manifest, publish_manifest

NIGHTS = (datetime(2026, 1, 1, 2, tzinfo=UTC), datetime(2026, 1, 2, 2, tzinfo=UTC))
PARTITIONS = 256
_BCH_63_36 = 0o1033500423
"""The generator of the code, one bit a coefficient."""
CASES = (
    "labels", "plan", "stage", "stage-inventory", "plan-parent", "stage-parent", "stage-inventory-parent", "publish",
    "publish-parent",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class World:
    """One size of made-up photos.

    Attributes:
        folder: holds everything of it.
        photos: how many there are on the first night.
        scores: `ava` or `csv`.
    """

    folder: Path
    photos: int
    scores: str

    @property
    def labels(self) -> Path:
        """The score file."""
        return self.folder / ("AVA.txt" if self.scores == "ava" else "scores.csv")

    def listing(self, night: int) -> Path:
        """What a listing gives."""
        return self.folder / f"listing{night}.parquet"

    def inventory(self, night: int) -> Path:
        """The manifest of an inventory of the same photos."""
        return self.folder / "inventory" / "photos" / "nightly" / f"{NIGHTS[night]:%Y-%m-%dT%H-%MZ}" / "manifest.json"

    def settings(self, night: int, *, from_inventory: bool = False) -> BuildSettings:
        """The settings of a night's build."""
        values: dict[str, Any] = {
            "photos": "s3://photos/photos/",
            "labels": self.labels.as_uri(),
            "dataset": (self.folder / "dataset").as_uri(),
            "max_shrink_fraction": 1,
        }
        if from_inventory:
            values["inventory"] = self.inventory(night).as_uri()
        return parse_settings(values, where="benchmark")

    def build(self, night: int, *, from_inventory: bool = False) -> Build:
        """A night's build, with its stores open."""
        dataset = open_store((self.folder / "dataset").as_uri())
        settings = self.settings(night, from_inventory=from_inventory)
        photos = Listed(self.listing(night))
        folder = open_store(folder_of(settings.inventory)) if settings.inventory else None
        return Build(f"night-{night}", settings, photos, (open_store(self.folder.as_uri()),), dataset, folder)


class Listed(Store):
    """A photos prefix whose listing lies in a Parquet file, and that holds nothing else."""

    def __init__(self, path: Path) -> None:
        self.url = "s3://photos/photos/"
        self._path = path

    def check(self) -> None:
        """Nothing to look at."""

    def list(self, prefix: str = "", *, scratch: Path | None = None) -> pa.Table:
        """Return the file's rows, as a store would."""
        batches = Batches(scratch)
        for rows in iterate_rows(self._path, LISTING.names, name="listing"):
            batches.add(rows)
        return batches.table()

    def _nothing(self, *_: Any) -> Any:
        raise NotImplementedError

    get = get_range = download = head = put = upload = delete = _put_if = _nothing  # type: ignore[assignment]


def make_world(world: World) -> None:
    """Write both nights' listings and inventories, and the scores."""
    rng = np.random.default_rng(0)
    count = world.photos + world.photos // 100
    table = pa.table({"n": np.arange(count), "size": rng.lognormal(np.log(1e5), 0.6, count).astype(np.int64) + 2000})
    with duckdb.connect() as db:
        db.execute("SET memory_limit = '4GB'")
        db.execute(f"SET temp_directory = '{world.folder}/spill'")
        db.register("numbers", table)
        for night, where in enumerate((f"n < {world.photos}", "n % 200 <> 7")):
            changed = "false" if night == 0 else "n % 200 = 11"
            rows = f"""SELECT substr(md5(n::VARCHAR), 1, 2) || '/' || (1000000 + n) || CASE WHEN n % 1000 = 3 THEN '.xmp' ELSE '.jpg' END AS key,
                size, md5('content ' || n || CASE WHEN {changed} THEN ' new' ELSE '' END) AS etag
                FROM numbers WHERE {where} ORDER BY key"""
            db.execute(f"COPY ({rows}) TO '{world.listing(night)}' (FORMAT parquet, COMPRESSION zstd)")
            _make_inventory(db, world, night)
        votes = ", ".join(
            f"(hash(n * 11 + {vote}) % 40)::INTEGER + {vote == 5}::INTEGER AS v{vote}" for vote in range(1, 11)
        )
        if world.scores == "ava":
            rows = f"SELECT n + 1, 1000000 + n, {votes}, hash(n) % 66, 0, hash(n) % 1400 FROM numbers WHERE n % 100 <> 1 ORDER BY n"
            db.execute(f"COPY ({rows}) TO '{world.labels}' (FORMAT csv, HEADER false, DELIMITER ' ')")
        else:
            rows = "SELECT 1000000 + n AS id, 1 + (hash(n) % 90000) / 10000.0 AS score FROM numbers WHERE n % 100 <> 1 ORDER BY n"
            db.execute(f"COPY ({rows}) TO '{world.labels}' (FORMAT csv)")


def _make_inventory(db: duckdb.DuckDBPyConnection, world: World, night: int) -> None:
    """Write what S3 Inventory would, 1 million rows per file."""
    manifest = world.inventory(night)
    data = manifest.parents[1] / "data"
    data.mkdir(parents=True, exist_ok=True)
    manifest.parent.mkdir(parents=True)
    files = []
    rows = pq.read_metadata(world.listing(night)).num_rows
    for number, first in enumerate(range(0, rows, 1_000_000)):
        path = data / f"{night}-{number:04}.parquet"
        db.execute(f"""COPY (SELECT 'photos' AS bucket, 'photos/' || key AS key, size, etag AS e_tag
            FROM '{world.listing(night)}' LIMIT 1000000 OFFSET {first}) TO '{path}' (FORMAT parquet, COMPRESSION snappy)""")
        with path.open("rb") as file:
            md5 = hashlib.file_digest(file, "md5").hexdigest()
        files.append(
            {"key": f"inventory/photos/nightly/data/{path.name}", "size": path.stat().st_size, "MD5checksum": md5}
        )
    schema = "message s3.inventory { required binary bucket (UTF8); required binary key (UTF8); optional int64 size; optional binary e_tag (UTF8); }"
    text = json.dumps({
        "sourceBucket": "photos", "destinationBucket": "arn:aws:s3:::photos", "version": "2016-11-30",
        "creationTimestamp": str(int(NIGHTS[night].timestamp() * 1000)), "fileFormat": "Parquet", "fileSchema": schema,
        "files": files,
    })  # fmt: skip
    manifest.write_text(text)
    manifest.with_name("manifest.checksum").write_text(hashlib.md5(text.encode()).hexdigest())  # noqa: S324


def forge_conversion(world: World, night: int) -> None:
    """Leave what download_and_convert and validate leave, for every partition of a planned build, without any photo."""
    build, record = resume_build(world.settings(night).dataset, f"night-{night}")
    for number, part in enumerate(record.partitions):
        rows = build.partition_photos(record, number)
        first = 0
        lengths = {run["values"]: run["counts"] for run in rows["digest"].value_counts().to_pylist()}
        for digest in part.shards:
            members = rows.slice(first, lengths[digest])
            first += members.num_rows
            _forge_shard(world, digest, members)
        result = PartitionResult(plan=record.plan, shards={digest: digest for digest in part.shards}, lost=())
        build.dataset.put(partition_result_key(build.id, number), result.encoded())


def _hashes(keys: list[str]) -> list[str]:
    """Return perceptual hashes, of which every hundredth is near to the one before it, in the same split, and to no other.

    The others are words of the BCH code of 63 bits that carries 36: 11 bits apart at least.  So no group spans splits, for
    whose second round there would have to be photos.
    """
    numbers = np.array([int(Path(key).stem) for key in keys], np.uint64)
    messages = numbers * np.uint64(0x9E3779B1) % np.uint64(1 << 36)  # odd, so no two are equal
    words = np.zeros(len(keys), np.uint64)
    for bit in range(_BCH_63_36.bit_length()):
        if _BCH_63_36 >> bit & 1:
            words ^= messages << np.uint64(bit)
    words[1::100] = words[:-1:100] ^ np.uint64(1)
    return [f"{word:016x}" for word in words.tolist()]


def _forge_shard(world: World, digest: str, rows: pa.Table) -> None:
    keys, sizes = rows["key"].to_pylist(), rows["size"].to_pylist()
    hashes = _hashes(keys)
    offsets = np.cumsum([0, *sizes]).tolist()
    index = RecordIndex(
        key=keys, id=rows["id"].to_pylist(), offset=offsets[:-1], length=sizes, bytes=sizes, width=[640] * len(keys),
        height=[480] * len(keys), transforms=[["jpeg_kept"]] * len(keys), phash=hashes,
        progressive=[False] * len(keys), sampling=["4:2:0"] * len(keys),
        brightness=[112.5] * len(keys), contrast=[56.25] * len(keys),
    )  # fmt: skip
    sha256 = hashlib.sha256(digest.encode()).hexdigest()
    result = ShardResult(
        digest=digest, photos=len(keys), records=len(keys), bytes=offsets[-1], sha256=sha256, crc32c="00000000",
        converter_version=1, index=index, rejected=(),
    )  # fmt: skip
    verdict = ShardVerdict(digest=digest, sha256=sha256, records=len(keys), decoded=len(keys), tensorflow="none")
    path = world.folder / "dataset" / shard_key(digest, ShardFile.RECORDS)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.truncate(offsets[-1])  # a hole: nobody reads it
    (world.folder / "dataset" / shard_key(digest, ShardFile.RESULT)).write_bytes(result.encoded())
    (world.folder / "dataset" / shard_key(digest, ShardFile.VERDICT)).write_bytes(verdict.encoded())


def forge_version(world: World) -> None:
    """Publish the first night's plan as if all of it had been converted, in seconds: what a parent gives to a plan."""
    build, record = resume_build(world.settings(0).dataset, "night-0")
    rows = world.folder / "dataset" / build_key(build.id, BuildFile.ROWS)
    shards = duckdb.execute(
        f"SELECT split, digest, count(*), sum(size)::BIGINT FROM '{rows}' WHERE digest IS NOT NULL GROUP BY ALL"
    )
    splits: dict[str, list[Shard]] = {"train": [], "validation": [], "test": []}
    for split, digest, records, size in shards.fetchall():
        path = shard_key(digest, ShardFile.RECORDS)
        splits[split].append(Shard(path=path, records=records, bytes=size, sha256="0" * 64, crc32c="0" * 8))
        for file in ShardFile:
            place = world.folder / "dataset" / shard_key(digest, file)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.touch()
    converted = sum(shard.records for found in splits.values() for shard in found)
    manifest = _manifest(world, record, splits, converted)
    near = pq.read_table(world.listing(0), columns=["key", "etag"]).slice(0, world.photos // 50)
    near = near.append_column("group", pa.array([str(n // 2) for n in range(near.num_rows)]))
    empty = pa.nulls(near.num_rows, pa.string())
    for name in ("id", "split", "shard"):
        near = near.append_column(name, empty)
    dataset = build.dataset
    dataset.upload(version_key("v0", VersionFile.PLAN), world.folder / "dataset" / build_key(build.id, BuildFile.ROWS))
    sink = pa.BufferOutputStream()
    pq.write_table(near.select(NEAR_DUPLICATES.schema.names), sink)
    dataset.put(version_key("v0", VersionFile.NEAR_DUPLICATES), sink.getvalue().to_pybytes())
    publish_manifest(dataset, manifest)


def _manifest(world: World, record: BuildPlan, splits: dict[str, list[Shard]], converted: int) -> Manifest:
    left_out = record.listed - converted
    return bare_manifest(
        world.settings(0).dataset,
        splits,
        created_at=record.created_at,
        source={
            "photos": "s3://photos/photos/", "listed": record.listed, "bytes": record.listed_bytes,
            "labels": record.settings.labels, "labels_etag": "x", "label_rows": record.label_rows,
        },
        settings=record.settings.model_dump(mode="json"),
        settings_digest=record.settings.digest,
        accounting={
            "listed": record.listed, "converted": converted, "rejected": left_out, "label_rows": record.label_rows,
            "matched": record.label_rows - record.unmatched, "unmatched": record.unmatched,
        },
        rejects={"unlabelled": left_out, "label_without_photo": record.unmatched},
        near_duplicates={"max_distance": 6, "groups": 0, "records": 0, "spanning_splits": 0, "examples": ()},
    )  # fmt: skip


def run_case(case: str, world: World) -> dict[str, Any]:
    """Do what a case measures; return what should be said of it."""
    night = int(case.endswith("-parent"))
    if case == "labels":
        labels = read_labels(world.labels.read_bytes(), source="benchmark", settings=world.settings(0))
        return {"rows": labels.table.num_rows}
    if case.startswith("plan"):
        settings = world.settings(night)
        labels = read_labels(world.labels.read_bytes(), source="benchmark", settings=settings)
        listing = pq.read_table(world.listing(night))
        parent = None
        if night:
            dataset = open_store(settings.dataset)
            parent = ParentPlan(
                read_parquet(dataset, version_key("v0", VersionFile.PLAN)),
                read_parquet(dataset, version_key("v0", VersionFile.NEAR_DUPLICATES)),
                seed=0, shard_bytes=settings.shard_bytes,
            )  # fmt: skip
        started = time.monotonic()
        plan = plan_photos(listing, labels, settings, converter=Converter(1, "0" * 16), parent=parent)
        digests = hashlib.sha256("".join(shard.digest for shard in plan.shards).encode()).hexdigest()[:12]
        return {"alone_s": round(time.monotonic() - started, 1), "shards": len(plan.shards), "plan": digests}
    if case.startswith("stage"):
        build = world.build(night, from_inventory="inventory" in case)
        record = plan_build(build, created_at=NIGHTS[night], partitions=PARTITIONS)
        said: dict[str, Any] = {"shards": record.shards, "to_build": record.planned, "tasks": len(record.partitions)}
        shards = pq.read_table(world.folder / "dataset" / build_key(build.id, BuildFile.ROWS), columns=["digest"])[
            "digest"
        ]
        said["plan"] = hashlib.sha256("".join(shards.drop_null().unique().to_pylist()).encode()).hexdigest()[:12]
        return said
    build, record = resume_build(world.settings(night).dataset, f"night-{night}")
    published = publish_build(build, record)
    return {"records": published.manifest.records, "near": published.manifest.near_duplicates.groups}


@contextlib.contextmanager
def peak_of_anonymous_memory() -> Iterator[list[int]]:
    """Look 20 times a second how much memory is not a file's pages; kB."""
    peak, done = [0], threading.Event()

    def look() -> None:
        while not done.wait(0.05):
            for line in Path("/proc/self/status").read_text().splitlines():
                if line.startswith("RssAnon"):
                    peak[0] = max(peak[0], int(line.split()[1]))

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    yield peak
    done.set()
    thread.join()


def child(case: str, world: World) -> None:
    """Measure one case in this process."""
    logging.disable(logging.WARNING)  # the report misses the photos
    started = time.monotonic()
    with peak_of_anonymous_memory() as anonymous:
        said = run_case(case, world)
    used = resource.getrusage(resource.RUSAGE_SELF)
    figures = {
        "seconds": round(time.monotonic() - started, 1),
        "cpu_seconds": round(used.ru_utime + used.ru_stime, 1),
        "peak_mib": used.ru_maxrss >> 10,
        "anonymous_mib": anonymous[0] >> 10,
        "load": round(os.getloadavg()[0], 1),
    }
    print(json.dumps(figures | said))


def in_child(what: str, world: World) -> dict[str, Any]:
    """Run one step in a fresh process; return what it said."""
    arguments = [
        "--child",
        what,
        "--scores",
        world.scores,
        "--photos",
        str(world.photos),
        "--scratch",
        str(world.folder),
    ]
    reply = subprocess.run([sys.executable, __file__, *arguments], stdout=subprocess.PIPE, check=False, text=True)
    if reply.returncode != 0:
        return {"failed": reply.returncode}
    return json.loads(reply.stdout) if reply.stdout.strip() else {}


def measure(world: World, cases: list[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each case with its figures; between them make what the next one needs."""
    if not world.folder.exists():
        world.folder.mkdir(parents=True)
        in_child("make", world)
    has_publish = any(case.startswith("publish") for case in cases)
    if (
        not has_publish
        and any(case.endswith("-parent") for case in cases)
        and not (world.folder / "dataset/LATEST.json").exists()
    ):
        before = [case for case in cases if not case.endswith("-parent")]
        for case in before or ["stage"]:
            yield case, in_child(case, world)
        in_child("forge-version", world)
        cases = [case for case in cases if case.endswith("-parent")]
    for case in cases:
        if case.startswith("publish"):
            night = "1" if case.endswith("-parent") else "0"
            in_child(f"forge-conversion-{night}", world)
        yield case, in_child(case, world)


def main() -> int:
    """Measure, and print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--scores", choices=("ava", "csv"), nargs="+", default=["ava", "csv"])
    parser.add_argument(
        "--cases",
        choices=CASES,
        nargs="+",
        default=["labels", "stage", "stage-inventory", "stage-parent", "stage-inventory-parent"],
    )
    parser.add_argument("--scratch", type=Path, required=True, help="a folder with 1 kB of room per photo")
    parser.add_argument("--keep", action="store_true", help="leave what was made, for the next run")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        world = World(options.scratch, options.photos[0], options.scores[0])
        match options.child:
            case "make":
                make_world(world)
            case "forge-version":
                forge_version(world)
            case "forge-conversion-0" | "forge-conversion-1":
                forge_conversion(world, int(options.child[-1]))
            case _:
                child(options.child, world)
        return 0
    print(
        "| case | scores | photos | seconds | CPU s | peak RSS, MiB | of it anonymous | load | |\n|---|---|---|---|---|---|---|---|---|"
    )
    for photos in options.photos:
        for scores in options.scores:
            world = World(options.scratch / f"{scores}-{photos}", photos, scores)
            for case, found in measure(world, options.cases):
                names = ("seconds", "cpu_seconds", "peak_mib", "anonymous_mib", "load")
                figures = " | ".join(str(found.pop(name, "")) for name in names)
                said = ", ".join(f"{name} {value}" for name, value in found.items())
                print(f"| {case} | {scores} | {photos:,} | {figures} | {said} |", flush=True)
            if not options.keep:
                shutil.rmtree(world.folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
