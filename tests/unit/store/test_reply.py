"""Answers of every shape: a whole one is read, what is none is not taken for one, and only a clean connection is kept."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from aesthetics_ops.errors import StoreRefusedError
from aesthetics_ops.store.http import Server
from aesthetics_ops.store.limits import StoreLimits
from aesthetics_ops.store.trying import UnservedError

OK = b"HTTP/1.1 200 OK\r\n"
FIVE = OK + b"Content-Length: 5\r\n\r\nhello"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


@contextmanager
def answering(answer: bytes) -> Iterator[Server]:
    """A server that answers one request and closes."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65_536)
                with suppress(OSError):
                    connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield Server(f"http://127.0.0.1:{listener.getsockname()[1]}", None, None, StoreLimits(60, 0))
        thread.join()


@pytest.mark.parametrize(
    ("method", "answer", "body", "is_done"),
    [
        ("GET", FIVE, b"hello", True),
        ("GET", FIVE + b"XX", b"hello", False),
        ("GET", FIVE + b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n", b"hello", False),
        ("GET", b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nLink: a\r\n\r\n" + FIVE, b"hello", True),
        ("GET", CHUNKED + b"5\r\nhello\r\n0\r\nETag: x\r\n\r\n", b"hello", True),
        ("GET", OK + b"Connection: close\r\nContent-Length: 5\r\n\r\nhello", b"hello", False),
        ("GET", OK + b"\r\nhello", b"hello", False),
        ("GET", b"HTTP/1.1 204 No\r\n\r\n", b"", True),
        ("HEAD", OK + b"Content-Length: 5\r\n\r\n", b"", True),
        ("HEAD", FIVE, b"", False),
    ],
)
def test_an_answer_is_read_to_its_end(method: str, answer: bytes, body: bytes, is_done: bool) -> None:
    with answering(answer) as server:
        reply = server.answer(server.send(method, "/k", {"host": server.host}))
        assert (bytes(reply.data()), reply.is_done, reply.header("etag")) == (body, is_done, "")
        server.end(reply)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\x16\x03 no HTTP\r\n\r\n",
        OK + b"ETag: ",
        OK + b"X: y\r\n" * 20_000,
        b"HTTP/1.1 100 Continue\r\n\r\n" * 20_000,
        b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        OK + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        OK + b"Content-Length: -5\r\n\r\nhello",
        OK + b"Content-Length: 9\r\n\r\nhello",
        CHUNKED + b"5\r\nhello\r\n",
        CHUNKED + b"zz\r\nhello\r\n",
    ],
)
def test_what_is_no_whole_answer_is_not_served(answer: bytes) -> None:
    with answering(answer) as server, pytest.raises(UnservedError):
        server.answer(server.send("GET", "/k", {"host": server.host})).data()


@pytest.mark.parametrize("value", ["a\nb", "a\r\nx: y", "\0", "ä"])
def test_a_header_that_would_break_the_request_is_not_sent(value: str) -> None:
    server = Server("http://127.0.0.1:9", None, None, StoreLimits(5, 0))
    with pytest.raises(StoreRefusedError, match="cannot be sent"):
        server.answer(server.send("GET", "/k", {"host": server.host, "range": value}))
