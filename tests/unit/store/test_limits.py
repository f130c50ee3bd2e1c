"""Servers that hang, that are busy for a while or for ever: each request ends within its limits, and the error says what they are.

Nothing here measures time but by a bound that is many times what it should take.
"""

import base64
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from aesthetics_ops.errors import SettingsError, StoreUnavailableError
from aesthetics_ops.settings import BuildSettings
from aesthetics_ops.store import Store, StoreLimits, StoreThreads, Swap, give_up, open_store
from aesthetics_ops.store.interrupts import Interrupts
from aesthetics_ops.store.pace import pace_of
from aesthetics_ops.testing.odd_s3 import OddS3
from tests.support.s3 import point_to
from tests.support.waiting import ending_by_itself

SHORT = StoreLimits(timeout_s=0.3, retry_s=0.5)
BUSY = StoreLimits(timeout_s=20, retry_s=2)  # several attempts: on a busy machine one may take half a second
ONCE = StoreLimits(timeout_s=0.3, retry_s=0.0)
LONG = StoreLimits(timeout_s=20, retry_s=60)

Behaviour = Callable[[socket.socket], None]


def _says_nothing(connection: socket.socket) -> None:
    connection.recv(65_536)


def _stops_in_headers(connection: socket.socket) -> None:
    connection.recv(65_536)
    connection.sendall(b"HTTP/1.1 200 OK\r\nETag: ")


def _stops_in_the_body(connection: socket.socket) -> None:
    connection.recv(65_536)
    connection.sendall(b'HTTP/1.1 200 OK\r\nETag: "e"\r\nContent-Length: 100\r\n\r\n' + b"x" * 50)


def _reads_nothing(connection: socket.socket) -> None:
    pass


@contextmanager
def running(behaviour: Behaviour) -> Iterator[str]:
    """A server that does one thing with each connection, and then leaves it open."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        left: list[socket.socket] = []

        def serve() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    left.append(connection)
                    with suppress(OSError):
                        behaviour(connection)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}"
        finally:
            server.shutdown(socket.SHUT_RDWR)
            for connection in left:
                connection.close()
            thread.join()


USES: dict[str, Callable[[Store], Any]] = {
    "get": lambda store: store.get("k"),
    "list": lambda store: store.list(),
    "put": lambda store: store.put("k", bytes(30 << 20)),
    "swap": lambda store: store.put_if_absent("k", b"1"),
}
HANGS: dict[str, tuple[Behaviour, tuple[str, ...]]] = {
    "in the TLS handshake": (_says_nothing, ("get", "put")),
    "before headers": (_says_nothing, ("get", "list", "swap")),
    "in headers": (_stops_in_headers, ("get", "list", "swap")),
    "in the body": (_stops_in_the_body, ("get", "list")),
    "in the upload": (_reads_nothing, ("put",)),
}


@pytest.mark.parametrize(("hang", "use"), [(hang, use) for hang, (_, uses) in HANGS.items() for use in uses])
def test_a_hang_is_cut_off_wherever_it_is(hang: str, use: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with running(HANGS[hang][0]) as url:
        point_to(monkeypatch, url.replace("http:", "https:") if "TLS" in hang else url, "testing", "testing")
        store = open_store("s3://bucket/p/", limits=SHORT)
        with ending_by_itself(), pytest.raises(StoreUnavailableError) as caught:
            USES[use](store)
    said = str(caught.value)
    assert "\n" not in said
    assert "'s3://bucket/p/" in said
    assert "tried" in said
    assert "store_retry_s is 0.5, store_timeout_s is 0.3" in said


@pytest.fixture
def server(server: OddS3) -> OddS3:
    """The server of all tests, with an object."""
    server.objects["bucket/p/k"] = b"body"
    return server


def busy_for(server: OddS3, seconds: float, answer: tuple[int, str] = (503, "SlowDown: reduce your rate")) -> None:
    until = time.monotonic() + seconds
    server.answer = lambda request, number: answer if time.monotonic() < until else None


@pytest.mark.parametrize("answer", [(503, "SlowDown"), (429, "TooManyRequests"), (500, "InternalError")])
def test_a_store_that_is_busy_for_a_while_is_waited_for(server: OddS3, answer: tuple[int, str]) -> None:
    store = open_store("s3://bucket/p/", limits=LONG)
    for use in USES.values():
        busy_for(server, 0.4, answer)
        use(store)
    server.objects.clear()
    busy_for(server, 0.4, answer)
    assert store.swap("LATEST.json", b"1", None) is Swap.DONE


def test_a_swap_that_the_store_is_too_busy_for_stops_with_the_limits(server: OddS3) -> None:
    server.answer = lambda request, number: (503, "SlowDown") if request.method == "PUT" else None
    with pytest.raises(StoreUnavailableError, match=r"SlowDown.*tried \d+ times"):
        open_store("s3://bucket/p/", limits=BUSY).swap("LATEST.json", b"1", None)
    assert server.objects.keys() == {"bucket/p/k"}
    assert sum(request.method == "PUT" for request in server.seen) < 10


def test_what_is_given_up_is_told_with_what_the_store_said_and_for_how_long(server: OddS3) -> None:
    busy_for(server, 1000)
    with pytest.raises(
        StoreUnavailableError,
        match=r"^the store did not serve 's3://bucket/p/k': SlowDown: reduce your rate; tried [2-9] times in \d+ s "
        r"\(store_retry_s is 2, store_timeout_s is 20\); check the endpoint and the network, or try again later$",
    ):
        open_store("s3://bucket/p/", limits=BUSY).get("k")


def test_without_retries_a_request_is_sent_once(server: OddS3) -> None:
    busy_for(server, 1000)
    with pytest.raises(StoreUnavailableError, match="tried once"):
        open_store("s3://bucket/p/", limits=ONCE).get("k")
    assert len(server.seen) == 1


def test_a_server_that_is_not_there_is_not_waited_for_however_long_the_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    point_to(monkeypatch, "http://127.0.0.1:9", "testing", "testing")
    no_connection = r"no connection to http://127\.0\.0\.1:9 .*tried 3 times"
    with ending_by_itself(), pytest.raises(StoreUnavailableError, match=no_connection):
        open_store("s3://bucket/p/", limits=StoreLimits(20, 600)).check()


class TestAzure:
    """The same limits where obstore carries the requests."""

    @pytest.fixture
    def azure(self, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
        def to(url: str) -> None:
            monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "account")
            monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", base64.b64encode(b"key").decode())
            monkeypatch.setenv("AZURE_STORAGE_ENDPOINT", url)

        return to

    def test_a_hang_is_cut_off(self, azure: Callable[[str], None]) -> None:
        with running(_says_nothing) as url:
            azure(url)
            tried = r"'az://box-1/p/k'.*tried.*store_retry_s is 0\.5"
            with ending_by_itself(), pytest.raises(StoreUnavailableError, match=tried):
                open_store("az://box-1/p/", limits=SHORT).get("k")

    def test_a_busy_server_is_asked_again_within_the_limits_and_lowers_the_pace(
        self, server: OddS3, azure: Callable[[str], None]
    ) -> None:
        azure(server.url)
        busy_for(server, 1000, (503, "ServerBusy"))
        with pytest.raises(StoreUnavailableError, match=r"'az://box-2/p/k'.*tried [2-9] times.*store_retry_s is 2"):
            open_store("az://box-2/p/", limits=BUSY).get("k")
        assert 1 < len(server.seen) < 10
        assert pace_of("az://box-2/").limit == 1


class TestInterrupts:
    def test_threads_that_wait_for_a_silent_store_end_at_once_on_ctrl_c(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with running(_says_nothing) as url:
            point_to(monkeypatch, url, "testing", "testing")
            store = open_store("s3://bucket/p/", limits=LONG)
            running_: list[Future[Any]] = []

            def interrupted() -> None:
                with StoreThreads(4) as threads:
                    running_.extend(threads.submit(store.get, f"k{number}") for number in range(8))
                    while not Interrupts.sockets:
                        time.sleep(0.01)
                    time.sleep(0.2)  # the others wait too by then, or are not begun
                    raise KeyboardInterrupt

            with ending_by_itself(), pytest.raises(KeyboardInterrupt):
                interrupted()
        errors = [future.exception() for future in running_ if not future.cancelled()]
        assert errors
        assert all("interrupted" in str(error) for error in errors)

    def test_waits_between_attempts_end_too_and_later_requests_are_served(self, server: OddS3) -> None:
        busy_for(server, 1000)
        store = open_store("s3://bucket/p/", limits=LONG)
        with StoreThreads(1) as threads:
            waiting = threads.submit(store.get, "k")
            while len(server.seen) < 4 or pace_of(server.url)._in_flight:  # the last answer has been read
                time.sleep(0.01)
            give_up()
            with pytest.raises(StoreUnavailableError, match=r"SlowDown.*; interrupted$"):
                waiting.result()
        server.answer = lambda request, number: None
        assert store.get("k").data == b"body"


class TestSettings:
    PLACES: dict[str, Any] = {"photos": "memory://m/p/", "labels": "memory://m/l.csv", "dataset": "memory://m/d/"}  # noqa: RUF012

    def test_the_environment_says_what_settings_leave_open(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("AESTHETICS_STORE_TIMEOUT_S", "AESTHETICS_STORE_RETRY_S"):
            monkeypatch.delenv(name, raising=False)
        assert StoreLimits.of() == StoreLimits(20, 60)
        monkeypatch.setenv("AESTHETICS_STORE_TIMEOUT_S", "7")
        monkeypatch.setenv("AESTHETICS_STORE_RETRY_S", "0")
        assert StoreLimits.of() == StoreLimits(7, 0)
        assert StoreLimits.of(1, 2) == StoreLimits(1, 2)

    @pytest.mark.parametrize("text", ["soon", "-1", "nan", "inf", "0"])
    def test_a_variable_that_is_no_number_of_seconds_is_told(self, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AESTHETICS_STORE_TIMEOUT_S", text)
        with pytest.raises(SettingsError, match=f"AESTHETICS_STORE_TIMEOUT_S is '{text}'; write a number of seconds"):
            open_store("memory://m/")

    def test_they_change_nothing_in_what_is_published(self) -> None:
        patient = BuildSettings(**self.PLACES, store_timeout_s=5, store_retry_s=1)
        assert patient.digest == BuildSettings(**self.PLACES).digest
        assert patient.recipe == BuildSettings(**self.PLACES).recipe


def test_a_store_that_asks_for_less_is_sent_less_and_then_more_again(
    server: OddS3, caplog: pytest.LogCaptureFixture
) -> None:
    """A server that refuses more than three requests at once: all are served in the end, and few are refused."""
    store, pace = open_store("s3://bucket/p/", limits=LONG), pace_of(server.url)
    store.get("k")  # threads that begin together let one of them look for the endpoint
    server.seen.clear()
    lock, running_, highest = threading.Lock(), 0, 0
    are_many = threading.Event()

    def answer(request: Any, number: int) -> tuple[int, str] | None:
        nonlocal running_, highest
        with lock:
            running_ += 1
            refused = running_ > 3
            highest = max(highest, running_)
            if refused:
                are_many.set()
        are_many.wait(60)
        time.sleep(0.02)
        with lock:
            running_ -= 1
        return (503, "SlowDown") if refused else None

    server.answer = answer
    caplog.set_level(logging.INFO, "aesthetics_ops.store.pace")
    with StoreThreads(16) as threads:
        assert len({bytes(found.data) for found in threads.map(store.get, ["k"] * 80)}) == 1
    assert highest > 3
    refused = len(server.seen) - 80
    assert 0 < refused < 80, "without a pace, most of 16 at once would be refused again and again"
    server.answer = lambda request, number: None
    while pace.limit is not None:
        store.get("k")
    lines = [record.getMessage() for record in caplog.records]
    assert sum("asked for less: " in line for line in lines) == sum("serves as before: " in line for line in lines) >= 1
    assert server.url in lines[0]
    assert " -> " in lines[0]
