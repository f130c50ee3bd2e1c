"""The TOML file of scheduled builds: tables that would write into each other's prefixes are refused."""

from pathlib import Path

import pytest

from aesthetics_ops.config import PARTITIONS_VARIABLE, load_datasets, mapped_tasks
from aesthetics_ops.errors import SettingsError

TABLE = '[{name}]\nphotos = "{photos}"\nlabels = "s3://b/scores.csv"\ndataset = "{dataset}"\n'


def written(tmp_path: Path, *tables: tuple[str, str, str]) -> Path:
    path = tmp_path / "datasets.toml"
    path.write_text(
        "\n".join(TABLE.format(name=name, photos=photos, dataset=dataset) for name, photos, dataset in tables)
    )
    return path


@pytest.mark.parametrize(
    ("cats", "dogs"),
    [
        ("s3://b/sets/all/", "s3://b/sets/all/"),
        ("s3://b/sets/all", "s3://b/sets/all//"),
        ("s3://b/sets/", "s3://b/sets/dogs/"),
        ("s3://b/sets/cats/old/", "s3://b/sets/cats"),
        ("s3://b/", "s3://b/sets/"),
        ("file:///data/sets", "file://localhost/data/sets/"),
        ("file:///data/my%20sets/", "file:///data/./my%20sets/dogs/"),
        ("file:///data/sets/cats/../dogs", "file:///data//sets/dogs/"),
        ("file:///data/%73ets/", "file:///data/sets/"),
        ("gs://b/sets/", "gs://b/sets/x/"),
    ],
)
def test_datasets_that_are_one_or_nested_are_refused_with_both_names(tmp_path: Path, cats: str, dogs: str) -> None:
    path = written(tmp_path, ("cats", "s3://raw/cats/", cats), ("dogs", "s3://raw/dogs/", dogs))
    with pytest.raises(
        SettingsError, match=r"tables \[cats\] and \[dogs\] of '.*' share a prefix: .*prefix of its own"
    ) as caught:
        load_datasets(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("photos", "dataset", "others"),
    [
        ("s3://b/photos/", "s3://c/cats/", "s3://b/photos/dogs/"),
        ("s3://b/photos", "s3://c/cats", "s3://b/photos"),
        ("s3://b/sets/dogs/raw/", "s3://c/cats/", "s3://b/sets/dogs/"),
        ("file:///data/photos/", "s3://c/cats/", "file://localhost/data/./photos/dogs"),
    ],
)
@pytest.mark.parametrize("is_first", [True, False])
def test_a_dataset_inside_another_tables_photos_or_around_them_is_refused(
    tmp_path: Path, photos: str, dataset: str, others: str, is_first: bool
) -> None:
    tables = [("cats", photos, dataset), ("dogs", "s3://d/dogs/", others)]
    with pytest.raises(
        SettingsError, match=r"dataset '.*' of \[dogs\] and photos '.*' of \[cats\] are equal or one lies"
    ):
        load_datasets(written(tmp_path, *(tables if is_first else tables[::-1])))


def test_names_that_only_begin_alike_and_shared_photos_are_fine(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        ("cats", "s3://b/photos/", "s3://b/sets/cats"),
        ("more", "s3://b/photos/", "s3://b/sets/cats2"),
        ("files", "file:///data/photos", "file:///data/photos2"),
        ("other", "file:///data/photos", "gs://b/sets/cats"),
    )
    assert [config.name for config in load_datasets(path)] == ["cats", "more", "files", "other"]


@pytest.mark.parametrize(("text", "number"), [(None, 8), ("", 8), (" ", 8), ("1", 1), (" 12 ", 12), ("1024", 1024)])
def test_the_variable_says_how_many_mapped_tasks_there_are(
    text: str | None, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(PARTITIONS_VARIABLE, raising=False)
    if text is not None:
        monkeypatch.setenv(PARTITIONS_VARIABLE, text)
    assert mapped_tasks() == number


@pytest.mark.parametrize("text", ["0", "-1", "abc", "1.5", "1025", "8 8", "٣", "9" * 5000])
def test_a_number_of_mapped_tasks_that_is_none_is_one_clear_line(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PARTITIONS_VARIABLE, text)
    with pytest.raises(
        SettingsError, match=r"AESTHETICS_PARTITIONS is '.*', but must be a whole number from 1 to 1024"
    ):
        mapped_tasks()
