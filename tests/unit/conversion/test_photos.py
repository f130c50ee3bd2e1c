"""The plan's rows become records without a value changed or a row moved."""

import pyarrow as pa

from aesthetics_ops.conversion.photos import PlannedPhoto, photos_of
from aesthetics_ops.dataset.tables import PLAN


def rows(count: int) -> pa.Table:
    """Rows of a plan, more than are in memory at once; each third photo has votes."""
    return pa.Table.from_pylist(
        [
            {
                "key": f"{number}.jpg",
                "etag": f"etag of {number}",
                "size": number << 32,
                "id": f"photo {number}",
                "split": "train",
                "slot": 0,
                "digest": "d" * 64,
                "label": number / 7,
                "distribution": [number / share for share in range(1, 11)] if number % 3 == 0 else None,
            }
            for number in range(count)
        ],
        schema=PLAN.schema,
    )


def test_every_row_becomes_a_photo_in_order():
    table = rows(2500)
    expected = [[row[name] for name in PlannedPhoto._fields[:-1]] + [None] for row in table.to_pylist()]
    assert [list(photo) for photo in photos_of(table)] == expected
    assert [list(photo) for photo in photos_of(table.slice(1000, 100))] == expected[1000:1100]


def test_no_rows_are_no_photos():
    assert list(photos_of(rows(0))) == []
