"""s3://: what is asked for each use, and what only the embedded S3 shows."""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.loaders import JSONFileLoader

from aesthetics_ops.errors import AestheticsOpsError, StoreUnavailableError
from aesthetics_ops.store import S3Access, Store, StoreLimits, StoreThreads, open_store
from aesthetics_ops.testing.fault_proxy import FaultyProxy
from tests.support.recorder import Reply, running
from tests.support.s3 import S3TestBucket, point_to


def test_a_key_with_a_newline_is_listed(s3_bucket: S3TestBucket) -> None:
    from moto.s3.models import s3_backends

    backend = next(iter(s3_backends.values()))["aws"]  # moto's own web server cannot route such a key
    backend.put_object(s3_bucket.name, "a//b\nc.jpg", b"1")
    assert open_store(s3_bucket.url).list()["key"].to_pylist() == ["a//b\nc.jpg"]


def asked(proxy: FaultyProxy) -> list[str]:
    """The method of each request since the last call."""
    methods = proxy.methods
    proxy.seen.clear()
    return methods


USES: dict[str, Callable[[Store, str, Path], Any]] = {
    "PUT": lambda store, key, _: store.put(key, b"0123"),
    "GET": lambda store, key, _: store.get(key),
    "GET a range": lambda store, key, _: store.get_range(key, 1, 2),
    "GET into a file": lambda store, key, path: store.download(key, path),
    "PUT from a file": lambda store, key, path: store.upload(key, path),
    "HEAD": lambda store, key, _: store.head(key),
}


@pytest.mark.parametrize("key", ["usual", "odd//key"])
def test_a_use_is_one_request(s3_bucket: S3TestBucket, proxy: FaultyProxy, tmp_path: Path, key: str) -> None:
    store = open_store(s3_bucket.url + "p/")
    for name, use in USES.items():
        use(store, key, tmp_path / "file")
        assert asked(proxy) == [name.split()[0]], name


def test_threads_that_begin_together_look_for_the_endpoint_once(
    s3_bucket: S3TestBucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, make = [], boto3.Session.client

    def client(session: boto3.Session, *service: Any, **options: Any) -> Any:
        made.append(service)
        return make(session, *service, **options)

    monkeypatch.setattr(boto3.Session, "client", client)
    store = open_store(s3_bucket.url)
    with StoreThreads(8) as threads:
        assert list(threads.map(store.head, ["nope"] * 8)) == [None] * 8
    assert made == [("s3",)]


def test_what_boto3_knows_of_services_is_read_once_for_all_stores(
    s3_bucket: S3TestBucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_store(s3_bucket.url).list()  # reads it
    files: list[str] = []
    load = JSONFileLoader.load_file

    def load_file(loader: JSONFileLoader, path: str) -> Any:
        files.append(path)
        return load(loader, path)

    monkeypatch.setattr(JSONFileLoader, "load_file", load_file)
    open_store(s3_bucket.url).list()
    open_store(f"{s3_bucket.url}below/").list()
    assert files == []


def test_an_empty_range_asks_nobody(s3_bucket: S3TestBucket, proxy: FaultyProxy) -> None:
    store = open_store(s3_bucket.url)
    assert [store.get_range(key, 1, 0) for key in ("usual", "odd//key")] == [b"", b""]
    assert asked(proxy) == []


def test_a_conditional_write_is_read_back_only_when_it_was_refused(s3_bucket: S3TestBucket, proxy: FaultyProxy) -> None:
    store = open_store(s3_bucket.url)
    for key in ("usual", "odd//key"):
        store.swap(key, b"one", None)
        assert asked(proxy) == ["PUT"]
        store.swap(key, b"two", "0123")
        assert asked(proxy) == ["PUT", "GET"]
        store.put_if_absent(key, b"three")
        assert asked(proxy) == ["PUT"]


def test_keys_are_deleted_by_the_thousand_but_for_those_that_xml_cannot_hold(
    s3_bucket: S3TestBucket, proxy: FaultyProxy
) -> None:
    keys = ["a", "odd//key", "tab\tkey", "<&>", *(f"{number}" for number in range(1_010))]
    store = open_store(s3_bucket.url)
    for key in keys[:6]:
        store.put(key, b"1")
    asked(proxy)
    store.delete(keys)
    assert sorted(asked(proxy)) == ["DELETE", "POST", "POST"]
    assert store.list().num_rows == 0


def test_a_listing_is_one_request_whatever_the_keys(s3_bucket: S3TestBucket, proxy: FaultyProxy) -> None:
    store = open_store(s3_bucket.url + "p/")
    for key in ("a/b", "c//d", "e/+ %20"):
        store.put(key, b"1")
    asked(proxy)
    assert store.list()["key"].to_pylist() == ["a/b", "c//d", "e/+ %20"]
    assert store.folders("c/") == [""]
    assert store.list("c//")["key"].to_pylist() == ["c//d"]
    assert asked(proxy) == ["GET"] * 3


def test_a_forked_child_asks_over_connections_of_its_own(s3_bucket: S3TestBucket, tmp_path: Path) -> None:
    store = open_store(s3_bucket.url)
    store.put("k", b"1")
    child = os.fork()
    if child == 0:
        (tmp_path / "found").write_bytes(bytes(store.get("k").data))
        os._exit(0)
    assert store.get("k").data == b"1"
    assert os.waitpid(child, 0)[1] == 0
    assert (tmp_path / "found").read_bytes() == b"1"


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://user:SECRET@host:notaport", "http://user:SEC/RET@127.0.0.1:1", "http://user:SEC#RET@127.0.0.1:1",
        "http://user:SEC?RET@127.0.0.1:1", "http://user:SECRET@127.0.0.1:99999", "user:SECRET@host",
        "http://127.0.0.1:1/?token=SECRET", "http://127.0.0.1:1/#SECRET",
    ],
)  # fmt: skip
@pytest.mark.parametrize("is_given", [True, False])
def test_no_endpoint_shows_its_secret(endpoint: str, is_given: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    point_to(monkeypatch, "http://127.0.0.1:1" if is_given else endpoint, "testing", "testing")
    store = open_store("s3://bucket/p/", s3=S3Access(boto3.Session(), endpoint) if is_given else None)
    with pytest.raises(AestheticsOpsError) as caught:
        store.check()
    shown = str(caught.value)
    assert not [part for part in ("SEC", "RET@") if part in shown], shown


@pytest.mark.parametrize(("before", "circle"), [(0, 1), (0, 2), (1, 1), (1, 3), (5, 7), (5, 40)])
def test_a_listing_that_leads_back_to_a_page_is_told(monkeypatch: pytest.MonkeyPatch, before: int, circle: int) -> None:
    """Its pages are numbered 0, 1, ... `before`, and then go round and round."""

    def answering(text: str) -> Reply:
        token = re.search("continuation-token=(\\d+)", text)
        number = int(token[1]) if token else 0
        following = number + 1 if number < before + circle else before + 1
        more = f"<IsTruncated>true</IsTruncated><NextContinuationToken>{following}</NextContinuationToken>"
        return 200, {}, f"<ListBucketResult>{more}</ListBucketResult>".encode()

    with running(None) as server:
        server.answering = answering
        point_to(monkeypatch, server.url, "testing", "testing")
        store = open_store("s3://bucket/p/", limits=StoreLimits(10, 0))
        with pytest.raises(StoreUnavailableError, match="leads back to a page that was read") as caught:
            store.list()
        assert "\n" not in str(caught.value)
        assert len(server.seen) <= 4 * (before + circle) + 4
