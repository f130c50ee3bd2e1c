"""A command is killed, or told to end, at every one of its requests: LATEST stays whole, and the same command goes on.

    .venv/bin/python -m tests.faults.death
    .venv/bin/python -m tests.faults.death --sample 40 --seed 7

Commands: build (a first version and a second), rollback, promote, expire, pull, point, unpoint, pin, unpin.  SIGTERM ends a
command in seconds with status 143 and one line, and leaves no scratch; what SIGKILL leaves there, the next command sweeps.  An
expiry that was killed holds its lease for an hour, which here has passed.

Prints a row for each command and signal.  Exit status 1 when anything is wrong.
"""

# ruff: noqa: T201 -- a command that prints its findings
import argparse
import json
import math
import os
import random
import re
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

from aesthetics_ops.dataset.candidates import candidate_names
from aesthetics_ops.dataset.latest import peek_latest
from aesthetics_ops.dataset.pointers import read_pins, read_pointers
from aesthetics_ops.testing.faults import Fault, SeenRequest
from aesthetics_ops.versions.listing import list_versions
from aesthetics_ops.versions.verify import verify_version
from tests.faults.bucket import DATASET, FLAGS, Bucket, Ended, open_bucket
from tests.faults.child import start_child
from tests.faults.judge import BrokenError, Content, read_latest_version
from tests.faults.tally import Tally
from tests.support.nights import PHOTOS, photo, smaller

__all__ = ["SIGNALS", "Death", "Stage", "open_stage"]

SIGNALS: Final = (signal.SIGKILL, signal.SIGTERM)
_TERMINATED: Final = 143
_TAKES_AWAY: Final = ("unpoint", "unpin")  # nothing is left to do once it is done

Names = dict[str, str]
"""What each pointer and each pin names."""


@dataclass(frozen=True, slots=True)
class Death:
    """One end of one command.

    Attributes:
        command: its name.
        state: of the bucket before.
        request: its number, at which the signal comes.
        signal: KILL or TERM.
    """

    command: str
    state: str
    request: int
    signal: signal.Signals


@dataclass
class Stage:
    """A bucket with two versions, the commands, and what each leaves when nothing disturbs it.

    Attributes:
        bucket: where all happens.
        states: the bucket's objects: first, without a version; second, with one, photos changed; third, with two; refused, with a
            candidate too; pointed, with a pointer and a pin.
        words: of each command, with the state that it starts from.
        requests: how many each sends.
        before: what readers find in each state.
        contents: what they find after each command.
        slowest: of the ends, in seconds from SIGTERM on.
    """

    bucket: Bucket
    states: dict[str, dict[str, bytes]] = field(default_factory=dict)
    words: dict[tuple[str, str], tuple[str, ...]] = field(default_factory=dict)
    requests: dict[tuple[str, str], int] = field(default_factory=dict)
    before: dict[str, tuple[Content, Names]] = field(default_factory=dict)
    contents: dict[tuple[str, str], tuple[Content, Names]] = field(default_factory=dict)
    slowest: float = 0.0

    def __post_init__(self) -> None:
        bucket = self.bucket
        bucket.fill()
        self.states["first"] = dict(bucket.server.objects)
        assert bucket.build().status == 0
        older = list_versions(bucket.clean)[0].version
        bucket.change()
        self.states["second"] = dict(bucket.server.objects)
        assert bucket.build().status == 0
        self.states["third"] = dict(bucket.server.objects)
        bucket.put(f"photos/{PHOTOS[3]}.jpg", smaller(photo(PHOTOS[13]), scale=0.3))
        assert bucket.run("build", *FLAGS, "--min-records=100").status == 1
        (candidate,) = candidate_names(bucket.clean, peek_latest(bucket.clean)[0])
        self.states["refused"] = dict(bucket.server.objects)
        self.restore_objects("third")
        assert bucket.run("point", DATASET, "prod", older, "--reason=tried").status == 0
        assert bucket.run("pin", DATASET, older, "run-7", "--reason=trained").status == 0
        self.states["pointed"] = dict(bucket.server.objects)
        self.pulled = bucket.scratch / "pulled"
        self.words = {
            ("build", "first"): ("build", *FLAGS),
            ("build", "second"): ("build", *FLAGS),
            ("rollback", "third"): ("rollback", DATASET, older),
            ("expire", "third"): ("expire", DATASET, "--keep=1", "--grace=0d", "--yes"),
            ("pull", "third"): ("pull", DATASET, str(self.pulled)),
            ("point", "third"): ("point", DATASET, "prod", older, "--reason=tried"),
            ("unpoint", "pointed"): ("unpoint", DATASET, "prod", "--reason=tried"),
            ("pin", "third"): ("pin", DATASET, older, "run-7", "--reason=trained"),
            ("unpin", "pointed"): ("unpin", DATASET, "run-7", "--reason=trained"),
            ("promote", "refused"): ("promote", DATASET, candidate, "--reason=wanted"),
        }
        for (command, state), words in self.words.items():
            self.restore(state)
            self.before[state] = self.content()
            assert bucket.run(*words).status == 0
            self.requests[command, state] = len(bucket.proxy.seen)
            self.contents[command, state] = self.content()

    def restore_objects(self, state: str) -> None:
        self.bucket.server.objects = dict(self.states[state])

    def restore(self, state: str) -> None:
        self.restore_objects(state)
        shutil.rmtree(self.pulled, ignore_errors=True)

    def content(self) -> tuple[Content, Names]:
        """Return what LATEST's version holds, and what pointers and pins name."""
        named = {name: pointer.version for name, pointer in read_pointers(self.bucket.clean).items()}
        named |= {f"pin {pin.name}": pin.version for pin in read_pins(self.bucket.clean)}
        return read_latest_version(self.bucket.objects, self.bucket.clean).content, named

    def deaths(self) -> list[Death]:
        """Return every signal at every request."""
        return [
            Death(command, state, number, signal)
            for (command, state), count in self.requests.items()
            for number in range(count)
            for signal in SIGNALS
        ]

    def play(self, death: Death) -> list[str]:
        """Let a command die, look, run it again, look; return what is wrong."""
        self.restore(death.state)
        words = self.words[death.command, death.state]
        ended = self._died(death, words)
        if ended is None:
            return [f"it does not end after {death.signal.name}"]
        return [*_wrong_end(ended, death), *self._broken(death), *self._not_healed(death, words)]

    def _died(self, death: Death, words: tuple[str, ...]) -> Ended | None:
        started, signalled = threading.Event(), list[float]()

        def choose(request: SeenRequest, number: int) -> Fault:
            if number != death.request:
                return None
            started.wait()
            os.kill(child.process.pid or 0, death.signal)
            signalled.append(time.monotonic())
            return "hang up" if death.signal == signal.SIGKILL else None

        self.bucket.proxy.reset()
        self.bucket.proxy.choose = choose
        child = start_child(self.bucket, words)
        started.set()
        ended = child.ended()
        if signalled and death.signal == signal.SIGTERM:
            self.slowest = max(self.slowest, time.monotonic() - signalled[0])
        return ended

    def _broken(self, death: Death) -> Iterator[str]:
        try:
            if self.content() not in (self.before[death.state], self.contents[death.command, death.state]):
                yield "neither the old state nor the new one"
            for info in list_versions(self.bucket.clean) if "LATEST.json" in self.bucket.objects else ():
                verify_version(self.bucket.clean, info.version)
        except Exception as error:  # whatever is wrong is a finding
            yield f"broken: {error}"

    def _not_healed(self, death: Death, words: tuple[str, ...]) -> Iterator[str]:
        if death.signal == signal.SIGKILL:
            self._end_lease()
        ended = self.bucket.run(*words)
        yield from (f"again: {fault}" for fault in ended.faults)
        is_gone = death.command in _TAKES_AWAY and re.search(r" has no (pointer|pin) ", ended.err)
        if ended.status and not is_gone:
            yield f"again: {ended.err}"
        try:
            if self.content() != self.contents[death.command, death.state]:
                yield "again: another version"
        except BrokenError as error:
            yield f"again: broken: {error}"
        if death.command == "pull" and (
            ended.status or self.bucket.run(*words).status or not (self.pulled / "manifest.json").is_file()
        ):
            yield "again: nothing is pulled"

    def _end_lease(self) -> None:
        """Let two hours pass for the lease of an expiry that was killed."""
        key = "bucket/dataset/expiry.json"
        if (data := self.bucket.server.objects.get(key)) is not None:
            lease = json.loads(data) | {"since": (datetime.now(UTC) - timedelta(hours=2)).isoformat()}
            self.bucket.server.objects[key] = json.dumps(lease).encode()


def _wrong_end(ended: Ended, death: Death) -> Iterator[str]:
    if death.signal == signal.SIGKILL:
        if ended.status != -signal.SIGKILL:
            yield f"it ends with {ended.status}, not by SIGKILL"
        return
    if ended.status != _TERMINATED:
        yield f"it ends with {ended.status}, not {_TERMINATED}: {ended.err[-300:]}"
    if ended.left:
        yield f"it leaves {ended.left}"
    if "Traceback" in ended.err or ended.err.count("aesthetics-ops: ") != 1:
        yield f"it does not say one line: {ended.err[-600:]!r}"


def open_stage(stack: ExitStack) -> Stage:
    return Stage(stack.enter_context(open_bucket()))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sample", type=int, help="so many of the deaths; by default all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--command", action="append", help="only these")
    parser.add_argument("--skip", type=int, default=0, help="leave out the first so many: a run before did them")
    parser.add_argument("--minutes", type=float, default=math.inf, help="end after so many")
    options = parser.parse_args()
    tally = Tally()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with ExitStack() as stack:
        stage = open_stage(stack)
        deaths = [death for death in stage.deaths() if not options.command or death.command in options.command]
        random.Random(options.seed).shuffle(deaths)  # noqa: S311 -- no secret
        until = time.monotonic() + 60 * options.minutes
        # whoever is tired of waiting presses Ctrl-C, and reads what was found so far
        with suppress(KeyboardInterrupt):
            for death in deaths[options.skip :][: options.sample]:
                if time.monotonic() > until:
                    break
                tally.note(death, f"{death.command:<9} {death.signal.name}", stage.play(death))
    tally.tell()
    print(f"the slowest end after SIGTERM took {stage.slowest:.1f} s")
    print(f"{tally.kinds.total()} deaths of {len(deaths)}, {tally.bad} with violations")
    return bool(tally.bad)


if __name__ == "__main__":
    sys.exit(main())
