"""HTTP/1.1 to one server, over connections that are kept: no redirect is followed, and no wait is longer than the limits.

In: an endpoint, who is trusted, the limits.  Out: `Server.send` and `Server.answer`, which gives a `Reply` to read, and `Server.end`.
Python's `http.client` makes the connections, through a proxy where there is one; it carries no request, since its headers alone
take longer than all else here.
A client of our own, because a signed request must not go where a reply points to: obstore follows redirects, with the session
token, and has no option against it; urllib3 does not, at twice the CPU of http.client for each small object.
"""

import contextlib
import http.client
import os
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, NoReturn
from urllib.parse import urlsplit

from aesthetics_ops.errors import StoreRefusedError
from aesthetics_ops.store.connection import Body, Connection
from aesthetics_ops.store.interrupts import Interrupts
from aesthetics_ops.store.limits import StoreLimits
from aesthetics_ops.store.proxies import proxy_for
from aesthetics_ops.store.reply import Reply, named
from aesthetics_ops.store.trying import UnservedError

__all__ = ["Sent", "Server"]

_KEPT: Final = 256  # connections that wait for their next request: as many as a conversion may have in flight
_NO_TUNNEL: Final = "Tunnel connection failed: "  # how http.client begins what a proxy answers to CONNECT
_KEPT_S: Final = 50.0  # a server or a balancer closes them after a minute or so


class _Dropped(Exception):  # noqa: N818 -- not an error of the program: the request goes over another connection
    """The server had closed the connection that was kept."""


@dataclass(frozen=True, slots=True)
class Sent:
    """A request under way.

    Attributes:
        connection: that it went over.
        method: of HTTP.
        head: as it was sent.
        interrupts: how many there had been by then.
        was_kept: whether the connection had served another request, so that the server may have closed it.
    """

    connection: Connection
    method: str
    head: bytes
    interrupts: int
    was_kept: bool


class Server:
    """One endpoint, and the connections to it.

    Attributes:
        endpoint: its URL, without user and password; it may have a path.
        path: of the endpoint, without a slash at its end.
        host: as requests name it.
        limits: how long it may be silent.
        proxy: that requests go through; None without.
    """

    def __init__(self, endpoint: str, verify: bool | str | None, authorities: str | None, limits: StoreLimits) -> None:
        """Remember the endpoint; nothing is sent.

        Args:
            endpoint: http(s)://host:port, and perhaps a path.
            verify: False trusts any certificate, a path names a file of trusted ones.
            authorities: a file of authorities that are trusted beside the system's, where verify names none.
            limits: how long it may be silent.
        """
        parts = urlsplit(endpoint)
        self.endpoint, self.limits = endpoint, limits
        self.path = parts.path.rstrip("/")
        self._is_tls = parts.scheme == "https"
        self._name, self._port = parts.hostname or "", parts.port or (443 if self._is_tls else 80)
        shown = f"[{self._name}]" if ":" in self._name else self._name
        self.host = shown if parts.port in (None, 443 if self._is_tls else 80) else f"{shown}:{parts.port}"
        self._verify, self._authorities = verify, authorities
        self._tls: ssl.SSLContext | None = None
        self.proxy = proxy_for(parts.scheme, self.host)
        self._lock = threading.RLock()  # a signal's handler may come in anywhere
        self._process = os.getpid()
        self._kept: list[Connection] = []

    def __del__(
        self, getpid: Callable[[], int] = os.getpid
    ) -> None:  # at the interpreter's end `os` may be gone already
        """Close what is kept."""
        if getattr(self, "_process", None) == getpid():
            for connection in self._kept:
                connection.close()

    def send(self, method: str, target: str, headers: Mapping[str, str], body: Body = b"") -> Sent:
        """Send a request; then take its `answer`, or `drop` it.

        Args:
            method: GET, HEAD, PUT, POST or DELETE.
            target: path and query, encoded, the endpoint's own path first.
            headers: all of them; Host and Content-Length too.
            body: pieces where it is large.

        Raises:
            UnservedError: it could not be sent.
            StoreRefusedError: the server's certificate is not trusted, or a header cannot be sent.
        """
        head = self._head(method, target, headers)
        kept = self._take()
        if kept is not None:
            with contextlib.suppress(_Dropped):
                return self._sent(kept, method, head, body)
        return self._sent(self._connected(), method, head, body)

    def answer(self, sent: Sent) -> Reply:
        """Return the answer to a request, to read; then `end` it.

        Raises:
            UnservedError: no answer.
            StoreRefusedError: as `send`.
        """
        with contextlib.suppress(_Dropped):
            return self._answered(sent)
        return self._answered(self._sent(self._connected(), sent.method, sent.head, b""))

    def drop(self, sent: Sent) -> None:
        """Give up a request whose answer nobody wants any more."""
        Interrupts.sockets.discard(sent.connection.socket)
        sent.connection.close()

    def end(self, reply: Reply) -> None:
        """Keep an answer's connection for the next request when it was read to the end, or else close it."""
        connection = reply.connection
        Interrupts.sockets.discard(connection.socket)
        reply.end()
        if not (reply.is_done and not connection.is_hurried and self._keep(connection)):
            connection.close()

    def _head(self, method: str, target: str, headers: Mapping[str, str]) -> bytes:
        if self.proxy is not None and not self._is_tls:
            target, headers = f"http://{self.host}{target}", {**headers, **self.proxy.headers}
        lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
        text = "\r\n".join(lines)
        if text.count("\n") >= len(lines) or text.count("\r") >= len(lines) or "\0" in text or not text.isascii():
            raise StoreRefusedError(
                f"a header for {self.endpoint} has a line break or is not ASCII, so it cannot be sent; correct the credentials"
            )
        return f"{text}\r\naccept-encoding: identity\r\n\r\n".encode()

    def _sent(self, connection: Connection, method: str, head: bytes, body: Body) -> Sent:
        sent = Sent(connection, method, head, Interrupts.count, connection.kept_since is not None)
        Interrupts.sockets.add(connection.socket)
        try:
            connection.send(head, body)
        except (BrokenPipeError, ConnectionResetError) as error:
            if sent.was_kept:
                self._fail(sent, error)
            # the server may have said why before it closed
        except BaseException as error:
            self._fail(sent, error)
        return sent

    def _answered(self, sent: Sent) -> Reply:
        connection, limits = sent.connection, self.limits
        if connection.is_hurried:
            limits = replace(limits, timeout_s=connection.timeout_s)
        try:
            return Reply(connection, sent.method, limits)
        except BaseException as error:
            self._fail(sent, error)

    def _fail(self, sent: Sent, error: BaseException) -> NoReturn:
        self.drop(sent)
        if isinstance(error, UnservedError):
            raise UnservedError(f"no answer from {self.endpoint} ({error})", is_silent=True) from error
        if not isinstance(error, OSError):
            raise error
        is_stale = isinstance(error, ConnectionError) and sent.was_kept and Interrupts.count == sent.interrupts
        if is_stale and sent.method in ("GET", "HEAD") and not sent.connection.is_hurried:
            raise _Dropped from None
        raise self._unanswered(error) from error

    def _unanswered(self, error: Exception) -> UnservedError:
        if isinstance(error, TimeoutError):
            return UnservedError(f"no answer from {self.endpoint} for {self.limits.timeout_s:g} s", is_silent=True)
        return UnservedError(f"no answer from {self.endpoint} ({named(error)})", is_silent=True)

    def _connected(self) -> Connection:
        connection = self._new()
        try:
            connection.connect()
            return Connection(connection.sock, self.limits.timeout_s)
        except ssl.SSLCertVerificationError as error:
            connection.close()
            raise StoreRefusedError(
                f"the certificate of {self.endpoint} is not trusted; name its authority's file in AWS_CA_BUNDLE"
            ) from error
        except (OSError, http.client.HTTPException, UnicodeError) as error:
            connection.close()
            said = str(error).removeprefix(_NO_TUNNEL)
            if self.proxy is not None and said != str(error) and said.startswith("4"):
                raise self.proxy.refusal(self.endpoint, said) from error
            way = f", through {self.proxy}" if self.proxy else ""
            raise UnservedError(f"no connection to {self.endpoint} ({named(error)}{way})", is_silent=True) from error
        except BaseException:
            connection.close()
            raise

    def _new(self) -> http.client.HTTPConnection:
        address = (self.proxy.host, self.proxy.port) if self.proxy else (self._name, self._port)
        options: dict[str, Any] = {"timeout": self.limits.connect_s}
        if not self._is_tls:
            return http.client.HTTPConnection(*address, **options)
        connection = http.client.HTTPSConnection(*address, **options, context=self._context())
        if self.proxy:
            host = self.host if self.host.endswith(f":{self._port}") else f"{self.host}:{self._port}"
            connection.set_tunnel(self._name, self._port, {"Host": host, **self.proxy.headers})
        return connection

    def _context(self) -> ssl.SSLContext:
        with self._lock:
            if self._tls is None:
                given = self._verify if isinstance(self._verify, str) else None
                try:
                    self._tls = ssl.create_default_context(cafile=given)
                    if given is None and self._authorities:
                        self._tls.load_verify_locations(self._authorities)
                except (OSError, ssl.SSLError) as error:
                    raise StoreRefusedError(
                        f"the file of trusted certificates {given or self._authorities!r} cannot be read ({named(error)}); correct "
                        "AWS_CA_BUNDLE"
                    ) from error
                if self._verify is False:
                    self._tls.check_hostname = False
                    self._tls.verify_mode = ssl.CERT_NONE
            return self._tls

    def _take(self) -> Connection | None:
        with self._lock:
            if self._process != os.getpid():  # connections of the parent's are not ours to use
                self._process, self._kept = os.getpid(), []
        while True:
            try:
                connection = self._kept.pop()
            except IndexError:
                return None
            if time.monotonic() - (connection.kept_since or 0) < _KEPT_S and connection.is_quiet:
                return connection
            connection.close()

    def _keep(self, connection: Connection) -> bool:
        connection.kept_since = now = time.monotonic()
        with contextlib.suppress(IndexError):
            if (
                now - (self._kept[0].kept_since or 0) > _KEPT_S
            ):  # the one that was used last goes first, so this one waits for ever
                self._kept.pop(0).close()
        if self._process != os.getpid() or len(self._kept) >= _KEPT:
            return False
        self._kept.append(connection)
        return True
