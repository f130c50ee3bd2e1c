"""Small datasets for tests: published as a build publishes, without listing, converting or checking anything.

In: photos with their scores, and what was left out.  Out: in a store, all that readers, `diff`, `verify`, the browser and
the next plan find there: shards with their results and verdicts, tables, manifest, LATEST.

    dataset = SyntheticDataset(open_store("memory://mine/dataset/"))
    first = dataset.publish(synthetic_photos(20))
    second = dataset.publish(synthetic_photos(25), [LeftOut("night.jpg", RejectReason.CORRUPT, "cut off")])

    open_dataset("memory://mine/dataset/").records("train")

Digests, counts and statistics are those of the photos.  Only the perceptual hashes are made up, from the files' bytes.
Equal calls write equal bytes.
"""

import hashlib
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import pyarrow as pa

from aesthetics_ops.builds import BuildPlan, Partition, PartitionResult, ValidationResult
from aesthetics_ops.dataset.example import Example
from aesthetics_ops.dataset.layout import (
    SPLITS,
    BuildFile,
    ShardFile,
    VersionFile,
    build_key,
    partition_result_key,
    shard_key,
    validation_result_key,
    version_key,
)
from aesthetics_ops.dataset.manifest import Manifest, Shard, Validation
from aesthetics_ops.dataset.recipe import CONVERTER_VERSION, Converter, recipe_digest
from aesthetics_ops.dataset.results import (
    RecordIndex,
    ShardResult,
    ShardVerdict,
    StoredJpeg,
    write_shard_result,
    write_verdict,
)
from aesthetics_ops.dataset.sidecars import stored_file
from aesthetics_ops.dataset.statistics import count_reasons
from aesthetics_ops.dataset.tables import PLAN, RECORDS, REJECTS, write_parquet
from aesthetics_ops.dataset.tfrecord import ShardWriter
from aesthetics_ops.figures import WorkFigures
from aesthetics_ops.machine import scratch_for
from aesthetics_ops.pixels.jpeg_header import JpegHeader, read_jpeg_header
from aesthetics_ops.pixels.phash import small_gray
from aesthetics_ops.pixels.tone import Tone, tone_of
from aesthetics_ops.publishing.account import BuiltShard
from aesthetics_ops.publishing.describe import describe_version
from aesthetics_ops.publishing.documents import Renderer, Shown, render_documents
from aesthetics_ops.publishing.gates import GATES
from aesthetics_ops.publishing.measures import Candidate
from aesthetics_ops.publishing.near_duplicates import NearDuplicateGroups, group_records
from aesthetics_ops.rejects import RejectReason
from aesthetics_ops.settings import BuildSettings
from aesthetics_ops.store import Store, open_store
from aesthetics_ops.testing.manifests import FIRST_NIGHT, publish_manifest, settings_of

__all__ = [
    "FIRST_NIGHT",
    "LeftOut",
    "Photo",
    "SyntheticDataset",
    "SyntheticVersion",
    "synthetic_photos",
]

_CONVERTER: Final = Converter(CONVERTER_VERSION, "0" * 16)


@dataclass(frozen=True, slots=True)
class Photo:
    """A photo that becomes a record.

    Attributes:
        id: what names it; its key is this and `.jpg`.
        jpeg: the file, stored as it is; its header must be whole.  Where it decodes, its brightness and contrast are noted.
        score: stored as float32.
        split: train, validation or test.
        transforms: what the tables say was done to it.
    """

    id: str
    jpeg: bytes
    score: float
    split: str = "train"
    transforms: tuple[str, ...] = ("metadata_dropped",)


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A photo or a label row that becomes no record.

    Attributes:
        key: of the photo; None for a label row.
        reason: a RejectReason, or a word that only a newer release knows.
        detail: in words.
        source: the photo's file, which is put into the photos' store; None where it is gone.
    """

    key: str | None
    reason: str
    detail: str
    source: bytes | None = None


@dataclass(frozen=True, slots=True)
class SyntheticVersion:
    """A version that was published.

    Attributes:
        store: of the dataset.
        manifest: its manifest.
        records: rows of RECORDS.schema.
        rejects: rows of REJECTS.schema.
    """

    store: Store
    manifest: Manifest
    records: pa.Table
    rejects: pa.Table

    @property
    def version(self) -> str:
        """Its name."""
        return self.manifest.version

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The records, one by one."""
        rows: list[dict[str, Any]] = self.records.to_pylist()
        return rows


def synthetic_photos(count: int, *, side_px: int = 32) -> list[Photo]:
    """Return photos `p000`, `p001` and so on: coloured noise, scores of 1 to 10, eight of ten in the train split."""
    pixels = np.random.default_rng(0)
    places = ("train",) * 8 + ("validation", "test")
    return [
        Photo(
            f"p{number:03}",
            cv2.imencode(".jpg", pixels.integers(0, 256, (side_px, side_px, 3), np.uint8))[1].tobytes(),
            1 + number * 7 % 91 / 10,
            places[number % len(places)],
        )
        for number in range(count)
    ]


class SyntheticDataset:
    """A dataset that grows by a version a night, from FIRST_NIGHT on.

    Attributes:
        store: of the dataset.
        photos: where the source photos lie; those that were left out, where their file is given.
    """

    def __init__(
        self, store: Store, *, per_shard: int = 10, documents: Mapping[VersionFile, Renderer] | None = None
    ) -> None:
        """Begin with no version.

        Args:
            store: of the dataset.
            per_shard: most photos in a shard.
            documents: how to make each document that the versions carry; none by default, since drawing takes long.
        """
        self.store = store
        self.photos = open_store(f"memory://{uuid.uuid4().hex}/photos/")
        self._per_shard = per_shard
        self._documents = documents or {}
        self._nights = 0
        self._parent: Manifest | None = None

    def publish(
        self,
        photos: Sequence[Photo],
        left_out: Sequence[LeftOut] = (),
        *,
        settings: Mapping[str, Any] | None = None,
        **changes: Any,
    ) -> SyntheticVersion:
        """Publish the next night's version; its parent is the one before.

        Args:
            photos: at least one; those of a split come in this order.
            left_out: photos and label rows that became no record.
            settings: build settings that are not as by default.
            changes: fields of the manifest that are to say something else than what is there.

        Raises:
            ValueError: a photo is not a whole JPEG.
        """
        for row in left_out:
            if row.key is not None and row.source is not None:
                self.photos.put(row.key, row.source)
        chosen = settings_of(self.store.url, settings or {})
        with scratch_for() as scratch:
            made = [
                _write_shard(self.store, scratch, number, some, chosen)
                for number, some in _shards_of(photos, self._per_shard)
            ]
        records = pa.concat_tables([shard.records for shard in made])
        rejects = _rejects(left_out)
        near = group_records(records, max_distance=chosen.near_duplicate_distance, before=None)
        counts = count_reasons(rejects)
        plan = _plan(
            chosen, FIRST_NIGHT + timedelta(days=self._nights), parent=self._parent, records=records, left_out=left_out
        )
        candidate = Candidate(chosen, records, rejects, counts, near.summary, self._parent, plan.label_rows)
        gates = tuple(gate.result(candidate) for gate in GATES if gate.applies(chosen))
        manifest = describe_version(self.store.url, plan, candidate, [shard.built for shard in made], gates)
        manifest = Manifest.model_validate(manifest.model_dump() | changes)
        version = SyntheticVersion(self.store, manifest, records, rejects)
        planned = pa.concat_tables([*(shard.planned for shard in made), _planned_rejects(rejects)])
        version = replace(version, manifest=self._write_files(version, planned, near))
        self._nights += 1
        self._parent = version.manifest
        return version

    def plan(
        self,
        build: str,
        created_at: datetime,
        partitions: Sequence[Sequence[str]],
        figures: WorkFigures | None = None,
    ) -> None:
        """Leave the state of a build that was planned.

        Args:
            build: its id.
            created_at: when it was planned.
            partitions: the digests of the shards that each has to make.
            figures: of each partition's tasks, which are over; None where none of them has run.
        """
        parts = tuple(Partition(shards=tuple(shards), photos=7, source_bytes=70_000) for shards in partitions)
        plan = _plan(settings_of(self.store.url, {}), created_at)
        planned = sum(map(len, partitions))
        plan = plan.model_copy(
            update={"build": build, "listed": 7 * len(parts), "listed_bytes": 70_000 * len(parts)}
            | {"shards": planned, "planned": planned, "partitions": parts}
        )
        self.store.put(build_key(build, BuildFile.ROWS), write_parquet(PLAN.schema.empty_table()))
        self.store.put(build_key(build, BuildFile.PLAN), plan.encoded())
        if figures:
            for number, shards in enumerate(partitions):
                self._end(plan, number, shards, figures)

    def _end(self, plan: BuildPlan, number: int, shards: Sequence[str], figures: WorkFigures) -> None:
        """Leave what the two tasks of a partition leave."""
        made = PartitionResult(
            plan=plan.plan, shards=dict(zip(shards, shards, strict=True)), lost=(), figures=figures.conversion
        )
        self.store.put(partition_result_key(plan.build, number), made.encoded())
        if figures.validation:
            read = ValidationResult(plan=plan.plan, figures=figures.validation)
            self.store.put(validation_result_key(plan.build, number), read.encoded())

    def _write_files(self, made: SyntheticVersion, planned: pa.Table, near: NearDuplicateGroups) -> Manifest:
        """Write and publish a version; return its manifest, which names its files."""
        records = write_parquet(made.records)
        shown = Shown(
            made.manifest, self._parent, made.records, hashlib.sha256(records).hexdigest(), made.rejects, self.store,
            self.photos,
        )  # fmt: skip
        files = {
            VersionFile.RECORDS: records,
            VersionFile.REJECTS: write_parquet(made.rejects),
            VersionFile.NEAR_DUPLICATES: write_parquet(near.table),
            VersionFile.PLAN: write_parquet(planned),
            **render_documents(shown, self._documents),
        }
        for file, data in files.items():
            self.store.put(version_key(made.version, file), data)
        named = {str(file): stored_file(data) for file, data in files.items()}
        manifest = made.manifest.model_copy(update={"files": named})
        publish_manifest(self.store, manifest)
        return manifest


@dataclass(frozen=True, slots=True)
class _MadeShard:
    """A shard in the store, and what it adds to the tables."""

    built: BuiltShard
    planned: pa.Table
    records: pa.Table


def _shards_of(photos: Sequence[Photo], per_shard: int) -> Iterator[tuple[int, Sequence[Photo]]]:
    """Yield the photos of each shard, and its number in its split."""
    for split in SPLITS:
        chosen = [photo for photo in photos if photo.split == split]
        for number, first in enumerate(range(0, len(chosen), per_shard)):
            yield number, chosen[first : first + per_shard]


def _write_shard(
    store: Store, scratch: Path, number: int, photos: Sequence[Photo], settings: BuildSettings
) -> _MadeShard:
    split = photos[0].split
    planned = _planned(photos, number)
    digest = recipe_digest(planned, settings, converter=_CONVERTER)
    planned = planned.set_column(
        planned.schema.get_field_index("digest"), "digest", pa.array([digest] * len(photos), pa.string())
    )
    path = scratch / f"{digest}.tfrecord"  # its own: a store of files may keep it instead of a copy
    index = RecordIndex()
    with ShardWriter(path) as shard:
        for photo in photos:
            header = _header(photo)
            frame = header.frame
            span = shard.write(Example(photo.jpeg, photo.score, photo.id, frame.height_px, frame.width_px, None))
            tone = _tone(photo)
            jpeg = StoredJpeg(
                bytes=len(photo.jpeg), width=frame.width_px, height=frame.height_px, transforms=list(photo.transforms),
                phash=hashlib.sha256(photo.jpeg).hexdigest()[:16], progressive=header.progressive, sampling=frame.sampling,
                brightness=tone and tone.brightness, contrast=tone and tone.contrast,
            )  # fmt: skip
            index.add(f"{photo.id}.jpg", photo.id, span, jpeg)
    key = shard_key(digest, ShardFile.RECORDS)
    store.upload(key, path)
    path.unlink()  # a store of files may have kept it instead of a copy, so the next shard needs a file of its own
    result = ShardResult(
        digest=digest, photos=len(photos), records=shard.records, bytes=shard.bytes_written, sha256=shard.sha256,
        crc32c=shard.crc32c, converter_version=_CONVERTER.version, codecs=_CONVERTER.codecs, index=index, rejected=(),
    )  # fmt: skip
    write_shard_result(store, result)
    counts = {"records": shard.records, "decoded": shard.records}
    write_verdict(store, ShardVerdict(digest=digest, sha256=shard.sha256, tensorflow="none", **counts))
    entry = Shard(path=key, records=shard.records, bytes=shard.bytes_written, sha256=shard.sha256, crc32c=shard.crc32c)
    columns = {
        **{name: planned[name] for name in ("etag", "split", "label")},
        **index.model_dump(),
        "shard": pa.repeat(key, len(photos)),
    }
    records = pa.table({name: columns[name] for name in RECORDS.names}, schema=RECORDS.schema)
    return _MadeShard(BuiltShard(split, digest, entry, Validation(**counts)), planned, records)


def _header(photo: Photo) -> JpegHeader:
    """Return the header of the photo's JPEG; a file without one is no record anywhere."""
    header = read_jpeg_header(photo.jpeg)
    if header.problem is not None:
        raise ValueError(f"photo {photo.id!r} is not a whole JPEG: {header.problem}; give the bytes of one")
    return header


def _tone(photo: Photo) -> Tone | None:
    """Return how bright a photo is; None where its JPEG cannot be decoded."""
    array = cv2.imdecode(np.frombuffer(photo.jpeg, np.uint8), cv2.IMREAD_GRAYSCALE)
    return None if array is None else tone_of(small_gray(np.asarray(array, np.uint8)))


def _planned(photos: Sequence[Photo], slot: int) -> pa.Table:
    """Return the plan's rows of one shard, without its digest."""
    rows = [
        {
            "key": f"{photo.id}.jpg", "etag": hashlib.sha256(photo.jpeg).hexdigest()[:32], "size": len(photo.jpeg),
            "id": photo.id, "split": photo.split, "slot": slot, "label": photo.score,
        }
        for photo in photos
    ]  # fmt: skip
    return pa.Table.from_pylist(rows, schema=PLAN.schema)


def _rejects(left_out: Sequence[LeftOut]) -> pa.Table:
    rows = [
        {
            "id": (row.key or row.detail).rpartition("/")[2], "key": row.key, "reason": row.reason, "detail": row.detail,
            "bytes": None if row.key is None else len(row.source or b""),
        }
        for row in left_out
    ]  # fmt: skip
    return pa.Table.from_pylist(rows, schema=REJECTS.schema)


def _planned_rejects(rejects: pa.Table) -> pa.Table:
    """Return the plan's rows of the photos that were left out."""
    rows = [
        {
            "key": row["key"],
            "etag": row["etag"],
            "size": row["bytes"],
            **{name: row[name] for name in ("id", "reason", "detail")},
        }
        for row in rejects.to_pylist()
        if row["key"] is not None
    ]
    return pa.Table.from_pylist(rows, schema=PLAN.schema)


def _plan(
    settings: BuildSettings,
    created_at: datetime,
    *,
    parent: Manifest | None = None,
    records: pa.Table | None = None,
    left_out: Sequence[LeftOut] = (),
) -> BuildPlan:
    """Return a plan that lists these records and what was left out."""
    count = records.num_rows if records is not None else 0
    unmatched = sum(row.reason == RejectReason.LABEL_WITHOUT_PHOTO for row in left_out)
    sizes = sum(records["bytes"].to_pylist()) if records is not None else 0
    return BuildPlan(
        build=f"{created_at:%Y-%m-%dT%H%M%S}", plan="0" * 64, created_at=created_at, settings=settings,
        parent=parent.version if parent else None, latest_etag=None, labels_etag="e", label_rows=count + unmatched,
        unmatched=unmatched, label_range=None, compares=True, listed=count + len(left_out) - unmatched,
        listed_bytes=sizes + sum(len(row.source or b"") for row in left_out), shards=0, planned=0, partitions=(),
        converter_version=_CONVERTER.version, codecs=_CONVERTER.codecs,
    )  # fmt: skip
