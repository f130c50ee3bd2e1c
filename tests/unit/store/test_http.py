"""One server: what goes out is what was meant, and no wait is longer than the limits."""

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from aesthetics_ops.errors import ScratchSpaceError
from aesthetics_ops.store.http import Sent, Server
from aesthetics_ops.store.interrupts import give_up
from aesthetics_ops.store.limits import StoreLimits
from aesthetics_ops.store.trying import UnservedError
from aesthetics_ops.testing.odd_s3 import OddS3, running_s3
from tests.support.certificates import self_signed

FIVE = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


@contextmanager
def serving(serve: Callable[[socket.socket], None], limits: StoreLimits | None = None) -> Iterator[Server]:
    """A server that does with its first connection what it is told."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            connection, _ = listener.accept()
            with connection, suppress(OSError):  # a client that goes may do so without taking all that came
                serve(connection)

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield Server(f"http://127.0.0.1:{listener.getsockname()[1]}", None, None, limits or StoreLimits(60, 0))
        thread.join()


@pytest.mark.parametrize("method", ["PUT", "POST"])
@pytest.mark.parametrize(
    "body",
    [b"", b"abc", memoryview(bytes(3 << 20)), [b"ab", b"", b"cd"] * 1000],
    ids=["none", "bytes", "memory", "pieces"],
)
def test_a_request_is_sent_as_it_was_given(method: str, body: bytes | memoryview | list[bytes]) -> None:
    sent = b"".join(body) if isinstance(body, list) else bytes(body)
    came = bytearray()

    def serve(connection: socket.socket) -> None:
        while b"\r\n\r\n" not in came or len(came.partition(b"\r\n\r\n")[2]) < len(sent):
            came.extend(connection.recv(1 << 20))
        connection.sendall(FIVE)

    with serving(serve) as server:
        headers = {"host": server.host, "x-amz-date": "now", "content-length": str(len(sent))}
        server.end(server.answer(server.send(method, "/b/a//../%20k?x=&y=%2F", headers, body)))
    head, _, arrived = bytes(came).partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    assert first == f"{method} /b/a//../%20k?x=&y=%2F HTTP/1.1"
    assert sorted(line.lower() for line in lines) == [
        "accept-encoding: identity",
        f"content-length: {len(sent)}",
        f"host: {server.host}",
        "x-amz-date: now",
    ]
    assert arrived == sent


def test_a_body_that_cannot_be_read_is_an_error_of_its_own() -> None:
    def pieces() -> Iterator[bytes]:
        yield b"ab"
        raise ScratchSpaceError("the file was cut")

    with serving(silent) as server, pytest.raises(ScratchSpaceError, match="cut"):
        server.answer(server.send("PUT", "/k", {"host": server.host, "content-length": "4"}, pieces()))


def read(server: Server) -> None:
    reply = server.answer(server.send("GET", "/k", {"host": server.host}))
    try:
        reply.data()
    finally:
        server.end(reply)


def silent(connection: socket.socket) -> None:
    while connection.recv(65_536):
        pass


def cut(connection: socket.socket) -> None:
    connection.sendall(FIVE[:-2])
    silent(connection)


def dripping(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n")
    connection.settimeout(0.05)
    while True:
        try:
            if not connection.recv(65_536):
                return
        except TimeoutError:
            connection.sendall(b"x")


@pytest.mark.parametrize(
    ("serve", "said"),
    [
        (silent, r"no answer from \S+ for 2 s"),
        (cut, "3 bytes"),
        (dripping, "comes too slowly"),
    ],
)
def test_silence_is_cut_off(serve: Callable[[socket.socket], None], said: str) -> None:
    with serving(serve, StoreLimits(2, 0)) as server, pytest.raises(UnservedError, match=said):
        read(server)


@pytest.mark.parametrize("answer", [b"", FIVE[:-2]], ids=["silent", "cut"])
def test_an_interruption_ends_a_wait(answer: bytes) -> None:
    def serve(connection: socket.socket) -> None:
        connection.recv(65_536)  # the request is under way
        connection.sendall(answer)
        give_up()
        silent(connection)

    with serving(serve, StoreLimits(600, 0)) as server, pytest.raises(UnservedError):
        read(server)


class CountingS3(OddS3):
    """It counts its connections."""

    connections = 0

    def get_request(self) -> tuple[Any, Any]:
        self.connections += 1
        return super().get_request()


def hurried(server: Server) -> Sent:
    """Send a request, and hurry its connection once there is something to read, so that nothing hangs on the short wait."""
    sent = server.send("GET", "/b/k", {"host": server.host})
    while sent.connection.is_quiet:
        time.sleep(0.001)
    sent.connection.hurry()
    return sent


def test_a_connection_that_was_hurried_serves_no_other_request() -> None:
    store = CountingS3()
    with running_s3(store):
        store.objects["b/k"] = b"hello"
        server = Server(store.url, None, None, StoreLimits(20, 0))
        for _ in range(2):
            reply = server.answer(hurried(server))
            assert bytes(reply.data()) == b"hello"
            server.end(reply)
        assert store.connections == 2


def test_what_was_hurried_is_not_sent_again_by_itself() -> None:
    def answer_once(connection: socket.socket) -> None:
        connection.recv(65_536)
        connection.sendall(FIVE)
        connection.recv(65_536)

    with serving(answer_once) as server:
        read(server)
        sent = hurried(server)
        assert sent.was_kept
        with pytest.raises(UnservedError, match=r"RemoteDisconnected|reset"):
            server.answer(sent)


@pytest.mark.parametrize("is_tls", [False, True])
def test_a_child_that_was_forked_leaves_the_connections_of_its_parent(tmp_path: Path, is_tls: bool) -> None:
    tls = self_signed(tmp_path) if is_tls else None
    store = CountingS3(tls=tls)
    with running_s3(store):
        store.objects["b/k"] = b"hello"
        program = (
            "import os, sys; from aesthetics_ops.store.http import Server; "
            "from aesthetics_ops.store.limits import StoreLimits\n"
            f"server = Server({store.url!r}, False, None, StoreLimits(5, 0))\n"
            "def read():\n"
            "    reply = server.answer(server.send('GET', '/b/k', {'host': server.host}))\n"
            "    assert bytes(reply.data()) == b'hello'\n"
            "    server.end(reply)\n"
            "read()\n"
            "if not (child := os.fork()):\n"
            "    read(); read(); os._exit(0)\n"
            "assert os.waitpid(child, 0)[1] == 0\n"
            "read()\n"
        )
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=300)
        assert (done.returncode, done.stderr) == (0, "")
        assert len(store.seen) == 4
        assert store.connections == 2


def test_a_server_that_outlives_a_module_ends_without_a_word() -> None:
    program = (
        "import os; from aesthetics_ops.store.http import Server; from aesthetics_ops.store.limits import StoreLimits; "
        "os.server = Server('http://127.0.0.1:9', None, None, StoreLimits(1, 0))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stderr == ""
