"""Numbers, places and rows as people write them: taken for what they mean, or refused in a line."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from aesthetics_ops import Dataset, Pixels, open_dataset
from aesthetics_ops.dataset.tables import write_parquet
from aesthetics_ops.errors import IntegrityError, NoSuchVersionError, SettingsError
from aesthetics_ops.readers.given import local_directory
from aesthetics_ops.store import open_store
from aesthetics_ops.testing.datasets import SyntheticDataset, synthetic_photos


def names_in(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("published")
    SyntheticDataset(open_store(f"{path.as_uri()}/")).publish(synthetic_photos(40))
    return path


@pytest.fixture
def dataset(published: Path) -> Dataset:
    return open_dataset(published)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("given", ["~/a b%", "a b%", Path("~/a b%"), "{home}/a b%", "file://{home}/a%20b%25"])
def test_a_directory_may_be_written_in_every_way(home: Path, dataset: Dataset, given: str | Path) -> None:
    place = given.format(home=home) if isinstance(given, str) else given
    assert local_directory(place) == home / "a b%"
    dataset.pull(place)
    assert names_in(home) == ["a b%"]
    assert len(open_dataset(home / "a b%").records()) == 40


@pytest.mark.parametrize(
    "given", ["", "  ", "a\0b", 5, None, b"/tmp", "s3://bucket/ava", Path("s3://bucket/ava"), "gs://b/c"]
)
def test_what_is_no_directory_is_refused(home: Path, dataset: Dataset, given: Any) -> None:
    with pytest.raises(SettingsError, match=r"^the directory is .*give (one on this machine|a path)$"):
        dataset.pull(given)
    if given is not None:
        with pytest.raises(SettingsError, match=r"^the directory is .*give (one on this machine|a path)$"):
            dataset.numpy("train", directory=given)
    assert names_in(home) == []


def test_a_file_in_the_way_of_a_directory_is_named(dataset: Dataset, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError, match=r"Not a directory: .*/file"):
        dataset.pull(tmp_path / "file")


@pytest.mark.parametrize("cache", [None, "uint8"])
def test_nothing_is_kept_in_a_published_dataset(published: Path, dataset: Dataset, cache: Any) -> None:
    before = names_in(published)
    with pytest.raises(SettingsError, match=r"is a published dataset; name another directory"):
        dataset.numpy("train", directory=published, cache=cache)
    assert names_in(published) == before


def test_the_cache_of_a_pulled_version_may_lie_elsewhere(dataset: Dataset, tmp_path: Path) -> None:
    dataset.pull(tmp_path / "pulled")
    before = names_in(tmp_path / "pulled")
    pulled = open_dataset(tmp_path / "pulled")
    with pulled.numpy("train", size=8, cache="uint8", directory=tmp_path / "own") as batches:
        assert sum(len(labels) for _, labels in batches) == 32
    assert names_in(tmp_path / "pulled") == before
    assert [path.suffix for path in (tmp_path / "own").rglob("*.u8")] == [".u8"] * 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pixels": "crop"}, r"pixels is 'crop'; give Pixels\(\.\.\.\)"),
        ({"raw": 1}, "raw is 1; it is True or False"),
        ({"max_bytes": -1}, "max_bytes is -1; it is a whole number, 0 or more"),
        ({"max_bytes": "1G"}, "max_bytes is '1G'; it is a whole number"),
        ({"where": 5}, "the filter 5 cannot be used: it is not text"),
        ({"where": "random() < 0.5"}, "it chooses other rows each time, so no state could name them"),
    ],
)
def test_options_that_are_none_are_refused(dataset: Dataset, options: Any, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        dataset.numpy("train", **options)


@pytest.mark.parametrize("connections", ["4", 1.5, None, True])
def test_connections_are_a_number(dataset: Dataset, tmp_path: Path, connections: Any) -> None:
    with pytest.raises(SettingsError, match=rf"connections is {connections!r}, but must be 1 to 256"):
        dataset.pull(tmp_path, connections=connections)


@pytest.mark.parametrize("rows", [[True] * 32, [1.5], [[0]], "a", None, {1}, [2**63 + 1]])
def test_rows_are_numbers_and_a_mask_selects(dataset: Dataset, rows: Any) -> None:
    records = dataset.open_split("train")
    for read in (records.jpegs, lambda rows: records.arrays(rows, Pixels(8)), records.rows_in_split):
        with pytest.raises(
            (SettingsError, IndexError), match=r"^(rows are .* select by a mask first|row \d+ of 32 records)"
        ):
            read(rows)


@pytest.mark.parametrize("out", [np.empty((3, 8, 8, 3), np.uint8), np.empty((1, 8, 8, 3), np.uint8), [1, 2]])
def test_an_array_for_other_photos_is_refused(dataset: Dataset, out: Any) -> None:
    with pytest.raises(SettingsError, match=r"out is .*; give an array for 2 photos"):
        dataset.open_split("train").arrays([0, 1], Pixels(8), out=out)


@pytest.mark.parametrize("columns", [["id", "nope"], ["split", "Label"]])
def test_a_column_that_there_is_not_is_named(dataset: Dataset, columns: list[str]) -> None:
    with pytest.raises(SettingsError, match=rf"records\.parquet has no column '{columns[-1]}'; it has id, key"):
        dataset.open_split("train").table(columns)


@pytest.mark.parametrize("version", ["", " ", "../x", "a/b", "\0", 5])
def test_what_cannot_name_a_version_names_none(dataset: Dataset, published: Path, version: Any) -> None:
    with pytest.raises(NoSuchVersionError, match=r"has no version .*; `aesthetics-ops versions` lists those it has"):
        open_dataset(published, version)


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that other users may look into; those of pytest are private."""
    with TemporaryDirectory() as path:
        Path(path).chmod(0o755)
        yield Path(path)


def test_a_directory_that_may_only_be_read_is_read(dataset: Dataset, place: Path) -> None:
    """What another user has filled, and this one may not change."""
    dataset.pull(place)
    options: dict[str, Any] = {"size": 8, "cache": "uint8"}
    expected = [labels.tolist() for _, labels in open_dataset(place).numpy("train", **options)]
    with as_another_user(place):
        found = [labels.tolist() for _, labels in open_dataset(place).numpy("train", **options)]
        assert found == expected
        with pytest.raises(SettingsError, match=r"cache='uint8' cannot write .*; let this user write there"):
            list(open_dataset(place).numpy("test", **options))
        with pytest.raises(SettingsError, match=r"cache='uint8' cannot write .*; let this user write there"):
            open_dataset(place).numpy("train", size=9, cache="uint8")


def test_kept_records_that_may_only_be_read_are_read(place: Path, caplog: pytest.LogCaptureFixture) -> None:
    SyntheticDataset(open_store("memory://kept-for-others/")).publish(synthetic_photos(40))
    remote = open_dataset("memory://kept-for-others/")
    expected = [labels.tolist() for _, labels in remote.numpy("train", size=8, directory=place)]
    with as_another_user(place):
        found = [labels.tolist() for _, labels in remote.numpy("train", size=8, directory=place)]
        assert found == expected
        assert caplog.messages == []
        assert sum(len(labels) for _, labels in remote.numpy("test", size=8, directory=place)) == 4
        assert "keeps no more records: this user may not write there" in caplog.text
        with pytest.raises(
            SettingsError, match=r"kept-records' cannot be made: Permission denied; give another directory"
        ):
            list(remote.numpy("test", size=8, directory=place / "new"))


def test_a_pulled_table_with_other_scores_is_refused(dataset: Dataset, tmp_path: Path) -> None:
    dataset.pull(tmp_path)
    table = dataset.records()
    labels = pa.array(table["label"].to_pylist()[::-1], pa.float32())
    changed = table.set_column(table.schema.get_field_index("label"), "label", labels)
    (tmp_path / "records.parquet").write_bytes(write_parquet(changed))
    with pytest.raises(IntegrityError, match=r"records\.parquet' has not the sha256 .*; what brings it: .* --verify"):
        list(open_dataset(tmp_path).numpy("train", size=8))
    dataset.pull(tmp_path, verify=True)
    assert open_dataset(tmp_path).records().equals(table)


def test_a_directory_that_filled_itself_is_no_version_and_says_what_it_is(tmp_path: Path) -> None:
    SyntheticDataset(open_store("memory://fills/")).publish(synthetic_photos(40))
    list(open_dataset("memory://fills/").numpy("train", size=8, directory=tmp_path))
    with pytest.raises(
        NoSuchVersionError, match="holds what readers kept of a store, and no version; open the dataset's URL"
    ):
        open_dataset(tmp_path)


@contextmanager
def as_another_user(place: Path) -> Iterator[None]:
    """Take from this user the right to write in a directory; root becomes nobody for as long."""
    is_root = os.geteuid() == 0
    modes = {path: path.stat().st_mode for path in (place, *place.rglob("*"))}
    for path in modes:
        path.chmod(0o555 if path.is_dir() else 0o444)
    if is_root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)
        for path, mode in modes.items():
            path.chmod(mode)
