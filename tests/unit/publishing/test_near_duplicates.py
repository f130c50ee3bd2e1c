"""Near-duplicates are found exactly, whatever the order, and their groups do not change their names."""

import itertools
from collections import defaultdict

import cv2
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import settings as settings_of_hypothesis
from hypothesis import strategies as st

from aesthetics_ops.dataset.tables import NEAR_DUPLICATES
from aesthetics_ops.pixels.photo import Converted, convert_photo
from aesthetics_ops.publishing import near_duplicates as duplicates
from aesthetics_ops.publishing import near_pairs
from aesthetics_ops.publishing.near_duplicates import find_groups, group_records
from aesthetics_ops.settings import BuildSettings, PixelSettings
from tests.support.paths import ROOT

SAMPLES = ROOT / "samples" / "photos"
# what samples/ATTRIBUTION.csv says was made from another photo there
MADE_FROM = {
    "909299": "947949", "926301": "952299", "937125": "943163", "927155": "902203", "943994": "918037", "949846": "934158",
    "948740": "943515",
}  # fmt: skip
DEFAULT = BuildSettings.model_fields["near_duplicate_distance"].default


def hashes(values: list[int]) -> np.ndarray:
    return np.array(values, np.uint64)


def balanced(count: int, seed: int) -> np.ndarray:
    """Hashes with as many ones as zeros, as the project's are."""
    signs = np.random.default_rng(seed).permuted(np.tile(np.arange(64) < 32, (count, 1)), axis=1)
    return np.packbits(signs, axis=1).view(">u8").ravel().astype(np.uint64)


def flipped(value: int, *bits: int) -> int:
    for bit in bits:
        value ^= 1 << bit
    return value


def groups(labels: np.ndarray) -> list[list[int]]:
    found = defaultdict(list)
    for row, label in enumerate(labels.tolist()):
        if label >= 0:
            found[label].append(row)
    assert all(label == min(rows) and len(rows) > 1 for label, rows in found.items())
    return sorted(found.values())


def components(values: list[int], distance: int) -> list[list[int]]:
    """The same by comparing all pairs, and following them from each photo."""
    array = hashes(values)
    alike = (np.bitwise_count(array[:, None] ^ array) <= distance) & (array != 0) & (array[:, None] != 0)
    left, found = set(range(len(values))), []
    while left:
        reached, new = set(), {left.pop()}
        while new:
            reached |= new
            new = {int(other) for row in new for other in np.flatnonzero(alike[row])} - reached
        left -= reached
        found.append(sorted(reached))
    return sorted(rows for rows in found if len(rows) > 1)


near_values = st.one_of(
    st.integers(0, 2**64 - 1),
    st.builds(
        lambda base, bits: flipped(base, *bits),
        st.sampled_from([0, 0x0F0F_3355_AA00_FF11, 0x8000_0000_0000_0001, 2**64 - 1]),
        st.lists(st.integers(0, 63), max_size=8),
    ),
)


@settings_of_hypothesis(max_examples=150, deadline=None)
@given(st.lists(near_values, max_size=40), st.integers(0, 16))
def test_groups_are_the_connected_components_that_comparing_all_pairs_finds(values: list[int], distance: int) -> None:
    found = find_groups(hashes(values), max_distance=distance)
    assert found.max_distance == distance
    assert groups(found.labels) == components(values, distance)


@pytest.mark.parametrize(
    ("distance", "at_once"),
    [(distance, at_once) for distance in (0, 1, 4, 6, 7, 64) for at_once in (1, 100_000)] + [(1, 50), (4, 50)],
)
def test_no_pair_is_missed_however_many_blocks_and_parts_are_used(
    distance: int, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(near_pairs, "_SORTED_AT_ONCE", at_once)
    values = balanced(160, 1).tolist()  # of fewer, the costs below decide for other blocks
    rng = np.random.default_rng(2)
    values += [flipped(values[row], *rng.choice(64, min(distance, 12), replace=False).tolist()) for row in range(60)]
    expected = components(values, distance)
    monkeypatch.setattr(duplicates, "_MOST_IN_GROUP", 10_000)
    for cost in (0, 1, 100):  # of sorting: decides into how many blocks the bits are cut
        monkeypatch.setattr(near_pairs, "_SORTING", cost)
        assert groups(find_groups(hashes(values), max_distance=distance).labels) == expected


def test_planted_groups_are_found_among_many_strangers_with_few_comparisons(monkeypatch: pytest.MonkeyPatch) -> None:
    strangers = balanced(100_000, 3)
    planted = [strangers[:500].tolist()]
    for number in range(3):
        planted.append([flipped(value, number, 20 + number, 40 + number) for value in planted[0]])
    order = np.random.default_rng(4).permutation(100_000 + 1500)
    values = np.concatenate([strangers, *map(hashes, planted[1:])])[order]
    monkeypatch.setattr(near_pairs, "_MOST_COMPARISONS", 10_000_000)  # all pairs are 5,000 million
    searched = find_groups(values, max_distance=6)
    assert searched.max_distance == 6, "it took no more"
    found = groups(searched.labels)
    assert len(found) == 500
    assert {len(rows) for rows in found} == {4}


def test_photos_without_structure_are_alike_to_none() -> None:
    labels = find_groups(hashes([0, 0, 1, 3, 0]), max_distance=2).labels
    assert labels.tolist() == [-1, -1, 2, 2, -1]


def test_nothing_and_one_hash_make_no_group() -> None:
    assert find_groups(hashes([]), max_distance=6).labels.tolist() == []
    assert find_groups(hashes([7]), max_distance=6).labels.tolist() == [-1]


class TestBounds:
    """Hashes that say little join no strangers without end."""

    CHAIN = tuple(flipped(0xFFFF, *range(16, 16 + length)) for length in range(1, 49))

    def test_a_chain_is_one_group_while_it_is_short(self) -> None:
        assert len(groups(find_groups(hashes(list(self.CHAIN)), max_distance=2).labels)) == 1

    def test_a_long_chain_is_cut(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(duplicates, "_MOST_IN_GROUP", 8)
        found = groups(find_groups(hashes(list(self.CHAIN)), max_distance=2).labels)
        assert {row for rows in found for row in rows} == set(range(48))
        assert max(map(len, found)) <= 8

    def test_the_closest_join_first(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(duplicates, "_MOST_IN_GROUP", 2)
        base = 0xFF00FF
        values = hashes([flipped(base, 1, 2, 3), base, flipped(base, 9)])
        assert groups(find_groups(values, max_distance=4).labels) == [[1, 2]]

    def test_equal_hashes_join_whatever_their_number(self) -> None:
        assert groups(find_groups(hashes([5] * 300), max_distance=2).labels) == [list(range(300))]

    @pytest.mark.parametrize("bound", ["_MOST_PAIRS", "_MOST_COMPARISONS"])
    def test_where_too_much_is_alike_a_smaller_distance_is_searched(
        self, bound: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        values = hashes([flipped(0xFFFF_0000, bit, other) for bit, other in itertools.combinations(range(64), 2)])
        monkeypatch.setattr(near_pairs, bound, 20_000)
        found = find_groups(np.r_[values, values[:1]], max_distance=6)
        assert found.max_distance < 6
        assert found.labels[0] == found.labels[-1] >= 0

    def test_each_pair_counts_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        values = hashes(
            [flipped(0x0F0F_3355_AA00_FF11, bit, other) for bit, other in itertools.combinations(range(12), 2)]
        )
        within = np.bitwise_count(values[:, None] ^ values) <= 4
        pairs = int(np.triu(within, 1).sum())
        monkeypatch.setattr(near_pairs, "_MOST_PAIRS", pairs)
        assert find_groups(values, max_distance=4).max_distance == 4
        monkeypatch.setattr(near_pairs, "_MOST_PAIRS", pairs - 1)
        assert find_groups(values, max_distance=4).max_distance == 2

    def test_what_was_cut_stays_cut_when_it_is_grouped_again(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(duplicates, "_MOST_IN_GROUP", 8)
        values = hashes(list(self.CHAIN))
        first = find_groups(values, max_distance=2).labels
        assert find_groups(values, max_distance=2, together=first).labels.tolist() == first.tolist()


def records(photos: dict[str, int], *, etags: dict[str, str] | None = None) -> pa.Table:
    ids = list(photos)
    return pa.table({
        "id": pa.array(ids, pa.string()),
        "key": pa.array([f"{name}.jpg" for name in ids], pa.string()),
        "etag": pa.array([(etags or {}).get(name, "etag") for name in ids], pa.string()),
        "split": pa.array(["test" if name.startswith("t") else "train" for name in ids], pa.string()),
        "shard": pa.array(["shards/s"] * len(ids), pa.string()),
        "phash": pa.array([f"{value:016x}" for value in photos.values()], pa.string()),
    })  # fmt: skip


A, B = 0xFFFF_FFFF, 0xFFFF_0000_FFFF


class TestNames:
    """A group keeps its name, so that its photos stay in the split that they are in."""

    def names(self, photos: dict[str, int], before: pa.Table | None = None, **options: object) -> dict[str, str]:
        self.table = group_records(records(photos, **options), max_distance=2, before=before).table  # type: ignore[arg-type]
        assert self.table.schema == NEAR_DUPLICATES.schema
        return dict(zip(self.table["id"].to_pylist(), self.table["group"].to_pylist(), strict=True))

    def test_a_new_group_is_called_after_its_first_id(self) -> None:
        assert self.names({"b": A, "a": flipped(A, 1), "c": B}) == {"a": "a", "b": "a"}

    def test_the_order_of_records_changes_nothing(self) -> None:
        photos = {"b": A, "a": flipped(A, 1), "t1": B, "c": B, "d": 0}
        one = group_records(records(photos), max_distance=2, before=None)
        two = group_records(records(dict(reversed(photos.items()))), max_distance=2, before=None)
        assert one.table.equals(two.table)
        assert one.summary == two.summary

    def test_it_keeps_its_name_when_it_grows_and_when_the_photo_that_gave_it_is_gone(self) -> None:
        self.names({"m": A, "n": flipped(A, 1)})
        assert self.names({"m": A, "n": flipped(A, 1), "a": A}, self.table) == {"m": "m", "n": "m", "a": "m"}
        assert self.names({"n": flipped(A, 1), "a": A}, self.table) == {"n": "m", "a": "m"}

    def test_a_photo_whose_twins_are_gone_is_remembered_and_not_counted(self) -> None:
        self.names({"m": A, "n": A})
        left = group_records(records({"n": A, "c": B}), max_distance=2, before=self.table)
        assert left.table.select(["id", "group"]).to_pylist() == [{"id": "n", "group": "m"}]
        assert (left.summary.groups, left.summary.records, left.summary.examples) == (0, 0, ())

    def test_a_photo_that_became_another_leaves_and_may_join_a_new_group(self) -> None:
        self.names({"m": A, "n": A, "o": A})
        changed = {"m": B, "n": A, "o": A, "p": B}
        # the name m stays with those who had it
        assert self.names(changed, self.table, etags={"m": "another"}) == {"m": "p", "n": "m", "o": "m", "p": "p"}

    def test_two_groups_that_a_new_photo_joins_take_the_name_that_more_have(self) -> None:
        close = flipped(A, 1, 2)
        first = {"m": A, "n": A, "b": flipped(A, 1, 2, 3, 4), "c": flipped(A, 1, 2, 3, 4), "d": flipped(A, 1, 2, 3, 4)}
        assert set(self.names(first).values()) == {"m", "b"}
        assert set(self.names(first | {"z": close}, self.table).values()) == {"b"}

    def test_grouping_again_changes_nothing(self) -> None:
        photos = {f"{number}": int(value) for number, value in enumerate(balanced(40, 5))}
        photos |= {f"t{number}": flipped(photos[str(number % 20)], number % 7) for number in range(60)}
        once = self.names(photos)
        table = self.table
        assert self.names(photos, table) == once
        assert self.table.equals(table)

    def test_the_summary_counts_groups_that_span_splits_and_shows_them_first(self) -> None:
        photos = {"a": A, "b": A, "c": B, "t1": B, "t2": B, "d": 0}
        summary = group_records(records(photos), max_distance=6, before=None).summary
        assert (summary.groups, summary.records, summary.spanning_splits, summary.max_distance) == (2, 5, 1, 6)
        assert summary.examples == (("c", "t1", "t2"), ("a", "b"))

    def test_no_distance_means_no_search(self) -> None:
        near = group_records(records({"a": A, "b": A}), max_distance=None, before=None)
        assert near.table.num_rows == 0
        assert (near.summary.max_distance, near.summary.groups) == (None, 0)


def test_of_the_sample_photos_those_are_alike_that_were_made_from_one_another() -> None:
    pixels = PixelSettings("keep", quality=95, max_side_px=None, max_pixels=100_000_000)
    converted = {path.stem: convert_photo(path.read_bytes(), pixels) for path in sorted(SAMPLES.iterdir())}
    photos = {name: photo.phash for name, photo in converted.items() if isinstance(photo, Converted)}
    assert len(photos) > 75
    names = list(photos)
    found = groups(find_groups(hashes(list(photos.values())), max_distance=DEFAULT).labels)
    assert sorted(tuple(names[row] for row in rows) for rows in found) == sorted(
        tuple(sorted(pair)) for pair in MADE_FROM.items()
    )


def test_a_thousand_different_pictures_are_not_grouped() -> None:
    """Pieces of the sample photos that do not overlap, and each upside down: harder than photos, being plainer."""
    settings = PixelSettings("keep", quality=95, max_side_px=None, max_pixels=100_000_000)
    found = []
    for path in sorted(SAMPLES.iterdir()):
        array = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
        if array is None or path.stem in MADE_FROM:
            continue
        rows, columns = (4, 3) if array.shape[0] > array.shape[1] else (3, 4)
        for row in np.array_split(array, rows):
            for piece in np.array_split(row, columns, axis=1):
                for picture in (piece, cv2.flip(piece, 0)):
                    data = cv2.imencode(".jpg", picture, (cv2.IMWRITE_JPEG_QUALITY, 95))[1].tobytes()
                    photo = convert_photo(data, settings)
                    assert isinstance(photo, Converted)
                    found.append(photo.phash)
    different = [value for value in found if value]
    assert len(different) > 1000
    assert groups(find_groups(hashes(different), max_distance=DEFAULT).labels) == []
