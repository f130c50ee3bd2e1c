"""What may go wrong between a client and S3, each by its name, and what it does to a request or to its reply.

In: a request, and the reply that the server gave or would give.  Out: what the client gets.
Pure: `fault_proxy.py` asks the server and talks to the client.
"""

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal, get_args

__all__ = [
    "FAULTS",
    "Fault",
    "Reply",
    "SeenRequest",
    "applies",
    "damaged_body",
    "damaged_reply",
    "late_reply",
    "refusal",
]

_Network = Literal["hang up", "lose the reply", "hang", "cut the body", "stall in the body"]
_Bytes = Literal[
    "flip a bit", "flip a bit on the way in", "empty the body", "answer as a portal", "answer with another object"
]
_Writes = Literal["lose the write", "deliver twice", "deliver late", "deliver late, lose the reply"]
_Lists = Literal[
    "list as before", "list without this page", "list to here only", "list a page twice", "list another size", "list another ETag"
]  # fmt: skip
_Redirects = Literal["redirect 301", "redirect 307"]

Fault = _Network | _Bytes | _Writes | _Lists | _Redirects | int | None

_STATUSES: Final = {
    500: "InternalError", 503: "SlowDown", 429: "TooManyRequests", 403: "AccessDenied", 401: "Unauthorized", 404: "NoSuchKey",
}  # fmt: skip
FAULTS: Final[tuple[Fault, ...]] = (
    *(name for kind in (_Network, _Bytes, _Writes, _Lists, _Redirects) for name in get_args(kind)),
    *_STATUSES,
)
_PORTAL: Final = b"<html><body>Please log in to use this network.</body></html>"
_ENTRY: Final = re.compile(rb"<Contents>.*?</Contents>", re.DOTALL)
_MORE: Final = re.compile(rb"<NextContinuationToken>.*?</NextContinuationToken>", re.DOTALL)


@dataclass(frozen=True, slots=True)
class SeenRequest:
    """One request that came by, whatever became of it.

    Attributes:
        method: GET, PUT, HEAD, DELETE or POST.
        path: with the query.
        headers: by their names in lower case.
    """

    method: str
    path: str
    headers: dict[str, str]

    @property
    def is_list(self) -> bool:
        """Whether a listing is asked for."""
        return self.method == "GET" and "list-type=2" in self.path


@dataclass(frozen=True, slots=True)
class Reply:
    """What a server answers.

    Attributes:
        status: of HTTP.
        headers: names and values.
        body: in bytes; not sent in answer to HEAD.
    """

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def holding(self, body: bytes) -> "Reply":
        """Return this reply with another body, and the length of that."""
        headers = tuple((name, value) for name, value in self.headers if name.lower() != "content-length")
        return Reply(self.status, (*headers, ("Content-Length", str(len(body)))), body)


def applies(fault: Fault, request: SeenRequest) -> bool:
    """Say whether a fault can happen to a request."""
    if fault in get_args(_Lists):
        return request.is_list
    if fault in get_args(_Writes) or fault == "flip a bit on the way in":
        return request.method == "PUT"
    if fault in ("cut the body", "stall in the body", "flip a bit", "empty the body"):
        return request.method == "GET"
    if fault == "answer with another object":
        return request.method == "GET" and not request.is_list
    return True


def damaged_body(fault: Fault, body: bytes) -> bytes:
    """Return what arrives of the body that a client sends."""
    return _flipped(body) if fault == "flip a bit on the way in" else body


def damaged_reply(fault: Fault, reply: Reply, *, before: Reply | None = None, other: Reply | None = None) -> Reply:
    """Return what arrives of a reply.

    Args:
        fault: one that changes replies; with any other the reply is as it was.
        reply: of the server.
        before: for listings, what was answered to this request at an earlier time, or to the one before it.
        other: what was answered to a request for another object.
    """
    if fault in ("cut the body", "stall in the body"):  # its headers still promise the whole
        return Reply(reply.status, reply.headers, reply.body[: len(reply.body) // 2])
    if fault == "answer as a portal":
        return Reply(200, (("Content-Type", "text/html"),), b"").holding(_PORTAL)
    if fault == "answer with another object":
        return other or reply
    if fault == "list as before":
        return before or _changed(reply, lambda body: _ended(_ENTRY.sub(b"", body)))
    if fault == "list a page twice":
        return before or _changed(reply, lambda body: _ENTRY.sub(lambda match: match[0] * 2, body))
    change = _CHANGES.get(fault)
    return _changed(reply, change) if change and reply.status < 300 else reply


def late_reply(body: bytes) -> Reply:
    """Return what a server says of a write that it puts off."""
    etag = hashlib.md5(body, usedforsecurity=False).hexdigest()
    return Reply(200, (("ETag", f'"{etag}"'), ("Content-Length", "0")), b"")


def refusal(status: int) -> Reply:
    """Return the reply with this status of a server that does nothing; S3 gives a code to those that it knows."""
    code = _STATUSES.get(status)
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>a fault</Message></Error>" if code else ""
    return Reply(status, (("Content-Type", "application/xml"),) if code else (), b"").holding(body.encode())


def _changed(reply: Reply, change: Callable[[bytes], bytes]) -> Reply:
    return reply.holding(change(reply.body))


def _flipped(data: bytes) -> bytes:
    if not data:
        return data
    middle = len(data) // 2
    return data[:middle] + bytes((data[middle] ^ 1,)) + data[middle + 1 :]


def _ended(body: bytes) -> bytes:
    return _MORE.sub(b"", body).replace(b"<IsTruncated>true<", b"<IsTruncated>false<")


def _other_size(body: bytes) -> bytes:
    return re.sub(rb"<Size>(\d+)<", lambda match: b"<Size>%d<" % (int(match[1]) + 1), body, count=1)


def _other_etag(body: bytes) -> bytes:
    return re.sub(
        rb"(<ETag>(?:&quot;|\")?)(.)", lambda match: match[1] + (b"1" if match[2] == b"0" else b"0"), body, count=1
    )


_CHANGES: Final[dict[Fault, Callable[[bytes], bytes]]] = {
    "flip a bit": _flipped,
    "empty the body": lambda body: b"",
    "list without this page": lambda body: _ENTRY.sub(b"", body),
    "list to here only": _ended,
    "list another size": _other_size,
    "list another ETag": _other_etag,
}
