"""How fast `verify` is beside fetching and hashing the same bytes, and what memory it takes, by the number of shards.

In: an empty folder.  Out: a line a run, on stdout; the folder holds the datasets, 100 kB a shard, so one in memory is best.

    .venv/bin/python benchmarks/verify.py /dev/shm/verify --shards 1000 10000 --rounds 2
    .venv/bin/python benchmarks/verify.py /dev/shm/verify --tree ../before    # verify as another checkout has it, in turn with this one

Runs are made one after the other, each in a process of its own: `sha256sum` of the shards; a GET of each, 32 at once; `verify`.
Each shard holds 4 photos of 25 kB.
"""

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

_IN_A_SHARD: Final = 4
_SIDE_PX: Final = 141  # of noise: 25 kB
_MOTIFS: Final = 32
_ROOT: Final = Path(__file__).resolve().parents[1]


def main() -> None:
    """Make what is missing, then measure."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--shards", type=int, nargs="+", default=[1000, 10_000])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--tree", type=Path, action="append", default=[], help="another checkout, measured too")
    parser.add_argument("--job", choices=("get", "verify", "make"), help="this alone, in this process")
    options = parser.parse_args()
    if options.job:
        _JOBS[options.job](options.folder, options.shards[0])
        return
    trees = [_ROOT, *(tree.resolve() for tree in options.tree)]
    for shards in options.shards:
        folder = options.folder / str(shards)
        if not (folder / "LATEST.json").exists():
            _report("make", shards, _command(_ROOT, "make", folder, shards))
        files = sorted(folder.glob("shards/**/*.tfrecord"))
        for _ in range(options.rounds):
            _report("sha256sum", shards, ["xargs", "sha256sum"], "\n".join(map(str, files)))
            _report("get", shards, _command(_ROOT, "get", folder, shards))
            for tree in trees:
                _report(f"verify {tree.name}", shards, _command(tree, "verify", folder, shards))


def _command(tree: Path, job: str, folder: Path, shards: int) -> list[str]:
    python = ["env", f"PYTHONPATH={tree}", sys.executable, str(Path(__file__).resolve())]
    return [*python, str(folder), "--shards", str(shards), "--job", job]


def _report(name: str, shards: int, command: Sequence[str], given: str = "") -> None:
    """Run a command, and print what it took: seconds of its life, of all its CPUs, and what it says of memory."""
    before, began = os.times(), time.monotonic()
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=False)
    seconds, after = time.monotonic() - began, os.times()
    if done.returncode:
        sys.exit(done.stderr)
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    said = json.loads(done.stdout) if done.stdout.startswith("{") else {}
    load = f"load {os.getloadavg()[0]:.0f}"
    print(name, f"{shards:,} shards", f"{seconds:.2f} s", f"CPU {cpu:.2f} s", said or "", load, sep="  ", flush=True)


def _make(folder: Path, shards: int) -> None:
    """Publish a version: nearly all in one split."""
    import cv2
    import numpy as np

    from aesthetics_ops.store import open_store
    from aesthetics_ops.testing.datasets import Photo, SyntheticDataset

    pixels = np.random.default_rng(0)
    noise = (pixels.integers(0, 256, (_SIDE_PX, _SIDE_PX, 3), np.uint8) for _ in range(_MOTIFS))
    motifs = [cv2.imencode(".jpg", array)[1].tobytes() for array in noise]
    photos = []
    for number in range(count := shards * _IN_A_SHARD):
        motif, left = motifs[number % _MOTIFS], count - number
        comment = b"\xff\xfe\x00\x0a" + number.to_bytes(8, "big")  # so that no two are equal
        split = "train" if left > 2 * _IN_A_SHARD else "validation" if left > _IN_A_SHARD else "test"
        photos.append(Photo(f"p{number:07}", motif[:2] + comment + motif[2:], 1 + number * 7 % 91 / 10, split))
    folder.mkdir(parents=True)
    SyntheticDataset(open_store(f"{folder.as_uri()}/"), per_shard=_IN_A_SHARD).publish(photos)


def _get(folder: Path, shards: int) -> None:
    """Read every shard as a store gives it, and forget it."""
    from aesthetics_ops.dataset.reading_manifests import read_manifest
    from aesthetics_ops.store import StoreThreads, open_store

    store = open_store(f"{folder.as_uri()}/")
    keys = [shard.path for split in read_manifest(store).splits.values() for shard in split.shards]
    with StoreThreads(32) as pool:
        for _ in pool.map(lambda key: len(store.get(key).data), keys):
            pass


def _verify(folder: Path, shards: int) -> None:
    """Verify, and print the seconds, and the most anonymous memory, of that alone."""
    from aesthetics_ops.store import open_store
    from aesthetics_ops.versions.verify import verify_version

    most, is_over = [0], threading.Event()

    def look() -> None:
        while not is_over.wait(0.01):
            lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
            most.append(next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")))

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        began, cpu = time.monotonic(), time.process_time()
        verify_version(open_store(f"{folder.as_uri()}/"))
        seconds, cpu = time.monotonic() - began, time.process_time() - cpu
    finally:
        is_over.set()
        watcher.join()
    print(json.dumps({"seconds": round(seconds, 2), "cpu_s": round(cpu, 2), "anonymous_mib": max(most) >> 10}))


_JOBS: Final[dict[str, Callable[[Path, int], None]]] = {"get": _get, "verify": _verify, "make": _make}

if __name__ == "__main__":
    main()
