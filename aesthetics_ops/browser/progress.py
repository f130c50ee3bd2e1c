"""How far the builds of a dataset are, from the marks that they leave in its store.

In: a dataset.  Out: per build and per partition, how many shards are made and checked.  A build that stopped looks like
one that is slow: whether a task is running is known to Airflow alone.
"""

import re
from dataclasses import dataclass
from typing import Final, TypeVar

from pydantic import AwareDatetime

from aesthetics_ops.browser.catalog import Dataset, Page
from aesthetics_ops.builds import Partition, PartitionResult, ValidationResult
from aesthetics_ops.dataset.documents import Document
from aesthetics_ops.dataset.layout import (
    BUILDS,
    SHARDS,
    BuildFile,
    ShardFile,
    build_key,
    build_prefix,
    is_name,
    partition_result_key,
    shard_key,
    validation_result_key,
    version_stamp,
)
from aesthetics_ops.errors import IntegrityError, NoSuchPageError
from aesthetics_ops.figures import ConversionFigures, ValidationFigures
from aesthetics_ops.store import StoreThreads

__all__ = ["BuildProgress", "PartitionProgress", "PlanHeadline", "ShardProgress", "list_builds", "read_build"]

_READS: Final = 16
_Result = TypeVar("_Result", PartitionResult, ValidationResult)


class PlanHeadline(Document):
    """The part of a build's `plan.json` that is shown; the rest, such as its settings, may be of an older kind."""

    kind = "plan of a build"

    plan: str
    tag: str = "000000"
    created_at: AwareDatetime
    parent: str | None
    listed: int
    listed_bytes: int
    shards: int
    planned: int
    partitions: tuple[Partition, ...]


@dataclass(frozen=True, slots=True)
class ShardProgress:
    """One shard that a partition makes; `digest` is empty where it lost all its photos."""

    digest: str
    is_made: bool
    is_checked: bool


@dataclass(frozen=True, slots=True)
class PartitionProgress:
    """The work of one parallel task.

    Attributes:
        photos, source_bytes: to be read for it.
        shards: to be made by it, in order.
        conversion, validation: their figures; None where there are none, or are not asked for.
    """

    photos: int
    source_bytes: int
    shards: tuple[ShardProgress, ...]
    conversion: ConversionFigures | None = None
    validation: ValidationFigures | None = None

    @property
    def made(self) -> int:
        """Shards that are in the store."""
        return sum(shard.is_made for shard in self.shards)

    @property
    def checked(self) -> int:
        """Shards that were read back."""
        return sum(shard.is_checked for shard in self.shards)


@dataclass(frozen=True, slots=True)
class BuildProgress:
    """One build.

    Attributes:
        id: of the build.
        plan: what it found and decided; None while it is being planned.
        partitions: its parallel tasks.
        version: that it was published as; None where there is none.
        problem: why its plan cannot be read; empty where it can, or is not there yet.
    """

    id: str
    plan: PlanHeadline | None
    partitions: tuple[PartitionProgress, ...]
    version: str | None
    problem: str = ""

    @property
    def made(self) -> int:
        """Shards of the plan that are in the store."""
        return sum(partition.made for partition in self.partitions)

    @property
    def checked(self) -> int:
        """Shards of the plan that were read back."""
        return sum(partition.checked for partition in self.partitions)

    @property
    def figures(self) -> tuple[tuple[int, PartitionProgress], ...]:
        """The partitions whose conversion told how fast it was, with their numbers."""
        return tuple((number, part) for number, part in enumerate(self.partitions) if part.conversion)

    @property
    def state(self) -> str:
        """The stage it is in, in a word or two."""
        if self.plan is None:
            return "damaged" if self.problem else "planning"
        if self.version is not None:
            return "published"
        if self.made < self.plan.planned:
            return "converting"
        if self.checked < self.plan.planned:
            return "validating"
        return "all shards ready"


def list_builds(dataset: Dataset, page: int, size: int) -> Page[BuildProgress]:
    """Return one page of the builds whose state is in the store, newest first.

    Raises:
        NoSuchPageError: there is no such page.
    """
    # an id is a date, or a run's name with a date in it
    names = dataset.store.folders(BUILDS)
    ids = sorted(filter(is_name, names), key=lambda name: (re.sub(r"^[^0-9]*", "", name), name), reverse=True)
    found = Page.of(ids, page, size)
    with StoreThreads(_READS) as pool:
        plans = list(pool.map(lambda build: _read_plan_or_problem(dataset, build), found.items))
    versions = dataset.versions()
    marks = _marks(dataset) if any(plan is not None and plan.planned for plan, _ in plans) else set()
    builds = []
    for build, (plan, problem) in zip(found.items, plans, strict=True):
        partitions = tuple(_progress(part, {}, marks) for part in plan.partitions) if plan else ()
        builds.append(BuildProgress(build, plan, partitions, _version_of(plan, versions), problem))
    return found.holding(builds)


def read_build(dataset: Dataset, build: str) -> BuildProgress:
    """Return one build, with the names that its shards got in the end.

    Raises:
        NoSuchPageError: there is no such build.
    """
    if not is_name(build) or not dataset.store.list(build_prefix(build)).num_rows:
        raise NoSuchPageError(f"dataset {dataset.name!r} has no state of a build {build!r}; expiry deletes it in time")
    plan = _read_plan(dataset, build)
    if plan is None:
        return BuildProgress(build, None, (), None)
    marks = _marks(dataset)
    with StoreThreads(_READS) as pool:
        found = pool.map(lambda number: _told(dataset, build, plan, number), range(len(plan.partitions)))
        parts = tuple(
            _progress(part, told.shards, marks, told.conversion, told.validation)
            for part, told in zip(plan.partitions, found, strict=True)
        )
    return BuildProgress(build, plan, parts, _version_of(plan, dataset.versions()))


def _read_plan(dataset: Dataset, build: str) -> PlanHeadline | None:
    return PlanHeadline.read(dataset.store, build_key(build, BuildFile.PLAN))


def _read_plan_or_problem(dataset: Dataset, build: str) -> tuple[PlanHeadline | None, str]:
    try:
        return _read_plan(dataset, build), ""
    except IntegrityError as error:
        return None, str(error)


def _version_of(plan: PlanHeadline | None, versions: list[str]) -> str | None:
    """Return the version that a build made: its name begins with the time of the plan and ends with its tag."""
    if plan is None:
        return None
    stamp = version_stamp(plan.created_at)
    return next((name for name in versions if name.startswith(stamp) and name.endswith(f"-{plan.tag}")), None)


def _marks(dataset: Dataset) -> set[str]:
    """Return the keys of all shards' files and marks."""
    return set(dataset.store.list(SHARDS)["key"].to_pylist())


@dataclass(frozen=True, slots=True)
class _Told:
    """What a finished partition's tasks say of it.

    Attributes:
        shards: the names that they got, by the planned ones: another than planned where a photo was lost.
        conversion, validation: as in `PartitionProgress`.
    """

    shards: dict[str, str]
    conversion: ConversionFigures | None
    validation: ValidationFigures | None


def _told(dataset: Dataset, build: str, plan: PlanHeadline, number: int) -> _Told:
    converted = _of_plan(PartitionResult, dataset, partition_result_key(build, number), plan)
    validated = _of_plan(ValidationResult, dataset, validation_result_key(build, number), plan) if converted else None
    return _Told(
        converted.shards if converted else {},
        converted.figures if converted else None,
        validated.figures if validated else None,
    )


def _of_plan(kind: type[_Result], dataset: Dataset, key: str, plan: PlanHeadline) -> _Result | None:
    """Read a partition's result; None where there is none, it is damaged, or it is of an earlier plan."""
    try:
        result = kind.read(dataset.store, key)
    except IntegrityError:
        return None
    return result if result is not None and result.plan == plan.plan else None


def _progress(
    partition: Partition,
    renamed: dict[str, str],
    marks: set[str],
    conversion: ConversionFigures | None = None,
    validation: ValidationFigures | None = None,
) -> PartitionProgress:
    shards = []
    for planned in partition.shards:
        digest = renamed.get(planned, planned)
        is_made, is_checked = (
            not digest or shard_key(digest, mark) in marks for mark in (ShardFile.RESULT, ShardFile.VERDICT)
        )
        shards.append(ShardProgress(digest, is_made, is_made and is_checked))
    return PartitionProgress(partition.photos, partition.source_bytes, tuple(shards), conversion, validation)
