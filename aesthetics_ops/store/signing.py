"""Sign a request for S3: AWS Signature Version 4, over every header and the body's SHA-256.

Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/create-signed-request.html
"""

import hashlib
import hmac
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final
from urllib.parse import quote

__all__ = ["NO_BODY", "Keys", "encoded_path", "encoded_query", "signed"]

NO_BODY: Final = hashlib.sha256(b"").hexdigest()
_UNRESERVED: Final = "-_.~"

_derived: dict[tuple[str, str, str], bytes] = {}


@dataclass(frozen=True, slots=True)
class Keys:
    """Who signs.

    Attributes:
        access: the access key.
        secret: what belongs to it.
        token: of a session; None for keys that last.
        region: that the signature is for.
    """

    access: str
    secret: str
    token: str | None
    region: str

    def __repr__(self) -> str:
        return f"Keys(region={self.region!r})"


def encoded_path(path: str) -> str:
    """Return a path as it stands in the request and the signature."""
    return quote(path, safe="/" + _UNRESERVED)


def encoded_query(query: Mapping[str, str]) -> str:
    """Return a query as it stands in the request and the signature."""
    pairs = sorted((quote(name, safe=_UNRESERVED), quote(value, safe=_UNRESERVED)) for name, value in query.items())
    return "&".join(f"{name}={value}" for name, value in pairs)


def signed(
    method: str,
    path: str,
    query: str,
    headers: Mapping[str, str],
    body_sha256: str,
    keys: Keys,
    *,
    now: float | None = None,
) -> dict[str, str]:
    """Return the headers with a signature.

    Args:
        method: of HTTP.
        path: encoded.
        query: encoded and ordered.
        headers: that are sent, with lower-case names; `host` is among them.
        body_sha256: in hex.
        keys: who signs.
        now: seconds since 1970; None takes this machine's clock.
    """
    moment = _moment(int(time.time() if now is None else now))
    day = moment[:8]
    sent = {**headers, "x-amz-content-sha256": body_sha256, "x-amz-date": moment}
    if keys.token:
        sent["x-amz-security-token"] = keys.token
    names = sorted(sent)
    listed = ";".join(names)
    lines = "".join(f"{name}:{' '.join(sent[name].split())}\n" for name in names)
    request = f"{method}\n{path}\n{query}\n{lines}\n{listed}\n{body_sha256}"
    scope = f"{day}/{keys.region}/s3/aws4_request"
    text = f"AWS4-HMAC-SHA256\n{moment}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
    signature = hmac.digest(_key(keys.secret, day, keys.region), text.encode(), "sha256").hex()
    sent["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={keys.access}/{scope}, SignedHeaders={listed}, Signature={signature}"
    )
    return sent


@lru_cache(maxsize=4)
def _moment(seconds: int) -> str:
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(seconds))


def _key(secret: str, day: str, region: str) -> bytes:
    found = _derived.get((secret, day, region))
    if found is None:
        found = f"AWS4{secret}".encode()
        for part in (day, region, "s3", "aws4_request"):
            found = hmac.digest(found, part.encode(), "sha256")
        if len(_derived) > 8:
            _derived.clear()
        _derived[secret, day, region] = found
    return found
