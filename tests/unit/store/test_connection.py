"""A connection waits for as long as its limit, and for no more than a quarter of it beside that; a hurried one much shorter."""

import socket
import struct
import threading
from collections.abc import Iterator

import pytest

from aesthetics_ops.store.connection import Connection

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def kernel_waits(connected: socket.socket, seconds: float | None = None) -> list[float]:
    """Return how long one call waits, to receive and to send; set it first where it is given."""
    found = []
    for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
        if seconds is not None:
            connected.setsockopt(socket.SOL_SOCKET, option, struct.pack("@ll", 0, int(seconds * 1e6)))
        whole, part = struct.unpack("@ll", connected.getsockopt(socket.SOL_SOCKET, option, 16))
        found.append(whole + part / 1e6)
    return found


def test_a_call_that_moved_something_hides_a_quarter_of_the_limit_at_most(pair: Pair) -> None:
    Connection(pair[0], 20)
    assert kernel_waits(pair[0]) == pytest.approx([5, 5], abs=0.02)


def test_what_has_had_its_time_is_waited_for_so_short_that_eight_take_a_quarter_of_the_limit(pair: Pair) -> None:
    connection = Connection(pair[0], 320)
    assert not connection.is_hurried
    connection.hurry()
    assert (connection.is_hurried, connection.timeout_s) == (True, 10)
    assert kernel_waits(pair[0]) == pytest.approx([2.5, 2.5], abs=0.02)
    pair[1].sendall(b"there")
    assert connection.receive(connection.buffer[:5], is_all=True) == 5


def test_what_comes_within_the_limit_is_waited_for(pair: Pair) -> None:
    connection = Connection(pair[0], 600)
    kernel_waits(pair[0], 0.01)
    sender = threading.Timer(0.2, pair[1].sendall, [b"late"])
    sender.start()
    assert connection.receive(connection.buffer[:4], is_all=True) == 4
    sender.join()
    assert bytes(connection.buffer[:4]) == b"late"


def test_what_is_taken_within_the_limit_is_sent_whole(pair: Pair) -> None:
    connection, sent, taken = Connection(pair[0], 600), bytes(range(256)) * 8192, bytearray()
    kernel_waits(pair[0], 0.01)

    def take() -> None:
        while len(taken) < len(sent) + 4:
            taken.extend(pair[1].recv(1 << 20))

    taker = threading.Timer(0.2, take)
    taker.start()
    connection.send(b"head", memoryview(sent))
    taker.join()
    assert taken == b"head" + sent


def test_silence_is_cut_off(pair: Pair) -> None:
    connection = Connection(pair[0], 0.2)
    pair[1].sendall(b"ab")
    assert connection.receive(connection.buffer[:4], is_all=True) == 2
    with pytest.raises(TimeoutError):
        connection.receive(connection.buffer[:2], is_all=True)
    with pytest.raises(TimeoutError):
        connection.send(b"", memoryview(bytes(64 << 20)))
