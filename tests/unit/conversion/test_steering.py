"""The number of requests follows the distance to the store, and what limits a conversion is named."""

from dataclasses import dataclass

import pytest

from aesthetics_ops.conversion.steering import LEAST_REQUESTS, Limit, Round, Steering

MOST = 128


@dataclass
class Way:
    """A store at some distance, and codec threads of some speed: what a round with so many requests brings.

    Attributes:
        latency: seconds of each request.
        bandwidth: photos a second that the network carries at most.
        codec: seconds that a codec thread takes for a photo.
        allowed: requests that the store serves at once.
        held: photos that may be held in memory.
        threads: that convert.
    """

    latency: float
    bandwidth: float = 1e6
    codec: float = 0.001
    allowed: int | None = None
    held: int = 10_000
    threads: int = 2

    def round(self, requests: int, seconds: float = 0.25) -> Round:
        reached = min(requests, self.held)
        capacity = self.threads / self.codec
        rate = min(capacity, self.bandwidth, min(reached, self.allowed or reached) / self.latency)
        return Round(
            seconds=seconds,
            read=int(rate * seconds),
            get_seconds=max(self.latency, reached / rate if rate < capacity else self.latency),
            converted=int(rate * seconds),
            codec_seconds=rate * seconds * self.codec,
            busy_seconds=rate * seconds * self.codec,
            reached=reached,
            is_full=reached < requests,
            allowed=self.allowed,
        )


def steered(way: Way, rounds: int = 40, steering: Steering | None = None) -> tuple[Steering, list[int]]:
    """Let rounds pass; return the steering and its number after each."""
    steering = steering or Steering(threads=way.threads, cores=64, most=MOST)
    numbers = []
    for _ in range(rounds):
        steering.learn(way.round(steering.requests))
        numbers.append(steering.requests)
    return steering, numbers


@pytest.mark.parametrize("latency", [0.0005, 0.002, 0.005])
def test_a_store_nearby_gets_no_more_requests_than_ever(latency: float) -> None:
    steering, numbers = steered(Way(latency))
    assert set(numbers) == {LEAST_REQUESTS}
    assert (steering.limit, steering.is_near) == (Limit.CODEC, True)


@pytest.mark.parametrize("latency", [0.02, 0.03, 0.05])
def test_a_store_far_away_gets_as_many_as_feed_the_codec_within_few_rounds(latency: float) -> None:
    way = Way(latency)
    steering, numbers = steered(way)
    assert steering.limit is Limit.CODEC
    assert numbers[-1] / latency >= 2 / way.codec, "too few"
    assert numbers[-1] <= 2 * 1.5 * latency * 2 / way.codec, "more than twice what is of use"
    assert numbers[4] == numbers[-1]


def test_a_slow_codec_needs_no_more_however_far_the_store() -> None:
    _, numbers = steered(Way(0.05, codec=0.02))
    assert numbers[-1] == LEAST_REQUESTS


def test_no_more_than_the_most_are_sent_and_latency_is_named() -> None:
    steering, numbers = steered(Way(0.2))
    assert max(numbers) == numbers[-1] == MOST
    assert steering.limit is Limit.NETWORK


def test_a_raise_that_brings_nothing_is_taken_back_and_seldom_tried_again() -> None:
    steering, numbers = steered(Way(0.05, bandwidth=250), rounds=200)
    assert steering.limit is Limit.NETWORK
    assert numbers[0] > LEAST_REQUESTS
    assert sum(number == LEAST_REQUESTS for number in numbers) > 190


def test_a_store_that_asks_for_less_gets_less_and_more_again_afterwards() -> None:
    way = Way(0.05)
    steering, _ = steered(way)
    before = steering.requests
    way.allowed = 8
    _, numbers = steered(way, rounds=2, steering=steering)
    assert (numbers[-1], steering.limit) == (LEAST_REQUESTS, Limit.STORE)
    way.allowed = None
    _, numbers = steered(way, steering=steering)
    assert numbers[-1] == before


def test_bytes_that_may_be_held_are_named_and_not_worked_against() -> None:
    steering, numbers = steered(Way(0.05, held=12))
    assert (numbers[-1], steering.limit) == (LEAST_REQUESTS, Limit.BYTES)


def test_a_disk_that_is_slow_is_not_taken_for_the_network() -> None:
    steering = Steering(threads=2, cores=2, most=MOST)
    slow = Round(
        seconds=1,
        read=100,
        get_seconds=0.05,
        converted=100,
        codec_seconds=0.1,
        busy_seconds=0.1,
        writing_seconds=0.9,
        reached=16,
    )
    steering.learn(slow)
    assert (steering.requests, steering.limit) == (LEAST_REQUESTS, Limit.WRITING)


def test_cores_that_are_all_at_work_count_as_the_codec() -> None:
    steering = Steering(threads=2, cores=2, most=MOST)
    busy = Round(
        seconds=1, read=900, get_seconds=0.05, converted=900, codec_seconds=1.5, busy_seconds=1.5, cpu_seconds=1.9
    )
    steering.learn(busy)
    assert (steering.requests, steering.limit) == (LEAST_REQUESTS, Limit.CODEC)


def test_requests_become_fewer_where_the_codec_became_slower() -> None:
    steering, numbers = steered(Way(0.05))
    assert numbers[-1] == MOST
    _, numbers = steered(Way(0.05, codec=0.01), steering=steering)
    assert numbers[-1] < MOST / 2
