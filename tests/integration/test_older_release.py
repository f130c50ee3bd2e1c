"""What a release wrote before it noted how JPEGs are coded and how bright they are is read everywhere; nothing is made again for the new columns."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from aesthetics_ops.browser import make_browser
from aesthetics_ops.dataset.layout import ShardFile, VersionFile, shard_key, version_key
from aesthetics_ops.dataset.tables import RECORDS, read_parquet, write_parquet
from aesthetics_ops.readers.dataset import open_dataset
from aesthetics_ops.store import Store, open_store
from aesthetics_ops.versions.verify import verify_version
from tests.support.nights import ARRIVING, PHOTOS, Night, Source, build_once, photo, reseal, smaller, version_table
from tests.support.web import TestClient

TWIN = "twin-2"  # an id that the hash puts into another split than the original's
CODING, TONE = ["progressive", "sampling"], ["brightness", "contrast"]
NOTED_LATER = CODING + TONE


def make_older(night: Night, forgotten: tuple[str, ...] = ("converter", "jpegs")) -> dict[str, bytes]:
    """Take out of a version what an earlier release did not write; return its shards' results, by digest."""
    dataset, table = night.dataset, version_key(night.manifest.version, VersionFile.RECORDS)
    dataset.put(table, write_parquet(read_parquet(dataset, table).drop_columns(NOTED_LATER)))

    def forget(values: dict[str, Any]) -> None:
        for name in forgotten:
            values.pop(name)
        for name in ("measured", *TONE):
            values["images"].pop(name)

    reseal(dataset, night.manifest.version, forget, names_files=False)
    results = {}
    for split in night.manifest.splits.values():
        for shard in split.shards:
            key = shard_key(shard.digest, ShardFile.RESULT)
            values = json.loads(bytes(dataset.get(key).data))
            values.pop("checksum")
            for name in NOTED_LATER:
                assert len(values["index"].pop(name)) == shard.records
            results[shard.digest] = json.dumps(values).encode()
            dataset.put(key, results[shard.digest])
    return results


def results_of(dataset: Store, digests: dict[str, bytes]) -> dict[str, bytes]:
    return {digest: bytes(dataset.get(shard_key(digest, ShardFile.RESULT)).data) for digest in digests}


def coding_by_shard(night: Night) -> dict[str, set[tuple[bool | None, str | None]]]:
    rows: dict[str, set[tuple[bool | None, str | None]]] = {}
    for row in night.table("records"):
        digest = row["shard"].rpartition("/")[2].removesuffix(".tfrecord")
        rows.setdefault(digest, set()).add((row["progressive"], row["sampling"]))
    return rows


@pytest.fixture
def older(source: Source) -> tuple[Night, dict[str, bytes]]:
    night = build_once(source.settings())
    kinds = Counter((row["progressive"], row["sampling"]) for row in night.table("records"))
    assert {(kind.progressive, kind.sampling): kind.records for kind in night.manifest.jpegs.kinds} == kinds
    assert version_table(night.dataset, night.manifest, "records").schema == RECORDS.schema
    assert not any(row[name] is None for row in night.table("records") for name in NOTED_LATER)
    return night, make_older(night)


def test_an_unchanged_night_publishes_nothing(older: tuple[Night, dict[str, bytes]], source: Source) -> None:
    night, results = older
    same = build_once(source.settings())
    assert (same.published.is_new, same.built, same.photos_read) == (False, 0, 0)
    assert results_of(night.dataset, results) == results


def test_shards_that_stay_have_nulls_and_new_ones_are_known(
    older: tuple[Night, dict[str, bytes]], source: Source
) -> None:
    before, results = older
    source.add(ARRIVING, photo(ARRIVING), 4)
    grown = build_once(source.settings())
    assert grown.built == 1
    assert version_table(grown.dataset, grown.manifest, "records").schema == RECORDS.schema
    coding = coding_by_shard(grown)
    new = coding.keys() - results.keys()
    assert len(new) == 1
    jpegs = grown.manifest.jpegs
    known = [row for row in grown.table("records") if row["sampling"] is not None]
    assert jpegs.unknown == grown.manifest.records - len(known) > 0
    assert jpegs.hardware == sum(not row["progressive"] for row in known) > 0
    assert all(coding[digest] == {(None, None)} for digest in coding.keys() & results.keys())
    assert all(None not in row for digest in new for row in coding[digest])
    assert results_of(before.dataset, results) == results
    verify_version(grown.dataset)

    measured = [row for row in grown.table("records") if row["brightness"] is not None]
    assert {Path(row["shard"]).stem for row in measured} == new  # its photos were all converted
    assert grown.manifest.images.measured == len(measured) == len(known)
    for name in TONE:
        mean = sum(row[name] for row in measured) / len(measured)
        assert getattr(grown.manifest.images, name) == pytest.approx(mean)

    source.add("later", smaller(photo(ARRIVING), scale=0.9), 4)
    again = coding_by_shard(build_once(source.settings()))  # its parent's table has both
    assert {(None, None)} in again.values()
    assert all(coding[digest] == again[digest] for digest in coding.keys() & again.keys())


def test_a_record_that_is_used_again_has_no_brightness_and_the_photo_that_came_has(source: Source) -> None:
    """Of a copied record the pixels are not decoded."""
    before = build_once(source.settings())
    results = make_older(before, forgotten=("jpegs",))
    source.add(ARRIVING, photo(ARRIVING), 4)
    grown = build_once(source.settings())
    assert (grown.built, grown.photos_read) == (1, 1)
    (new,) = coding_by_shard(grown).keys() - results.keys()
    rows = [row for row in grown.table("records") if Path(row["shard"]).stem == new]
    assert len(rows) > 1
    assert not any(row[name] is None for row in rows for name in CODING)
    for row in rows:
        assert all((row[name] is not None) == (row["id"] == ARRIVING) for name in TONE), row["id"]
    assert grown.manifest.images.measured == 1
    verify_version(grown.dataset)


def test_a_copied_record_is_known_again(source: Source) -> None:
    source.add(TWIN, smaller(photo(PHOTOS[0])), 5)
    apart = build_once(source.settings(near_duplicate_distance=""))
    expected = {row["id"]: [*(row[name] for name in CODING), None, None] for row in apart.table("records")}
    results = make_older(apart)
    together = build_once(source.settings())
    assert together.photos_read == 0
    coding = coding_by_shard(together)
    assert coding.keys() - results.keys()
    for row in together.table("records"):
        digest = Path(row["shard"]).stem
        known = [None] * 4 if digest in results else expected[row["id"]]
        assert [row[name] for name in NOTED_LATER] == known, row["id"]


def test_a_copied_record_keeps_what_this_release_noted(source: Source) -> None:
    source.add(TWIN, smaller(photo(PHOTOS[0])), 5)
    noted = [
        {row["id"]: [row[name] for name in NOTED_LATER] for row in night.table("records")}
        for night in (build_once(source.settings(near_duplicate_distance="")), build_once(source.settings()))
    ]
    assert noted[0] == noted[1]
    assert not any(None in values for values in noted[1].values())


def test_the_reader_and_the_pages_read_it(older: tuple[Night, dict[str, bytes]]) -> None:
    night, _ = older
    rows = open_dataset(night.dataset.url).records("train")
    assert rows.schema == RECORDS.schema
    assert rows["sampling"].null_count == rows["brightness"].null_count == rows.num_rows
    client = TestClient(make_browser(lambda: {"it"}, {"it": lambda: open_store(night.dataset.url)}))
    page = client.get(f"/datasets/it/versions/{night.manifest.version}/shards/train/0/0")
    assert page.status_code == 200
    assert "not noted" in page.text
    assert "Brightness" not in page.text
    verify_version(night.dataset)
    name = rows["id"][0].as_py()
    found = client.get(f"/datasets/it/versions/{night.manifest.version}/search?text={name}")
    assert found.status_code == 200
    assert name in found.text
