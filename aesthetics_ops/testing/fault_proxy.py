"""A network that misbehaves, between a client and an HTTP server such as S3.

In: the server's URL, and for each request what goes wrong with it.  Out: a server on loopback to send requests to, and
what came by.

    with running_proxy("http://127.0.0.1:9000") as proxy:
        proxy.fault = lambda method, number: "lose the reply" if (method, number) == ("PUT", 0) else None
        store = open_store("s3://bucket/", s3=S3Access(session, proxy.url))
"""

import http.client
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

__all__ = ["FaultyProxy", "SeenRequest", "running_proxy"]

Fault = Literal["lose the reply", "hang up", "cut the body"] | int | None

_CHANGED_ON_THE_WAY = {"connection", "transfer-encoding", "date", "server"}


@contextmanager
def running_proxy(upstream: str) -> Iterator["FaultyProxy"]:
    """Run a proxy before a server, for example http://127.0.0.1:9000, in a thread."""
    with FaultyProxy(upstream) as proxy:
        thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield proxy
        finally:
            proxy.shutdown()
            thread.join()


@dataclass(frozen=True, slots=True)
class SeenRequest:
    """One request that came by, whatever became of it.

    Attributes:
        method: GET, PUT, HEAD, DELETE or POST.
        path: with the query.
        headers: by their names in lower case.
    """

    method: str
    path: str
    headers: dict[str, str]


class FaultyProxy(ThreadingHTTPServer):
    """Stands before a server on one free port of loopback.

    Attributes:
        fault: called with a request's method and with how many of this method came before; says what goes wrong.
            None: nothing.  "lose the reply": the server does what was asked, and the connection closes.  "hang up": the
            connection closes, and the server never sees the request.  "cut the body": half of the reply's body, then
            the connection closes.  A number: a reply with this status, of which the server knows nothing.
        seen: the requests that came by, in order.
        tls: the server's side of TLS; None for plain HTTP.
    """

    daemon_threads = True

    def __init__(self, upstream: str) -> None:
        super().__init__(("127.0.0.1", 0), _ProxyHandler)
        self.upstream = upstream.removeprefix("http://")
        self.tls: ssl.SSLContext | None = None
        self.fault: Callable[[str, int], Fault] = lambda method, number: None
        self.seen: list[SeenRequest] = []
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        """Where clients send their requests to."""
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.server_port}"

    @property
    def methods(self) -> list[str]:
        """The methods of the requests that came by, in order."""
        return [request.method for request in self.seen]

    def see(self, request: SeenRequest) -> Fault:
        """Note a request, and say what goes wrong with it."""
        with self._lock:
            number = self.methods.count(request.method)
            self.seen.append(request)
        return self.fault(request.method, number)

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept a connection."""
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
        fault = self.server.see(
            SeenRequest(self.command, self.path, {name.lower(): value for name, value in self.headers.items()})
        )
        self.close_connection = True
        if fault == "hang up":
            return
        if isinstance(fault, int):
            self._answer(fault, [("Content-Length", "0")], b"")
            return
        upstream = http.client.HTTPConnection(self.server.upstream, timeout=20)
        upstream.request(self.command, self.path, body, dict(self.headers))
        reply = upstream.getresponse()
        data = reply.read()
        upstream.close()
        if fault != "lose the reply":
            self._answer(reply.status, reply.getheaders(), data[: len(data) // 2] if fault == "cut the body" else data)

    do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = _forward  # noqa: N815

    def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers:
            if name.lower() not in _CHANGED_ON_THE_WAY:
                self.send_header(name, value)
        self.send_header("Connection", "close")  # a client must not send its next request into a closing connection
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass
