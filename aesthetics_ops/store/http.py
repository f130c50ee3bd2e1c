"""HTTP/1.1 to one server, over connections that are kept: no redirect is followed, and no wait is longer than the limits.

In: an endpoint, who is trusted, the limits.  Out: `Server.answer`, which gives a `Reply` to read, and `Server.end`.
"""

import os
import ssl
import threading
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import pycurl

from aesthetics_ops.errors import StoreRefusedError
from aesthetics_ops.store.limits import StoreLimits
from aesthetics_ops.store.proxies import proxy_for
from aesthetics_ops.store.reply import Reply
from aesthetics_ops.store.transfer import Body, Transfer

__all__ = ["Server"]

_KEPT: Final = 32  # connections that wait for their next request
_of_parents: list[list[Transfer]] = []  # a child that closed them would end the parent's connections


class Server:
    """One endpoint, and the connections to it.

    Attributes:
        endpoint: its URL, without user and password; it may have a path.
        path: of the endpoint, without a slash at its end.
        host: as requests name it.
        limits: how long it may be silent.
        proxy: that requests go through; None without.
    """

    def __init__(self, endpoint: str, verify: bool | str | None, authorities: str | None, limits: StoreLimits) -> None:
        """Remember the endpoint; nothing is sent.

        Args:
            endpoint: http(s)://host:port, and perhaps a path.
            verify: False trusts any certificate, a path names a file of trusted ones.
            authorities: a file of authorities that are trusted beside the system's, where neither verify nor the system names one.
            limits: how long it may be silent.
        """
        parts = urlsplit(endpoint)
        self.endpoint, self.limits = endpoint, limits
        self.path = parts.path.rstrip("/")
        port = 443 if parts.scheme == "https" else 80
        name = parts.hostname or ""
        shown = f"[{name}]" if ":" in name else name
        self.host = shown if parts.port in (None, port) else f"{shown}:{parts.port}"
        self._base = f"{parts.scheme}://{self.host}"
        self.proxy = proxy_for(parts.scheme, self.host)
        self._options = {
            pycurl.CONNECTTIMEOUT_MS: int(limits.connect_s * 1000),
            pycurl.NOPROXY: "",
            pycurl.PROXY: self.proxy.url if self.proxy else "",
            **({pycurl.PROXYUSERPWD: self.proxy.credentials} if self.proxy and self.proxy.credentials else {}),
            **_trust(verify, authorities),
        }
        self._process = os.getpid()
        self._kept: list[Transfer] = []
        self._lock = threading.RLock()  # a signal's handler may come in anywhere

    def answer(self, method: str, target: str, headers: Mapping[str, str], body: Body = b"") -> Reply:
        """Send a request, and return the answer to read; then `end` it.

        Args:
            method: GET, HEAD, PUT, POST or DELETE.
            target: path and query, encoded, the endpoint's own path first.
            headers: all of them; Host and Content-Length too.
            body: pieces where it is large.

        Raises:
            UnservedError: no answer.
            StoreRefusedError: the server's certificate is not trusted, or a header cannot be sent.
        """
        lines = [f"{name}: {value}" for name, value in headers.items() if name != "content-length"]
        lines.append("accept-encoding: identity")
        if any(not line.isascii() or not line.isprintable() for line in lines):
            raise StoreRefusedError(
                f"a header for {self.endpoint} has a line break or is not ASCII, so it cannot be sent; correct the credentials"
            )
        transfer = self._take()
        try:
            transfer.begin(method, self._base + target, lines, body, int(headers.get("content-length", 0)))
            return Reply(transfer, method, self.endpoint, self.limits, self.proxy)
        except BaseException:
            transfer.close()
            raise

    def end(self, reply: Reply) -> None:
        """Keep an answer's connection for the next request when it was read to the end, or else close it."""
        reply.finish()
        if reply.transfer.release() and self._process == os.getpid() and len(self._kept) < _KEPT:
            self._kept.append(reply.transfer)

    def _take(self) -> Transfer:
        with self._lock:
            if self._process != os.getpid():
                _of_parents.append(self._kept)
                self._process, self._kept = os.getpid(), []
        try:
            return self._kept.pop()
        except IndexError:
            return Transfer(self._options)


def _trust(verify: bool | str | None, authorities: str | None) -> dict[int, Any]:
    """Return libcurl's options for what certificates are trusted."""
    if verify is False:
        return {pycurl.SSL_VERIFYPEER: 0, pycurl.SSL_VERIFYHOST: 0}
    if isinstance(verify, str):
        return {pycurl.CAINFO: verify}
    system = ssl.get_default_verify_paths()
    found = {pycurl.CAINFO: system.cafile or authorities, pycurl.CAPATH: system.capath}
    return {option: path for option, path in found.items() if path}
