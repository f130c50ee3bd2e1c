"""A year of nights: how many shards there are does not depend on how many nights it took to come there."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import duckdb
import numpy as np
import pyarrow as pa

from aesthetics_ops.planning.slots import choose_slots
from aesthetics_ops.settings import BuildSettings

NIGHTS = 365
SHARD_BYTES = 100_000
LARGEST = 1500  # photo, bytes
SETTINGS = BuildSettings(
    photos="memory://p/photos/", labels="memory://p/scores.csv", dataset="memory://p/dataset/", shard_bytes=SHARD_BYTES
)


@dataclass(frozen=True)
class Photos:
    """The photos of one night, all of one split.

    Attributes:
        number: of each, ascending; later ones came later; shape (n,).
        size: bytes, shape (n,).
        slot: of the night before; -1 for a new one; shape (n,).
    """

    number: np.ndarray
    size: np.ndarray
    slot: np.ndarray

    def without(self, gone: np.ndarray) -> "Photos":
        kept = ~gone
        return Photos(self.number[kept], self.size[kept], self.slot[kept])

    def and_new(self, count: int, rng: np.random.Generator) -> "Photos":
        first = int(self.number.max(initial=-1)) + 1
        return Photos(
            np.r_[self.number, np.arange(first, first + count)],
            np.r_[self.size, rng.integers(500, LARGEST, count)],
            np.r_[self.slot, np.full(count, -1)],
        )


def plan(photos: Photos, before: Photos, db: duckdb.DuckDBPyConnection) -> Photos:
    """Give each photo its slot, as a night's plan does."""
    known = pa.table({"split": pa.repeat("train", len(before.number)), "slot": before.slot})
    slot = pa.array(photos.slot, mask=photos.slot < 0)
    rank = photos.number.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)  # a hash: wraps around
    chosen = {"n": photos.number, "rank": rank, "id": photos.number, "size": photos.size, "slot": slot}
    table = pa.table({**chosen, "split": pa.repeat("train", len(photos.number))})
    db.register("parent", known)
    db.register("chosen", table.append_column("is_same", pa.array(photos.slot >= 0)))
    db.execute("DROP TABLE IF EXISTS placed")
    choose_slots(db, SETTINGS)
    placed = db.sql("SELECT n, slot FROM placed ORDER BY n").fetchnumpy()
    assert np.array_equal(placed["n"], photos.number)
    return Photos(photos.number, photos.size, placed["slot"].astype(np.int64))


def nights(start: int, change: Callable[[Photos, np.random.Generator, int], Photos]) -> Iterator[tuple[Photos, int]]:
    """Yield the photos of each night in their slots, and how many shards are made anew."""
    rng = np.random.default_rng(0)
    nothing = Photos(*(np.zeros(0, np.int64),) * 3)
    with duckdb.connect(config={"threads": 1}) as db:
        before = plan(nothing.and_new(start, rng), nothing, db)
        for night in range(NIGHTS):
            photos = plan(change(before, rng, night), before, db)
            yield photos, len(contents(photos) - contents(before))
            before = photos


def contents(photos: Photos) -> set[bytes]:
    """What each shard holds: its name, here."""
    order = np.argsort(photos.slot, kind="stable")
    cuts = np.flatnonzero(np.diff(photos.slot[order])) + 1
    return {part.tobytes() for part in np.split(photos.number[order], cuts)}


def most(photos: Photos) -> int:
    """Return the bound that docs/scale.md states."""
    return 2 * -(-int(photos.size.sum()) // SHARD_BYTES) + 1


def random_ones(photos: Photos, count: int, rng: np.random.Generator) -> np.ndarray:
    gone = np.zeros(len(photos.number), bool)
    gone[rng.permutation(len(gone))[:count]] = True
    return gone


def come_and_go(photos: Photos, rng: np.random.Generator, night: int) -> Photos:
    """For half a year ten arrive and the ten oldest go; then more go than arrive, from anywhere."""
    if night < NIGHTS // 2:
        return photos.without(photos.number < photos.number[10]).and_new(10, rng)
    return photos.without(random_ones(photos, 10, rng)).and_new(int(rng.integers(4)), rng)


def test_a_few_arrivals_a_night_leave_one_shard_that_is_not_full() -> None:
    for photos, anew in nights(800, lambda photos, rng, night: photos.and_new(3, rng)):
        held = np.bincount(photos.slot, photos.size)
        assert (held[:-1] > SHARD_BYTES - LARGEST).all()
        assert anew <= 2


def test_a_year_of_coming_and_going_leaves_no_more_shards_than_the_docs_say() -> None:
    counts = []
    for photos, anew in nights(1800, come_and_go):
        slots, places = np.unique(photos.slot, return_inverse=True)
        counts.append(len(slots))
        assert len(slots) <= most(photos)
        assert np.bincount(places, photos.size).max(initial=0) < SHARD_BYTES + LARGEST, "at most one photo over"
        assert anew <= 10 + 10 + 2, "no night makes more than the shards of what came and went, and two that are merged"
    assert counts[-1] < counts[0], "shards become fewer, too"


def test_a_night_after_a_merge_changes_nothing() -> None:
    """Nine photos of ten go in one night: shards are merged at once, and then left alone."""
    rng = np.random.default_rng(0)
    nothing = Photos(*(np.zeros(0, np.int64),) * 3)
    with duckdb.connect(config={"threads": 1}) as db:
        full = plan(nothing.and_new(2000, rng), nothing, db)
        left = full.without(rng.random(2000) < 0.9)
        assert len(np.unique(left.slot)) > most(left)
        merged = plan(left, full, db)
        assert len(np.unique(merged.slot)) == most(merged)
        assert contents(plan(merged, merged, db)) == contents(merged)
    stayed = merged.slot == left.slot
    assert stayed.any()
    assert (~stayed).any()
