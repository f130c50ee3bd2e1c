"""One attempt to make a version: where its state lies, and its first stage, the plan.

Every stage finds what it needs in the dataset's store under `builds/<build>/`, so that each can run alone, in another
process, on another machine, or again:

    plan.parquet              every listed photo's place (planning.PLAN_SCHEMA)
    unmatched.parquet         label rows that name no photo
    partitions/<n>.parquet    the rows of the shards that partition n still has to make or to check
    plan.json                 the rest, `BuildRecord`; written last, so it is the plan's done-marker
    converted/<n>.json        partition n's done-marker, `PartitionResult`
"""

import hashlib
import io
import logging
import re
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import AwareDatetime, BaseModel, ConfigDict

from aesthetics_ops.errors import InputMissingError, LabelError, ObjectMissingError, SettingsError, StoreRefusedError
from aesthetics_ops.inventory import folder_of, read_inventory
from aesthetics_ops.labels import Labels, read_labels
from aesthetics_ops.machine import scratch_for
from aesthetics_ops.manifest import Manifest, SourceInventory, read_latest, read_manifest, shard_key, version_key
from aesthetics_ops.photo import CONVERTER_VERSION
from aesthetics_ops.planning import ParentPlan, Plan, PlannedShard, balance, plan_photos
from aesthetics_ops.settings import BuildSettings
from aesthetics_ops.store import S3Access, Store, open_store

__all__ = [
    "PLAN_KEY",
    "Build",
    "BuildRecord",
    "LostPhoto",
    "Partition",
    "PartitionResult",
    "build_id_from",
    "compares_writes",
    "open_build",
    "plan_build",
    "put_rows",
    "read_parquet",
    "resume_build",
    "write_parquet",
]

PLAN_KEY: Final = "plan.json"
_ROWS_OF_GROUP: Final = 1 << 17  # in a Parquet file; what one takes in memory while it is written
_log = logging.getLogger(__name__)


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Partition(_Record):
    """The shards that one parallel task makes and checks."""

    shards: tuple[str, ...]
    photos: int
    source_bytes: int


class LostPhoto(_Record):
    """A photo that was listed, and was gone or changed when it was read."""

    key: str
    digest: str
    reason: str
    detail: str


class PartitionResult(_Record):
    """What became of a partition's shards.

    Attributes:
        plan: `BuildRecord.plan` that it belongs to.
        shards: planned digest to the digest that was made; they differ where a photo was lost, and an empty text
            stands for a shard that lost all its photos.
        lost: those photos.
    """

    plan: str
    shards: dict[str, str]
    lost: tuple[LostPhoto, ...]


class BuildRecord(_Record):
    """What the plan found and decided, but for the photos themselves.

    Attributes:
        build: the build's id.
        plan: digest of the plan's content; results that name another are stale.
        created_at: when it was planned.
        settings: of the whole build; later stages take theirs from here.
        parent: version that LATEST named, and latest_etag its ETag then; None where nothing was published.
        labels_etag, label_rows, unmatched: of the score file; unmatched counts rows without a photo.
        label_range: score mapped to 0 and to 1.
        compares: the dataset's store refuses a write to LATEST that another writer has overtaken.
        listed, listed_bytes: objects under the photos prefix.
        inventory: the S3 Inventory that they were taken from; None where the prefix was listed.
        shards: in all; `planned` of them have no finished result yet.
        partitions: only as many as the work is worth.
    """

    build: str
    plan: str
    created_at: AwareDatetime
    settings: BuildSettings
    parent: str | None
    latest_etag: str | None
    labels_etag: str
    label_rows: int
    unmatched: int
    label_range: tuple[float, float] | None
    compares: bool
    listed: int
    listed_bytes: int
    inventory: SourceInventory | None = None
    shards: int
    planned: int
    partitions: tuple[Partition, ...]

    @property
    def summary(self) -> dict[str, int | str | None]:
        """A few numbers for people, small enough to pass between tasks."""
        return {
            "build": self.build,
            "parent": self.parent,
            "listed": self.listed,
            "shards": self.shards,
            "shards_to_build": self.planned,
            "partitions": len(self.partitions),
        }


@dataclass(frozen=True, slots=True)
class Build:
    """A build's settings and the open stores it works on.

    Attributes:
        id: names `builds/<id>/` in the dataset.
        settings: of the build.
        photos: the photos prefix.
        labels: the prefix that the score file lies in.
        dataset: the dataset prefix.
        inventory: the folder of the inventory's configuration; None where the photos are listed.
    """

    id: str
    settings: BuildSettings
    photos: Store
    labels: Store
    dataset: Store
    inventory: Store | None = None

    def key(self, name: str) -> str:
        """Return the key, in the dataset, of a file that belongs to this build."""
        return f"builds/{self.id}/{name}"

    def partition_photos(self, partition: int) -> pa.Table:
        """Read the plan's rows for one partition, shard by shard, in record order."""
        return read_parquet(self.dataset, self.key(f"partitions/{partition}.parquet"))

    def partition_result(self, record: BuildRecord, partition: int) -> PartitionResult | None:
        """Read what became of a partition; None while it is not converted under this plan."""
        try:
            stored = self.dataset.get(self.key(f"converted/{partition}.json"))
        except ObjectMissingError:
            return None
        result = PartitionResult.model_validate_json(bytes(stored.data))
        return result if result.plan == record.plan else None


def build_id_from(text: str) -> str:
    """Return a build id made from a date or a run's name: only characters that are safe in a key.

    Raises:
        SettingsError: nothing is left of it.
    """
    build_id = re.sub(r"[^A-Za-z0-9_.-]+", "-", text).strip("-.")
    if not build_id:
        raise SettingsError(f"{text!r} cannot name a build; use letters, digits, '-', '_' or '.'")
    return build_id


def open_build(settings: BuildSettings, build_id: str, *, s3: S3Access | None = None) -> Build:
    """Open the stores of a build; nothing is read yet.

    Raises:
        SettingsError: a URL cannot be opened.
        StoreRefusedError, StoreUnavailableError: the dataset's store says no, or nothing.
    """
    folder, _, _ = settings.labels.rpartition("/")
    build = Build(
        build_id,
        settings,
        open_store(settings.photos, s3=s3),
        open_store(folder + "/", s3=s3),
        open_store(settings.dataset, s3=s3),
        open_store(folder_of(settings.inventory), s3=s3) if settings.inventory is not None else None,
    )
    build.dataset.check()
    return build


def resume_build(dataset: str, build_id: str, *, s3: S3Access | None = None) -> tuple[Build, BuildRecord]:
    """Open a build that is planned already, under the settings of its plan.

    Args:
        dataset: URL of the dataset prefix that the build lies in.
        build_id: of the build.
        s3: how to reach s3:// URLs.

    Raises:
        InputMissingError: this build was never planned.
        SettingsError, StoreRefusedError, StoreUnavailableError: as `open_build`.
    """
    store = open_store(dataset, s3=s3)
    store.check()
    key = f"builds/{build_id}/{PLAN_KEY}"
    try:
        stored = store.get(key)
    except ObjectMissingError as error:
        raise InputMissingError(
            f"build {build_id!r} has no plan: {store.url_of(key)} does not exist; run plan first"
        ) from error
    record = BuildRecord.model_validate_json(bytes(stored.data))
    return open_build(record.settings, build_id, s3=s3), record


def plan_build(build: Build, *, created_at: datetime, partitions: int) -> BuildRecord:
    """List, join, place every photo, find out which shards are there already, and deal out the rest.

    Args:
        build: to plan; an earlier plan of the same build is replaced.
        created_at: the plan's time, with a zone.
        partitions: most parallel tasks; > 0.

    Raises:
        PlanError, LabelError: see planning and labels.
        ScratchSpaceError: the disk is full.
        StoreRefusedError, StoreUnavailableError: a store says no, or nothing.
    """
    build.photos.check()
    build.labels.check()
    compares = compares_writes(build.dataset, single_writer=build.settings.single_writer)
    latest = read_latest(build.dataset)
    manifest = read_manifest(build.dataset, latest[0].version) if latest else None
    with scratch_for() as scratch:
        plan, source = _plan(build, manifest, scratch)
        work = _unfinished(build.dataset, plan.shards)
        _log_plan(plan, len(work), manifest, build.settings)
        with ThreadPoolExecutor(1) as pool:  # both take a core, for a minute where there are 10 million photos
            written = pool.submit(put_rows, build.dataset, build.key("plan.parquet"), plan.photos, scratch)
            parts = _write_partitions(build, plan, work, partitions, scratch)
            content = written.result()
        build.dataset.put(build.key("unmatched.parquet"), write_parquet(plan.unmatched))
        identity = hashlib.sha256((content + "".join(part.model_dump_json() for part in parts)).encode())
        record = BuildRecord(
            build=build.id,
            plan=identity.hexdigest(),
            created_at=created_at,
            settings=build.settings,
            parent=manifest.version if manifest else None,
            latest_etag=latest[1] if latest else None,
            labels_etag=source.labels_etag,
            label_rows=source.label_rows,
            unmatched=plan.unmatched.num_rows,
            label_range=plan.label_range,
            compares=compares,
            listed=plan.photos.num_rows,
            listed_bytes=pc.sum(plan.photos["size"]).as_py(),
            inventory=source.inventory,
            shards=len(plan.shards),
            planned=len(work),
            partitions=tuple(parts),
        )
    if source.inventory is not None:
        age = (created_at - source.inventory.created_at).total_seconds() / 3600
        _log.info("the photos are those of inventory %s, %.1f hours old", source.inventory.manifest, age)
    build.dataset.put(build.key(PLAN_KEY), record.model_dump_json(indent=1).encode())
    return record


def compares_writes(dataset: Store, *, single_writer: bool) -> bool:
    """Find out whether a store refuses a write that another writer has overtaken.

    Args:
        dataset: the store that LATEST lies in.
        single_writer: the setting: there is no other writer.

    Raises:
        StoreRefusedError: it does not, and there may be another writer.
    """
    found = dataset.probe(f"probe-{uuid.uuid4().hex}")
    _log.info(
        "%s: creates once %s, compares ETags %s, checks uploads %s",
        dataset.url, found.creates_once, found.compares, "not asked" if found.checks_uploads is None else found.checks_uploads,
    )  # fmt: skip
    if not found.are_safe and not single_writer:
        ignored = " and ".join(
            name for name, kept in (("If-None-Match", found.creates_once), ("If-Match", found.compares)) if not kept
        )
        raise StoreRefusedError(
            f"the store of {dataset.url} ignores {ignored} on writes, so two builds could each believe that they published; "
            "use a store that honours them, or set single_writer where nothing else moves this dataset's LATEST.json"
        )
    return found.are_safe


def read_parquet(store: Store, key: str, columns: Sequence[str] | None = None) -> pa.Table:
    """Read a Parquet object: all of it, or some columns."""
    # in one thread, which takes a third of the memory, and that goes back to the system
    table = pq.ParquetFile(pa.BufferReader(store.get(key).data)).read(columns=columns, use_threads=False)
    pa.default_memory_pool().release_unused()
    return table


def write_parquet(table: pa.Table) -> bytes:
    """Return a table as a Parquet file; equal tables give equal bytes."""
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue()


@dataclass(frozen=True, slots=True)
class _PlanSource:
    """Facts about what a plan was made from."""

    labels_etag: str
    label_rows: int
    inventory: SourceInventory | None


def _plan(build: Build, manifest: Manifest | None, scratch: Path) -> tuple[Plan, _PlanSource]:
    """Read everything and plan; what was read is let go, the plan lies in scratch."""
    inventory = None
    labels, labels_etag = _read_labels(build)
    if build.inventory is not None and (url := build.settings.inventory) is not None:
        listing: pa.Table | Path = scratch / "listing"
        inventory = read_inventory(build.inventory, url, photos=build.settings.photos, listing=scratch / "listing")
    else:
        listing = build.photos.list()
    parent = _parent_plan(build.dataset, manifest, scratch) if manifest else None
    (scratch / "plan").mkdir()
    plan = plan_photos(
        listing,
        labels,
        build.settings,
        converter_version=CONVERTER_VERSION,
        parent=parent,
        scratch=scratch / "plan",
    )
    return plan, _PlanSource(labels_etag, labels.table.num_rows, inventory)


def put_rows(store: Store, key: str, rows: pa.Table, scratch: Path) -> str:
    """Write a table as a Parquet object, some rows at a time; return the object's sha256.

    Args:
        store: to write to.
        key: of the object.
        rows: the table; equal tables give equal bytes.
        scratch: a folder for the file on its way.
    """
    path = scratch / f"rows-{key.replace('/', '-')}"
    pq.write_table(rows, path, compression="zstd", row_group_size=_ROWS_OF_GROUP)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    store.upload(key, path)
    path.unlink()
    return digest


def _read_labels(build: Build) -> tuple[Labels, str]:
    name = build.settings.labels.rpartition("/")[2]
    if build.settings.labels.startswith("file:"):
        name = unquote(name)
    try:
        stored = build.labels.get(name)
    except ObjectMissingError as error:
        raise LabelError(
            f"score file {build.settings.labels!r} does not exist; check the labels setting, or upload it"
        ) from error
    beside = [_get_or_none(build.labels, other) for other in ("tags.txt", "challenges.txt")]
    labels = read_labels(
        bytes(stored.data), source=build.settings.labels, settings=build.settings, tags=beside[0], challenges=beside[1]
    )
    return labels, stored.etag


def _get_or_none(store: Store, key: str) -> bytes | None:
    try:
        return bytes(store.get(key).data)
    except ObjectMissingError:
        return None


def _parent_plan(dataset: Store, manifest: Manifest, scratch: Path) -> ParentPlan:
    photos = scratch / "parent.parquet"
    dataset.download(version_key(manifest.version, "plan.parquet"), photos)
    groups = read_parquet(dataset, version_key(manifest.version, "near_duplicates.parquet"), ["key", "group"])
    return ParentPlan(photos, groups, seed=manifest.settings["seed"], shard_bytes=manifest.settings["shard_bytes"])


def _unfinished(dataset: Store, shards: Sequence[PlannedShard]) -> list[PlannedShard]:
    """Return the shards that are not both made and checked."""
    there = set(dataset.list("shards/")["key"].to_pylist())
    return [
        shard
        for shard in shards
        if not all(shard_key(shard.digest, suffix) in there for suffix in (".tfrecord", ".json", ".validated.json"))
    ]


def _write_partitions(
    build: Build, plan: Plan, work: list[PlannedShard], partitions: int, scratch: Path
) -> list[Partition]:
    by_digest = {shard.digest: shard for shard in work}
    dealt = balance(
        [(shard.digest, shard.source_bytes) for shard in work],
        partitions=partitions,
        partition_bytes=build.settings.partition_bytes,
    )
    parts = []
    for number, digests in enumerate(dealt):
        shards = [by_digest[digest] for digest in digests]
        rows = pa.concat_tables(plan.photos.slice(shard.first, shard.photos) for shard in shards)
        put_rows(build.dataset, build.key(f"partitions/{number}.parquet"), rows, scratch)
        parts.append(
            Partition(
                shards=tuple(digests), photos=rows.num_rows, source_bytes=sum(shard.source_bytes for shard in shards)
            )
        )
    return parts


def _log_plan(plan: Plan, work: int, manifest: Manifest | None, settings: BuildSettings) -> None:
    if manifest is not None and plan.label_range is not None:
        before = (manifest.labels.source_min, manifest.labels.source_max)
        if before != plan.label_range:
            _log.warning(
                "label_scale %r now maps scores %s..%s to 0..1, before it was %s..%s: every label changes, so every shard is rebuilt",
                settings.label_scale, *plan.label_range, *before,
            )  # fmt: skip
    _log.info(
        "planned %d photos in %d shards, %d of them to build or check", plan.photos.num_rows, len(plan.shards), work
    )
