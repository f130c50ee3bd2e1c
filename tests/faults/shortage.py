"""A build gets too little disk, too few file handles or too little memory: it says so in one line, and the next one goes on.

    .venv/bin/python -m tests.faults.shortage

Each resource is given from nearly nothing up to enough, so a build fails at one place after another.  The disk is a small file
system that holds TMPDIR (which root alone can mount), or a limit on the size of a file.  Exit status 1 when anything is wrong.
"""

# ruff: noqa: T201 -- a command that prints its findings
import argparse
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.faults.bucket import FLAGS, Ended
from tests.faults.child import Limits, start_child
from tests.faults.sweep import STATES, Scene, open_scene
from tests.faults.tally import Tally

__all__ = ["Shortage", "play", "shortages"]

_AMOUNTS: Final = {
    "disk": tuple(4096 * pages for pages in (1, 2, 3, 4, 5, 6, 8, 10, 12, 14, 16, 20, 24, 32, 48, 64)),
    "file": tuple(512 * number for number in (1, 2, 4, 8, 12, 16, 20, 24, 32, 40, 48, 64, 96, 128)),
    "handles": tuple(range(1, 48, 2)),
    "memory": tuple(number << 20 for number in (4, 8, 16, 24, 32, 48, 64, 80, 96, 128, 160, 192, 256, 320, 384, 512, 768, 1024)),
}  # fmt: skip


# Native code that gets no memory ends the process by itself: SIGABRT, SIGSEGV, or the C library's status.  Then what holds of SIGKILL holds.
_ABORTED: Final = (-signal.SIGABRT, -signal.SIGSEGV, 127)


@dataclass(frozen=True, slots=True)
class Shortage:
    """How much of one resource a build gets.

    Attributes:
        resource: disk, file, handles or memory.
        amount: bytes, or handles.
        state: of the bucket before.
    """

    resource: str
    amount: int
    state: str


def shortages() -> list[Shortage]:
    return [
        Shortage(resource, amount, state)
        for resource, amounts in _AMOUNTS.items()
        for amount in amounts
        for state in STATES
    ]


def play(scene: Scene, shortage: Shortage) -> tuple[str, list[str]]:
    """Build with too little, look, build with enough, look; return how it ended, and what is wrong."""
    scene.restore(shortage.state)
    scene.bucket.proxy.reset()
    scene.bucket.proxy.choose = lambda request, number: None
    with _limits(scene, shortage) as limits:
        ended = start_child(scene.bucket, ("build", *FLAGS), limits).ended()
        if ended is None:
            return "no end", ["it does not end"]
        wrong = [] if ended.status in _ABORTED else list(ended.faults)
    try:
        scene.found()
    except Exception as error:  # whatever is wrong is a finding
        wrong.append(f"LATEST is broken: {error}")
    wrong += scene.healed(shortage.state)
    return f"status {ended.status}", [*wrong, *([_said(ended)] if wrong else [])]


def _said(ended: Ended) -> str:
    return f"it said {ended.err[-1500:]!r}"


@contextmanager
def _limits(scene: Scene, shortage: Shortage) -> Iterator[Limits]:
    amount = shortage.amount
    match shortage.resource:
        case "disk":
            with small_disk(scene.bucket.scratch, amount) as place:
                yield Limits(environ={"TMPDIR": str(place)})
        case "file":
            yield Limits(file_bytes=amount)
        case "handles":
            yield Limits(handles=amount)
        case _:
            yield Limits(bytes=amount)


@contextmanager
def small_disk(parent: Path, size_bytes: int) -> Iterator[Path]:
    """Mount a file system of this size.

    Raises:
        PermissionError: this process may not mount any.
    """
    place = parent / "small"
    place.mkdir(exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "none", str(place)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode:
        raise PermissionError(f"no file system can be mounted: {done.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sample", type=int, help="so many; by default all")
    parser.add_argument("--resource", action="append", choices=_AMOUNTS, help="only these")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    tally = Tally()
    with ExitStack() as stack:
        scene = open_scene(stack)
        every = [one for one in shortages() if not options.resource or one.resource in options.resource]
        random.Random(options.seed).shuffle(every)  # noqa: S311 -- no secret
        for shortage in every[: options.sample]:
            ending, wrong = play(scene, shortage)
            tally.note(shortage, f"{shortage.resource:<8} {ending}", wrong)
    tally.tell()
    print(f"{tally.kinds.total()} builds with too little of something, {tally.bad} with violations")
    return bool(tally.bad)


if __name__ == "__main__":
    sys.exit(main())
