"""A network that misbehaves, between a client and an HTTP server such as S3.

In: the server's URL, and for each request what goes wrong with it (`faults.py` names all that can).  Out: a server on
loopback to send requests to, and what came by.

    with running_proxy("http://127.0.0.1:9000") as proxy:
        proxy.fault = lambda method, number: "lose the reply" if (method, number) == ("PUT", 0) else None
        store = open_store("s3://bucket/", s3=S3Access(session, proxy.url))

Threads, since a request that hangs then holds up no other, and a handler reads from top to bottom.
"""

import contextlib
import http.client
import select
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from typing import Final

from aesthetics_ops.testing.faults import (
    Fault,
    Reply,
    SeenRequest,
    applies,
    damaged_body,
    damaged_reply,
    late_reply,
    refusal,
)
from aesthetics_ops.testing.loopback import LoopbackServer, serving

__all__ = ["FaultyProxy", "running_proxy"]

_CHANGED_ON_THE_WAY: Final = {"connection", "transfer-encoding", "date", "server"}
_LATE: Final = 4  # requests that come before a write that is delivered late
_HANG_SECONDS: Final = 90.0


@contextmanager
def running_proxy(upstream: str) -> Iterator["FaultyProxy"]:
    """Run a proxy before a server, for example http://127.0.0.1:9000, in a thread."""
    with serving(FaultyProxy(upstream)) as proxy:
        yield proxy


class FaultyProxy(LoopbackServer):
    """Stands before a server on one free port of loopback.

    Attributes:
        fault: called with a request's method and with how many of this method came before; says what goes wrong.
            None: nothing.  "lose the reply": the server does what was asked, and the connection closes.  "hang up": the
            connection closes, and the server never sees the request.  "hang": no answer, until the client goes.  "cut the
            body": half of the reply's body, then the connection closes.  "stall in the body": that half, then nothing until the
            client goes.  A number: a reply with this status, of which the server knows nothing.  The others stand in `faults.py`.
        choose: the same, called with the request and with how many of any method came before; asked where `fault` says None.
        elsewhere: where redirects lead to.
        lists: what "list as before" answers, by path; a path that is not here gets an empty listing.
        listed: what was answered first to each request for a listing, by path.
        seen: the requests that came by, in order.
        struck: those to which something was done, and what.
        tls: the server's side of TLS; None for plain HTTP.
    """

    def __init__(self, upstream: str) -> None:
        super().__init__(_ProxyHandler)
        self.upstream = upstream.removeprefix("http://")
        self.fault: Callable[[str, int], Fault] = lambda method, number: None
        self.choose: Callable[[SeenRequest, int], Fault] = lambda request, number: None
        self.elsewhere = "http://127.0.0.1:9"
        self.lists: dict[str, Reply] = {}
        self.listed: dict[str, Reply] = {}
        self._upstreams: list[http.client.HTTPConnection] = []
        self.reset()
        self._lock = threading.Lock()

    def reset(self) -> None:
        """Forget what came by."""
        self.seen: list[SeenRequest] = []
        self.struck: list[tuple[SeenRequest, Fault]] = []
        self.last: dict[str, Reply] = {}
        self._late: list[tuple[int, SeenRequest, bytes]] = []

    @property
    def methods(self) -> list[str]:
        """The methods of the requests that came by, in order."""
        return [request.method for request in self.seen]

    def see(self, request: SeenRequest) -> Fault:
        """Note a request, and say what goes wrong with it."""
        with self._lock:
            number, of_all = self.methods.count(request.method), len(self.seen)
            self.seen.append(request)
        fault = self.fault(request.method, number)
        if fault is None:
            fault = self.choose(request, of_all)
        if fault is None or not applies(fault, request):
            return None
        self.struck.append((request, fault))
        return fault

    def ask(self, request: SeenRequest, body: bytes) -> Reply:
        """Return what the server answers."""
        upstream = self._taken() or http.client.HTTPConnection(self.upstream, timeout=20)
        try:
            upstream.request(request.method, request.path, body, request.headers)
            reply = upstream.getresponse()
            data = reply.read()
        except BaseException:
            upstream.close()
            raise
        if upstream.sock is not None:  # the server keeps it open
            self._upstreams.append(upstream)
        return Reply(reply.status, tuple(reply.getheaders()), data)

    def _taken(self) -> http.client.HTTPConnection | None:
        """Return a connection to the server that an earlier request left open; None where there is none."""
        while self._upstreams:
            with contextlib.suppress(IndexError):
                upstream = self._upstreams.pop()
                if not select.select([upstream.sock], [], [], 0)[0]:
                    return upstream
                upstream.close()  # readable while nothing was asked: the server has closed it
        return None

    def server_close(self) -> None:
        """Close the connections to the server, too."""
        super().server_close()
        while self._upstreams:
            self._upstreams.pop().close()

    def put_off(self, request: SeenRequest, body: bytes) -> None:
        """Keep a write; it is delivered after some later requests, or by `settle`."""
        with self._lock:
            self._late.append((len(self.seen) + _LATE, request, body))

    def settle(self, *, now: bool = True) -> None:
        """Deliver the writes that are late; `now` False: only those whose turn has come."""
        with self._lock:
            due = [late for late in self._late if now or late[0] <= len(self.seen)]
            self._late = [late for late in self._late if late not in due]
        for _, request, body in due:
            self.ask(request, body)


class _ProxyHandler(BaseHTTPRequestHandler):
    server: FaultyProxy
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = (
        True  # head and body are sent apart: the body would wait 40 ms for the client's word on the head
    )

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        request = SeenRequest(self.command, self.path, {name.lower(): value for name, value in self.headers.items()})
        self.server.settle(now=False)
        fault = self.server.see(request)
        self.close_connection = True
        if fault == "hang":
            self._wait_for_the_end()
        elif fault != "hang up":
            reply = self._reply(request, body, fault)
            if fault not in ("lose the reply", "deliver late, lose the reply"):
                self._answer(reply)
            if fault == "stall in the body":
                self._wait_for_the_end()

    do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = _serve  # noqa: N815

    def _reply(self, request: SeenRequest, body: bytes, fault: Fault) -> Reply:
        proxy = self.server
        match fault:
            case int():
                return refusal(fault)
            case "redirect 301" | "redirect 307":
                elsewhere = (("Location", f"{proxy.elsewhere}{self.path}"),)
                return Reply(int(fault.split()[1]), elsewhere, b"").holding(b"")
            case "answer as a portal":
                return damaged_reply(fault, late_reply(b""))
            case "lose the write":
                return late_reply(body)
            case "deliver late" | "deliver late, lose the reply":
                proxy.put_off(request, body)
                return late_reply(body)
            case "deliver twice":
                proxy.ask(request, body)
        reply = proxy.ask(request, damaged_body(fault, body))
        before = proxy.lists.get(self.path) if fault == "list as before" else None
        if fault == "list a page twice" and "continuation-token" in self.path:
            before = proxy.last.get(_listed(request))
        other = next((reply for path, reply in proxy.last.items() if path != self.path and "?" not in path), None)
        given = damaged_reply(fault, reply, before=before, other=other)
        if request.method == "GET" and reply.status < 300:
            proxy.last[_listed(request) or self.path] = reply
            if request.is_list:
                proxy.listed.setdefault(self.path, reply)
        return given

    def _wait_for_the_end(self) -> None:
        select.select([self.connection], [], [], _HANG_SECONDS)  # readable when the client goes

    def _answer(self, reply: Reply) -> None:
        self.send_response(reply.status)
        for name, value in reply.headers:
            if name.lower() not in _CHANGED_ON_THE_WAY:
                self.send_header(name, value)
        self.send_header("Connection", "close")  # a client must not send its next request into a closing connection
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(reply.body)

    def log_message(self, format: str, *args: object) -> None:
        pass


def _listed(request: SeenRequest) -> str:
    """Return what all pages of one listing have in common; empty for other requests."""
    if not request.is_list:
        return ""
    path, _, query = request.path.partition("?")
    kept = sorted(part for part in query.split("&") if not part.startswith(("continuation-token=", "start-after=")))
    return f"{path}?{'&'.join(kept)}"
