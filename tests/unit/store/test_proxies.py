"""Proxies of the environment are honoured, as curl and boto3 do it: HTTP_PROXY, HTTPS_PROXY and NO_PROXY."""

import select
import socket
from base64 import b64decode
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import urlsplit

import boto3
import pytest

from aesthetics_ops.errors import AestheticsOpsError, StoreRefusedError, StoreUnavailableError
from aesthetics_ops.store import StoreLimits, open_store
from aesthetics_ops.testing.loopback import LoopbackServer, serving
from aesthetics_ops.testing.odd_s3 import OddS3, running_s3
from tests.support.certificates import self_signed
from tests.support.s3 import point_to

PASSWORDS = ["hush", *(f"hu{mark}sh" for mark in "/#?@:[]% \u2100"), "12/hush"]


class Proxy(LoopbackServer):
    """A proxy on loopback: tunnels after CONNECT, and passes plain requests on.

    Attributes:
        wanted: user and password that it asks for; None lets everybody through.
        seen: the first lines of what came.
        passed: all bytes of the clients' that it could read.
    """

    def __init__(self) -> None:
        super().__init__(_Handler)
        self.wanted: str | None = None
        self.seen: list[str] = []
        self.passed = b""

    def url_with(self, pair: str) -> str:
        return f"http://{pair}@127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Proxy
    protocol_version = "HTTP/1.1"

    def _is_let_through(self) -> bool:
        self.server.seen.append(self.requestline)
        self.server.passed += self.headers.as_bytes()
        given = self.headers.get("Proxy-Authorization", "").removeprefix("Basic ")
        if self.server.wanted is None or b64decode(given).decode() == self.server.wanted:
            return True
        self.send_response(407)
        self.send_header("Proxy-Authenticate", "Basic")
        self.send_header("Content-Length", "0")
        self.end_headers()
        return False

    def do_CONNECT(self) -> None:
        if not self._is_let_through():
            return
        host, port = self.path.rsplit(":", 1)
        with socket.create_connection((host, int(port)), timeout=20) as far:
            self.send_response(200)
            self.end_headers()
            self.close_connection = True
            near = self.connection
            while ready := select.select([near, far], [], [], 20)[0]:
                for one in ready:
                    data = one.recv(1 << 16)
                    if one is near:
                        self.server.passed += data
                    if not data:
                        return
                    (far if one is near else near).sendall(data)

    def _pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if not self._is_let_through():
            return
        parts = urlsplit(self.path)
        with socket.create_connection((parts.hostname or "", parts.port or 80), timeout=20) as far:
            del self.headers["Proxy-Authorization"], self.headers["Connection"]
            self.headers["Connection"] = "close"
            target = f"{parts.path}?{parts.query}" if parts.query else parts.path
            far.sendall(f"{self.command} {target} HTTP/1.1\r\n{self.headers.as_string()}".encode() + body)
            with suppress(OSError):
                while data := far.recv(1 << 16):
                    self.connection.sendall(data)
        self.close_connection = True

    do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = _pass_on  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(params=["http", "https"])
def servers(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[OddS3, Proxy, str]]:
    """A store, a proxy, and the variable that is to name the proxy."""
    tls = self_signed(tmp_path) if request.param == "https" else None
    with running_s3(OddS3(tls=tls)) as store, serving(Proxy()) as proxy:
        point_to(monkeypatch, store.url, "testing", "a-secret-key")
        if tls:
            monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "certificate.pem"))
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
            monkeypatch.delenv(name.lower(), raising=False)
        yield store, proxy, f"{request.param.upper()}_PROXY"


def use() -> list[str]:
    """Write, list and read through a new store; return the keys."""
    store = open_store("s3://bucket/p/", limits=StoreLimits(10, 0))
    store.put("k", b"0123")
    assert bytes(store.get_range("k", 1, 2)) == b"12"
    assert store.head("none") is None
    return [str(key) for key in store.list()["key"].to_pylist()]


@pytest.mark.parametrize("is_small", [False, True])
def test_requests_go_through_the_proxy_that_the_environment_names(
    servers: tuple[OddS3, Proxy, str], monkeypatch: pytest.MonkeyPatch, is_small: bool
) -> None:
    store, proxy, setting = servers
    monkeypatch.setenv(setting.lower() if is_small else setting, proxy.url)
    assert use() == ["k"]
    assert len(store.seen) == 4
    place = f"127.0.0.1:{store.server_port}"
    if setting == "HTTPS_PROXY":
        assert {line.rpartition(".")[0] for line in proxy.seen} == {f"CONNECT {place} HTTP/1"}
        assert f"Host: {place}\n".encode() in proxy.passed
        assert b"p/k" not in proxy.passed  # it is encrypted
        assert b"AWS4-HMAC" not in proxy.passed
    else:
        assert proxy.seen[0] == f"PUT http://{place}/bucket/p/k HTTP/1.1"
        assert len(proxy.seen) == 4
    assert b"a-secret-key" not in proxy.passed


def test_boto3_takes_the_same_way(servers: tuple[OddS3, Proxy, str], monkeypatch: pytest.MonkeyPatch) -> None:
    store, proxy, setting = servers
    monkeypatch.setenv(setting, proxy.url)
    for bypass in ("", "127.0.0.1"):
        monkeypatch.setenv("NO_PROXY", bypass)
        ways = []
        for ask in (
            lambda: boto3.client("s3").head_object(Bucket="bucket", Key="p/k"), lambda: open_store("s3://bucket/p/").head("k"),
        ):  # fmt: skip
            store.objects["bucket/p/k"] = b"1"
            proxy.seen.clear()
            ask()
            ways.append(bool(proxy.seen))
        assert ways == [not bypass] * 2


@pytest.mark.parametrize("bypass", ["127.0.0.1", "example.org,127.0.0.1", "*"])
def test_what_no_proxy_names_is_asked_directly(
    servers: tuple[OddS3, Proxy, str], monkeypatch: pytest.MonkeyPatch, bypass: str
) -> None:
    _, proxy, setting = servers
    monkeypatch.setenv(setting, proxy.url)
    monkeypatch.setenv("NO_PROXY", bypass)
    assert use() == ["k"]
    assert proxy.seen == []


def test_a_proxy_may_ask_for_user_and_password(
    servers: tuple[OddS3, Proxy, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, proxy, setting = servers
    proxy.wanted = "ann:p@ss word"
    monkeypatch.setenv(setting, proxy.url_with("ann:p%40ss%20word"))
    assert use() == ["k"]
    monkeypatch.setenv(setting, proxy.url_with("ann:hush-hush"))
    store.seen.clear()
    with pytest.raises(
        StoreRefusedError, match=rf"the proxy 127.0.0.1:\d+ of {setting} refuses the way to .*407"
    ) as caught:
        use()
    assert "hush" not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert store.seen == []


def test_a_password_of_whatever_characters_is_sent_and_stands_in_no_message(
    servers: tuple[OddS3, Proxy, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, proxy, setting = servers
    for password in PASSWORDS:
        proxy.wanted = f"ann:{password}"
        monkeypatch.setenv(setting, proxy.url_with(f"ann:{password}"))
        assert use() == ["k"], password
        for url in (
            f"http://ann:{password}@",
            f"http://ann:{password}@127.0.0.1:none",
            f"socks5://ann:{password}@127.0.0.1:9",
        ):
            monkeypatch.setenv(setting, url)
            with pytest.raises(StoreRefusedError, match=f"^{setting} names no proxy that can be used") as caught:
                use()
            assert "sh" not in str(caught.value).replace("scheme", ""), str(caught.value)


def test_a_proxy_that_is_not_there_is_named(servers: tuple[OddS3, Proxy, str], monkeypatch: pytest.MonkeyPatch) -> None:
    _, _, setting = servers
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and listens to nobody; closed, its port might be another server's at once
        port = taken.getsockname()[1]
        monkeypatch.setenv(setting, f"http://ann:hush-hush@127.0.0.1:{port}")
        with pytest.raises(StoreUnavailableError, match=f"through the proxy 127.0.0.1:{port} of {setting}") as caught:
            use()
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    ["https://127.0.0.1:1", "socks5://ann:hush-hush@127.0.0.1:1", "http://ann:hush-hush@127.0.0.1:port", "http://"],
)
def test_a_proxy_that_cannot_be_used_is_refused(
    servers: tuple[OddS3, Proxy, str], monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    store, _, setting = servers
    monkeypatch.setenv(setting, url)
    with pytest.raises(AestheticsOpsError, match=f"{setting} names no proxy that can be used") as caught:
        use()
    assert "hush" not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert store.seen == []
