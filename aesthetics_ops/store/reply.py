"""What a server answered: framed by llhttp (`httptools`), its body read straight from the connection where its length is known.

In: a connection that a request was sent over.  Out: `Reply`.
"""

import time
from collections.abc import Iterator
from http.client import RemoteDisconnected
from typing import Any, Final

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from aesthetics_ops.store.connection import BUFFER_BYTES, Connection
from aesthetics_ops.store.etags import bare_etag
from aesthetics_ops.store.limits import StoreLimits
from aesthetics_ops.store.trying import UnservedError

__all__ = ["Reply", "etag_of", "named"]

_MOST_HEAD_BYTES: Final = 64 << 10
_MOST_ERROR_BYTES: Final = 64 << 10
_GROWN_BYTES: Final = 64 << 20  # a longer body is not believed until it comes


class _Answer:
    """What the parser finds: the first answer that is no 1xx; `is_followed` says that something came after it."""

    def __init__(self) -> None:
        self.status = 0
        self.fields: dict[bytes, bytes] = {}
        self.pieces: list[bytes] = []
        self.is_ended = self.is_followed = self.is_kept_alive = False
        self.parser: Any = HttpResponseParser(self)

    def feed(self, data: memoryview) -> None:
        try:
            self.parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade):
            if not self.is_ended:
                raise
            self.is_followed = True

    def on_message_begin(self) -> None:
        self.is_followed = self.is_ended

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.status:  # and no trailer
            self.fields.setdefault(name.lower(), value)

    def on_headers_complete(self) -> None:
        if self.status:
            return
        status = self.parser.get_status_code()
        if status < 200:
            self.fields.clear()
        else:
            self.status, self.is_kept_alive = status, self.parser.should_keep_alive()

    def on_body(self, piece: bytes) -> None:
        if not self.is_ended:
            self.pieces.append(piece)

    def on_message_complete(self) -> None:
        self.is_ended = self.status != 0


class Reply:
    """What a server answered; the body is read once.

    Attributes:
        connection: that it comes over.
        status: of HTTP.
        length: bytes of the body; None where the answer does not say.
    """

    def __init__(self, connection: Connection, method: str, limits: StoreLimits) -> None:
        """Wait for the head of the answer.

        Raises:
            RemoteDisconnected: the server closed without a word.
            UnservedError: what came is no answer.
            OSError: the connection failed; TimeoutError when nothing came.
        """
        self.connection, self._limits = connection, limits
        self._started = time.monotonic()
        self._got = 0
        self._answer = _Answer()
        try:
            self._take_head()
        except BaseException:
            self._answer.parser = None
            raise
        self.status, fields = self._answer.status, self._answer.fields
        self._is_chunked = fields.get(b"transfer-encoding", b"").lower().endswith(b"chunked")
        self.length: int | None = None
        if method == "HEAD" or self.status in (204, 304):
            self.length = 0
        elif b"content-length" in fields and b"transfer-encoding" not in fields:
            self.length = int(fields[b"content-length"])  # the parser takes digits only

    def header(self, name: str) -> str:
        """Return a header by its lower-case name, or an empty text."""
        return self._answer.fields.get(name.encode(), b"").decode("latin-1")

    @property
    def is_framed(self) -> bool:
        """Whether the answer says where its body ends, so that a cut one shows."""
        return self.length is not None or self._is_chunked

    @property
    def is_done(self) -> bool:
        """Whether the connection is ready for another request: the answer was read to its end, and nothing came after it."""
        answer = self._answer
        is_whole = answer.is_ended or self._got == self.length
        return answer.is_kept_alive and is_whole and not answer.pieces and not answer.is_followed

    def chunks(self) -> Iterator[memoryview]:
        """Yield the body in pieces; each is overwritten by the next.

        Raises:
            UnservedError: it broke off, or comes too slowly.
        """
        yield from self._arrived()
        if self.length is None:
            while not self._answer.is_ended and (count := self._into(self.connection.buffer)):
                self._feed(count)
                yield from self._arrived()
            if self._is_chunked and not self._answer.is_ended:
                raise UnservedError(f"the answer broke off after {self._got} bytes", is_silent=True)
            return
        while (left := self.length - self._got) > 0:
            buffer = self.connection.buffer[: min(left, BUFFER_BYTES)]
            count = self._whole(self._into(buffer, is_all=True))
            self._got += count
            yield buffer[:count]

    def data(self) -> memoryview:
        """Return the whole body.

        Raises:
            UnservedError: it broke off, or comes too slowly.
        """
        if self.length is None or self.length > _GROWN_BYTES:
            return memoryview(b"".join(bytes(chunk) for chunk in self.chunks()))
        arrived = list(self._arrived())
        if len(arrived) == 1 and self._got == self.length:
            return arrived[0]
        body = memoryview(bytearray(self.length))
        body[: self._got] = b"".join(arrived)
        while self._got < self.length:
            self._got += self._whole(self._into(body[self._got :], is_all=True))
        return body.toreadonly()

    def text(self) -> str:
        """Return the start of the body, for what it says of an error."""
        found = bytearray()
        try:
            for chunk in self.chunks():
                found += chunk
                if len(found) >= _MOST_ERROR_BYTES:
                    break
        except UnservedError:
            pass  # what came says more than that it broke off
        return found.decode(errors="replace")

    def end(self) -> None:
        """Let go of the parser, which holds what holds it."""
        self._answer.parser = None

    def _take_head(self) -> None:
        received = 0
        while not self._answer.status:
            if received >= _MOST_HEAD_BYTES:
                raise UnservedError(f"the answer's headers do not end after {received} bytes", is_silent=True)
            self._require_speed(received)
            count = self.connection.receive(self.connection.buffer)
            if not count:
                if received:
                    raise UnservedError("the answer broke off in its headers", is_silent=True)
                raise RemoteDisconnected("")
            received += count
            self._feed(count)

    def _feed(self, count: int) -> None:
        try:
            self._answer.feed(self.connection.buffer[:count])
        except (HttpParserError, HttpParserUpgrade) as error:
            raise UnservedError("the answer is not HTTP/1.1 as it should be", is_silent=True) from error

    def _arrived(self) -> Iterator[memoryview]:
        """Yield what the parser has of the body."""
        if self.length == 0:
            return
        pieces, self._answer.pieces = self._answer.pieces, []
        for piece in pieces:
            self._got += len(piece)
            yield memoryview(piece)

    def _into(self, buffer: memoryview, *, is_all: bool = False) -> int:
        self._require_speed(self._got)
        try:
            return self.connection.receive(buffer, is_all=is_all)
        except OSError as error:
            raise UnservedError(
                f"the answer broke off after {self._got} bytes ({named(error)})", is_silent=True
            ) from error

    def _require_speed(self, got: int) -> None:
        if time.monotonic() - self._started > self._limits.body_s(got):
            raise UnservedError(f"the answer comes too slowly, {got} bytes so far", is_silent=True)

    def _whole(self, count: int) -> int:
        if not count:
            raise UnservedError(f"the answer broke off after {self._got} of {self.length} bytes", is_silent=True)
        return count


def etag_of(reply: Reply) -> str:
    """Return the ETag that an answer names, without quotes.

    Raises:
        UnservedError: it names none, so it is not an object store's.
    """
    etag = bare_etag(reply.header("etag"))
    if not etag:
        raise UnservedError("the answer has no ETag, so it is not the store's")
    return etag


def named(error: BaseException) -> str:
    """Return what went wrong in few words; a library's own texts may hold what the server sent."""
    return error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
