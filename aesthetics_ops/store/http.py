"""HTTP/1.1 to one server, over connections that are kept: no redirect is followed, and no wait is longer than the limits.

In: an endpoint, who is trusted, the limits.  Out: `Server.sent`, which gives a `Reply` to read.
A client of our own, because a signed request must not go where a reply points to: obstore follows redirects, with the session
token, and has no option against it; urllib3 does not, at twice the CPU of http.client for each small object.
"""

import contextlib
import http.client
import os
import select
import socket
import ssl
import threading
import time
import urllib.request
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from aesthetics_ops.errors import StoreRefusedError
from aesthetics_ops.store.interrupts import Interrupts
from aesthetics_ops.store.limits import StoreLimits
from aesthetics_ops.store.trying import UnservedError

__all__ = ["Body", "Reply", "Server", "etag_of"]

Body = bytes | memoryview | Iterable[bytes]

_KEPT: Final = 32  # connections that wait for their next request
_KEPT_S: Final = 50.0  # a server or a balancer closes them after a minute or so
_MOST_ERROR_BYTES: Final = 64 << 10
_CHUNK_BYTES: Final = 256 << 10
_GROWN_BYTES: Final = 64 << 20  # a longer body is not believed until it comes


class _Dropped(Exception):  # noqa: N818 -- not an error of the program: the request goes over another connection
    """The server had closed the connection that was kept."""


class Reply:
    """What a server answered; the body is read once.

    Attributes:
        status: of HTTP.
        length: bytes of the body; None where the answer does not say.
    """

    def __init__(self, response: http.client.HTTPResponse, server: "Server") -> None:
        self.status = response.status
        self.length = response.length
        self._response, self._server = response, server
        self._is_chunked = bool(response.chunked)
        self._started = time.monotonic()

    def header(self, name: str) -> str:
        """Return a header, or an empty text."""
        return self._response.headers.get(name) or ""

    @property
    def is_framed(self) -> bool:
        """Whether the answer says where its body ends, so that a cut one shows."""
        return self.length is not None or self._is_chunked

    def chunks(self) -> Iterator[memoryview]:
        """Yield the body in pieces; each is overwritten by the next.

        Raises:
            UnservedError: it broke off, or comes too slowly.
        """
        buffer = memoryview(bytearray(min(_CHUNK_BYTES, self.length if self.length is not None else _CHUNK_BYTES)))
        got = 0
        while self.length is None or got < self.length:
            count = self._into(buffer, got)
            if not count:
                break
            got += count
            yield buffer[:count]
        self._require_whole(got)

    def data(self) -> memoryview:
        """Return the whole body.

        Raises:
            UnservedError: it broke off, or comes too slowly.
        """
        if self.length is None or self.length > _GROWN_BYTES:
            return memoryview(b"".join(bytes(chunk) for chunk in self.chunks()))
        body = memoryview(bytearray(self.length))
        got = 0
        while got < len(body) and (count := self._into(body[got:], got)):
            got += count
        self._require_whole(got)
        return body.toreadonly()

    def text(self) -> str:
        """Return the start of the body, for what it says of an error."""
        try:
            return self._response.read(_MOST_ERROR_BYTES).decode(errors="replace")
        except (OSError, http.client.HTTPException):
            return ""

    def _into(self, buffer: memoryview, got: int) -> int:
        if time.monotonic() - self._started > self._server.limits.body_s(got):
            raise UnservedError(f"the answer comes too slowly, {got} bytes so far", is_silent=True)
        try:
            return self._response.readinto(buffer)
        except (OSError, http.client.HTTPException) as error:
            raise UnservedError(f"the answer broke off after {got} bytes ({_named(error)})", is_silent=True) from error

    def _require_whole(self, got: int) -> None:
        if self.length is not None and got != self.length:
            raise UnservedError(f"the answer broke off after {got} of {self.length} bytes", is_silent=True)


class Server:
    """One endpoint, and the connections to it.

    Attributes:
        endpoint: its URL, without user and password; it may have a path.
        path: of the endpoint, without a slash at its end.
        host: as requests name it.
        limits: how long it may be silent.
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
        self._proxy = _proxy_for(parts.scheme, self.host)
        self._lock = threading.RLock()  # a signal's handler may come in anywhere
        self._process = os.getpid()
        self._kept: list[tuple[float, http.client.HTTPConnection]] = []

    def __del__(self) -> None:
        """Close what is kept."""
        if getattr(self, "_process", None) == os.getpid():
            for _, connection in self._kept:
                connection.close()

    @contextlib.contextmanager
    def sent(self, method: str, target: str, headers: Mapping[str, str], body: Body = b"") -> Iterator[Reply]:
        """Send a request, and give the answer to read; its connection is kept when it was read to the end.

        Args:
            method: GET, HEAD, PUT, POST or DELETE.
            target: path and query, encoded, the endpoint's own path first.
            headers: all of them; Host and Content-Length too.
            body: pieces where it is large.

        Raises:
            UnservedError: no answer.
            StoreRefusedError: the server's certificate is not trusted.
        """
        connection, response = self._answered(method, target, headers, body)
        socket_ = connection.sock
        is_reusable = False
        try:
            yield Reply(response, self)
            if response.length == 0:
                response.read()  # so that http.client takes it for read
            is_reusable = response.isclosed() and not response.will_close and connection.sock is not None
        finally:
            if socket_ is not None:
                Interrupts.sockets.discard(socket_)
            if is_reusable:
                self._keep(connection)
            else:
                connection.close()
                response.close()

    def _answered(
        self, method: str, target: str, headers: Mapping[str, str], body: Body
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        """Send a request over a connection that was kept, or else a new one."""
        kept = self._take()
        if kept is not None:
            with contextlib.suppress(_Dropped):
                return kept, self._exchanged(kept, method, target, headers, body, was_kept=True)
        connection = self._connected()
        return connection, self._exchanged(connection, method, target, headers, body, was_kept=False)

    def _exchanged(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        target: str,
        headers: Mapping[str, str],
        body: Body,
        *,
        was_kept: bool,
    ) -> http.client.HTTPResponse:
        count, connected = Interrupts.count, connection.sock
        Interrupts.sockets.add(connected)
        try:
            try:
                connection.request(method, *self._proxied(target, body, headers))
            except (BrokenPipeError, ConnectionResetError):
                if was_kept:
                    raise
                # the server may have said why before it closed
            return connection.getresponse()
        except BaseException as error:
            Interrupts.sockets.discard(connected)
            connection.close()
            if not isinstance(error, OSError | http.client.HTTPException):
                raise
            is_stale = isinstance(error, ConnectionError) and was_kept and Interrupts.count == count
            if is_stale and method in ("GET", "HEAD"):
                raise _Dropped from None
            raise self._unanswered(error) from error

    def _unanswered(self, error: Exception) -> UnservedError:
        if isinstance(error, TimeoutError):
            return UnservedError(f"no answer from {self.endpoint} for {self.limits.timeout_s:g} s", is_silent=True)
        return UnservedError(f"no answer from {self.endpoint} ({_named(error)})", is_silent=True)

    def _connected(self) -> http.client.HTTPConnection:
        connection = self._new()
        try:
            connection.connect()
            connection.sock.settimeout(self.limits.timeout_s)
        except ssl.SSLCertVerificationError as error:
            connection.close()
            raise StoreRefusedError(
                f"the certificate of {self.endpoint} is not trusted; name its authority's file in AWS_CA_BUNDLE"
            ) from error
        except (OSError, http.client.HTTPException, UnicodeError) as error:
            connection.close()
            raise UnservedError(f"no connection to {self.endpoint} ({_named(error)})", is_silent=True) from error
        except BaseException:
            connection.close()
            raise
        return connection

    def _new(self) -> http.client.HTTPConnection:
        address = (self._proxy.host, self._proxy.port) if self._proxy else (self._name, self._port)
        options: dict[str, Any] = {"timeout": self.limits.connect_s, "blocksize": _CHUNK_BYTES}
        if not self._is_tls:
            return http.client.HTTPConnection(*address, **options)
        connection = http.client.HTTPSConnection(*address, **options, context=self._context())
        if self._proxy:
            connection.set_tunnel(self._name, self._port, self._proxy.headers)
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
                        f"the file of trusted certificates {given or self._authorities!r} cannot be read ({_named(error)}); correct "
                        "AWS_CA_BUNDLE"
                    ) from error
                if self._verify is False:
                    self._tls.check_hostname = False
                    self._tls.verify_mode = ssl.CERT_NONE
            return self._tls

    def _proxied(self, target: str, body: Body, headers: Mapping[str, str]) -> tuple[str, Body, Mapping[str, str]]:
        if self._proxy is None or self._is_tls:
            return target, body, headers
        return f"http://{self.host}{target}", body, {**headers, **self._proxy.headers}

    def _take(self) -> http.client.HTTPConnection | None:
        with self._lock:
            if self._process != os.getpid():  # connections of the parent's are not ours to use
                self._process, self._kept = os.getpid(), []
            while self._kept:
                since, connection = self._kept.pop()
                if time.monotonic() - since < _KEPT_S and not _is_readable(connection.sock):
                    return connection
                connection.close()
        return None

    def _keep(self, connection: http.client.HTTPConnection) -> None:
        with self._lock:
            if self._process == os.getpid() and len(self._kept) < _KEPT:
                self._kept.append((time.monotonic(), connection))
                return
        connection.close()


class _Proxy:
    """A proxy of the environment's (HTTP_PROXY, HTTPS_PROXY)."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        self.host, self.port = parts.hostname or "", parts.port or 80
        self.headers: dict[str, str] = {}
        if parts.username:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
            self.headers["Proxy-Authorization"] = f"Basic {b64encode(pair).decode()}"


def _proxy_for(scheme: str, host: str) -> _Proxy | None:
    url = urllib.request.getproxies().get(scheme)
    return None if not url or urllib.request.proxy_bypass(host) else _Proxy(url)


def etag_of(reply: Reply) -> str:
    """Return the ETag that an answer names, without quotes.

    Raises:
        UnservedError: it names none, so it is not an object store's.
    """
    etag = reply.header("etag").strip().removeprefix("W/").strip('"')
    if not etag:
        raise UnservedError("the answer has no ETag, so it is not the store's")
    return etag


def _is_readable(connected: socket.socket | None) -> bool:
    """Say whether a connection that should be quiet is not: the server has closed it, or says what nobody asked for."""
    if connected is None:
        return True
    poll = select.poll()
    try:
        poll.register(connected, select.POLLIN)
        return bool(poll.poll(0))
    except (OSError, ValueError):
        return True


def _named(error: BaseException) -> str:
    """Return what went wrong in few words; http.client's own texts may hold what the server sent."""
    return error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
