"""The small datasets for tests are datasets: whatever reads one reads them."""

import itertools
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from aesthetics_ops.builds import BuildPlan
from aesthetics_ops.dataset.layout import BuildFile, VersionFile, build_key, version_key
from aesthetics_ops.dataset.manifest import Shard
from aesthetics_ops.dataset.reading_manifests import read_manifest
from aesthetics_ops.dataset.tables import NEAR_DUPLICATES, PLAN, RECORDS, REJECTS, read_parquet
from aesthetics_ops.readers.dataset import open_dataset
from aesthetics_ops.rejects import RejectReason
from aesthetics_ops.store import Store, open_store
from aesthetics_ops.testing.datasets import (
    FIRST_NIGHT,
    LeftOut,
    Photo,
    SyntheticDataset,
    synthetic_photos,
)
from aesthetics_ops.testing.manifests import bare_manifest, publish_manifest
from aesthetics_ops.versions.diff import diff_versions
from aesthetics_ops.versions.listing import list_versions
from aesthetics_ops.versions.verify import verify_version
from tests.support.paths import ROOT

_names = itertools.count()
LEFT_OUT = [
    LeftOut("night/blurred.jpg", RejectReason.CORRUPT, "cut off", b"FFD8"),
    LeftOut(None, RejectReason.LABEL_WITHOUT_PHOTO, "row 17 of the score file"),
]


@pytest.fixture(params=["memory", "file"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    urls = {"memory": f"memory://synthetic{next(_names)}/dataset/", "file": f"{tmp_path.as_uri()}/dataset/"}
    return open_store(urls[request.param])


def test_it_is_read_like_any_dataset(store, tmp_path):
    photos = synthetic_photos(20)
    SyntheticDataset(store).publish(photos)
    dataset = open_dataset(store.url)
    assert {name: split.records for name, split in dataset.splits.items()} == {"train": 16, "validation": 2, "test": 2}
    read = [(example.id, bytes(example.image)) for example in dataset.open_split("train", directory=tmp_path)]
    assert read == [(photo.id, photo.jpeg) for photo in photos if photo.split == "train"]


def test_it_stands_up_to_verify(store):
    made = SyntheticDataset(store, per_shard=3).publish(synthetic_photos(20), LEFT_OUT)
    assert verify_version(store) == made.manifest
    for file, table in (
        (VersionFile.PLAN, PLAN), (VersionFile.RECORDS, RECORDS), (VersionFile.REJECTS, REJECTS),
        (VersionFile.NEAR_DUPLICATES, NEAR_DUPLICATES),
    ):  # fmt: skip
        assert read_parquet(store, version_key(made.version, file)).schema == table.schema


def test_what_was_left_out_is_counted_and_its_file_lies_with_the_photos(store):
    dataset = SyntheticDataset(store)
    made = dataset.publish(synthetic_photos(10), LEFT_OUT)
    assert made.manifest.rejects == {"corrupt": 1, "label_without_photo": 1}
    assert (made.manifest.accounting.listed, made.manifest.accounting.label_rows) == (11, 11)
    assert bytes(dataset.photos.get("night/blurred.jpg").data) == b"FFD8"


def test_it_grows_by_a_version_a_night_and_shares_what_stays(store):
    dataset = SyntheticDataset(store)
    first = dataset.publish(synthetic_photos(20)[:18])
    second = dataset.publish(synthetic_photos(20))
    assert [info.version for info in list_versions(store)] == [second.version, first.version]
    assert second.manifest.parent == first.version
    assert second.manifest.created_at - FIRST_NIGHT == timedelta(days=1)
    assert second.manifest.reuse.shards_reused == 2
    assert diff_versions(store, first.version, second.version).changes.by_kind["added"].count == 2


def test_settings_and_single_fields_can_be_something_else(store):
    made = SyntheticDataset(store).publish(synthetic_photos(3), settings={"quality": 80}, transforms={"sharpened": 3})
    assert made.manifest.settings["quality"] == 80
    assert made.manifest.transforms == {"sharpened": 3}


def test_equal_calls_write_equal_bytes():
    held = []
    for _ in range(2):
        store = open_store("memory://twice/dataset/")
        SyntheticDataset(store, documents={VersionFile.REPORT: lambda shown: shown.manifest.version}).publish(
            synthetic_photos(12), LEFT_OUT
        )
        keys = store.list()["key"].to_pylist()
        held.append({key: bytes(store.get(key).data) for key in keys})
        store.delete(keys)
    assert held[0] == held[1]
    assert len(held[0]) > 10


def test_a_build_that_was_planned_can_be_left(store):
    SyntheticDataset(store).plan("b", FIRST_NIGHT, [["a" * 64, "b" * 64], ["c" * 64]])
    plan = BuildPlan.read(store, build_key("b", BuildFile.PLAN))
    assert plan is not None
    assert [part.shards for part in plan.partitions] == [("a" * 64, "b" * 64), ("c" * 64,)]


def test_a_bare_manifest_adds_up_and_can_be_published(store):
    shard = Shard(path="shards/aa/x.tfrecord", records=3, bytes=9, sha256="0" * 64, crc32c="0" * 8)
    manifest = bare_manifest(store.url, {"train": [shard, shard]}, version="v1")
    publish_manifest(store, manifest)
    assert read_manifest(store).splits["train"].bytes == 18
    assert read_manifest(store).records == 6


def test_a_photo_that_is_no_jpeg_is_refused(store):
    with pytest.raises(ValueError, match="photo 'x' is not a whole JPEG"):
        SyntheticDataset(store).publish([Photo("x", b"PNG", 5.0)])


def test_the_example_of_the_reference_page_works():
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page.partition("## For your own tests")[2], re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)  # noqa: S102
    assert names["scores"] == pytest.approx([photo.score for photo in synthetic_photos(20) if photo.split == "train"])
