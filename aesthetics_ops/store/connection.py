"""One connection to a server: bytes out, bytes in, and no wait that is longer than the limit.

In: a connected socket, plain or of TLS.  Out: `Connection`.  Nothing here knows HTTP.
"""

import select
import socket
import ssl
import struct
from collections.abc import Iterable
from typing import Final

__all__ = ["BUFFER_BYTES", "Body", "Connection"]

Body = bytes | memoryview | Iterable[bytes]

BUFFER_BYTES: Final = 256 << 10


class Connection:
    """A connection that one thread uses at a time.

    Attributes:
        socket: it.
        buffer: for what comes, of `BUFFER_BYTES`.
        kept_since: when its last answer ended, by the monotonic clock; None when it is new.
    """

    __slots__ = ("_flags", "_poll", "buffer", "kept_since", "socket")

    def __init__(self, connected: socket.socket, timeout_s: float) -> None:
        self.socket = connected
        self.buffer = memoryview(bytearray(BUFFER_BYTES))
        self.kept_since: float | None = None
        if isinstance(connected, ssl.SSLSocket):
            connected.settimeout(timeout_s)
            self._flags = 0
        else:
            # The kernel keeps the time: Python's own timeouts cost one more system call, and a wait for the interpreter's lock, per call.
            limit = struct.pack("@ll", int(timeout_s), max(1, int(timeout_s % 1 * 1e6)))
            connected.settimeout(None)
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
            self._flags = socket.MSG_WAITALL
        self._poll = select.poll()
        self._poll.register(connected, select.POLLIN)

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
        try:
            if isinstance(body, bytes):
                self.socket.sendall(head + body)
                return
            self.socket.sendall(head)
            for piece in (body,) if isinstance(body, memoryview) else body:
                self.socket.sendall(piece)
        except BlockingIOError as error:
            raise TimeoutError from error

    def receive(self, buffer: memoryview, *, is_all: bool = False) -> int:
        """Receive what comes, and return how many bytes that are: 0 when the server has closed.

        Args:
            buffer: where they go.
            is_all: wait until it is full, for as long as the limit; fewer may come even so.

        Raises:
            TimeoutError: nothing came for as long as the limit.
            OSError: the connection failed.
        """
        try:
            return self.socket.recv_into(buffer, 0, self._flags if is_all else 0)
        except BlockingIOError as error:
            raise TimeoutError from error

    def close(self) -> None:
        """Close it."""
        self.socket.close()
