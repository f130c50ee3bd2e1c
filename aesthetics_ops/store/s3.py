"""s3://: every verb, for every key that S3 can hold, through one client that follows no redirect.

In: a bucket and a prefix.  Out: a `Store`.  `bucket.py` signs and sends; here stands what each verb asks and takes.
A key that ends in `/` and holds nothing is a marker that S3 browsers write for a directory: it is left out of listings.
"""
# ruff: noqa: D102 - what the methods do stands in contract.py

import base64
import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from itertools import chain, count, islice, repeat
from pathlib import Path
from typing import Final
from xml.sax.saxutils import escape

import pyarrow as pa

from aesthetics_ops.errors import ObjectMissingError, StoreRefusedError, StoreUnavailableError
from aesthetics_ops.store.ahead import ask_ahead
from aesthetics_ops.store.answers import explain_answer, is_busy, is_passing
from aesthetics_ops.store.bucket import ConditionFailedError, Request, S3Bucket
from aesthetics_ops.store.contract import Store, StoredObject
from aesthetics_ops.store.fetching import Fetched
from aesthetics_ops.store.listing import Batches, batch_of, listing
from aesthetics_ops.store.pages import Page, failed_deletions, read_page
from aesthetics_ops.store.ranges import Ask, list_ranges
from aesthetics_ops.store.reply import Reply, etag_of
from aesthetics_ops.store.transfers import exactly, removed_on_failure
from aesthetics_ops.store.trying import UnservedError
from aesthetics_ops.store.uploading import put_bytes, upload_file

__all__ = ["S3Store"]

_DELETED_AT_ONCE: Final = 1000
_SERIAL_PAGES: Final = 2  # of a listing: most prefixes have no more
_WRONG_MD5: Final = base64.b64encode(bytes(16)).decode()


class S3Store(Store):
    """A prefix of an S3 bucket, with keys as they are."""

    asks_at_once = 8

    def __init__(self, bucket: S3Bucket, prefix: str) -> None:
        self.url = f"s3://{bucket.name}/{prefix}"
        self._bucket, self._prefix = bucket, prefix

    def check(self) -> None:
        try:
            self._page(self._prefix, {"max-keys": "1"})
        except StoreRefusedError as error:
            if error.__cause__ is None:  # an answer, and no trouble on this side
                raise StoreRefusedError(f"{error} (the answer is from {self._bucket.endpoint})") from error
            raise

    def list(self, prefix: str = "", *, scratch: Path | None = None) -> pa.Table:
        """Two pages come one after the other, as they do where there are no more; what follows comes by ranges where the store can."""
        full, skip = self._prefix + prefix, len(self._prefix)
        pages = self._pages(full, {})
        head = list(islice(pages, _SERIAL_PAGES))
        if head[-1].following is not None and (table := self._by_ranges(full, head, scratch)) is not None:
            return table
        return listing(skip, (row for page in chain(head, pages) for row in _objects(page.objects)), scratch)

    def _by_ranges(self, full: str, head: Sequence[Page], scratch: Path | None) -> pa.Table | None:
        """Return the listing that begins with these pages; None where it has to be read page after page."""
        ask = Ask(
            lambda low: self._pages(full, {}, low),
            lambda low: self._first(full, low),
            lambda rows: batch_of(len(self._prefix), list(_objects(rows))),
        )
        rows = [row for page in head for row in page.objects]
        batches = Batches(scratch)
        first = batches.add(ask.batch(rows))
        numbers = list_ranges(ask, rows, full, batches)
        return None if numbers is None else batches.table([first, *numbers])

    def folders(self, prefix: str) -> Sequence[str]:
        full = self._prefix + prefix
        found = [folder for page in self._pages(full, {"delimiter": "/"}) for folder in page.folders]
        return sorted({folder.removeprefix(full).removesuffix("/") for folder in found})

    def get(self, key: str) -> StoredObject:
        return self._got(key, Fetched(self.url_of(key)))

    def readings(self, keys: Sequence[str]) -> Sequence[Callable[[], StoredObject]]:
        wanted = [Fetched(self.url_of(key)) for key in keys]
        requests = [Request("GET", full, full) for full in (self._prefix + key for key in keys)]
        firsts = ask_ahead(self._bucket, requests, [fetched.take for fetched in wanted])
        return list(map(partial, repeat(self._got), keys, wanted, firsts))

    def get_first(self, key: str, most: int) -> bytes | memoryview:
        return self._fetched(key, Fetched(self.url_of(key), 0, most)).data

    def get_range(self, key: str, offset: int, length: int) -> bytes | memoryview:
        if length == 0:
            return b""
        fetched = self._fetched(key, Fetched(self.url_of(key), offset, length))
        return exactly(self.url_of(key), fetched.data, offset, length)

    def download(self, key: str, path: Path) -> None:
        with removed_on_failure(path), path.open("wb") as file:
            self._fetched(key, Fetched(self.url_of(key), file=file))

    def head(self, key: str) -> tuple[int, str] | None:
        full = self._prefix + key
        try:
            return self._bucket.ask(lambda: Request("HEAD", full, full), _size_and_etag)
        except ObjectMissingError:
            return None

    def put(self, key: str, data: bytes | memoryview) -> None:
        put_bytes(self._bucket, self._prefix + key, data)

    def upload(self, key: str, path: Path) -> None:
        upload_file(self._bucket, self._prefix + key, path)

    def delete(self, keys: Iterable[str]) -> None:
        left = iter(keys)
        while batch := list(islice(left, _DELETED_AT_ONCE)):
            full = [self._prefix + key for key in batch]
            # XML has no way to write control characters
            many = [key for key in full if key.isprintable()]
            if len(many) > 1:
                self._delete_many(many)
            for key in full if len(many) < 2 else set(full) - set(many):
                with suppress(ObjectMissingError):
                    self._bucket.ask(lambda key=key: Request("DELETE", key, key), Reply.text)  # type: ignore[misc]

    def _delete_many(self, keys: Sequence[str]) -> None:
        objects = "".join(f"<Object><Key>{escape(key)}</Key></Object>" for key in keys)
        document = (
            f'<Delete xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Quiet>true</Quiet>{objects}</Delete>'.encode()
        )
        md5 = base64.b64encode(hashlib.md5(document, usedforsecurity=False).digest()).decode()
        headers = {"content-md5": md5, "content-type": "application/xml"}
        sha256 = hashlib.sha256(document).hexdigest()

        def deleted(reply: Reply) -> None:
            for key, code, message in failed_deletions(reply.data(), self.url):
                if code == "NoSuchKey":
                    continue
                if is_passing(500, code) and code in ("InternalError", "SlowDown", "ServiceUnavailable"):
                    raise UnservedError(
                        f"the store did not delete {self._bucket.url_of(key)!r}: {code}", is_busy=is_busy(None, code)
                    )
                raise explain_answer(self._bucket.url_of(key), 403, code, message, action="s3:DeleteObject")

        self._bucket.ask(
            lambda: Request("POST", "", self._prefix, {"delete": ""}, headers, document, len(document), sha256), deleted
        )

    def _put_if(self, key: str, data: bytes, expected_etag: str | None, attempt: int) -> bool:
        # What got no answer is not sent again here, so that a False can only mean another writer: whoever asked reads back.
        # A second try at an unchanged key goes without quotes, against the standard: all that Ceph understands.
        full = self._prefix + key
        etag = f'"{expected_etag}"' if attempt % 2 == 0 else str(expected_etag)
        condition = {"if-none-match": "*"} if expected_etag is None else {"if-match": etag}
        request = Request("PUT", full, full, {}, condition, data, len(data), hashlib.sha256(data).hexdigest())
        lost: list[UnservedError] = []

        def may_repeat(error: UnservedError) -> bool:
            lost.append(error)
            return error.is_busy

        try:
            self._bucket.ask(lambda: request, etag_of, may_repeat=may_repeat)
        except (ConditionFailedError, ObjectMissingError) as error:
            if lost:  # an earlier attempt may be what stands there now
                raise StoreUnavailableError(f"{lost[-1]}; try again later") from error
            return False
        return True

    def _checks_uploads(self, key: str) -> bool | None:
        full, body = self._prefix + key, b"sent"
        sha256 = hashlib.sha256(body).hexdigest()
        right = base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
        is_taken = []
        for md5 in (right, _WRONG_MD5):
            request = Request("PUT", full, full, {}, {"content-md5": md5}, body, len(body), sha256)
            try:
                self._bucket.ask(lambda request=request: request, etag_of)  # type: ignore[misc]
            except StoreRefusedError:
                is_taken.append(False)
            except StoreUnavailableError:
                return None
            else:
                is_taken.append(True)
        return not is_taken[1] if is_taken[0] else None

    def _got(self, key: str, fetched: Fetched, first: Callable[[], None] | None = None) -> StoredObject:
        self._fetched(key, fetched, first)
        return StoredObject(key, fetched.data, fetched.etag)

    def _fetched(self, key: str, fetched: Fetched, first: Callable[[], None] | None = None) -> Fetched:
        full = self._prefix + key
        self._bucket.ask(lambda: Request("GET", full, full, {}, fetched.headers()), fetched.take, first=first)
        return fetched

    def _first(self, full: str, low: str) -> str | None:
        """Return the first key below a prefix after another one."""
        page = self._page(full, {"max-keys": "1", "start-after": low})
        return page.objects[0][0] if page.objects else None

    def _pages(self, full: str, query: dict[str, str], low: str | None = None) -> Iterator[Page]:
        token = mark = None  # the mark is an earlier token, by powers of two: a circle of any length comes by one
        for number in count(1):
            first = {"start-after": low} if token is None and low is not None else {}
            page = self._page(full, query | first, token, mark)
            yield page
            if page.following is None:
                return
            if number & (number - 1) == 0:
                mark = token
            token = page.following

    def _page(self, full: str, query: dict[str, str], token: str | None = None, mark: str | None = None) -> Page:
        asked = {"list-type": "2", "encoding-type": "url", "prefix": full, **query}
        if token is not None:
            asked["continuation-token"] = token
        about = self._bucket.url_of(full)

        def read(reply: Reply) -> Page:
            page = read_page(reply.data(), about)
            if page.following is not None and page.following in (token, mark):
                raise UnservedError(f"the listing of {about!r} leads back to a page that was read")
            return page

        return self._bucket.ask(lambda: Request("GET", "", full, asked), read)


def _objects(rows: Sequence[tuple[str, int, str]]) -> Iterator[tuple[str, int, str]]:
    """Yield (key, size in bytes, ETag) without zero-byte keys that end in `/`."""
    for row in rows:
        if row[1] or not row[0].endswith("/"):
            yield row


def _size_and_etag(reply: Reply) -> tuple[int, str]:
    size = reply.header("content-length")
    if not size.isdecimal():
        raise UnservedError("the answer says no size, so it is not the store's")
    return int(size), etag_of(reply)
