"""Builds in a row over a bucket that changes, with a fault at every twentieth request: nothing breaks, and nothing grows.

    .venv/bin/python -m tests.faults.soak --builds 200 --seed 0

One process makes all builds, as a scheduler's worker does, and expires old versions after every tenth.  After each build
LATEST is whole, by `verify` and by TensorFlow's reading.  At the end every version that is listed is whole, and one build without
faults gives what a build from nothing gives.  Open files, threads, memory and scratch are those of the start.
"""

# ruff: noqa: T201 -- a command that prints its findings
import argparse
import math
import os
import random
import statistics
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from aesthetics_ops.errors import NoSuchVersionError
from aesthetics_ops.versions.listing import list_versions
from aesthetics_ops.versions.verify import verify_version
from tests.faults import judge
from tests.faults.bucket import DATASET, Bucket, open_bucket
from tests.faults.judge import BrokenError, read_latest_version
from tests.faults.sweep import RandomFaults
from tests.support.nights import PHOTOS, photo, smaller

__all__ = ["Readings", "Soak"]

_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
_EXPIRE_EACH: Final = 10
_PATIENCE_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class Readings:
    """What this process holds after a build.

    Attributes:
        handles: open files and connections.
        threads: of the process, native ones too.
        bytes: of resident memory, less what the server in it holds.
    """

    handles: int
    threads: int
    bytes: int


@dataclass
class Soak:
    """Builds in a row.

    Attributes:
        bucket: that they are made of and in.
        seed: of the changes and the faults.
        share: of the requests that fail.
        endings: exit statuses of the builds, with how many had it.
        readings: after each build.
        violations: what may not happen.
    """

    bucket: Bucket
    seed: int
    share: float = 0.05
    endings: Counter[str] = field(default_factory=Counter)
    readings: list[Readings] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    requests: int = 0
    faults: int = 0

    def run(self, builds: int, until: float = math.inf) -> None:
        """Make so many builds, or as many as are begun until then by the monotonic clock."""
        self.bucket.fill()
        self._rng = random.Random(self.seed)  # noqa: S311 -- no secret
        self._scores = {name: float(number) for number, name in enumerate(PHOTOS[:12])}
        for number in range(builds):
            if time.monotonic() > until:
                break
            self._change()
            self._command(number, "build")
            if number % _EXPIRE_EACH == _EXPIRE_EACH - 1:
                self._command(number, "expire", DATASET, "--keep=5", "--grace=0d", "--yes")
            judge.forget()
            self.readings.append(self._read())
        self._end()

    def _change(self) -> None:
        """A photo comes, goes or is another one, or a score changes."""
        name = self._rng.choice(PHOTOS)
        key = f"photos/{name}.jpg"
        if self._rng.random() < 0.3 and len(self._scores) > 8:
            self.bucket.server.objects.pop(f"bucket/{key}", None)
            self._scores.pop(name, None)
        else:
            self.bucket.put(key, smaller(photo(name), scale=self._rng.choice((0.2, 0.25, 0.3))))
            self._scores[name] = self._rng.randrange(20) / 2
        self.bucket.score(self._scores)

    def _command(self, number: int, command: str, *words: str) -> None:
        faults = RandomFaults(f"{self.seed}/{number}/{command}", self.share)
        ended = self.bucket.build(faults) if command == "build" else self.bucket.run(command, *words, choose=faults)
        self.requests += len(self.bucket.proxy.seen)
        self.faults += len(self.bucket.proxy.struck)
        self.endings[f"{command}: status {ended.status}"] += 1
        found = list(ended.faults)
        if self.bucket.elsewhere.seen:
            found.append("a redirect was followed")
            self.bucket.elsewhere.reset()
        try:
            read_latest_version(self.bucket.objects, self.bucket.clean)
        except BrokenError as error:
            found.append(f"LATEST is broken: {error}")
        self.violations += [f"{command} {number}: {fault}; it said {ended.err[-300:]!r}" for fault in found]

    def _end(self) -> None:
        with suppress(NoSuchVersionError):  # of a few builds with faults none may have published
            for info in list_versions(self.bucket.clean):
                verify_version(self.bucket.clean, info.version)
        ended = self.bucket.build()
        healed = read_latest_version(self.bucket.objects, self.bucket.clean)
        for name in [name for name in self.bucket.server.objects if "/dataset/" in name]:
            del self.bucket.server.objects[name]
        from_nothing = self.bucket.build()
        anew = read_latest_version(self.bucket.objects, self.bucket.clean)
        if (ended.status, from_nothing.status) != (0, 0) or healed.content != anew.content:
            self.violations.append(f"a build without faults does not heal: {ended}")

    def _read(self) -> Readings:
        """Return what the process holds, once the server's threads of the last requests have ended."""
        held = sum(map(len, dict(self.bucket.server.objects).values()))
        until = time.monotonic() + _PATIENCE_SECONDS
        least = self.readings[0] if self.readings else Readings(0, 0, 0)
        while True:
            resident = int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE_BYTES
            found = Readings(_entries("fd"), _entries("task"), resident - held)
            if (found.handles <= least.handles and found.threads <= least.threads) or time.monotonic() > until:
                return found
            time.sleep(0.05)

    def growth(self) -> Iterator[str]:
        """Say what is larger in the last quarter of the builds than in the second: between these, nothing is new."""
        quarter = len(self.readings) // 4
        early, late = self.readings[quarter : 2 * quarter], self.readings[-quarter:]
        for name, most in (("handles", 8), ("threads", 8), ("bytes", 64 << 20)):
            before, after = (statistics.median(getattr(one, name) for one in part) for part in (early, late))
            if after > before + most:
                yield f"{name} grow from {before:,.0f} to {after:,.0f}"


def _entries(kind: str) -> int:
    return len(list(Path(f"/proc/self/{kind}").iterdir()))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--builds", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=math.inf, help="begin no build after so many")
    options = parser.parse_args()
    with ExitStack() as stack:
        soak = Soak(stack.enter_context(open_bucket()), options.seed)
        soak.run(options.builds, time.monotonic() + 60 * options.minutes)
    print(f"{len(soak.readings)} builds, {soak.requests} requests, {soak.faults} faults: {dict(soak.endings)}")
    quarter = len(soak.readings) // 4
    for at in (quarter, 2 * quarter, 3 * quarter, len(soak.readings) - 1):
        print(f"after build {at + 1}: {soak.readings[at]}")
    problems = [*soak.violations, *soak.growth()]
    print(*problems, f"{len(problems)} violations", sep="\n")
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main())
