"""Choose each photo's split, and its slot there: the shard's number, kept from version to version."""
# ruff: noqa: S608 -- what is put into the queries are constants of this file

from collections.abc import Mapping
from heapq import heapify, heappop, heapreplace
from typing import Final

import duckdb
import numpy as np
import pyarrow as pa

from aesthetics_ops.dataset.layout import SPLITS
from aesthetics_ops.planning.strata import make_stratified
from aesthetics_ops.settings import BuildSettings

__all__ = ["choose_slots", "choose_splits"]

# what a photo's record depends on beside its label and the settings; hashed, since texts of every photo would fill the memory
_CONTENT: Final = "md5_number(etag || ' ' || size || ' ' || id)"
_CHOSEN: Final = (
    "CREATE TABLE chosen AS SELECT n, rank, id, size, split, slot, coalesce(content = content_before, false) AS is_same"
)
_BEFORE: Final = (
    f"LEFT JOIN (SELECT key, split, slot, {_CONTENT} AS content_before FROM parent) AS before USING (key, split)"
)


def choose_splits(
    db: duckdb.DuckDBPyConnection, settings: BuildSettings, *, is_named: bool, edges: tuple[float, ...] | None = None
) -> None:
    """Make table `chosen`, one row per usable photo: its row in `photo`, its split, the parent's slot there, and whether the photo is the same.

    The split is the label file's, where that names splits, or goes by a hash of the id alone, so that a photo never changes it.  Near-duplicates
    go by a hash of their group's name, so that they come together.  Stratified splits are those of `strata`, by bins of
    scores that begin at `edges`.
    """
    if settings.stratify and not is_named:
        make_stratified(db, settings, edges)
        db.execute(f"""
            {_CHOSEN}
            FROM (SELECT p.rowid AS n, p.rank, p.id, p.key, p.size, {_CONTENT} AS content, s.split
                FROM photo p JOIN stratified s ON s.n = p.rowid)
            {_BEFORE}""")
        return
    db.execute(
        f"""
        {_CHOSEN}
        FROM (SELECT *, CASE WHEN $is_named THEN named_split WHEN share < $test THEN 'test'
                WHEN share < $test_and_validation THEN 'validation' ELSE 'train' END AS split
            FROM (SELECT p.rowid AS n, p.rank, p.id, p.key, p.size, {_CONTENT} AS content, p.named_split,
                    CASE WHEN NOT $is_named
                        THEN md5_number_upper($salt || ':' || coalesce(near."group", p.id)) / 18446744073709551616.0 END AS share
                FROM photo p LEFT JOIN near USING (key) WHERE p.reason IS NULL))
        {_BEFORE}""",
        {
            "is_named": is_named,
            "test": settings.test_fraction,
            "test_and_validation": settings.test_fraction + settings.validation_fraction,
            "salt": settings.split_salt,
        },
    )


def choose_slots(db: duckdb.DuckDBPyConnection, settings: BuildSettings) -> None:
    """Make table `placed`: each usable photo's row in `photo`, its split as a position in SPLITS, and its slot there.

    A photo takes the parent's slot where there is one, else room in open shards, else new shards.  Open are a split's last
    shard and those under half full.  New photos fill them in order of hash, so a night's arrivals touch few shards.  Where
    photos went and none came, the emptiest shards are merged, two by two, while a split has more than twice as many as its
    bytes would fill, and one.  `is_same` says whether the parent had the same photo, of this id, in that slot.
    """
    db.execute("CREATE TABLE placed (n BIGINT, split_index INTEGER, slot INTEGER, is_same BOOLEAN)")
    for split_index, split in enumerate(SPLITS):
        db.execute(
            "INSERT INTO placed SELECT n, ?, slot, is_same FROM chosen WHERE split = ? AND slot IS NOT NULL",
            [split_index, split],
        )
        filled = db.execute(
            """SELECT slot, coalesce(bytes, 0)::BIGINT AS bytes
            FROM (SELECT DISTINCT slot FROM parent WHERE split = $split AND slot IS NOT NULL)
            LEFT JOIN (SELECT slot, sum(size) AS bytes FROM chosen WHERE split = $split GROUP BY slot) USING (slot)
            ORDER BY slot""",
            {"split": split},
        ).fetchnumpy()
        held = dict(zip(filled["slot"].tolist(), filled["bytes"].tolist(), strict=True))
        arrived = db.execute(
            "SELECT n, size FROM chosen WHERE split = ? AND slot IS NULL ORDER BY rank, id", [split]
        ).fetchnumpy()
        if len(arrived["n"]):
            sizes, held_slots, held_bytes = map(np.asarray, (arrived["size"], filled["slot"], filled["bytes"]))
            slots = _cut(sizes, held_slots, held_bytes, settings.shard_bytes)
            db.register("arrived", pa.table({"n": arrived["n"], "slot": slots}))
            db.execute("INSERT INTO placed SELECT n, ?, slot, false FROM arrived", [split_index])
            db.unregister("arrived")
            numbers, places = np.unique(slots, return_inverse=True)
            for slot, size in zip(numbers.tolist(), np.bincount(places, arrived["size"]).tolist(), strict=True):
                held[slot] = held.get(slot, 0) + int(size)
        _merge(db, split_index, {slot: size for slot, size in held.items() if size}, settings.shard_bytes)


def _merge(db: duckdb.DuckDBPyConnection, split_index: int, held: Mapping[int, int], shard_bytes: int) -> None:
    """Move the photos of shards that are too many into others."""
    into = _merged(held, shard_bytes)
    if not into:
        return
    db.register("merged", pa.table({"slot": pa.array(into), "target": pa.array(into.values(), pa.int32())}))
    db.execute(
        """UPDATE placed SET slot = target, is_same = false FROM merged
        WHERE placed.split_index = ? AND placed.slot = merged.slot""",
        [split_index],
    )
    db.unregister("merged")


def _merged(held: Mapping[int, int], shard_bytes: int) -> dict[int, int]:
    """Return the slots whose photos move, and where each moves: the emptiest into the one that is nearest to it.

    Two of more shards than are allowed are under half full, so what they hold together is at most one shard.  Once merged,
    a split is left alone until it has lost a shard's worth of photos more.

    Args:
        held: bytes in each slot that is in use; > 0.
        shard_bytes: bytes that fill a shard.
    """
    most = 2 * -(-sum(held.values()) // shard_bytes) + 1
    shards = [(size, slot) for slot, size in held.items()]
    heapify(shards)
    into: dict[int, int] = {}
    while len(shards) > most:
        size, slot = heappop(shards)
        into[slot] = shards[0][1]
        heapreplace(shards, (shards[0][0] + size, shards[0][1]))
    for slot in into:
        while into[slot] in into:
            into[slot] = into[into[slot]]
    return into


def _cut(sizes: np.ndarray, slots: np.ndarray, filled: np.ndarray, shard_bytes: int) -> np.ndarray:
    """Give each new photo a slot.

    Args:
        sizes: of the new photos in their order, bytes, shape (n,).
        slots: numbers in use, ascending, shape (m,).
        filled: bytes already in each, shape (m,).
        shard_bytes: bytes that fill a shard.

    Returns:
        Slot numbers, int64, shape (n,).  A shard takes photos until it is full, so it ends at most one photo over.
    """
    is_last = np.arange(len(slots)) == len(slots) - 1
    is_open = (filled < shard_bytes // 2) | (is_last & (filled < shard_bytes))
    order = np.argsort(~is_last[is_open], kind="stable")  # the last shard first
    open_slots, room = slots[is_open][order], shard_bytes - filled[is_open][order]
    starts = np.cumsum(sizes) - sizes  # bytes of new photos before each
    ends = np.cumsum(room)
    total_room = int(ends[-1]) if len(ends) else 0
    first_new = int(slots[-1]) + 1 if len(slots) else 0
    fresh = first_new + (starts - total_room) // shard_bytes
    if not len(open_slots):
        return np.asarray(fresh)
    reused = open_slots[np.minimum(np.searchsorted(ends, starts, side="right"), len(open_slots) - 1)]
    return np.asarray(np.where(starts < total_room, reused, fresh))
