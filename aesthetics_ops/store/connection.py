"""One connection to a server: bytes out, bytes in, and no wait that is longer than the limit.

In: a connected socket, plain or of TLS.  Out: `Connection`.  Nothing here knows HTTP.
"""

import select
import socket
import ssl
import struct
import time
from collections.abc import Callable, Iterable
from typing import Final

__all__ = ["BUFFER_BYTES", "Body", "Connection"]

Body = bytes | memoryview | Iterable[bytes]

BUFFER_BYTES: Final = 256 << 10
_WAITS: Final = 4  # of the kernel, of which the limit consists
_HURRIED: Final = 32  # so eight that are hurried take a quarter of the limit together


class Connection:
    """A connection that one thread uses at a time.

    Attributes:
        socket: it.
        buffer: for what comes, of `BUFFER_BYTES`.
        kept_since: when its last answer ended, by the monotonic clock; None when it is new.
        timeout_s: the limit of a wait, in seconds.
        is_hurried: whether that is shorter than it was.
    """

    __slots__ = ("_flags", "_poll", "buffer", "is_hurried", "kept_since", "socket", "timeout_s")

    def __init__(self, connected: socket.socket, timeout_s: float) -> None:
        self.socket = connected
        self.buffer = memoryview(bytearray(BUFFER_BYTES))
        self.kept_since: float | None = None
        self.is_hurried = False
        self._flags = 0 if isinstance(connected, ssl.SSLSocket) else socket.MSG_WAITALL
        self._limit(timeout_s)
        self._poll = select.poll()
        self._poll.register(connected, select.POLLIN)

    def hurry(self) -> None:
        """Wait for a small part of the limit from now on: that is enough for what has had its time already."""
        self.is_hurried = True
        self._limit(self.timeout_s / _HURRIED)

    def _limit(self, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        if isinstance(self.socket, ssl.SSLSocket):
            self.socket.settimeout(timeout_s)
            return
        # The kernel keeps the time: Python's own timeouts cost one more system call, and a wait for the interpreter's lock, per call.
        # A call that moves something and then waits does not say how long it waited: a part of the limit at most.
        wait_s = timeout_s / _WAITS
        limit = struct.pack("@ll", int(wait_s), max(1, int(wait_s % 1 * 1e6)))
        self.socket.settimeout(None)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)

    @property
    def is_quiet(self) -> bool:
        """Whether the server has neither closed it nor said what nobody asked for."""
        try:
            return not self._poll.poll(0) and not (isinstance(self.socket, ssl.SSLSocket) and self.socket.pending())
        except (OSError, ValueError):
            return False

    def send(self, head: bytes, body: Body) -> None:
        """Send a request.

        Raises:
            TimeoutError: the server took nothing for as long as the limit.
            OSError: the connection failed.
        """
        if isinstance(body, bytes):
            self._send(head + body)
            return
        self._send(head)
        for piece in (body,) if isinstance(body, memoryview) else body:
            self._send(piece)

    def receive(self, buffer: memoryview, *, is_all: bool = False) -> int:
        """Receive what comes, and return how many bytes that are: 0 when the server has closed.

        Args:
            buffer: where they go.
            is_all: wait until it is full, for as long as the limit; fewer may come even so.

        Raises:
            TimeoutError: nothing came for as long as the limit.
            OSError: the connection failed.
        """
        return self._moved(self.socket.recv_into, buffer, 0, self._flags if is_all else 0)

    def _send(self, data: bytes | memoryview) -> None:
        left = memoryview(data).cast("B")
        while left:
            left = left[self._moved(self.socket.send, left) :]

    def _moved(self, move: Callable[..., int], *arguments: object) -> int:
        """Return how many bytes a call moved, which is repeated until it moves some or the limit is over."""
        until = time.monotonic() + self.timeout_s * (1 - 0.5 / _WAITS)  # the kernel's waits may end a little early
        while True:
            try:
                return move(*arguments)
            except BlockingIOError as error:
                if time.monotonic() > until:
                    raise TimeoutError from error

    def close(self) -> None:
        """Close it."""
        self.socket.close()
