"""Several processes pull into one directory, and pulls that are cut off go on: the directory is whole or says that it is not."""

import errno
import fcntl
import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from aesthetics_ops import Dataset, open_dataset
from aesthetics_ops.dataset.manifest import Manifest
from aesthetics_ops.readers.opened import PublishedVersion
from aesthetics_ops.store import Store, open_store
from aesthetics_ops.testing.stores import CountingStore
from tests.support.documents import make_reports_quick
from tests.support.nights import ARRIVING, PHOTOS, Source, build_once, photo

BESIDE = ("manifest.json", "records.parquet", ".aesthetics-ops-lock", ".aesthetics-ops-checked.json")
MIB = 1 << 20
CUT_OFF = """
import os, signal, sys
from aesthetics_ops import open_dataset

def kill(size):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)

left = int(sys.argv[3])
open_dataset(sys.argv[1]).pull(sys.argv[2], progress=kill)
"""


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> tuple[Manifest, Manifest]:
    """Two versions of a dataset on files, which share some shards."""
    source = Source(tmp_path_factory.mktemp("source").as_uri() + "/", {})
    for number, name in enumerate(PHOTOS):
        source.add(name, photo(name), number)
    with pytest.MonkeyPatch.context() as patch:
        make_reports_quick(patch)
        first = build_once(source.settings(shard_bytes=40_000)).manifest
        source.add(ARRIVING, photo(ARRIVING), 4)
        return first, build_once(source.settings(shard_bytes=40_000)).manifest


@pytest.fixture
def dataset(versions: tuple[Manifest, Manifest]) -> Dataset:
    return open_dataset(versions[1].dataset)


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "aesthetics_ops", *map(str, arguments)]


def holds(directory: Path, manifest: Manifest) -> bool:
    """Whether a directory holds exactly this version."""
    expected = {
        f"{name}-{number:05}-of-{len(split.shards):05}.tfrecord": shard.sha256
        for name, split in manifest.splits.items()
        for number, shard in enumerate(split.shards)
    }
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in directory.glob("*.tfrecord")}
    names = {path.name for path in directory.iterdir()}
    written = Manifest.model_validate_json((directory / "manifest.json").read_bytes())
    return (found, written, names) == (expected, manifest, {*expected, *BESIDE})


def there_in(directory: Path, manifest: Manifest) -> int:
    """Bytes of shards that an unfinished pull into a directory has brought: a part file ends in a byte per MiB that says so."""
    there = 0
    for shard in (shard for split in manifest.splits.values() for shard in split.shards):
        part = directory / f".aesthetics-ops-{shard.sha256}.part"
        if part.with_suffix(".shard").exists():
            there += shard.bytes
        elif part.exists():
            marks = part.read_bytes()[shard.bytes :] or b"\1" * -(
                -shard.bytes // MIB
            )  # the end is cut off a whole file
            sizes = (min(MIB, shard.bytes - start) for start in range(0, shard.bytes, MIB))
            there += sum(size for size, mark in zip(sizes, marks, strict=True) if mark)
    return there


def through(store: Store, dataset: Dataset) -> Dataset:
    """The same version, read through another store."""
    return Dataset(PublishedVersion(store, dataset.manifest.encoded(), dataset.manifest))


@pytest.mark.parametrize("before", ["fresh", "another version", "cut off"])
def test_four_processes_at_once_end_with_one_whole_directory_and_fetch_each_shard_once(
    versions: tuple[Manifest, Manifest], tmp_path: Path, before: str
) -> None:
    old, new = versions
    directory = tmp_path / "set"
    if before == "another version":
        open_dataset(old.dataset, old.version).pull(directory)
    if before == "cut off":
        done = subprocess.run([sys.executable, "-c", CUT_OFF, new.dataset, str(directory), "3"], check=False)
        assert done.returncode == -signal.SIGKILL
        assert there_in(directory, new) > 0
    there = {hashlib.sha256(path.read_bytes()).hexdigest() for path in directory.glob("*.tfrecord")}
    shards = [shard for split in new.splits.values() for shard in split.shards]
    missing = sum(shard.bytes for shard in shards if shard.sha256 not in there) - there_in(directory, new)
    ranks = [
        subprocess.Popen(
            command("pull", new.dataset, directory, "--json"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]
    replies = [rank.communicate(timeout=120) for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0] * 4, replies
    documents = [json.loads(out) for out, _ in replies]
    assert sum(document["downloaded_bytes"] for document in documents) == missing
    assert missing > 0 or before == "cut off", "a kill may come after all has arrived"
    assert all(document["files"] == documents[0]["files"] for document in documents)
    assert holds(directory, new)


@pytest.mark.parametrize("shards", [1, 2, 4])
def test_what_a_killed_pull_finished_is_not_fetched_again(dataset: Dataset, tmp_path: Path, shards: int) -> None:
    url = dataset.manifest.dataset
    done = subprocess.run([sys.executable, "-c", CUT_OFF, url, str(tmp_path), str(shards)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert not (tmp_path / "manifest.json").exists(), "nothing claims a whole version"
    arrived = there_in(tmp_path, dataset.manifest)
    assert arrived >= sum(sorted(shard.bytes for split in dataset.splits.values() for shard in split.shards)[:shards])
    pulled = dataset.pull(tmp_path)
    assert pulled.downloaded_bytes == dataset.manifest.bytes - arrived
    assert holds(tmp_path, dataset.manifest)


def test_a_cut_pull_of_another_version_leaves_the_one_that_is_there_whole(
    versions: tuple[Manifest, Manifest], dataset: Dataset, tmp_path: Path
) -> None:
    old = open_dataset(versions[0].dataset, versions[0].version)
    old.pull(tmp_path)
    done = subprocess.run([sys.executable, "-c", CUT_OFF, dataset.manifest.dataset, str(tmp_path), "2"], check=False)
    assert done.returncode == -signal.SIGKILL
    assert old.pull(tmp_path).downloaded_bytes == 0
    assert holds(tmp_path, versions[0])


def test_a_pull_waits_for_another_says_so_and_goes_on_when_that_one_dies(dataset: Dataset, tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import fcntl, sys, time; file = open(sys.argv[1], 'ab'); fcntl.flock(file, fcntl.LOCK_EX); print(); "
            "sys.stdout.flush(); time.sleep(60)",
            str(tmp_path / ".aesthetics-ops-lock"),
        ],
        stdout=subprocess.PIPE,
    )
    with (
        holder,
        subprocess.Popen(
            command("pull", dataset.manifest.dataset, tmp_path),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as waiting,
    ):
        assert holder.stdout is not None
        assert waiting.stderr is not None
        holder.stdout.readline()
        try:
            assert waiting.stderr.readline() == f"{tmp_path}: another pull is at work there; waiting for it\n"
            assert not (tmp_path / "manifest.json").exists()
        finally:
            holder.kill()
        assert waiting.wait(60) == 0
    assert holds(tmp_path, dataset.manifest)


def test_without_hard_links_equal_shards_are_copied_and_renumbered_ones_moved(
    versions: tuple[Manifest, Manifest], dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    old = open_dataset(versions[0].dataset, versions[0].version)
    old.pull(tmp_path)
    assert dataset.pull(tmp_path).downloaded_bytes < versions[1].bytes
    assert holds(tmp_path, versions[1])
    train = dataset.splits["train"]
    twice = dataset.manifest.model_copy(update={"version": "twice", "splits": {"train": train, "test": train}})
    store = open_store(versions[1].dataset)
    store.put("versions/twice/records.parquet", store.get(f"versions/{versions[1].version}/records.parquet").data)
    version = PublishedVersion(store, twice.encoded(), twice)
    pulled = Dataset(version).pull(tmp_path, splits=["train", "test"])
    assert pulled.downloaded_bytes == 0
    assert [path.read_bytes() for path in pulled.files["train"]] == [path.read_bytes() for path in pulled.files["test"]]
    assert dataset.pull(tmp_path).files["train"] == pulled.files["train"]
    assert holds(tmp_path, versions[1])


def test_where_the_file_system_knows_no_locks_a_pull_says_so_and_works(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    dataset.pull(tmp_path)
    assert "its file system knows no locks; let one pull at a time write there" in caplog.text
    assert holds(tmp_path, dataset.manifest)


def test_a_directory_in_the_place_of_a_file_is_named_before_anything_is_fetched(
    dataset: Dataset, tmp_path: Path
) -> None:
    place = tmp_path / f"train-00000-of-{len(dataset.splits['train'].shards):05}.tfrecord"
    place.mkdir()
    counted = CountingStore(open_store(dataset.manifest.dataset))
    with pytest.raises(IsADirectoryError) as caught:
        through(counted, dataset).pull(tmp_path)
    assert caught.value.filename == str(place)
    assert not counted.read


def test_links_that_lead_nowhere_are_replaced(dataset: Dataset, tmp_path: Path) -> None:
    for name in ("manifest.json", f"train-00000-of-{len(dataset.splits['train'].shards):05}.tfrecord"):
        (tmp_path / name).symlink_to(tmp_path / "nowhere")
    dataset.pull(tmp_path)
    assert holds(tmp_path, dataset.manifest)
    assert not (tmp_path / "nowhere").exists()
