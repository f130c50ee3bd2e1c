"""Write an object to S3 from a local file: a small one by one request, a large one in parts, eight at once.

In: a bucket, a key, a file.  Out: the object, seen whole or not at all.  Parts of an upload that fails are removed.
"""

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final
from xml.sax.saxutils import escape

from aesthetics_ops.errors import ObjectMissingError, ScratchSpaceError, StoreRefusedError, StoreUnavailableError
from aesthetics_ops.store.bucket import Request, S3Bucket
from aesthetics_ops.store.connection import Body
from aesthetics_ops.store.interrupts import StoreThreads
from aesthetics_ops.store.reply import Reply, etag_of
from aesthetics_ops.store.trying import UnservedError

__all__ = ["put_bytes", "upload_file"]

_PART_BYTES: Final = 16 << 20
_PARTS_AT_ONCE: Final = 8  # a shard of the usual size at once; of each, one piece is in memory
_MOST_PARTS: Final = 10_000
_PIECE_BYTES: Final = 256 << 10
_UPLOADS: Final = 3  # of a whole file, where the store forgets one
_UPLOAD_ID: Final = re.compile(r"<UploadId>([^<]+)</UploadId>")


class _Slice:
    """A part of a file, as pieces; it can be had any number of times."""

    def __init__(self, path: Path, offset: int, length: int) -> None:
        self.path, self.offset, self.length = path, offset, length

    def __iter__(self) -> Iterator[bytes]:
        with self.path.open("rb", buffering=0) as file:
            for start in range(0, self.length, _PIECE_BYTES):
                yield self._piece(file.fileno(), start, min(_PIECE_BYTES, self.length - start))

    def _piece(self, file: int, start: int, wanted: int) -> bytes:
        try:
            piece = os.pread(file, wanted, self.offset + start)
        except OSError as error:  # of the disk, and not of the connection that it goes over
            raise ScratchSpaceError(
                f"{str(self.path)!r} cannot be read while it is uploaded ({error.strerror}); check the disk, and run the same command again"
            ) from error
        if len(piece) != wanted:
            raise ScratchSpaceError(
                f"{str(self.path)!r} was cut while it was uploaded; let nobody else write there, and run the same command again"
            )
        return piece

    def sha256(self) -> str:
        hashed = hashlib.sha256()
        for piece in self:
            hashed.update(piece)
        return hashed.hexdigest()


def put_bytes(bucket: S3Bucket, key: str, data: bytes | memoryview) -> None:
    """Write an object from memory, a large one in pieces, so that a slow network is not taken for a silent one."""
    view = memoryview(data).cast("B")
    request = _put(key, _pieces(view), len(view), hashlib.sha256(view).hexdigest())
    bucket.ask(lambda: request, etag_of)


def upload_file(bucket: S3Bucket, key: str, path: Path) -> None:
    """Write an object from a local file."""
    size = path.stat().st_size
    if size <= _PART_BYTES:
        whole = _Slice(path, 0, size)
        sha256 = whole.sha256()
        bucket.ask(lambda: _put(key, whole, size, sha256), etag_of)
        return
    for left in reversed(range(_UPLOADS)):
        try:
            _upload_parts(bucket, key, path, size)
        except ObjectMissingError as error:
            # the reply to the last request was lost, or the store cleaned up: what is there cannot be told
            if left == 0:
                raise StoreUnavailableError(
                    f"the store forgot the upload of {bucket.url_of(key)!r}; try again later"
                ) from error
        else:
            return


def _upload_parts(bucket: S3Bucket, key: str, path: Path, size: int) -> None:
    part_bytes = max(_PART_BYTES, -(-size // _MOST_PARTS))
    upload_id = bucket.ask(lambda: Request("POST", key, key, query={"uploads": ""}), _upload_id)
    offsets = range(0, size, part_bytes)

    def send(number: int) -> str:
        part = _Slice(path, offsets[number], min(part_bytes, size - offsets[number]))
        sha256 = part.sha256()
        query = {"partNumber": str(number + 1), "uploadId": upload_id}
        return bucket.ask(lambda: _put(key, part, part.length, sha256, query), etag_of)

    try:
        with StoreThreads(_PARTS_AT_ONCE, thread_name_prefix="part") as threads:
            etags = list(threads.map(send, range(len(offsets))))
        document = _completed(etags)
        sha256 = hashlib.sha256(document).hexdigest()
        query = {"uploadId": upload_id}
        bucket.ask(
            lambda: Request(
                "POST", key, key, query, {"content-type": "application/xml"}, document, len(document), sha256
            ),
            _require_completed,
        )
    except BaseException:
        with suppress(StoreRefusedError, StoreUnavailableError):
            bucket.ask(lambda: Request("DELETE", key, key, query={"uploadId": upload_id}), Reply.text)
        raise


def _put(key: str, body: Body, size: int, sha256: str, query: dict[str, str] | None = None) -> Request:
    return Request("PUT", key, key, query or {}, body=body, body_bytes=size, sha256=sha256)


def _pieces(view: memoryview) -> Body:
    if len(view) <= _PIECE_BYTES:
        return bytes(view)
    return [view[start : start + _PIECE_BYTES] for start in range(0, len(view), _PIECE_BYTES)]  # type: ignore[misc]


def _completed(etags: list[str]) -> bytes:
    parts = "".join(
        f"<Part><PartNumber>{number}</PartNumber><ETag>&quot;{escape(etag)}&quot;</ETag></Part>"
        for number, etag in enumerate(etags, 1)
    )
    return f'<CompleteMultipartUpload xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{parts}</CompleteMultipartUpload>'.encode()


def _upload_id(reply: Reply) -> str:
    found = _UPLOAD_ID.search(reply.text())
    if found is None:
        raise UnservedError("the answer names no upload, so it is not the store's")
    return found[1]


def _require_completed(reply: Reply) -> None:
    """Take an answer of status 200 for what its body says: the status is sent before the store knows."""
    text = reply.text()
    if "<CompleteMultipartUploadResult" not in text:
        raise UnservedError(f"the store did not put the parts together: {text[:200]!r}")
