"""Several score files as one: their rows, their splits, and what does not go together."""

from typing import Any

import pytest

from aesthetics_ops.errors import LabelError, SettingsError
from aesthetics_ops.settings import BuildSettings
from aesthetics_ops.sources.labels import Labels, check_label_settings, combine_labels, is_score_file, read_labels

URL = "s3://bucket/labels/"


def combine(files: dict[str, str], **values: Any) -> Labels:
    urls = {"photos": "s3://bucket/photos/", "labels": URL, "dataset": "s3://bucket/dataset/"}
    settings = BuildSettings(**urls, **values)
    read = {name: read_labels(text.encode(), source=URL + name, settings=settings) for name, text in files.items()}
    return combine_labels(read, settings)


def rows(labels: Labels, *names: str) -> list[tuple[Any, ...]]:
    return [tuple(row[name] for name in names) for row in labels.table.to_pylist()]


def test_rows_come_one_after_the_other_and_are_numbered_on() -> None:
    labels = combine({"a.csv": "id,score\nx,1\ny,2\n", "b.jsonl": '{"id": "z", "score": 3}\n'})
    assert rows(labels, "row", "name", "score", "split") == [(2, "x", 1, None), (3, "y", 2, None), (4, "z", 3, None)]
    assert not labels.names_splits


@pytest.mark.parametrize(
    ("names", "splits"),
    [
        (("train.csv", "val.csv", "test.csv"), ["train", "validation", "test"]),
        (("PARA-Train.csv", "PARA-dev.csv", "my_test_2.csv"), ["train", "validation", "test"]),
        (("train.csv", "val.csv", "other.csv"), [None] * 3),
        (("train_1.csv", "train_2.csv", "train_3.csv"), [None] * 3),
        (("train_val.csv", "val.csv", "test.csv"), [None] * 3),
        (("training.csv", "contest.csv", "test.csv"), [None] * 3),
    ],
)
def test_files_of_one_split_each_name_it(names: tuple[str, ...], splits: list[str | None]) -> None:
    labels = combine({name: f"id,filename,score\nx{number},y{number},{number}\n" for number, name in enumerate(names)})
    assert [split for (split,) in rows(labels, "split")] == splits
    assert labels.names_splits == (None not in splits)
    assert [rows(other, "name", "split") for other in labels.alternatives] == [
        [(f"x{number}", split) for number, split in enumerate(splits)]
    ]


def test_a_column_of_splits_goes_before_the_names_of_files() -> None:
    labels = combine({"train.csv": "id,score,s\nx,1,test\n", "test.csv": "id,score,s\ny,2,train\n"}, split_column="s")
    assert rows(labels, "split") == [("test",), ("train",)]


def test_one_file_named_after_a_split_is_no_split() -> None:
    assert not combine({"train.csv": "id,score\nx,1\n"}).names_splits


def test_columns_of_several_names_are_told() -> None:
    labels = combine({"a.csv": "id,score\nx,1\n", "b.csv": "image,mos\ny,2\n"})
    assert labels.columns == {"id": "id or image", "score": "score or mos"}


KONIQ = "image_name,c1,c2,c3,c4,c5,c_total\nx,1,1,1,1,1,5\n"


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            {"a.csv": KONIQ, "b.csv": "id,vote_1,vote_2,vote_3,vote_4,vote_5,vote_6,vote_7,vote_8,vote_9,vote_10\ny" + ",1" * 10},
            "have votes for different ratings: 'a.csv' for 1, 2, 3, 4, 5, 'b.csv' for 1, 2, 3, 4, 5, 6, 7, 8, 9, 10",
        ),
        ({"a.csv": KONIQ, "b.csv": "id,score\ny,1\n"}, "'a.csv' for 1, 2, 3, 4, 5, 'b.csv' for none; give each kind"),
        (
            {"a.csv": "image_name,MOS,set\nx,1,test\n", "b.csv": "image_name,MOS\ny,1\n"},
            "have a column of splits in some, but not in 'b.csv'; give it one",
        ),
    ],
)  # fmt: skip
def test_files_that_do_not_go_together_are_refused(files: dict[str, str], message: str) -> None:
    with pytest.raises(LabelError) as caught:
        combine(files)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a.csv", True), ("A.CSV", True), ("0.parquet", True), ("a.csv.gz", True), ("a.xlsx", True), ("x.jpg", False), ("_SUCCESS.csv", False),
     (".a.csv", False), ("README.md", False)],
)  # fmt: skip
def test_files_of_a_folder_are_taken_by_their_suffix(name: str, expected: bool) -> None:
    assert is_score_file(name) == expected


# which split a file is


FILES = {"first.csv": "id,score\nx,1\n", "last_1.csv": "id,score\ny,2\n", "last_2.csv": "id,score\nz,3\n"}


@pytest.mark.parametrize(
    "chosen", ["first.csv=train, last*.csv=Val", ("first*=training", "last_1.csv=dev", "last_?.csv = valid"), {"f*": "train", "l*": "val"}]
)  # fmt: skip
def test_the_settings_say_which_split_a_file_is(chosen: Any) -> None:
    labels = combine(FILES, file_splits=chosen)
    assert rows(labels, "name", "split") == [("x", "train"), ("y", "validation"), ("z", "validation")]
    assert labels.names_splits


def test_what_the_settings_say_goes_before_columns_and_names() -> None:
    files = {"train.csv": "image_name,MOS,set\nx,1,test\n", "test.csv": "image_name,MOS,set\ny,1,test\n"}
    assert rows(combine(files, file_splits="train.csv=val, test.csv=train"), "split") == [("validation",), ("train",)]


@pytest.mark.parametrize(
    ("chosen", "error", "message"),
    [
        ("first.csv=train", LabelError, "label file 'last_1.csv' is meant by nothing in file_splits; give each file of"),
        ("first*=train, *=test", LabelError, "label file 'first.csv' is meant by first*=train, *=test of file_splits"),
        ("*.csv=train, x.csv=test", LabelError, "have none that file_splits calls 'x.csv'; they are 'first.csv', 'last_1.csv'"),
        ("*=trial", SettingsError, "file_splits has '*=trial'; write a file's name and its split, train, validation or test"),
        ("train", SettingsError, "file_splits has 'train'; write a file's name and its split"),
        ("=train", SettingsError, "file_splits has '=train'; write a file's name and its split"),
    ],
)  # fmt: skip
def test_splits_that_fit_no_files_are_refused(chosen: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error) as caught:
        combine(FILES, file_splits=chosen)
    assert message in str(caught.value)


def test_splits_that_nobody_knows_are_refused_before_any_file_is_read() -> None:
    places = {"photos": "s3://bucket/photos/", "labels": URL, "dataset": "s3://bucket/dataset/"}
    with pytest.raises(SettingsError, match="file_splits has 'a=b'; write"):
        check_label_settings(BuildSettings(**places, file_splits="a=b"))


# files that disagree


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (
            {"a.csv": "id,score\nx,1\ny,2\n", "b.csv": "id,score\nx,3\ny,2\n"},
            "disagree about 1 photos: 'a.csv' and 'b.csv' have another score for 'x', 1.0 and 3.0; such photos are left out",
        ),
        (
            {"train.csv": "id,score\nx,1\n", "test.csv": "id,score\nx,1\n"},
            "'train.csv' and 'test.csv' have another split for 'x', test and train; such photos are left out",
        ),
        ({"a.csv": "id,score\nx,1\nx,2\n", "b.csv": "id,score\ny,1\n"}, None),
        ({"a.csv": "id,score\nx,1\n", "b.csv": "id,score\nx,1\n"}, None),
        ({"a.csv": "id,score\nx,1\n", "b.csv": "id,score\nx,bad\n"}, None),
    ],
)
def test_two_files_that_disagree_about_a_photo_are_named(files: dict[str, str], said: str | None) -> None:
    notes = combine(files).notes
    assert [said in note for note in notes] == [True] if said else notes == ()
