"""Threads download and convert photos: outcomes come in the plan's order, and few photos are held at once."""

import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest

from aesthetics_ops.builds import Build, open_build
from aesthetics_ops.conversion.photos import PlannedPhoto
from aesthetics_ops.conversion.steering import LEAST_REQUESTS
from aesthetics_ops.conversion.workers import Built, Outcome, Workers
from aesthetics_ops.dataset.example import decode_example
from aesthetics_ops.dataset.layout import ShardFile, shard_key
from aesthetics_ops.dataset.results import RecordIndex, ShardResult
from aesthetics_ops.errors import StoreUnavailableError
from aesthetics_ops.machine import THREADS_VARIABLE
from aesthetics_ops.rejects import Rejected, RejectReason
from aesthetics_ops.settings import parse_settings
from aesthetics_ops.store import Store, StoredObject, StoreLimits, open_store
from aesthetics_ops.testing.fault_proxy import running_proxy
from aesthetics_ops.testing.faults import Fault, SeenRequest
from aesthetics_ops.testing.odd_s3 import OddS3
from tests.support.nights import PHOTOS, photo, smaller

MiB = 1 << 20


@pytest.fixture
def build(monkeypatch: pytest.MonkeyPatch) -> Build:
    """An empty build in memory, on one codec thread."""
    monkeypatch.setenv(THREADS_VARIABLE, "1")
    url = f"memory://{uuid.uuid4().hex}/"
    places = {"photos": f"{url}photos/", "labels": f"{url}scores.csv", "dataset": f"{url}dataset/"}
    return open_build(parse_settings(places, where="test"), "build")


def planned(build: Build, name: str, data: bytes) -> PlannedPhoto:
    """Put a photo into the store; return it as a plan would have it."""
    key = f"{name}.jpg"
    build.photos.put(key, data)
    return PlannedPhoto(key, build.photos.get(key).etag, len(data), name, 0.5, None)


def listed(number: int, size: int) -> PlannedPhoto:
    """A photo that stands in the plan and is gone from the store."""
    return PlannedPhoto(f"{number}.jpg", "etag", size, str(number), 0.5, None)


def outcomes_of(build: Build, photos: Sequence[PlannedPhoto]) -> list[Outcome]:
    with Workers(build) as workers:
        pairs = list(workers.outcomes(photos))
    assert [planned for planned, _ in pairs] == list(photos)
    return [outcome for _, outcome in pairs]


class BackwardsStore:
    """A store that answers for the first photo only when the last one was asked for."""

    def __init__(self, inner: Store, first: str, last: str) -> None:
        self._inner = inner
        self._first = first
        self._last = last
        self._asked = threading.Event()
        self.order: list[str] = []

    def get(self, key: str) -> StoredObject:
        if key == self._first:
            assert self._asked.wait(60), "the last photo was never asked for"
        self.order.append(key)
        if key == self._last:
            self._asked.set()
        return self._inner.get(key)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class TestOutcomes:
    """What becomes of each photo."""

    def test_a_photo_becomes_the_record_that_its_shard_holds(self, build: Build) -> None:
        shares = tuple(share / 64 for share in range(10))
        source = planned(build, PHOTOS[0], photo(PHOTOS[0]))._replace(label=0.25, distribution=shares)
        (outcome,) = outcomes_of(build, [source])
        assert isinstance(outcome, Built)
        framed = b"".join(bytes(part) for part in outcome.record.parts)
        assert len(framed) == outcome.record.length
        example = decode_example(framed[12:-4])
        assert bytes(example.image) == bytes(outcome.photo.jpeg)
        assert (example.id, example.label, example.distribution) == (PHOTOS[0], 0.25, shares)
        assert (example.height_px, example.width_px) == (outcome.photo.height_px, outcome.photo.width_px)

    def test_a_photo_that_is_lost_since_the_plan_is_told_from_one_that_is_bad(self, build: Build) -> None:
        good = planned(build, "good", photo(PHOTOS[0]))
        bad = planned(build, "bad", photo(PHOTOS[0])[:5000])
        resized, replaced = (planned(build, name, photo(PHOTOS[1])) for name in ("resized", "replaced"))
        photos = [listed(1, 10), bad, resized._replace(size=10), good, replaced._replace(etag="another")]
        missing, corrupt, *rest = outcomes_of(build, photos)
        assert missing == Rejected(RejectReason.SOURCE_MISSING, "listed, but gone when it was read")
        assert isinstance(corrupt, Rejected)
        assert corrupt.reason is RejectReason.CORRUPT
        assert isinstance(rest[1], Built)
        lost = [outcome for outcome in (rest[0], rest[2]) if isinstance(outcome, Rejected)]
        assert [outcome.reason for outcome in lost] == [RejectReason.SOURCE_CHANGED] * 2
        assert f"listed with ETag {resized.etag} and 10 bytes, read with ETag {resized.etag} and" in lost[0].detail
        assert [outcome.reason.is_loss for outcome in (missing, corrupt, *lost)] == [True, False, True, True]


class FarStore:
    """A store that takes its time for each object."""

    def __init__(self, inner: Store, seconds: float) -> None:
        self._inner, self._seconds = inner, seconds

    def get(self, key: str) -> StoredObject:
        time.sleep(self._seconds)
        return self._inner.get(key)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class FailingStore(FarStore):
    """A store that fails at one object."""

    def get(self, key: str) -> StoredObject:
        if key == "20.jpg":
            raise StoreUnavailableError("no answer")
        return super().get(key)


class TestFlow:
    """As many photos are read at once as the codec needs."""

    def test_a_store_far_away_is_sent_more_requests_and_figures_tell_how_far_it_is(self, build: Build) -> None:
        source = planned(build, "one", photo(PHOTOS[0]))
        photos = [source._replace(id=str(number)) for number in range(400)]
        store = FarStore(build.photos, 0.2)  # far for a codec whose core others use too
        with Workers(replace(build, photos=store)) as workers:  # type: ignore[arg-type]
            outcomes = [outcome for _, outcome in workers.outcomes(photos)]
        assert all(isinstance(outcome, Built) for outcome in outcomes)
        found = workers.flow.figures()
        assert LEAST_REQUESTS < found.requests <= workers.flow.most
        assert (found.fetched, found.photos, found.bytes) == (400, 400, 400 * source.size)
        assert found.get_p95_s >= found.get_p50_s >= 0.2 * 0.95

    def test_an_error_of_the_store_ends_it(self, build: Build) -> None:
        photos = [planned(build, f"{number}", photo(PHOTOS[0])) for number in range(40)]
        store = FailingStore(build.photos, 0.0)
        with (
            pytest.raises(StoreUnavailableError, match="no answer"),
            Workers(replace(build, photos=store)) as workers,  # type: ignore[arg-type]
        ):
            list(workers.outcomes(photos))


class TestSilence:
    """Of eight photos that a thread asks S3 for at once some bring nothing, at each of the eight places."""

    @pytest.mark.parametrize("fault", ["hang", "stall in the body", "cut the body"])
    def test_every_photo_is_converted_and_counted_once_and_only_what_failed_is_asked_for_again(
        self, build: Build, server: OddS3, monkeypatch: pytest.MonkeyPatch, fault: Fault
    ) -> None:
        source = smaller(photo(PHOTOS[0]), scale=0.1)
        keys = [f"{number:02}.jpg" for number in range(64)]
        server.objects = {f"bucket/{key}": source for key in keys}
        # eight threads read eight photos each: in the first one the first fails and the next, in the second one the second and the next
        failing = {keys[8 * part + place] for part in range(8) for place in (part, min(part + 1, 7))}
        with running_proxy(server.url) as proxy:
            monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
            # only what is silent is waited for: on a busy machine an answer that comes late must not count as none
            limits = StoreLimits(timeout_s=60 if fault == "cut the body" else 3, retry_s=60)
            photos_store = open_store("s3://bucket/", limits=limits)
            etag, left = photos_store.get(keys[0]).etag, set(failing)

            def choose(request: SeenRequest, _: int) -> Fault:
                key = request.path.rpartition("/")[2]
                if key not in left:
                    return None
                left.discard(key)
                return fault

            proxy.reset()
            proxy.choose = choose
            photos = [PlannedPhoto(key, etag, len(source), key, 0.5, None) for key in keys]
            with Workers(replace(build, photos=photos_store)) as workers:
                found = list(workers.outcomes(photos))
        assert [planned.key for planned, outcome in found if isinstance(outcome, Built)] == keys
        figures = workers.flow.figures()
        assert (figures.fetched, figures.photos, figures.bytes) == (64, 64, 64 * len(source))
        asked = Counter(request.path.rpartition("/")[2] for request in proxy.seen)
        assert asked == {key: 1 + (key in failing) for key in keys}


class TestOrder:
    """Photos are read side by side, and told of in the plan's order."""

    def test_outcomes_keep_the_plans_order_whatever_is_read_first(self, build: Build) -> None:
        # more than one group, so that more than one thread downloads
        photos = [planned(build, f"{number:02}", photo(PHOTOS[number % 14])) for number in range(40)]
        photos[20] = listed(20, 1000)
        store = BackwardsStore(build.photos, photos[0].key, photos[-1].key)
        outcomes = outcomes_of(replace(build, photos=store), photos)  # type: ignore[arg-type]
        assert store.order.index(photos[-1].key) < store.order.index(photos[0].key)
        ids = [
            decode_example(b"".join(bytes(part) for part in outcome.record.parts)[12:-4]).id
            for outcome in outcomes
            if isinstance(outcome, Built)
        ]
        assert ids == [source.id for source in photos if source.key != "20.jpg"]

    def test_no_photos_have_no_outcomes(self, build: Build) -> None:
        assert outcomes_of(build, []) == []


class TestWindow:
    """So many photos are held at once as the threads need, however many the partition has."""

    def most_ahead(self, build: Build, count: int, size: int) -> int:
        """Return the most photos that were taken from the plan before the outcome of the first of them was given away.

        They are gone from the store, so that their sizes are only said.
        """
        taken = given = most = 0

        def photos() -> Iterator[PlannedPhoto]:
            nonlocal taken, most
            for number in range(count):
                taken += 1
                most = max(most, taken - given)
                yield listed(number, size)

        with Workers(build) as workers:
            for _ in workers.outcomes(photos()):
                given += 1
        assert (taken, given) == (count, count)
        return most

    def test_small_photos_are_bounded_by_their_number(self, build: Build) -> None:
        # 17 threads with a group of 16 each, a group that waits for room, and the photo that ends it
        assert self.most_ahead(build, 1000, size=100) == 18 * 16 + 1

    def test_large_photos_are_bounded_by_their_bytes(self, build: Build) -> None:
        # 32 MiB, the one that waits for room, and the one after it
        assert self.most_ahead(build, 100, size=8 * MiB) == 32 // 8 + 2

    def test_a_photo_that_is_larger_than_the_window_goes_through_alone(self, build: Build) -> None:
        assert self.most_ahead(build, 5, size=100 * MiB) == 3


class TestFinished:
    """A shard is finished when its result and its file are there."""

    def test_a_result_counts_only_beside_its_file_and_of_its_size(self, build: Build) -> None:
        whole, unchecked, deleted, cut, damaged, new = (letter * 64 for letter in "abcdef")
        for digest in (whole, unchecked, deleted, cut, damaged):
            result = ShardResult(
                digest=digest, photos=1, records=1, bytes=2, sha256="", crc32c="", converter_version=1, index=RecordIndex(),
                rejected=(),
            )  # fmt: skip
            build.dataset.put(shard_key(digest, ShardFile.RECORDS), b"12")
            build.dataset.put(shard_key(digest, ShardFile.RESULT), result.encoded())
            build.dataset.put(shard_key(digest, ShardFile.VERDICT), b"{}")
        build.dataset.delete([shard_key(deleted, ShardFile.RECORDS), shard_key(unchecked, ShardFile.VERDICT)])
        build.dataset.put(shard_key(cut, ShardFile.RECORDS), b"1")
        build.dataset.put(shard_key(damaged, ShardFile.RESULT), b"{}")
        with Workers(build) as workers:
            found = list(workers.finished([whole, unchecked, deleted, cut, damaged, new]))
        assert found == [True, True, False, False, False, False]
        keys = build.dataset.list("shards/")["key"].to_pylist()
        left = {key.split("/")[-1].partition(".")[0] for key in keys if not key.endswith(".tfrecord")}
        assert left == {whole, unchecked}, "what was said of a file that is gone or cut is withdrawn"
