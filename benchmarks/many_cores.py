"""How conversion uses more cores than this machine has, by a codec that sleeps: 16 threads over one.

    .venv/bin/python benchmarks/many_cores.py [--codec-ms 10.6] [--held-ms 0 2.4] [--processes 4] [--photos 20480] [--rounds 2] [--scratch /dev/shm]

All else is the product's: files are read, framed, written to shards and uploaded, by one process of one thread, one of 16 threads, and 4
processes of 4 threads as `aesthetics-ops build` starts them on 16 cores.  A codec thread sleeps 10.6 ms a photo, eight times what `keep` takes, so that 16
threads are as fast as two cores of `keep`, and this machine's cores do not limit.  For `--held-ms` of that it keeps the interpreter's lock:
2.4 ms are eight times the 0.3 ms that `keep` keeps it.  Prints photos a second, and what they are of the codec's own speed and of one thread's.
"""

import argparse
import ctypes
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from aesthetics_ops import machine
from aesthetics_ops.builds import Build, BuildPlan
from aesthetics_ops.conversion import flow, workers
from aesthetics_ops.conversion.partition import convert_partition
from aesthetics_ops.figures import ValidationFigures
from aesthetics_ops.machine import THREADS_VARIABLE
from aesthetics_ops.pipeline import start_build
from aesthetics_ops.pixels.photo import Converted
from aesthetics_ops.processes import serving, worker
from aesthetics_ops.processes.crew import run_build
from aesthetics_ops.settings import BuildSettings

_CORES: Final = 16
_PARTS_OF_PROCESS: Final = 4  # as a build has them
_PHOTO_BYTES: Final = 3_000
_CODEC_VARIABLE: Final = "BENCHMARK_CODEC_MS"  # in all, and with the lock
_SERVE: Final = "import sys; from many_cores import serve; serve(int(sys.argv[1]))"


def serve(handle: int) -> None:
    """Be one of the processes, of a machine of 16 cores whose codec sleeps, and which reads nothing back."""
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


def _planned(folder: Path, photos: int, parts: int) -> tuple[Build, BuildPlan]:
    """Plan a build of files that no two are alike, in so many parts, whatever was built before."""
    source = folder / "photos"
    if not source.exists():
        source.mkdir()
        for number in range(photos):
            source.joinpath(f"{number:06}.jpg").write_bytes(f"{number:06}".encode().ljust(_PHOTO_BYTES, b"."))
        rows = (f"{number:06},{number % 90 / 10 + 1}" for number in range(photos))
        folder.joinpath("scores.csv").write_text("\n".join(["id,score", *rows]))
    dataset = Path(tempfile.mkdtemp(dir=folder))
    settings = BuildSettings(
        photos=source.as_uri() + "/",
        labels=folder.joinpath("scores.csv").as_uri(),
        dataset=dataset.as_uri() + "/",
        shard_bytes=_PHOTO_BYTES * photos // 64,
        partition_bytes=1,
    )
    return start_build(settings, build_id="bench", partitions=parts)


def _one_process(folder: Path, photos: int, threads: int) -> tuple[int, float]:
    """Convert in this process; return how many photos, and the seconds; one thread converts a sixteenth of them."""
    build, plan = _planned(folder, photos, 1 if threads > 1 else _CORES)
    os.environ[THREADS_VARIABLE] = str(threads)
    try:
        figures = convert_partition(build, plan, 0).figures
    finally:
        del os.environ[THREADS_VARIABLE]
    return figures.photos, figures.seconds


def _several_processes(folder: Path, photos: int, processes: int) -> tuple[int, float]:
    """Convert in processes that share the cores; return how many photos, and the seconds from the first to the last."""
    build, plan = _planned(folder, photos, processes * _PARTS_OF_PROCESS)
    figures = run_build(build, plan, processes, lambda done: None).conversion
    return (figures.photos, figures.seconds) if figures else (0, 1.0)


def main() -> int:
    """Convert in each way, in turns, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--codec-ms", type=float, default=10.6)
    parser.add_argument("--held-ms", type=float, nargs="+", default=[0.0, 2.4])
    parser.add_argument("--processes", type=int, nargs="+", default=[4])
    parser.add_argument("--photos", type=int, default=20_480)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--scratch", type=Path, default=Path(tempfile.gettempdir()))
    options = parser.parse_args()
    worker._SERVE = _SERVE  # type: ignore[misc]
    folder = Path(tempfile.mkdtemp(prefix="many-cores-", dir=options.scratch))
    print(
        "| held, ms | way | photos/s | of the codec's own speed | over one thread | CPU ms a photo | load |\n"
        + "|---" * 7
        + "|"
    )
    try:
        for _ in range(options.rounds):
            for held_ms in options.held_ms:
                os.environ[_CODEC_VARIABLE] = f"{options.codec_ms} {held_ms}"
                _pretend()
                _compare(folder, options, held_ms)
    finally:
        shutil.rmtree(folder)
    return 0


def _compare(folder: Path, options: argparse.Namespace, held_ms: float) -> None:
    """Convert in each way, and print a row for each."""
    count, codec_ms, processes = options.photos, options.codec_ms, options.processes
    ways: dict[str, tuple[int, Callable[[], tuple[int, float]]]] = {
        "1 process, 1 thread": (1, lambda: _one_process(folder, count, 1)),
        f"1 process, {_CORES} threads": (_CORES, lambda: _one_process(folder, count, _CORES)),
    }
    for number in processes:
        way = f"{number} processes, {_CORES // number} threads each"
        ways[way] = _CORES, partial(_several_processes, folder, count, number)
    alone = 0.0
    for way, (threads, convert) in ways.items():
        before = sum(os.times()[:4])
        photos, seconds = convert()
        cpu_ms = 1000 * (sum(os.times()[:4]) - before) / photos
        rate = photos / seconds
        alone = alone or rate
        numbers = f"{rate:.0f} | {rate * codec_ms / 1000 / threads:.2f} | {rate / alone:.1f} | {cpu_ms:.2f}"
        print(f"| {held_ms:g} | {way} | {numbers} | {os.getloadavg()[0]:.1f} |", flush=True)


if __name__ == "__main__":
    sys.exit(main())
