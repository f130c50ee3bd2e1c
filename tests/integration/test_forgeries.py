"""What was changed together with every sum that states it is found by `verify`, as far as the version says it twice."""

import io
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aesthetics_ops.dataset.latest import PublishedMark, pointer_to
from aesthetics_ops.dataset.layout import (
    LATEST_KEY,
    ShardFile,
    VersionFile,
    candidate_key,
    published_key,
    shard_key,
    version_key,
)
from aesthetics_ops.dataset.moves import Given
from aesthetics_ops.dataset.reading_manifests import read_manifest
from aesthetics_ops.dataset.sidecars import download_table, read_table
from aesthetics_ops.dataset.tables import NEAR_DUPLICATES, PLAN, RECORDS, REJECTS, Table, write_parquet
from aesthetics_ops.errors import GateError, IntegrityError, NoSuchVersionError
from aesthetics_ops.readers.opened import open_published
from aesthetics_ops.store import Store, open_store
from aesthetics_ops.versions.promote import promote
from aesthetics_ops.versions.verify import verify_version
from tests.support.nights import PHOTOS, Source, build_once, photo, reseal, smaller

TABLES = (RECORDS, REJECTS, NEAR_DUPLICATES, PLAN)


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Two versions and a candidate: each object by its key."""
    source = Source(f"file://{tmp_path_factory.mktemp('forgeries')}/", dict.fromkeys(PHOTOS[:8], 3))
    for name in PHOTOS[:8]:
        source.add(name, photo(name))
    source.add("twin", smaller(photo(PHOTOS[0])), 5)
    source.add("broken", b"no photo", 4)
    source.add("unlabelled", photo(PHOTOS[9]))
    source.score({"nobody": 3})
    for name in (PHOTOS[10], PHOTOS[11]):
        night = build_once(source.settings(max_reject_fraction=1))
        source.add(name, photo(name), 4)
    with pytest.raises(GateError):
        build_once(source.settings(max_reject_fraction=0))
    held = {key: bytes(night.dataset.get(key).data) for key in night.dataset.list()["key"].to_pylist()}
    return {key: data for key, data in held.items() if not key.startswith("builds/")}


_copies = iter(range(10_000))


@pytest.fixture
def dataset(objects: dict[str, bytes]) -> Store:
    store = open_store(f"memory://forgeries{next(_copies)}/d/")
    for key, data in objects.items():
        store.put(key, data)
    return store


def latest_of(dataset: Store) -> str:
    return str(json.loads(bytes(dataset.get(LATEST_KEY).data))["version"])


def candidate_of(dataset: Store) -> str:
    return str(dataset.list("candidates/")["key"].to_pylist()[0]).removeprefix("candidates/").removesuffix(".json")


def found(dataset: Store) -> str:
    with pytest.raises((IntegrityError, NoSuchVersionError)) as caught:
        verify_version(dataset)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def changed(dataset: Store, table: Table, change: Callable[[pa.Table, str], pa.Table], column: str) -> None:
    """Change a table of the version that LATEST names, with every sum that states it."""
    version = latest_of(dataset)
    key = version_key(version, VersionFile(f"{table.name}.parquet"))
    dataset.put(key, write_parquet(change(pq.read_table(io.BytesIO(bytes(dataset.get(key).data))), column)))
    reseal(dataset, version)


def without(rows: pa.Table, column: str) -> pa.Table:
    return rows.drop_columns([column])


def with_nulls(rows: pa.Table, column: str) -> pa.Table:
    place = rows.schema.get_field_index(column)
    kind = rows.schema.field(column).type
    return rows.set_column(place, pa.field(column, kind), pa.nulls(rows.num_rows, kind))


def of_another_type(rows: pa.Table, column: str) -> pa.Table:
    return rows.set_column(rows.schema.get_field_index(column), column, pa.array([b"x"] * rows.num_rows))


COLUMNS = [(table, column) for table in TABLES for column in table.columns]
IDS = [f"{table.name}-{column.name}" for table, column in COLUMNS]
EARLIER = {(table.name, column.name) for table, column in COLUMNS if column.is_late}


@pytest.mark.parametrize(("table", "column"), COLUMNS, ids=IDS)
def test_a_column_that_is_gone_of_another_type_or_without_values_is_named(
    dataset: Store, objects: dict[str, bytes], table: Table, column: Any
) -> None:
    key = version_key(latest_of(dataset), VersionFile(f"{table.name}.parquet"))
    for change in (without, with_nulls, of_another_type):
        may_be = {without: column.is_late, with_nulls: column.may_be_null, of_another_type: False}[change]
        changed(dataset, table, change, column.name)
        if not may_be:
            said = found(dataset)
            assert f"{table.name}.parquet" in said, said
            assert column.name in said, said
        for held in (key, key.replace(f"{table.name}.parquet", "manifest.json"), LATEST_KEY):
            dataset.put(held, objects[held])


def sealed(dataset: Store, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the manifest and what states its sum, without stating the files anew."""
    version = latest_of(dataset)
    key = version_key(version, VersionFile.MANIFEST)
    values = json.loads(bytes(dataset.get(key).data))
    change(values)
    data = json.dumps(values).encode()
    pointer = pointer_to(version, data)
    dataset.put(key, data)
    dataset.put(published_key(version), PublishedMark(version=version, sha256=pointer.sha256).encoded())
    dataset.put(LATEST_KEY, pointer.encoded())


def gate(values: dict[str, Any], name: str) -> dict[str, Any]:
    return next(gate for gate in values["gates"] if gate["name"] == name)


STATED: dict[str, Callable[[dict[str, Any]], object]] = {
    "dataset": lambda values: values.update(dataset="s3://other/"),
    "source.photos": lambda values: values["source"].update(photos="s3://other/"),
    "source.labels": lambda values: values["source"].update(labels="s3://other/scores.csv"),
    "labels.scale": lambda values: values["labels"].update(scale="minmax"),
    "labels.source_min": lambda values: values["labels"].update(source_min=1),
    "near_duplicates.max_distance": lambda values: values["near_duplicates"].update(max_distance=40),
    "near_duplicates.examples": lambda values: values["near_duplicates"].update(examples=[["nobody", "none"]]),
    "features.image/label": lambda values: values["features"]["image/label"].update(dtype="int64"),
    "features.image/image": lambda values: values["features"].pop("image/image"),
    "features.image/distribution": lambda values: values["features"]["image/distribution"].update(shape=[7]),
    "min_records": lambda values: gate(values, "min_records").update(measured=9999),
    "max_shrink_fraction": lambda values: gate(values, "max_shrink_fraction").update(limit=0.9),
    "max_reject_fraction": lambda values: gate(values, "max_reject_fraction").update(measured=1.5),
    "gates": lambda values: values.update(gates=[]),
    "converter": lambda values: values.update(converter=None),
    "jpegs": lambda values: values.update(jpegs=None),
    "splits.more": lambda values: values["splits"].update(more={"records": 0, "bytes": 0, "shards": []}),
    "rejects.no_reason": lambda values: values["rejects"].update(no_reason=0),
    "transforms.none_of_ours": lambda values: values["transforms"].update(none_of_ours=0),
}


@pytest.mark.parametrize("field", STATED)
def test_what_the_manifest_states_beside_counts_is_compared(dataset: Store, field: str) -> None:
    reseal(dataset, latest_of(dataset), lambda values: (STATED[field](values), None)[1])
    assert field in (said := found(dataset)), said


@pytest.mark.parametrize("setting", ["max_growth_fraction", "single_writer", "quality", "photos", "stratify"])
def test_a_setting_that_is_taken_out_is_named(dataset: Store, setting: str) -> None:
    reseal(dataset, latest_of(dataset), lambda values: (values["settings"].pop(setting), None)[1])
    assert setting in (said := found(dataset)), said


def test_a_setting_that_was_changed_is_told_by_the_digest_though_a_late_one_is_not_there(dataset: Store) -> None:
    def change(values: dict[str, Any]) -> None:
        del values["settings"]["min_votes"]
        values["settings"]["quality"] -= 1

    reseal(dataset, latest_of(dataset), change)
    assert "settings_digest" in (said := found(dataset)), said


@pytest.mark.parametrize("reason", ["not_an_image", "unlabelled", "label_without_photo"])
@pytest.mark.parametrize("shard", [None, shard_key("0" * 64, ShardFile.RECORDS)], ids=["null", "another"])
def test_the_shard_of_a_reject_is_compared_with_the_plan(dataset: Store, reason: str, shard: str | None) -> None:
    def change(rows: pa.Table, column: str) -> pa.Table:
        shards = rows[column].to_pylist()
        place = rows["reason"].to_pylist().index(reason)
        assert (shards[place] is None) == (reason != "not_an_image")
        shards[place] = shard
        return rows.set_column(rows.schema.get_field_index(column), column, pa.array(shards, pa.string()))

    changed(dataset, REJECTS, change, "shard")
    if reason != "not_an_image" and shard is None:
        verify_version(dataset)
        return
    said = found(dataset)
    assert "rejects.parquet" in said, said
    assert "shard of row" in said, said


def of_shards(change: Callable[[list[int]], object]) -> Callable[[pa.Table, str], pa.Table]:
    """Return what changes the slots of a plan's shards of training, one number each, as a change of the table."""

    def changed_rows(rows: pa.Table, column: str) -> pa.Table:
        digests, slots = rows["digest"].to_pylist(), rows[column].to_pylist()
        shards = list(
            dict.fromkeys(d for d, split in zip(digests, rows["split"].to_pylist(), strict=True) if split == "train")
        )
        assert len(shards) > 1
        change(numbers := [slots[digests.index(shard)] for shard in shards])
        by_digest = dict(zip(shards, numbers, strict=True))
        changed_slots = [by_digest.get(digest, slot) for digest, slot in zip(digests, slots, strict=True)]
        return rows.set_column(rows.schema.get_field_index(column), column, pa.array(changed_slots, pa.int32()))

    return changed_rows


def of_one_row(rows: pa.Table, column: str) -> pa.Table:
    slots = rows[column].to_pylist()
    digests = rows["digest"].to_pylist()
    slots[next(n for n, digest in enumerate(digests) if digest and digest == digests[n - 1])] += 7
    return rows.set_column(rows.schema.get_field_index(column), column, pa.array(slots, pa.int32()))


SLOTS: dict[str, Callable[[pa.Table, str], pa.Table]] = {
    "of one row": of_one_row,
    "of one shard twice": of_shards(lambda slots: slots.__setitem__(1, slots[0])),
    "all the same": of_shards(lambda slots: slots.__setitem__(slice(None), [0] * len(slots))),
    "exchanged": of_shards(list.reverse),
}


@pytest.mark.parametrize("forgery", SLOTS)
def test_slots_of_the_plan_that_no_plan_has_are_named(
    many_shards: dict[str, bytes], forgery: str, tmp_path: Path
) -> None:
    store = open_store(f"file://{tmp_path}/")
    for key, data in many_shards.items():
        store.put(key, data)
    verify_version(store)
    changed(store, PLAN, SLOTS[forgery], "slot")
    assert "plan.parquet" in (said := found(store)), said
    assert "slot of row" in said, said


@pytest.fixture(scope="module")
def many_shards(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A version with several shards of several photos in training: each object by its key."""
    source = Source(f"file://{tmp_path_factory.mktemp('slots')}/", {})
    for name in PHOTOS:
        source.add(name, photo(name), 3)
    night = build_once(source.settings(shard_bytes=200_000))
    return {key: bytes(night.dataset.get(key).data) for key in night.dataset.list()["key"].to_pylist()}


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_whoever_reads_a_whole_table_refuses_one_without_a_column(
    dataset: Store, objects: dict[str, bytes], table: Table, tmp_path: Path
) -> None:
    file = VersionFile(f"{table.name}.parquet")
    for column in table.columns:
        changed(dataset, table, without, column.name)
        manifest = read_manifest(dataset)
        reads = (
            partial(read_table, dataset, manifest, file),
            partial(download_table, dataset, manifest, file, tmp_path / file),
        )
        for read in reads:
            if column.is_late:
                read()
                continue
            with pytest.raises(
                IntegrityError, match=rf"{file} has no column {column.name}; do not use it: `aesthetics-ops"
            ):
                read()
        for key in (
            version_key(manifest.version, file),
            version_key(manifest.version, VersionFile.MANIFEST),
            LATEST_KEY,
        ):
            dataset.put(key, objects[key])


@pytest.mark.parametrize("left", [0, 3, 5_000])
@pytest.mark.parametrize("place", ["memory", "file"])
def test_a_shard_that_ends_before_its_records_do_is_told_as_damaged(
    objects: dict[str, bytes], tmp_path: Path, place: str, left: int
) -> None:
    dataset = open_store(f"file://{tmp_path}/d/" if place == "file" else f"memory://cut{left}/d/")
    for key, data in objects.items():
        dataset.put(key, data)
    manifest = read_manifest(dataset)
    path = manifest.splits["train"].shards[0].path
    dataset.put(path, objects[path][:left])
    version = open_published(dataset, None)
    with pytest.raises(
        IntegrityError, match=f"has {left:,} bytes, and version .*; do not use it: `aesthetics-ops"
    ) as caught:
        version.get_range(path, 0, len(objects[path]))
    assert caught.value.exit_code == 1


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_a_table_with_two_columns_of_one_name_is_refused_by_whoever_reads_it(dataset: Store, table: Table) -> None:
    changed(dataset, table, lambda rows, column: rows.append_column(column, rows[column]), table.names[1])
    manifest = read_manifest(dataset)
    with pytest.raises(
        IntegrityError, match=rf"{table.name}\.parquet has two columns .*; do not use it: `aesthetics-ops"
    ):
        read_table(dataset, manifest, VersionFile(f"{table.name}.parquet"), table.names[:2])
    assert "two columns" in found(dataset)


@pytest.mark.parametrize("file", [VersionFile.REPORT, VersionFile.CARD, VersionFile.CROISSANT])
@pytest.mark.parametrize("kind", ["of another version", "a script"])
def test_a_document_of_another_version_is_named(
    dataset: Store, objects: dict[str, bytes], file: VersionFile, kind: str
) -> None:
    version = latest_of(dataset)
    other = next(key for key in objects if key.endswith(f"/{file}") and version not in key)
    dataset.put(version_key(version, file), objects[other] if kind != "a script" else b"<script>alert(1)</script>")
    reseal(dataset, version)
    assert f"{file} of version" in found(dataset)


@pytest.mark.parametrize("file", [*VersionFile])
def test_an_object_that_the_manifest_does_not_state_is_named(dataset: Store, file: VersionFile) -> None:
    if file is VersionFile.MANIFEST:
        dataset.put(f"versions/{latest_of(dataset)}/more.parquet", b"x")
        assert "more.parquet" in found(dataset)
        return
    sealed(dataset, lambda values: values["files"].pop(file))
    assert file in found(dataset)


@pytest.mark.parametrize("name", ["more.parquet", "../../LATEST.json", "", "a/b", "/etc/passwd"])
def test_a_file_of_any_name_that_the_manifest_states_is_compared(dataset: Store, name: str, tmp_path: Path) -> None:
    if name == "more.parquet":
        dataset.put(f"versions/{latest_of(dataset)}/{name}", b"x")
    sealed(dataset, lambda values: values["files"].update({name: {"bytes": 1, "sha256": "0" * 64}}))
    assert repr(name) in (said := found(dataset)) or f"/{name} has 1 bytes" in said, said


def test_latest_that_names_a_candidate_which_nobody_promoted_is_refused(dataset: Store) -> None:
    version = candidate_of(dataset)
    verify_version(dataset, version)
    latest = bytes(dataset.get(LATEST_KEY).data)
    data = bytes(dataset.get(version_key(version, VersionFile.MANIFEST)).data)
    dataset.put(LATEST_KEY, pointer_to(version, data).encoded())
    said = found(dataset)
    assert dataset.url_of(LATEST_KEY) in said
    assert "max_reject_fraction" in said
    dataset.put(LATEST_KEY, latest)
    promote(dataset, version, Given("ada", "it is good"))
    assert verify_version(dataset).version == version
    dataset.delete([candidate_key(version)])
    assert verify_version(dataset).version == version
