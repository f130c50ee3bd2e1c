"""A dataset is opened by its URL or by the directory that it was pulled into; what is neither, or is not whole, says so."""

import hashlib
import json
import os
import pickle
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from aesthetics_ops import open_dataset
from aesthetics_ops.dataset.layout import VersionFile, version_key
from aesthetics_ops.errors import IntegrityError, NoSuchSplitError, NoSuchVersionError, SettingsError
from aesthetics_ops.readers.opened import PublishedVersion, PulledVersion
from aesthetics_ops.store import Store, open_store
from aesthetics_ops.testing.datasets import SyntheticDataset, SyntheticVersion, synthetic_photos
from tests.support.paths import ROOT


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(f"file://{tmp_path}/published/")


@pytest.fixture
def made(store: Store) -> SyntheticVersion:
    return SyntheticDataset(store, per_shard=8).publish(synthetic_photos(30))


@pytest.fixture
def directory(made: SyntheticVersion, tmp_path: Path) -> Path:
    open_dataset(made.store.url).pull(tmp_path / "pulled")
    return tmp_path / "pulled"


def key_of(made: SyntheticVersion, file: VersionFile) -> str:
    return version_key(made.version, file)


class TestPulled:
    """A directory that a version was pulled into."""

    @pytest.mark.parametrize(
        "spell",
        [
            lambda path: path,
            str,
            lambda path: path.as_uri(),
            lambda path: path.as_uri() + "/",
            lambda path: Path(os.path.relpath(path)),
            os.path.relpath,
            lambda path: f"{path}/",
        ],
        ids=["path", "text", "URL", "URL with slash", "relative path", "relative text", "text with slash"],
    )
    def test_it_opens_like_the_dataset_when_that_is_gone(
        self, made: SyntheticVersion, directory: Path, spell: Callable[[Path], str | Path]
    ) -> None:
        published = open_dataset(made.store.url)
        expected = published.records("train", where="label > 5")
        shutil.rmtree(directory.parent / "published")
        dataset = open_dataset(spell(directory))
        assert isinstance(dataset.source, PulledVersion)
        assert dataset.source.store is None
        assert (dataset.manifest, dataset.version) == (made.manifest, made.version)
        assert dataset.records("train", where="label > 5") == expected
        assert 0 < expected.num_rows < dataset.splits["train"].records

    def test_it_loads_no_client_of_a_store(self, directory: Path) -> None:
        code = (
            "import sys; from aesthetics_ops import open_dataset; d = open_dataset(sys.argv[1]); d.records('test'); "
            "print({'boto3', 'obstore'} & set(sys.modules))"
        )
        done = subprocess.run([sys.executable, "-c", code, str(directory)], capture_output=True, text=True, check=True)
        assert done.stdout == "set()\n"

    def test_its_manifest_is_the_one_that_latest_vouches_for(self, made: SyntheticVersion, directory: Path) -> None:
        promised = json.loads(bytes(made.store.get("LATEST.json").data))["sha256"]
        assert hashlib.sha256((directory / "manifest.json").read_bytes()).hexdigest() == promised
        for url in (made.store.url, str(directory)):
            assert open_dataset(url).source.manifest_sha256 == promised

    def test_a_version_that_is_asked_for_must_be_the_one_that_it_holds(
        self, made: SyntheticVersion, directory: Path
    ) -> None:
        for version in (made.version, "latest", None):
            assert open_dataset(directory, version).version == made.version
        with pytest.raises(NoSuchVersionError, match=f"'{directory}' holds version '{made.version}', not 'v9'"):
            open_dataset(directory, "v9")

    def test_it_can_be_pulled_from_and_brings_what_it_has(
        self, made: SyntheticVersion, directory: Path, tmp_path: Path
    ) -> None:
        shutil.rmtree(tmp_path / "published")
        again = open_dataset(directory).pull(tmp_path / "again", splits=["train"])
        assert again.downloaded_bytes == made.manifest.splits["train"].bytes
        assert open_dataset(tmp_path / "again").records() == open_dataset(directory).records()
        with pytest.raises(
            IntegrityError,
            match=r"(validation|test)-00000-of-00001.tfrecord' is missing; what brings it: aesthetics-ops pull",
        ):
            open_dataset(tmp_path / "again").pull(tmp_path / "third")

    def test_pulling_into_itself_changes_nothing(self, directory: Path) -> None:
        def looks() -> dict[Path, tuple[int, int, int]]:  # but for when it was read
            found = {path: path.stat() for path in directory.iterdir()}
            return {path: (stat.st_ino, stat.st_size, stat.st_mtime_ns) for path, stat in found.items()}

        before = looks()
        assert open_dataset(directory).pull(directory, verify=True).downloaded_bytes == 0
        assert looks() == before

    @pytest.mark.parametrize("damage", ["cut off", "longer", "missing"])
    def test_a_shard_that_is_not_whole_is_found_at_once(
        self, directory: Path, made: SyntheticVersion, damage: str
    ) -> None:
        victim = directory / "train-00001-of-00003.tfrecord"
        good = victim.read_bytes()
        if damage == "missing":
            victim.unlink()
            says = "is missing"
        else:
            victim.write_bytes(good[:-1] if damage == "cut off" else good + b"x")
            says = f"has {victim.stat().st_size:,} bytes, and its manifest states {len(good):,}"
        with pytest.raises(IntegrityError) as caught:
            open_dataset(directory)
        assert str(caught.value) == (
            f"'{victim}' {says}; what brings it: aesthetics-ops pull {made.store.url} {directory} --version {made.version} "
            "--split train"
        )
        open_dataset(made.store.url).pull(directory)
        assert open_dataset(directory).version == made.version
        assert victim.read_bytes() == good

    def test_a_split_that_was_not_pulled_is_named_when_it_is_read(self, made: SyntheticVersion, tmp_path: Path) -> None:
        open_dataset(made.store.url).pull(tmp_path / "part", splits=["test"])
        source = open_dataset(tmp_path / "part").source
        assert source.local_shard("test", 0) == tmp_path / "part" / "test-00000-of-00001.tfrecord"
        with pytest.raises(
            NoSuchSplitError, match=r"holds no shards of split 'train'; what brings it: .* --split train$"
        ):
            source.local_shard("train", 0)
        (tmp_path / "part" / "train-00001-of-00003.tfrecord").touch()
        with pytest.raises(IntegrityError, match=r"train-00000-of-00003.tfrecord' is missing"):
            source.local_shard("train", 0)

    def test_one_without_its_table_says_what_brings_it(self, made: SyntheticVersion, directory: Path) -> None:
        (directory / "records.parquet").unlink()
        with pytest.raises(IntegrityError, match=r"records.parquet' is missing; what brings it: aesthetics-ops pull "):
            open_dataset(directory)
        assert open_dataset(made.store.url).pull(directory).downloaded_bytes == 0
        assert open_dataset(directory).records().num_rows == 30

    @pytest.mark.parametrize("damage", ["no parquet", "another version's"])
    def test_a_table_that_is_not_its_own_is_refused(
        self, store: Store, made: SyntheticVersion, directory: Path, damage: str
    ) -> None:
        table = directory / "records.parquet"
        if damage == "no parquet":
            table.write_bytes(table.read_bytes()[:-5])
            says = "is not a whole Parquet file"
        else:
            pq.write_table(made.records.slice(1), table)
            says = f"has 29 records, and the manifest of version '{made.version}' 30"
        with pytest.raises(IntegrityError, match=rf"records.parquet {says}.*; what brings it: .* --verify$"):
            open_dataset(directory).records()
        open_dataset(made.store.url).pull(directory, verify=True)
        assert open_dataset(directory).records().num_rows == 30

    def test_one_that_a_newer_release_pulled_asks_for_an_update(self, directory: Path) -> None:
        manifest = directory / "manifest.json"
        manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"schema_version": 99}))
        with pytest.raises(
            IntegrityError, match=r"schema_version: .*99 is not a schema version .*; update aesthetics-ops to read it$"
        ):
            open_dataset(directory)

    def test_it_goes_to_another_process_by_pickle(self, made: SyntheticVersion, directory: Path) -> None:
        for url in (made.store.url, str(directory)):
            source = open_dataset(url).source
            copy = pickle.loads(pickle.dumps(source))  # noqa: S301 - what was dumped here
            assert type(copy) is type(source)
            assert (copy.manifest, copy.manifest_sha256) == (source.manifest, source.manifest_sha256)
            assert copy.table() == source.table()
            assert copy.local_shard("train", 1) == source.local_shard("train", 1)


class TestForeign:
    """A directory that is no pulled one."""

    def test_a_pull_that_was_not_finished_is_said(self, directory: Path) -> None:
        (directory / "manifest.json").unlink()
        with pytest.raises(NoSuchVersionError, match=rf"'{directory}' has no manifest.json: its pull was not finished"):
            open_dataset(directory)

    def test_a_directory_of_other_things_is_said(self, tmp_path: Path) -> None:
        (tmp_path / "notes.txt").write_text("mine")
        with pytest.raises(
            NoSuchVersionError, match=r"is neither a published dataset, which has LATEST.json, nor a pulled one"
        ):
            open_dataset(tmp_path)

    @pytest.mark.parametrize("stored", [b'{"name": "an app", "icons": []}', b"", b"[1]", b"\xff\xfe", b"{"])
    def test_another_programs_manifest_is_said(self, tmp_path: Path, stored: bytes) -> None:
        (tmp_path / "manifest.json").write_bytes(stored)
        with pytest.raises(IntegrityError) as caught:
            open_dataset(tmp_path)
        assert str(caught.value) == (
            f"'{tmp_path}/manifest.json' is not the manifest of a version; check the path, or pull again into it"
        )

    def test_nothing_is_no_directory(self) -> None:
        for nothing in ("", " "):
            with pytest.raises(SettingsError, match="is nothing; write an absolute path"):
                open_dataset(nothing)

    def test_a_directory_that_is_not_there_or_empty_has_nothing_published(self, tmp_path: Path) -> None:
        (tmp_path / "empty").mkdir()
        for place in (tmp_path / "empty", tmp_path / "absent"):
            with pytest.raises(NoSuchVersionError, match=f"nothing is published under {place.as_uri()}/"):
                open_dataset(place)

    def test_a_relative_path_that_is_not_there_is_no_url(self) -> None:
        with pytest.raises(SettingsError, match="'no/such/directory' is a relative path"):
            open_dataset("no/such/directory")

    def test_a_published_directory_without_latest_is_no_pulled_one(
        self, made: SyntheticVersion, tmp_path: Path
    ) -> None:
        (tmp_path / "published" / "LATEST.json").unlink()
        with pytest.raises(IntegrityError, match=r"LATEST.json is gone, though versions were published"):
            open_dataset(made.store.url)
        assert open_dataset(made.store.url, made.version).version == made.version


class TestPublished:
    """A version in its dataset."""

    def test_a_dataset_on_files_knows_where_its_shards_lie(self, made: SyntheticVersion) -> None:
        source = open_dataset(made.store.url).source
        assert isinstance(source, PublishedVersion)
        for name, split in made.manifest.splits.items():
            for number, shard in enumerate(split.shards):
                path = source.local_shard(name, number)
                assert path is not None
                assert hashlib.sha256(path.read_bytes()).hexdigest() == shard.sha256

    def test_other_stores_have_no_local_files(self) -> None:
        store = open_store("memory://opened/")
        SyntheticDataset(store).publish(synthetic_photos(10))
        assert open_dataset(store.url).source.local_shard("train", 0) is None

    def test_text_that_repeats_comes_as_dictionaries_from_the_source_only(self, made: SyntheticVersion) -> None:
        dataset = open_dataset(made.store.url)
        assert str(dataset.source.table(["shard"]).schema.field("shard").type).startswith("dictionary")
        assert dataset.records().schema == made.records.schema

    def test_a_missing_table_is_damage_while_the_version_is_published(
        self, store: Store, made: SyntheticVersion
    ) -> None:
        dataset = open_dataset(store.url)
        store.delete([key_of(made, VersionFile.RECORDS)])
        with pytest.raises(
            IntegrityError, match=rf"records.parquet is missing, though version '{made.version}' names it"
        ):
            dataset.records()

    def test_an_empty_filter_result_keeps_the_columns(self, made: SyntheticVersion) -> None:
        found = open_dataset(made.store.url).records("test", where="label > 1000")
        assert (found.num_rows, found.schema) == (0, made.records.schema)


def test_the_reference_names_every_file_of_a_pulled_directory(directory: Path) -> None:
    page = (ROOT / "docs" / "format.md").read_text(encoding="utf-8").partition("## A pulled directory")[2]
    named = {re.sub(r"^\w+-\d+-of-\d+", "<split>-<number>-of-<count>", path.name) for path in directory.iterdir()}
    assert len(named) == 5
    assert [name for name in named if f"`{name}`" not in page] == []
