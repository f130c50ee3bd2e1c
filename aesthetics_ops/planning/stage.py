"""The plan stage: read the listing, the labels and the parent's plan; write the build's plan and its partitions."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import cache, partial
from itertools import count
from pathlib import Path, PurePosixPath
from shutil import rmtree
from typing import Final
from uuid import uuid4

import pyarrow as pa
import pyarrow.compute as pc

from aesthetics_ops.builds import Build, BuildPlan, BuildStart, Partition, plan_identity
from aesthetics_ops.dataset.latest import compares_writes
from aesthetics_ops.dataset.layout import (
    SHARDS,
    BuildFile,
    ShardFile,
    VersionFile,
    build_key,
    partition_rows_key,
    shard_key,
    version_key,
)
from aesthetics_ops.dataset.lease import wait_for_expiry
from aesthetics_ops.dataset.manifest import Manifest, matches_in_words
from aesthetics_ops.dataset.parent import building_on, find_parent, is_stratified_alike
from aesthetics_ops.dataset.recipe import Converter
from aesthetics_ops.dataset.results import read_shard_result, read_verdict
from aesthetics_ops.dataset.sidecars import download_sidecar, put_proven, read_table
from aesthetics_ops.dataset.source_inventory import SourceInventory
from aesthetics_ops.dataset.tables import BEFORE, iterate_rows, put_file, put_rows, write_parquet
from aesthetics_ops.errors import AestheticsOpsError
from aesthetics_ops.machine import scratch_for
from aesthetics_ops.pixels.codecs import codec_releases, converter
from aesthetics_ops.planning.database import lay_down
from aesthetics_ops.planning.model import ParentPlan, Plan, PlannedShard
from aesthetics_ops.planning.partitions import balance
from aesthetics_ops.planning.plan import NO_PHOTOS, plan_photos
from aesthetics_ops.planning.scores import Scores
from aesthetics_ops.rejects import RejectReason
from aesthetics_ops.settings import BuildSettings
from aesthetics_ops.sources.inventory import read_inventory
from aesthetics_ops.sources.labels import check_label_settings
from aesthetics_ops.sources.listing import list_photos
from aesthetics_ops.sources.scores import read_score_files
from aesthetics_ops.store import Store, StoreThreads

__all__ = ["plan_build"]

_log = logging.getLogger(__name__)

_READS: Final = 16
_PARENT: Final = "parent.parquet"  # in the scratch folder: the parent's plan
_LOSSES: Final = [reason.value for reason in RejectReason if reason.is_loss]

_Before = Mapping[tuple[str, int], str]


def plan_build(build: Build, *, created_at: datetime, partitions: int) -> BuildPlan:
    """List, join, place every photo, find out which shards are there already, and deal out the rest.

    Args:
        build: to plan; an earlier plan of the same build is replaced.
        created_at: the plan's time, with a zone.
        partitions: most parallel tasks; > 0.

    Raises:
        SettingsError: settings contradict the declared format of the score file, or need a library that is not here.
        PlanError, LabelError: see planning and labels.
        IntegrityError, NoSuchVersionError: no build can start from the version that LATEST names, or LATEST is gone.
        DatasetBusyError: an expiry is at work.
        ScratchSpaceError: the disk is full.
        StoreRefusedError, StoreUnavailableError: a store says no, or nothing.
    """
    check_label_settings(build.settings)
    build.photos.check()
    compares = compares_writes(build.dataset, single_writer=build.settings.single_writer)
    with _started(build, created_at):
        wait_for_expiry(build.dataset)
        parent = find_parent(build.dataset, start_anew=build.settings.start_anew)
        manifest = parent.manifest
        planned_for = converter(build.settings.pixels)
        with scratch_for() as scratch:
            plan, source = _plan(build, manifest, planned_for, scratch)
            work = _unfinished(build.dataset, plan.shards, manifest)
            before = _shards_before(build, plan, manifest, planned_for, scratch)
            identity, parts = _write_plan(build, plan, work, before, partitions, scratch)
            kept = (
                ""
                if plan.kept is None
                else put_rows(build.dataset, build_key(build.id, BuildFile.KEPT), plan.kept, scratch)
            )
            record = BuildPlan(
                build=build.id, plan=identity, tag=uuid4().hex[:6], created_at=created_at, settings=build.settings,
                parent=manifest.version if manifest else None, latest_etag=parent.latest_etag, unreadable=parent.unreadable, compares=compares,
                labels_etag=source.labels_etag, label_rows=source.label_rows, unmatched=plan.unmatched.num_rows,
                label_columns=dict(plan.label_columns), matched_by=dict(plan.matched_by), split_edges=plan.edges, ratings=plan.ratings, has_votes=plan.has_votes, kept_sha256=kept, label_range=plan.label_range, inventory=source.inventory,
                listed=plan.photos.num_rows, listed_bytes=pc.sum(plan.photos["size"]).as_py(),
                shards=len(plan.shards), planned=len(work), partitions=tuple(parts),
                converter_version=planned_for.version, codecs=planned_for.codecs, codec_releases=codec_releases(build.settings.pixels),
            )  # fmt: skip
            _warn_of_scores(record, plan, manifest)
        build.dataset.put(build_key(build.id, BuildFile.PLAN), record.encoded())
        _log_plan(record, plan.shards, source.label_format, manifest)
        return record


@contextmanager
def _started(build: Build, created_at: datetime) -> Iterator[None]:
    """Say that a build is being planned, before it is looked which shards are there: from here on expiry deletes none.

    A plan that ends with an error takes that back, so that it holds up no expiry.
    """
    key = build_key(build.id, BuildFile.STARTED)
    build.dataset.put(key, BuildStart(build=build.id, started_at=created_at).encoded())
    try:
        yield
    except BaseException:
        with suppress(AestheticsOpsError):
            build.dataset.delete([key])
        raise


@dataclass(frozen=True, slots=True)
class _PlanSource:
    """What a plan was made from."""

    labels_etag: str
    label_format: str
    label_rows: int
    inventory: SourceInventory | None


def _plan(build: Build, manifest: Manifest | None, planned_for: Converter, scratch: Path) -> tuple[Plan, _PlanSource]:
    """Read everything and plan; what was read is let go, the plan lies in scratch."""
    inventory = None
    scores, labels_etag = _read_scores(build, scratch)
    if build.inventory is not None and (url := build.settings.inventory) is not None:
        listing: pa.Table | Path = scratch / "listing"
        inventory = read_inventory(build.inventory, url, photos=build.settings.photos, listing=scratch / "listing")
    else:
        listing = lay_down(list_photos(build.photos, scratch), scratch / "listing.parquet")
    parent = _parent_plan(build.dataset, manifest, build.settings, scratch) if manifest else None
    pa.default_memory_pool().release_unused()  # by itself Arrow gives back what it freed some time later, and DuckDB takes its own now
    known = _RejectedPhotos(build, manifest) if build.settings.label_scale == "minmax" else None
    for attempt in count():
        folder = scratch / f"plan-{attempt}"
        folder.mkdir()
        plan = plan_photos(
            listing,
            scores,
            build.settings,
            converter=planned_for,
            parent=parent,
            unscaled=NO_PHOTOS if known is None else known.photos,
            scratch=folder,
        )
        if known is None or not known.learn_from(plan):
            break
        rmtree(folder)
    kind = ", ".join(filter(None, (scores.labels.format, scores.labels.layout)))
    return plan, _PlanSource(labels_etag, kind, scores.rows, inventory)


class _RejectedPhotos:
    """What conversion is known to reject, so that the range of scores goes without it.

    The parent's rejects are a guess, since another converter may read them.  The results of the planned shards,
    where there are any, are the truth; only photos at the ends of the range, or beyond them, are looked up.
    """

    def __init__(self, build: Build, parent: Manifest | None) -> None:
        self._results = cache(partial(read_shard_result, build.dataset))
        self._records: set[tuple[str, str]] = set()
        self._rejected: set[tuple[str, str]] = set()
        if parent is not None and _same_recipe(build.settings, parent):
            rows = read_table(build.dataset, parent, VersionFile.REJECTS, ["key", "etag", "shard", "reason"])
            rows = rows.filter(
                pc.and_(pc.is_valid(rows["shard"]), pc.invert(pc.is_in(rows["reason"], pa.array(_LOSSES))))
            )
            self._rejected = set(zip(rows["key"].to_pylist(), rows["etag"].to_pylist(), strict=True))

    @property
    def photos(self) -> pa.Table:
        """Key and ETag of each."""
        known = sorted(self._rejected - self._records)
        return pa.table(
            {name: pa.array([photo[n] for photo in known], pa.string()) for n, name in enumerate(("key", "etag"))}
        )

    def learn_from(self, plan: Plan) -> bool:
        """Look up the photos that make a plan's range; say whether the range has to be found anew."""
        before = self._rejected - self._records
        placed = plan.photos.slice(0, sum(shard.photos for shard in plan.shards)).select(
            ["key", "etag", "label", "digest"]
        )
        outside = placed.filter(pc.or_(pc.less(placed["label"], 0), pc.greater(placed["label"], 1)))
        for row in outside.to_pylist():
            result = self._results(row["digest"])
            if result is not None and row["key"] in result.index.key:
                self._records.add((row["key"], row["etag"]))
        for end in (0, 1):
            self._rejected |= self._all_rejected(placed.filter(pc.equal(placed["label"], end)))
        return self._rejected - self._records != before

    def _all_rejected(self, rows: pa.Table) -> set[tuple[str, str]]:
        """Return the photos if all of them are rejects; nothing where one is a record, or may become one."""
        photos = set()
        for batch in rows.to_batches(max_chunksize=1000):
            for row in batch.to_pylist():
                result = self._results(row["digest"])
                if result is None or row["key"] not in {photo.key for photo in result.rejected}:
                    return set()
                photos.add((row["key"], row["etag"]))
        return photos


def _same_recipe(settings: BuildSettings, parent: Manifest) -> bool:
    """Say whether what a parent's conversion rejected is rejected now, as far as the settings tell."""
    is_same_limit = parent.settings.get("min_side_px") == settings.min_side_px
    return is_same_limit and settings.recipe.items() <= parent.settings.items()


def _read_scores(build: Build, scratch: Path) -> tuple[Scores, str]:
    """Read the score files; if they are many, their rows are left in scratch."""
    scores, etag = Scores.read(lambda spill: read_score_files(build.labels, build.settings, spill=spill), scratch)
    for note in scores.labels.notes:
        _log.warning("%s", note)
    return scores, etag


def _parent_plan(dataset: Store, manifest: Manifest, settings: BuildSettings, scratch: Path) -> ParentPlan:
    photos = scratch / _PARENT
    key = version_key(manifest.version, VersionFile.PLAN)
    with building_on(manifest.version):
        download_sidecar(dataset, manifest, VersionFile.PLAN, photos)
        for _ in iterate_rows(photos, ["slot"], name=dataset.url_of(key)):
            pass
        groups = read_table(dataset, manifest, VersionFile.NEAR_DUPLICATES, ["key", "group"])
    is_kept = manifest.stratification is not None and is_stratified_alike(manifest, settings)
    return ParentPlan(
        photos,
        groups,
        seed=manifest.settings["seed"],
        shard_bytes=manifest.settings["shard_bytes"],
        edges=manifest.stratification.edges if manifest.stratification is not None and is_kept else None,
    )


def _unfinished(dataset: Store, shards: Sequence[PlannedShard], parent: Manifest | None) -> list[PlannedShard]:
    """Return the shards that are not both made and checked, or whose file has another size than the parent states."""
    listing = dataset.list(SHARDS)
    sizes = dict(zip(listing["key"].to_pylist(), listing["size"].to_pylist(), strict=True))
    stated = {shard.path: shard.bytes for split in parent.splits.values() for shard in split.shards} if parent else {}

    def is_finished(digest: str) -> bool:
        path = shard_key(digest, ShardFile.RECORDS)
        if not all(shard_key(digest, file) in sizes for file in ShardFile):
            return False
        if path in stated:
            return bool(stated[path] == sizes[path])
        # publishing will read both, and could not go on with damaged ones
        return read_shard_result(dataset, digest) is not None and read_verdict(dataset, digest) is not None

    with StoreThreads(_READS, thread_name_prefix="result") as pool:
        finished = list(pool.map(is_finished, (shard.digest for shard in shards)))
    return [shard for shard, is_done in zip(shards, finished, strict=True) if not is_done]


def _write_plan(
    build: Build, plan: Plan, work: list[PlannedShard], before: _Before, partitions: int, scratch: Path
) -> tuple[str, list[Partition]]:
    """Write the rows of the plan and of its partitions; return the plan's identity and the partitions."""
    with StoreThreads(1) as pool:  # both take a core, for a minute where there are 10 million photos
        written = pool.submit(_put_photos, build, plan, scratch)
        parts = _write_partitions(build, plan, work, before, partitions, scratch)
        content = written.result()
    put_proven(build.dataset, build_key(build.id, BuildFile.UNMATCHED), write_parquet(plan.unmatched))
    return plan_identity(content, parts), parts


def _put_photos(build: Build, plan: Plan, scratch: Path) -> str:
    """Write the rows of the plan; return their sha256."""
    key = build_key(build.id, BuildFile.ROWS)
    if plan.file is None:
        return put_rows(build.dataset, key, plan.photos, scratch)
    plan.file.write_parquet(scratch / "photos.parquet")
    return put_file(build.dataset, key, scratch / "photos.parquet")


def _write_partitions(
    build: Build, plan: Plan, work: list[PlannedShard], before: _Before, partitions: int, scratch: Path
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
        photos = plan.photos if plan.file is None else plan.file.table  # mapped anew: what it took goes with it
        rows = pa.concat_tables(_rows_of(photos, shard, before.get((shard.split, shard.slot))) for shard in shards)
        sha256 = put_rows(build.dataset, partition_rows_key(build.id, number), rows, scratch)
        size = sum(shard.source_bytes for shard in shards)
        parts.append(Partition(shards=tuple(digests), photos=rows.num_rows, source_bytes=size, rows_sha256=sha256))
    return parts


def _rows_of(photos: pa.Table, shard: PlannedShard, before: str | None) -> pa.Table:
    """Return the rows of a shard, and in which of the parent's shards each photo is that has not changed since."""
    # a shard that is to be made again under its own name has lost something
    held = pa.scalar(None if before == shard.digest else before, pa.string())
    column = pc.if_else(shard.is_same, held, pa.scalar(None, pa.string()))
    return photos.slice(shard.first, shard.photos).append_column(BEFORE, column)


def _shards_before(
    build: Build, plan: Plan, manifest: Manifest | None, planned_for: Converter, scratch: Path
) -> _Before:
    """Return the digest of the parent's shard of each slot, if its records are what this build would make of the same photos."""
    if manifest is None or manifest.converter is None or not _has_same_pixels(build.settings, manifest):
        return {}
    if (manifest.converter.version, manifest.converter.codecs) != (planned_for.version, planned_for.codecs):
        return {}
    built = _shards_with_losses(build.dataset, manifest, scratch / _PARENT)
    return {slot: digest for slot, planned in plan.before.items() if (digest := built.get(planned, planned))}


def _has_same_pixels(settings: BuildSettings, parent: Manifest) -> bool:
    """Say whether a parent's settings make the same JPEG of a photo; a release that did not know a setting had its default."""
    fields = BuildSettings.model_fields
    return all(
        parent.settings.get(name, fields[name].default) == value for name, value in asdict(settings.pixels).items()
    )


def _shards_with_losses(dataset: Store, manifest: Manifest, photos: Path) -> dict[str, str]:
    """Return planned digest to built digest of the parent's shards that lost photos; an empty text where nothing was left.

    Args:
        dataset: that the parent lies in.
        manifest: of the parent.
        photos: the parent's plan, a file of this machine.
    """
    if not any(manifest.rejects.get(reason) for reason in _LOSSES):
        return {}
    with building_on(manifest.version):
        rejects = read_table(dataset, manifest, VersionFile.REJECTS, ["key", "shard", "reason"])
    lost = rejects.filter(pc.is_in(rejects["reason"], pa.array(_LOSSES)))
    shards = dict(zip(lost["key"].to_pylist(), lost["shard"].to_pylist(), strict=True))
    keys = lost["key"].combine_chunks()
    built = {}
    for batch in iterate_rows(photos, ["key", "digest"], name=f"plan of version {manifest.version!r}"):
        for row in batch.filter(pc.is_in(batch["key"], keys)).to_pylist():
            built[row["digest"]] = PurePosixPath(shards[row["key"]] or "").stem
    return built


def _log_plan(record: BuildPlan, shards: Sequence[PlannedShard], label_format: str, manifest: Manifest | None) -> None:
    """Say in one line what was found and planned, and what changes every shard."""
    columns = "".join(f", {use} in {column!r}" for use, column in record.label_columns.items())
    _log.info(
        "planned %d of %d photos in %d shards, %d of them to build or check; of %d label rows (%s%s) %d name no photo; matched: %s",
        sum(shard.photos for shard in shards), record.listed, record.shards, record.planned,
        record.label_rows, label_format, columns, record.unmatched, matches_in_words(record.matched_by),
    )  # fmt: skip
    if record.inventory is not None:
        age = (record.created_at - record.inventory.created_at).total_seconds() / 3600
        _log.info("the photos are those of inventory %s, %.1f hours old", record.inventory.manifest, age)
    if manifest is not None and record.label_range is not None:
        before = (manifest.labels.source_min, manifest.labels.source_max)
        if before != record.label_range:
            _log.warning(
                "label_scale %r now maps scores %s..%s to 0..1, before it was %s..%s: every label changes, so every shard is rebuilt",
                record.settings.label_scale, *record.label_range, *before,
            )  # fmt: skip


def _warn_of_scores(record: BuildPlan, plan: Plan, manifest: Manifest | None) -> None:
    """Say what about the scores looks wrong, though it can be right."""
    if plan.contrary_copies:
        _log.warning(
            "%d photos are copies of others, byte for byte, and have other scores; they are left out as %s, and rejects.parquet "
            "has both scores", plan.contrary_copies, RejectReason.DUPLICATE_PHOTO,
        )  # fmt: skip
    before = manifest.accounting if manifest is not None else None
    was_so = before is not None and 2 * before.unmatched >= before.label_rows
    if 2 * record.unmatched >= record.label_rows and not was_so:
        photos = plan.photos.filter(pc.equal(plan.photos["reason"], RejectReason.UNLABELLED))["key"][:3].to_pylist()
        _log.warning(
            "%d of %d label rows name no photo, such as %s; %s; a name must be the photo's key, or the key's last part "
            "without its suffix, or like one of them; max_unmatched_fraction refuses what is too much",
            record.unmatched, record.label_rows, plan.unmatched["name"][:3].to_pylist(),
            f"photos without a label row are such as {photos}" if photos else "every photo has a label row",
        )  # fmt: skip
