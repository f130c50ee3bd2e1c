"""A small S3 server in memory whose oddities can be chosen: what servers and proxies do that are not quite S3.

In: how it treats uploads, checksums and conditions, and what it answers out of turn.  Out: a server on loopback, over
TLS where a context is given.

    with running_s3(OddS3(aws_chunked="kept")) as server:
        store = open_store("s3://bucket/", s3=S3Access(session, server.url))

Every bucket exists.  Signatures are not looked at.
"""

import hashlib
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from typing import Literal
from urllib.parse import parse_qs, unquote, urlsplit
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from aesthetics_ops.testing.faults import SeenRequest
from aesthetics_ops.testing.loopback import LoopbackServer, serving

__all__ = ["OddS3", "running_s3"]

Answer = tuple[int, str]  # a status and S3's code for it
_PAGE = 1000


@contextmanager
def running_s3(server: "OddS3") -> Iterator["OddS3"]:
    """Run the server in a thread."""
    with serving(server):
        yield server


class OddS3(LoopbackServer):
    """The server.

    Args:
        aws_chunked: what becomes of bodies that are sent in signed or trailed chunks: "decoded", as S3 does; "kept" with
            the chunks' frames, as a server does that does not know them; "refused" with 501.
        checksums: "taken", without looking at them; or "refused" with 400, whichever header holds one.
        conditions: on writes: "kept", as S3 does; "ignored"; or "refused" with 501.
        etags: "md5" of an object's bytes, as S3's mostly are; "other", which look the same and are none, as with SSE-KMS; "weak" ones,
            W/"..."; "unquoted"; "long", of 1,000 characters with the end of an upload in parts; or "unlisted": listings name none.
        page: most keys in one answer to LIST, whatever is asked for.
        listing: by "bytes" of keys, as S3 does; "without start-after", which is taken for nothing; or "folded", as if all keys were in
            lower case, start-after too.
        tls: the server's side of TLS; None for plain HTTP.
        domain: hosts that end with a dot and this name the bucket before it, as in `bucket.s3.test`; empty: the path does.

    Attributes:
        objects: bytes by `bucket/key`.
        answer: called with each request and with how many of its method came before; what it returns is answered in place
            of doing what was asked.
        seen: the requests that came by, in order.
    """

    def __init__(
        self,
        *,
        aws_chunked: Literal["decoded", "kept", "refused"] = "decoded",
        checksums: Literal["taken", "refused"] = "taken",
        conditions: Literal["kept", "ignored", "refused"] = "kept",
        etags: Literal["md5", "other", "weak", "unquoted", "long", "unlisted"] = "md5",
        page: int = _PAGE,
        listing: Literal["bytes", "without start-after", "folded"] = "bytes",
        tls: ssl.SSLContext | None = None,
        domain: str = "",
    ) -> None:
        super().__init__(_Handler, tls)
        self.aws_chunked, self.checksums, self.conditions = aws_chunked, checksums, conditions
        self.etags, self.page, self.domain = etags, page, domain
        self.listing = listing
        self._parts: dict[str, dict[int, bytes]] = {}
        self.objects: dict[str, bytes] = {}
        self.answer: Callable[[SeenRequest, int], Answer | None] = lambda request, number: None
        self.seen: list[SeenRequest] = []
        self.lock = threading.Lock()

    def see(self, request: SeenRequest) -> Answer | None:
        """Note a request, and say what is answered out of turn."""
        with self.lock:
            number = sum(seen.method == request.method for seen in self.seen)
            self.seen.append(request)
        return self.answer(request, number)

    def etag_of(self, data: bytes) -> str:
        """Return the ETag that the server gives to bytes of one part."""
        hashed = b"other" + data if self.etags == "other" else data
        digest = hashlib.md5(hashed, usedforsecurity=False).hexdigest()
        return f"{digest * 31}abcde-12" if self.etags == "long" else digest

    def shown_etag(self, data: bytes) -> str:
        """Return the ETag as answers and listings write it."""
        etag = self.etag_of(data)
        return {"weak": f'W/"{etag}"', "unquoted": etag}.get(self.etags, f'"{etag}"')

    def put(self, name: str, data: bytes, headers: dict[str, str]) -> Answer | None:
        """Store an object, or say why not."""
        if self.checksums == "refused" and (refused := _checksum_headers(headers)):
            return 400, f"InvalidRequest: unsupported header {refused[0]}"
        if "aws-chunked" in headers.get("content-encoding", "") or "x-amz-trailer" in headers:
            if self.aws_chunked == "refused":
                return 501, "NotImplemented"
            data = _decoded(data) if self.aws_chunked == "decoded" else data
        with self.lock:
            refusal = self._refusal(name, headers)
            if refusal is None:
                self.objects[name] = data
            return refusal

    def bucket_of(self, host: str) -> str:
        """Return the bucket that a host names; empty where the path does."""
        name, _, rest = host.partition(":")[0].rpartition(f".{self.domain}")
        return name if self.domain and not rest else ""

    def begin_parts(self) -> str:
        """Begin an upload in parts; return its id."""
        with self.lock:
            upload = f"upload-{len(self._parts)}"
            self._parts[upload] = {}
        return upload

    def put_part(self, upload: str, number: int, data: bytes) -> None:
        """Take a part."""
        self._parts[upload][number] = data

    def complete_parts(self, name: str, upload: str) -> None:
        """Make the object of its parts."""
        parts = self._parts.pop(upload)
        self.objects[name] = b"".join(parts[number] for number in sorted(parts))

    def _refusal(self, name: str, headers: dict[str, str]) -> Answer | None:
        wanted = headers.get("if-match")
        if (wanted is None and "if-none-match" not in headers) or self.conditions == "ignored":
            return None
        if self.conditions == "refused":
            return 501, "NotImplemented"
        current = self.objects.get(name)
        if wanted is None:
            return None if current is None else (412, "PreconditionFailed")
        if current is None:
            return 404, "NoSuchKey"
        return None if wanted.removeprefix("W/").strip('"') == self.etag_of(current) else (412, "PreconditionFailed")


class _Handler(BaseHTTPRequestHandler):
    server: OddS3
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = (
        True  # head and body are sent apart: the body would wait 40 ms for the client's word on the head
    )

    def _serve(self) -> None:
        body = self._body()
        headers = {name.lower(): value for name, value in self.headers.items()}
        answer = self.server.see(SeenRequest(self.command, self.path, headers))
        parts = urlsplit(self.path)
        name, query = unquote(parts.path).removeprefix("/"), parse_qs(parts.query, keep_blank_values=True)
        if bucket := self.server.bucket_of(headers.get("host", "")):
            name = f"{bucket}/{name}"
        if answer is not None:
            self._refuse(*answer)
        elif "uploads" in query or "uploadId" in query:
            self._serve_parts(name, body, {key: values[0] for key, values in query.items()})
        elif self.command == "PUT":
            refusal = self.server.put(name, body, headers)
            etag = self.server.shown_etag(self.server.objects.get(name, body))
            self._refuse(*refusal) if refusal else self._reply(200, b"", {"ETag": etag})
        elif self.command == "DELETE":
            self.server.objects.pop(name, None)
            self._reply(204, b"")
        elif self.command == "POST":
            self._delete(name, body)
        elif "list-type" in query:
            self._list(name, {key: values[0] for key, values in query.items()})
        else:
            self._read(name, headers.get("range"))

    do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = _serve  # noqa: N815

    def _serve_parts(self, name: str, body: bytes, query: dict[str, str]) -> None:
        upload = query.get("uploadId", "")
        if "uploads" in query:
            found = f"<UploadId>{self.server.begin_parts()}</UploadId>"
            self._reply_xml(200, f"<InitiateMultipartUploadResult>{found}</InitiateMultipartUploadResult>")
        elif self.command == "PUT":
            self.server.put_part(upload, int(query["partNumber"]), body)
            self._reply(200, b"", {"ETag": self.server.shown_etag(body)})
        elif self.command == "POST":
            self.server.complete_parts(name, upload)
            self._reply_xml(200, "<CompleteMultipartUploadResult></CompleteMultipartUploadResult>")
        else:
            self._reply(204, b"")

    def _body(self) -> bytes:
        if self.headers.get("Expect", "").lower() == "100-continue":
            pass  # http.server has answered it
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _read(self, name: str, span: str | None) -> None:
        data = self.server.objects.get(name)
        if data is None:
            self._refuse(404, "NoSuchKey" if "/" in name else "NoSuchBucket")
            return
        headers = {"ETag": self.server.shown_etag(data), "Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT"}
        status = 200
        if span is not None:
            first, _, last = span.removeprefix("bytes=").partition("-")
            start, end = int(first), min(int(last or len(data) - 1), len(data) - 1)
            headers["Content-Range"] = f"bytes {start}-{end}/{len(data)}"
            status, data = 206, data[start : end + 1]
        self._reply(status, data, headers)

    def _list(self, bucket: str, query: dict[str, str]) -> None:
        bucket = bucket.rstrip("/")
        prefix, after = query.get("prefix", ""), query.get("continuation-token", "")
        if not after and self.server.listing != "without start-after":
            after = query.get("start-after", "")
        order = _folded if self.server.listing == "folded" else str
        delimiter, limit = query.get("delimiter", ""), min(int(query.get("max-keys", _PAGE)), self.server.page)
        with self.server.lock:
            held = dict(self.server.objects)
        known = sorted((name.removeprefix(f"{bucket}/") for name in held if name.startswith(f"{bucket}/")), key=order)
        keys = [key for key in known if key.startswith(prefix) and order(key) > order(after)]
        deep = {key for key in keys if delimiter and delimiter in key[len(prefix) :]}
        folders = sorted({prefix + key[len(prefix) :].split(delimiter)[0] + delimiter for key in deep})
        flat = [key for key in keys if key not in deep]
        page, more = flat[:limit], len(flat) > limit

        def listed(data: bytes) -> str:
            return "" if self.server.etags == "unlisted" else escape(self.server.shown_etag(data), {'"': "&quot;"})

        items = "".join(
            f"<Contents><Key>{escape(key)}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>"
            f"<ETag>{listed(data)}</ETag><Size>{len(data)}</Size></Contents>"
            for key, data in ((key, held[f"{bucket}/{key}"]) for key in page)
        )
        items += "".join(f"<CommonPrefixes><Prefix>{escape(folder)}</Prefix></CommonPrefixes>" for folder in folders)
        token = f"<NextContinuationToken>{escape(page[-1])}</NextContinuationToken>" if more else ""
        self._reply_xml(
            200,
            f"<ListBucketResult><Name>{bucket}</Name><Prefix>{escape(prefix)}</Prefix><KeyCount>{len(page)}</KeyCount>"
            f"<MaxKeys>{limit}</MaxKeys><IsTruncated>{str(more).lower()}</IsTruncated>{token}{items}</ListBucketResult>",
        )

    def _delete(self, bucket: str, body: bytes) -> None:
        keys = [node.text or "" for node in ElementTree.fromstring(body).iter() if node.tag.endswith("Key")]  # noqa: S314
        for key in keys:
            self.server.objects.pop(f"{bucket.rstrip('/')}/{key}", None)
        deleted = "".join(f"<Deleted><Key>{escape(key)}</Key></Deleted>" for key in keys)
        self._reply_xml(200, f"<DeleteResult>{deleted}</DeleteResult>")

    def _refuse(self, status: int, code: str) -> None:
        code, _, message = code.partition(": ")
        self._reply_xml(status, f"<Error><Code>{code}</Code><Message>{message or 'no'}</Message></Error>")

    def _reply_xml(self, status: int, text: str) -> None:
        self._reply(
            status, f"<?xml version='1.0' encoding='UTF-8'?>{text}".encode(), {"Content-Type": "application/xml"}
        )

    def _reply(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


def _folded(key: str) -> str:
    return f"{key.lower()}\0{key}"


def _checksum_headers(headers: dict[str, str]) -> list[str]:
    return [name for name in headers if name.startswith(("x-amz-checksum-", "x-amz-trailer")) or name == "content-md5"]


def _decoded(framed: bytes) -> bytes:
    """Return what aws-chunked frames hold."""
    data = b""
    while framed:
        head, _, framed = framed.partition(b"\r\n")
        size = int(head.split(b";")[0], 16)
        if size == 0:
            break
        data, framed = data + framed[:size], framed[size + 2 :]
    return data
