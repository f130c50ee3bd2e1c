"""Every fault at every request of a build, one build each: LATEST stays whole, and a build without faults heals it all.

    .venv/bin/python -m tests.faults.sweep                  # all of them
    .venv/bin/python -m tests.faults.sweep --minutes 30     # so many of them as half an hour allows, one of each kind first
    .venv/bin/python -m tests.faults.sweep --skip 772       # goes on where that ended after 772
    .venv/bin/python -m tests.faults.sweep --sample 40 --seed 7

A first version is built, and a second one upon it after the photos changed.  A request is named by its method, its path
without what differs from build to build, and how many of the same came before; so it is the same one in every build.
Prints a row for each fault with what became of its builds, then every violation.  Exit status 1 when there is any.
"""

# ruff: noqa: T201 -- a command that prints its findings
import argparse
import math
import random
import re
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.util import Finalize
from typing import Final, Literal

from aesthetics_ops.testing.faults import FAULTS, Fault, SeenRequest, applies
from tests.faults.bucket import Bucket, open_bucket
from tests.faults.judge import BrokenError, Content, Found, read_latest_version

__all__ = [
    "Case",
    "Outcome",
    "RandomFaults",
    "Scene",
    "cases",
    "drawn",
    "kind_of",
    "open_scene",
    "play",
    "run_cases",
    "schedules",
    "table",
]

STATES: Final = ("first", "second")
SHARES: Final = (0.02, 0.05, 0.1, 0.2)  # of the requests that fail, where faults come at random
_TELL_EACH: Final = 250  # builds
NOT_AT_RANDOM: Final = ("hang", "stall in the body")  # they take long
_DIFFERS: Final = (
    (re.compile(r"builds/[^/]+/"), "builds/B/"),
    (re.compile(r"probe-\w+"), "probe-P"),
    (re.compile(r"versions/[^/]+/"), "versions/V/"),
    (re.compile(r"published/[^/]+\.json"), "published/V.json"),
    (re.compile(r"candidates/[^/]+\.json"), "candidates/V.json"),
    (re.compile(r"log/[^/]+\.json"), "log/M.json"),
)


@dataclass(frozen=True, slots=True)
class Case:
    """One fault at one request of one build.

    Attributes:
        state: of the bucket before the build: first, or second.
        request: method and path without what differs.
        number: how many of the same came before.
        fault: what goes wrong.
    """

    state: str
    request: str
    number: int
    fault: Fault | Literal["at random"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a build.

    Attributes:
        ending: in words; one of a few.
        hidden: photos that the fault kept out of the version.
        violations: what may not happen; each in words.
        requests: that came by, the rerun's too.
        said: the last line on stderr.
    """

    ending: str
    hidden: int
    violations: tuple[str, ...]
    requests: int
    said: str


def name_of(request: SeenRequest) -> str:
    """Return a request's name, the same in every build."""
    path = request.path
    for differs, same in _DIFFERS:
        path = differs.sub(same, path)
    return f"{request.method} {path}"


def at(case: Case) -> Callable[[SeenRequest, int], Fault]:
    """Return the schedule in which one request fails."""
    lock, seen = threading.Lock(), [0]

    def choose(request: SeenRequest, number: int) -> Fault:
        if name_of(request) != case.request:
            return None
        with lock:
            seen[0] += 1
            return case.fault if seen[0] == case.number + 1 and case.fault != "at random" else None

    return choose


@dataclass(frozen=True, slots=True)
class RandomFaults:
    """A schedule in which a share of all requests fails.

    Attributes:
        seed: equal seeds give the n-th request the same fault.
        share: of the requests, 0 to 1.
        faults: one of these, where it applies.
    """

    seed: str
    share: float
    faults: tuple[Fault, ...] = tuple(fault for fault in FAULTS if fault not in NOT_AT_RANDOM)

    def __call__(self, request: SeenRequest, number: int) -> Fault:
        rng = random.Random(f"{self.seed}/{number}")  # noqa: S311 -- no secret
        if rng.random() >= self.share:
            return None
        return rng.choice([fault for fault in self.faults if applies(fault, request)])


@dataclass
class Scene:
    """A bucket in either of its states, and what builds from nothing make of them.

    Attributes:
        bucket: where all happens.
        states: the bucket's objects before the build.
        before: what LATEST names in each state.
        expected: what a build from nothing makes of each.
        shards: what a build without faults leaves below shards/.
        requests: those of a build without faults, in order.
    """

    bucket: Bucket
    states: dict[str, dict[str, bytes]] = field(default_factory=dict)
    before: dict[str, Found] = field(default_factory=dict)
    expected: dict[str, Found] = field(default_factory=dict)
    shards: dict[str, dict[str, bytes]] = field(default_factory=dict)
    requests: dict[str, list[SeenRequest]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.bucket.fill()
        self._learn("first")
        self.bucket.proxy.lists = dict(self.bucket.proxy.listed)
        self.bucket.change()
        self._learn("second")

    def restore(self, state: str) -> None:
        self.bucket.server.objects = dict(self.states[state])
        self.bucket.elsewhere.reset()

    def found(self) -> Found:
        return read_latest_version(self.bucket.objects, self.bucket.clean)

    def play(self, state: str, choose: Callable[[SeenRequest, int], Fault]) -> Outcome:
        """Build with faults, look, build without, look."""
        self.restore(state)
        bucket, violations = self.bucket, []
        ended = bucket.build(choose)
        requests = len(bucket.proxy.seen)
        violations += ended.faults
        ending, hidden = "not met", 0
        if bucket.elsewhere.seen:
            violations.append(f"a redirect was followed with {sorted(bucket.elsewhere.seen[0].headers)}")
        was_struck = bool(bucket.proxy.struck)
        # an old listing names photos as they were: what LATEST holds of them may stay until the next build
        is_old = any(fault == "list as before" for _, fault in bucket.proxy.struck)
        try:
            found = self.found()
            if found.version == self.before[state].version:
                ending = f"stopped, status {ended.status}" if ended.status else "nothing changed"
            else:
                ending = "published" if ended.status == 0 else "published, though the status says no"
                hidden, false = compared(
                    found.content, self.expected[state].content, self.before[state].content if is_old else {}
                )
                violations += false
                ending += " without some photos" if hidden else ""
        except BrokenError as error:
            ending = "broken"
            violations.append(f"LATEST is broken: {error}")
        if not self._is_as_without_faults(state):
            violations += self.healed(state)
            requests += len(bucket.proxy.seen)
        said = ended.err.splitlines()[-1] if ended.err else ""
        return Outcome(ending if was_struck else "not met", hidden, tuple(violations), requests, said)

    def _is_as_without_faults(self, state: str) -> bool:
        """Say whether the bucket holds what a build without faults leaves: then there is nothing to heal."""
        try:
            found = self.found()
        except BrokenError:
            return False
        expected = self.expected[state]
        shards = {key: data for key, data in self.bucket.objects.items() if key.startswith("shards/")}
        return (found.content, found.rejects, shards) == (expected.content, expected.rejects, self.shards[state])

    def healed(self, state: str) -> Iterator[str]:
        """Build without faults, and say in what way that is not what a build from nothing makes."""
        ended = self.bucket.build()
        yield from (f"the rerun: {fault}" for fault in ended.faults)
        if ended.status:
            yield f"the rerun ends with {ended.status}: {ended.err}"
        try:
            found = self.found()
        except BrokenError as error:
            yield f"a rerun does not heal: {error}"
            return
        if found.content != self.expected[state].content or found.rejects != self.expected[state].rejects:
            yield f"a rerun makes another version: {len(found.content)} records, rejects {found.rejects}"

    def _learn(self, state: str) -> None:
        bucket = self.bucket
        self.states[state] = dict(bucket.server.objects)
        self.before[state] = self.found()
        bucket.server.objects = {name: data for name, data in self.states[state].items() if "/dataset/" not in name}
        assert bucket.build().status == 0
        self.expected[state] = self.found()
        self.restore(state)
        ended = bucket.build()
        assert (ended.status, ended.faults) == (0, []), ended
        self.requests[state] = list(bucket.proxy.seen)
        assert self.found().content == self.expected[state].content
        self.shards[state] = {key: data for key, data in bucket.objects.items() if key.startswith("shards/")}


def compared(content: Content, expected: Content, before: Content) -> tuple[int, list[str]]:
    """Return how many records are missing, and which are false: neither what is expected of them nor what they were before."""
    false = [
        f"record {name!r} is false"
        for name, record in content.items()
        if record not in (expected.get(name), before.get(name))
    ]
    return len(expected.keys() - content.keys()), false


def open_scene(stack: ExitStack) -> Scene:
    return Scene(stack.enter_context(open_bucket()))


def cases(scene: Scene, faults: Iterable[Fault] = FAULTS) -> list[Case]:
    """Return every fault at every request, in an order that does not hang on which of two threads asked first."""
    found: list[Case] = []
    for state in STATES:
        before: Counter[str] = Counter()
        for request in scene.requests[state]:
            name = name_of(request)
            found += [Case(state, name, before[name], fault) for fault in faults if applies(fault, request)]
            before[name] += 1
    return sorted(found, key=lambda case: (case.state, case.request, case.number, str(case.fault)))


def kind_of(case: Case) -> tuple[object, ...]:
    """Return what a case has in common with those that differ in the shard's or photo's name alone."""
    number = case.number if "probe" in case.request else 0
    return case.state, re.sub(r"shards/\w\w/\w+|photos/\w+", "", case.request), number, case.fault


def drawn(every: Sequence[Case], seed: int) -> list[Case]:
    """Return the cases in an order by chance, one of each kind first: whatever comes early is a fair sample."""
    every = random.Random(seed).sample(every, len(every))  # noqa: S311 -- no secret
    first = {kind_of(case): case for case in reversed(every)}
    is_first = set(first.values())
    return sorted(every, key=lambda case: case not in is_first)


_stack, _scene = ExitStack(), list[Scene]()


def _start() -> None:
    _scene.append(open_scene(_stack))  # until the process ends
    Finalize(None, _stack.close, exitpriority=1)  # atexit comes too late: the servers' threads are waited for before


def _list_cases() -> list[Case]:
    return cases(_scene[0])


def _run(case: Case) -> tuple[Case, Outcome]:
    return case, play(_scene[0], case)


def play(scene: Scene, case: Case) -> Outcome:
    """Run a case; one that names no request has faults at random, by its number."""
    if case.request:
        return scene.play(case.state, at(case))
    share = SHARES[case.number % len(SHARES)]
    return scene.play(case.state, RandomFaults(f"{case.number}", share))


def schedules(count: int, seed: int) -> list[Case]:
    """Return cases with faults at random, of both states in turn."""
    return [Case(STATES[n % 2], "", 1_000_000 * seed + n, "at random") for n in range(count)]


def run_cases(
    choose: Callable[[list[Case]], Sequence[Case]], processes: int
) -> Generator[tuple[Case, Outcome], None, None]:
    """Run the chosen ones of all cases, in processes that each have a bucket of their own."""
    with ProcessPoolExecutor(processes, get_context("spawn"), _start) as pool:
        yield from pool.map(_run, choose(pool.submit(_list_cases).result()))


def table(outcomes: Iterable[tuple[Case, Outcome]]) -> str:
    """Return a row for each fault."""
    rows: dict[str, Counter[str]] = {}
    hidden: Counter[str] = Counter()
    for case, outcome in outcomes:
        rows.setdefault(str(case.fault), Counter())[outcome.ending] += 1
        hidden[str(case.fault)] += outcome.hidden
    lines = []
    for fault, endings in rows.items():
        shown = ", ".join(f"{count} {ending}" for ending, count in endings.most_common())
        photos = f"; {hidden[fault]} photos hidden" if hidden[fault] else ""
        lines.append(f"{fault:<30} {sum(endings.values()):>5} builds: {shown}{photos}")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sample", type=int, help="so many of the cases; by default all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--fault", action="append", help="only these")
    parser.add_argument("--without", action="append", help="not those that begin so")
    parser.add_argument("--schedules", type=int, default=0, help="instead, so many builds with faults at random")
    parser.add_argument(
        "--once", action="store_true", help="one case of each kind: requests for shards or photos are one kind"
    )
    parser.add_argument("--skip", type=int, default=0, help="leave out the first so many: a run before did them")
    parser.add_argument("--minutes", type=float, default=math.inf, help="end after so many")
    options = parser.parse_args()

    def chosen(every: list[Case]) -> list[Case]:
        if options.schedules:
            return schedules(options.schedules, options.seed)[options.skip :][: options.sample]
        if options.fault:
            every = [case for case in every if str(case.fault) in options.fault]
        if options.without:
            every = [case for case in every if not str(case.fault).startswith(tuple(options.without))]
        every = drawn(every, options.seed)
        if options.once:
            every = every[: len({kind_of(case) for case in every})]
        return every[options.skip :][: options.sample]

    done, requests = [], 0
    until = time.monotonic() + 60 * options.minutes
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # whoever is tired of waiting presses Ctrl-C, and reads what was found so far
    with suppress(KeyboardInterrupt), closing(run_cases(chosen, options.processes)) as outcomes:
        for case, outcome in outcomes:
            done.append((case, outcome))
            requests += outcome.requests
            if outcome.violations:
                print(f"{case}: {outcome.ending}; {'; '.join(outcome.violations)}; it said: {outcome.said}", flush=True)
            if len(done) % _TELL_EACH == 0:
                print(f"after {len(done)} builds", flush=True)
            if time.monotonic() > until:
                break
    bad = sum(bool(outcome.violations) for _, outcome in done)
    print(table(done))
    kinds = len({kind_of(case) for case, _ in done})
    print(
        f"{len(done)} builds with faults, of {kinds} kinds, {requests} requests with those of the reruns: {bad} with violations"
    )
    return bool(bad)


if __name__ == "__main__":
    sys.exit(main())
