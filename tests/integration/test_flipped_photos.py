"""One bit of a photo that is altered on its way in is noticed, wherever it lies: 420 photos, each with a bit of its own."""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from aesthetics_ops.pipeline import build_dataset
from aesthetics_ops.testing.fault_proxy import FaultyProxy, running_proxy
from aesthetics_ops.testing.faults import Reply, SeenRequest
from aesthetics_ops.testing.odd_s3 import OddS3, running_s3
from tests.support.documents import make_reports_quick
from tests.support.nights import PHOTOS, Source, photo, shard_hashes, smaller
from tests.support.s3 import point_to

COUNT = 420
OPTIONS = {"shard_bytes": 400_000, "max_reject_fraction": 1, "near_duplicate_distance": None}


@dataclass
class Flips:
    """Alters one bit of each photo that comes by, at a place by chance.

    Attributes:
        ask: gives the server's reply.
        times: how often a photo comes altered; later it is whole.
        alters: says of a path whether it is altered at all.
        seen: how often each was altered, by path.
        choice: of the bits.
    """

    ask: Callable[[SeenRequest, bytes], Reply]
    times: int = 0
    alters: Callable[[str], bool] = lambda path: "/photos/" in path
    seen: dict[str, int] = field(default_factory=dict)
    choice: random.Random = field(default_factory=lambda: random.Random(20260101))  # noqa: S311 -- no secret

    def __call__(self, request: SeenRequest, body: bytes) -> Reply:
        reply = self.ask(request, body)
        before = self.seen.get(request.path, 0)
        if request.is_list or not reply.body or before >= self.times or not self.alters(request.path):
            return reply
        self.seen[request.path] = before + 1
        data = bytearray(reply.body)
        data[self.choice.randrange(len(data))] ^= 1 << self.choice.randrange(8)
        return reply.holding(bytes(data))


@pytest.fixture
def way(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Source, Flips]]:
    """A server without photos, and what alters them on their way from it."""
    make_reports_quick(monkeypatch)
    with running_s3(OddS3()) as server, running_proxy(server.url) as proxy:
        point_to(monkeypatch, proxy.url, "testing", "testing")
        yield Source("s3://bucket/", {}), let_flip(proxy, monkeypatch)


def fill(source: Source, count: int) -> None:
    for number in range(count):
        name = f"{PHOTOS[number % len(PHOTOS)]}-{number}"
        source.store.put(f"photos/{name}.jpg", smaller(photo(PHOTOS[number % len(PHOTOS)]), scale=0.2 + number / 4200))
        source.scores[name] = number
    source.score({})


def let_flip(proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch) -> Flips:
    flips = Flips(proxy.ask)
    monkeypatch.setattr(proxy, "ask", flips)
    return flips


def test_photos_that_come_altered_once_are_read_again_and_stored_as_they_are(way: tuple[Source, Flips]) -> None:
    source, flips = way
    fill(source, COUNT)
    whole = build_dataset(source.settings(dataset="s3://bucket/whole/dataset/", **OPTIONS)).manifest
    flips.times = 1
    altered = build_dataset(source.settings(**OPTIONS)).manifest
    assert len(flips.seen) == altered.records == COUNT
    assert shard_hashes(altered) == shard_hashes(whole)


def test_photos_that_never_come_whole_are_left_out_and_come_back_later(way: tuple[Source, Flips]) -> None:
    source, flips = way
    fill(source, 40)
    flips.times, flips.alters = 1000, lambda path: "/photos/" in path and path.endswith(("1.jpg", "4.jpg", "7.jpg"))
    less = build_dataset(source.settings(**OPTIONS)).manifest
    assert (len(flips.seen), less.records, less.rejects) == (12, 28, {"source_changed": 12})
    flips.times = 0
    assert build_dataset(source.settings(max_shrink_fraction=1, **OPTIONS)).manifest.records == 40
