"""s3://: which of its two clients does what, and what only the embedded S3 shows."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws

from aesthetics_ops.errors import AestheticsOpsError, StoreRefusedError
from aesthetics_ops.store import S3Access, Store, open_store
from aesthetics_ops.store.boto import S3Bucket
from aesthetics_ops.testing.fault_proxy import FaultyProxy, running_proxy
from aesthetics_ops.testing.faults import SeenRequest
from aesthetics_ops.testing.odd_s3 import OddS3, running_s3
from tests.support.s3 import S3TestBucket, point_to


def test_a_bucket_on_aws_is_asked_in_its_own_region() -> None:
    with mock_aws():
        session = boto3.Session("key", "secret", region_name="us-east-1")
        place = {"LocationConstraint": "eu-north-1"}
        session.client("s3").create_bucket(Bucket="far-away", CreateBucketConfiguration=place)
        native = S3Bucket("far-away", S3Access(session)).native()
    assert native.config["region"] == "eu-north-1"
    assert native.config["endpoint"] == "https://s3.eu-north-1.amazonaws.com"


def test_a_key_with_a_newline_is_listed(s3_bucket: S3TestBucket) -> None:
    from moto.s3.models import s3_backends

    backend = next(iter(s3_backends.values()))["aws"]  # moto's own web server cannot route such a key
    backend.put_object(s3_bucket.name, "a//b\nc.jpg", b"1")
    assert open_store(s3_bucket.url).list()["key"].to_pylist() == ["a//b\nc.jpg"]


@pytest.fixture
def proxy(s3_bucket: S3TestBucket, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyProxy]:
    with running_proxy(s3_bucket.endpoint_url) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        yield proxy


def who_asked(proxy: FaultyProxy) -> list[str]:
    """The client and the method of each request since the last call."""
    seen = list(proxy.seen)
    proxy.seen.clear()
    return [f"{'boto3' if _is_boto3(request) else 'obstore'} {request.method}" for request in seen]


def _is_boto3(request: SeenRequest) -> bool:
    return request.headers.get("user-agent", "").startswith("Boto3/")


USES: dict[str, Callable[[Store, str, Path], Any]] = {
    "PUT": lambda store, key, _: store.put(key, b"0123"),
    "GET": lambda store, key, _: store.get(key),
    "GET a range": lambda store, key, _: store.get_range(key, 1, 2),
    "GET into a file": lambda store, key, path: store.download(key, path),
    "PUT from a file": lambda store, key, path: store.upload(key, path),
    "HEAD": lambda store, key, _: store.head(key),
}


@pytest.mark.parametrize(("key", "client"), [("usual", "obstore"), ("odd//key", "boto3")])
def test_bulk_bytes_go_through_obstore_unless_the_key_is_odd_with_one_request_each(
    s3_bucket: S3TestBucket, proxy: FaultyProxy, tmp_path: Path, key: str, client: str
) -> None:
    store = open_store(s3_bucket.url + "p/")
    for name, use in USES.items():
        use(store, key, tmp_path / "file")
        assert who_asked(proxy) == [f"{client} {name.split()[0]}"], name


def test_an_empty_range_asks_nobody(s3_bucket: S3TestBucket, proxy: FaultyProxy) -> None:
    store = open_store(s3_bucket.url)
    assert [store.get_range(key, 1, 0) for key in ("usual", "odd//key")] == [b"", b""]
    assert who_asked(proxy) == []


def test_conditional_writes_and_their_reading_back_go_through_boto3_whatever_the_key(
    s3_bucket: S3TestBucket, proxy: FaultyProxy
) -> None:
    store = open_store(s3_bucket.url)
    for key in ("usual", "odd//key"):
        store.swap(key, b"one", None)
        assert who_asked(proxy) == ["boto3 PUT"]
        store.swap(key, b"two", "0123")
        assert who_asked(proxy) == ["boto3 PUT", "boto3 GET"]
        store.put_if_absent(key, b"three")
        assert who_asked(proxy) == ["boto3 PUT"]


def test_keys_are_deleted_by_the_thousand_but_for_odd_ones(s3_bucket: S3TestBucket, proxy: FaultyProxy) -> None:
    open_store(s3_bucket.url).delete(["a", "odd//key", "b", *(f"{number}" for number in range(998))])
    assert who_asked(proxy) == ["boto3 DELETE", "obstore POST"]


def test_a_listing_goes_through_boto3_only_when_it_meets_an_odd_key(
    s3_bucket: S3TestBucket, proxy: FaultyProxy
) -> None:
    store = open_store(s3_bucket.url + "p/")
    store.put("a/b", b"1")
    who_asked(proxy)
    for ask in (store.list, lambda: store.folders("")):
        ask()
        assert who_asked(proxy) == ["obstore GET"]
    store.put("c//d", b"1")
    who_asked(proxy)
    assert store.list()["key"].to_pylist() == ["a/b", "c//d"]
    assert who_asked(proxy) == ["obstore GET", "boto3 GET"]
    assert store.folders("c/") == [""]
    assert who_asked(proxy) == ["obstore GET", "boto3 GET"]
    assert store.list("c//")["key"].to_pylist() == ["c//d"]
    assert who_asked(proxy) == ["boto3 GET"]


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_explained(status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    with running_s3(OddS3()) as server:
        point_to(monkeypatch, server.url, "testing", "testing")
        server.answer = lambda request, number: (status, "TemporaryRedirect")
        with pytest.raises(StoreRefusedError, match=r"with a redirect to another place.*set the bucket's region"):
            open_store("s3://bucket/p/").check()


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
