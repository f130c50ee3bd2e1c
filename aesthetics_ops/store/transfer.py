"""One request of HTTP/1.1 over libcurl (`pycurl`), which frames, encrypts and keeps connections.

In: a method, a URL, headers, a body.  Out: `Transfer`, which moves on when it is told to, so that whoever reads the answer sets
the pace and keeps the time.  No redirect is followed.
"""

import os
import select
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import pycurl

__all__ = ["Body", "Transfer"]

Body = bytes | memoryview | Iterable[bytes]

_BUFFER_BYTES: Final = 256 << 10
_KEPT_S: Final = 50  # a server or a balancer closes idle connections after a minute or so
_MOST_HEAD_BYTES: Final = 64 << 10
_NO_HEADERS: Final = ("accept:", "expect:")  # of libcurl's own
_SUPPRESS_CONNECT_HEADERS: Final = 265  # of libcurl's numbers; pycurl has no name for it

_CURL: Final[dict[int, Any]] = {
    pycurl.BUFFERSIZE: _BUFFER_BYTES,
    pycurl.FOLLOWLOCATION: 0,
    pycurl.HTTP_VERSION: pycurl.CURL_HTTP_VERSION_1_1,
    pycurl.MAXAGE_CONN: _KEPT_S,
    pycurl.NOSIGNAL: 1,
    pycurl.PATH_AS_IS: 1,
    pycurl.PROTOCOLS: pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS,
    pycurl.USERAGENT: "aesthetics-ops",
    _SUPPRESS_CONNECT_HEADERS: 1,
    pycurl.UPLOAD_BUFFERSIZE: _BUFFER_BYTES,
}


class Transfer:
    """A handle that makes one request after the other, over a connection that is kept; one thread uses it at a time.

    Attributes:
        status: of the answer; 0 until its headers are there.  Answers of status 1xx go before it.
        fields: its headers, with lower-case names; the first of equal ones, and all values of content-length.
        error: number and text of what ended it, 0 and "" when it ended well.
        is_ended: nothing more comes.
        moved: when something came or went last, by the monotonic clock.
    """

    def __init__(self, options: Mapping[int, Any]) -> None:
        """Make a handle.

        Args:
            options: of libcurl, that hold for each request.
        """
        self._options = {**_CURL, **options}
        self._curl, self._multi, self._poll = pycurl.Curl(), pycurl.CurlMulti(), select.poll()
        self._multi.setopt(pycurl.M_MAXCONNECTS, 1)
        self._multi.setopt(pycurl.M_SOCKETFUNCTION, self._watch)
        self._multi.setopt(pycurl.M_TIMERFUNCTION, self._set_timer)
        self._due: float | None = None
        self._method = ""
        self._lines: list[bytes] = []  # of headers, that nobody has read yet
        self._pieces: list[bytes] = []
        self._left: Iterator[Any] = iter(())
        self._head_bytes = self._seen = 0  # bytes of headers; pieces that `step` knows of
        self._clear()

    def begin(self, method: str, url: str, headers: Iterable[str], body: Body, body_bytes: int) -> None:
        """Begin a request.

        Args:
            method: GET, HEAD, PUT, POST or DELETE.
            url: whole, encoded.
            headers: lines without their ends.
            body: pieces where it is large.
            body_bytes: of it; the server is told.
        """
        self._clear()
        curl = self._curl
        if method != self._method:
            self._prepare(method)
        if method in ("PUT", "POST"):
            self._left = iter((body,) if isinstance(body, bytes | memoryview) else body)
            curl.setopt(pycurl.INFILESIZE_LARGE, body_bytes)
        curl.setopt(pycurl.URL, url)
        curl.setopt(pycurl.HTTPHEADER, [*headers, *_NO_HEADERS])
        self.moved = time.monotonic()
        self._multi.add_handle(curl)

    def step(self, longest_s: float) -> None:
        """Move what can be moved; wait for it so many seconds at most."""
        if self._due is not None:
            longest_s = max(0.0, min(longest_s, self._due - time.monotonic()))
        ready = self._poll.poll(longest_s * 1000)
        running = 1
        for socket, events in ready:
            bits = (pycurl.CSELECT_IN * bool(events & ~select.POLLOUT)) | (
                pycurl.CSELECT_OUT * bool(events & select.POLLOUT)
            )
            _, running = self._multi.socket_action(socket, bits)
        if not ready and running and self._due is not None and self._due <= time.monotonic():
            _, running = self._multi.socket_action(pycurl.SOCKET_TIMEOUT, 0)
        if self._lines or len(self._pieces) > self._seen:
            self.moved, self._seen = time.monotonic(), len(self._pieces)
            self._read_lines()
        if self._failed is not None:
            raise self._failed
        if not running:
            self._end()
        elif self._head_bytes > _MOST_HEAD_BYTES and not self.status:
            self.error, self.is_ended = (0, "its headers do not end"), True
            self._multi.remove_handle(self._curl)

    def take(self) -> list[bytes]:
        """Return what has come of the body since the last call."""
        pieces = self._pieces[:]
        self._pieces.clear()
        self._seen = 0
        return pieces

    def release(self) -> bool:
        """Forget the answer; say whether it was read to its end, so that the handle may be used again: else it is closed."""
        is_whole = self.is_ended
        if not is_whole:
            self.close()
        self._clear()
        return is_whole

    def close(self) -> None:
        """Close the connection; the handle is of no use any more."""
        self._multi.close()
        self._curl.close()

    @property
    def system_error(self) -> str:
        """What the operating system said of the failure, or an empty text."""
        number = self._curl.getinfo(pycurl.OS_ERRNO)
        return os.strerror(number) if number else ""

    @property
    def proxy_status(self) -> int:
        """What the proxy answered to CONNECT; 0 without."""
        return int(self._curl.getinfo(pycurl.HTTP_CONNECTCODE))

    def _clear(self) -> None:
        self.status, self.is_ended, self.error = 0, False, (0, "")
        self.fields: dict[bytes, bytes] = {}
        self._lines.clear()
        self._pieces.clear()
        self.moved = 0.0
        self._head_bytes = self._coming = self._seen = 0
        self._left = iter(())
        self._rest: memoryview | bytes = b""
        self._failed: Exception | None = None

    def _prepare(self, method: str) -> None:
        curl = self._curl
        curl.reset()
        for option, value in self._options.items():
            curl.setopt(option, value)
        curl.setopt(
            pycurl.HEADERFUNCTION, self._lines.append
        )  # each callback waits for the interpreter's lock: they do little
        curl.setopt(pycurl.WRITEFUNCTION, self._pieces.append)
        if method == "HEAD":
            curl.setopt(pycurl.NOBODY, 1)
        elif method in ("PUT", "POST"):
            curl.setopt(pycurl.UPLOAD, 1)
            curl.setopt(pycurl.READFUNCTION, self._on_room)
        if method not in ("GET", "HEAD"):
            curl.setopt(pycurl.CUSTOMREQUEST, method)
        self._method = method

    def _watch(self, what: int, socket: int, _multi: object, _data: object) -> None:
        if what == pycurl.POLL_REMOVE:
            self._poll.unregister(socket)
        else:
            self._poll.register(
                socket, (select.POLLIN * bool(what & pycurl.POLL_IN)) | (select.POLLOUT * bool(what & pycurl.POLL_OUT))
            )

    def _set_timer(self, milliseconds: int) -> None:
        self._due = None if milliseconds < 0 else time.monotonic() + milliseconds / 1000

    def _read_lines(self) -> None:
        """Take the headers that came; those after the last answer's are trailers."""
        for line in self._lines:
            self._head_bytes += len(line)
            text = line.rstrip(b"\r\n")
            if self.status:
                break
            if text.startswith(b"HTTP/") and not self._coming:
                self._coming = int(text.split(None, 2)[1])
            elif text:
                name, _, value = text.partition(b":")
                self._take_field(name.strip().lower(), value.strip())
            elif self._coming < 200:
                self.fields.clear()
                self._coming = 0
            else:
                self.status = self._coming
        self._lines.clear()

    def _take_field(self, name: bytes, value: bytes) -> None:
        if name == b"content-length" and name in self.fields:
            value = self.fields.pop(name) + b"," + value
        self.fields.setdefault(name, value)

    def _on_room(self, size: int) -> bytes | int:
        self.moved = time.monotonic()
        try:
            while not self._rest:
                piece = next(self._left, None)
                if piece is None:
                    return b""
                self._rest = memoryview(piece).cast("B")
        except Exception as error:  # of the body's; a callback of libcurl's cannot raise, so `step` does
            self._failed = error
            return int(pycurl.READFUNC_ABORT)
        taken, self._rest = self._rest[:size], self._rest[size:]
        return bytes(taken)

    def _end(self) -> None:
        _, _, failed = self._multi.info_read()
        if failed:
            self.error = failed[0][1:]
        self.is_ended = True
        self._multi.remove_handle(self._curl)
