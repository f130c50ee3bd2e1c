"""One bucket of S3: how it is reached, who asks, and what its answers mean.

In: a bucket's name, and how to reach it.  Out: `S3Bucket`, which signs a request, sends it until it is answered, and explains
what is no success.  boto3 finds the endpoint, the region and the credentials; what is sent goes through `http.py`.
Promised: a request goes to the endpoint and nowhere else, whatever an answer says, but for AWS's own host of the bucket's region;
no message holds a secret.
"""

import os
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import boto3
import botocore.exceptions as boto
from botocore.config import Config
from botocore.httpsession import get_cert_path
from botocore.loaders import Loader, create_loader

from aesthetics_ops.errors import AestheticsOpsError, StoreRefusedError
from aesthetics_ops.store.access import S3Access, S3Options
from aesthetics_ops.store.answers import explain_answer, hush, is_busy, is_passing
from aesthetics_ops.store.connection import Body
from aesthetics_ops.store.credentials import explain_credentials, explain_expiry
from aesthetics_ops.store.http import Sent, Server
from aesthetics_ops.store.limits import StoreLimits
from aesthetics_ops.store.pace import Pace, pace_of
from aesthetics_ops.store.reply import Reply
from aesthetics_ops.store.signing import NO_BODY, Keys, encoded_path, encoded_query, signed
from aesthetics_ops.store.trying import UnservedError, patiently
from aesthetics_ops.urls import behind_user

__all__ = ["Begun", "ConditionFailedError", "Request", "S3Bucket"]

_T = TypeVar("_T")

_AWS_HOST: Final = re.compile(r"^https://s3(\.[a-z0-9-]+)?\.amazonaws\.com/?$")
_REGION: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,40}")
_BUCKET: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")
_LABELS: Final = re.compile(r"[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?")  # what can be part of a host's name
_ADDRESS: Final = re.compile(r"[0-9.]+|.*:.*")  # of a machine, in numbers
_CODE: Final = re.compile(r"<Code>\s*(\w+)\s*</Code>")
_MESSAGE: Final = re.compile(r"<Message>(.*?)</Message>", re.DOTALL)
_REGION_TAG: Final = re.compile(r"<Region>([a-z0-9-]+)</Region>")
_EXPIRED: Final = ("ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired")
_ABOUT_CREDENTIALS = (
    boto.NoCredentialsError, boto.PartialCredentialsError, boto.CredentialRetrievalError, boto.MetadataRetrievalError, boto.SSOError,
    boto.TokenRetrievalError,
)  # fmt: skip
# of credentials that are read when they are needed
_CREDENTIALS_FAILED = (boto.ClientError, boto.BotoCoreError, OSError, ValueError)
_LONGEST_SAID: Final = 300


class ConditionFailedError(StoreRefusedError):
    """A write's condition does not hold."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request to a bucket.

    Attributes:
        method: of HTTP.
        key: full, of the object; empty for the bucket.
        about: full key or prefix, for messages.
        query: names and values.
        headers: with lower-case names, without what signing adds.
        body: pieces where it is large, that can be had again.
        body_bytes: of the body.
        sha256: of the body, in hex.
    """

    method: str
    key: str
    about: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Body = b""
    body_bytes: int = 0
    sha256: str = NO_BODY


@dataclass(frozen=True, slots=True)
class _Reached:
    """A server, and how requests to it are made.

    Attributes:
        server: whose host has the bucket's name before it where `names_host`.
        region: that requests are signed for.
        endpoint: URL without the bucket.
        names_host: the bucket is named by the host, not by the path.
    """

    server: Server
    region: str
    endpoint: str
    names_host: bool


@dataclass(frozen=True, slots=True)
class Begun:
    """A request under way.

    Attributes:
        request: it.
        sent: as the server has it.
        server, keys: that it went to, and that signed it.
    """

    request: Request
    sent: Sent
    server: Server
    keys: Keys


class S3Bucket:
    """One bucket.

    Attributes:
        name: of the bucket.
        limits: how long its server may take.
    """

    def __init__(self, name: str, access: S3Access | None, limits: StoreLimits) -> None:
        self.name, self.limits = name, limits
        self._access = access
        self._options = (access.options if access else None) or S3Options.of()
        self._lock = threading.Lock()
        self._session: boto3.Session | None = access.session if access else None
        self._credentials: Any = None
        self._reached: _Reached | None = None
        self._tried: set[str] = set()

    @property
    def endpoint(self) -> str:
        """The server's URL, without any user name or password in it."""
        return self._server().server.endpoint

    def ask(
        self,
        request: Callable[[], Request],
        read: Callable[[Reply], _T],
        *,
        may_repeat: Callable[[UnservedError], bool] = lambda error: True,
        first: Callable[[], _T] | None = None,
    ) -> _T:
        """Send a request until it is served, and return what is read of the answer.

        Args:
            request: makes the request, anew for each attempt.
            read: takes an answer of status 200 to 299; what raises `UnservedError` is sent again.
            may_repeat: says whether what was not served may be sent again.
            first: in place of the first attempt, where that was made already; None where it was not.

        Raises:
            StoreRefusedError: the store says no.
            StoreUnavailableError: it said nothing, or "not now", for as long as the limits allow.
        """
        return patiently(
            lambda: self.answer(self.begin(request()), read),
            pace=self.pace,
            limits=self.limits,
            may_repeat=may_repeat,
            first=first,
        )

    @property
    def pace(self) -> Pace:
        """The pace of the server."""
        return pace_of(self._server().server.endpoint)

    def url_of(self, key: str) -> str:
        """Return the URL of an object or a prefix."""
        return f"s3://{self.name}/{key}"

    def begin(self, request: Request) -> Begun:
        """Send a request once; then take its `answer`, or `drop` it.

        Raises:
            UnservedError: it could not be sent.
            StoreRefusedError: as `ask`.
        """
        reached = self._server()
        server, region = reached.server, reached.region
        keys = self._keys(region)
        bucket = "" if reached.names_host else f"/{self.name}"
        path = encoded_path(
            f"{server.path}{bucket}/{request.key}" if request.key or not bucket else server.path + bucket
        )
        query = encoded_query(request.query)
        headers = {"host": server.host, **request.headers, **self._options.headers(request.method, request.query)}
        if request.method in ("PUT", "POST"):
            headers["content-length"] = str(request.body_bytes)
        signed_headers = signed(request.method, path, query, headers, request.sha256, keys)
        target = f"{path}?{query}" if query else path
        try:
            sent = server.send(request.method, target, signed_headers, request.body)
        except AestheticsOpsError as error:
            self._explain(error, request, keys)
            raise
        return Begun(request, sent, server, keys)

    def answer(self, begun: Begun, read: Callable[[Reply], _T]) -> _T:
        """Return what is read of the answer to a request.

        Raises:
            UnservedError: it was not served.
            StoreRefusedError: as `ask`.
        """
        server, request = begun.server, begun.request
        try:
            reply = server.answer(begun.sent)
            try:
                pace_of(server.endpoint).has_answered = True
                if 200 <= reply.status < 300:
                    return read(reply)
                if reply.status == 407 and server.proxy is not None:
                    raise server.proxy.refusal(server.endpoint, "status 407")
                raise self._refusal(request, reply, begun.keys.region)
            finally:
                server.end(reply)
        except AestheticsOpsError as error:
            self._explain(error, request, begun.keys)
            raise

    def drop(self, begun: Begun) -> None:
        """Give up a request whose answer nobody wants any more."""
        begun.server.drop(begun.sent)

    def _explain(self, error: AestheticsOpsError, request: Request, keys: Keys) -> None:
        """Say in an error what it is about, and no secret."""
        if isinstance(error, UnservedError) and error.is_silent:
            error.args = (f"{error} about {self.url_of(request.about)!r}",)
        hush(error, [secret for secret in (keys.access, keys.secret, keys.token) if secret])

    def _refusal(self, request: Request, reply: Reply, region: str) -> AestheticsOpsError:
        """Return the error that stands for an answer that is no success."""
        url, text = self.url_of(request.about), "" if request.method == "HEAD" else reply.text()
        code, message = _found(_CODE, text), _found(_MESSAGE, text)[:_LONGEST_SAID]
        own = reply.header("x-amz-bucket-region") or (
            _found(_REGION_TAG, text) if code == "AuthorizationHeaderMalformed" else ""
        )
        if own and own != region and _REGION.fullmatch(own) and self._moved(region, own):
            return UnservedError(f"{url!r} lies in region {own}", has_moved=True)
        if code in _EXPIRED:
            return explain_expiry(f"s3://{self.name}", self._default_session())
        if is_passing(reply.status, code):
            said = ": ".join(part for part in (code, message) if part) or f"status {reply.status}"
            return UnservedError(
                f"the store did not serve {url!r}: {said}",
                is_busy=is_busy(reply.status, code),
                pause_s=_seconds(reply.header("retry-after")),
            )
        if reply.status == 412:
            return ConditionFailedError(f"the condition of a write to {url!r} does not hold")
        if _REGION.fullmatch(own) and (own != region or 300 <= reply.status < 400):
            message = f"{message}; the bucket lies in region {own}".removeprefix("; ")
        return explain_answer(
            url, reply.status, code, message, action=self._options.action(request.method, request.query, request.key)
        )

    def _moved(self, before: str, region: str) -> bool:
        """Ask in the bucket's own region from now on, unless that was tried; AWS has a host for each, others the same for all."""
        reached = self._server()
        if reached.region != before:
            return reached.region == region  # another thread has moved
        if region in self._tried:
            return False
        self._tried.add(region)
        is_aws = _AWS_HOST.match(reached.endpoint)
        moved = self._reach(f"https://s3.{region}.amazonaws.com", region) if is_aws else replace(reached, region=region)
        with self._lock:
            self._reached = moved
        return True

    def _keys(self, region: str) -> Keys:
        try:
            if self._credentials is None:
                self._credentials = self._default_session().get_credentials()
            if self._credentials is None:
                raise boto.NoCredentialsError
            frozen = self._credentials.get_frozen_credentials()
            if not frozen.access_key or not frozen.secret_key:
                raise boto.NoCredentialsError
        except _CREDENTIALS_FAILED as error:
            raise explain_credentials(f"s3://{self.name}", self._default_session(), error) from error
        return Keys(frozen.access_key, frozen.secret_key, frozen.token, region)

    def _default_session(self) -> boto3.Session:
        if self._session is None:
            session = boto3.Session()
            core = session._session
            core.register_component("data_loader", _service_files(core.get_config_variable("data_path")))
            self._session = session
        return self._session

    def _server(self) -> "_Reached":
        """Return the server, and how requests to it are made."""
        found = self._reached
        if found is None:
            with (
                self._lock
            ):  # one thread asks boto3, which takes half a second of CPU and is not made for many; the others wait
                found = self._reached = self._reached or self._reach(*self._found_endpoint())
        return found

    def _reach(self, endpoint: str, region: str) -> "_Reached":
        parts = urlsplit(endpoint)
        host = parts.hostname or ""
        names_host = self._options.names_host(self.name, host)
        if names_host and (not _LABELS.fullmatch(self.name) or _ADDRESS.fullmatch(host)):
            raise StoreRefusedError(
                f"addressing is virtual, but {self.name!r} cannot stand before the host {host!r} of {endpoint}; set addressing to path"
            )
        url = parts._replace(netloc=f"{self.name}.{parts.netloc}").geturl() if names_host else endpoint
        return _Reached(Server(url, self._verify(), get_cert_path(True), self.limits), region, endpoint, names_host)

    def _found_endpoint(self) -> tuple[str, str]:
        """Return the endpoint, without user and password, and the region that boto3 finds."""
        if not _BUCKET.fullmatch(self.name):
            raise StoreRefusedError(
                f"{self.name!r} cannot be a bucket's name; write letters, digits, '.', '-' and '_', and correct the URL"
            )
        given = self._access.endpoint_url if self._access else None
        config = Config(s3={"addressing_style": "path"})
        session = self._session_with_credentials()
        try:
            client = session.client("s3", endpoint_url=_clean(given), verify=self._verify(), config=config)
            endpoint = _clean(
                str(client.meta.endpoint_url)
            )  # a password may come from the environment or the profile, too
        except boto.BotoCoreError as error:
            raise StoreRefusedError(f"s3://{self.name} cannot be reached: {error}; correct the AWS settings") from error
        except ValueError:  # its text has the whole URL, with a password where there is one
            raise StoreRefusedError(
                f"the endpoint URL for s3://{self.name} is not valid; write http(s)://host:port"
            ) from None
        region = str(client.meta.region_name or "")
        return str(endpoint), region if region not in ("", "aws-global") else "us-east-1"

    def _session_with_credentials(self) -> boto3.Session:
        try:
            session = self._default_session()
            session.get_credentials()
        except boto.ProfileNotFound as error:
            raise StoreRefusedError(f"s3://{self.name} cannot be reached: {error}; correct the AWS settings") from error
        except _ABOUT_CREDENTIALS as error:
            raise explain_credentials(f"s3://{self.name}", self._default_session(), error) from error
        except boto.BotoCoreError as error:
            raise StoreRefusedError(f"s3://{self.name} cannot be reached: {error}; correct the AWS settings") from error
        except (boto.ClientError, OSError, ValueError) as error:
            raise explain_credentials(f"s3://{self.name}", self._default_session(), error) from error
        return session

    def _verify(self) -> bool | str | None:
        """Return what certificates are trusted by: as given, or as the environment or the profile says."""
        verify: bool | str | None = self._access.verify if self._access else None
        if verify is None:
            verify = self._default_session()._session.get_config_variable("ca_bundle") or os.environ.get(
                "REQUESTS_CA_BUNDLE"
            )
        if isinstance(verify, str) and not Path(verify).exists():
            raise StoreRefusedError(
                f"the file of trusted certificates for s3://{self.name} is not there: {verify!r}; correct AWS_CA_BUNDLE, "
                "ca_bundle of the profile, or verify of the connection"
            )
        return verify if not isinstance(verify, str) or Path(verify).is_file() else None


@lru_cache(maxsize=8)
def _service_files(data_path: str | None) -> Loader:
    """Return what reads boto3's descriptions of services, once for all sessions: most of what a client costs."""
    return create_loader(data_path)


def _found(pattern: re.Pattern[str], text: str) -> str:
    match = pattern.search(text)
    return match[1] if match else ""


def _seconds(text: str) -> float:
    """Return what a Retry-After header says, 0 where it names a date or nothing."""
    return float(text) if text.isdigit() and len(text) < 6 else 0.0


def _clean(endpoint: str | None) -> str | None:
    """Return an endpoint without user and password.

    Raises:
        ValueError: it is none, or where its host stands is not sure; the text does not have it.
    """
    if endpoint is None:
        return None
    scheme, separator, rest = endpoint.partition("://")
    clean = f"{scheme}://{behind_user(rest) or ''}"
    try:
        parts = urlsplit(clean)
        valid = scheme in ("http", "https") and separator and parts.hostname and (parts.port or True)
        valid = valid and not parts.query and not parts.fragment
    except ValueError:
        valid = False
    if not valid:
        raise ValueError("not an endpoint")
    return clean
