"""A published version becomes local files, and those become examples: verified, complete, in the same order."""

import sys
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import pytest

from aesthetics_ops import BuildSettings, Dataset, build_dataset, open_dataset
from aesthetics_ops.dataset.example import Example, decode_example
from aesthetics_ops.dataset.manifest import Manifest
from aesthetics_ops.dataset.tfrecord import read_records
from aesthetics_ops.errors import IntegrityError, NoSuchSplitError, NoSuchVersionError, SettingsError
from aesthetics_ops.readers import dataset as readers
from aesthetics_ops.readers.dataset import READERS, register_reader
from aesthetics_ops.readers.pulling.pull import Pulled
from aesthetics_ops.store import open_store
from tests.support.documents import make_reports_quick

GRAY = "00"
BESIDE = ["manifest.json", "records.parquet", ".aesthetics-ops-lock", ".aesthetics-ops-checked.json"]


def examples(files: Iterable[Path]) -> Iterator[Example]:
    """The records of whole files, one after the other, without an index."""
    for path in files:
        with path.open("rb") as file:
            yield from map(decode_example, read_records(file))


def jpeg(number: int) -> bytes:
    """A picture of its own for every number; number 0 is gray."""
    pixels = np.random.default_rng(number).integers(0, 256, (6, 8, 3), np.uint8)
    pixels = cv2.resize(pixels, (60 + number, 40), interpolation=cv2.INTER_CUBIC)
    return cv2.imencode(".jpg", cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY) if number == 0 else pixels)[1].tobytes()


def publish(url: str, count: int) -> Manifest:
    """Publish a version of `count` photos, number n with score n / 4."""
    store = open_store(url)
    for number in range(count):
        if store.head(f"photos/{number:02}.jpg") is None:
            store.put(f"photos/{number:02}.jpg", jpeg(number))
    store.put("scores.csv", "\n".join(["id,score", *(f"{n:02},{n / 4}" for n in range(count))]).encode())
    settings = BuildSettings(
        photos=f"{url}photos/",
        labels=f"{url}scores.csv",
        dataset=f"{url}dataset/",
        shard_bytes=5000,
        test_fraction=0.2,
        validation_fraction=0.2,
    )
    return build_dataset(settings, created_at=datetime(2026, 1, 1, 2, count, tzinfo=UTC)).manifest


@pytest.fixture(scope="module")
def manifests() -> tuple[Manifest, Manifest]:
    with pytest.MonkeyPatch.context() as patch:  # plotting a report takes half a second and has tests of its own
        make_reports_quick(patch)
        return publish("memory://reader/", 20), publish("memory://reader/", 21)


@pytest.fixture
def dataset(manifests: tuple[Manifest, Manifest]) -> Dataset:
    return open_dataset("memory://reader/dataset/")


@pytest.fixture
def pulled(dataset: Dataset, tmp_path: Path) -> Pulled:
    return dataset.pull(tmp_path / "set")


class TestPull:
    """Local files are those of one version, each checked."""

    def test_every_shard_arrives_under_a_name_that_sorts_in_reading_order(self, pulled: Pulled, tmp_path: Path) -> None:
        files = sorted(path.name for path in (tmp_path / "set").iterdir())
        expected = [
            f"{name}-{number:05}-of-{len(split.shards):05}.tfrecord"
            for name, split in pulled.manifest.splits.items()
            for number in range(len(split.shards))
        ]
        assert files == sorted([*expected, *BESIDE])
        assert len(pulled.files["train"]) > 2
        assert pulled.downloaded_bytes == pulled.manifest.bytes
        for name, split in pulled.manifest.splits.items():
            assert [path.stat().st_size for path in pulled.files[name]] == [shard.bytes for shard in split.shards]
        written = Manifest.model_validate_json((tmp_path / "set" / "manifest.json").read_bytes())
        assert written == pulled.manifest

    def test_a_second_pull_downloads_nothing(self, pulled: Pulled, dataset: Dataset, tmp_path: Path) -> None:
        again = dataset.pull(tmp_path / "set")
        assert again.downloaded_bytes == 0
        assert again.files == pulled.files

    def test_progress_adds_up_to_the_size_of_the_version(self, dataset: Dataset, tmp_path: Path) -> None:
        sizes: list[int] = []
        manifest = dataset.pull(tmp_path / "set", progress=sizes.append).manifest
        assert sum(sizes) == manifest.bytes

    def test_another_version_keeps_equal_shards_and_replaces_the_others(
        self, manifests: tuple[Manifest, Manifest], dataset: Dataset, tmp_path: Path
    ) -> None:
        old = open_dataset("memory://reader/dataset/", manifests[0].version).pull(tmp_path)
        assert old.manifest == manifests[0]
        shared, fresh = set(), 0
        for split in manifests[0].splits.values():
            shared |= {shard.sha256 for shard in split.shards}
        for split in manifests[1].splits.values():
            fresh += sum(shard.bytes for shard in split.shards if shard.sha256 not in shared)
        new = dataset.pull(tmp_path)
        assert new.manifest == manifests[1]
        assert new.downloaded_bytes == fresh < manifests[1].bytes
        expected = {path.name for split in new.files.values() for path in split} | set(BESIDE)
        assert {path.name for path in tmp_path.iterdir()} == expected
        ids = [example.id for split in new.files.values() for example in examples(split)]
        assert ids == [row["id"] for row in dataset.records().to_pylist()]

    def test_a_locally_damaged_shard_is_fetched_again(self, pulled: Pulled, dataset: Dataset, tmp_path: Path) -> None:
        victim = pulled.files["train"][0]
        good = victim.read_bytes()
        victim.write_bytes(good[:-1] + b"x")
        again = dataset.pull(tmp_path / "set")
        assert again.downloaded_bytes == len(good)
        assert victim.read_bytes() == good

    def test_a_shard_that_is_damaged_in_the_store_is_refused(
        self, manifests: tuple[Manifest, Manifest], dataset: Dataset, tmp_path: Path
    ) -> None:
        path = manifests[1].splits["train"].shards[1].path
        store = open_store("memory://reader/dataset/")
        good = bytes(store.get(path).data)
        store.put(path, good[:-1] + b"x")
        try:
            with pytest.raises(IntegrityError, match=f"{path} has not the sha256 that its manifest states"):
                dataset.pull(tmp_path)
            assert not (tmp_path / "manifest.json").exists()
        finally:
            store.put(path, good)
        assert dataset.pull(tmp_path).manifest == manifests[1]
        assert not [path for path in tmp_path.iterdir() if path.suffix in (".part", ".shard")]

    def test_one_split_alone_can_be_pulled(self, dataset: Dataset, tmp_path: Path) -> None:
        pulled = dataset.pull(tmp_path, splits=["test"])
        assert list(pulled.files) == ["test"]
        assert pulled.downloaded_bytes == pulled.manifest.splits["test"].bytes

    def test_a_second_split_joins_the_first_of_the_same_version(self, dataset: Dataset, tmp_path: Path) -> None:
        first = dataset.pull(tmp_path, splits=["train"])
        second = dataset.pull(tmp_path, splits=["validation"])
        there = {path for path in tmp_path.iterdir() if path.suffix == ".tfrecord"}
        assert there == {*first.files["train"], *second.files["validation"]}


class TestOpening:
    """A URL becomes one version, with its splits and its table of records."""

    def test_by_default_it_is_the_version_that_latest_names(self, manifests: tuple[Manifest, Manifest]) -> None:
        old = open_dataset("memory://reader/dataset/", manifests[0].version)
        new = open_dataset("memory://reader/dataset/")
        assert [old.manifest, new.manifest] == list(manifests)
        assert (new.version, list(new.splits)) == (manifests[1].version, ["train", "validation", "test"])

    def test_a_dataset_that_was_never_published_says_so(self) -> None:
        with pytest.raises(NoSuchVersionError, match="nothing is published under memory://reader/none/"):
            open_dataset("memory://reader/none/")

    def test_an_unknown_version_is_refused(self, dataset: Dataset) -> None:
        with pytest.raises(NoSuchVersionError, match="has no version 'v9'"):
            open_dataset("memory://reader/dataset/", "v9")

    def test_the_records_are_one_table_whole_or_by_split(self, dataset: Dataset) -> None:
        whole = dataset.records()
        assert whole.num_rows == dataset.manifest.records
        parts = [dataset.records(split) for split in dataset.splits]
        assert [part.num_rows for part in parts] == [split.records for split in dataset.splits.values()]
        assert [row for part in parts for row in part.to_pylist()] == whole.to_pylist()

    @pytest.mark.parametrize(
        "read",
        [
            lambda dataset, directory: dataset.records("holdout"),
            lambda dataset, directory: dataset.pull(directory, splits=["train", "holdout"]),
            lambda dataset, directory: dataset.open_split("holdout", directory=directory),
            lambda dataset, directory: dataset.tf("holdout", directory=directory),
            lambda dataset, directory: dataset.read("tf", "holdout", directory=directory),
        ],
        ids=["records", "pull", "examples", "tf", "read"],
    )
    def test_an_unknown_split_is_refused_with_those_there_are(
        self, dataset: Dataset, tmp_path: Path, read: Callable[[Dataset, Path], Any]
    ) -> None:
        with pytest.raises(NoSuchSplitError, match="has no split 'holdout'; it has 'train', 'validation', 'test'"):
            read(dataset, tmp_path)
        assert not list(tmp_path.iterdir())


def ids_of(dataset: Dataset, split: str, *, reverse: bool = False) -> Iterator[str]:
    """A reader from outside: what `register_reader` is given below."""
    found: list[str] = dataset.records(split)["id"].to_pylist()
    return iter(found[::-1] if reverse else found)


class TestRegistry:
    """A reader is one function and one entry."""

    def test_a_reader_from_outside_is_read_by_its_name_with_its_own_options(
        self, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        module = ModuleType("a_module_from_outside")
        module.ids_of = ids_of  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, module.__name__, module)
        monkeypatch.setattr(readers, "READERS", dict(READERS))
        register_reader("ids", "a_module_from_outside:ids_of")
        forwards = list(dataset.read("ids", "train"))
        assert forwards == dataset.records("train")["id"].to_pylist()
        assert list(dataset.read("ids", "train", reverse=True)) == forwards[::-1]

    def test_an_unknown_reader_is_refused_with_those_there_are(self, dataset: Dataset) -> None:
        with pytest.raises(SettingsError, match=r"'dali' is not a reader; the readers are .*tf"):
            dataset.read("dali", "train")

    def test_a_name_that_is_taken_is_refused(self) -> None:
        with pytest.raises(SettingsError, match="reader 'tf' is registered already"):
            register_reader("tf", "a_module_from_outside:ids_of")

    @pytest.mark.parametrize("function", ["", "a_module_from_outside", ":ids_of", "a_module_from_outside:"])
    def test_a_function_that_is_not_named_whole_is_refused(self, function: str) -> None:
        with pytest.raises(SettingsError, match="write 'module:function'"):
            register_reader("ids", function)
        assert "ids" not in READERS

    def test_a_registered_reader_reads_the_records(self, dataset: Dataset, tmp_path: Path) -> None:
        plain = list(dataset.open_split("train", directory=tmp_path))
        batches = dataset.read("tf", "train", directory=tmp_path, size=8)
        found = [float(label) for _, labels in batches.as_numpy_iterator() for label in labels]
        assert found == [example.label for example in plain]


class TestReading:
    """Shards, read whole by plain Python and by TensorFlow, hold what records.parquet lists."""

    def test_examples_are_the_records_in_their_order(self, pulled: Pulled, dataset: Dataset) -> None:
        listed = dataset.records().to_pylist()
        for split, files in pulled.files.items():
            rows = [row for row in listed if row["split"] == split]
            found = list(examples(files))
            assert [(e.id, e.label, e.width_px, e.height_px, len(e.image)) for e in found] == [
                (row["id"], row["label"], row["width"], row["height"], row["bytes"]) for row in rows
            ]

    def test_a_split_without_photos_has_no_examples(self) -> None:
        assert list(examples([])) == []

    def test_a_damaged_file_is_refused(self, pulled: Pulled) -> None:
        victim = pulled.files["train"][0]
        victim.write_bytes(victim.read_bytes()[:-1])
        with pytest.raises(IntegrityError, match="damaged or cut off"):
            list(examples([victim]))

    def test_tensorflow_counts_as_many_records_as_the_manifest(self, pulled: Pulled) -> None:
        import tensorflow as tf

        for name, split in pulled.manifest.splits.items():
            counts = [
                sum(1 for _ in tf.data.TFRecordDataset(str(path)).as_numpy_iterator()) for path in pulled.files[name]
            ]
            assert counts == [shard.records for shard in split.shards]
            assert sum(counts) == split.records
        assert pulled.manifest.records == 21

    def test_the_origins_preprocess_reads_every_shard(self, pulled: Pulled) -> None:
        import tensorflow as tf

        def preprocess(record):
            """Source: M. Struble, Deep Learning Photo Aesthetics - Data Pipeline Optimization, 2020."""
            features = {
                "image/image": tf.io.FixedLenFeature((), tf.string, default_value=""),
                "image/label": tf.io.FixedLenFeature((), tf.float32, default_value=-1.0),
            }
            parsed = tf.io.parse_single_example(record, features)
            image = tf.image.convert_image_dtype(tf.io.decode_jpeg(parsed["image/image"], channels=3), tf.float32)
            return tf.image.resize(image, [224, 224]), parsed["image/label"]

        for files in pulled.files.values():
            for path in files:
                read = list(tf.data.TFRecordDataset(str(path)).map(preprocess).as_numpy_iterator())
                assert [float(label) for _, label in read] == [example.label for example in examples([path])]
                assert all(image.shape == (224, 224, 3) for image, _ in read)
                assert all(0 <= image.min() <= image.max() <= 1 for image, _ in read)
