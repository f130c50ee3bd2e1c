"""A version in other tools' files: what an export writes, and what it refuses.  What the tools read: tests/integration/test_exports.py."""

import base64
import hashlib
import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from aesthetics_ops import Dataset, open_dataset, open_store
from aesthetics_ops.cli import _FORMATS, _TOOLS, main
from aesthetics_ops.dataset.example import Example
from aesthetics_ops.dataset.layout import LATEST_KEY, candidate_key, published_key
from aesthetics_ops.errors import (
    DatasetBusyError,
    IntegrityError,
    NoSuchSplitError,
    NoSuchVersionError,
    ScratchSpaceError,
    SettingsError,
)
from aesthetics_ops.readers.exporting.container import Part, ShardRecords, WrittenFile, fields_of
from aesthetics_ops.readers.exporting.export import FORMATS
from aesthetics_ops.readers.exporting.mds import Mds
from aesthetics_ops.readers.exporting.webdataset import key_of
from aesthetics_ops.readers.pulling.companions import TOOLS
from aesthetics_ops.testing.datasets import Photo, SyntheticDataset, SyntheticVersion, synthetic_photos
from tests.support.exports import ODD_IDS, publish_odd_ids
from tests.support.memory import own_bytes
from tests.support.paths import ROOT


@pytest.fixture
def made(tmp_path: Path) -> SyntheticVersion:
    return publish_odd_ids(tmp_path / "published")


@pytest.fixture
def dataset(made: SyntheticVersion) -> Dataset:
    return open_dataset(made.store.url)


def test_a_key_has_no_dot_and_no_slash_and_is_no_other_ids_key() -> None:
    keys = [key_of(name) for name in (*ODD_IDS, key_of("a.b"), key_of("a b"), "A_B")]
    assert all(set(key) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") for key in keys)
    assert all(0 < len(key) <= 64 for key in keys)
    assert len({*keys, key_of("a.b")}) == len(keys) + 1
    assert key_of("953619") == "953619"


def test_a_tar_file_is_one_for_other_programs_too(dataset: Dataset, tmp_path: Path) -> None:
    exported = dataset.export(tmp_path / "out", "webdataset", splits=["train"])
    names = []
    for file in exported.files["train"][:-1]:
        with tarfile.open(tmp_path / "out" / file.path) as tar:
            names += tar.getnames()
        assert file.bytes % tarfile.RECORDSIZE == 0
    assert len(names) == len(set(names)) == 2 * dataset.splits["train"].records
    sizes = json.loads((tmp_path / "out" / "train" / "sizes.json").read_text())
    assert sum(sizes.values()) == dataset.splits["train"].records


def test_mds_files_are_those_of_mosaicmls_writer(dataset: Dataset, tmp_path: Path) -> None:
    """Byte for byte; its library is too large for the suite, so the file holds what it wrote.  `make bench ONLY=exports` reads with it."""
    golden = json.loads((ROOT / "tests" / "golden" / "mds.json").read_text())
    examples = [
        Example(
            base64.b64decode(row["image"]), row["label"], row["id"], row["height"], row["width"], row["distribution"],
            row["votes"], row["label_std"], {"quality": row["label/quality"]},
        )
        for row in golden["rows"]
    ]  # fmt: skip
    fields = fields_of(examples[0])
    with Part(tmp_path / "shard.00000.mds") as part:
        sizes = [len(example.image) for example in examples]
        ids = [example.id for example in examples]
        Mds().write(part, ShardRecords(dataset.manifest, iter(examples), fields, ids, sizes))
    assert part.path.read_bytes() == base64.b64decode(golden["shard"])
    files = [WrittenFile("train/shard.00000.mds", part.size, part.sha256, len(examples))]
    assert json.loads(Mds().beside_split(files, fields)["index.json"]) == golden["index"]
    assert hashlib.sha256(part.path.read_bytes()).hexdigest() == part.sha256


def test_mds_refuses_a_table_that_states_other_sizes(dataset: Dataset, tmp_path: Path) -> None:
    examples = list(dataset.open_split("train"))
    sizes = [len(example.image) + (number == 1) for number, example in enumerate(examples)]
    ids = [example.id for example in examples]
    records = ShardRecords(dataset.manifest, iter(examples), fields_of(examples[0]), ids, sizes)
    with Part(tmp_path / "x.mds") as part, pytest.raises(IntegrityError, match=r"record 1, id .* has a JPEG of"):
        Mds().write(part, records)


def test_each_format_and_tool_of_the_command_line_is_there_and_no_other() -> None:
    assert (set(_FORMATS), set(_TOOLS)) == (set(FORMATS), set(TOOLS))


@pytest.mark.parametrize("written", FORMATS)
def test_an_export_says_what_it_holds_and_a_second_one_writes_nothing(
    made: SyntheticVersion, tmp_path: Path, written: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    command = ["export", made.store.url, out.as_uri(), "--format", written, "--json"]
    assert main(command) == 0
    first = json.loads(capsys.readouterr().out)
    said = json.loads((out / "export.json").read_text())
    assert (said["version"], said["format"], said["files"]) == (made.version, written, first["files"])
    assert first["records"] == 40
    for file in said["files"]:
        assert hashlib.sha256((out / file["path"]).read_bytes()).hexdigest() == file["sha256"]
    there = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    assert there == {file["path"] for file in said["files"]} | {"export.json", ".aesthetics-ops-lock"}
    assert main(command) == 0
    assert json.loads(capsys.readouterr().out) == first | {"written_bytes": 0}
    again = tmp_path / "again"
    assert main(["export", made.store.url, str(again), "--format", written]) == 0
    assert (again / "export.json").read_bytes() == (out / "export.json").read_bytes(), "equal bytes"


@pytest.mark.parametrize("written", FORMATS)
def test_an_export_that_was_interrupted_goes_on(dataset: Dataset, tmp_path: Path, written: str) -> None:
    """Killed in a process of its own it is in tests/integration/test_exports.py."""
    left = iter(range(2))

    def interrupt(size: int) -> None:
        if next(left, None) is None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        dataset.export(tmp_path / "out", written, progress=interrupt)
    whole = dataset.export(tmp_path / "whole", written)
    done = dataset.export(tmp_path / "out", written)
    assert done.files == whole.files
    assert done.written_bytes < whole.written_bytes


def test_a_shard_that_is_damaged_is_named_and_no_file_of_it_appears(
    made: SyntheticVersion, dataset: Dataset, tmp_path: Path
) -> None:
    shard = dataset.splits["train"].shards[2]
    path = made.store.local_path(shard.path)
    assert path is not None
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    for written in FORMATS:
        with pytest.raises(
            IntegrityError, match=rf"version {made.version}, {shard.path} .*record \d.*CRC32C"
        ) as refused:
            dataset.export(tmp_path / written, written)
        assert "\n" not in str(refused.value)
        assert list((tmp_path / written).glob("[!.]*")) == []


def test_memory_does_not_grow_with_a_shard(tmp_path: Path) -> None:
    """A shard of 160 photos of 1 MB each; requests ahead and a row group hold 30 of them."""
    photos = [Photo(f"p{number}", each.jpeg, 5.0) for number, each in enumerate(synthetic_photos(1, side_px=900) * 160)]
    SyntheticDataset(open_store(f"file://{tmp_path}/large/"), per_shard=200).publish(photos)
    dataset = open_dataset(f"file://{tmp_path}/large/")
    assert dataset.manifest.bytes > 140 << 20
    for written in FORMATS:
        before, seen = own_bytes(), []
        dataset.export(tmp_path / "out", written, progress=lambda size: seen.append(own_bytes() - before))  # noqa: B023
        assert len(seen) > 10
        assert max(seen) < 90 << 20, written
        shutil.rmtree(tmp_path / "out")


def test_from_a_store_come_the_same_files_and_an_expiry_on_the_way_is_said(dataset: Dataset, tmp_path: Path) -> None:
    store = open_store(f"memory://{tmp_path.name}/")
    photos = [Photo(row.id, bytes(row.image), row.label) for row in dataset.open_split("train")]
    version = SyntheticDataset(store, per_shard=9).publish(photos)
    far = open_dataset(store.url)
    there = far.export(tmp_path / "far", "webdataset")
    here = dataset.export(tmp_path / "here", "webdataset", splits=["train"])
    assert [(file.path, file.sha256) for file in there.files["train"]] == [
        (file.path, file.sha256) for file in here.files["train"]
    ]

    def expire(size: int) -> None:
        del size
        store.delete(
            [LATEST_KEY, published_key(version.version), *(shard.path for shard in far.splits["train"].shards)]
        )

    with pytest.raises(NoSuchVersionError, match=r"has expired since it was opened: .* is gone"):
        far.export(tmp_path / "cut", "mds", progress=expire)
    assert list((tmp_path / "cut").glob("[!.]*")) == []


class TestRefused:
    """One line each, and nothing is written."""

    def test_what_is_in_the_way(self, dataset: Dataset, tmp_path: Path) -> None:
        (tmp_path / "full").mkdir()
        (tmp_path / "full" / "notes.txt").write_text("mine")
        with pytest.raises(
            SettingsError, match=r"is not empty: it holds 'notes.txt'; name a directory that is new or empty"
        ):
            dataset.export(tmp_path / "full", "mds")
        assert [path.name for path in (tmp_path / "full").iterdir()] == ["notes.txt"]
        (tmp_path / "file").write_text("mine")
        with pytest.raises(NotADirectoryError):
            dataset.export(tmp_path / "file", "mds")
        dataset.export(tmp_path / "tar", "webdataset", splits=["test"])
        with pytest.raises(
            SettingsError, match=r"holds an export of splits test of version .* as webdataset; name another"
        ):
            dataset.export(tmp_path / "tar", "parquet", splits=["test"])
        with pytest.raises(SettingsError, match=r"holds an export of splits test "):
            dataset.export(tmp_path / "tar", "webdataset")

    def test_an_export_whose_file_is_gone(self, dataset: Dataset, tmp_path: Path) -> None:
        dataset.export(tmp_path / "out", "webdataset")
        (tmp_path / "out" / "test" / "00000.tar").unlink()
        with pytest.raises(
            IntegrityError, match=r"test/00000.tar' is not the file of 20,480 bytes that was exported; delete"
        ):
            dataset.export(tmp_path / "out", "webdataset")

    @pytest.mark.parametrize("directory", ["s3://bucket/out/", "gs://bucket/out", "http://somewhere/out"])
    def test_another_machine(self, dataset: Dataset, directory: str) -> None:
        with pytest.raises(SettingsError, match=r"not on this machine|web address"):
            dataset.export(directory, "webdataset")

    def test_a_split_that_there_is_not(self, tmp_path: Path, made: SyntheticVersion) -> None:
        few = SyntheticDataset(open_store(f"file://{tmp_path}/few/"))
        few.publish(synthetic_photos(3))
        with pytest.raises(NoSuchSplitError, match="'holdout'"):
            open_dataset(made.store.url).export(tmp_path / "out", "mds", splits=["holdout"])
        assert not (tmp_path / "out").exists()

    def test_no_record(self, dataset: Dataset, tmp_path: Path) -> None:
        with pytest.raises(SettingsError, match="there is nothing to export: no split was chosen"):
            dataset.export(tmp_path / "out", "mds", splits=[])

    def test_a_format_that_there_is_not(self, dataset: Dataset, tmp_path: Path) -> None:
        with pytest.raises(
            SettingsError, match="'zip' is not a format of exports; the formats are webdataset, parquet, mds"
        ):
            dataset.export(tmp_path / "out", "zip")

    def test_a_version_that_has_expired(self, made: SyntheticVersion, dataset: Dataset, tmp_path: Path) -> None:
        shutil.rmtree(made.store.local_path("shards/x").parent)
        made.store.delete([LATEST_KEY, published_key(made.version)])
        with pytest.raises(NoSuchVersionError):
            dataset.export(tmp_path / "out", "mds")
        assert not (tmp_path / "out").exists()

    def test_a_candidate(self, made: SyntheticVersion, tmp_path: Path) -> None:
        dataset = open_dataset(made.store.url, made.version)
        made.store.delete([LATEST_KEY, published_key(made.version)])
        made.store.put(candidate_key(made.version), b"{}")
        with pytest.raises(NoSuchVersionError, match=r"is a candidate, which gates refused; `aesthetics-ops promote`"):
            dataset.export(tmp_path / "out", "parquet")

    def test_a_disk_that_is_too_small(self, dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        usage = shutil.disk_usage(tmp_path)
        monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
        with pytest.raises(ScratchSpaceError, match=r"has 1,000 bytes free, but what is still to write has about"):
            dataset.export(tmp_path / "out", "parquet")

    def test_two_at_once(self, dataset: Dataset, tmp_path: Path) -> None:
        def second(size: int) -> None:
            with pytest.raises(DatasetBusyError, match="another export is at work there"):
                dataset.export(tmp_path / "out", "mds")

        dataset.export(tmp_path / "out", "mds", progress=second)


def test_a_pulled_directory_and_one_split_are_exported_too(dataset: Dataset, tmp_path: Path) -> None:
    dataset.pull(tmp_path / "pulled", splits=["test"])
    pulled = open_dataset(tmp_path / "pulled")
    with pytest.raises(NoSuchSplitError, match="holds no shards of split 'train'"):
        pulled.export(tmp_path / "all", "parquet")
    exported = pulled.export(tmp_path / "out", "parquet", splits=["test"])
    rows = pq.read_table(tmp_path / "out" / exported.files["test"][0].path)
    assert rows["id"].to_pylist() == dataset.records("test")["id"].to_pylist()
    assert np.array_equal(rows["label"].to_numpy(), dataset.open_split("test").labels)
    assert rows["image"].combine_chunks().field("bytes").to_pylist() == dataset.open_split("test").jpegs(range(3))


def test_the_reading_page_has_it_right(dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (ROOT / "docs" / "reading.md").read_text(encoding="utf-8")
    block = page.partition("run by tests/unit/readers/test_export.py -->\n```python\n")[2].partition("```")[0]
    monkeypatch.chdir(tmp_path)
    found: dict[str, Any] = {"dataset": dataset}
    exec(block, found)  # noqa: S102 - a page of this repository
    assert [Path("ava-tar", tar).is_file() for tar in found["tars"]] == [True] * len(dataset.splits["train"].shards)
    assert Path("ava", "features.json").is_file()


class TestCompanions:
    """What a pull lays beside shards for other tools."""

    def test_an_index_names_each_record_of_its_shard(self, dataset: Dataset, tmp_path: Path) -> None:
        assert main(["pull", dataset.manifest.dataset, str(tmp_path / "out"), "--for", "dali"]) == 0
        rows = dataset.records("train")
        lines = []
        for path in sorted((tmp_path / "out").glob("train-*.idx")):
            assert path.with_suffix("").stat().st_size == sum(map(int, path.read_text().split()[-2:]))
            lines += path.read_text().splitlines()
        assert lines == [
            f"{offset} {length}" for offset, length in zip(*map(rows.__getitem__, ("offset", "length")), strict=True)
        ]

    def test_a_later_pull_keeps_them_up(self, made: SyntheticVersion, tmp_path: Path) -> None:
        out, dataset = tmp_path / "out", open_dataset(made.store.url)
        dataset.pull(out, splits=["test"], tools=["dali", "tfds"])
        assert [split["name"] for split in json.loads((out / "dataset_info.json").read_text())["splits"]] == ["test"]
        dataset.pull(out)
        info = json.loads((out / "dataset_info.json").read_text())
        assert {split["name"]: sum(map(int, split["shardLengths"])) for split in info["splits"]} == {
            name: split.records for name, split in dataset.splits.items()
        }
        other = SyntheticDataset(open_store(f"file://{tmp_path}/other/"), per_shard=5)
        other.publish(synthetic_photos(12))
        open_dataset(f"file://{tmp_path}/other/").pull(out)
        shards = {path.name for path in out.glob("*.tfrecord")}
        assert {path.name for path in out.glob("*.idx")} == {f"{name}.idx" for name in shards}
        assert "other" in (out / "dataset_info.json").read_text()

    def test_none_is_there_unasked_and_foreign_documents_stay(self, dataset: Dataset, tmp_path: Path) -> None:
        out = tmp_path / "out"
        out.mkdir()
        (out / "dataset_info.json").write_text("{}")
        with pytest.raises(SettingsError, match=r"dataset_info.json' is in the way, and no pull has made it"):
            dataset.pull(out, tools=["tfds"])
        dataset.pull(out)
        assert (out / "dataset_info.json").read_text() == "{}"
        assert list(out.glob("*.idx")) == []
        with pytest.raises(SettingsError, match="'torch' is no tool that a pull knows; it knows dali, tfds"):
            dataset.pull(out, tools=["torch"])
