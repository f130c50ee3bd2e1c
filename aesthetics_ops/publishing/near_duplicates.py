"""Find photos that look alike, so that none of them trains a model which another of them tests.

In: the records of a version with their perceptual hashes, and the groups of the version before.  Out: the records that
have a near-duplicate, each with the name of its group; `regroup.py` puts a group into one split.
Pure: equal input gives equal groups, whatever the order of the records.

Alike are hashes that differ in at most `max_distance` of 64 bits, and what is alike to the same is alike: groups are
connected components.  Two bounds keep hashes that say little from joining strangers without end:

- A group holds at most 100 photos.  The closest pairs join first, and a pair that would make a larger group is passed
  over.  Equal hashes always join; a hash of 0, a photo without structure, joins nothing.
- Where there are more pairs than 5 million, or finding them takes too long, a smaller distance is searched instead; the
  result says which.

Groups are sticky: photos that were together stay together while their bytes stay the same, and the name stays too, also
when the photo that gave it is gone.  So a photo moves when it gets a twin, and not again on the next night.
"""

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from aesthetics_ops.dataset.database import connect
from aesthetics_ops.dataset.manifest import NearDuplicates
from aesthetics_ops.dataset.spilled import take_rows
from aesthetics_ops.dataset.tables import NEAR_DUPLICATES
from aesthetics_ops.publishing.near_pairs import closest_pairs

__all__ = ["Groups", "NearDuplicateGroups", "find_groups", "group_records"]

_MOST_IN_GROUP: Final = 100
_EXAMPLES: Final = 5
_IDS_OF_EXAMPLE: Final = 10


@dataclass(frozen=True, slots=True)
class Groups:
    """What is alike.

    Attributes:
        labels: for each hash the position of the first one in its group, or -1 where it is alike to none; int64, shape (n,).
        max_distance: most differing bits that were taken for alike; below the one asked for where that was too much.
    """

    labels: np.ndarray
    max_distance: int


@dataclass(frozen=True, slots=True)
class NearDuplicateGroups:
    """The near-duplicates of a version.

    Attributes:
        table: rows of NEAR_DUPLICATES.schema, by group and id.  A photo whose twins are all gone is still there, alone in
            its group, so that it stays in the split that it is in.
        summary: what the manifest says of the groups, those with more than one photo.
    """

    table: pa.Table
    summary: NearDuplicates


def find_groups(phash: np.ndarray, *, max_distance: int, together: np.ndarray | None = None) -> Groups:
    """Group hashes that differ in few bits.

    Time and memory: 250,000 photos' hashes take seconds, and the work is bounded for any input (docs/pixels.md).

    Args:
        phash: perceptual hashes, uint64, shape (n,); 0 is never grouped.
        max_distance: most differing bits, 0 to 64.
        together: hashes of the same number stay in one group whatever they are, those of -1 are free; int64, shape (n,).
    """
    labels = np.full(len(phash), -1, np.int64)
    rows = np.flatnonzero(phash)
    hashes, place, copies = np.unique(phash[rows], return_inverse=True, return_counts=True)
    forest = _Forest(copies)
    if together is not None:
        for one, other in _neighbours(together[rows], place):
            forest.join(one, other)
    searched, pairs = closest_pairs(hashes, max_distance)
    for some in np.array_split(pairs, len(pairs) // 100_000 + 1):
        for one, other in some.tolist():
            forest.join(one, other, most=_MOST_IN_GROUP)
    roots = forest.roots()[place]
    _, first, member, sizes = np.unique(roots, return_index=True, return_inverse=True, return_counts=True)
    labels[rows] = np.where(sizes[member] > 1, rows[first[member]], -1)
    return Groups(labels, searched)


class _Forest:
    """Which hashes are joined, and how many photos each group has; only those that are joined take room."""

    def __init__(self, sizes: np.ndarray) -> None:
        self._parents: dict[int, int] = {}
        self._alone = sizes
        self._sizes: dict[int, int] = {}

    def roots(self) -> np.ndarray:
        """Return each one's root, int64."""
        roots = np.arange(len(self._alone))
        for number in list(self._parents):
            roots[number] = self.root(number)
        return roots

    def root(self, number: int) -> int:
        parents = self._parents
        while (parent := parents.get(number, number)) != number:
            above = parents.get(parent, parent)
            parents[number] = above
            number = above
        return number

    def join(self, one: int, other: int, *, most: int | None = None) -> None:
        one, other = self.root(one), self.root(other)
        if one == other:
            return
        sizes = self._size(one), self._size(other)
        if most is not None and sum(sizes) > most:
            return
        if sizes[0] < sizes[1]:
            one, other = other, one
        self._parents[other] = one
        self._sizes[one] = sum(sizes)

    def _size(self, root: int) -> int:
        return self._sizes.get(root) or int(self._alone[root])


def _neighbours(together: np.ndarray, place: np.ndarray) -> Iterator[tuple[int, int]]:
    """Yield places that have the same number, each with the next."""
    held = np.flatnonzero(together >= 0)
    order = held[np.argsort(together[held], kind="stable")]
    same = together[order[1:]] == together[order[:-1]]
    yield from zip(place[order[:-1][same]].tolist(), place[order[1:][same]].tolist(), strict=True)


def group_records(records: pa.Table, *, max_distance: int | None, before: pa.Table | None) -> NearDuplicateGroups:
    """Find the near-duplicates among the records of a version, and name their groups.

    Args:
        records: id, key, etag, split, shard, phash, as in RECORDS.schema; keys are unique.
        max_distance: most differing bits, 0 to 64; None looks for none.
        before: the groups of the version before, rows of NEAR_DUPLICATES.schema; None where there are none, or they
            were found with a larger distance.
    """
    if max_distance is None:
        return NearDuplicateGroups(none := NEAR_DUPLICATES.schema.empty_table(), _summary(none, None))
    phash = _numbers(records["phash"])
    places, names = _earlier_names(records, before)
    together = np.full(len(phash), -1, np.int64)
    together[places] = _codes(names)
    found = find_groups(phash, max_distance=max_distance, together=together)
    alone = np.flatnonzero((found.labels < 0) & (together >= 0) & (phash != 0))
    named = np.union1d(np.flatnonzero(found.labels >= 0), alone)
    members: dict[int, list[int]] = defaultdict(list)
    for row, label in zip(named.tolist(), found.labels[named].tolist(), strict=True):
        members[label if label >= 0 else row].append(row)
    ids = dict(zip(named.tolist(), take_rows(records.select(["id"]), named)["id"].to_pylist(), strict=True))
    earlier = dict(zip(places.tolist(), names.to_pylist(), strict=True))
    called = [(name, row) for name, rows in _names(list(members.values()), earlier, ids) for row in rows]
    called.sort(key=lambda pair: (pair[0], ids[pair[1]]))
    rows = np.array([row for _, row in called], np.int64)
    columns = take_rows(records.select(["id", "key", "etag", "split", "shard"]), rows)
    table = columns.add_column(0, "group", pa.array([name for name, _ in called], pa.string()))
    table = table.cast(NEAR_DUPLICATES.schema)
    return NearDuplicateGroups(table, _summary(table, found.max_distance))


def _numbers(column: pa.ChunkedArray) -> np.ndarray:
    """Return hashes of 16 hex digits as numbers, uint64."""
    blocks = (
        block for chunk in column.chunks for block in (chunk[at : at + 65536] for at in range(0, len(chunk), 65536))
    )
    found = [np.frombuffer(bytes.fromhex("".join(block.to_pylist())), ">u8").astype(np.uint64) for block in blocks]
    return np.concatenate([np.empty(0, np.uint64), *found])


def _earlier_names(records: pa.Table, before: pa.Table | None) -> tuple[np.ndarray, pa.ChunkedArray]:
    """Return which records' photos were in a group and still have the same bytes, int64, ascending, and the group's name."""
    if before is None:
        return np.empty(0, np.int64), pa.chunked_array([], pa.string())
    with connect() as db:
        db.register(
            "record", records.select(["key", "etag"]).append_column("place", pa.array(np.arange(records.num_rows)))
        )
        db.register("before", before)
        found = db.sql(
            'SELECT place, "group" FROM record JOIN before USING (key, etag) ORDER BY place'
        ).to_arrow_table()
    return found["place"].to_numpy(), found["group"]


def _codes(names: pa.ChunkedArray) -> np.ndarray:
    """Return a number for each name, in order of the names; int64."""
    codes: np.ndarray = pc.rank(names, tiebreaker="dense").to_numpy().astype(np.int64)
    return codes


def _names(
    groups: list[list[int]], earlier: Mapping[int, str], ids: Mapping[int, str]
) -> Iterator[tuple[str, list[int]]]:
    """Name each group: as most of its photos were called before, else after its first id."""
    counts = [Counter(name for row in rows if (name := earlier.get(row)) is not None) for rows in groups]
    claims = [min(((-count, name) for name, count in counted.items()), default=None) for counted in counts]
    taken = {claim[1] for claim in claims if claim is not None}
    for rows, claim in zip(groups, claims, strict=True):
        if claim is not None:
            yield claim[1], rows
            continue
        own = sorted(ids[row] for row in rows)
        # a photo that changed and left its group may have left its id there, as the name
        more = (f"{own[0]}~{number}" for number in itertools.count(2))
        name = next(name for name in itertools.chain(own, more) if name not in taken)
        taken.add(name)
        yield name, rows


def _summary(table: pa.Table, max_distance: int | None) -> NearDuplicates:
    with connect() as db:
        db.register("near", table)
        groups = db.sql(f"""
            SELECT count(*) AS photos, count(DISTINCT split) > 1 AS is_spanning, list(id ORDER BY id)[:{_IDS_OF_EXAMPLE}] AS ids
            FROM near GROUP BY "group" HAVING photos > 1 ORDER BY is_spanning DESC, "group" """).fetchall()  # noqa: S608
    return NearDuplicates(
        max_distance=max_distance,
        groups=len(groups),
        records=sum(photos for photos, _, _ in groups),
        spanning_splits=sum(is_spanning for _, is_spanning, _ in groups),
        examples=tuple(tuple(ids) for _, _, ids in groups[:_EXAMPLES]),
    )
