"""How conversion uses 16 cores: 16 threads over one, for real where there are as many, else by a codec that sleeps.

    .venv/bin/python benchmarks/many_cores.py [--codec-ms 10.6] [--held-ms 0 2.4] [--processes 4] [--photos 20480] [--rounds 2] [--scratch /dev/shm]
    .venv/bin/python benchmarks/many_cores.py --real keep reencode [--processes 4 8] [--photos 48000] [--scratch /dev/shm]

All else is the product's: files are read, framed, written to shards and uploaded, by one process of one thread, one of 16 threads, and 4
processes of 4 threads as `aesthetics-ops build` starts them on 16 cores.  With `--real` the codec is the product's too, the photos are 2,400
of the set `ava` several times over, each with a comment of its own, and the codec alone is measured beside it: `bare.py`'s functions, a
process per core.  Without, a codec thread sleeps 10.6 ms a photo, eight times what `keep` takes, so that 16 threads are as fast as two cores of `keep`, and this machine's cores do not limit.  For `--held-ms` of that it keeps the interpreter's lock:
2.4 ms are eight times the 0.3 ms that `keep` keeps it.  Prints photos a second, and what they are of the codec's own speed and of one thread's.
"""

import argparse
import ctypes
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Final

from photos import SETS, make_photos

from aesthetics_ops import machine
from aesthetics_ops.builds import Build, BuildPlan
from aesthetics_ops.conversion import flow, workers
from aesthetics_ops.conversion.partition import convert_partition
from aesthetics_ops.figures import ValidationFigures
from aesthetics_ops.machine import THREADS_VARIABLE, cpus
from aesthetics_ops.pipeline import start_build
from aesthetics_ops.pixels.photo import Converted
from aesthetics_ops.processes import serving, worker
from aesthetics_ops.processes.crew import run_build
from aesthetics_ops.settings import BuildSettings

_CORES: Final = 16
_PARTS_OF_PROCESS: Final = 4  # as a build has them
_PHOTO_BYTES: Final = 3_000
_REAL_PHOTOS: Final = 2_400  # made; others are copies of them with another comment
_CODEC_VARIABLE: Final = "BENCHMARK_CODEC_MS"  # in all, and with the lock; unset, the codec is real
_SERVE: Final = "import sys; sys.path[:] = sys.argv[2:]; from many_cores import serve; serve(int(sys.argv[1]))"


def serve(handle: int) -> None:
    """Be one of the processes, which read nothing back; where the codec sleeps, of a machine of 16 cores."""
    if _CODEC_VARIABLE in os.environ:
        _pretend()
    serving.kernels = lambda: None  # type: ignore[attr-defined]
    serving._STAGES["validate"] = lambda *_: ValidationFigures()
    serving.serve(handle)


def _pretend() -> None:
    whole_ms, held_ms = map(float, os.environ[_CODEC_VARIABLE].split())
    keeping_the_lock = ctypes.PyDLL(None).usleep

    def sleep(sources: Sequence[bytes], *_: object, **__: object) -> list[Converted]:
        for _photo in sources:
            if held_ms:
                keeping_the_lock(int(1000 * held_ms))
            time.sleep((whole_ms - held_ms) / 1000)
        return [Converted(source, 48, 64, (), 0, False, "4:2:0", None, None) for source in sources]

    workers.convert_photos = sleep  # type: ignore[assignment, attr-defined]
    machine.cpus = flow.cpus = _cores  # type: ignore[assignment, attr-defined]


def _cores(*_: object) -> int:
    return _CORES


class _Machine:
    """Builds of the files in one folder, each from nothing but its plan."""

    def __init__(self, folder: Path, photos: int, *, real: bool) -> None:
        self._folder = folder
        self._plans: dict[tuple[str, int], tuple[Build, BuildPlan]] = {}
        source = folder / "photos"
        source.mkdir()
        made = make_photos(folder, SETS["ava"], min(photos, _REAL_PHOTOS), workers=cpus()) if real else []
        whole = [path.read_bytes() for path in made]

        def write(number: int) -> None:
            data = f"{number:06}".encode()
            if real:  # a comment makes each file another one
                photo = whole[number % len(whole)]
                data = photo[:2] + b"\xff\xfe\x00\x08" + data + photo[2:]
            source.joinpath(f"{number:06}.jpg").write_bytes(data.ljust(_PHOTO_BYTES, b"."))

        with ThreadPoolExecutor(cpus()) as pool:
            list(pool.map(write, range(photos)))
        rows = (f"{number:06},{number % 90 / 10 + 1}" for number in range(photos))
        folder.joinpath("scores.csv").write_text("\n".join(["id,score", *rows]))
        self._bytes = sum(path.stat().st_size for path in source.iterdir())

    def one_process(self, encoding: str, threads: int) -> tuple[int, float]:
        """Convert in this process; return how many photos, and the seconds; one thread converts a sixteenth of them."""
        build, plan = self._planned(encoding, 1 if threads > 1 else _CORES)
        os.environ[THREADS_VARIABLE] = str(threads)
        try:
            figures = convert_partition(build, plan, 0).figures
        finally:
            del os.environ[THREADS_VARIABLE]
        return figures.photos, figures.seconds

    def several_processes(self, encoding: str, processes: int) -> tuple[int, float]:
        """Convert in processes that share the cores; return how many photos, and the seconds from the first to the last."""
        build, plan = self._planned(encoding, processes * _PARTS_OF_PROCESS)
        figures = run_build(build, plan, processes, lambda done: None).conversion
        return (figures.photos, figures.seconds) if figures else (0, 1.0)

    def _planned(self, encoding: str, parts: int) -> tuple[Build, BuildPlan]:
        """Return a plan in so many parts, of which nothing is made."""
        dataset = self._folder / f"{encoding}-{parts}"
        if (encoding, parts) in self._plans:
            for made in ("shards", "builds/bench/converted", "builds/bench/validated"):
                shutil.rmtree(dataset / made, ignore_errors=True)
            return self._plans[encoding, parts]
        settings = BuildSettings(
            photos=self._folder.joinpath("photos").as_uri() + "/",
            labels=self._folder.joinpath("scores.csv").as_uri(),
            dataset=dataset.as_uri() + "/",
            encoding=encoding,
            shard_bytes=self._bytes // 64,
            partition_bytes=1,
        )
        planned = self._plans[encoding, parts] = start_build(settings, build_id="bench", partitions=parts)
        return planned


def _used() -> tuple[float, float]:
    """Return the CPU seconds of this process and of those that ended, as user and as system."""
    times = os.times()
    return times.user + times.children_user, times.system + times.children_system


def main() -> int:
    """Convert in each way, in turns, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--codec-ms", type=float, default=10.6)
    parser.add_argument("--held-ms", type=float, nargs="+", default=[0.0, 2.4])
    parser.add_argument("--processes", type=int, nargs="+", default=[4])
    parser.add_argument("--photos", type=int, default=20_480)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--scratch", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--real", nargs="+", choices=("keep", "reencode", "resize"), default=[], metavar="ENCODING")
    options = parser.parse_args()
    worker._SERVE = _SERVE  # type: ignore[misc]
    folder = Path(tempfile.mkdtemp(prefix="many-cores-", dir=options.scratch))
    columns = (
        "codec",
        "way",
        "photos/s",
        "of the codec's own speed",
        "over one thread",
        "CPU ms a photo, user + system",
        "load",
    )
    print(f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|")
    try:
        builds = _Machine(folder, options.photos, real=bool(options.real))
        for _ in range(options.rounds):
            for encoding in options.real:
                _compare(
                    builds, options, encoding, _codecs_own(folder, encoding, 1), _codecs_own(folder, encoding, _CORES)
                )
            for held_ms in () if options.real else options.held_ms:
                os.environ[_CODEC_VARIABLE] = f"{options.codec_ms} {held_ms}"
                _pretend()
                alone = 1000 / options.codec_ms
                _compare(builds, options, "keep", alone, _CORES * alone, f"sleeps, lock kept {held_ms:g} ms")
    finally:
        shutil.rmtree(folder)
    return 0


def _codecs_own(folder: Path, encoding: str, processes: int) -> float:
    """Return how many photos a second the codec alone does, in so many processes of one thread; `bare.py` says what it is."""
    call = [
        sys.executable,
        str(Path(__file__).with_name("bare.py")),
        "codec",
        str(folder / "ava"),
        str(_REAL_PHOTOS),
        encoding,
    ]
    running = [
        subprocess.Popen(["taskset", "--cpu-list", str(core), *call], stdout=subprocess.PIPE, text=True)
        for core in sorted(os.sched_getaffinity(0))[:processes]
    ]
    told = [json.loads(process.communicate()[0]) for process in running]
    return float(sum(one["photos"] / one["wall_seconds"] for one in told))


def _compare(
    builds: _Machine, options: argparse.Namespace, encoding: str, own: float, own_of_all: float, codec: str = ""
) -> None:
    """Convert in each way, and print a row for each, beside what the codec alone reaches on one core and on all."""
    ways: dict[str, tuple[float, Callable[[], tuple[int, float]]]] = {
        "1 process, 1 thread": (own, lambda: builds.one_process(encoding, 1)),
        f"1 process, {_CORES} threads": (own_of_all, lambda: builds.one_process(encoding, _CORES)),
    }
    for number in options.processes:
        way = f"{number} processes, {_CORES // number} threads each"
        ways[way] = own_of_all, partial(builds.several_processes, encoding, number)
    alone = 0.0
    for way, (limit, convert) in ways.items():
        convert()  # plans, and takes the memory that the measured one takes again
        before = _used()
        photos, seconds = convert()
        user_ms, system_ms = (1000 * (now - then) / photos for then, now in zip(before, _used(), strict=True))
        rate = photos / seconds
        alone = alone or rate
        numbers = f"{rate:.0f} | {rate / limit:.2f} | {rate / alone:.1f} | {user_ms:.2f} + {system_ms:.2f}"
        print(f"| {codec or encoding} | {way} | {numbers} | {os.getloadavg()[0]:.1f} |", flush=True)
    if not codec:
        print(
            f"| {encoding} | the codec alone, {_CORES} processes | {own_of_all:.0f} | 1 | {own_of_all / own:.1f} | | |",
            flush=True,
        )


if __name__ == "__main__":
    sys.exit(main())
