"""file://: what only a directory of files can get wrong."""

import errno
import os
import re
import threading
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


def test_the_root_directory_is_a_store_too(tmp_path: Path) -> None:
    (tmp_path / "k").write_bytes(b"1")
    store = open_store("/")
    assert store.url == "file:///"
    assert open_store(store.url).get(f"{tmp_path}/k".removeprefix("/")).data == b"1"


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
    (root / "itself.jpg").symlink_to(root / "itself.jpg")
    (root / "one.jpg").symlink_to(root / "other.jpg")
    (root / "other.jpg").symlink_to(root / "one.jpg")
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


IN_THE_WAY = {
    "file": "'{}/file' is not a directory; name another place",
    "file/below/it": "'{}/file' is not a directory; name another place",
    "link": "'{}/link' is a link that leads nowhere; name another place",
    "link/below": "'{}/link' is a link that leads nowhere; name another place",
    "to-file": "'{}/to-file' is not a directory; name another place",
    "/dev/null": "'/dev/null' is not a directory; name another place",
    "/proc/self/status": "'/proc/self/status' is not a directory; name another place",
}


@pytest.mark.parametrize("place", IN_THE_WAY)
def test_what_stands_where_the_directory_should_be_is_named_and_refused(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_bytes(b"1")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    (tmp_path / "to-file").symlink_to(tmp_path / "file")
    store = open_store(str(tmp_path / place))
    said = re.escape(IN_THE_WAY[place].format(tmp_path))
    for use in (
        store.check,
        store.list,
        lambda: store.list("below/"),
        lambda: store.get("k"),
        lambda: store.head("k"),
        lambda: store.put("k", b"1"),
        lambda: store.upload("k", tmp_path / "file"),
        lambda: store.swap("k", b"1", None),
        lambda: store.probe("probe"),
    ):
        with pytest.raises(StoreRefusedError, match=said) as caught:
            use()
        assert caught.value.exit_code == 3
        assert "free some space" not in str(caught.value)


def test_a_place_that_takes_no_directories_is_named() -> None:
    store = open_store("/proc/of-no-process/dataset/")
    store.check()
    with pytest.raises(StoreRefusedError, match=r"'/proc' lets nothing be made in it") as caught:
        store.put("k", b"1")
    assert caught.value.exit_code == 3


def test_a_file_in_the_way_of_a_key_is_named(store: Store, tmp_path: Path) -> None:
    store.put("versions", b"1")
    with pytest.raises(StoreRefusedError, match=f"'{tmp_path}/a directory/versions' is not a directory"):
        store.put("versions/v1/manifest.json", b"1")
    assert store.head("versions/v1/manifest.json") is None
    assert store.list("versions/").num_rows == 0
    store.delete(["versions/v1/manifest.json"])


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.EROFS, "its file system is read-only; name another place"),
        (errno.ENOSPC, "its disk is full; free some space"),
        (errno.ENAMETOOLONG, "the name is too long for its file system"),
        (errno.ELOOP, "its links lead in a circle"),
        (errno.EIO, "the device cannot read or write it"),
        (errno.EXDEV, "Invalid cross-device link; check the disk and the file"),
    ],
)
def test_the_errno_of_a_write_decides_the_words(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, words: str
) -> None:
    def fail(path: Path, data: bytes) -> int:
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(StoreRefusedError, match=words):
        store.put("k", b"1")


def test_a_device_and_a_pipe_are_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for store, key in (
        (open_store("/dev/"), "zero"),
        (open_store("/dev/"), "null"),
        (open_store(str(tmp_path)), "pipe"),
    ):
        for use in (store.get, store.head, lambda name, of=store: of.get_range(name, 0, 1)):
            with pytest.raises(StoreRefusedError, match=f"{key}' is a device or a pipe; name a regular file"):
                use(key)


def test_without_hard_links_a_key_is_created_once_all_the_same(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, target: Path) -> None:
        raise OSError(errno.EPERM, "Operation not permitted", str(path))

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    won = []

    def create(number: int) -> None:
        if store.put_if_absent("k", b"%d" % number):
            won.append(b"%d" % number)

    threads = [threading.Thread(target=create, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [store.get("k").data] == won
    assert store.list()["key"].to_pylist() == ["k"]
