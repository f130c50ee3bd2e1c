"""What is found in a version's tables does not depend on how many of their rows are looked at together."""

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from aesthetics_ops.dataset.layout import VersionFile, version_key
from aesthetics_ops.dataset.manifest import Manifest
from aesthetics_ops.errors import IntegrityError
from aesthetics_ops.rejects import RejectReason
from aesthetics_ops.store import open_store
from aesthetics_ops.testing.datasets import LeftOut, SyntheticDataset, synthetic_photos
from aesthetics_ops.versions.accounts import check_tables
from aesthetics_ops.versions.counts import check_counts
from aesthetics_ops.versions.rows import VersionTables

FILES = (VersionFile.RECORDS, VersionFile.REJECTS, VersionFile.NEAR_DUPLICATES, VersionFile.PLAN)
Change = Callable[[pa.Table], pa.Table]


@pytest.fixture(scope="module")
def published() -> tuple[Manifest, dict[VersionFile, bytes]]:
    """A version of 40 photos in shards of seven, with five rejects, and its tables."""
    store = open_store("memory://accounts/accounts/")
    left_out = [LeftOut(f"q{number}.jpg", RejectReason.CORRUPT, "cut off") for number in range(4)]
    photos = synthetic_photos(40)
    version = SyntheticDataset(store, per_shard=7).publish(
        photos, [*left_out, LeftOut(None, RejectReason.LABEL_WITHOUT_PHOTO, "nobody")]
    )
    return version.manifest, {file: bytes(store.get(version_key(version.version, file)).data) for file in FILES}


@pytest.fixture
def stored(published: tuple[Manifest, dict[VersionFile, bytes]], tmp_path: Path) -> tuple[Manifest, Path]:
    """Its manifest, and a folder of its tables, which a test may change."""
    manifest, tables = published
    for file, data in tables.items():
        (tmp_path / file).write_bytes(data)
    return manifest, tmp_path


def check(manifest: Manifest, folder: Path, rows_at_once: int) -> str:
    """What is found, or nothing."""
    try:
        tables = VersionTables(manifest, folder, rows_at_once=rows_at_once)
        check_tables(tables)
        check_counts(tables)
    except IntegrityError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("rows_at_once", [1, 6, 7, 8, 1000])
def test_a_whole_version_is_whole(stored: tuple[Manifest, Path], rows_at_once: int) -> None:
    assert check(*stored, rows_at_once) == ""


def changed(column: str, row: int, value: object) -> Change:
    def change(table: pa.Table) -> pa.Table:
        values = table[column].to_pylist()
        values[row] = value
        place = table.schema.get_field_index(column)
        return table.set_column(place, table.schema.field(column), pa.array(values, table.schema.field(column).type))

    return change


CHANGES: dict[str, tuple[VersionFile, Change, str]] = {
    "a label": (VersionFile.RECORDS, changed("label", 30, 9.75), "label of row 30, id "),
    "a digest": (VersionFile.PLAN, changed("digest", 30, "0" * 64), "digest"),
    "a size": (VersionFile.PLAN, changed("size", 30, 7), "digest"),
    "a shard": (VersionFile.RECORDS, changed("shard", 30, "shards/00/0.tfrecord"), "shard of row 30, id "),
    "a key twice": (VersionFile.RECORDS, changed("key", 30, "p000.jpg"), "key 'p000.jpg' stands 2 times"),
    "a strange key": (VersionFile.RECORDS, changed("key", 30, "x"), "key 'x' is that of no row of plan.parquet"),
    "a reason": (VersionFile.REJECTS, changed("reason", 3, "too_small"), "reason of row 3, id 'q3.jpg'"),
    "a place": (VersionFile.PLAN, changed("slot", -1, 1), "slot of photo 'q3.jpg', which has no digest, is not null"),
    "a width": (VersionFile.RECORDS, changed("width", 30, 33), "images."),
    "a missing width": (VersionFile.RECORDS, changed("width", 30, None), "column width has rows without a value"),
    "a label that is no number": (VersionFile.RECORDS, changed("label", 30, float("nan")), "label of row 30"),
    "no row": (VersionFile.RECORDS, lambda table: table.slice(0, 0), "rows of photos 4 is not 44"),
    "a row less": (VersionFile.RECORDS, lambda table: table.slice(1), "rows of photos 4 is not 5"),
    "a row less of the plan": (VersionFile.PLAN, lambda table: table.slice(0, 43), "rows 43 is not 44"),
    "two rows the other way round": (
        VersionFile.RECORDS, lambda table: table.take([1, 0, *range(2, 40)]), "key of row 0",
    ),
    "a transform": (VersionFile.RECORDS, changed("transforms", 30, ["resized"]), "transforms."),
    "another type": (
        VersionFile.PLAN, lambda table: table.set_column(2, "size", pc.cast(table["size"], pa.string())),
        "column size is string, where int64 belongs",
    ),
    "words for numbers": (
        VersionFile.PLAN, lambda table: table.set_column(2, "size", pa.array(["x"] * 44)), "column size is string, where int64",
    ),
    "two columns of a name": (
        VersionFile.PLAN, lambda table: table.append_column("size", table["size"]), "two columns of one name",
    ),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_what_differs_is_the_same_however_many_rows_are_looked_at(stored: tuple[Manifest, Path], change: str) -> None:
    file, alter, expected = CHANGES[change]
    manifest, folder = stored
    pq.write_table(alter(pq.read_table(folder / file)), folder / file)
    whole = check(manifest, folder, 1000)
    assert expected in whole
    assert bool(whole) == bool(expected)
    for rows_at_once in (6, 7):  # row 30 is the first one of its block, or inside one
        assert check(manifest, folder, rows_at_once) == whole
