"""Compare two versions photo by photo: the one definition of what changed, for `diff`, the report and the browser.

A photo is its key, the name of the source object.  An id comes from the score file and may be given to another photo;
a key that holds another file is the same photo with other pixels.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Final

import duckdb
import pyarrow as pa

from aesthetics_ops.dataset.layout import VersionFile
from aesthetics_ops.dataset.manifest import Manifest, read_manifest
from aesthetics_ops.dataset.sidecars import read_table
from aesthetics_ops.pixels.transforms import Transform
from aesthetics_ops.store import Store

__all__ = ["COMPARED", "Change", "Changes", "ShardChanges", "VersionDiff", "compare_records", "diff_versions"]

COMPARED: Final = ("id", "key", "etag", "split", "label", "width", "height", "bytes", "transforms")
"""The columns of `records.parquet` that a comparison looks at."""


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
    """What became of the photos between two versions; one photo may be in each of the last three.

    Attributes:
        added: only the later version has the photo.
        removed: only the earlier version has it.
        relabelled: another label is stored.
        repixelled: another JPEG is stored: of another source object, or made in another way, or in another quality.
        moved: it is in another split.
    """

    added: Change
    removed: Change
    relabelled: Change
    repixelled: Change
    moved: Change

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
        changes: photo by photo.
        shards: in both or in one.
    """

    before: str
    after: str
    records: tuple[int, int]
    bytes: tuple[int, int]
    label_mean: tuple[float, float]
    changes: Changes
    shards: ShardChanges


def compare_records(
    old: pa.Table, new: pa.Table, old_settings: Mapping[str, Any], new_settings: Mapping[str, Any]
) -> Changes:
    """Compare the records of two versions.

    The pixels of a photo changed when its source, its transforms, its size in px or its bytes did.  Two qualities may give
    equally many bytes; so a photo that was encoded by the build changed, too, when the quality did.  No other setting
    changes pixels without changing one of these columns.

    Args:
        old: the earlier version's `records.parquet`, COMPARED columns at least; keys are unique.
        new: the later version's.
        old_settings: of the earlier version, as its manifest has them.
        new_settings: of the later version.
    """
    quality_differs = old_settings.get("quality") != new_settings.get("quality")
    with duckdb.connect() as db:
        for name, table in (("old", old), ("new", new)):
            db.register(name, table.select(COMPARED))
        values = {"reencoded": Transform.REENCODED.value, "quality_differs": quality_differs}
        found = {kind: Change(count, tuple(ids)) for kind, count, ids in db.execute(_CHANGES, values).fetchall()}
    return Changes(**{field.name: found.get(field.name, Change(0, ())) for field in fields(Changes)})


_CHANGES: Final = """
    WITH change AS (
        SELECT coalesce(new.id, old.id) AS id, unnest(
            CASE WHEN old.key IS NULL THEN ['added'] WHEN new.key IS NULL THEN ['removed']
            ELSE list_filter([
                CASE WHEN old.label IS DISTINCT FROM new.label THEN 'relabelled' END,
                CASE WHEN (old.etag, old.transforms, old.width, old.height, old.bytes)
                    IS DISTINCT FROM (new.etag, new.transforms, new.width, new.height, new.bytes)
                    OR ($quality_differs AND list_contains(new.transforms, $reencoded)) THEN 'repixelled' END,
                CASE WHEN old.split <> new.split THEN 'moved' END], lambda kind: kind IS NOT NULL) END) AS kind
        FROM old FULL JOIN new USING (key))
    SELECT kind, count(*), coalesce(min(id, 10), []) FROM change GROUP BY kind
"""


def diff_versions(dataset: Store, before: str, after: str) -> VersionDiff:
    """Compare two published versions photo by photo.

    Raises:
        NoSuchVersionError: one of them does not exist.
        IntegrityError: a manifest or a table cannot be read.
    """
    old, new = (read_manifest(dataset, version) for version in (before, after))
    old_records, new_records = (read_table(dataset, manifest, VersionFile.RECORDS, COMPARED) for manifest in (old, new))
    ours, theirs = _paths(old), _paths(new)
    return VersionDiff(
        before=old.version,
        after=new.version,
        records=(old.records, new.records),
        bytes=(old.bytes, new.bytes),
        label_mean=(old.labels.mean, new.labels.mean),
        changes=compare_records(old_records, new_records, old.settings, new.settings),
        shards=ShardChanges(shared=len(ours & theirs), dropped=len(ours - theirs), new=len(theirs - ours)),
    )


def _paths(manifest: Manifest) -> set[str]:
    return {shard.path for split in manifest.splits.values() for shard in split.shards}
