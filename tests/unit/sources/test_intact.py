"""No byte of a source that changed on its way is used, and no good photo is left out where ETags are no MD5s."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import pytest

from aesthetics_ops.builds import Build, BuildPlan
from aesthetics_ops.errors import ObjectAlteredError
from aesthetics_ops.planning.stage import plan_build
from aesthetics_ops.sources.intact import IntactReader, looks_like_md5
from aesthetics_ops.store import open_store
from aesthetics_ops.testing.odd_s3 import OddS3, running_s3
from aesthetics_ops.testing.stores import AlteringStore, CountingStore, flipped
from tests.support.altered import filled, once
from tests.support.nights import PHOTOS, Source, photo, start
from tests.support.s3 import point_to

BITS = (0, 7, 100, 2_222, 33_333, None, -33_333, -2_222, -100, -1)


@pytest.fixture(params=["md5", "other"])
def server(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[OddS3]:
    with running_s3(OddS3(etags=request.param)) as server:
        point_to(monkeypatch, server.url, "testing", "testing")
        yield server


@pytest.fixture
def source(server: OddS3) -> Source:
    return filled(server)


@pytest.mark.parametrize(
    ("etag", "looks"), [("a" * 32, True), ("a" * 32 + "-2", False), ("A" * 32, False), ("0", False), ("", False)]
)
def test_an_etag_looks_like_an_md5_or_not(etag: str, looks: bool) -> None:
    assert looks_like_md5(etag) is looks


def test_every_flip_of_one_reading_is_noticed_and_healed(source: Source, server: OddS3) -> None:
    """10 bits of each of 14 photos, or of 7 where ETags are none: of such a reader compares but so many."""
    photos = open_store(f"{source.url}photos/")
    names = PHOTOS if server.etags == "md5" else PHOTOS[:7]
    for bit in BITS:
        reader = IntactReader(AlteringStore(photos, once(partial(flipped, bit=bit))))
        for name in names:
            stored = reader.get(f"{name}.jpg", photos.head(f"{name}.jpg"))
            assert bytes(stored.data) == photo(name), (name, bit)


@pytest.mark.parametrize("change", [lambda data: data[:-1], lambda data: data + b"!", lambda data: b""])
def test_a_reading_that_is_cut_or_longer_is_repeated(source: Source, change: Callable[[bytes], bytes]) -> None:
    photos = open_store(f"{source.url}photos/")
    reader = IntactReader(AlteringStore(photos, once(change)))
    key = f"{PHOTOS[0]}.jpg"
    assert bytes(reader.get(key, photos.head(key)).data) == photo(PHOTOS[0])


def test_what_comes_with_other_bytes_each_time_is_refused(source: Source) -> None:
    bits = itertools.count()
    photos = CountingStore(open_store(f"{source.url}photos/"))
    reader = IntactReader(AlteringStore(photos, lambda method, key, data: flipped(data, next(bits))))
    with pytest.raises(ObjectAlteredError, match=r"was read 4 times and came with other bytes each time.*try again"):
        reader.get(f"{PHOTOS[0]}.jpg")
    assert len(photos.read) == 4


def test_a_store_without_md5s_costs_no_second_reading_for_ever(server: OddS3) -> None:
    store = CountingStore(open_store("s3://bucket/many/"))
    server.objects |= {f"bucket/many/{number}": b"%d" % number for number in range(40)}
    reader = IntactReader(store)
    for number in range(40):
        assert bytes(reader.get(f"{number}").data) == b"%d" % number
    assert len(store.read) == (40 if server.etags == "md5" else 48)


@pytest.mark.parametrize("server", ["md5"], indirect=True)
class TestPlan:
    """A plan whose score file comes altered.  Builds: tests/integration/test_altered_photos.py."""

    def test_scores_that_are_altered_once_are_read_again_and_else_refused(self, source: Source) -> None:
        build, plan = start(source.settings())
        swapped = once(lambda data: data.replace(b",1\n", b",9\n"))
        assert _planned(replace(build, labels=(AlteringStore(build.labels[0], swapped),)), plan) == plan.plan
        bits = itertools.count()
        broken = AlteringStore(build.labels[0], lambda method, key, data: flipped(data, next(bits)))
        with pytest.raises(ObjectAlteredError, match=r"scores\.csv"):
            _planned(replace(build, labels=(broken,)), plan)


def _planned(build: Build, plan: BuildPlan) -> str:
    return plan_build(build, created_at=plan.created_at, partitions=3).plan
