"""Compare two versions photo by photo: the one definition of what changed, for `diff`, the report and the browser.

A photo is its key, the name of the source object.  An id comes from the score file and may be given to another photo;
a key that holds another file is the same photo with other pixels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from aesthetics_ops.dataset.database import open_database
from aesthetics_ops.dataset.example import more_labels
from aesthetics_ops.dataset.layout import VersionFile
from aesthetics_ops.dataset.manifest import Manifest
from aesthetics_ops.dataset.reading_manifests import explaining_expiry, read_manifest
from aesthetics_ops.dataset.sidecars import spill_table
from aesthetics_ops.dataset.spilled import Spilled
from aesthetics_ops.dataset.tables import is_label
from aesthetics_ops.machine import scratch_for
from aesthetics_ops.pixels.transforms import Transform
from aesthetics_ops.progress import Progress, silent, told
from aesthetics_ops.store import Store

__all__ = [
    "COMPARED",
    "Change",
    "Changes",
    "ShardChanges",
    "VersionDiff",
    "compare_records",
    "compared_columns",
    "diff_versions",
]

_MEMORY_LIMIT: Final = "384MiB"  # of DuckDB's own; what is more goes to scratch
_THREADS: Final = 2  # each holds some of that

COMPARED: Final = ("id", "key", "etag", "split", "label", "width", "height", "bytes", "transforms")
"""The columns of `records.parquet` that a comparison looks at, beside those of votes, extra scores and kept columns."""


@dataclass(frozen=True, slots=True)
class Change:
    """The photos that changed in one way.

    Attributes:
        count: how many.
        examples: ids of up to 10 of them, in order; ids of the later version where it has the photo.
    """

    count: int
    examples: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Changes:
    """What became of the photos between two versions; one photo may be in each of the last four.

    Attributes:
        added: only the later version has the photo.
        removed: only the earlier version has it.
        relabelled: another label, other votes or another extra score is stored.
        repixelled: another JPEG is stored: of another source object, or made in another way, or in another quality.
        moved: it is in another split.
        annotated: a kept column of the score file has another value; the record is the same.
    """

    added: Change
    removed: Change
    relabelled: Change
    repixelled: Change
    moved: Change
    annotated: Change = Change(0, ())

    @property
    def by_kind(self) -> dict[str, Change]:
        """The changes by the names of their kinds, in order."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


@dataclass(frozen=True, slots=True)
class ShardChanges:
    """How many shards are in both versions, only in the earlier, and only in the later."""

    shared: int
    dropped: int
    new: int


@dataclass(frozen=True, slots=True)
class VersionDiff:
    """Two versions side by side; pairs have the earlier one's value first.

    Attributes:
        before, after: names of the versions.
        records: of each.
        bytes: of the shards of each.
        label_mean: of each.
        columns: of votes, extra scores and kept columns that only the earlier or only the later version has.
        changes: photo by photo; columns that only one version has are not compared.
        shards: in both or in one.
    """

    before: str
    after: str
    records: tuple[int, int]
    bytes: tuple[int, int]
    label_mean: tuple[float, float]
    columns: tuple[tuple[str, ...], tuple[str, ...]]
    changes: Changes
    shards: ShardChanges


def compared_columns(manifest: Manifest) -> list[str]:
    """Return the columns of a version that a comparison looks at where the table has them, beside COMPARED."""
    votes = [feature.removeprefix("image/") for feature in more_labels(manifest.features)]
    return [*votes, *manifest.settings.get("keep_columns", ())]


def compare_records(
    old: pa.Table | Spilled,
    new: pa.Table | Spilled,
    old_settings: Mapping[str, Any],
    new_settings: Mapping[str, Any],
    *,
    scratch: Path | None = None,
) -> Changes:
    """Compare the records of two versions.

    The pixels of a photo changed when its source, its transforms, its size in px or its bytes did.  Two qualities may give
    equally many bytes; so a photo that was encoded by the build changed, too, when the quality did.  No other setting
    changes pixels without changing one of these columns.

    Args:
        old: the earlier version's `records.parquet`, COMPARED columns at least; keys are unique.  Of others, those that both
            tables have are compared.
        new: the later version's.
        old_settings: of the earlier version, as its manifest has them.
        new_settings: of the later version.
        scratch: an existing folder for what does not fit in memory meanwhile; None holds all of it.
    """
    quality_differs = old_settings.get("quality") != new_settings.get("quality")
    with open_database(scratch, memory_limit=_MEMORY_LIMIT, threads=None if scratch is None else _THREADS) as db:
        kept = {*old_settings.get("keep_columns", ())} & {*new_settings.get("keep_columns", ())}
        names = [_columns_of(table) for table in (old, new)]
        both = [name for name in names[1] if name in names[0]]
        more = [name for name in both if is_label(name) or name in kept]
        for name, table in (("old", old), ("new", new)):
            compared = [*COMPARED, *more]
            db.register(name, table.read_once(compared) if isinstance(table, Spilled) else table.select(compared))
        values = {"reencoded": Transform.REENCODED.value, "quality_differs": quality_differs}
        changes = _CHANGES.format(
            relabelled=_differs(["label", *filter(is_label, more)]),
            annotated=_differs([name for name in more if not is_label(name)]),
        )
        found = {kind: Change(count, tuple(ids)) for kind, count, ids in db.execute(changes, values).fetchall()}
    return Changes(**{field.name: found.get(field.name, Change(0, ())) for field in fields(Changes)})


def _columns_of(rows: pa.Table | Spilled) -> list[str]:
    found: list[str] = (rows.table if isinstance(rows, Spilled) else rows).column_names
    return found


def _differs(columns: Sequence[str]) -> str:
    """Return the condition in SQL that one of the columns has another value."""
    quoted = ['"' + name.replace('"', '""') + '"' for name in columns]
    return " OR ".join(f"old.{name}::VARCHAR IS DISTINCT FROM new.{name}::VARCHAR" for name in quoted) or "false"


_CHANGES: Final = """
    WITH change AS (
        SELECT coalesce(new.id, old.id) AS id, unnest(
            CASE WHEN old.key IS NULL THEN ['added'] WHEN new.key IS NULL THEN ['removed']
            ELSE list_filter([
                CASE WHEN {relabelled} THEN 'relabelled' END,
                CASE WHEN (old.etag, old.transforms, old.width, old.height, old.bytes)
                    IS DISTINCT FROM (new.etag, new.transforms, new.width, new.height, new.bytes)
                    OR ($quality_differs AND list_contains(new.transforms, $reencoded)) THEN 'repixelled' END,
                CASE WHEN old.split <> new.split THEN 'moved' END,
                CASE WHEN {annotated} THEN 'annotated' END], lambda kind: kind IS NOT NULL) END) AS kind
        FROM old FULL JOIN new USING (key))
    SELECT kind, count(*), coalesce(min(id, 10), []) FROM change GROUP BY kind
"""


def diff_versions(dataset: Store, before: str, after: str, *, progress: Progress = silent) -> VersionDiff:
    """Compare two published versions photo by photo.

    Args:
        dataset: that they are published in.
        before: name of the earlier one.
        after: name of the later one.
        progress: told of the tables that are read, and of the comparison.

    Raises:
        NoSuchVersionError: one of them does not exist, or has expired meanwhile.
        IntegrityError: a manifest or a table cannot be read.
        ScratchSpaceError: the disk is full.
    """
    old, new = (read_manifest(dataset, version) for version in (before, after))
    columns = [compared_columns(manifest) for manifest in (old, new)]
    with explaining_expiry(dataset, old, new), scratch_for() as scratch:
        with progress("read records", 2, "table") as done:
            spilled = (
                spill_table(
                    dataset, manifest, VersionFile.RECORDS, scratch, COMPARED, if_there=compared_columns(manifest)
                )
                for manifest in (old, new)
            )
            old_records, new_records = told(spilled, done)
        with progress("compare photos", 1, "comparison") as done:
            changes = compare_records(old_records, new_records, old.settings, new.settings, scratch=scratch)
            done(1)
    ours, theirs = _paths(old), _paths(new)
    return VersionDiff(
        before=old.version,
        after=new.version,
        records=(old.records, new.records),
        bytes=(old.bytes, new.bytes),
        label_mean=(old.labels.mean, new.labels.mean),
        columns=(
            tuple(name for name in columns[0] if name not in columns[1]),
            tuple(name for name in columns[1] if name not in columns[0]),
        ),
        changes=changes,
        shards=ShardChanges(shared=len(ours & theirs), dropped=len(ours - theirs), new=len(theirs - ours)),
    )


def _paths(manifest: Manifest) -> set[str]:
    return {shard.path for split in manifest.splits.values() for shard in split.shards}
