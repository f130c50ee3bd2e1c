"""What each fault of the proxy does to a request, and to what the server keeps."""

import http.client
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from aesthetics_ops.testing.fault_proxy import FaultyProxy, running_proxy
from aesthetics_ops.testing.faults import FAULTS, Fault, SeenRequest, applies
from aesthetics_ops.testing.odd_s3 import OddS3, running_s3


@dataclass
class Way:
    """A server that holds five objects, and a proxy before it."""

    server: OddS3
    proxy: FaultyProxy

    def ask(self, method: str, path: str, body: bytes = b"") -> tuple[int, bytes] | None:
        """Return status and body; None where no answer came."""
        connection = http.client.HTTPConnection("127.0.0.1", self.proxy.server_port, timeout=60)
        try:
            connection.request(method, path, body)
            reply = connection.getresponse()
            return reply.status, reply.read()
        except (http.client.HTTPException, OSError):
            return None
        finally:
            connection.close()

    def asked(self, fault: Fault, method: str, path: str, body: bytes = b"") -> tuple[int, bytes] | None:
        """The same, when this goes wrong."""
        self.proxy.choose = lambda request, number: fault
        answer = self.ask(method, path, body)
        self.proxy.choose = lambda request, number: None
        return answer

    def listed(self, *faults: Fault) -> list[str]:
        """List page by page, each with its fault; return the keys in the order in which they come."""
        keys, path = [], "/bucket?list-type=2&prefix="
        for page in range(9):
            answer = self.asked(faults[page] if page < len(faults) else None, "GET", path)
            assert answer is not None
            text = answer[1].decode()
            keys += [part.split("</Key>")[0] for part in text.split("<Key>")[1:]]
            if "<NextContinuationToken>" not in text:
                break
            token = text.split("<NextContinuationToken>")[1].split("<")[0]
            path = f"/bucket?list-type=2&prefix=&continuation-token={token}"
        return keys


@pytest.fixture
def way() -> Iterator[Way]:
    with running_s3(OddS3(page=2)) as server, running_proxy(server.url) as proxy:
        server.objects = {f"bucket/{name}": name.encode() * 10 for name in "abcde"}
        yield Way(server, proxy)


def test_without_a_fault_everything_passes(way: Way) -> None:
    assert way.ask("GET", "/bucket/a") == (200, b"a" * 10)
    assert way.ask("PUT", "/bucket/new", b"x") == (200, b"")
    assert way.listed() == ["a", "b", "c", "d", "e", "new"]
    assert way.proxy.struck == []


@pytest.mark.parametrize(
    ("fault", "answer"),
    [
        ("hang up", None),
        ("lose the reply", None),
        ("cut the body", None),
        ("flip a bit", (200, b"aaaaa`aaaa")),
        ("empty the body", (200, b"")),
        (503, (503, b"<?xml version='1.0'?><Error><Code>SlowDown</Code><Message>a fault</Message></Error>")),
        (418, (418, b"")),
    ],
)
def test_an_answer_is_spoiled(way: Way, fault: Fault, answer: tuple[int, bytes] | None) -> None:
    assert way.asked(fault, "GET", "/bucket/a") == answer
    assert way.ask("GET", "/bucket/a") == (200, b"a" * 10)


def test_a_stalling_answer_brings_half_of_its_body(way: Way) -> None:
    way.proxy.choose = lambda request, number: "stall in the body"
    connection = http.client.HTTPConnection("127.0.0.1", way.proxy.server_port, timeout=60)
    connection.request("GET", "/bucket/a")
    assert connection.sock is not None
    connected = connection.sock
    reply = connection.getresponse()
    assert (reply.headers["Content-Length"], reply.read(5)) == ("10", b"aaaaa")
    connected.settimeout(0.2)
    with pytest.raises(TimeoutError):
        reply.read(1)
    connection.close()


def test_a_hanging_request_gets_no_answer(way: Way) -> None:
    way.proxy.choose = lambda request, number: "hang"
    connection = http.client.HTTPConnection("127.0.0.1", way.proxy.server_port, timeout=60)
    connection.request("GET", "/bucket/a")
    assert connection.sock is not None
    connection.sock.settimeout(0.2)
    with pytest.raises(TimeoutError):
        connection.getresponse()
    connection.close()
    assert way.server.seen == []


@pytest.mark.parametrize(
    ("fault", "kept", "is_answered"),
    [
        ("flip a bit on the way in", b"seot", True),
        ("lose the write", None, True),
        ("lose the reply", b"sent", False),
        ("hang up", None, False),
        ("answer as a portal", None, True),
        ("deliver twice", b"sent", True),
        ("redirect 307", None, True),
        (500, None, True),
    ],
)
def test_a_write_is_spoiled(way: Way, fault: Fault, kept: bytes | None, is_answered: bool) -> None:
    assert (way.asked(fault, "PUT", "/bucket/new", b"sent") is not None) == is_answered
    assert way.server.objects.get("bucket/new") == kept
    assert [request.method for request in way.server.seen] == ["PUT"] * (
        2 if fault == "deliver twice" else kept is not None
    )


@pytest.mark.parametrize(("fault", "is_answered"), [("deliver late", True), ("deliver late, lose the reply", False)])
def test_a_late_write_comes_after_later_ones_or_at_the_end(way: Way, fault: Fault, is_answered: bool) -> None:
    assert (way.asked(fault, "PUT", "/bucket/a", b"late") is not None) == is_answered
    for body in (b"1", b"2", b"3", b"4"):
        way.ask("PUT", "/bucket/a", body)
        assert way.server.objects["bucket/a"] == body
    way.ask("GET", "/bucket/b")
    assert way.server.objects["bucket/a"] == b"late"
    way.asked(fault, "PUT", "/bucket/a", b"later")
    way.proxy.settle()
    assert way.server.objects["bucket/a"] == b"later"


def test_an_object_is_answered_with_another_that_was_asked_for_before(way: Way) -> None:
    way.ask("GET", "/bucket/b")
    assert way.asked("answer with another object", "GET", "/bucket/a") == (200, b"b" * 10)


def test_listings_lie(way: Way) -> None:
    assert way.listed("list without this page") == ["c", "d", "e"]
    assert way.listed(None, "list to here only") == ["a", "b", "c", "d"]
    assert way.listed("list a page twice") == ["a", "a", "b", "b", "c", "d", "e"]
    assert way.listed(None, "list a page twice") == ["a", "b", "a", "b", "c", "d", "e"]
    assert way.listed("list as before") == []
    way.proxy.lists = dict(way.proxy.listed)
    del way.server.objects["bucket/a"]
    assert way.listed("list as before", "list as before") == ["a", "b", "c", "d", "e"]


@pytest.mark.parametrize(
    ("fault", "was", "is_now"), [("list another size", "10", "11"), ("list another ETag", "e", "0")]
)
def test_a_listing_gives_an_object_another_size_or_etag(way: Way, fault: Fault, was: str, is_now: str) -> None:
    path = "/bucket?list-type=2&prefix="
    right, wrong = way.ask("GET", path), way.asked(fault, "GET", path)
    assert right is not None
    assert wrong is not None
    changed = [(a, b) for a, b in zip(right[1].decode(), wrong[1].decode(), strict=True) if a != b]
    assert changed == [(was[-1], is_now[-1])]


def test_a_redirect_names_the_other_host(way: Way) -> None:
    way.proxy.elsewhere = "http://other"
    way.proxy.choose = lambda request, number: "redirect 301"
    connection = http.client.HTTPConnection("127.0.0.1", way.proxy.server_port, timeout=60)
    connection.request("GET", "/bucket/a")
    reply = connection.getresponse()
    assert (reply.status, reply.getheader("Location")) == (301, "http://other/bucket/a")
    connection.close()


def test_every_fault_applies_to_some_request() -> None:
    requests = [SeenRequest(method, path, {}) for method in ("GET", "PUT") for path in ("/b/k", "/b?list-type=2")]
    assert all(any(applies(fault, request) for request in requests) for fault in FAULTS)
