"""What reading a dataset costs, counted inside the process that reads.

In: a reader, as a function that opens it.  Out: one JSON object on stdout.
Needs numpy and nothing else, so that a peer's environment can run it too.  Between two epochs CPU is counted of the whole
process tree, workers that ended included; what the counting costs is left out.
"""

import json
import os
import resource
import sys
import time
import urllib.request
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

from measure import anonymous_bytes, cpu_of, descendants

__all__ = ["BATCH", "COUNTS", "SIDE_PX", "read"]

BATCH: Final = 64
SIDE_PX: Final = 224
COUNTS: Final = "BENCH_COUNTS"  # in the environment: the URL where the server says what it was asked for

Batches = Iterable[tuple[Any, Any]]

_started: Final = time.monotonic()


def read(open_reader: Callable[[], Batches], photos: int, epochs: int, *, first_only: bool = False) -> None:
    """Read some epochs, and print what they cost.

    Args:
        open_reader: imports what the reader needs and opens it; one iteration of what it returns is one epoch of
            batches (images, labels).
        photos: that an epoch must bring.
        epochs: how many.
        first_only: stops after the first batch.

    Raises:
        SystemExit: an epoch brought another number of photos, or of another size.
    """
    _asked("reset")
    reader = open_reader()
    report: dict[str, Any] = {"opened_cpu_seconds": _own() + _children(), "photos": photos}
    costs, memory = [], []
    for number in range(epochs):
        children, wall, own = _children(), time.monotonic(), _own()
        seen = 0
        for images, labels in reader:
            if not seen and not number:
                report |= {
                    "first_batch_cpu_seconds": _own() + _children(),
                    "first_batch_wall_seconds": time.monotonic() - _started,
                    "first_batch_asked": _asked("counts"),
                }
                if first_only:
                    print("\n" + json.dumps(report))
                    return
            shape = tuple(images.shape)
            if shape not in ((len(labels), SIDE_PX, SIDE_PX, 3), (len(labels), 3, SIDE_PX, SIDE_PX)):
                raise SystemExit(f"a batch has shape {shape} and {len(labels)} labels")
            seen += len(labels)
        own, wall = _own() - own, time.monotonic() - wall
        costs.append({"cpu_seconds": own + _children() - children, "wall_seconds": wall})
        memory.append(sum(map(anonymous_bytes, [os.getpid(), *descendants(os.getpid())])))
        if seen != photos:
            raise SystemExit(f"epoch {number} brought {seen} photos of {photos}")
    print("\n" + json.dumps(report | {"epochs": costs, "anonymous_bytes": memory, "asked": _asked("counts")}))


def _own() -> float:
    return time.process_time()


def _children() -> float:
    """Return the CPU of every process below this one, and of those that have ended."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    living = sum(cpu_of(pid, with_children=True) for pid in descendants(os.getpid()))
    return ended.ru_utime + ended.ru_stime + living


def _asked(what: str) -> dict[str, Any]:
    """Return what the server was asked for since the reset; nothing where no server counts."""
    url = os.environ.get(COUNTS)
    if not url:
        return {}
    with urllib.request.urlopen(url + what, timeout=10) as reply:  # noqa: S310
        answer: dict[str, Any] = json.load(reply)
    return answer


def _bare(photos: list[bytes], antialias: str, threads: int) -> Batches:
    """Return batches by nothing but the codec, over JPEGs in memory; `linear` is two calls and no antialias."""
    from concurrent.futures import ThreadPoolExecutor

    import cv2
    import numpy as np
    import simplejpeg

    from aesthetics_ops.readers.pixels import Pixels, decode

    pool = ThreadPoolExecutor(threads)
    pixels = None if antialias == "linear" else Pixels(SIDE_PX, "squash", antialias)  # type: ignore[arg-type]
    labels = np.zeros(BATCH, np.float32)

    def one(data: bytes, out: Any) -> None:
        if pixels is not None:
            decode(data, pixels, out=out)
            return
        array = simplejpeg.decode_jpeg(data, "RGB", min_height=SIDE_PX, min_width=SIDE_PX)
        cv2.resize(array, (SIDE_PX, SIDE_PX), dst=out, interpolation=cv2.INTER_LINEAR)

    def some(part: list[bytes], images: Any) -> None:
        for data, out in zip(part, images, strict=True):
            one(data, out)

    class Epochs:
        def __iter__(self) -> Any:
            for first in range(0, len(photos), BATCH):
                batch = photos[first : first + BATCH]
                images = np.empty((len(batch), SIDE_PX, SIDE_PX, 3), np.uint8)
                share = -(-len(batch) // threads)
                parts = range(0, len(batch), share)
                done = [pool.submit(some, batch[at : at + share], images[at : at + share]) for at in parts]
                for each in done:
                    each.result()
                yield images, labels[: len(batch)]

    return Epochs()


def main() -> int:
    """Measure the bare codec: FOLDER COUNT ANTIALIAS EPOCHS."""
    folder, count, antialias, epochs = sys.argv[1:]
    photos = [path.read_bytes() for path in sorted(Path(folder).glob("*.jpg"))[: int(count)]]
    threads = len(os.sched_getaffinity(0))
    read(lambda: _bare(photos, antialias, threads), len(photos), int(epochs))
    return 0


if __name__ == "__main__":
    sys.exit(main())
