"""What flows through a conversion is counted, and told in one line."""

import resource
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from aesthetics_ops.conversion.flow import Flow, most_requests
from aesthetics_ops.conversion.reads import Reads
from aesthetics_ops.conversion.steering import LEAST_REQUESTS, Limit
from tests.support.clock import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


def read_for(flow: Flow, clock: Clock, rounds: int, latency: float) -> None:
    """Let as many requests be answered, twice in each round, as may be in flight."""
    for _ in range(rounds):
        requests = flow.requests
        flow.sent(requests)
        clock.now += 0.1
        with flow.converting(2 * requests):
            clock.now += 0.002 * requests
        clock.now += 0.5 - 0.002 * requests
        flow.read([latency] * 2 * requests, 10 * requests)


def test_figures_tell_what_happened(clock: Clock) -> None:
    flow = Flow(2, clock=clock)
    clock.now += 50  # what comes before the first photo does not count
    flow.start()
    flow.sent(3)
    clock.now += 1
    with flow.converting(4):
        clock.now += 2
    clock.now += 1
    flow.read([0.01] * 18 + [0.1, 5.0], 2000)
    found = flow.figures()
    assert (found.seconds, found.fetched, found.bytes, found.photos) == (4.0, 20, 2000, 4)
    assert (found.codec_share, found.waiting_s, found.requests) == (0.25, 6.0, 3)
    assert found.get_p50_s == pytest.approx(0.01, rel=0.05)
    assert found.get_p95_s == pytest.approx(0.1, rel=0.05)


def test_a_flow_without_photos_has_figures() -> None:
    found = Flow(2).figures()
    assert (found.seconds, found.photos, found.codec_share, found.get_p50_s) == (0, 0, 0, 0)


def test_a_group_is_shared_out_among_more_threads_the_more_requests_there_are(clock: Clock) -> None:
    flow = Flow(2, clock=clock)
    assert (flow.parts(16), flow.parts(2)) == (4, 2), "the way is not known yet"
    flow.start()
    read_for(flow, clock, 8, latency=0.05)
    assert flow.requests > LEAST_REQUESTS
    assert flow.parts(16) == -(-flow.requests // LEAST_REQUESTS)
    assert flow.figures().requests == flow.requests
    assert flow.figures().limit == Limit.NETWORK


def test_a_group_stays_with_one_thread_where_the_store_is_near(clock: Clock) -> None:
    flow = Flow(2, clock=clock)
    flow.start()
    read_for(flow, clock, 8, latency=0.001)
    assert (flow.requests, flow.parts(16)) == (LEAST_REQUESTS, 1)


def test_a_thread_that_asks_for_several_at_once_has_as_many_of_a_group_however_far_the_store_is(clock: Clock) -> None:
    flow = Flow(2, clock=clock)
    assert [flow.parts(photos, 8) for photos in (0, 1, 8, 9, 16)] == [1, 1, 1, 2, 2]
    flow.start()
    read_for(flow, clock, 8, latency=0.05)
    assert flow.requests > LEAST_REQUESTS
    assert flow.parts(16, 8) == 2


def test_nothing_is_known_of_the_way_from_photos_that_are_copied(clock: Clock) -> None:
    flow = Flow(2, clock=clock)
    flow.start()
    for _ in range(8):
        flow.sent(LEAST_REQUESTS)
        clock.now += 1.0
        flow.read([], 0, copied=400)
    assert (flow.requests, flow.figures().fetched) == (LEAST_REQUESTS, 0)


def test_connections_are_bounded_for_each_codec_thread_and_by_the_files_that_may_be_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (1 << 20, 1 << 20))
    assert [most_requests(threads) for threads in (1, 2, 4, 64)] == [64, 128, 256, 256]
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (200, 1 << 20))
    assert [most_requests(threads) for threads in (1, 64)] == [50, 50]
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (10, 10))
    assert most_requests(1) == LEAST_REQUESTS


@pytest.mark.parametrize(
    ("local_photos", "local_records", "copied", "limit"),
    [
        (False, False, 0, Limit.NETWORK), (False, True, 0, Limit.NETWORK), (True, False, 0, Limit.READING), (True, True, 0, Limit.READING),
        (False, False, 40, Limit.NETWORK), (False, True, 40, Limit.READING), (True, False, 40, Limit.NETWORK), (True, True, 40, Limit.READING),
    ],
)  # fmt: skip
def test_photos_that_come_too_slowly_are_the_network_s_only_where_most_of_them_came_over_one(
    clock: Clock, local_photos: bool, local_records: bool, copied: int, limit: Limit
) -> None:
    flow = Flow(2, local_photos=local_photos, local_records=local_records, clock=clock)
    flow.start()
    for _ in range(4):
        flow.sent(4)
        clock.now += 1
        flow.read([0.05] * 32, 1, copied=copied)
    assert flow.figures().limit == limit


@pytest.mark.parametrize("lasts", [0.3, 1.0, 1.5, 2.9, 7.0])
def test_codec_threads_that_always_work_are_the_limit_however_long_a_group_takes(clock: Clock, lasts: float) -> None:
    """One thread has short groups, the other one long ones: most rounds see the end of none of these."""
    flow, took = Flow(2, clock=clock), (0.1, lasts)
    flow.start()
    ends, working = [clock.now + each for each in took], [flow.converting(16), flow.converting(16)]
    with ThreadPoolExecutor(1) as first, ThreadPoolExecutor(1) as second:
        threads = (first, second)
        for thread, work in zip(threads, working, strict=True):
            thread.submit(work.__enter__).result()
        for _ in range(200):
            which = ends.index(min(ends))
            clock.now = ends[which]
            threads[which].submit(working[which].__exit__, None, None, None).result()
            flow.read([0.001] * 16, 1)
            working[which] = flow.converting(16)
            threads[which].submit(working[which].__enter__).result()
            ends[which] += took[which]
    assert flow.figures().limit == Limit.CODEC


class Fixed(Flow):
    """A flow whose number is set."""

    number = 2

    @property
    def requests(self) -> int:
        return self.number


class TestReads:
    """Threads read as many at once as the flow says."""

    def test_work_is_done_once_by_as_many_threads_as_may_work(self) -> None:
        flow = Fixed(1)
        reads = Reads(flow)
        done: list[int] = []
        for number in range(100):
            reads.submit(lambda number=number: done.append(number))  # type: ignore[misc]
        flow.number = 8
        together = threading.Barrier(8)

        def meet() -> None:
            together.wait(30)

        for _ in range(8):
            reads.submit(meet)
        all_done = threading.Event()
        reads.submit(all_done.set)
        assert all_done.wait(30)
        reads.end()
        assert sorted(done) == list(range(100))
        assert not together.broken
        assert flow.figures().requests == 8

    def test_pieces_with_several_requests_are_begun_while_these_may_be_in_flight(self) -> None:
        flow = Fixed(1)
        flow.number = 16
        reads = Reads(flow)
        together, done = threading.Barrier(2), list[int]()
        lock, most = threading.Lock(), [0, 0]

        def work() -> None:
            with lock:
                most[0] += 1
                most[1] = max(most)
            together.wait(30)  # two are there at once
            with lock:
                most[0] -= 1
                done.append(1)

        for _ in range(10):
            reads.submit(work, 8)
        all_done = threading.Event()
        reads.submit(all_done.set, 40)  # more than there may be: alone, and all the same
        assert all_done.wait(30)
        reads.end()
        assert (len(done), most[1]) == (10, 2)
        assert flow.figures().requests == 40

    def test_what_waits_at_the_end_is_not_begun(self) -> None:
        reads = Reads(Fixed(1))
        begun, may_end = threading.Event(), threading.Event()
        done: list[int] = []

        def held() -> None:
            begun.set()
            may_end.wait(30)

        for _ in range(2):
            reads.submit(held)
        reads.submit(lambda: done.append(1))
        assert begun.wait(30)
        threading.Timer(0.1, may_end.set).start()
        reads.end()
        assert done == []
