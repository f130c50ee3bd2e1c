"""Cut placed photos into shards, in reading order, and name each shard by its recipe's digest."""

from collections.abc import Iterable, Iterator
from typing import Final

import numpy as np
import pyarrow as pa

from aesthetics_ops.dataset.layout import SPLITS
from aesthetics_ops.dataset.recipe import Converter, recipe_digests
from aesthetics_ops.dataset.tables import PLAN
from aesthetics_ops.planning.model import PlannedShard
from aesthetics_ops.settings import BuildSettings
from aesthetics_ops.sources.labels import Labels

__all__ = ["ORDERED", "planned_rows"]

_REJECTED: Final = 1 << 60  # in the place of a shard's number
ORDERED = f"""
    SELECT p.key, p.etag, p.size, p.id, coalesce(placed.shard, {_REJECTED}) AS shard,
        CASE WHEN p.reason IS NULL THEN (p.score - ?) / ? END::FLOAT AS label,
        coalesce(p.key_place, p.stem_place) AS place, p.reason, p.detail
    FROM photo p LEFT JOIN placed ON placed.n = p.rowid
    ORDER BY shard, p.rank, p.id, p.key
"""  # noqa: S608


def planned_rows(
    ordered: Iterable[pa.RecordBatch],
    shards: list[PlannedShard],
    labels: Labels,
    settings: BuildSettings,
    converter: Converter,
) -> Iterator[pa.Table]:
    """Yield the plan's rows, whole shards at a time, and add the shards to `shards`."""
    first = 0
    distributions = _Distributions(labels)
    for rows in _whole_shards(ordered):
        shard = rows["shard"].to_numpy()
        count = int(np.searchsorted(shard, _REJECTED))
        bounds = np.r_[np.flatnonzero(np.diff(shard[:count], prepend=-1)), count]
        columns = {
            **{name: rows[name] for name in ("key", "etag", "size", "id", "label", "reason", "detail")},
            "split": pa.array(SPLITS).take(pa.array(shard >> 32, mask=shard == _REJECTED)),
            "slot": pa.array((shard & 0xFFFFFFFF).astype(np.int32), mask=shard == _REJECTED),
            "distribution": distributions.at(rows["place"]),
        }
        digests = list(recipe_digests(pa.table(columns), bounds[:-1], bounds[1:], settings, converter))
        which = np.repeat(np.arange(len(digests)), np.diff(bounds))
        which = np.r_[which, np.zeros(len(shard) - count, np.int64)]
        columns["digest"] = pa.array(digests, pa.string()).take(pa.array(which, mask=shard == _REJECTED))
        sizes = np.add.reduceat(rows["size"].to_numpy(), bounds[:-1]) if count else ()
        for start, end, digest, size in zip(bounds[:-1], bounds[1:], digests, sizes, strict=True):
            split, slot = SPLITS[shard[start] >> 32], int(shard[start] & 0xFFFFFFFF)
            shards.append(PlannedShard(split, slot, digest, first + int(start), int(end - start), int(size)))
        first += len(shard)
        yield pa.table({name: columns[name] for name in PLAN.schema.names}).cast(PLAN.schema)


def _whole_shards(ordered: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    """Yield the same rows cut where a shard ends, or among rejected photos."""
    held: list[pa.Table] = []
    for batch in ordered:
        rows = pa.table(batch)
        shard = rows["shard"].to_numpy()
        ends = np.flatnonzero(np.diff(shard)) + 1
        cut = len(shard) if shard[-1] == _REJECTED else int(ends[-1]) if len(ends) else 0
        if held and (cut or held[-1]["shard"][-1].as_py() != shard[0]):
            yield pa.concat_tables([*held, rows.slice(0, cut)])
            held = []
        elif cut:
            yield rows.slice(0, cut)
        if cut < len(shard):
            held.append(rows.slice(cut))
    if held:
        yield pa.concat_tables(held)


class _Distributions:
    """The labels' distributions, to be taken by position."""

    def __init__(self, labels: Labels) -> None:
        column = labels.table["distribution"] if labels.has_distribution else None
        self._shares = self._is_there = None
        if column is not None:
            array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
            array = array.chunk(0) if isinstance(array, pa.ChunkedArray) else array
            self._is_there = np.asarray(array.is_valid())
            values = array.values.slice(array.offset * 10, len(array) * 10)
            self._shares = np.asarray(values.fill_null(0)).reshape(-1, 10)

    def at(self, places: pa.ChunkedArray) -> pa.Array:
        """Return lists of float32; null where the place is null, or has none."""
        if self._shares is None or self._is_there is None:
            return pa.nulls(len(places), pa.list_(pa.float32()))
        wanted = places.fill_null(-1).to_numpy()
        is_there = (wanted >= 0) & self._is_there[wanted]
        offsets = np.r_[0, np.cumsum(is_there * 10)].astype(np.int32)
        values = pa.array(self._shares[wanted[is_there]].ravel())
        return pa.ListArray.from_arrays(offsets, values, mask=pa.array(~is_there))
