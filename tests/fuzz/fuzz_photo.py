"""Convert mutated files of every format, many thousands: none may crash, hang, shout, or take too much memory.

    .venv/bin/python -m tests.fuzz.fuzz_photo --inputs 20000 --seed 0

The work is done by a child process under a memory limit, which says each input's number before it starts on it; a
child that dies or falls silent is replaced, and the input it was at is a finding.  Exit status 1 when there is any.
`--only N` converts input N alone, in this process, to look at a finding.
"""

# ruff: noqa: T201 -- a command that prints its findings
import argparse
import random
import resource
import select
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field

from aesthetics_ops.pixels.photo import Converted, convert_photo
from aesthetics_ops.settings import PixelSettings
from tests.support.photo_cases import fuzz_corpus, mutated

MOST_PIXELS = 4_000_000
MOST_ADDRESS_BYTES = 3 << 30  # of the child; its libraries and their thread stacks take about a third of it
MOST_SECONDS = 20.0  # for one input
SETTINGS = (
    PixelSettings("keep", quality=95, max_side_px=None, max_pixels=MOST_PIXELS),
    PixelSettings("reencode", quality=80, max_side_px=48, max_pixels=MOST_PIXELS),
)


@dataclass(slots=True)
class Findings:
    """What a run found: outcomes by name, and inputs that broke a rule."""

    outcomes: Counter[str] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)
    slowest_seconds: float = 0.0
    most_resident_bytes: int = 0


def fuzz_input(corpus: tuple[bytes, ...], seed: int, number: int) -> bytes:
    """Return input `number` of the run with this seed."""
    rng = random.Random(f"{seed}/{number}")  # noqa: S311 -- no secret
    return mutated(rng.choice(corpus), rng.choice(corpus), rng)


def work(seed: int, first: int, inputs: int) -> None:
    """Be the child: announce, convert, report, one line each."""
    resource.setrlimit(resource.RLIMIT_AS, (MOST_ADDRESS_BYTES, MOST_ADDRESS_BYTES))
    corpus = fuzz_corpus()
    for number in range(first, inputs):
        data = fuzz_input(corpus, seed, number)
        print(f"start {number}", flush=True)
        photo = convert_photo(data, SETTINGS[number % len(SETTINGS)])
        outcome = "converted" if isinstance(photo, Converted) else photo.reason
        resident_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        print(f"done {outcome} {resident_bytes}", flush=True)


def watch(seed: int, first: int, inputs: int, findings: Findings) -> int:
    """Run one child from input `first` on; return the number of the first input that is left."""
    command = (
        sys.executable,
        "-m",
        "tests.fuzz.fuzz_photo",
        "--child",
        "--seed",
        str(seed),
        "--first",
        str(first),
        "--inputs",
        str(inputs),
    )
    number = first
    with (
        tempfile.TemporaryFile("w+") as noise,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=noise, bufsize=0) as child,
    ):
        assert child.stdout is not None
        started, busy = time.monotonic(), False
        while True:
            ready, _, _ = select.select([child.stdout], [], [], MOST_SECONDS if busy else 120)
            line = child.stdout.readline().decode().split() if ready else None
            if line is None:
                findings.broken.append(f"input {number} hangs: no answer in {MOST_SECONDS} s")
                child.kill()
                return number + 1
            match line:
                case ["start", text]:
                    number, started, busy = int(text), time.monotonic(), True
                case ["done", outcome, resident_bytes]:
                    findings.outcomes[outcome] += 1
                    findings.slowest_seconds = max(findings.slowest_seconds, time.monotonic() - started)
                    findings.most_resident_bytes = max(findings.most_resident_bytes, int(resident_bytes))
                    busy = False
                case _:
                    break
        status = child.wait()
        noise.seek(0)
        said = noise.read()
    if status:
        findings.broken.append(f"input {number} ends the process with status {status}: {said[-400:]}")
        return number + 1
    if said:
        findings.broken.append(f"inputs {first} to {inputs - 1} are not silent: {said[:400]}")
    return inputs


def main() -> int:
    """Run, print a summary, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--only", type=int)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child:
        work(asked.seed, asked.first, asked.inputs)
        return 0
    if asked.only is not None:
        print(convert_photo(fuzz_input(fuzz_corpus(), asked.seed, asked.only), SETTINGS[asked.only % len(SETTINGS)]))
        return 0
    findings, began, left = Findings(), time.monotonic(), asked.first
    while left < asked.inputs:
        left = watch(asked.seed, left, asked.inputs, findings)
    counts = ", ".join(f"{name} {count}" for name, count in findings.outcomes.most_common())
    print(f"{asked.inputs - asked.first} inputs, seed {asked.seed}, {time.monotonic() - began:.0f} s: {counts}")
    print(f"slowest {findings.slowest_seconds:.2f} s, most memory {findings.most_resident_bytes / 1e6:.0f} MB")
    for broken in findings.broken:
        print(broken)
    print(f"{len(findings.broken)} findings")
    return 1 if findings.broken else 0


if __name__ == "__main__":
    sys.exit(main())
