"""Secrets of every kind, a server that says back what it was sent, and a search for them in whatever was left behind."""

import base64
import io
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from urllib.parse import quote

import pyarrow.parquet as pq

from aesthetics_ops.store import Store
from aesthetics_ops.testing.loopback import LoopbackServer, serving

__all__ = ["KEY", "PASSWORD", "SECRETS", "SECRET_KEY", "TOKEN", "answering_with_secrets", "found_in", "left_in", "with_password"]  # fmt: skip

KEY = "AKIAHUSHHUSHHUSH0001"
SECRET_KEY = "hush/secret+key/0002abcdefghijklmnopqrst"
TOKEN = "hush+session/token==0003"
PASSWORD = "hush-password-0004"
SECRETS: Mapping[str, str] = {"access key": KEY, "secret key": SECRET_KEY, "token": TOKEN, "password": PASSWORD}


def with_password(url: str) -> str:
    """Return a URL with a user and the planted password in it."""
    return url.replace("://", f"://somebody:{PASSWORD}@")


def found_in(what: Mapping[str, bytes]) -> set[tuple[str, str]]:
    """Return (name, secret) for each secret that some bytes hold: as it is, percent-encoded, in base64 or as JSON has it."""
    forms = {
        name: {secret, quote(secret, safe=""), base64.b64encode(secret.encode()).decode(), secret.replace("/", "\\/")}
        for name, secret in SECRETS.items()
    }
    return {
        (place, name)
        for place, data in what.items()
        for name, looks in forms.items()
        if any(look.encode() in data for look in looks)
    }


def left_in(store: Store) -> dict[str, bytes]:
    """Return every object of a store by its key: its bytes, and what they unpack to where they are a table."""
    left = {}
    for key in store.list()["key"].to_pylist():
        data = bytes(store.get(key).data)
        left[key] = data
        if key.endswith(".parquet"):
            table = pq.read_table(io.BytesIO(data))
            left[f"{key} unpacked"] = repr((table.schema.metadata, table.to_pydict())).encode()
    return left


class _Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def _refuse(self) -> None:
        """Answer as AWS does to a wrong signature: with the key, the token and the whole request in the document."""
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        sent = {name.lower(): value for name, value in self.headers.items()}
        said = re.search(r"Credential=([^/]+)", sent.get("authorization", ""))
        key, token = said[1] if said else "", sent.get("x-amz-security-token", "")
        body = (
            '<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>SignatureDoesNotMatch</Code>'
            f"<Message>The signature of {key} with {token} does not match</Message><AWSAccessKeyId>{key}</AWSAccessKeyId>"
            f"<Token-0>{token}</Token-0><CanonicalRequest>GET\n/\n\nx-amz-security-token:{token}</CanonicalRequest>"
            f"<Seen>{sorted(sent.items())}</Seen></Error>"
        ).encode()
        self.send_response(403)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = _refuse  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def answering_with_secrets() -> Iterator[str]:
    """Run a server that refuses every request and repeats the credentials that it was sent; give its URL."""
    with serving(LoopbackServer(_Answers)) as server:
        yield server.url
