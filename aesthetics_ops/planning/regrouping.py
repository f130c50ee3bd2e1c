"""Place the photos of a finished plan again, so that near-duplicates that conversion has found come into one split.

In: the plan's rows, and the groups.  Out: the same photos, most of them where they were.
Pure, as `plan.py` is: photos that change their split leave their shard and fill open ones in their new split; every other
photo keeps its slot, so every other shard keeps its recipe.  The next plan that starts from these rows and these groups
changes nothing.
"""

from pathlib import Path

import pyarrow as pa

from aesthetics_ops.dataset.database import open_database
from aesthetics_ops.dataset.recipe import Converter
from aesthetics_ops.dataset.tables import PLAN
from aesthetics_ops.planning.database import attach, gather
from aesthetics_ops.planning.model import Plan, PlannedShard
from aesthetics_ops.planning.shards import LABEL_COLUMNS, ordered_photos, planned_rows
from aesthetics_ops.planning.slots import choose_slots, choose_splits
from aesthetics_ops.settings import BuildSettings

__all__ = ["regroup_photos"]


def regroup_photos(
    rows: pa.Table, groups: pa.Table, settings: BuildSettings, *, converter: Converter, scratch: Path | None = None
) -> Plan:
    """Put every group of near-duplicates into one split.

    Args:
        rows: of PLAN.schema, as a plan has them.
        groups: key and group (strings); a key stands in one group only.
        settings: of the plan; its splits must not be named by the score file.
        converter: of the plan.
        scratch: as for `plan_photos`.

    Returns:
        A plan; its `unmatched` is empty and its `label_range` None, since labels are as the rows have them.
    """
    with open_database(scratch) as db:
        attach(db, "near", groups)
        attach(db, "parent", rows.append_column("place", pa.array(range(rows.num_rows), pa.int64())))
        db.execute(
            """
            CREATE TABLE photo AS
            SELECT key, size, etag, id, md5_number_lower(? || ':' || id) AS rank, place AS key_place,
                NULL::BIGINT AS stem_place, label AS score, split AS named_split, reason, detail
            FROM parent""",
            [str(settings.seed)],
        )
        db.execute("CREATE TEMP VIEW kept AS SELECT id, split FROM parent WHERE reason IS NULL")
        choose_splits(db, settings, is_named=False)
        choose_slots(db, settings)
        ordered = ordered_photos(db)
        shards: list[PlannedShard] = []

        def at(placed: pa.Table) -> dict[str, pa.Array]:
            return {name: _one_array(rows[name].take(placed["place"])) for name in LABEL_COLUMNS}

        photos = gather(planned_rows(ordered, shards, at, settings, converter), PLAN.schema, scratch)
    none = pa.table({"row": pa.array([], pa.int64()), "name": pa.array([], pa.string())})
    return Plan(photos.cast(PLAN.schema), tuple(shards), none, None)


def _one_array(column: pa.ChunkedArray) -> pa.Array:
    taken = column.combine_chunks()
    return taken.combine_chunks() if isinstance(taken, pa.ChunkedArray) else taken
