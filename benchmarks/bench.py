"""`make bench`: builds and readers against the bare codec and against peers, growth, start-up, memory and cores, files of scores.

    .venv/bin/python benchmarks/bench.py [--rounds 3] [--only limits peers growth startup rss cores distance readers labels] [--quick]

Every round runs every job once, backwards in every other round, so that what changes on the machine touches all alike.
The groups about builds make one part of `benchmarks/RESULTS.md`, out of `results.json`; `readers` makes one out of `readers.json`,
`labels` one out of `labels.json`, and `origin`, which runs where it is asked for, one out of `origin.json`.  A part that ran whole is written there, the others stay as they are; any other run writes to
`.bench/`.  `--render` writes the page of what these files hold anew.  benchmarks/README.md says what each job is.
"""

import argparse
import csv
import json
import os
import platform
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from exports import EXPORTS, read_back
from fast_s3 import Bucket, FastS3, find_nginx
from figures import last_line
from jobs import ALL_ROUNDS, Job, Sample
from label_jobs import LABELS, QUICK_LABELS, LabelSizes, label_jobs
from labels_report import render_labels
from measure import measure
from origin import ORIGIN, ORIGIN_SIZES, QUICK_ORIGIN, Limits, origin_jobs
from origin_report import render_origin
from peers import PEERS, Peer, ready
from photos import SETS, make_photos
from read_labels import BARE
from readers import QUICK as QUICK_READERS
from readers import READING_PEERS, Readers, ReaderSizes
from readers_report import render_readers
from report import DISTANCES_MS, FAR_COPIES, render

HERE: Final = Path(__file__).parent
CACHE: Final = HERE.parent / ".bench"
BUILDING: Final = ("limits", "peers", "growth", "startup", "rss", "cores", "distance")
READING: Final = "readers"
BUILD_RESULTS: Final = "results.json"
READ_RESULTS: Final = "readers.json"
LABEL_RESULTS: Final = "labels.json"
ORIGIN_RESULTS: Final = "origin.json"
GROUPS: Final = (*BUILDING, READING, LABELS)
# What has to run for a part of the page to be whole, by the file of its results.
PARTS: Final = {
    BUILD_RESULTS: frozenset(BUILDING),
    READ_RESULTS: frozenset({READING}),
    LABEL_RESULTS: frozenset({LABELS}),
    ORIGIN_RESULTS: frozenset({ORIGIN}),
}
ENCODINGS: Final = ("keep", "reencode", "resize")
# Crops of few photos are near-duplicates of each other, as photos of a night are not: over splits they would be made twice.
ONE_SPLIT: Final = ("--validation-fraction", "0", "--test-fraction", "0")
VERSIONS: Final = (
    "aesthetics-ops", "obstore", "simplejpeg", "opencv-python-headless", "numpy", "pyarrow", "google-crc32c", "boto3",
    "tensorflow-cpu", "apache-airflow",
)  # fmt: skip
READER_VERSIONS: Final = (
    "aesthetics-ops", "simplejpeg", "opencv-python-headless", "numpy", "pyarrow", "google-crc32c", "obstore", "tensorflow-cpu",
    "keras", "torch", "grain", "pillow",
)  # fmt: skip
LABEL_VERSIONS: Final = ("aesthetics-ops", "pyarrow", "numpy", "duckdb", "python-calamine")


@dataclass(frozen=True, slots=True)
class Sizes:
    """How many photos the jobs work on.

    Attributes:
        ava: in the large run and in the small one, whose difference has no start-up in it.
        camera: the same for camera photos.
        huge: 24-megapixel photos, for memory.
        copies: how often the long memory run takes each photo.
        growth: photos of the growing runs.
    """

    ava: tuple[int, int] = (2400, 300)
    camera: tuple[int, int] = (48, 8)
    huge: int = 32
    copies: int = 10
    growth: tuple[int, ...] = (1_000, 10_000, 100_000)


QUICK: Final = Sizes(ava=(60, 20), camera=(4, 2), huge=3, copies=2, growth=(50, 100, 200))


class Bench:
    """The jobs of one benchmark, and what they need: photos, the S3 server, ways to it that take longer, peers."""

    def __init__(self, s3: FastS3, inputs: Path, sizes: Sizes, groups: frozenset[str]) -> None:
        self.s3, self.inputs, self.sizes, self.groups = s3, inputs, sizes, groups
        self.absent: dict[str, str] = {}

    def jobs(self) -> list[Job]:
        """Return the jobs of the wanted groups, each once."""
        every = [*self._limits(), *self._peers(), *self._growth(), *self._startup(), *self._rss(), *self._cores()]
        every += self._distance()
        merged: dict[str, Job] = {}
        for job in every:
            if job.groups & self.groups:
                merged.setdefault(job.name, job)
        return list(merged.values())

    def bucket(self, name: str, count: int, copies: int = 1) -> Bucket:
        """Make a bucket, with its score file and its list for peers beside it."""
        bucket = self.s3.bucket(name, make_photos(CACHE / "photos", SETS[name], count), copies)
        folder = self.inputs / bucket.name
        folder.mkdir(parents=True, exist_ok=True)
        votes = [_votes(photo) for photo in bucket.ids]
        lines = (f"{n} {photo} {' '.join(map(str, v))} 0 0 0" for n, (photo, v) in enumerate(zip(bucket.ids, votes), 1))  # noqa: B905
        (folder / "AVA.txt").write_text("\n".join(lines) + "\n")
        (folder / "ids.txt").write_text("\n".join(bucket.ids) + "\n")
        with (folder / "photos.csv").open("w", newline="") as file:
            table = csv.writer(file)
            table.writerow(["path", "url", "label"])
            for number, (photo, vote) in enumerate(zip(bucket.ids, votes, strict=True)):
                mean = sum(score * count for score, count in enumerate(vote, 1)) / sum(vote)
                path = bucket.files[number % len(bucket.files)].resolve()
                table.writerow([path, f"{bucket.http}{photo}.jpg", f"{mean:.6f}"])
        self.s3.probe(bucket)
        return bucket

    @cached_property
    def _ava(self) -> tuple[Bucket, Bucket]:
        return self.bucket("ava", self.sizes.ava[0]), self.bucket("ava", self.sizes.ava[1])

    @cached_property
    def _camera(self) -> tuple[Bucket, Bucket]:
        return self.bucket("camera", self.sizes.camera[0]), self.bucket("camera", self.sizes.camera[1])

    def _ours(self, bucket: Bucket, encoding: str, *groups: str, what: str = "convert", **more: Any) -> Job:
        """Plan and `convert`, or convert one `partition` after another process has planned, or do the whole `build`."""
        labels = (self.inputs / bucket.name / "AVA.txt").resolve().as_uri()
        urls = (bucket.url, labels, "file://OUT/dataset/")
        command: tuple[str, ...] = (sys.executable, str(HERE / "ours.py"), *urls, encoding)
        if what in ("partition", "tasks"):
            command += (what,)
        if what == "build":
            command = (str(Path(sys.executable).parent / "aesthetics-ops"), "build", "--json")
            command += tuple(
                part for pair in zip(("--photos", "--labels", "--dataset"), urls, strict=True) for part in pair
            )
            command += ("--encoding", "keep" if encoding == "keep" else "reencode", "--max-reject-fraction", "0")
            command += ("--max-side-px", "512") if encoding == "resize" else ()
            command += ONE_SPLIT
        name = f"{what} {encoding} {bucket.name}"
        if processes := more.pop("processes", None):
            command += (str(processes),) if what == "tasks" else ("--processes", str(processes))
            name += f" in {processes}"
        name += _on(more.get("cpus"))
        endpoint = ""
        if (distance := more.pop("distance_ms", None)) is not None:
            name, endpoint = f"{name} at {distance} ms", self.s3.ways[distance]
        return Job(name, frozenset(groups), bucket.photos, command, self.s3.environment(endpoint), **more)

    def _bare(self, bucket: Bucket, what: str, group: str = "limits", **more: Any) -> Job:
        python = (sys.executable, str(HERE / "bare.py"))
        command: tuple[str, ...]
        if what == "get":
            command = (*python, "get", self.s3.endpoint, bucket.name, str(self.inputs / bucket.name / "ids.txt"))
        else:
            command = (*python, "codec", str(bucket.files[0].parent), str(bucket.photos), what)
        name = f"bare {what} {bucket.name}{_on(more.get('cpus'))}"
        return Job(name, frozenset({group}), bucket.photos, command, prints_costs=True, **more)

    def _limits(self) -> Iterator[Job]:
        if "limits" not in self.groups:
            return
        for large, small in (self._ava, self._camera):
            is_ava = large is self._ava[0]
            yield self._bare(large, "get", most_rounds=ALL_ROUNDS if is_ava else 1)
            for encoding in ENCODINGS:
                rounds = (2 if encoding == "resize" else ALL_ROUNDS) if is_ava else 1
                yield self._bare(large, encoding, most_rounds=rounds)
                if encoding == "reencode":
                    yield self._bare(large, "reencode-simplejpeg", most_rounds=rounds)
                if is_ava and encoding != "resize":
                    yield self._bare(large, f"{encoding}-tensorflow")
                for bucket in (large, small):
                    yield self._ours(bucket, encoding, "limits", most_rounds=rounds)
                for bucket in (large, small):
                    yield self._ours(bucket, encoding, "limits", what="build", most_rounds=min(rounds, 2))

    def _peers(self) -> Iterator[Job]:
        if "peers" not in self.groups:
            return
        for encoding in ("keep", "reencode"):
            for bucket in self._ava:
                yield self._ours(bucket, encoding, "peers")
                yield self._ours(bucket, encoding, "peers", what="build", most_rounds=1)
                yield from self._peer_jobs(bucket, encoding)

    def _peer_jobs(self, bucket: Bucket, encoding: str) -> Iterator[Job]:
        for peer in PEERS:
            if encoding not in peer.encodings:
                continue
            if peer.name not in self.absent:
                self.absent |= {peer.name: why} if (why := ready(peer, CACHE / "venvs")) else {}
            if peer.name not in self.absent:
                yield self._peer_job(peer, bucket, encoding)

    def _peer_job(self, peer: Peer, bucket: Bucket, encoding: str) -> Job:
        python = CACHE / "venvs" / peer.venv / "bin" / "python"
        rows = self.inputs / bucket.name / "photos.csv"
        command = (str(python), str(peer.script), str(rows), "OUT/peer", encoding, *peer.arguments)
        name = f"{peer.name} {encoding} {bucket.name}"
        environment = {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
        return Job(name, frozenset({"peers"}), bucket.photos, command, environment, most_rounds=1)

    def _growth(self) -> Iterator[Job]:
        if "growth" not in self.groups:
            return
        for count in self.sizes.growth:
            bucket = self.bucket("small", count)
            yield self._ours(bucket, "keep", "growth", what="build", most_rounds=1)

    def _startup(self) -> Iterator[Job]:
        if "startup" not in self.groups:
            return
        bucket = self._ava[1]
        labels = (self.inputs / bucket.name / "AVA.txt").resolve().as_uri()
        python = (sys.executable, str(HERE / "startup.py"))
        environment = self.s3.environment() | {"AIRFLOW_HOME": "OUT/airflow", "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
        for what in ("task", "imports"):
            command = (*python, what, bucket.url, labels, "file://OUT/dataset/")
            name = f"startup {what}"
            yield Job(name, frozenset({"startup"}), 1, command, environment, prints_costs=True, most_rounds=1)

    def _rss(self) -> Iterator[Job]:
        if "rss" not in self.groups:
            return
        once = self.bucket("huge", self.sizes.huge), self._ava[0]
        more = (
            self.bucket("huge", self.sizes.huge, self.sizes.copies),
            self.bucket("ava", self.sizes.ava[0], self.sizes.copies),
        )
        for encoding in ("keep", "reencode"):
            for bucket in (*once, *more):
                yield self._ours(bucket, encoding, "rss", what="partition", most_rounds=1)

    def _cores(self) -> Iterator[Job]:
        if "cores" not in self.groups:
            return
        cores = sorted(os.sched_getaffinity(0))
        one, two = frozenset(cores[:1]), frozenset(cores[:2])
        for encoding in ENCODINGS:
            rounds = 2 if encoding == "resize" else ALL_ROUNDS
            for cpus in (one, two):
                yield self._bare(self._ava[0], encoding, "cores", cpus=cpus, most_rounds=rounds)
                for bucket in self._ava:
                    yield self._ours(bucket, encoding, "cores", cpus=cpus, most_rounds=rounds)
        for encoding, rounds in (("keep", ALL_ROUNDS), ("reencode", 2)):
            for cpus, tasks in ((one, 1), (two, 1), (two, 2)):
                for bucket in self._ava:
                    more = {"processes": tasks, "cpus": cpus, "most_rounds": rounds}
                    yield self._ours(bucket, encoding, "cores", what="tasks", **more)
            for processes in (1, 2):
                for bucket in self._ava:
                    yield self._ours(bucket, encoding, "cores", what="build", processes=processes, most_rounds=2)

    def _distance(self) -> Iterator[Job]:
        if "distance" not in self.groups:
            return
        buckets = self.bucket("ava", self.sizes.ava[0], FAR_COPIES), self._ava[0]
        for encoding, rounds in (("keep", ALL_ROUNDS), ("reencode", 1)):
            for distance in DISTANCES_MS:
                for bucket in buckets:
                    yield self._ours(bucket, encoding, "distance", distance_ms=distance, most_rounds=rounds)


def _on(cpus: frozenset[int] | None) -> str:
    """Return what the name of a job on fewer cores than all ends with."""
    return f" @{len(cpus)}" if cpus and len(cpus) < len(os.sched_getaffinity(0)) else ""


def _votes(photo: str) -> list[int]:
    """Return ten vote counts, made up from the id."""
    rng = random.Random(photo)  # noqa: S311
    return [rng.randrange(1, 60) for _ in range(10)]


def run(job: Job, number: int, s3: FastS3) -> Sample:
    """Run a job once, in an empty folder that is deleted afterwards."""
    with _folder(CACHE if job.is_on_disk else _scratch(), "job") as out:
        command = [part.replace("OUT", str(out)) for part in job.command]
        added = {name: value.replace("OUT", str(out)) for name, value in job.env.items()}
        environment = {**os.environ, **added, "TMPDIR": str(out / "tmp"), "PYTHONHASHSEED": "0"}
        everything = frozenset(os.sched_getaffinity(0))
        s3.pin(job.cpus or everything)
        server, own = s3.cpu_seconds(), time.process_time()
        usage = measure(command, log=out / "log", env=environment, cpus=job.cpus)
        server, own = s3.cpu_seconds() - server, time.process_time() - own
        s3.pin(everything)
        text = (out / "log").read_text(errors="replace")
        printed = _last_json(text)
        shards = [path for name in ("dataset/shards", "peer") for path in (out / name).rglob("*") if path.is_file()]
        left = sum(path.stat().st_size for path in shards)
    foreign = (usage.busy_seconds - usage.cpu_seconds - server - own) / usage.wall_seconds
    error = f"exit {usage.exit_code}: {text[-2000:]}" if usage.exit_code else _miscount(job, printed)
    costs = printed if job.prints_costs and not error else asdict(usage)
    peak_bytes = printed["peak_bytes"] if job.name.startswith("partition ") and not error else usage.peak_bytes
    return Sample(
        job.name, number, job.photos, costs["wall_seconds"], costs["cpu_seconds"], peak_bytes, usage.processes,
        server, max(0.0, foreign), left, usage.peak_anonymous_bytes, printed, error,
    )  # fmt: skip


def _miscount(job: Job, printed: dict[str, Any]) -> str:
    converted = printed.get("photos", printed.get("records"))
    return "" if converted in (None, job.photos) else f"{converted} of {job.photos} photos came out"


def _last_json(text: str) -> dict[str, Any]:
    """Return the JSON object that a log ends with; empty when there is none."""
    for start in (text.rfind("\n{") + 1, text.find("{")):
        try:
            found = json.loads(text[start:])
        except ValueError:
            continue
        return found if isinstance(found, dict) else {}
    return {}


def _scratch() -> Path:
    """Return where jobs write: memory, where there is room, so that none waits for a disk."""
    memory = Path("/dev/shm")  # noqa: S108
    return memory if memory.is_dir() and shutil.disk_usage(memory).free > 6 << 30 else CACHE


@contextmanager
def _folder(parent: Path, name: str) -> Iterator[Path]:
    """Give an empty folder of this process's own, and delete it in the end."""
    folder = parent / f"aesthetics-bench-{name}-{os.getpid()}"
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "tmp").mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def machine() -> dict[str, str]:
    """Describe where the numbers come from."""
    info = Path("/proc/cpuinfo")
    models = [line.partition(": ")[2] for line in info.read_text().splitlines() if line.startswith("model name")]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "commit": _commit(),
        "cpu": f"{models[0] if models else platform.machine()}, {len(os.sched_getaffinity(0))} cores",
        "memory": f"{memory / 2**30:.0f} GB",
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def main() -> int:
    """Run what is asked for, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=(*GROUPS, ORIGIN, EXPORTS), default=list(GROUPS))
    parser.add_argument("--quick", action="store_true", help="few photos: tries the benchmark, measures nothing")
    parser.add_argument("--encoding", choices=ENCODINGS, help="leave jobs of other encodings out")
    parser.add_argument("--set", dest="photo_set", choices=sorted(SETS), help="leave jobs of other photos out")
    parser.add_argument("--skip-build", action="store_true", help="leave complete builds out")
    parser.add_argument("--word", help="leave jobs of readers and labels out whose name has not this word")
    parser.add_argument("--render", action="store_true", help="write the page of the results that are there anew")
    options = parser.parse_args()
    if options.render:
        write_page(HERE)
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the server stops and folders go
    CACHE.mkdir(exist_ok=True)
    (CACHE / ".gitignore").write_text("*\n")
    if options.only == [EXPORTS]:  # no figures: whether two libraries find what was exported
        return read_back(CACHE / "venvs")
    nginx = find_nginx(install=True)
    if nginx is None:
        return 2
    groups = frozenset(options.only)
    if groups >= {READING, ORIGIN}:
        parser.error("readers and origin build the same dataset, of other sizes; run one after the other")
    common = {"machine": machine(), "rounds": options.rounds}
    with ExitStack() as stack:
        place = stack.enter_context(_folder(CACHE, "run"))
        latencies_ms = DISTANCES_MS if "distance" in groups else ()
        s3 = stack.enter_context(FastS3(nginx, place / "s3", CACHE / "photos", latencies_ms))
        bench = Bench(s3, place / "inputs", QUICK if options.quick else Sizes(), groups)
        jobs = [job for job in bench.jobs() if _wanted(job, options)]
        readers = stack.enter_context(_readers(bench, place, groups, quick=options.quick))
        if readers:
            found = readers.jobs() if READING in groups else origin_jobs(readers, Limits())
            jobs += [job for job in found if _wanted(job, options)]
        sizes = QUICK_LABELS if options.quick else LabelSizes()
        if LABELS in groups:
            jobs += [job for job in label_jobs(CACHE / "labels", sizes) if _wanted(job, options)]
        samples = list(_interleaved(jobs, options.rounds, s3))
    parts = {}
    if groups & set(BUILDING):
        parts[BUILD_RESULTS] = common | _building(bench, _samples_of(BUILD_RESULTS, samples, jobs))
    if readers:
        name = READ_RESULTS if READING in groups else ORIGIN_RESULTS
        parts[name] = common | _reading(readers, _samples_of(name, samples, jobs)) | {"limits": asdict(Limits())}
    if LABELS in groups:
        parts[LABEL_RESULTS] = common | _of_labels(sizes, _samples_of(LABEL_RESULTS, samples, jobs))
    is_tried = any((options.quick, options.encoding, options.photo_set, options.skip_build, options.word))
    for name, part in parts.items():
        is_whole = not is_tried and groups >= PARTS[name]
        folder = HERE if is_whole else CACHE
        if name != LABEL_RESULTS:
            part["versions"]["nginx"] = _nginx_version(nginx)
        (folder / name).write_text(json.dumps(part, indent=1) + "\n")
        print(write_page(folder))
        print(f"bench: written to {folder / 'RESULTS.md'}", file=sys.stderr)
    return 1 if any(sample.error for sample in samples) else 0


@contextmanager
def _readers(bench: Bench, place: Path, groups: frozenset[str], *, quick: bool) -> Iterator[Readers | None]:
    """Give what the groups that read have in common; None where none of them is wanted."""
    if not groups & {READING, ORIGIN}:
        yield None
        return
    if READING in groups:
        sizes = QUICK_READERS if quick else ReaderSizes()
    else:
        sizes = QUICK_ORIGIN if quick else ORIGIN_SIZES
    bucket = bench.bucket("ava", sizes.photos)
    with Readers(bench.s3, place, CACHE, bucket, bench.inputs / bucket.name, sizes) as readers:
        yield readers


def _samples_of(part: str, samples: Sequence[Sample], jobs: Sequence[Job]) -> list[Sample]:
    names = {job.name for job in jobs if job.groups & PARTS[part]}
    return [sample for sample in samples if sample.job in names]


def _building(bench: Bench, samples: Sequence[Sample]) -> dict[str, Any]:
    """Return what `results.json` holds besides the machine."""
    return {
        "versions": {name: version(name) for name in VERSIONS},
        "peers": {peer.name: peer.described for peer in PEERS} if "peers" in bench.groups else {},
        "absent": bench.absent,
        "sizes": asdict(bench.sizes) | {"cores": len(os.sched_getaffinity(0))},
        "samples": [asdict(sample) for sample in samples],
    }


def _reading(readers: Readers, samples: Sequence[Sample]) -> dict[str, Any]:
    """Return what `readers.json` holds besides the machine."""
    return {
        "versions": {name: version(name) for name in READER_VERSIONS},
        "peers": {peer.name: peer.described for peer in READING_PEERS},
        "absent": readers.absent,
        "sizes": asdict(readers.sizes) | {"cores": len(os.sched_getaffinity(0))},
        "samples": [asdict(sample) for sample in samples],
    }


def _of_labels(sizes: LabelSizes, samples: Sequence[Sample]) -> dict[str, Any]:
    """Return what `labels.json` holds besides the machine."""
    return {
        "versions": {name: version(name) for name in LABEL_VERSIONS},
        "libraries": {kind: library for kind, (library, _) in BARE.items()},
        "peers": {},
        "absent": {},
        "sizes": asdict(sizes) | {"cores": len(os.sched_getaffinity(0))},
        "samples": [asdict(sample) for sample in samples],
    }


def write_page(folder: Path) -> str:
    """Write `RESULTS.md` of what the runs in a folder found, and return it."""
    parts = ["# Benchmark results\n"]
    for name, render_part in (
        (BUILD_RESULTS, render),
        (READ_RESULTS, render_readers),
        (LABEL_RESULTS, render_labels),
        (ORIGIN_RESULTS, render_origin),
    ):
        if (folder / name).exists():
            parts.append(render_part(json.loads((folder / name).read_text())))
    text = "\n".join(parts)
    (folder / "RESULTS.md").write_text(text)
    return text


def _wanted(job: Job, options: argparse.Namespace) -> bool:
    words = job.name.split()
    if job.groups & {READING, LABELS, ORIGIN}:
        return options.word is None or options.word in words
    if options.encoding and words[1] != "get" and not words[1].startswith(options.encoding):
        return False
    if options.skip_build and job.name.startswith("build "):
        return False
    return options.photo_set is None or f" {options.photo_set}-" in job.name


def _interleaved(jobs: Sequence[Job], rounds: int, s3: FastS3) -> Iterator[Sample]:
    started = time.monotonic()
    for number in range(rounds):
        turn = [job for job in jobs if number < job.most_rounds]
        for place, job in enumerate(turn if number % 2 == 0 else turn[::-1], 1):
            sample = run(job, number, s3)
            said = (
                last_line(sample.error)
                if sample.error
                else f"{sample.wall_seconds:.2f} s, CPU {sample.cpu_seconds:.2f} s"
            )
            head = f"[{time.monotonic() - started:5.0f} s, round {number + 1}/{rounds}, {place}/{len(turn)}]"
            print(f"{head} {job.name}: {said}, others {sample.foreign_cores:.2f}", file=sys.stderr, flush=True)
            yield sample


def _commit() -> str:
    """Return the commit that was measured, with `-dirty` where files differ from it."""
    command = ["git", "-C", str(HERE), "describe", "--always", "--dirty", "--exclude", "*"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() or "unknown"


def _nginx_version(nginx: str) -> str:
    return subprocess.run([nginx, "-v"], capture_output=True, text=True, check=False).stderr.rpartition("/")[2].strip()


if __name__ == "__main__":
    sys.exit(main())
