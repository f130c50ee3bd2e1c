"""The records and rejects of a version: joined from files, in the plan's order."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aesthetics_ops.builds import LostPhoto
from aesthetics_ops.dataset.layout import ShardFile, shard_key
from aesthetics_ops.dataset.results import RecordIndex, RejectedPhoto, ShardResult
from aesthetics_ops.dataset.tables import PLAN, RECORDS, REJECTS, UNMATCHED
from aesthetics_ops.publishing.tables import AddedRows, Inherited, MoreColumns, Outcome, join_tables, rows_of
from aesthetics_ops.rejects import RejectReason

NEW, OLD, LESS, GONE = ("1" * 64, "2" * 64, "3" * 64, "4" * 64)
DIGESTS = {"a": NEW, "b": NEW, "c": NEW, "d": OLD, "e": OLD, "f": "5" * 64, "g": "5" * 64, "h": GONE}


def planned() -> pa.Table:
    def row(name: str, **more: Any) -> dict[str, Any]:
        there = {"key": f"{name}.jpg", "id": name, "etag": f"of {name}", "size": 10, "split": "train", "slot": 0}
        votes = {"votes": [ord(name), 1], "extra_scores": [float(ord(name)), 0.5]}
        return there | votes | {"label": ord(name) / 128, "digest": DIGESTS.get(name)} | more

    left_out = row("z", split=None, label=None, reason="unlabelled", detail="no row", votes=None, extra_scores=None)
    rows = [*(row(name) for name in DIGESTS), left_out]
    return pa.Table.from_pylist([{name: found.get(name) for name in PLAN.schema.names} for found in rows], PLAN.schema)


def result_of(digest: str, names: str, rejected: str = "") -> ShardResult:
    count = len(names)
    index = RecordIndex(
        key=[f"{name}.jpg" for name in names], id=list(names), offset=list(range(count)), length=[7] * count,
        bytes=[5] * count, width=[ord(name) for name in names], height=[9] * count, transforms=[["jpeg_kept"]] * count,
        phash=["0" * 16] * count, progressive=[False] * count, sampling=["4:2:0"] * count,
        brightness=[ord(name) / 16 for name in names], contrast=[None] * count,
    )  # fmt: skip
    gone = tuple(RejectedPhoto(key=f"{name}.jpg", reason=RejectReason.CORRUPT, detail="cut") for name in rejected)
    return ShardResult(
        digest=digest, photos=count + len(gone), records=count, bytes=9, sha256="0" * 64, crc32c="0" * 8,
        converter_version=1, index=index, rejected=gone,
    )  # fmt: skip


def inherited(folder: Path) -> Inherited:
    """What another version has: `d` of a shard that is kept, of an earlier release, and a row of one that is not."""
    path = shard_key(OLD, ShardFile.RECORDS)
    rows = [
        {"key": "d.jpg", "shard": path, "width": 4, "phash": "f" * 16, "transforms": []},
        {"key": "a.jpg", "shard": shard_key("9" * 64, ShardFile.RECORDS), "width": 1, "transforms": []},
    ]
    names = [name for name in RECORDS.schema.names if name not in {"progressive", "sampling", "brightness", "contrast"}]
    schema = pa.schema([RECORDS.schema.field(name) for name in names])
    pq.write_table(pa.Table.from_pylist(rows, schema), folder / "old'records.parquet")
    rejects = [{"key": "e.jpg", "shard": path, "reason": "corrupt", "detail": "as before"}]
    return Inherited(frozenset({path}), folder / "old'records.parquet", pa.Table.from_pylist(rejects, REJECTS.schema))


@pytest.mark.parametrize("in_file", [True, False])
def test_rows_come_from_results_and_from_another_version_in_the_plans_order(tmp_path: Path, in_file: bool) -> None:
    plan: pa.Table | Path = planned()
    if in_file:
        pq.write_table(plan, tmp_path / "plan.parquet", row_group_size=2)
        plan = tmp_path / "plan.parquet"
    added = AddedRows(tmp_path)
    added.add(rows_of(result_of(LESS, "f")))
    added.add(rows_of(result_of(NEW, "ca", rejected="b")))
    added.close()
    lost = tuple(
        LostPhoto(key=f"{name}.jpg", digest=DIGESTS[name], reason=RejectReason.SOURCE_MISSING, detail="gone")
        for name in "gh"
    )
    kept = pa.table({"key": ["c.jpg", "a.jpg"], "camera": pa.array(["x", "y"]).dictionary_encode()})
    more = MoreColumns(votes=("votes",), extra_scores=("sharp", "warm"), kept=kept)
    unmatched = pa.table({"row": [3], "name": ["nobody"]}, schema=UNMATCHED.schema)
    outcome = Outcome({NEW: NEW, DIGESTS["f"]: LESS, GONE: ""}, lost)

    records, rejects = join_tables(plan, outcome, added, inherited(tmp_path), unmatched, more, tmp_path)

    found = records.table
    assert found["id"].to_pylist() == ["a", "c", "d", "f"]
    assert found["shard"].to_pylist() == [shard_key(digest, ShardFile.RECORDS) for digest in (NEW, NEW, OLD, LESS)]
    assert found["width"].to_pylist() == [97, 99, 4, 102]
    assert found["sampling"].to_pylist() == ["4:2:0", "4:2:0", None, "4:2:0"]
    assert found["brightness"].to_pylist() == [97 / 16, 99 / 16, None, 102 / 16]
    assert found["contrast"].null_count == 4
    assert found["votes"].to_pylist() == [[97, 1], [99, 1], [100, 1], [102, 1]]
    assert found["label/sharp"].to_pylist() == [97, 99, 100, 102]
    assert found["camera"].to_pylist() == ["y", "x", None, None]
    assert found.schema.field("votes").type == PLAN.schema.field("votes").type
    assert found.schema.field("camera").type == kept.schema.field("camera").type
    assert found.select(RECORDS.names).schema == RECORDS.schema

    assert rejects.table.schema == REJECTS.schema
    assert [(row["id"], row["reason"], row["detail"]) for row in rejects.table.to_pylist()] == [
        ("b", "corrupt", "cut"),
        ("e", "corrupt", "as before"),
        ("g", "source_missing", "gone"),
        ("h", "source_missing", "gone"),
        ("z", "unlabelled", "no row"),
        ("nobody", "label_without_photo", "row 3 of the score file"),
    ]


def test_no_photo_at_all_gives_tables_without_rows(tmp_path: Path) -> None:
    added = AddedRows(tmp_path)
    added.close()
    kept = pa.table({"key": pa.array([], pa.string()), "camera": pa.array([], pa.string())})
    records, rejects = join_tables(
        PLAN.schema.empty_table(), Outcome({}, ()), added, Inherited.nothing(), UNMATCHED.schema.empty_table(),
        MoreColumns(kept=kept), tmp_path,
    )  # fmt: skip
    assert records.table.schema.names == [*RECORDS.names, "camera"]
    assert (records.table.num_rows, rejects.table.num_rows) == (0, 0)
