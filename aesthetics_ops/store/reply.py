"""What a server answered, read as it comes.

In: a request that was begun.  Out: `Reply`.
Promised: no wait is longer than the limits, and an interruption ends each.
"""

import time
from collections.abc import Iterator
from typing import Final

import pycurl

from aesthetics_ops.errors import StoreRefusedError
from aesthetics_ops.store.interrupts import Interrupts
from aesthetics_ops.store.limits import StoreLimits
from aesthetics_ops.store.proxies import Proxy
from aesthetics_ops.store.transfer import Transfer
from aesthetics_ops.store.trying import UnservedError

__all__ = ["Reply", "etag_of"]

_MOST_ERROR_BYTES: Final = 64 << 10
_LOOK_S: Final = 0.2  # between looks at the clock and for interruptions
_NOT_TRUSTED: Final = (pycurl.E_PEER_FAILED_VERIFICATION, pycurl.E_SSL_CACERT_BADFILE, pycurl.E_SSL_ISSUER_ERROR)
_E_PROXY: Final = 97  # of libcurl's numbers; pycurl has no name for it
_NOT_CONNECTED: Final = {
    pycurl.E_COULDNT_RESOLVE_HOST: "its name is not known",
    pycurl.E_COULDNT_RESOLVE_PROXY: "the proxy's name is not known",
    pycurl.E_COULDNT_CONNECT: "nobody takes connections",
    pycurl.E_SSL_CONNECT_ERROR: "no TLS",
    _E_PROXY: "the proxy refuses",
}


class Reply:
    """What a server answered; the body is read once.

    Attributes:
        transfer: that brings it.
        status: of HTTP.
        length: bytes of the body; None where the answer does not say.
    """

    def __init__(
        self, transfer: Transfer, method: str, endpoint: str, limits: StoreLimits, proxy: Proxy | None
    ) -> None:
        """Wait for the head of the answer.

        Args:
            transfer: that was begun.
            method: of the request.
            endpoint: for messages.
            limits: how long the server may be silent.
            proxy: that the request goes through.

        Raises:
            UnservedError: there is none.
            StoreRefusedError: the server's certificate is not trusted, or the proxy says no.
        """
        self.transfer, self._endpoint, self._limits, self._proxy = transfer, endpoint, limits, proxy
        self._interrupts = Interrupts.count
        self._started, self._got = time.monotonic(), 0
        while not transfer.status and not transfer.is_ended:
            self._step()
        if not transfer.status:
            raise self._failure()
        self.status, fields = transfer.status, transfer.fields
        self._is_chunked = fields.get(b"transfer-encoding", b"").lower().endswith(b"chunked")
        self.length: int | None = None
        length = fields.get(b"content-length")
        if length is not None and (self._is_chunked or not length.isdigit()):
            raise UnservedError(f"no answer from {endpoint} (it says in two ways where it ends)", is_silent=True)
        if method == "HEAD" or self.status in (204, 304):
            self.length = 0
        elif length is not None:
            self.length = int(length)

    def header(self, name: str) -> str:
        """Return a header by its lower-case name, or an empty text."""
        return self.transfer.fields.get(name.encode(), b"").decode("latin-1")

    @property
    def is_framed(self) -> bool:
        """Whether the answer says where its body ends, so that a cut one shows."""
        return self.length is not None or self._is_chunked

    def chunks(self) -> Iterator[bytes]:
        """Yield the body in pieces.

        Raises:
            UnservedError: it broke off, or comes too slowly.
        """
        while True:
            is_ended = self.transfer.is_ended
            for piece in self.transfer.take():
                self._got += len(piece)
                yield piece
            if is_ended:
                break
            self._step()
        if self.transfer.error[0]:
            raise self._failure()

    def data(self) -> memoryview:
        """Return the whole body, read-only.

        Raises:
            UnservedError: it broke off, or comes too slowly.
        """
        return memoryview(b"".join(self.chunks()))

    def text(self) -> str:
        """Return the start of the body, for what it says of an error."""
        found = bytearray()
        try:
            for chunk in self.chunks():
                found += chunk
                if len(found) >= _MOST_ERROR_BYTES:
                    break
        except UnservedError:
            pass  # what came says more than that it broke off
        return found.decode(errors="replace")

    def finish(self) -> None:
        """Read what is left where that takes no wait: the end of an answer without a body."""
        if not self.transfer.is_ended and self._got == self.length:
            self.transfer.step(0.0)

    def _step(self) -> None:
        transfer, limits = self.transfer, self._limits
        transfer.step(min(_LOOK_S, limits.timeout_s / 4))
        now = time.monotonic()
        if transfer.is_ended:
            return
        if Interrupts.count != self._interrupts:
            raise UnservedError(f"no answer from {self._endpoint} (interrupted)", is_silent=True)
        if now - transfer.moved > limits.timeout_s:
            if transfer.status:
                raise UnservedError(f"the answer broke off after {self._got} bytes (timed out)", is_silent=True)
            raise UnservedError(f"no answer from {self._endpoint} for {limits.timeout_s:g} s", is_silent=True)
        if transfer.status and now - self._started > limits.body_s(self._got):
            raise UnservedError(f"the answer comes too slowly, {self._got} bytes so far", is_silent=True)

    def _failure(self) -> UnservedError | StoreRefusedError:
        number, text = self.transfer.error
        if self.transfer.status:
            return UnservedError(f"the answer broke off after {self._got} bytes", is_silent=True)
        if number == pycurl.E_SSL_CACERT_BADFILE:
            return StoreRefusedError("the file of trusted certificates cannot be read; correct AWS_CA_BUNDLE")
        if number in _NOT_TRUSTED:
            return StoreRefusedError(
                f"the certificate of {self._endpoint} is not trusted; name its authority's file in AWS_CA_BUNDLE"
            )
        if self._proxy is not None and 400 <= self.transfer.proxy_status < 500:
            return self._proxy.refusal(self._endpoint, f"status {self.transfer.proxy_status}")
        said = self.transfer.system_error
        way = f", through {self._proxy}" if self._proxy else ""
        if number in _NOT_CONNECTED:
            said = said or _NOT_CONNECTED[number]
            return UnservedError(f"no connection to {self._endpoint} ({said}{way})", is_silent=True)
        if number == pycurl.E_OPERATION_TIMEDOUT:
            return UnservedError(f"no connection to {self._endpoint} (timed out{way})", is_silent=True)
        return UnservedError(f"no answer from {self._endpoint} ({said or text or 'it closed'}{way})", is_silent=True)


def etag_of(reply: Reply) -> str:
    """Return the ETag that an answer names, without quotes.

    Raises:
        UnservedError: it names none, so it is not an object store's.
    """
    etag = reply.header("etag").strip().removeprefix("W/").strip('"')
    if not etag:
        raise UnservedError("the answer has no ETag, so it is not the store's")
    return etag
