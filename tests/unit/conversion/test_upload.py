"""Finished shards are uploaded while others are made, as many as have room."""

import threading
import uuid
from pathlib import Path
from typing import Any

import pytest

from aesthetics_ops.conversion.upload import Uploader
from aesthetics_ops.dataset.layout import ShardFile, shard_key
from aesthetics_ops.dataset.results import RecordIndex, ShardResult
from aesthetics_ops.errors import StoreUnavailableError
from aesthetics_ops.store import Store, open_store

MEMORY = "memory://{}/"


def shard(folder: Path, letter: str, size: int = 10) -> tuple[ShardResult, Path]:
    path = folder / letter
    path.write_bytes(bytes(size))
    result = ShardResult(
        digest=letter * 64, photos=1, records=1, bytes=size, sha256="", crc32c="", converter_version=1, index=RecordIndex(), rejected=()
    )  # fmt: skip
    return result, path


class Meeting:
    """A store whose uploads wait for each other."""

    def __init__(self, inner: Store, parties: int) -> None:
        self._inner, self._meeting = inner, threading.Barrier(parties)
        self.most = self._now = 0
        self._lock = threading.Lock()

    def upload(self, key: str, path: Path) -> None:
        with self._lock:
            self._now += 1
            self.most = max(self.most, self._now)
        self._meeting.wait(60)
        self._inner.upload(key, path)
        with self._lock:
            self._now -= 1

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


@pytest.fixture
def dataset() -> Store:
    return open_store(MEMORY.format(uuid.uuid4().hex))


def uploaded(dataset: Store) -> set[str]:
    return {key for key in dataset.list("shards/")["key"].to_pylist() if key.endswith(".tfrecord")}


def test_shards_that_have_room_are_uploaded_at_once_and_their_files_go(dataset: Store, tmp_path: Path) -> None:
    store = Meeting(dataset, 4)
    with Uploader(store, 40) as uploader:  # type: ignore[arg-type]
        for letter in "abcd":
            uploader.upload(*shard(tmp_path, letter))
    assert store.most == 4
    assert uploaded(dataset) == {shard_key(letter * 64, ShardFile.RECORDS) for letter in "abcd"}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("room", [0, 19])
def test_a_shard_waits_where_it_has_no_room(dataset: Store, tmp_path: Path, room: int) -> None:
    store = Meeting(dataset, 1)
    with Uploader(store, room) as uploader:  # type: ignore[arg-type]
        for letter in "abc":
            uploader.upload(*shard(tmp_path, letter))
    assert store.most == 1
    assert len(uploaded(dataset)) == 3


def test_an_upload_that_fails_ends_it(dataset: Store, tmp_path: Path) -> None:
    class Failing(Meeting):
        def upload(self, key: str, path: Path) -> None:
            if "/aa/" in key:
                raise StoreUnavailableError("no answer")
            super().upload(key, path)

    def upload_all() -> None:
        with Uploader(Failing(dataset, 1), 1000) as uploader:  # type: ignore[arg-type]
            for letter in "abc":
                uploader.upload(*shard(tmp_path, letter))

    with pytest.raises(StoreUnavailableError, match="no answer"):
        upload_all()
