"""How far the builds of a dataset are, from the marks that they leave in its store.

In: a dataset.  Out: per build and per partition, how many shards are made and checked.  A build that stopped looks like
one that is slow: whether a task is running is known to Airflow alone.
"""

import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from aesthetics_ops.browser.catalog import Dataset, Page
from aesthetics_ops.builds import Partition, PartitionResult
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
    version_stamp,
)
from aesthetics_ops.errors import IntegrityError, NoSuchPageError, ObjectMissingError

__all__ = ["BuildProgress", "PartitionProgress", "ShardProgress", "list_builds", "read_build"]

_READS: Final = 16


class _Plan(BaseModel):
    """The part of a build's `plan.json` that is shown; the settings in it may be of an older kind."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    plan: str
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
    """

    photos: int
    source_bytes: int
    shards: tuple[ShardProgress, ...]

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
    """

    id: str
    plan: _Plan | None
    partitions: tuple[PartitionProgress, ...]
    version: str | None

    @property
    def made(self) -> int:
        """Shards of the plan that are in the store."""
        return sum(partition.made for partition in self.partitions)

    @property
    def checked(self) -> int:
        """Shards of the plan that were read back."""
        return sum(partition.checked for partition in self.partitions)

    @property
    def state(self) -> str:
        """The stage it is in, in a word or two."""
        if self.plan is None:
            return "planning"
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
    with ThreadPoolExecutor(_READS) as pool:
        plans = dict(zip(found.items, pool.map(lambda build: _read_plan(dataset, build), found.items), strict=True))
    versions = dataset.versions()
    done = {build: _version_of(plan, versions) for build, plan in plans.items()}
    marks = _marks(dataset) if any(plan is not None and plan.planned for plan in plans.values()) else set()
    builds = []
    for build, plan in plans.items():
        partitions = tuple(_progress(part, {}, marks) for part in plan.partitions) if plan else ()
        builds.append(BuildProgress(build, plan, partitions, done[build]))
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
    with ThreadPoolExecutor(_READS) as pool:
        renamed = pool.map(lambda number: _made(dataset, build, plan, number), range(len(plan.partitions)))
        parts = tuple(_progress(part, names, marks) for part, names in zip(plan.partitions, renamed, strict=True))
    return BuildProgress(build, plan, parts, _version_of(plan, dataset.versions()))


def _read_plan(dataset: Dataset, build: str) -> _Plan | None:
    key = build_key(build, BuildFile.PLAN)
    try:
        return _Plan.model_validate_json(bytes(dataset.store.get(key).data), extra="ignore")
    except ObjectMissingError:
        return None
    except ValidationError as error:
        raise IntegrityError(f"{dataset.store.url_of(key)} is not a plan that is understood here") from error


def _version_of(plan: _Plan | None, versions: list[str]) -> str | None:
    """Return the version that a build made: its name begins with the time of the plan."""
    if plan is None:
        return None
    stamp = version_stamp(plan.created_at)
    return next((version for version in versions if version.startswith(stamp)), None)


def _marks(dataset: Dataset) -> set[str]:
    """Return the keys of all shards' files and marks."""
    return set(dataset.store.list(SHARDS)["key"].to_pylist())


def _made(dataset: Dataset, build: str, plan: _Plan, number: int) -> dict[str, str]:
    """Return the names that a finished partition's shards got: another than planned where a photo was lost."""
    try:
        stored = dataset.store.get(partition_result_key(build, number))
        result = PartitionResult.model_validate_json(bytes(stored.data), extra="ignore")
    except (ObjectMissingError, ValidationError):
        return {}
    return result.shards if result.plan == plan.plan else {}


def _progress(partition: Partition, renamed: dict[str, str], marks: set[str]) -> PartitionProgress:
    shards = []
    for planned in partition.shards:
        digest = renamed.get(planned, planned)
        is_made, is_checked = (
            not digest or shard_key(digest, mark) in marks for mark in (ShardFile.RESULT, ShardFile.VERDICT)
        )
        shards.append(ShardProgress(digest, is_made, is_made and is_checked))
    return PartitionProgress(partition.photos, partition.source_bytes, tuple(shards))
