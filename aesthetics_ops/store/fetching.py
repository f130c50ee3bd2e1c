"""An object as it comes from S3: over more requests than one where its body breaks off, and never a mix of two objects.

In: the answers to one read.  Out: its bytes, in memory or in a file, and the ETag.
"""

import re
from typing import BinaryIO, Final

from aesthetics_ops.errors import StoreRefusedError, StoreUnavailableError
from aesthetics_ops.store.reply import Reply, etag_of
from aesthetics_ops.store.trying import UnservedError

__all__ = ["Fetched"]

_AT_ONCE_BYTES: Final = 4 << 20  # a smaller body that breaks off is read anew
_MOVED_BYTES: Final = 256 << 10  # an attempt that brought less has not helped
_CONTENT_RANGE: Final = re.compile(r"bytes (\d+)-\d+/")


class Fetched:
    """One read of an object or a part of it.

    Attributes:
        etag: of the object, once something came.
    """

    def __init__(self, url: str, offset: int = 0, length: int | None = None, file: BinaryIO | None = None) -> None:
        """Begin.

        Args:
            url: of the object, for messages.
            offset: of the first byte that is wanted.
            length: bytes that are wanted; None for all.
            file: where the bytes go; None keeps them in memory.
        """
        self.etag = ""
        self._url, self._offset, self._length, self._file = url, offset, length, file
        self._got = 0
        self._data: memoryview | None = None
        self._grown = bytearray()

    @property
    def data(self) -> memoryview:
        """All bytes, read-only, where no file was given."""
        return memoryview(self._grown).toreadonly() if self._data is None else self._data

    def headers(self) -> dict[str, str]:
        """Return what the next request has to ask for."""
        first = self._offset + self._got
        if self._length is not None:
            return {"range": f"bytes={first}-{self._offset + self._length - 1}"}
        return {"range": f"bytes={first}-"} if first else {}

    def take(self, reply: Reply) -> None:
        """Take what an answer of status 200 or 206 brings.

        Raises:
            UnservedError: it broke off; what has come is kept.
            StoreRefusedError: the store does not serve parts of objects.
            StoreUnavailableError: the object was replaced meanwhile.
        """
        self._check(reply)
        if not self._got and self._file is None and reply.length is not None and reply.length <= _AT_ONCE_BYTES:
            self._data = reply.data()
            return
        before = self._got
        try:
            for chunk in reply.chunks():
                self._write(chunk)
                self._got += len(chunk)
        except UnservedError as error:
            error.has_moved = self._got - before >= _MOVED_BYTES
            raise

    def _check(self, reply: Reply) -> None:
        if not reply.is_framed:
            raise UnservedError("the answer does not say where it ends")
        etag = etag_of(reply)
        if self._got and etag != self.etag:
            raise StoreUnavailableError(f"{self._url!r} was replaced while it was read; try again later")
        self.etag = etag
        first = self._offset + self._got
        if not self.headers():
            if reply.status == 206:
                raise UnservedError("a part was sent where all was asked for")
            return
        is_all = reply.status == 200 and first == 0 and reply.length == self._length
        found = _CONTENT_RANGE.match(reply.header("content-range"))
        if not is_all and (reply.status != 206 or found is None or int(found[1]) != first):
            raise StoreRefusedError(
                f"the store does not serve parts of objects: asked for {self._url!r} from byte {first} on, it answered with "
                f"status {reply.status} and {reply.header('content-range')[:60]!r}; use a server, or a proxy before it, that does"
            )

    def _write(self, chunk: memoryview) -> None:
        if self._file is None:
            self._grown += chunk
        else:
            self._file.write(chunk)
