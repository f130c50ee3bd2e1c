"""What every store promises, and what only one kind of store can get wrong."""

import http.client
import json
import os
import socket
import ssl
import subprocess
import sys
import textwrap
import threading
import time
import urllib.request
import uuid
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import boto3
import pyarrow as pa
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from moto import mock_aws

from aesthetics_ops.errors import ObjectMissingError, StoreRefusedError, StoreUnavailableError
from aesthetics_ops.store import S3Access, Store, Swap, open_store
from aesthetics_ops.store.boto import S3Bucket

AWKWARD_KEYS = [
    "a b.jpg",
    "a#b.jpg",
    "a%20b.jpg",
    "a+b.jpg",
    "a?b=c&d.jpg",
    "a~*[x]'\"\\.jpg",
    "é/日本 😀.jpg",
    "émigré.jpg",  # decomposed
    "trailing./..x/...",
]


class StoreContract:
    """Every store must pass these."""

    @pytest.fixture
    def store(self) -> Store:
        raise NotImplementedError

    def test_a_listing_is_relative_complete_and_in_key_order(self, store: Store) -> None:
        for key in ["b", "a/2", "a/10", "a-b", "a.c", "Z", "é", "a/x/1"]:
            store.put(key, key.encode())
        table = store.list()
        assert table.schema == pa.schema([("key", pa.string()), ("size", pa.int64()), ("etag", pa.string())])
        assert table["key"].to_pylist() == ["Z", "a-b", "a.c", "a/10", "a/2", "a/x/1", "b", "é"]
        assert table["size"].to_pylist() == [1, 3, 3, 4, 3, 5, 1, 2]
        assert store.list("a/")["key"].to_pylist() == ["a/10", "a/2", "a/x/1"]
        assert store.list("nothing/").num_rows == 0

    def test_a_listing_crosses_pages(self, store: Store) -> None:
        keys = [f"n/{number:05}" for number in range(1050)]
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda key: store.put(key, b"x"), keys))
        assert store.list("n/")["key"].to_pylist() == keys

    def test_folders_are_what_stands_before_the_next_slash(self, store: Store) -> None:
        for key in ("v/b/1", "v/b/2", "v/a b/x/1", "v/file", "w/c/1"):
            store.put(key, b"x")
        assert list(store.folders("v/")) == ["a b", "b"]
        assert list(store.folders("none/")) == []

    def test_an_empty_object_is_listed(self, store: Store) -> None:
        store.put("a", b"")
        store.put("a.d/b", b"")
        assert store.list()["key"].to_pylist() == ["a", "a.d/b"]
        assert store.get("a").data == b""

    def test_list_head_and_get_agree_on_the_etag_and_it_follows_the_content(self, store: Store) -> None:
        store.put("k", b"one")
        first = store.get("k")
        assert store.head("k") == (3, first.etag)
        assert store.list()["etag"].to_pylist() == [first.etag]
        assert '"' not in first.etag
        store.put("k", b"two")
        assert store.get("k").etag != first.etag

    def test_awkward_keys_come_back_as_they_were(self, store: Store) -> None:
        for key in AWKWARD_KEYS:
            store.put(key, key.encode())
        assert store.list()["key"].to_pylist() == sorted(AWKWARD_KEYS)
        assert [bytes(store.get(key).data).decode() for key in AWKWARD_KEYS] == AWKWARD_KEYS
        assert store.get_range(AWKWARD_KEYS[0], 2, 3) == b"b.j"
        store.delete(AWKWARD_KEYS)
        assert store.list().num_rows == 0

    def test_a_missing_key_is_named(self, store: Store, tmp_path: Path) -> None:
        store.put("there/below", b"1")
        for key in ["nope", "there", "there/below/further"]:
            assert store.head(key) is None
            for read in (store.get, lambda k: store.get_range(k, 0, 1), lambda k: store.download(k, tmp_path / "f")):
                with pytest.raises(ObjectMissingError, match=key):
                    read(key)
        assert not (tmp_path / "f").exists()

    def test_a_range_is_exact_or_refused(self, store: Store) -> None:
        store.put("k", b"0123456789")
        assert store.get_range("k", 3, 4) == b"3456"
        assert store.get_range("k", 9, 1) == b"9"
        assert store.get_range("k", 3, 0) == b""
        for offset in (8, 10, 50):
            with pytest.raises(StoreRefusedError):
                store.get_range("k", offset, 3)

    def test_a_buffer_is_put_like_bytes(self, store: Store) -> None:
        store.put("k", memoryview(b"0123")[1:3])
        assert store.get("k").data == b"12"

    def test_a_large_file_goes_up_and_comes_down(self, store: Store, tmp_path: Path) -> None:
        data = os.urandom(1 << 20) * 40
        (tmp_path / "up").write_bytes(data)
        store.upload("deep/er/k", tmp_path / "up")
        (tmp_path / "up").unlink()
        store.download("deep/er/k", tmp_path / "down")
        assert (tmp_path / "down").read_bytes() == data
        assert store.list()["size"].to_pylist() == [len(data)]
        assert store.get_range("deep/er/k", 20 << 20, 100) == data[20 << 20 :][:100]

    def test_a_missing_local_file_is_not_the_stores_fault(self, store: Store, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError):
            store.upload("k", tmp_path / "nope")

    def test_only_the_first_creator_wins(self, store: Store) -> None:
        with ThreadPoolExecutor(8) as pool:
            won = list(pool.map(lambda number: store.put_if_absent("k", b"%d" % number), range(8)))
        assert won.count(True) == 1
        assert store.get("k").data == b"%d" % won.index(True)

    def test_a_swap_is_done_when_nobody_was_first(self, store: Store) -> None:
        assert store.swap("k", b"one", None) is Swap.DONE
        assert store.swap("k", b"two", store.get("k").etag) is Swap.DONE
        assert store.get("k").data == b"two"

    def test_a_probe_finds_that_conditions_are_kept_and_leaves_nothing(self, store: Store) -> None:
        store.put("k", b"one")
        found = store.probe("probe")
        assert found.creates_once
        assert found.compares
        assert found.are_safe
        assert store.list()["key"].to_pylist() == ["k"]

    def test_a_single_writer_replaces_only_what_it_expects(self, store: Store) -> None:
        assert store.replace("k", b"one", None) is Swap.DONE
        assert store.replace("k", b"two", None) is Swap.REFUSED
        assert store.replace("k", b"two", "stale") is Swap.REFUSED
        assert store.get("k").data == b"one"
        assert store.replace("k", b"two", store.get("k").etag) is Swap.DONE
        assert store.get("k").data == b"two"

    def test_a_swap_is_refused_when_somebody_was_first(self, store: Store) -> None:
        assert store.swap("k", b"new", "0123") is Swap.REFUSED
        store.put("k", b"one")
        etag = store.get("k").etag
        store.put("k", b"two")
        assert store.swap("k", b"three", etag) is Swap.REFUSED
        assert store.swap("k", b"three", None) is Swap.REFUSED
        assert store.get("k").data == b"two"

    def test_concurrent_swaps_lose_no_update(self, store: Store) -> None:
        store.put("n", b"")

        def add_lines(writer: int) -> None:
            for number in range(6):
                while True:
                    before = store.get("n")
                    if store.swap("n", bytes(before.data) + b"%d.%d\n" % (writer, number), before.etag) is Swap.DONE:
                        break

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(add_lines, range(8)))
        assert sorted(bytes(store.get("n").data).split()) == sorted(
            b"%d.%d" % (w, n) for w in range(8) for n in range(6)
        )

    def test_deleting_twice_is_fine(self, store: Store) -> None:
        for key in ["a", "b/c", "d"]:
            store.put(key, b"1")
        store.delete(iter(["a", "b/c", "nope"]))
        store.delete(["a", "b/c"])
        store.delete([])
        assert store.list()["key"].to_pylist() == ["d"]

    def test_many_threads_read_at_once(self, store: Store) -> None:
        for number in range(20):
            store.put(f"k{number}", b"%d" % number * 1000)
        with ThreadPoolExecutor(32) as pool:
            read = list(pool.map(lambda number: store.get(f"k{number % 20}").data, range(400)))
        assert read == [b"%d" % (number % 20) * 1000 for number in range(400)]

    def test_urls_end_with_a_slash_and_name_their_keys(self, store: Store) -> None:
        assert store.url.endswith("/")
        assert store.url_of("a/b.jpg") == store.url + "a/b.jpg"

    def test_a_store_that_is_there_passes_the_check(self, store: Store) -> None:
        store.check()
        store.put("k", b"1")
        store.check()


class TestMemoryStore(StoreContract):
    @pytest.fixture
    def store(self) -> Store:
        return open_store(f"memory://{uuid.uuid4().hex}/pre fix")

    def test_one_name_is_one_store(self) -> None:
        name = uuid.uuid4().hex
        open_store(f"memory://{name}/a/").put("b/c", b"1")
        assert open_store(f"memory://{name}").get("a/b/c").data == b"1"
        assert open_store(f"memory://{name}/a/b").list()["key"].to_pylist() == ["c"]

    def test_a_key_that_cannot_be_addressed_is_refused(self) -> None:
        with pytest.raises(StoreRefusedError, match="cannot be addressed"):
            open_store("memory://odd/").put("a//b", b"1")


class TestDirectoryStore(StoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Store:
        return open_store(f"file://{tmp_path}/a directory")

    def test_a_directory_that_does_not_exist_yet_is_empty(self, store: Store, tmp_path: Path) -> None:
        store.check()
        assert store.list().num_rows == 0
        assert list(tmp_path.iterdir()) == []

    def test_file_urls_are_percent_encoded(self, store: Store, tmp_path: Path) -> None:
        assert store.url == f"file://{tmp_path}/a%20directory/"
        assert store.url_of("a b") == f"file://{tmp_path}/a%20directory/a%20b"
        store.put("k", b"1")
        assert open_store(store.url).get("k").data == b"1"

    def test_a_key_cannot_leave_the_directory(self, store: Store, tmp_path: Path) -> None:
        (tmp_path / "secret").write_bytes(b"1")
        for key in ["../secret", "a/../../secret", str(tmp_path / "secret"), "a//b", "", "a\0b", ".aesthetics-ops-x"]:
            with pytest.raises(StoreRefusedError, match="cannot be a file"):
                store.get(key)

    def test_control_characters_are_fine_in_a_file_name(self, store: Store) -> None:
        store.put("a\nb\t.jpg", b"1")
        assert store.list()["key"].to_pylist() == ["a\nb\t.jpg"]

    def test_own_files_are_not_listed(self, store: Store, tmp_path: Path) -> None:
        store.swap("k", b"1", None)
        store.swap("k", b"2", store.get("k").etag)
        assert store.list()["key"].to_pylist() == ["k"]
        left = [path.name for path in (tmp_path / "a directory").iterdir()]
        assert sorted(left) == [".aesthetics-ops-lock", "k"]

    def test_links_are_followed_once_around(self, store: Store, tmp_path: Path) -> None:
        store.put("d/real.jpg", b"123")
        root = tmp_path / "a directory"
        (root / "link.jpg").symlink_to(root / "d" / "real.jpg")
        (root / "d" / "up").symlink_to(root)
        (root / "broken.jpg").symlink_to(root / "nowhere")
        assert store.list()["key"].to_pylist() == ["d/real.jpg", "link.jpg"]
        assert store.get("link.jpg").data == b"123"

    def test_a_name_that_is_not_utf8_is_listed_and_then_missing(self, store: Store, tmp_path: Path) -> None:
        store.put("k", b"1")
        try:
            (tmp_path / "a directory" / os.fsdecode(b"caf\xe9.jpg")).write_bytes(b"1")
        except OSError:
            pytest.skip("this file system has UTF-8 names only")
        assert store.list()["key"].to_pylist() == ["caf\\xe9.jpg", "k"]
        with pytest.raises(ObjectMissingError):
            store.get("caf\\xe9.jpg")

    def test_a_file_in_the_way_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(b"1")
        store = open_store(f"file://{tmp_path}/file")
        for use in (store.check, store.list, lambda: store.put("k", b"1")):
            with pytest.raises(StoreRefusedError, match="file"):
                use()


class TestS3Store(StoreContract):
    @pytest.fixture
    def store(self, s3_bucket: Any) -> Store:
        return open_store(f"{s3_bucket.url}pre fix/é")

    def test_access_can_be_given(self, s3_bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.delenv(name)
        session = boto3.Session("key", "secret", region_name="eu-west-1")
        store = open_store(s3_bucket.url, s3=S3Access(session, s3_bucket.endpoint_url))
        store.check()
        store.put("a", b"1")
        assert store.get("a").data == b"1"

    def test_a_bucket_on_aws_is_asked_in_its_own_region(self) -> None:
        with mock_aws():
            session = boto3.Session("key", "secret", region_name="us-east-1")
            place = {"LocationConstraint": "eu-north-1"}
            session.client("s3").create_bucket(Bucket="far-away", CreateBucketConfiguration=place)
            native = S3Bucket("far-away", S3Access(session)).native()
        assert native.config["region"] == "eu-north-1"
        assert native.config["endpoint"] == "https://s3.eu-north-1.amazonaws.com"

    def test_odd_keys_are_listed_and_read(self, s3_bucket: Any, tmp_path: Path) -> None:
        keys = ["a/../c.jpg", "a//b.jpg", "d/./e.jpg", "f\x01g\t.jpg", "plain.jpg", "x/\rreturn.jpg"]
        for key in keys:
            s3_bucket.client.put_object(Bucket=s3_bucket.name, Key="p/" + key, Body=key.encode())
        store = open_store(s3_bucket.url + "p")
        assert store.list()["key"].to_pylist() == keys
        for key in keys:
            assert store.get(key).data == key.encode()
            assert store.head(key) == (len(key), store.get(key).etag)
            assert store.get_range(key, 1, 3) == key.encode()[1:4]
            store.download(key, tmp_path / "f")
            store.upload(key + "\x02", tmp_path / "f")
            assert store.get(key + "\x02").data == key.encode()
        store.put("new//key", b"1")
        assert store.swap("new//key", b"2", store.get("new//key").etag) is Swap.DONE
        with pytest.raises(ObjectMissingError):
            store.get("a//nope")
        assert store.head("a//nope") is None
        with pytest.raises(StoreRefusedError):
            store.get_range("a//b.jpg", 100, 5)
        store.delete([*store.list()["key"].to_pylist(), "a//nope"])
        assert store.list().num_rows == 0

    def test_a_key_with_a_newline_is_listed(self, s3_bucket: Any) -> None:
        from moto.s3.models import s3_backends

        backend = next(iter(s3_backends.values()))["aws"]  # moto's own web server cannot route such a key
        backend.put_object(s3_bucket.name, "a//b\nc.jpg", b"1")
        assert open_store(s3_bucket.url).list()["key"].to_pylist() == ["a//b\nc.jpg"]

    def test_a_leading_slash_is_not_lost(self, s3_bucket: Any) -> None:
        for key in ["/c", "c"]:
            s3_bucket.client.put_object(Bucket=s3_bucket.name, Key=key, Body=key.encode())
        store = open_store(s3_bucket.url)
        assert store.list()["key"].to_pylist() == ["/c", "c"]
        assert store.get("/c").data == b"/c"

    def test_a_prefix_may_be_odd(self, s3_bucket: Any) -> None:
        s3_bucket.client.put_object(Bucket=s3_bucket.name, Key="a//b/c.jpg", Body=b"1")
        store = open_store(s3_bucket.url + "a//b/")
        assert store.list()["key"].to_pylist() == ["c.jpg"]
        assert store.get("c.jpg").data == b"1"

    @pytest.mark.parametrize("odd", [[], ["p/odd//key"]])
    def test_directory_markers_are_no_objects(self, s3_bucket: Any, odd: list[str]) -> None:
        empty = ["p/", "p/d/", "p/e", "p/e/", "p/f/"]
        full = ["p/d/y", "p/f", *odd]
        for key in empty + full:
            s3_bucket.client.put_object(Bucket=s3_bucket.name, Key=key, Body=b"1" if key in full else b"")
        expected = sorted(["p/d/y", "p/e", "p/f", *odd])
        assert open_store(s3_bucket.url).list()["key"].to_pylist() == expected
        table = open_store(s3_bucket.url + "p/").list()
        assert table["key"].to_pylist() == [key.removeprefix("p/") for key in expected]
        assert dict(zip(table["key"].to_pylist(), table["size"].to_pylist(), strict=True))["f"] == 1

    def test_a_missing_bucket_is_explained(self, s3_bucket: Any, tmp_path: Path) -> None:
        store = open_store("s3://no-such-bucket/photos/")
        with pytest.raises(StoreRefusedError, match=r"s3://no-such-bucket does not exist.*create") as caught:
            store.check()
        assert s3_bucket.endpoint_url in str(caught.value)
        for use in (
            store.list,
            lambda: store.get("k"),
            lambda: store.put("k", b"1"),
            lambda: store.swap("k", b"1", None),
        ):
            with pytest.raises(StoreRefusedError, match="s3://no-such-bucket does not exist") as caught:
                use()
            assert not isinstance(caught.value, ObjectMissingError)

    def test_a_denial_is_explained(self, s3_bucket: Any) -> None:
        store = open_store(s3_bucket.url)
        store.put("k", b"1")
        deny = {"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": f"arn:aws:s3:::{s3_bucket.name}*"}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [deny]})
        s3_bucket.client.put_bucket_policy(Bucket=s3_bucket.name, Policy=policy)
        # moto enforces a policy on objects only; what is denied on a bucket is the next test's
        for use in (lambda: store.get("k"), lambda: store.get("odd//k"), lambda: store.swap("k", b"2", None)):
            with pytest.raises(StoreRefusedError, match=r"denied.*credentials") as caught:
                use()
            assert not isinstance(caught.value, ObjectMissingError)

    def test_wrong_credentials_are_explained_without_naming_them(
        self, s3_bucket: Any, moto_checks_signatures: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAWRONG")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush-hush")
        store = open_store(s3_bucket.url)
        for use in (store.check, store.list, lambda: store.get("k"), lambda: store.put("k", b"1")):
            with pytest.raises(StoreRefusedError, match="denied") as caught:
                use()
            assert "hush" not in str(caught.value)
            assert "AKIAWRONG" not in str(caught.value)

    def test_missing_credentials_are_explained(self, s3_bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
        store = open_store(s3_bucket.url)
        for use in (store.check, store.list, lambda: store.get("k")):
            with pytest.raises(StoreRefusedError, match="no complete AWS credentials"):
                use()

    def test_credentials_that_cannot_be_fetched_now_may_come_later(
        self, s3_bucket: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "config").write_text("[profile broken]\ncredential_process = false\n")
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
        monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
        monkeypatch.setenv("AWS_PROFILE", "broken")
        store = open_store(s3_bucket.url)
        for use in (store.check, lambda: store.get("k"), store.list):
            with pytest.raises(StoreUnavailableError, match="credentials"):
                use()

    def test_a_name_that_no_bucket_can_have_is_explained(self, s3_bucket: Any) -> None:
        with pytest.raises(StoreRefusedError, match="bad bucket!"):
            open_store("s3://bad bucket!/").check()

    def test_an_endpoint_that_is_no_url_is_explained(self, s3_bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_ENDPOINT_URL", "user:hush@nowhere")
        with pytest.raises(StoreRefusedError, match="endpoint URL") as caught:
            open_store(s3_bucket.url).check()
        assert "hush" not in str(caught.value)

    def test_a_server_that_is_not_there_is_named_soon(self, s3_bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://user:hush@127.0.0.1:9")
        store = open_store(s3_bucket.url)
        started = time.monotonic()
        with pytest.raises(StoreUnavailableError, match=r"http://127\.0\.0\.1:9") as caught:
            store.check()
        assert time.monotonic() - started < 10
        assert "hush" not in str(caught.value)


def set_free_requests(endpoint_url: str, number: bytes) -> None:
    """Say how many requests moto serves before it starts to check signatures."""
    request = urllib.request.Request(f"{endpoint_url}/moto-api/reset-auth", number, {"Content-Type": "text/plain"})  # noqa: S310
    urllib.request.urlopen(request, timeout=10).close()  # noqa: S310


@pytest.fixture
def moto_checks_signatures(s3_bucket: Any) -> Iterator[None]:
    set_free_requests(s3_bucket.endpoint_url, b"0")
    yield
    set_free_requests(s3_bucket.endpoint_url, b"inf")


class FaultyProxy(ThreadingHTTPServer):
    """Stands before the S3 server; `fault(method, number)` says what goes wrong with the nth such request.

    Faults: None; "lose the reply" (forwarded, then closed); "hang up" (closed unread by the server);
    "cut the body" (half of it, then closed); or a status, for a reply that the server never saw.
    """

    daemon_threads = True

    def __init__(self, upstream: str) -> None:
        super().__init__(("127.0.0.1", 0), _ProxyHandler)
        self.upstream = upstream.removeprefix("http://")
        self.tls: ssl.SSLContext | None = None
        self.fault: Callable[[str, int], str | int | None] = lambda method, number: None
        self.seen: list[str] = []
        self.headers: list[dict[str, str]] = []

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        if self.tls:
            connection = self.tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        return connection, address

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients that go away are what the tests are about."""


class _ProxyHandler(BaseHTTPRequestHandler):
    server: FaultyProxy
    protocol_version = "HTTP/1.1"

    def _forward(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        fault = self.server.fault(self.command, self.server.seen.count(self.command))
        self.server.seen.append(self.command)
        self.server.headers.append(dict(self.headers))
        self.close_connection = True
        if fault == "hang up":
            return
        if isinstance(fault, int):
            self.send_response(fault)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        upstream = http.client.HTTPConnection(self.server.upstream, timeout=20)
        upstream.request(self.command, self.path, body, dict(self.headers))
        reply = upstream.getresponse()
        data = reply.read()
        upstream.close()
        if fault == "lose the reply":
            return
        self.send_response(reply.status)
        for name, value in reply.getheaders():
            if name.lower() not in ("connection", "transfer-encoding", "date", "server"):
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data[: len(data) // 2] if fault == "cut the body" else data)

    do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = _forward  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:
        pass


def self_signed(directory: Path) -> ssl.SSLContext:
    """Make a certificate for 127.0.0.1, and the server's side of TLS with it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    today = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(today - timedelta(days=1))
        .not_valid_after(today + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (directory / "certificate.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
    (directory / "key.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "certificate.pem", directory / "key.pem")
    return context


class TestFaults:
    """A store behind a network that misbehaves."""

    @pytest.fixture
    def proxy(self, s3_bucket: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyProxy]:
        with FaultyProxy(s3_bucket.endpoint_url) as proxy:
            thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.05})
            thread.start()
            monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{proxy.server_port}")
            yield proxy
            proxy.shutdown()
            thread.join()

    @pytest.fixture
    def store(self, proxy: FaultyProxy, s3_bucket: Any) -> Store:
        return open_store(s3_bucket.url)

    @pytest.mark.parametrize("create", [True, False])
    def test_a_swap_whose_reply_is_lost_is_done(self, store: Store, proxy: FaultyProxy, create: bool) -> None:
        etag = None
        if not create:
            store.put("k", b"old")
            etag = store.get("k").etag
        proxy.fault = lambda method, number: "lose the reply" if method == "PUT" else None
        assert store.swap("k", b"mine", etag) is Swap.DONE
        assert store.get("k").data == b"mine"

    def test_a_swap_that_never_arrived_is_sent_again(self, store: Store, proxy: FaultyProxy) -> None:
        proxy.fault = lambda method, number: "hang up" if (method, number) == ("PUT", 0) else None
        assert store.swap("k", b"mine", None) is Swap.DONE

    def test_a_swap_in_conflict_is_tried_again(self, store: Store, proxy: FaultyProxy) -> None:
        proxy.fault = lambda method, number: 409 if (method, number) == ("PUT", 0) else None
        assert store.swap("k", b"mine", None) is Swap.DONE

    def test_a_swap_is_refused_when_another_writer_came_while_the_reply_was_lost(
        self, store: Store, proxy: FaultyProxy, s3_bucket: Any
    ) -> None:
        def overwrite(method: str, number: int) -> str | None:
            if method == "PUT":
                s3_bucket.client.put_object(Bucket=s3_bucket.name, Key="k", Body=b"theirs")
                return "hang up"
            return None

        proxy.fault = overwrite
        assert store.swap("k", b"mine", None) is Swap.REFUSED

    def test_a_swap_is_unknown_when_nothing_can_be_read_back(self, store: Store, proxy: FaultyProxy) -> None:
        proxy.fault = lambda method, number: "lose the reply" if method == "PUT" else "hang up"
        started = time.monotonic()
        assert store.swap("k", b"mine", None) is Swap.UNKNOWN
        assert time.monotonic() - started < 15

    def test_a_swap_that_is_never_taken_is_an_error(self, store: Store, proxy: FaultyProxy) -> None:
        proxy.fault = lambda method, number: 503 if method == "PUT" else None
        with pytest.raises(StoreUnavailableError, match="try again later"):
            store.swap("k", b"mine", None)

    def test_a_server_that_wants_the_etag_unquoted_gets_it(self, store: Store, proxy: FaultyProxy) -> None:
        store.put("k", b"old")
        etag = store.get("k").etag
        proxy.fault = lambda method, number: (
            412 if method == "PUT" and proxy.seen.count("PUT") == 1 else None  # the second PUT; the first made "old"
        )
        assert store.swap("k", b"mine", etag) is Swap.DONE
        conditions = [headers["If-Match"] for headers in proxy.headers if "If-Match" in headers]
        assert conditions == [f'"{etag}"', etag]

    def test_a_creation_whose_reply_is_lost_is_ours(self, store: Store, proxy: FaultyProxy) -> None:
        proxy.fault = lambda method, number: "lose the reply" if method == "PUT" else None
        assert store.put_if_absent("k", b"mine") is True

    def test_a_body_that_is_cut_is_resumed(self, store: Store, proxy: FaultyProxy, tmp_path: Path) -> None:
        data = os.urandom(3_000_000)
        store.put("k", data)
        store.put("odd//k", data)
        for read in (
            lambda: store.get("k").data,
            lambda: store.get("odd//k").data,
            lambda: store.get_range("k", 5, 2_000_000),
            lambda: (store.download("k", tmp_path / "f"), (tmp_path / "f").read_bytes())[1],
        ):
            proxy.seen.clear()
            proxy.fault = lambda method, number: "cut the body" if number == 0 else None
            assert read() in (data, data[5:2_000_005])
            assert len(proxy.seen) >= 2

    def test_a_body_that_is_always_cut_is_an_error(self, store: Store, proxy: FaultyProxy) -> None:
        store.put("odd//k", b"0123456789" * 1000)
        proxy.fault = lambda method, number: "cut the body"
        with pytest.raises(StoreUnavailableError, match="odd//k"):
            store.get("odd//k")

    @pytest.mark.parametrize("verify", ["its authority's file", False])
    def test_a_private_certificate_is_accepted_when_told_so(
        self, proxy: FaultyProxy, s3_bucket: Any, tmp_path: Path, verify: str | bool
    ) -> None:
        proxy.tls = self_signed(tmp_path)
        url = f"https://127.0.0.1:{proxy.server_port}"
        session = boto3.Session()
        store = open_store(s3_bucket.url, s3=S3Access(session, url, verify and str(tmp_path / "certificate.pem")))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # urllib3's, about what verify=False means
            store.check()
        store.put("k", b"1")
        assert store.get("k").data == b"1"
        with pytest.raises(StoreRefusedError, match=r"certificate of https://127.0.0.1:\d+ is not trusted"):
            open_store(s3_bucket.url, s3=S3Access(session, url)).check()

    def test_a_busy_server_is_asked_again(self, store: Store, proxy: FaultyProxy) -> None:
        store.put("k", b"1")
        proxy.fault = lambda method, number: 503 if number < 2 else None
        assert store.get("k").data == b"1"
        proxy.seen.clear()
        assert store.list()["key"].to_pylist() == ["k"]


@pytest.mark.parametrize("url", ["photos/", "ftp://host/x", "s3://", "s3:///photos", "file://relative/x", ""])
def test_a_url_that_names_no_store_is_refused(url: str) -> None:
    with pytest.raises(StoreRefusedError, match="is not a store; write s3://"):
        open_store(url)


def test_a_forked_child_is_refused_instead_of_hanging() -> None:
    script = """
        import os, signal
        from aesthetics_ops.errors import PermanentError
        from aesthetics_ops.store import open_store

        store = open_store("memory://fork/")
        store.put("k", b"1")
        if os.fork() == 0:
            signal.alarm(10)
            for use in (lambda: store.get("k"), lambda: open_store("memory://other/").put("k", b"1")):
                try:
                    use()
                except PermanentError as error:
                    print(error, flush=True)
            os._exit(0)
        _, status = os.wait()
        raise SystemExit(os.waitstatus_to_exitcode(status))
    """
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("spawn or forkserver") == 2
