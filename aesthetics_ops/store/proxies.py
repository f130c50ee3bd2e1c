"""The proxy that the environment names for a server (HTTP_PROXY, HTTPS_PROXY, NO_PROXY), as curl and boto3 take it.

In: the scheme and host of a server.  Out: a `Proxy`, or None.  Nothing is sent.
"""

import urllib.request
from base64 import b64encode
from urllib.parse import unquote, urlsplit

from aesthetics_ops.errors import StoreRefusedError
from aesthetics_ops.urls import shown

__all__ = ["Proxy", "proxy_for"]


class Proxy:
    """A proxy for HTTP, which is spoken to without TLS; what goes through it to an https server is encrypted on its way.

    Attributes:
        host: its name.
        port: its port.
        headers: that it is sent: user and password, where its URL has them.
        setting: the variable that names it.
    """

    def __init__(self, url: str, setting: str) -> None:
        """Read a proxy's URL.

        Raises:
            StoreRefusedError: no host, no port that is one, or another scheme than http.
        """
        scheme, separator, rest = url.partition("://")
        if not separator:
            scheme, rest = "http", url
        pair, _, address = rest.rpartition("@")  # a password may hold whatever a URL has a meaning for
        try:
            parts = urlsplit(f"//{address}")
            host, port = parts.hostname or "", parts.port or 80
        except ValueError:
            host, port = "", 0
        if scheme.lower() != "http" or not host:
            raise StoreRefusedError(
                f"{setting} names no proxy that can be used (scheme {shown(scheme)!r}, host {host!r}); write "
                "http://host:port, or name the server in NO_PROXY"
            )
        self.host, self.port, self.setting = host, port, setting
        self.headers: dict[str, str] = {}
        user, _, password = pair.partition(":")
        if user:
            said = f"{unquote(user)}:{unquote(password)}".encode(errors="surrogateescape")
            self.headers["Proxy-Authorization"] = f"Basic {b64encode(said).decode()}"

    def __str__(self) -> str:
        """Return what messages call it; without user and password."""
        return f"the proxy {self.host}:{self.port} of {self.setting}"

    def refusal(self, endpoint: str, said: str) -> StoreRefusedError:
        """Return the error that stands for its saying no."""
        return StoreRefusedError(
            f"{self} refuses the way to {endpoint}: {said}; correct {self.setting}, or name the server in NO_PROXY"
        )


def proxy_for(scheme: str, host: str) -> Proxy | None:
    """Return the proxy for a server; None where none is named, or NO_PROXY has the server.

    Args:
        scheme: http or https.
        host: name and port, as requests name them.

    Raises:
        StoreRefusedError: the variable names no proxy.
    """
    url = urllib.request.getproxies().get(scheme)
    if not url or urllib.request.proxy_bypass(host):
        return None
    return Proxy(url, f"{scheme.upper()}_PROXY")
