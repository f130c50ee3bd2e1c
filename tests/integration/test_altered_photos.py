"""Builds whose photos come altered, and whose ETags are no MD5s: the version is the one of photos that came whole."""

import itertools
import logging
from collections.abc import Iterator
from dataclasses import replace
from typing import Literal

import pytest

from aesthetics_ops.testing.odd_s3 import OddS3, running_s3
from aesthetics_ops.testing.stores import AlteringStore, CountingStore, flipped
from tests.support.altered import filled, once
from tests.support.documents import make_reports_quick
from tests.support.nights import PHOTOS, Source, build_once, finish, shard_hashes, start
from tests.support.s3 import point_to


@pytest.fixture
def source(monkeypatch: pytest.MonkeyPatch) -> Iterator[Source]:
    make_reports_quick(monkeypatch)
    with running_s3(OddS3(etags="md5")) as server:
        point_to(monkeypatch, server.url, "testing", "testing")
        yield filled(server)


def test_etags_that_are_no_md5s_leave_nothing_out_and_are_told_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    make_reports_quick(monkeypatch)
    results = {}
    kinds: tuple[Literal["md5", "other"], ...] = ("md5", "other")
    for etags in kinds:
        with running_s3(OddS3(etags=etags)) as server, caplog.at_level(logging.WARNING, "aesthetics_ops.sources"):
            point_to(monkeypatch, server.url, "testing", "testing")
            source = filled(server)
            build, plan = start(source.settings(), partitions=1)
            counting = CountingStore(build.photos)
            night = finish(replace(build, photos=counting), plan)
            results[etags] = night.manifest.records, night.manifest.rejects
            reads = len(counting.read)
            assert reads == len(PHOTOS) if etags == "md5" else len(PHOTOS) < reads <= 2 * len(PHOTOS)
            told = [record.getMessage() for record in caplog.records if "looks like an MD5 and is none" in record.msg]
            # the score file and the photos are read by a reader of their own each
            assert len(told) == (0 if etags == "md5" else 2)
    assert results["md5"] == results["other"] == (len(PHOTOS), {})


def test_photos_that_are_altered_once_give_the_version_that_none_gives(source: Source) -> None:
    clean = build_once(source.settings())
    build, plan = start(source.settings(dataset=f"{source.url}again/"))
    again = finish(replace(build, photos=AlteringStore(build.photos, once(flipped))), plan)
    assert shard_hashes(again.manifest) == shard_hashes(clean.manifest)


def test_a_photo_that_is_altered_each_time_is_a_reject_and_comes_back(source: Source) -> None:
    clean = build_once(source.settings())
    bits = itertools.count()

    def alter(method: str, key: str, data: bytes) -> bytes:
        return flipped(data, next(bits)) if key == f"{PHOTOS[2]}.jpg" else data

    settings = source.settings(dataset=f"{source.url}again/", max_reject_fraction=1)
    build, plan = start(settings)
    lossy = finish(replace(build, photos=AlteringStore(build.photos, alter)), plan)
    assert lossy.manifest.rejects == {"source_changed": 1}
    assert "came with other bytes each time" in lossy.table("rejects")[0]["detail"]
    assert shard_hashes(build_once(settings).manifest) == shard_hashes(clean.manifest)
