"""Cut placed photos into shards, in reading order, and name each shard by its recipe's digest."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

import numpy as np
import pyarrow as pa

from aesthetics_ops.dataset.layout import SPLITS
from aesthetics_ops.dataset.recipe import Converter, recipe_digests
from aesthetics_ops.dataset.tables import PLAN
from aesthetics_ops.planning.model import PlannedShard
from aesthetics_ops.settings import BuildSettings
from aesthetics_ops.sources.labels import Labels

__all__ = ["LABEL_COLUMNS", "ORDERED", "LabelColumns", "planned_rows"]

LABEL_COLUMNS: Final = ("distribution", "votes", "label_std", "extra_scores")
"""The plan's columns that a label brings beside its score."""

ORDERED: Final = """
    SELECT p.key, p.etag, p.size, p.id, placed.split_index, placed.slot,
        CASE WHEN p.reason IS NULL THEN (p.score - ?) / ? END::FLOAT AS label,
        coalesce(p.key_place, p.stem_place) AS place, p.reason, p.detail, placed.is_same
    FROM photo p LEFT JOIN placed ON placed.n = p.rowid
    ORDER BY placed.split_index NULLS LAST, placed.slot, p.rank, p.id, p.key
"""


def planned_rows(
    ordered: Iterable[pa.RecordBatch],
    shards: list[PlannedShard],
    labels: Callable[[pa.ChunkedArray], Mapping[str, pa.Array]],
    settings: BuildSettings,
    converter: Converter,
) -> Iterator[pa.Table]:
    """Yield the plan's rows, whole shards at a time, and add the shards to `shards`.

    Args:
        ordered: rows of ORDERED.
        shards: grows.
        labels: returns the LABEL_COLUMNS that stand at these places of the source, as the plan has them.
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
            **labels(rows["place"]),
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


class LabelColumns:
    """The LABEL_COLUMNS of a score file, to be taken by position."""

    def __init__(self, labels: Labels) -> None:
        is_there = {
            "distribution": labels.has_distribution,
            "votes": labels.has_votes,
            "label_std": labels.has_distribution,
            "extra_scores": bool(labels.extra_scores),
        }
        self._columns = {
            name: _Column(labels.table[name], PLAN.schema.field(name).type) if is_there[name] else None
            for name in LABEL_COLUMNS
        }

    def at(self, places: pa.ChunkedArray) -> dict[str, pa.Array]:
        """Return the columns as the plan has them; null where the place is null, or has none."""
        wanted = places.fill_null(-1).to_numpy()
        return {
            name: pa.nulls(len(wanted), PLAN.schema.field(name).type) if column is None else column.at(wanted)
            for name, column in self._columns.items()
        }


class _Column:
    """A column of numbers, or of lists of equally many numbers, to be taken by position."""

    def __init__(self, column: pa.ChunkedArray, kind: pa.DataType) -> None:
        array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
        array = array.chunk(0) if isinstance(array, pa.ChunkedArray) else array
        self._kind = kind
        self._is_there = np.asarray(array.is_valid())
        self._width = array.type.list_size if pa.types.is_fixed_size_list(array.type) else 0
        if self._width:
            array = array.values.slice(array.offset * self._width, len(array) * self._width)
        number = kind.value_type if self._width else kind
        self._values = np.asarray(array.fill_null(0).cast(number, safe=False)).reshape(len(self._is_there), -1)

    def at(self, places: np.ndarray) -> pa.Array:
        """Return what stands at these places; null for -1, and where there is nothing."""
        is_there = (places >= 0) & self._is_there[places]
        if not self._width:
            return pa.array(self._values[places, 0], self._kind, mask=~is_there)
        offsets = np.r_[0, np.cumsum(is_there * self._width)].astype(np.int32)
        values = pa.array(self._values[places[is_there]].ravel(), self._kind.value_type)
        return pa.ListArray.from_arrays(offsets, values, type=self._kind, mask=pa.array(~is_there))
