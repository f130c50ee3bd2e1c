"""A server on loopback that answers as it is told, and notes what it was sent."""

import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from typing import Any

from aesthetics_ops.testing.loopback import LoopbackServer, serving

Reply = tuple[int, dict[str, str], bytes]


class Recorder(LoopbackServer):
    """`answering` gives the answer to a request; `seen` has the methods, `texts` all that was sent, `connections` how many there were."""

    def __init__(self, tls: ssl.SSLContext | None) -> None:
        super().__init__(_Handler, tls)
        self.seen: list[str] = []
        self.connections = 0
        self.texts: list[str] = []
        self.reply: Reply = (200, {}, b"")
        self.answering: Callable[[str], Reply] = lambda text: self.reply

    def get_request(self) -> tuple[Any, Any]:
        connection, address = super().get_request()
        self.connections += 1
        return connection, address


class _Handler(BaseHTTPRequestHandler):
    server: Recorder
    protocol_version = "HTTP/1.1"

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.seen.append(self.command)
        self.server.texts.append(f"{self.path} {self.headers} {body!r}")
        status, headers, body = self.server.answering(self.server.texts[-1])
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = _serve  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def running(tls: ssl.SSLContext | None) -> Iterator[Recorder]:
    with serving(Recorder(tls)) as server:
        yield server
