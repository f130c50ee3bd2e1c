"""A small source of real photos and scores, and a build of it from the plan to the published version."""

import io
import itertools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa

from aesthetics_ops.builds import Build, BuildPlan
from aesthetics_ops.conversion.partition import ConversionSummary
from aesthetics_ops.dataset.example import decode_example
from aesthetics_ops.dataset.latest import PublishedMark, pointer_to, read_latest
from aesthetics_ops.dataset.layout import LATEST_KEY, ShardFile, VersionFile, published_key, shard_key, version_key
from aesthetics_ops.dataset.manifest import Manifest
from aesthetics_ops.dataset.results import ShardResult, read_shard_result
from aesthetics_ops.dataset.sidecars import stored_file
from aesthetics_ops.dataset.tables import read_parquet
from aesthetics_ops.dataset.tfrecord import ShardWriter, read_records
from aesthetics_ops.pipeline import convert_build, start_build, validate_build
from aesthetics_ops.publishing.publish import Published, publish_build
from aesthetics_ops.settings import BuildSettings, parse_settings
from aesthetics_ops.store import Store, open_store
from aesthetics_ops.validation.partition import ValidationSummary
from tests.support.paths import ROOT

SAMPLES = ROOT / "samples" / "photos"
# The smallest whole JPEGs, 15 to 31 kB; 909299 is gray.
PHOTOS = (
    "917058", "926426", "936054", "912173", "907402", "926301", "917625", "924852", "922203", "915625", "920675", "955950",
    "909299", "937244",
)  # fmt: skip
ARRIVING = "948232"
START = datetime(2026, 1, 1, 2, tzinfo=UTC)
_nights = itertools.count()


def photo(name: str) -> bytes:
    return (SAMPLES / f"{name}.jpg").read_bytes()


def smaller(data: bytes, *, scale: float = 0.6, quality: int = 70) -> bytes:
    """The same photo, resized and encoded anew."""
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    pixels = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return cv2.imencode(".jpg", pixels, (cv2.IMWRITE_JPEG_QUALITY, quality))[1].tobytes()


@dataclass
class Source:
    """Photos and scores under one URL, and the datasets made from them.

    Attributes:
        url: ends with a slash.
        scores: by the photo's name; written as a CSV file at every change.
    """

    url: str
    scores: dict[str, object]

    @property
    def store(self) -> Store:
        return open_store(self.url)

    def add(self, name: str, data: bytes, score: object | None = None, *, suffix: str = ".jpg") -> None:
        self.store.put(f"photos/{name}{suffix}", data)
        if score is not None:
            self.score({name: score})

    def remove(self, name: str, *, suffix: str = ".jpg") -> None:
        self.store.delete([f"photos/{name}{suffix}"])

    def score(self, scores: Mapping[str, object]) -> None:
        self.scores |= scores
        lines = ["id,score", *(f"{name},{score}" for name, score in self.scores.items())]
        self.store.put("scores.csv", "\n".join(lines).encode())

    def settings(self, **changes: object) -> BuildSettings:
        values = {
            "photos": f"{self.url}photos/",
            "labels": f"{self.url}scores.csv",
            "dataset": f"{self.url}dataset/",
            "shard_bytes": 90_000,
            "partition_bytes": 120_000,
            "validation_fraction": 0.2,
            "test_fraction": 0.2,
            "max_shrink_fraction": 0.5,
        }
        return parse_settings(values | changes, where="test")


def scored_source(url: str) -> Source:
    """All photos with scores."""
    source = Source(url, {})
    for name in PHOTOS:
        source.add(name, photo(name))
    source.score({name: number / 2 + 1 for number, name in enumerate(PHOTOS)})
    return source


OF_VOTES: dict[str, object] = {"vote_columns": "c1..c3", "split_column": "split", "near_duplicate_distance": 0}


def voted_source(url: str) -> Source:
    """All photos with votes for three ratings, in three splits; its settings are those of `OF_VOTES`."""
    source = Source(url, {})
    lines = ["id,c1,c2,c3,split"]
    for number, name in enumerate(PHOTOS):
        source.add(name, photo(name))
        split = "validation" if number > 11 else "test" if number > 9 else "train"
        lines.append(f"{name},{number},3,{2 * number},{split}")
    source.store.put("scores.csv", "\n".join(lines).encode())
    return source


def build_voted(folder: Path) -> str:
    """Build a dataset of `voted_source` in a folder; return its URL."""
    source = voted_source(f"{folder.as_uri()}/")
    build_once(source.settings(**OF_VOTES))
    return f"{source.url}dataset/"


@dataclass(frozen=True)
class Night:
    """A build that went through all its stages."""

    build: Build
    record: BuildPlan
    conversions: list[ConversionSummary]
    validations: list[ValidationSummary]
    published: Published

    @property
    def manifest(self) -> Manifest:
        return self.published.manifest

    @property
    def dataset(self) -> Store:
        return self.build.dataset

    @property
    def built(self) -> int:
        return sum(conversion.built for conversion in self.conversions)

    @property
    def photos_read(self) -> int:
        return sum(conversion.photos for conversion in self.conversions)

    def table(self, name: str) -> list[dict[str, Any]]:
        return version_table(self.dataset, self.manifest, name).to_pylist()


def start(settings: BuildSettings, *, partitions: int = 3) -> tuple[Build, BuildPlan]:
    """Plan a build, some minutes after the one before."""
    created_at = START + timedelta(minutes=next(_nights))
    return start_build(
        settings, build_id=f"night-{created_at:%Y%m%dT%H%M}", created_at=created_at, partitions=partitions
    )


def finish(build: Build, record: BuildPlan) -> Night:
    """Convert, validate and publish a planned build."""
    conversions = convert_build(build, record)
    validations = validate_build(build, record)
    return Night(build, record, conversions, validations, publish_build(build, record))


def build_once(settings: BuildSettings) -> Night:
    return finish(*start(settings))


def version_table(dataset: Store, manifest: Manifest, name: str) -> pa.Table:
    return read_parquet(dataset, version_key(manifest.version, VersionFile(f"{name}.parquet")))


def shard_hashes(manifest: Manifest) -> list[tuple[str, str, str]]:
    """What a version consists of: split, name and sha256 of every shard, in order."""
    return [(name, shard.path, shard.sha256) for name, split in manifest.splits.items() for shard in split.shards]


def latest_version(dataset: Store) -> str | None:
    latest = read_latest(dataset)
    return latest[0].version if latest else None


def version_files(dataset: Store) -> list[str]:
    return dataset.list("versions/")["key"].to_pylist()


def forge(dataset: Store, digest: str, number: int, scratch: Path, **changes: Any) -> ShardResult:
    """Change one record of a stored shard, and its result too, so that hash, size and framing still agree."""
    result = read_shard_result(dataset, digest)
    assert result is not None
    stored = io.BytesIO(dataset.get(shard_key(digest, ShardFile.RECORDS)).data)
    path = scratch / "forged.tfrecord"
    with ShardWriter(path) as shard:
        for place, record in enumerate(read_records(stored)):
            example = decode_example(record)
            shard.write(replace(example, **changes) if place == number else example)
    forged = result.model_copy(update={"bytes": shard.bytes_written, "sha256": shard.sha256, "crc32c": shard.crc32c})
    dataset.upload(shard_key(digest, ShardFile.RECORDS), path)
    path.unlink()
    dataset.put(shard_key(digest, ShardFile.RESULT), forged.model_dump_json().encode())
    return forged


def reseal(
    dataset: Store,
    version: str,
    change: Callable[[dict[str, Any]], None] = lambda values: None,
    *,
    names_files: bool = True,
) -> None:
    """Change a published manifest, make it name the files as they are, and make mark and LATEST name it: nothing but sums tells.

    Args:
        dataset: that the version is published in.
        version: its name.
        change: called with the manifest's values.
        names_files: False leaves them out, as an earlier release did.
    """
    key = version_key(version, VersionFile.MANIFEST)
    values = json.loads(bytes(dataset.get(key).data))
    held = {
        file: stored_file(dataset.get(version_key(version, VersionFile(file))).data)
        for file in values.pop("files") or ()
    }
    if names_files:
        values["files"] = {file: stated.model_dump() for file, stated in held.items()}
    change(values)
    data = json.dumps(values).encode()
    dataset.put(key, data)
    pointer = pointer_to(version, data)
    dataset.put(published_key(version), PublishedMark(version=version, sha256=pointer.sha256).encoded())
    if latest_version(dataset) == version:
        dataset.put(LATEST_KEY, pointer.encoded())
