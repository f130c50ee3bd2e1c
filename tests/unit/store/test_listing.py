"""A long listing lies in a file of scratch while it is read and afterwards; a full disk is told as such."""

import uuid
from bisect import bisect_right
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from aesthetics_ops.errors import ScratchSpaceError
from aesthetics_ops.store import listing as module
from aesthetics_ops.store.listing import Batches, batch_of, listing
from aesthetics_ops.store.pages import Page
from aesthetics_ops.store.ranges import Ask, list_ranges

MANY = 300_000
PAGE = 100
KEYS = [f"{number:07}.jpg" for number in range(MANY)]


class Objects:
    """Objects of numbered keys, which notes how much memory Arrow holds while they are asked for, beside what it held before."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.before, self.most = pa.total_allocated_bytes(), 0

    def note(self) -> None:
        self.most = max(self.most, pa.total_allocated_bytes() - self.before)

    def rows(self, first: int, end: int) -> list[tuple[str, int, str]]:
        self.note()
        return [(KEYS[number], number, f"{number:032x}") for number in range(first, min(end, self.count))]

    def one_after_the_other(self) -> Iterator[tuple[str, int, str]]:
        for first in range(0, self.count, 1000):
            yield from self.rows(first, first + 1000)

    def pages(self, low: str) -> Iterator[Page]:
        begin = bisect_right(KEYS, low, hi=self.count)
        for first in range(begin, max(self.count, begin + 1), PAGE):
            yield Page(self.rows(first, first + PAGE), [], "more" if first + PAGE < self.count else None)

    def first(self, low: str) -> str | None:
        self.note()
        return next(iter(KEYS[(after := bisect_right(KEYS, low)) : min(after + 1, self.count)]), None)

    def by_ranges(self, scratch: Path | None) -> pa.Table:
        head = self.rows(0, 2 * PAGE)
        batches = Batches(scratch)
        first = batches.add(batch_of(0, head))
        numbers = list_ranges(Ask(self.pages, self.first, lambda rows: batch_of(0, rows)), head, "", batches)
        assert numbers is not None
        return batches.table([first, *numbers])

    def page_after_page(self, scratch: Path | None) -> pa.Table:
        return listing(0, self.one_after_the_other(), scratch)


@pytest.mark.parametrize("way", [Objects.by_ranges, Objects.page_after_page])
def test_the_rows_of_a_long_listing_are_not_in_memory_together(
    way: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sixteen ranges hold sixteen pages each, a twelfth of all; what they hold twice for a moment depends on their threads."""
    monkeypatch.setattr(module, "_FEW_ROWS", MANY // 100)
    objects = Objects(MANY)
    found = way(objects, tmp_path)  # type: ignore[operator]
    objects.note()
    assert objects.most < found.nbytes / 2
    assert pa.total_allocated_bytes() - objects.before < found.nbytes / 20
    assert found["size"].to_numpy().tolist() == list(range(MANY))
    assert (found["key"][0].as_py(), found["key"][-1].as_py()) == (KEYS[0], KEYS[-1])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("way", [Objects.by_ranges, Objects.page_after_page])
def test_the_rows_are_the_same_in_memory_and_in_a_file(way: object, tmp_path: Path) -> None:
    in_memory, in_file = (way(Objects(110_000), place) for place in (None, tmp_path))  # type: ignore[operator]
    assert in_memory == in_file


def test_keys_in_another_order_are_sorted_wherever_they_lie(tmp_path: Path) -> None:
    rows = Objects(110_000).rows(0, 110_000)
    assert listing(0, iter(rows[::-1]), tmp_path) == listing(0, iter(rows))


@pytest.mark.parametrize("way", [Objects.by_ranges, Objects.page_after_page])
def test_a_full_disk_is_not_the_stores_fault(way: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = uuid.UUID(int=1)
    monkeypatch.setattr(module, "uuid4", lambda: name)
    (tmp_path / f"listing-{name.hex}.arrow").symlink_to("/dev/full")
    with pytest.raises(ScratchSpaceError, match="is full; free some"):
        way(Objects(MANY), tmp_path)  # type: ignore[operator]
