"""Cut placed photos into shards, in reading order, and name each shard by its recipe's digest."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

import duckdb
import numpy as np
import pyarrow as pa

from aesthetics_ops.dataset.layout import SPLITS
from aesthetics_ops.dataset.recipe import Converter, recipe_digests
from aesthetics_ops.dataset.tables import PLAN
from aesthetics_ops.planning.database import ROWS_AT_ONCE
from aesthetics_ops.planning.model import SCORES, PlannedShard
from aesthetics_ops.settings import BuildSettings

__all__ = ["LABEL_COLUMNS", "ordered_photos", "planned_rows"]

LABEL_COLUMNS: Final = ("distribution", "votes", "label_std", "extra_scores")
"""The plan's columns that a label brings beside its score."""

_ORDERED: Final = """
    SELECT p.key, p.etag, p.size, p.id, placed.split_index, placed.slot,
        CASE WHEN p.reason IS NULL THEN (p.score - ?) / ? END::FLOAT AS label,
        p.reason, p.detail, placed.is_same, {columns}
    FROM photo p LEFT JOIN placed ON placed.n = p.rowid {scores}
    ORDER BY placed.split_index NULLS LAST, placed.slot, p.rank, p.id, p.key
"""
_WITH_SCORES: Final = "LEFT JOIN written_rows ON written_rows.place = coalesce(p.key_place, p.stem_place)"


def ordered_photos(
    db: duckdb.DuckDBPyConnection, low: float = 0.0, high: float = 1.0, *, has_scores: bool = False
) -> pa.RecordBatchReader:
    """Return the photos in reading order, the rejected ones last.

    Args:
        db: with tables `photo` and `placed`.
        low: score that becomes label 0.
        high: score that becomes label 1.
        has_scores: each photo comes with the columns SCORES of its row in `written_rows`, else with the `place` of its row.
    """
    if has_scores:
        query = _ORDERED.format(columns=", ".join(SCORES), scores=_WITH_SCORES)
    else:
        query = _ORDERED.format(columns="coalesce(p.key_place, p.stem_place) AS place", scores="")
    return db.sql(query, params=[low, high - low]).to_arrow_reader(ROWS_AT_ONCE)


def planned_rows(
    ordered: Iterable[pa.RecordBatch],
    shards: list[PlannedShard],
    labels: Callable[[pa.Table], Mapping[str, pa.Array]],
    settings: BuildSettings,
    converter: Converter,
) -> Iterator[pa.Table]:
    """Yield the plan's rows, whole shards at a time, and add the shards to `shards`.

    Args:
        ordered: as `ordered_photos` returns them.
        shards: grows.
        labels: returns the LABEL_COLUMNS of these rows, as the plan has them.
        settings: of the build; part of every recipe.
        converter: likewise.
    """
    first = 0
    for rows in _whole_shards(ordered):
        bounds = _bounds(rows)
        starts, ends = bounds[:-1], bounds[1:]
        is_same = rows["is_same"].fill_null(False).to_numpy()
        columns = {
            **{name: rows[name] for name in ("key", "etag", "size", "id", "slot", "label", "reason", "detail")},
            "split": pa.array(SPLITS).take(rows["split_index"]),
            **labels(rows),
        }
        digests = list(recipe_digests(pa.table(columns), starts, ends, settings, converter))
        shard = pa.array(np.repeat(np.arange(len(digests)), ends - starts))
        of_row = pa.concat_arrays([shard, pa.nulls(rows.num_rows - len(shard), shard.type)])
        columns["digest"] = pa.array(digests, pa.string()).take(of_row)
        sizes = np.add.reduceat(rows["size"].to_numpy(), starts) if len(starts) else ()
        for start, end, digest, size in zip(starts, ends, digests, sizes, strict=True):
            split, slot = columns["split"][start].as_py(), rows["slot"][start].as_py()
            same = pa.array(is_same[start:end])
            shards.append(PlannedShard(split, slot, digest, first + int(start), int(end - start), int(size), same))
        first += rows.num_rows
        yield pa.table({name: columns[name] for name in PLAN.schema.names}).cast(PLAN.schema)


def _bounds(rows: pa.Table) -> np.ndarray:
    """Return where shards begin, and where the last one ends: shape (shards + 1,).  Rejected photos follow."""
    placed = rows.slice(0, rows.num_rows - rows["slot"].null_count)
    if not placed.num_rows:
        return np.zeros(1, np.int64)
    differs = np.diff(placed["split_index"].to_numpy()) | np.diff(placed["slot"].to_numpy())
    return np.concatenate(([0], np.flatnonzero(differs) + 1, [placed.num_rows]))


def _whole_shards(ordered: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    """Yield the same rows cut where a shard ends, or among rejected photos."""
    held: list[pa.Table] = []
    for batch in ordered:
        rows = pa.table(batch)
        bounds = _bounds(rows)
        has_rejected = bounds[-1] < rows.num_rows
        cut = rows.num_rows if has_rejected else int(bounds[-2])
        if held and (cut or _shard_at(held[-1], -1) != _shard_at(rows, 0)):
            yield pa.concat_tables([*held, rows.slice(0, cut)])
            held = []
        elif cut:
            yield rows.slice(0, cut)
        if cut < rows.num_rows:
            held.append(rows.slice(cut))
    if held:
        yield pa.concat_tables(held)


def _shard_at(rows: pa.Table, row: int) -> tuple[int | None, int | None]:
    """Return a row's split and slot."""
    return rows["split_index"][row].as_py(), rows["slot"][row].as_py()
