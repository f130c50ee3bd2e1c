"""file://: what only a directory of files can get wrong."""

import os
from pathlib import Path

import pytest

from aesthetics_ops.errors import ObjectMissingError, StoreRefusedError
from aesthetics_ops.store import Store, open_store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(f"file://{tmp_path}/a directory")


def test_a_directory_that_does_not_exist_yet_is_empty(store: Store, tmp_path: Path) -> None:
    store.check()
    assert store.list().num_rows == 0
    assert list(tmp_path.iterdir()) == []


def test_file_urls_are_percent_encoded(store: Store, tmp_path: Path) -> None:
    assert store.url == f"file://{tmp_path}/a%20directory/"
    assert store.url_of("a b") == f"file://{tmp_path}/a%20directory/a%20b"
    store.put("k", b"1")
    assert open_store(store.url).get("k").data == b"1"


def test_a_key_cannot_leave_the_directory(store: Store, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"1")
    for key in ["../secret", "a/../../secret", str(tmp_path / "secret"), "a//b", "", "a\0b", ".aesthetics-ops-x"]:
        with pytest.raises(StoreRefusedError, match="cannot be a file"):
            store.get(key)


def test_control_characters_are_fine_in_a_file_name(store: Store) -> None:
    store.put("a\nb\t.jpg", b"1")
    assert store.list()["key"].to_pylist() == ["a\nb\t.jpg"]


def test_own_files_are_not_listed(store: Store, tmp_path: Path) -> None:
    store.swap("k", b"1", None)
    store.swap("k", b"2", store.get("k").etag)
    assert store.list()["key"].to_pylist() == ["k"]
    left = [path.name for path in (tmp_path / "a directory").iterdir()]
    assert sorted(left) == [".aesthetics-ops-lock", "k"]


def test_links_are_followed_once_around(store: Store, tmp_path: Path) -> None:
    store.put("d/real.jpg", b"123")
    root = tmp_path / "a directory"
    (root / "link.jpg").symlink_to(root / "d" / "real.jpg")
    (root / "d" / "up").symlink_to(root)
    (root / "broken.jpg").symlink_to(root / "nowhere")
    assert store.list()["key"].to_pylist() == ["d/real.jpg", "link.jpg"]
    assert store.get("link.jpg").data == b"123"


def test_a_name_that_is_not_utf8_is_listed_and_then_missing(store: Store, tmp_path: Path) -> None:
    store.put("k", b"1")
    try:
        (tmp_path / "a directory" / os.fsdecode(b"caf\xe9.jpg")).write_bytes(b"1")
    except OSError:
        pytest.skip("this file system has UTF-8 names only")
    assert store.list()["key"].to_pylist() == ["caf\\xe9.jpg", "k"]
    with pytest.raises(ObjectMissingError):
        store.get("caf\\xe9.jpg")


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"1")
    store = open_store(f"file://{tmp_path}/file")
    for use in (store.check, store.list, lambda: store.put("k", b"1")):
        with pytest.raises(StoreRefusedError, match="file"):
            use()
