"""What changed between two versions, photo by photo: every kind of change, and nothing that did not."""

from typing import Any

import pyarrow as pa
import pytest

from aesthetics_ops.dataset.tables import RECORDS
from aesthetics_ops.versions.diff import COMPARED, Change, Changes, compare_records

KEPT = {
    "id": "a", "key": "x/a.jpg", "etag": "e1", "split": "train", "shard": "s", "offset": 0, "length": 900, "label": 5.0,
    "width": 60, "height": 40, "bytes": 800, "transforms": ["metadata_dropped"], "phash": "0" * 16,
}  # fmt: skip
ENCODED = KEPT | {"transforms": ["oriented", "reencoded"]}
SETTINGS = {"encoding": "keep", "quality": 95, "max_side_px": None}
KINDS = ["added", "removed", "relabelled", "repixelled", "moved", "annotated"]


def table(*rows: dict[str, Any]) -> pa.Table:
    return pa.Table.from_pylist(list(rows), RECORDS.schema)


def kinds(
    old: dict[str, Any], new: dict[str, Any], old_settings: dict[str, Any] = SETTINGS, **changed: Any
) -> list[str]:
    """What happened to one photo."""
    found = compare_records(table(old), table(new), old_settings, old_settings | changed)
    return [kind for kind, change in found.by_kind.items() if change.count]


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, []),
        ({"label": 6.0}, ["relabelled"]),
        ({"split": "test"}, ["moved"]),
        ({"etag": "e2"}, ["repixelled"]),
        ({"transforms": []}, ["repixelled"]),
        ({"width": 61}, ["repixelled"]),
        ({"height": 41}, ["repixelled"]),
        ({"bytes": 801}, ["repixelled"]),
        ({"label": 6.0, "etag": "e2", "split": "test"}, ["relabelled", "repixelled", "moved"]),
        # where it lies, and what it is called, is not what it is
        ({"shard": "t", "offset": 7, "length": 901}, []),
        ({"id": "b"}, []),
        # a photo is its key
        ({"key": "x/b.jpg"}, ["added", "removed"]),
    ],
)
def test_each_kind_of_change_is_seen(changed: dict[str, Any], expected: list[str]) -> None:
    assert kinds(KEPT, KEPT | changed) == expected
    assert kinds(KEPT | changed, KEPT) == expected


@pytest.mark.parametrize(
    ("photo", "changed", "expected"),
    [
        # the same number of bytes, by chance
        (ENCODED, {"quality": 90}, ["repixelled"]),
        (KEPT, {"quality": 90}, []),
        # a photo that was encoded before is encoded in the same way, and one within the limit is not scaled
        (ENCODED, {"encoding": "reencode", "max_side_px": 60}, []),
        (KEPT, {"encoding": "keep", "max_side_px": 60}, []),
        (ENCODED, {"min_records": 2}, []),
    ],
)
def test_another_quality_changes_what_was_encoded_and_nothing_that_was_kept(
    photo: dict[str, Any], changed: dict[str, Any], expected: list[str]
) -> None:
    assert kinds(photo, photo, **changed) == expected


def test_a_photo_that_is_encoded_now_and_was_kept_before_changed() -> None:
    assert kinds(KEPT, ENCODED, encoding="reencode") == ["repixelled"]


def test_settings_of_a_version_that_did_not_know_of_quality_are_compared_too() -> None:
    assert kinds(ENCODED, ENCODED, {}, quality=90) == ["repixelled"]
    assert kinds(ENCODED, ENCODED, {}) == []


def test_ten_examples_are_named_in_order_with_the_names_of_the_later_version() -> None:
    old = [KEPT | {"id": f"old{n:02}", "key": f"{n}"} for n in range(30)]
    new = [KEPT | {"id": f"new{n:02}", "key": f"{n}", "label": 1.0} for n in reversed(range(5, 40))]
    found = compare_records(table(*old), table(*new), SETTINGS, SETTINGS)
    assert found == Changes(
        added=Change(10, tuple(f"new{n}" for n in range(30, 40))),
        removed=Change(5, tuple(f"old{n:02}" for n in range(5))),
        relabelled=Change(25, tuple(f"new{n:02}" for n in range(5, 15))),
        repixelled=Change(0, ()),
        moved=Change(0, ()),
    )
    assert list(found.by_kind) == KINDS


def test_nothing_but_the_columns_that_are_named_is_needed() -> None:
    photo = table(KEPT).select(COMPARED)
    assert compare_records(photo, photo, SETTINGS, SETTINGS) == Changes(*[Change(0, ())] * 5)
    assert compare_records(photo.slice(0, 0), photo, SETTINGS, SETTINGS).added == Change(1, ("a",))
