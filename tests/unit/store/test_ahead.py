"""Eight requests that a thread sends before it reads the first answer: what becomes of each, whatever becomes of the others.

Nothing here measures time but by a bound that is many times what it should take.
"""

import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import boto3
import pytest

from aesthetics_ops.errors import StoreUnavailableError
from aesthetics_ops.store import S3Access, Store, StoreLimits, StoreThreads, give_up, open_store
from aesthetics_ops.store.interrupts import Interrupts, begun
from aesthetics_ops.store.pace import Pace, pace_of
from aesthetics_ops.store.trying import UnservedError, patiently
from aesthetics_ops.testing.fault_proxy import FaultyProxy, running_proxy
from aesthetics_ops.testing.faults import Fault, SeenRequest
from aesthetics_ops.testing.odd_s3 import OddS3, running_s3
from tests.support.certificates import self_signed
from tests.support.waiting import ending_by_itself

PLACES = range(8)
SILENCE: dict[Fault, float] = {"hang": 4, "stall in the body": 4}
"""How long is waited where something never comes.  Elsewhere it is longer: on a busy machine 64 connections take seconds to open."""


@dataclass(frozen=True)
class Way:
    """A way to a server with eight objects for each of eight threads."""

    proxy: FaultyProxy
    access: S3Access

    def opened(self, timeout_s: float, retry_s: float) -> Store:
        """A store that has found its endpoint, which takes long."""
        store = open_store("s3://bucket/", s3=self.access, limits=StoreLimits(timeout_s, retry_s))
        assert (store.asks_at_once, store.head("nope")) == (len(PLACES), None)
        return store


@cache
def session() -> boto3.Session:
    """One for all ways: each would read boto3's files anew, as long as all requests of a way take."""
    return boto3.Session("testing", "testing", region_name="us-east-1")


@contextmanager
def running_way(scheme: str, folder: Path) -> Iterator[Way]:
    folder.mkdir()
    with running_s3(OddS3()) as server, running_proxy(server.url) as proxy:
        for thread in PLACES:
            server.objects |= {f"bucket/{key}": key.encode() * 1000 for key in keys_of(thread)}
        proxy.tls = self_signed(folder) if scheme == "https" else None
        trusted = str(folder / "certificate.pem") if proxy.tls else None
        yield Way(proxy, S3Access(session(), proxy.url, trusted))


@pytest.fixture(params=["http", "https"])
def way(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Way]:
    with running_way(request.param, tmp_path / "way") as way:
        yield way
    assert Interrupts.sockets == set()


def check_side_by_side(folder: Path, requests: int, checks: Sequence[Callable[[Way], None]]) -> None:
    """Make each check on both ways, all at once: silence takes as long for all as for one.

    Each begins when the one before has asked for everything: on a busy machine 64 connections take seconds to open.
    """
    with ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(2 * len(checks)))
        begun_: list[Future[None]] = []
        for check, scheme in itertools.product(checks, ("http", "https")):
            way = stack.enter_context(running_way(scheme, folder / f"{len(begun_)}"))
            begun_.append(pool.submit(check, way))
            while len(way.proxy.seen) < requests and not begun_[-1].done():
                time.sleep(0.01)
        for each in begun_:
            each.result()
    assert Interrupts.sockets == set()


def keys_of(thread: int) -> list[str]:
    return [f"{thread}-{place}" for place in PLACES]


def strike(proxy: FaultyProxy, keys: set[str], fault: Fault, *, always: bool = False) -> None:
    """Have a fault happen to each of these keys, once or always."""
    left, lock = set(keys), threading.Lock()

    def choose(request: SeenRequest, _: int) -> Fault:
        key = request.path.rpartition("/")[2]
        with lock:
            if key not in left:
                return None
            if not always:
                left.remove(key)
            return fault

    proxy.choose = choose


def asked(proxy: FaultyProxy) -> Counter[str]:
    """How often each key was asked for."""
    return Counter(request.path.rpartition("/")[2] for request in proxy.seen)


def read(way: Way, threads: Sequence[int], fault: Fault) -> None:
    """Have threads read their eight objects each, all threads at once, and make sure that each gets its own."""
    store = way.opened(timeout_s=SILENCE.get(fault, 60), retry_s=60)
    way.proxy.reset()

    def read_all(thread: int) -> list[bytes]:
        return [bytes(reading().data) for reading in store.readings(keys_of(thread))]

    with StoreThreads(len(PLACES)) as pool:
        found = list(pool.map(read_all, threads))
    assert found == [[key.encode() * 1000 for key in keys_of(thread)] for thread in threads]


def check_what_is_asked_for_again(way: Way, fault: Fault, behind: int) -> None:
    """In each of eight threads it is another place, with so many behind it."""
    struck = {keys_of(first)[place] for first in PLACES for place in PLACES[first : first + 1 + behind]}
    strike(way.proxy, struck, fault)
    read(way, PLACES, fault)
    again = asked(way.proxy) - Counter(key for thread in PLACES for key in keys_of(thread))
    assert set(again.values()) == {1}
    assert set(again) >= struck
    late = set(again) - struck  # on a busy machine an answer may be silent as long as what never comes
    assert not late or (fault in SILENCE and len(late) <= 4)
    assert pace_of(way.proxy.url)._in_flight == 0


@pytest.mark.parametrize(("fault", "behind"), [("cut the body", 0), ("cut the body", 7), ("lose the reply", 7)])
def test_at_each_place_what_fails_is_asked_for_again_and_nothing_else_is(way: Way, fault: Fault, behind: int) -> None:
    check_what_is_asked_for_again(way, fault, behind)


def test_at_each_place_what_is_silent_is_asked_for_again_and_nothing_else_is(tmp_path: Path) -> None:
    kinds: tuple[tuple[Fault, int], ...] = (("hang", 0), ("hang", 1), ("stall in the body", 1))
    checks = [partial(check_what_is_asked_for_again, fault=fault, behind=behind) for fault, behind in kinds]
    check_side_by_side(tmp_path, 64, checks)


def test_silence_of_all_eight_is_waited_for_once(tmp_path: Path) -> None:
    """Waited for one after the other, it would take eight times four seconds, and longer than the bound."""

    def check(way: Way, fault: Fault) -> None:
        strike(way.proxy, set(keys_of(0)), fault)
        with ending_by_itself(25):
            read(way, [0], fault)
        assert set(asked(way.proxy).values()) == {2}

    check_side_by_side(tmp_path, 8, [partial(check, fault=fault) for fault in SILENCE])


def check_what_is_told(way: Way, fault: Fault) -> None:
    """In each of eight threads it is another place."""
    strike(way.proxy, {keys_of(thread)[thread] for thread in PLACES}, fault, always=True)
    store = way.opened(timeout_s=5, retry_s=0.5)
    way.proxy.reset()

    def tell(thread: int) -> tuple[str, list[bytes]]:
        readings = list(store.readings(keys_of(thread)))
        with pytest.raises(StoreUnavailableError) as caught:
            readings.pop(thread)()
        return str(caught.value), [bytes(reading().data) for reading in readings]

    with StoreThreads(len(PLACES)) as pool:
        told = list(pool.map(tell, PLACES))
    for thread, (said, found) in enumerate(told):
        assert "\n" not in said
        assert f"'s3://bucket/{thread}-{thread}'" in said
        assert "(store_retry_s is 0.5, store_timeout_s is 5); check the endpoint" in said
        assert found == [key.encode() * 1000 for key in keys_of(thread) if key != f"{thread}-{thread}"]
    assert pace_of(way.proxy.url)._in_flight == 0


@pytest.mark.parametrize("fault", ["cut the body", "lose the reply"])
def test_at_each_place_what_never_comes_is_told_in_one_line_and_the_others_come(way: Way, fault: Fault) -> None:
    check_what_is_told(way, fault)


def test_at_each_place_what_is_silent_is_told_in_one_line_and_the_others_come(tmp_path: Path) -> None:
    check_side_by_side(tmp_path, 64, [partial(check_what_is_told, fault=fault) for fault in SILENCE])


def test_without_retries_a_request_that_was_sent_ahead_was_sent_once(way: Way) -> None:
    strike(way.proxy, {"0-5"}, "lose the reply")
    readings = way.opened(timeout_s=20, retry_s=0).readings(keys_of(0))
    time.sleep(0.3)  # longer than the pause before a second attempt
    with pytest.raises(StoreUnavailableError, match=r"'s3://bucket/0-5'; tried once in"):
        readings[5]()
    assert [bytes(readings[place]().data[:3]) for place in (4, 6)] == [b"0-4", b"0-6"]
    assert set(asked(way.proxy).values()) == {1}


class TestFirstAttempts:
    """An attempt that was made before the loop begins counts as if it had been made there."""

    def tried(self, limits: StoreLimits, pace: Pace, *, since_s: float, took_s: float, pause_s: float = 0.0) -> str:
        """Return what comes of a first attempt of so long ago; a second one is served."""

        def first() -> str:
            error = UnservedError("the store did not serve it", pause_s=pause_s)
            error.came_s -= since_s
            error.took_s = took_s
            raise error

        with ending_by_itself():
            return patiently(lambda: "served", pace=pace, limits=limits, first=first)

    def test_the_pause_that_the_store_asked_for_begins_with_its_answer(self) -> None:
        assert self.tried(StoreLimits(20, 5), Pace("p"), since_s=15, took_s=0, pause_s=10) == "served"
        with pytest.raises(StoreUnavailableError, match="tried once in 0 s"):
            self.tried(StoreLimits(20, 5), Pace("p"), since_s=0, took_s=0, pause_s=10)

    def test_the_time_that_it_took_counts_and_what_others_took_since_does_not(self) -> None:
        assert self.tried(StoreLimits(20, 60), Pace("p"), since_s=500, took_s=20) == "served"
        with pytest.raises(StoreUnavailableError, match="tried once in 70 s"):
            self.tried(StoreLimits(20, 60), Pace("p"), since_s=0, took_s=70)

    def test_without_retries_none_follows_however_long_ago_it_was(self) -> None:
        with pytest.raises(StoreUnavailableError, match="tried once in 0 s"):
            self.tried(StoreLimits(20, 0), Pace("p"), since_s=500, took_s=0)

    def test_an_interruption_is_told_with_what_the_attempt_met(self) -> None:
        attempt = begun(lambda: self.tried(StoreLimits(20, 60), Pace("p"), since_s=0, took_s=0))
        give_up()
        with pytest.raises(StoreUnavailableError, match="the store did not serve it; interrupted"):
            attempt()
