"""Which files the labels setting names, and what is said of one that cannot be had."""

from pathlib import Path
from typing import Any

import pytest

from aesthetics_ops.errors import LabelError, SettingsError, StoreRefusedError
from aesthetics_ops.settings import BuildSettings, parse_settings
from aesthetics_ops.sources.labels import Labels
from aesthetics_ops.sources.places import open_score_folders
from aesthetics_ops.sources.scores import read_score_files
from aesthetics_ops.store import open_store
from aesthetics_ops.testing.stores import Request, WrappedStore
from aesthetics_ops.urls import split_urls
from tests.support.sheets import xlsx


def settings_of(labels: Any, **values: Any) -> BuildSettings:
    places = {"photos": "memory://scores/photos/", "dataset": "memory://scores/dataset/"}
    return parse_settings({**places, "labels": labels, **values}, where="test")


def read(labels: Any, **values: Any) -> tuple[Labels, str]:
    settings = settings_of(labels, **values)
    return read_score_files(open_score_folders(settings), settings)


def names(labels: Labels) -> list[str]:
    found: list[str] = labels.table["name"].to_pylist()
    return found


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "more").mkdir()
    (tmp_path / "train.csv").write_text("id,score\na,1\n")
    (tmp_path / "more" / "test.jsonl").write_text('{"id": "b", "score": 2}\n')
    (tmp_path / "more" / "MOS and attribute, scores.xlsx").write_bytes(
        xlsx({"S": [["Image name", "MOS"], ["c.jpg", 3]]})
    )
    return tmp_path


@pytest.mark.parametrize(
    ("text", "urls"),
    [
        ("s3://b/a.csv", ("s3://b/a.csv",)),
        ("s3://b/a.csv, s3://b/b.csv", ("s3://b/a.csv", "s3://b/b.csv")),
        ("s3://b/a.csv,/b.csv\n ~/c.csv ,", ("s3://b/a.csv", "/b.csv", "~/c.csv")),
        ("s3://b/a, b.csv", ("s3://b/a, b.csv",)),
        ("s3://b/x,y/z.csv", ("s3://b/x,y/z.csv",)),
        (" ", ()),
    ],
)
def test_urls_stand_between_commas_or_on_lines_and_names_may_have_commas(text: str, urls: tuple[str, ...]) -> None:
    assert split_urls(text) == urls


def test_a_list_and_a_text_are_the_same_setting(place: Path) -> None:
    listed = settings_of([f"{place}/train.csv", f"{place}/more/test.jsonl"])
    assert listed == settings_of(f"{place}/train.csv, {place}/more/test.jsonl")
    assert listed == settings_of([f"{place}/train.csv,{place}/more/test.jsonl"])
    assert listed.label_urls == ((place / "train.csv").as_uri(), (place / "more/test.jsonl").as_uri())
    assert BuildSettings.model_validate(listed.model_dump(mode="json")) == listed


def test_files_of_several_folders_and_formats_are_one(place: Path) -> None:
    labels, etag = read([f"{place}/train.csv", f"{place}/more/test.jsonl"])
    assert names(labels) == ["a", "b"]
    assert labels.table["split"].to_pylist() == ["train", "test"]
    (place / "more" / "test.jsonl").write_text('{"id": "b", "score": 3}\n')
    assert read([f"{place}/train.csv", f"{place}/more/test.jsonl"])[1] != etag


def test_names_with_blanks_and_commas_are_found(place: Path) -> None:
    assert names(read(f"{place}/more/MOS and attribute, scores.xlsx")[0]) == ["c.jpg"]
    assert sorted(names(read(f"{place}/more/")[0])) == ["b", "c.jpg"]
    assert names(read(f"{place}/more/*.xlsx")[0]) == ["c.jpg"]


def test_one_file_may_have_a_split_by_setting(place: Path) -> None:
    assert read(f"{place}/train.csv", file_splits="train.csv=test")[0].table["split"].to_pylist() == ["test"]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["{place}/train.csv", "{place}/none.csv"], "score file 'file://{place}/none.csv' does not exist; check the labels"),
        (["{place}/train.csv", "{place}/blank.csv"], "label file 'file://{place}/blank.csv' is empty"),
        (["{place}/train.csv", "{place}/more"], "score file 'file://{place}/more' is a folder; name a file in it"),
        (["{place}/train.csv", "{place}/none/"], "no score file is meant by 'file://{place}/none/'"),
        (["{place}/more/test.jsonl", "{place}/more/"], "score file 'file://{place}/more/test.jsonl' is named twice by the labels setting"),
    ],
)  # fmt: skip
def test_a_file_of_several_that_cannot_be_had_is_named(place: Path, labels: list[str], message: str) -> None:
    (place / "blank.csv").write_text(" \n")
    with pytest.raises(LabelError) as caught:
        read([url.format(place=place) for url in labels])
    assert message.format(place=place) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["/a.csv", "/a.csv"], "labels names 'file:///a.csv' twice; name each file once"),
        (["/a.csv", "b.csv"], "labels: 'b.csv' is a relative path; write an absolute path"),
        (["/a.csv", " "], "labels: '' is nothing; write an absolute path"),
        ([], "labels is []"),
        ([3], "labels is [3]"),
        ("", "labels: '' is nothing; write an absolute path"),
    ],
)
def test_urls_that_cannot_be_are_refused(labels: Any, message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        settings_of(labels)
    assert message in str(caught.value)


class DenyingStore(WrappedStore):
    """Says no to one key."""

    def pass_on(self, request: Request, ask: Any) -> Any:
        if request.key == "b.csv":
            raise StoreRefusedError(
                f"{self.url_of('b.csv')!r} cannot be read: AccessDenied; ask for the right to read it"
            )
        return ask()


def test_a_file_of_several_that_may_not_be_read_is_named() -> None:
    store = open_store("memory://scores/denied/")
    store.put("a.csv", b"id,score\na,1\n")
    settings = settings_of("memory://scores/denied/a.csv, memory://scores/denied/b.csv")
    with pytest.raises(StoreRefusedError, match=r"'memory://scores/denied/b.csv' cannot be read: AccessDenied"):
        read_score_files([DenyingStore(store), DenyingStore(store)], settings)
