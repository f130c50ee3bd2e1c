"""Several processes pull into one directory, and pulls that are cut off go on: the directory is whole or says that it is not."""

import errno
import fcntl
import hashlib
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from aesthetics_ops import Dataset, open_dataset
from aesthetics_ops.cli import _parser, main
from aesthetics_ops.dataset.manifest import Manifest, Shard
from aesthetics_ops.errors import (
    IntegrityError,
    NoSuchVersionError,
    ScratchSpaceError,
    SettingsError,
    StoreUnavailableError,
)
from aesthetics_ops.readers.opened import PublishedVersion
from aesthetics_ops.readers.pulling import pull as pulling
from aesthetics_ops.readers.pulling.pull import CONNECTIONS
from aesthetics_ops.store import Store, open_store
from aesthetics_ops.testing.datasets import SyntheticDataset, SyntheticVersion, synthetic_photos
from aesthetics_ops.testing.fault_proxy import running_proxy
from aesthetics_ops.testing.stores import CountingStore, FailingStore, Request, WrappedStore
from aesthetics_ops.versions.expire import expire_versions
from tests.support.documents import make_reports_quick
from tests.support.nights import ARRIVING, PHOTOS, Source, build_once, photo
from tests.support.s3 import S3TestBucket

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
            data, units = part.read_bytes(), -(-shard.bytes // MIB)
            if len(data) == shard.bytes:  # a whole file, whose end is cut off already
                there += shard.bytes
            elif len(data) == shard.bytes + units:  # else it has just been opened
                sizes = (min(MIB, shard.bytes - start) for start in range(0, shard.bytes, MIB))
                there += sum(size for size, mark in zip(sizes, data[shard.bytes :], strict=True) if mark)
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
    replies = [rank.communicate(timeout=300) for rank in ranks]
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
            "sys.stdout.flush(); time.sleep(600)",
            str(tmp_path / ".aesthetics-ops-lock"),
        ],
        stdout=subprocess.PIPE,
    )
    pull = command("pull", dataset.manifest.dataset, tmp_path)
    with holder:
        holder.stdout.readline()  # it has the lock
        with subprocess.Popen(pull, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as waiting:
            try:
                assert waiting.stderr.readline() == f"{tmp_path}: another pull is at work there; waiting for it\n"
                assert not (tmp_path / "manifest.json").exists()
            finally:
                holder.kill()
            assert waiting.wait(300) == 0
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


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> SyntheticVersion:
    """A version of two shards of several MiB, and small ones, in a directory."""
    store = open_store(tmp_path_factory.mktemp("large").as_uri() + "/")
    return SyntheticDataset(store, per_shard=5).publish(synthetic_photos(14, side_px=1000))


def shards_of(manifest: Manifest) -> list[Shard]:
    return [shard for split in manifest.splits.values() for shard in split.shards]


def files_in(directory: Path) -> dict[str, tuple[int, int]]:
    return {path.name: (path.stat().st_mtime_ns, path.stat().st_ino) for path in directory.iterdir()}


class FlippedStore(WrappedStore):
    """A store whose ranges of one key have a bit flipped, in every request or in the first one."""

    def __init__(self, inner: Store, key: str, *, always: bool) -> None:
        super().__init__(inner)
        self._key, self._always, self._flips = key, always, 0

    def get_range(self, key: str, offset: int, length: int) -> bytes | memoryview:
        data = bytearray(super().get_range(key, offset, length))
        if key == self._key and (self._always or not self._flips):
            self._flips += 1
            data[len(data) // 2] ^= 1
        return bytes(data)


class TestPieces:
    """Large shards come in pieces, over as many connections as are asked for."""

    @pytest.mark.parametrize("connections", [1, 3, 16])
    def test_every_number_of_connections_brings_the_same_files(
        self, large: SyntheticVersion, tmp_path: Path, connections: int
    ) -> None:
        counted = CountingStore(large.store)
        dataset = through(counted, open_dataset(large.store.url))
        sizes: list[int] = []
        pulled = dataset.pull(tmp_path, connections=connections, progress=sizes.append)
        assert holds(tmp_path, large.manifest)
        assert sum(sizes) == pulled.downloaded_bytes == large.manifest.bytes
        assert all(size > 0 for size in sizes)
        largest = max(shards_of(large.manifest), key=lambda shard: shard.bytes)
        assert largest.bytes > 3 * MIB
        assert counted.read.count(largest.path) >= (3 if connections == 16 else 1), "one shard over several connections"

    @pytest.mark.parametrize("connections", [0, -1, 257])
    def test_a_number_of_connections_that_cannot_be_is_refused(
        self, dataset: Dataset, tmp_path: Path, connections: int
    ) -> None:
        with pytest.raises(SettingsError, match=f"connections is {connections}, but must be 1 to 256"):
            dataset.pull(tmp_path, connections=connections)

    def test_the_command_says_how_many_there_are_by_default(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit):
            _parser().parse_args(["pull", "--help"])
        assert f"1 to 256; by default {CONNECTIONS}" in " ".join(capsys.readouterr().out.split())

    @pytest.mark.parametrize("number", [0, 3, 7, 12])
    def test_a_pull_that_fails_anywhere_goes_on_and_fetches_no_byte_twice(
        self, large: SyntheticVersion, tmp_path: Path, number: int
    ) -> None:
        failing = FailingStore(large.store, lambda request: request.method == "get_range" and request.number == number)
        with pytest.raises(StoreUnavailableError, match="has gone away"):
            through(failing, open_dataset(large.store.url)).pull(tmp_path, connections=4)
        there = there_in(tmp_path, large.manifest)
        sizes: list[int] = []
        pulled = open_dataset(large.store.url).pull(tmp_path, progress=sizes.append)
        assert pulled.downloaded_bytes == large.manifest.bytes - there
        assert sum(sizes) == large.manifest.bytes
        assert holds(tmp_path, large.manifest)
        assert number < 3 or there > 0

    def test_what_is_left_of_a_shard_and_is_damaged_is_fetched_anew(
        self, large: SyntheticVersion, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        shard = max(shards_of(large.manifest), key=lambda shard: shard.bytes)
        part = tmp_path / f".aesthetics-ops-{shard.sha256}.part"
        units = -(-shard.bytes // MIB)
        part.write_bytes(bytes(shard.bytes) + b"\1" + bytes(units - 1))  # zeros, as after a crash of the machine
        sizes: list[int] = []
        pulled = open_dataset(large.store.url).pull(tmp_path, progress=sizes.append)
        assert pulled.downloaded_bytes == large.manifest.bytes + shard.bytes - MIB
        assert sum(sizes) == large.manifest.bytes
        assert "what an earlier pull left of it is damaged; fetching it anew" in caplog.text
        assert holds(tmp_path, large.manifest)

    @pytest.mark.parametrize("size", [0, 5, -1, "as a whole one"])
    def test_a_part_of_another_size_is_no_help_and_no_harm(
        self, large: SyntheticVersion, tmp_path: Path, size: int | str
    ) -> None:
        shard = shards_of(large.manifest)[0]
        part = tmp_path / f".aesthetics-ops-{shard.sha256}.part"
        length = shard.bytes if isinstance(size, str) else size % (shard.bytes + 100)
        part.write_bytes(os.urandom(length))
        open_dataset(large.store.url).pull(tmp_path)
        assert holds(tmp_path, large.manifest)

    def test_without_locks_nothing_that_is_cut_off_stays(
        self, large: SyntheticVersion, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(*_: Any) -> None:
            raise OSError(errno.ENOLCK, "No locks available")

        monkeypatch.setattr(fcntl, "flock", refuse)
        failing = FailingStore(large.store, lambda request: request.method == "get_range" and request.number == 9)
        with pytest.raises(StoreUnavailableError):
            through(failing, open_dataset(large.store.url)).pull(tmp_path, connections=2)
        assert not list(tmp_path.glob("*.part"))
        open_dataset(large.store.url).pull(tmp_path)
        assert holds(tmp_path, large.manifest)

    def test_over_s3_bodies_that_are_cut_and_servers_that_are_busy_are_asked_again(
        self, s3_bucket: S3TestBucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        made = SyntheticDataset(open_store(f"{s3_bucket.url}set/"), per_shard=4).publish(
            synthetic_photos(8, side_px=1000)
        )
        faults: dict[int, Any] = {4: "cut the body", 6: 503, 9: "hang up", 11: "cut the body"}
        with running_proxy(s3_bucket.endpoint_url) as proxy:
            proxy.fault = lambda method, number: faults.get(number) if method == "GET" else None
            monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
            pulled = open_dataset(f"{s3_bucket.url}set/").pull(tmp_path)
            assert len(proxy.seen) > 12
        assert pulled.downloaded_bytes == made.manifest.bytes
        assert holds(tmp_path, made.manifest)


class TestAgain:
    """A second pull."""

    def test_of_an_unchanged_directory_asks_for_nothing_but_the_manifest_and_reads_and_writes_no_file(
        self, large: SyntheticVersion, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        open_dataset(large.store.url).pull(tmp_path)
        before = files_in(tmp_path)
        counted = CountingStore(large.store)
        monkeypatch.setattr(pulling, "_sha256", lambda path: pytest.fail(f"{path} was read"))
        assert through(counted, open_dataset(large.store.url)).pull(tmp_path).downloaded_bytes == 0
        assert (counted.requests, files_in(tmp_path)) == ([], before)

    def test_finds_what_was_changed_or_replaced_by_its_looks(self, large: SyntheticVersion, tmp_path: Path) -> None:
        pulled = open_dataset(large.store.url).pull(tmp_path)
        changed, replaced, kept = pulled.files["train"][0], pulled.files["train"][1], pulled.files["train"][2]
        with changed.open("r+b") as file:
            file.seek(100)
            file.write(b"x")
        looks = replaced.stat()
        copy = tmp_path / "copy"
        copy.write_bytes(bytes(looks.st_size))
        os.utime(copy, ns=(looks.st_atime_ns, looks.st_mtime_ns))
        copy.replace(replaced)
        before = kept.stat()
        again = open_dataset(large.store.url).pull(tmp_path)
        assert again.downloaded_bytes == changed.stat().st_size + replaced.stat().st_size
        assert kept.stat() == before
        assert holds(tmp_path, large.manifest)

    def test_with_verify_finds_what_hides_its_change(
        self, large: SyntheticVersion, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        pulled = open_dataset(large.store.url).pull(tmp_path)
        for victim in (pulled.files["train"][0], tmp_path / "records.parquet"):
            looks = victim.stat()
            with victim.open("r+b") as file:
                file.seek(100)
                file.write(b"hidden")
            os.utime(victim, ns=(looks.st_atime_ns, looks.st_mtime_ns))
        assert open_dataset(large.store.url).pull(tmp_path).downloaded_bytes == 0
        assert not holds(tmp_path, large.manifest)
        assert main(["pull", large.store.url, str(tmp_path), "--verify", "--connections", "2", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["downloaded_bytes"] == pulled.files["train"][0].stat().st_size
        assert holds(tmp_path, large.manifest)
        assert open_dataset(tmp_path).records() == large.records

    @pytest.mark.parametrize(
        "stamps", [b"", b"[]", b"{", b'{"schema": 1, "files": {"train-00000-of-00003.tfrecord": 5}}']
    )
    def test_without_stamps_that_can_be_read_files_are_hashed(
        self, large: SyntheticVersion, tmp_path: Path, stamps: bytes
    ) -> None:
        open_dataset(large.store.url).pull(tmp_path)
        (tmp_path / ".aesthetics-ops-checked.json").write_bytes(stamps)
        assert open_dataset(large.store.url).pull(tmp_path).downloaded_bytes == 0
        assert holds(tmp_path, large.manifest)

    def test_of_a_copied_directory_fetches_no_shard(self, large: SyntheticVersion, tmp_path: Path) -> None:
        open_dataset(large.store.url).pull(tmp_path / "one")
        (tmp_path / "two").mkdir()
        for path in (tmp_path / "one").glob("[!.]*"):  # as `cp one/* two` copies it
            (tmp_path / "two" / path.name).write_bytes(path.read_bytes())
        assert open_dataset(large.store.url).pull(tmp_path / "two").downloaded_bytes == 0
        assert holds(tmp_path / "two", large.manifest)


class TestFaults:
    """Each fault is one clear error, and none leaves a directory that claims to be whole."""

    @pytest.mark.parametrize("always", [True, False])
    def test_a_bit_that_flips_on_the_way_is_found_while_the_shard_arrives(
        self, large: SyntheticVersion, tmp_path: Path, always: bool
    ) -> None:
        shard = shards_of(large.manifest)[1]
        flipped = FlippedStore(large.store, shard.path, always=always)
        with pytest.raises(IntegrityError) as caught:
            through(flipped, open_dataset(large.store.url)).pull(tmp_path)
        assert str(caught.value) == (
            f"{large.store.url_of(shard.path)} has not the sha256 that its manifest states; pull again, or run verify"
        )
        assert not (tmp_path / "manifest.json").exists()
        with pytest.raises(NoSuchVersionError, match="its pull was not finished"):
            open_dataset(tmp_path)
        open_dataset(large.store.url).pull(tmp_path)
        assert holds(tmp_path, large.manifest)

    @pytest.mark.parametrize("damage", ["missing", "cut off", "empty", "not a table"])
    def test_a_version_that_is_damaged_in_its_store_is_named(self, tmp_path: Path, damage: str) -> None:
        store = open_store(f"{tmp_path.as_uri()}/published/")
        made = SyntheticDataset(store).publish(synthetic_photos(20))
        dataset = open_dataset(store.url)
        key = made.manifest.splits["validation"].shards[0].path
        size = made.manifest.splits["validation"].shards[0].bytes
        says = f"{store.url_of(key)} is missing, though version '{made.version}' names it; `aesthetics-ops verify` says"
        if damage == "missing":
            store.delete([key])
        elif damage == "not a table":
            store.put(f"versions/{made.version}/records.parquet", b"PAR1")
            says = f"versions/{made.version}/records.parquet has not the sha256 that its manifest states; pull again"
        else:
            left = 0 if damage == "empty" else size - 7
            store.put(key, bytes(left))
            ends = f"version '{made.version}' has records in it up to byte {size:,}; do not use it: `aesthetics-ops verify`"
            says = f"{store.url_of(key)} has {left:,} bytes, and {ends}"
        with pytest.raises(IntegrityError, match=re.escape(says)):
            dataset.pull(tmp_path / "set")
        assert not (tmp_path / "set" / "manifest.json").exists()

    @pytest.mark.parametrize("when", ["before", "in between"])
    def test_a_version_that_expires_meanwhile_is_said_to_have_expired(self, tmp_path: Path, when: str) -> None:
        store = open_store(f"{tmp_path.as_uri()}/published/")
        synthetic = SyntheticDataset(store)
        old = synthetic.publish(synthetic_photos(30))
        synthetic.publish(synthetic_photos(10, side_px=40))
        opened = open_dataset(store.url, old.version)
        expire = partial(expire_versions, store, keep=1, now=datetime(2030, 1, 1, tzinfo=UTC))

        def meanwhile(request: Request) -> bool:
            if request.method == "get_range" and request.number == 3:
                expire()
            return False

        if when == "before":
            expire()
        dataset = through(FailingStore(store, meanwhile), opened)
        with pytest.raises(
            NoSuchVersionError, match=f"^version '{old.version}' of {store.url} has expired since it was opened: "
        ):
            dataset.pull(tmp_path / "set", connections=1)
        with pytest.raises(NoSuchVersionError, match="has expired since it was opened"):
            opened.records()
        open_dataset(store.url).pull(tmp_path / "set")
        assert open_dataset(tmp_path / "set").version != old.version

    def test_a_file_size_limit_is_one_line_that_names_the_file(self, large: SyntheticVersion, tmp_path: Path) -> None:
        limit = shards_of(large.manifest)[0].bytes // 2
        done = subprocess.run(
            command("pull", large.store.url, tmp_path / "set"),
            capture_output=True,
            text=True,
            check=False,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
        )
        assert done.returncode == 1
        assert re.fullmatch(
            rf"aesthetics-ops: '{tmp_path}/set/\.aesthetics-ops-[0-9a-f]+\.part': the file is larger than [^\n]*\n",
            done.stderr,
        ), done.stderr
        assert not (tmp_path / "set" / "manifest.json").exists()

    def test_room_is_asked_for_what_is_still_to_come_the_table_included(
        self, large: SyntheticVersion, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        real = shutil.disk_usage("/")
        table = large.store.head(f"versions/{large.version}/records.parquet")
        assert table is not None
        needed = large.manifest.bytes + table[0]
        dataset = open_dataset(large.store.url)
        monkeypatch.setattr(shutil, "disk_usage", lambda _: real._replace(free=needed - 1))
        with pytest.raises(
            ScratchSpaceError, match=rf"has {needed - 1:,} bytes free, .* still to fetch has {needed:,}; free some"
        ):
            dataset.pull(tmp_path)
        monkeypatch.setattr(shutil, "disk_usage", lambda _: real._replace(free=needed))
        dataset.pull(tmp_path)
        monkeypatch.setattr(shutil, "disk_usage", lambda _: real._replace(free=0))
        assert dataset.pull(tmp_path).downloaded_bytes == 0

    @pytest.mark.parametrize("name", ["manifest.json", "records.parquet", "train-00000-of-00001.tfrecord"])
    def test_a_file_that_no_pull_has_made_is_not_replaced(self, dataset: Dataset, tmp_path: Path, name: str) -> None:
        (tmp_path / name).write_bytes(b'{"mine": true}')
        with pytest.raises(SettingsError) as caught:
            dataset.pull(tmp_path)
        assert str(caught.value) == (
            f"'{tmp_path / name}' is in the way, and no pull has made it; move it away, or name another directory"
        )
        assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {name: b'{"mine": true}'}

    def test_other_files_in_the_directory_stay(self, dataset: Dataset, tmp_path: Path) -> None:
        (tmp_path / "notes.txt").write_text("mine")
        dataset.pull(tmp_path)
        assert (tmp_path / "notes.txt").read_text() == "mine"
        assert open_dataset(tmp_path).version == dataset.version

    def test_a_dataset_is_not_pulled_into_itself(self, large: SyntheticVersion) -> None:
        path = Path(large.store.url.removeprefix("file://"))
        before = {file: file.stat().st_mtime_ns for file in path.rglob("*")}
        with pytest.raises(
            SettingsError, match=rf"'{path}' is a published dataset; name another directory to pull into"
        ):
            open_dataset(large.store.url).pull(path)
        assert {file: file.stat().st_mtime_ns for file in path.rglob("*")} == before


@pytest.mark.parametrize(
    "arguments",
    [["show"], ["verify"], ["versions"], ["rejects"], ["expire", "--keep", "1"]],
    ids=lambda words: words[0],
)
def test_a_command_that_asks_the_dataset_knows_a_pulled_directory_and_names_its_dataset(
    dataset: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    dataset.pull(tmp_path / "here")
    assert main([arguments[0], (tmp_path / "here").as_uri(), *arguments[1:]]) == 1
    said = capsys.readouterr().err
    assert f"is a directory that version {dataset.version!r} was pulled into" in said
    assert f"pull {dataset.manifest.dataset} DIR --version {dataset.version} --verify" in said
