"""One attempt to make a version: where its state lies, and what the stages leave there for each other.

Every stage finds what it needs in the dataset's store under `builds/<build>/`, so that each can run alone, in another
process, on another machine, or again:

    started.json              when planning began, `BuildStart`; written first
    plan.parquet              every listed photo's place (tables.PLAN)
    unmatched.parquet         label rows that name no photo
    kept.parquet              columns of the score file that records.parquet keeps, where some are, by key
    partitions/<n>.parquet    the rows of the shards that partition n still has to make or to check; `before` says in which of
                              the parent's shards a photo is that has not changed since
    plan.json                 the rest, `BuildPlan`; written last, so it is the plan's done-marker
    converted/<n>.json        partition n's done-marker, `PartitionResult`
    validated/<n>.json        how fast its shards were read back, `ValidationResult`; no stage reads it
"""

import hashlib
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from pydantic import AwareDatetime, Field

from aesthetics_ops.dataset.documents import Document
from aesthetics_ops.dataset.example import features_with
from aesthetics_ops.dataset.layout import BuildFile, build_key, partition_result_key, partition_rows_key
from aesthetics_ops.dataset.recipe import Converter
from aesthetics_ops.dataset.source_inventory import SourceInventory
from aesthetics_ops.dataset.tables import BEFORE, parse_parquet
from aesthetics_ops.errors import InputMissingError, IntegrityError
from aesthetics_ops.figures import ConversionFigures, ValidationFigures
from aesthetics_ops.rejects import RejectReason
from aesthetics_ops.settings import BuildSettings
from aesthetics_ops.sources.places import folder_of, open_score_folders
from aesthetics_ops.store import S3Access, Store, StoreLimits, open_store

__all__ = [
    "Build",
    "BuildPlan",
    "BuildStart",
    "LostPhoto",
    "Partition",
    "PartitionResult",
    "ValidationResult",
    "open_build",
    "plan_identity",
    "resume_build",
]

_log = logging.getLogger(__name__)


class BuildStart(Document):
    """A build is being planned, or was; a plan of the same build that begins later writes it anew.

    Attributes:
        build: the build's id.
        started_at: the plan's time, its `BuildPlan.created_at`.
    """

    kind = "start of a build"
    is_sealed = True

    build: str
    started_at: AwareDatetime


class Partition(Document):
    """The shards that one parallel task makes and checks.

    Attributes:
        shards: digests of their recipes.
        photos, source_bytes: of all of them.
        rows_sha256: of `partitions/<n>.parquet`, in hex; empty in plans of earlier releases.
    """

    shards: tuple[str, ...]
    photos: int
    source_bytes: int
    rows_sha256: str = ""


class LostPhoto(Document):
    """A photo that was listed, and was gone or changed when it was read.

    Attributes:
        key: of the photo, relative to the photos prefix.
        digest: of the recipe that it was planned in.
        reason: one that `is_loss`.
        detail: as in `Rejected`.
    """

    key: str
    digest: str
    reason: RejectReason
    detail: str


class PartitionResult(Document):
    """What became of a partition's shards.

    Attributes:
        plan: `BuildPlan.plan` that it belongs to.
        shards: planned digest to the digest that was built; they differ where a photo was lost, and an empty text
            stands for a shard that lost all its photos.
        lost: those photos.
        figures: of the last call that made a shard; None where none did, and in results of earlier releases.
    """

    kind = "result of a partition"
    is_sealed = True

    plan: str
    shards: dict[str, str]
    lost: tuple[LostPhoto, ...]
    figures: ConversionFigures | None = None


class ValidationResult(Document):
    """How a partition was read back: for people.  Each shard's verdict lies beside it.

    Attributes:
        plan: `BuildPlan.plan` that it belongs to.
        figures: of the last call that read a shard.
    """

    kind = "result of a validation"
    is_sealed = True

    plan: str
    figures: ValidationFigures


def plan_identity(rows_sha256: str, partitions: Iterable[Partition]) -> str:
    """Return the digest of a plan's content: of the sha256 of `plan.parquet`, and of its partitions."""
    parts = "".join(part.model_dump_json(exclude_defaults=True) for part in partitions)
    return hashlib.sha256((rows_sha256 + parts).encode()).hexdigest()


class BuildPlan(Document):
    """What the plan found and decided, but for the photos themselves.

    Attributes:
        build: the build's id.
        plan: digest of the plan's content; results that name another are stale.
        tag: of this plan alone, hex digits; part of the name of its version.
        created_at: when it was planned.
        settings: of the whole build; later stages take theirs from here.
        parent: version that LATEST named; None where nothing was published, or the build starts anew.
        latest_etag: of LATEST; None where there was none.
        unreadable: published versions that a build which starts anew takes the place of.
        labels_etag, label_rows, unmatched: of the score file; unmatched counts rows without a photo.
        ratings: what votes are for; empty without votes.
        has_votes: the records get whole counts of votes.
        kept_sha256: of `kept.parquet`, in hex; empty where no column is kept.
        label_columns: of the score file, that hold the `id`, `score` or `votes`, and `split`; empty where it names none.
        matched_by: label rows that name a photo, by the rule of docs/labels.md that found it.
        split_edges: where the bins of stratified splits begin; None where they are not stratified.
        label_range: score mapped to 0 and to 1.
        compares: the dataset's store refuses a write to LATEST that another writer has overtaken.
        listed, listed_bytes: objects under the photos prefix.
        inventory: the S3 Inventory that they were taken from; None where the prefix was listed.
        shards: in all; `planned` of them have no finished result yet.
        partitions: only as many as the work is worth.
        converter_version, codecs: of the converter that the recipes are for.
        codec_releases: of the libraries on the machine that planned, by name.
    """

    kind = "plan of a build"
    is_sealed = True

    build: str
    plan: str
    tag: str = "000000"
    created_at: AwareDatetime
    settings: BuildSettings
    parent: str | None
    latest_etag: str | None
    unreadable: tuple[str, ...] = ()
    labels_etag: str
    label_rows: int
    unmatched: int
    label_range: tuple[float, float] | None
    compares: bool
    listed: int
    listed_bytes: int
    label_columns: dict[str, str] = Field(default_factory=dict)
    matched_by: dict[str, int] = Field(default_factory=dict)
    split_edges: tuple[float, ...] | None = None
    ratings: tuple[float, ...] = ()
    has_votes: bool = False
    kept_sha256: str = ""
    inventory: SourceInventory | None = None
    shards: int
    planned: int
    partitions: tuple[Partition, ...]
    converter_version: int = 0
    codecs: str = ""
    codec_releases: dict[str, str] = Field(default_factory=dict)

    @property
    def names_splits(self) -> bool:
        """Whether the score file says in which split each photo is, so that nothing else may move one."""
        return "split" in self.label_columns

    @property
    def features(self) -> dict[str, dict[str, Any]]:
        """What a record holds, as the manifest has it."""
        return features_with(self.ratings, has_votes=self.has_votes, extra_scores=self.settings.extra_scores)

    def is_of(self, rows_sha256: str) -> bool:
        """Say whether a `plan.parquet` with this sha256 is the one that was planned."""
        return self.plan == plan_identity(rows_sha256, self.partitions)

    @property
    def converter(self) -> Converter:
        """What the recipes say makes the records."""
        return Converter(self.converter_version, self.codecs)

    @property
    def summary(self) -> dict[str, int | str | None]:
        """A few numbers for people, small enough to pass between tasks."""
        return {
            "dataset": self.settings.dataset,
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
        labels: for each URL of the score files, the prefix that it lies in.
        dataset: the dataset prefix.
        inventory: the folder of the inventory's configuration; None where the photos are listed.
    """

    id: str
    settings: BuildSettings
    photos: Store
    labels: tuple[Store, ...]
    dataset: Store
    inventory: Store | None = None

    def partition_photos(self, plan: BuildPlan, partition: int) -> pa.Table:
        """Read the plan's rows for one partition, shard by shard, in record order.

        Rows that are not those that were written come without `before`: a recipe's digest says whether the rest is as planned.
        """
        key = partition_rows_key(self.id, partition)
        data = self.dataset.get(key).data
        rows = parse_parquet(data, name=self.dataset.url_of(key))
        if BEFORE in rows.column_names and hashlib.sha256(data).hexdigest() != plan.partitions[partition].rows_sha256:
            return rows.drop_columns([BEFORE])
        return rows

    def partition_result(self, plan: BuildPlan, partition: int) -> PartitionResult | None:
        """Read what became of a partition; None while it is not converted under this plan, or what says so is damaged."""
        try:
            result = PartitionResult.read(self.dataset, partition_result_key(self.id, partition))
        except IntegrityError as error:
            _log.warning("%s; the partition counts as not converted", error)
            return None
        return result if result is not None and result.plan == plan.plan else None


def open_build(settings: BuildSettings, build_id: str, *, s3: S3Access | None = None) -> Build:
    """Open the stores of a build; nothing is read yet.

    Raises:
        SettingsError: a URL cannot be opened.
        StoreRefusedError, StoreUnavailableError: the dataset's store says no, or nothing.
    """
    limits = StoreLimits.of(settings.store_timeout_s, settings.store_retry_s)
    sources = s3.for_sources if s3 else None
    build = Build(
        build_id,
        settings,
        open_store(settings.photos, s3=sources, limits=limits),
        open_score_folders(settings, s3=sources),
        open_store(settings.dataset, s3=s3, limits=limits),
        open_store(folder_of(settings.inventory), s3=sources, limits=limits)
        if settings.inventory is not None
        else None,
    )
    build.dataset.check()
    return build


def resume_build(dataset: str, build_id: str, *, s3: S3Access | None = None) -> tuple[Build, BuildPlan]:
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
    key = build_key(build_id, BuildFile.PLAN)
    try:
        plan = BuildPlan.read(store, key)
    except IntegrityError as error:
        raise IntegrityError(f"{error}; plan the build again, finished shards are kept", stage="plan") from error
    if plan is None:
        raise InputMissingError(
            f"build {build_id!r} has no plan: {store.url_of(key)} does not exist; plan it first", stage="plan"
        )
    return open_build(plan.settings, build_id, s3=s3), plan
