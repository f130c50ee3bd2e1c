"""Decide which photo goes into which shard, before any pixel is read.

In: the listing, the labels, and what the parent version planned.  Out: one row per listed photo, either in a shard or
with a reason why not, and the digest of each shard's recipe.
Pure: no clock, no network, no randomness.  Equal input gives an equal plan.  Columnar: DuckDB joins and sorts, numpy
cuts; nothing loops over photos.  With a scratch folder, memory is bounded by what comes in and 2 GiB beside it.
"""

from pathlib import Path
from typing import Final

import duckdb
import pyarrow as pa

from aesthetics_ops.dataset.database import open_database
from aesthetics_ops.dataset.recipe import Converter
from aesthetics_ops.dataset.spilled import Spilled
from aesthetics_ops.dataset.tables import PLAN
from aesthetics_ops.errors import PlanError
from aesthetics_ops.planning.database import ROWS_AT_ONCE, attach, gather
from aesthetics_ops.planning.joining import (
    count_matches,
    find_label_range,
    join_labels,
    reject_duplicates,
    require_usable,
)
from aesthetics_ops.planning.model import ParentPlan, Plan, PlannedShard
from aesthetics_ops.planning.naming import choose_labels, list_photos
from aesthetics_ops.planning.scores import Scores
from aesthetics_ops.planning.shards import ordered_photos, planned_rows
from aesthetics_ops.planning.slots import choose_slots, choose_splits
from aesthetics_ops.planning.strata import find_edges
from aesthetics_ops.settings import BuildSettings
from aesthetics_ops.sources.labels import Labels

__all__ = ["NO_PHOTOS", "plan_photos"]

NO_PHOTOS: Final = pa.schema([("key", pa.string()), ("etag", pa.string())]).empty_table()

_NO_GROUPS = pa.schema([("key", pa.string()), ("group", pa.string())]).empty_table()


def plan_photos(
    listing: pa.Table | Path,
    labels: Labels | Scores,
    settings: BuildSettings,
    *,
    converter: Converter,
    parent: ParentPlan | None,
    unscaled: pa.Table = NO_PHOTOS,
    scratch: Path | None = None,
) -> Plan:
    """Place every listed photo.

    Args:
        listing: key (string, unique), size (int64, bytes), etag (string); or a Parquet file of them, or a folder of such.
        labels: the score file; as `Scores` in scratch it takes no memory.
        settings: of this build.
        converter: part of every recipe.
        parent: the version to stay close to; where a setting asks for a plan from scratch, only its near-duplicates count.
        unscaled: key and etag of photos that conversion is known to reject, so that their scores count in no range.
        scratch: an empty folder for what does not fit into memory, about 600 bytes per photo; it has to stay as long as
            the plan.  None keeps everything in memory.

    Raises:
        PlanError: nothing is listed, no photo has a usable label, two columns name different photos, scores cannot be
            scaled, or splits are named that are to be stratified.
    """
    scores = labels if isinstance(labels, Scores) else Scores.of(labels)
    with open_database(scratch) as db:
        attach(db, "listing", listing)
        _require_listed(db, settings)
        list_photos(db)
        scores = choose_labels(db, scores, settings.labels, settings.photos)
        labels = scores.labels
        scores.attach(db, "written_rows")
        _attach_parent(db, parent, settings)
        attach(db, "unscaled", unscaled)
        join_labels(db, settings)
        contrary_copies = reject_duplicates(db)
        require_usable(db, settings, labels.columns.get("id"))
        label_range = find_label_range(db, labels, settings)
        edges = _find_edges(db, labels, settings, parent) if settings.stratify else None
        choose_splits(db, settings, is_named=labels.names_splits, edges=edges)
        choose_slots(db, settings)
        low, high = label_range or (0.0, 1.0)
        ordered = ordered_photos(db, low, high, has_scores=scores.has_more)
        shards: list[PlannedShard] = []
        photos = gather(planned_rows(ordered, shards, scores.columns, settings, converter), PLAN.schema, scratch)
        unmatched = db.sql("SELECT row, name FROM unmatched ORDER BY row").to_arrow_table()
        matched_by = count_matches(db)
        kept = None if labels.kept is None else _kept(db, labels.kept, scratch)
        before = {(split, slot): digest for split, slot, digest in db.sql(_SHARDS_BEFORE).fetchall()}
    return Plan(
        photos, tuple(shards), unmatched, label_range, labels.columns, labels.ratings, labels.has_votes, kept, contrary_copies, matched_by, edges, before,
        None if scratch is None else Spilled(scratch / "plan.arrow"),
    )  # fmt: skip


_SHARDS_BEFORE: Final = "SELECT split, slot, min(digest) FROM parent WHERE slot IS NOT NULL GROUP BY split, slot"

_PLACES: Final = """
    SELECT key, coalesce(key_place, stem_place) AS place FROM photo WHERE reason IS NULL ORDER BY key
"""


def _kept(db: duckdb.DuckDBPyConnection, columns: pa.Table, scratch: Path | None) -> pa.Table:
    """Return key and kept columns of the usable photos, in key order."""
    schema = pa.schema([pa.field("key", pa.string()), *columns.schema])
    columns = columns.combine_chunks()
    found = db.sql(_PLACES).to_arrow_reader(ROWS_AT_ONCE)
    rows = (columns.take(batch["place"]).add_column(0, "key", batch["key"]) for batch in found)
    return gather((table.cast(schema) for table in rows), schema, scratch, "kept")


def _attach_parent(db: duckdb.DuckDBPyConnection, parent: ParentPlan | None, settings: BuildSettings) -> None:
    """Attach what the plan keeps to: `near`, the parent's near-duplicates, and `parent`, its photos."""
    groups: pa.Table = _NO_GROUPS
    photos: pa.Table | Path = PLAN.schema.empty_table()
    if parent is not None and settings.near_duplicate_distance is not None:
        groups = parent.groups
    kept = (settings.seed, settings.shard_bytes)
    if parent is not None and not settings.reshuffle and (parent.seed, parent.shard_bytes) == kept:
        photos = parent.photos
    attach(db, "near", groups)
    attach(db, "parent", photos)
    keeps_splits = settings.stratify and parent is not None and parent.edges is not None
    attach(db, "before", parent.photos if parent is not None and keeps_splits else PLAN.schema.empty_table())
    db.execute("CREATE TEMP VIEW kept AS SELECT id, split FROM before WHERE split IS NOT NULL")


def _find_edges(
    db: duckdb.DuckDBPyConnection, labels: Labels, settings: BuildSettings, parent: ParentPlan | None
) -> tuple[float, ...]:
    """Return where the bins of stratified splits begin: as in the parent, or else by the scores."""
    if labels.names_splits:
        raise PlanError(
            f"label file {settings.labels!r} names the splits, but stratify is on; leave stratify out, or the splits"
        )
    return parent.edges if parent is not None and parent.edges is not None else find_edges(db)


def _require_listed(db: duckdb.DuckDBPyConnection, settings: BuildSettings) -> None:
    if not db.sql("SELECT 1 FROM listing LIMIT 1").fetchall():
        raise PlanError(f"no objects under {settings.photos!r}; check the photos prefix, or upload photos first")
