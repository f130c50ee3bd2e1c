"""The group `readers`: what it takes to read a published version, beside the bare codec and beside peers.

In: the S3 server, a bucket of photos.  Out: jobs.
The version is built and pulled, and the peers' files are written, before the first job; what does not depend on this
project's code stays in `.bench/readers` for the next run.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Self

from fast_s3 import Bucket, FastS3
from jobs import Job
from large_index import make_large_index
from loopback import Loopback
from peers import Peer, ready
from reading import COUNTS

__all__ = ["CLOUD", "LATENCIES_MS", "READING_PEERS", "ReaderSizes", "Readers", "run_step"]

HERE: Final = Path(__file__).parent
ROOT: Final = HERE.parent
LATENCIES_MS: Final = (0, 20)
CLOUD: Final = "loopback S3"
_PULL_BYTES_PER_SECOND: Final = 4_000_000
_SHARD_BYTES: Final = 16_000_000
_SMALL_PX: Final = 320

_FROM_S3: Final = ("webdataset", "litdata", "mds")
_TWO: Final = "2 workers of torch's DataLoader; "
READING_PEERS: Final = tuple(
    Peer(name, venv, (), described, "read.py")
    for name, venv, described in (
        ("datasets", "readers", _TWO + "HF datasets: Parquet with an Image column, set_transform"),
        ("grain", "readers", "array_record, MapDataset with a global shuffle, 2 threads"),
        ("webdataset", "readers", _TWO + "tar files of 16 MB, shuffled, buffer of 1,000"),
        ("litdata", "readers", "StreamingDataset in chunks of 16 MB, shuffled; StreamingDataLoader with 2 workers"),
        ("mds", "mds", _TWO + "StreamingDataset in shards of 16 MB, shuffled (py1e)"),
        ("files", "readers", _TWO + "a list of JPEG files"),
        ("dali", "dali", "DALI's CPU reader of this project's shards, 2 threads; `own` antialiases, `same` does not"),
    )
)


@dataclass(frozen=True, slots=True)
class ReaderSizes:
    """How much the jobs read.

    Attributes:
        photos: of the version.
        epochs: of most jobs; the first counts apart.
        cached_epochs: of the job whose later epochs take next to nothing.
        long_epochs: of the job that shows whether memory grows.
        indexes: records of the large tables.
    """

    photos: int = 640
    epochs: int = 3
    cached_epochs: int = 12
    long_epochs: int = 10
    indexes: tuple[int, ...] = (255_000, 2_000_000)


QUICK: Final = ReaderSizes(photos=130, epochs=2, cached_epochs=3, long_epochs=4, indexes=(500, 1_000))


class Readers:
    """The jobs, and what they need; a context manager."""

    def __init__(self, s3: FastS3, place: Path, cache: Path, bucket: Bucket, inputs: Path, sizes: ReaderSizes) -> None:
        """Prepare nothing yet.

        Args:
            s3: the server.
            place: a folder of this run's own, on a disk.
            cache: the folder that stays for the next run.
            bucket: the photos, `sizes.photos` of them.
            inputs: where AVA.txt and photos.csv of the bucket lie.
            sizes: how much is read.
        """
        self.s3, self.bucket, self.inputs, self.sizes = s3, bucket, inputs, sizes
        self.absent: dict[str, str] = {}
        self._cache, self._place = cache / "readers", place / "readers"
        self._venvs = cache / "venvs"

    def __enter__(self) -> Self:
        port = self.s3.port
        with ExitStack() as stack:
            ways = [stack.enter_context(Loopback(port, latency_seconds=ms / 1000)) for ms in LATENCIES_MS]
            self._ways = dict(zip(LATENCIES_MS, ways, strict=True))
            self._narrow = stack.enter_context(Loopback(port, bytes_per_second=_PULL_BYTES_PER_SECOND))
            self._prepare()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def jobs(self) -> list[Job]:
        """Return the jobs, each once."""
        return [*self._local(), *self._peers(), *self._cloud(), *self._single()]

    def against_peers(self) -> Iterator[Job]:
        """Yield this project's readers and every peer's, from a local disk and from the S3 server, near and far."""
        for reader in ("numpy", "torch"):
            yield self._ours(f"ours {reader} fast", reader)
        yield from self._peers()
        yield from self._cloud()

    def _local(self) -> Iterator[Job]:
        """Bare codec, the origin, this project: from a local disk."""
        count, epochs = self.bucket.photos, self.sizes.epochs
        for antialias in ("linear", "fast", "fine"):
            folder = self.bucket.files[0].parent
            yield self._job(f"bare {antialias}", "reading.py", folder, count, antialias, epochs)
        yield self._job("origin", "peers/read_origin.py", self.shards, count, epochs)
        for reader in ("numpy", "torch", "torch-loader", "tf", "keras", "grain"):
            yield self._ours(f"ours {reader} fast", reader)
        for antialias in ("fine", "exact", "none"):
            yield self._ours(f"ours numpy {antialias}", "numpy", "--antialias", antialias)
        for reader in ("numpy", "tf"):
            yield self._ours(
                f"ours {reader} cache", reader, "--antialias", "fine", "--cache", "uint8", "--copy", "OUT/pulled",
                epochs=self.sizes.cached_epochs,
            )  # fmt: skip
        yield self._ours("ours small fine", "numpy", "--antialias", "fine", pulled="small")
        yield self._ours("ours small fast", "numpy", pulled="small")
        yield replace(
            self._ours("ours numpy fast, one thread", "numpy", "--threads", "1"),
            most_rounds=2,
        )

    def _peers(self) -> Iterator[Job]:
        for peer in self._present:
            for which in ("same", "own"):
                yield self._peer(peer, which, str(self._written(peer)))

    def _cloud(self) -> Iterator[Job]:
        """From the S3 server, near and far."""
        for latency, way in self._ways.items():
            for shuffle in ("block", "true"):
                order = "block" if shuffle == "block" else "global"
                options = ("--shuffle", shuffle, "--directory", "OUT/kept")
                yield self._far(f"cloud {latency} ours {order}", latency, "numpy", *options)
                yield self._far(f"first {latency} ours {order}", latency, "numpy", *options, "--ahead", "0", "--first")
            yield self._far(f"cloud {latency} ours pulled", latency, "numpy", "--directory", "OUT/kept", "--pull")
            for peer in self._present:
                if peer.name in _FROM_S3:
                    folder = f"{way.url}/files/webdataset" if peer.name == "webdataset" else f"s3://files/{peer.name}"
                    job = self._peer(peer, "same", folder, epochs=2)
                    shards = (self._written(peer) / "shards").read_text() if peer.name == "webdataset" else ""
                    added = {"BENCH_SHARDS": shards, "BENCH_CACHE": "OUT/cache"} | self._way(latency)
                    yield replace(job, name=f"cloud {latency} {peer.name}", env={**job.env, **added})

    def _single(self) -> Iterator[Job]:
        """Questions that one figure answers."""
        local, far = ("--state", self._state, "--shuffle", "true"), LATENCIES_MS[-1]
        yield self._step("resume local", str(self._pulled / "ours"), "resume", *local)
        job = self._step(f"resume {far}", "s3://files/ours/", "resume", *local, "--directory", "OUT/kept")
        yield replace(job, env={**job.env, **self._way(far)})
        for connections in (1, 16):
            options = ("--directory", "OUT/pulled", "--connections", connections)
            job = self._step(f"pull {connections}", "s3://files/ours/", "pull", *options)
            yield replace(job, env={**job.env, **self.s3.environment(self._narrow.url)})
        yield self._step("pull unlimited", "s3://files/ours/", "pull", "--directory", "OUT/pulled")
        for count in self.sizes.indexes:
            yield self._step(f"index {count}", str(self._index(count)), "index")
        yield replace(self._ours("growth", "numpy", epochs=self.sizes.long_epochs), most_rounds=1)

    def _job(self, name: str, script: str, *arguments: object, python: str = sys.executable) -> Job:
        command = (python, str(HERE / script), *map(str, arguments))
        paths = os.pathsep.join(map(str, (HERE, ROOT)))
        environment = {**self.s3.environment(), "PYTHONPATH": paths}
        return Job(name, frozenset({"readers"}), self.bucket.photos, command, environment, is_on_disk=True)

    def _ours(self, name: str, reader: str, *options: object, pulled: str = "ours", epochs: int | None = None) -> Job:
        counts = ("--photos", self.bucket.photos, "--epochs", epochs or self.sizes.epochs)
        return self._job(name, "read_ours.py", self._pulled / pulled, reader, *counts, *options)

    def _far(self, name: str, latency: int, reader: str, *options: object) -> Job:
        counts = ("--photos", self.bucket.photos, "--epochs", 2)
        job = self._job(name, "read_ours.py", "s3://files/ours/", reader, *counts, *options)
        return replace(job, env={**job.env, **self._way(latency)}, most_rounds=2)

    def _way(self, latency: int) -> dict[str, str]:
        url = self._ways[latency].url
        return self.s3.environment(url) | {COUNTS: f"{url}/-/", "AWS_ALLOW_HTTP": "true"}

    def _step(self, name: str, dataset: str, step: str, *options: object) -> Job:
        job = self._job(name, "read_ours.py", dataset, step, *options)
        return replace(job, photos=0, most_rounds=2)

    def _peer(self, peer: Peer, which: str, folder: str, epochs: int | None = None) -> Job:
        arguments = ("read", peer.name, which, folder, self.bucket.photos, epochs or self.sizes.epochs)
        python = str(self._venvs / peer.venv / "bin" / "python")
        job = self._job(f"{peer.name} {which}", f"peers/{peer.file}", *arguments, python=python)
        return replace(job, most_rounds=2)

    @property
    def _pulled(self) -> Path:
        return self._place / "pulled"

    @property
    def place(self) -> Path:
        """The folder of this run, on a disk."""
        return self._place

    @property
    def shards(self) -> Path:
        """The directory that the version was pulled into."""
        return self._pulled / "ours"

    @property
    def _state(self) -> Path:
        return self._place / "state.json"

    @cached_property
    def _present(self) -> list[Peer]:
        """The peers whose environment stands."""
        for venv in dict.fromkeys(peer.venv for peer in READING_PEERS):
            peers = [peer for peer in READING_PEERS if peer.venv == venv]
            if why := ready(peers[0], self._venvs):
                self.absent |= {peer.name: why for peer in peers}
        return [peer for peer in READING_PEERS if peer.name not in self.absent]

    def _written(self, peer: Peer) -> Path:
        """Return where a peer's files lie; the name says what they depend on."""
        if peer.name == "dali":
            return self._place / "dali"
        parts = (HERE / "peers" / peer.file, HERE / "peers" / f"requirements-{peer.venv}.txt", *self.bucket.files)
        return self._cache / f"{peer.name}-{_digest(*parts)}"

    def _index(self, count: int) -> Path:
        """Return where a large table lies; the name says what it depends on."""
        tables = ROOT / "aesthetics_ops" / "dataset"
        parts = (HERE / "large_index.py", tables / "tables.py", tables / "manifest.py", tables / "layout.py")
        return self._cache / f"index-{count}-{_digest(*parts)}"

    def _prepare(self) -> None:
        """Build, pull, write the peers' files."""
        self._pulled.mkdir(parents=True)
        self._cache.mkdir(exist_ok=True)
        with ThreadPoolExecutor(2) as pool:
            tasks: list[Callable[[], Any]] = [lambda: self._build("ours"), lambda: self._build("small")]
            tasks += [lambda peer=peer: self._write(peer) for peer in self._present if peer.name != "dali"]  # type: ignore[misc]
            for done in [pool.submit(task) for task in tasks]:
                done.result()
        _write_dali(self.shards, self._place / "dali")
        for count in self.sizes.indexes:
            make_large_index(self.shards, self._index(count), count)
        state = self._step("state", str(self.shards), "state", "--state", self._state, "--shuffle", "true")
        run_step(state.command, state.env)
        for peer in self._present:
            if peer.name in _FROM_S3:
                (self.s3.files / peer.name).symlink_to(self._written(peer))

    def _build(self, name: str) -> None:
        """Build a version, all in the train split, and pull it."""
        program = str(Path(sys.executable).parent / "aesthetics-ops")
        dataset = self.s3.files / name
        encoding = ("keep",) if name == "ours" else ("reencode", "--max-side-px", str(_SMALL_PX), "--quality", "90")
        build = (
            program, "build", "--photos", self.bucket.url, "--labels", (self.inputs / "AVA.txt").resolve().as_uri(),
            "--dataset", dataset.as_uri(), "--validation-fraction", "0", "--test-fraction", "0", "--shard-bytes",
            str(_SHARD_BYTES), "--max-reject-fraction", "0", "--encoding", *encoding,
        )  # fmt: skip
        environment = {**self.s3.environment(), "PYTHONPATH": str(ROOT)}
        run_step(build, environment)
        run_step((program, "pull", dataset.as_uri(), str(self._pulled / name), "--for", "dali"), environment)

    def _write(self, peer: Peer) -> None:
        """Write a peer's files, unless they are there."""
        folder = self._written(peer)
        if folder.exists():
            return
        part = folder.with_suffix(".part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir()
        python = str(self._venvs / peer.venv / "bin" / "python")
        rows = self.inputs / "photos.csv"
        environment = {"PYTHONPATH": os.pathsep.join(map(str, (HERE, ROOT)))}
        script = (python, str(HERE / "peers" / peer.file))
        run_step((*script, "prepare", peer.name, str(rows), str(part)), environment)
        part.rename(folder)


def _digest(*files: Path) -> str:
    """Return what stands for the content of files."""
    return hashlib.sha256(b"".join(hashlib.sha256(file.read_bytes()).digest() for file in files)).hexdigest()[:16]


def _write_dali(shards: Path, folder: Path) -> None:
    """Lay a link to each shard, and to its index, which `pull --for dali` wrote."""
    folder.mkdir()
    for shard in sorted(shards.glob("*.tfrecord")):
        (folder / shard.name).symlink_to(shard.resolve())
        (folder / f"{shard.name}.index").symlink_to(shard.resolve().with_name(f"{shard.name}.idx"))


def run_step(command: tuple[str, ...], added: Mapping[str, str]) -> None:
    """Run what prepares the jobs.

    Raises:
        SystemExit: it failed; with what it said.
    """
    done = subprocess.run(command, env={**os.environ, **added}, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"bench: {' '.join(command[:4])} ended with {done.returncode}: {done.stderr[-2000:]}")
