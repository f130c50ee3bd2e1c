"""How conversion's requests follow latency where the codec costs no CPU, so that others on the machine hardly matter.

    .venv/bin/python benchmarks/distance.py [--latency-ms 0.5 20 50] [--photos 6000] [--rounds 2]

A thread asks for as many photos at once as it asks S3 for; all of them take the latency once.  A codec of two threads sleeps 1.33 ms for
each photo: two cores of `keep`.  Prints photos a second in all, and after the first quarter, in which the number of requests is found.
"""

import argparse
import os
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

from aesthetics_ops.builds import open_build
from aesthetics_ops.conversion import workers
from aesthetics_ops.conversion.photos import PlannedPhoto
from aesthetics_ops.machine import THREADS_VARIABLE
from aesthetics_ops.rejects import Rejected, RejectReason
from aesthetics_ops.settings import parse_settings
from aesthetics_ops.store import Store, StoredObject
from aesthetics_ops.store.s3 import S3Store

_CODEC_SECONDS: Final = 0.00133
_PHOTO_BYTES: Final = 90_000


class _Far:
    """A store whose one object takes a while, asked for as S3 is."""

    asks_at_once = S3Store.asks_at_once

    def __init__(self, inner: Store, found: StoredObject, latency_seconds: float) -> None:
        self._inner, self._found, self._latency = inner, found, latency_seconds

    def get(self, key: str) -> StoredObject:
        time.sleep(self._latency)
        return self._found

    def readings(self, keys: Sequence[str]) -> list[Callable[[], StoredObject]]:
        time.sleep(self._latency)
        return [lambda: self._found] * len(keys)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def _sleep(photos: Sequence[object], *_: object, **__: object) -> list[Rejected]:
    time.sleep(_CODEC_SECONDS * len(photos))
    return [Rejected(RejectReason.CORRUPT, "not looked at")] * len(photos)


def _converted(latency_seconds: float, count: int) -> str:
    """Convert; return a row of the table."""
    url = f"memory://{uuid.uuid4().hex}/"
    places = {"photos": f"{url}photos/", "labels": f"{url}scores.csv", "dataset": f"{url}dataset/"}
    build = open_build(parse_settings(places, where="benchmark"), "build")
    build.photos.put("photo", bytes(_PHOTO_BYTES))
    found = build.photos.get("photo")
    far = replace(build, photos=_Far(build.photos, found, latency_seconds))  # type: ignore[arg-type]
    photos = [PlannedPhoto("photo", found.etag, _PHOTO_BYTES, str(number), 0.5, None) for number in range(count)]
    started = quarter = time.perf_counter()
    with workers.Workers(far) as threads:
        for number, _ in enumerate(threads.outcomes(photos)):
            if number == count // 4:
                quarter = time.perf_counter()
    ended = time.perf_counter()
    figures = threads.flow.figures()
    rates = f"{count / (ended - started):.0f} | {count * 0.75 / (ended - quarter):.0f}"
    return f"{rates} | {figures.requests} | {figures.limit} | {os.getloadavg()[0]:.1f}"


def main() -> int:
    """Convert at each distance, in turns, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--latency-ms", type=float, nargs="+", default=[0.5, 20, 50])
    parser.add_argument("--photos", type=int, default=6000)
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    os.environ[THREADS_VARIABLE] = "2"
    workers.convert_photos = _sleep  # type: ignore[assignment, attr-defined]
    print("| latency, ms | photos/s | after a quarter | requests | limit | load |\n|---|---|---|---|---|---|")
    for _ in range(options.rounds):
        for latency in options.latency_ms:
            print(f"| {latency:g} | {_converted(latency / 1000, options.photos)} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
