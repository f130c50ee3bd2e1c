"""A server of a test: on one free port of loopback, over TLS where a context is given, in a thread.

In: what answers requests.  Out: the server, while its context is open; or a port for a server that is another program.
"""

import functools
import itertools
import secrets
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, TypeVar

__all__ = ["LoopbackServer", "free_port", "serving"]

_PORTS: Final = range(
    20_000, 32_768
)  # below those that the kernel gives to connections and to servers that ask for any
_Server = TypeVar("_Server", bound=ThreadingHTTPServer)


class LoopbackServer(ThreadingHTTPServer):
    """The server; each connection has a thread.

    Attributes:
        tls: the server's side of TLS; None for plain HTTP.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, handler: type[BaseHTTPRequestHandler], tls: ssl.SSLContext | None = None) -> None:
        super().__init__(("127.0.0.1", 0), handler)
        self.tls = tls

    @property
    def url(self) -> str:
        """Where clients send their requests to."""
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.server_port}"

    def get_request(self) -> tuple[Any, Any]:
        """Accept a connection."""
        connection, address = super().get_request()
        if self.tls:
            connection = self.tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        return connection, address

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients that go away are what tests are about."""


@contextmanager
def serving(server: _Server) -> Iterator[_Server]:
    """Run a server in a thread, and close it."""
    with server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def free_port(wanted: int | None = None) -> int:
    """Return a port of loopback for a server that another program starts later; no other call in this process returns it.

    It is none of those that the kernel gives away: until the server listens, any connection of this machine might get one.

    Args:
        wanted: returned where it is free; None: any.

    Raises:
        OSError: none is free.
    """
    for port in itertools.chain([] if wanted is None else [wanted], _ports()):
        with socket.socket() as probe, suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return port
    raise OSError("no free loopback port")


@functools.cache
def _ports() -> Iterator[int]:
    """Return each of the ports once, in an order of this process: another one begins elsewhere."""
    return iter(secrets.SystemRandom().sample(_PORTS, len(_PORTS)))
