"""s3:// through boto3: every verb, for every key that S3 can hold, at ten times the cost of obstore.

In: a bucket's name, how to reach it, and a prefix.  Out: `BotoStore`, a complete `Store`; and `S3Bucket`, which keeps
the clients and makes the obstore store that carries bulk bytes.  Which keys and verbs come here, `s3.py` says.
Promised: nothing here waits longer than about a minute for a store that does not answer, and no message holds a secret.
"""
# ruff: noqa: D102 - what a store's methods do stands in contract.py

import base64
import hashlib
import os
import re
import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import boto3
import botocore.exceptions as boto
import obstore.store
import pyarrow as pa
from botocore.config import Config
from obstore.auth.boto3 import Boto3CredentialProvider

from aesthetics_ops.errors import AestheticsOpsError, ObjectMissingError, StoreRefusedError, StoreUnavailableError
from aesthetics_ops.store.access import S3Access
from aesthetics_ops.store.answers import explain_answer, explain_native
from aesthetics_ops.store.contract import Store, StoredObject
from aesthetics_ops.store.credentials import NativeCredentials, explain_credentials, explain_expiry, told_by_native
from aesthetics_ops.store.limits import CLIENT_OPTIONS, RETRY_CONFIG
from aesthetics_ops.store.listing import listing
from aesthetics_ops.store.transfers import exactly, removed_on_failure
from aesthetics_ops.urls import without_secrets

if TYPE_CHECKING:
    from obstore.store import ClientConfig

__all__ = ["BotoStore", "S3Bucket"]

_CONTROL_ATTEMPTS = 3
_WRONG_MD5 = "AAAAAAAAAAAAAAAAAAAAAA=="
_AWS_HOST = re.compile(r"^https://s3(\.[a-z0-9-]+)?\.amazonaws\.com/?$")
_CUT_BODY = (boto.ReadTimeoutError, boto.ResponseStreamingError, boto.IncompleteReadError)
_NO_ANSWER = (*_CUT_BODY, boto.HTTPClientError, boto.ConnectionError)
_ABOUT_CREDENTIALS = (
    boto.NoCredentialsError, boto.PartialCredentialsError, boto.CredentialRetrievalError, boto.MetadataRetrievalError, boto.SSOError,
    boto.TokenRetrievalError,
)  # fmt: skip
_ERRORS = (
    boto.ClientError,
    boto.BotoCoreError,
    OSError,
    ValueError,
    RecursionError,  # a redirect that names no region sends boto3 in a circle
)  # of credentials that are read at the request, the two before the last
_EXPIRED = ("ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired")


class S3Bucket:
    """One bucket: how it is reached, and what its answers mean.

    Attributes:
        name: of the bucket.
    """

    def __init__(self, name: str, access: S3Access | None) -> None:
        self.name = name
        self._access = access
        self._lock = threading.Lock()
        self._clients: dict[tuple[int, int], Any] = {}
        self._session: boto3.Session | None = access.session if access else None

    @property
    def endpoint(self) -> str:
        """The server's URL, without any user name or password in it."""
        return without_secrets(str(self.client().meta.endpoint_url))

    def native(self) -> obstore.store.S3Store:
        """Make the obstore store for this bucket: its region, endpoint, credentials and time limits."""
        client = self.client()
        region, endpoint = client.meta.region_name, client.meta.endpoint_url
        if _AWS_HOST.match(endpoint):  # obstore does not follow AWS from one region to another
            region = self._region()
            endpoint = f"https://s3.{region}.amazonaws.com"
        options: ClientConfig = {**CLIENT_OPTIONS, "allow_http": endpoint.startswith("http://")}
        verify = self._verify()
        if verify is False:
            options["allow_invalid_certificates"] = True
        elif isinstance(verify, str):
            options["root_certificate"] = Path(verify).read_bytes()
        try:
            # boto3 renews credentials that have less than 10 minutes left, so nothing is used after its end
            provider = Boto3CredentialProvider(self._default_session(), ttl=timedelta(minutes=5))
        except ValueError as error:
            raise self.explained("", boto.NoCredentialsError()) from error
        provider.config = {}  # the bucket's region, not the session's
        return obstore.store.S3Store(
            self.name,
            region=region,
            endpoint=endpoint,
            virtual_hosted_style_request=False,
            credential_provider=NativeCredentials(provider, f"s3://{self.name}", self._default_session()),
            client_options=options,
            retry_config=RETRY_CONFIG,
        )

    def client(self, attempts: int = _CONTROL_ATTEMPTS) -> Any:
        """Return this process's boto3 client, which sends each request so often at most."""
        # one client per process, since connections must not be shared across a fork
        with self._lock:
            client = self._clients.get((os.getpid(), attempts))
            if client is None:
                client = self._clients[os.getpid(), attempts] = self._new_client(attempts)
            return client

    def ask(self, key: str, operation: str, **arguments: Any) -> Any:
        """Call a method of boto3's client, for example head_object, about an object or a prefix; errors are ours."""
        try:
            return getattr(self.client(), operation)(Bucket=self.name, **arguments)
        except _ERRORS as error:
            raise self.explained(key, error) from error

    def explained_native(self, url: str, error: Exception) -> AestheticsOpsError:
        """Return the error that stands for one of obstore's about an object or a prefix."""
        if any(f"<Code>{code}</Code>" in str(error) for code in _EXPIRED):
            return explain_expiry(f"s3://{self.name}", self._default_session())
        return told_by_native(str(error)) or explain_native(url, error)

    def explained(self, key: str, error: Exception) -> AestheticsOpsError:
        """Return the error that stands for one of boto3's about an object or a prefix."""
        url = f"s3://{self.name}/{key}"
        if _is_circle(error):
            return explain_answer(url, 307, "", "and again to itself, without the bucket's region")
        if isinstance(error, boto.ClientError):
            answer = error.response["Error"]
            code, message = answer.get("Code", ""), answer.get("Message", "")
            if error.operation_name.startswith(("AssumeRole", "GetRoleCredentials", "GetSessionToken")):
                return explain_credentials(f"s3://{self.name}", self._default_session(), error)
            if code in _EXPIRED:
                return explain_expiry(f"s3://{self.name}", self._default_session())
            return explain_answer(url, _status(error), "" if code.isdigit() else code, message)
        if isinstance(error, _ABOUT_CREDENTIALS) or not isinstance(error, boto.BotoCoreError):
            return explain_credentials(f"s3://{self.name}", self._default_session(), error)
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            return StoreRefusedError(
                f"the certificate of {self.endpoint} is not trusted; name its authority's file in AWS_CA_BUNDLE"
            )
        if isinstance(error, _NO_ANSWER):
            return StoreUnavailableError(
                f"no answer about {url!r} from {self.endpoint} ({type(error).__name__}); "
                "check the endpoint and the network, or try again later"
            )
        return StoreRefusedError(f"{url!r} cannot be asked for: {error}; correct the AWS settings")

    def _region(self) -> str:
        try:
            reply = self.client().head_bucket(Bucket=self.name)
        except boto.ClientError as error:
            reply = error.response  # a denial names the region too
        except boto.BotoCoreError as error:
            raise self.explained("", error) from error
        headers: dict[str, str] = reply.get("ResponseMetadata", {}).get("HTTPHeaders", {})
        return headers.get("x-amz-bucket-region") or self.client().meta.region_name

    def _default_session(self) -> boto3.Session:
        if self._session is None:
            self._session = boto3.Session()
        return self._session

    def _new_client(self, attempts: int) -> Any:
        config = Config(
            retries={"mode": "standard", "total_max_attempts": attempts},
            connect_timeout=5,
            read_timeout=20,
            max_pool_connections=16,
            s3={"addressing_style": "path"},
            # Otherwise an upload over TLS goes in chunks with a checksum at the end (aws-chunked), which some servers store
            # as it comes.  Without, the signature covers the bytes.  Downloads are checked by whoever reads them: some
            # servers send the whole object's checksum with a part of it.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        )
        endpoint = self._access.endpoint_url if self._access else None
        try:
            session = self._default_session()
            session.get_credentials()
        except boto.ProfileNotFound as error:
            raise StoreRefusedError(f"s3://{self.name} cannot be reached: {error}; correct the AWS settings") from error
        except _ABOUT_CREDENTIALS as error:
            raise self.explained("", error) from error
        except boto.BotoCoreError as error:
            raise StoreRefusedError(f"s3://{self.name} cannot be reached: {error}; correct the AWS settings") from error
        except (boto.ClientError, OSError, ValueError) as error:
            raise self.explained("", error) from error
        try:
            client = session.client("s3", endpoint_url=_clean(endpoint), verify=self._verify(), config=config)
            found = str(client.meta.endpoint_url)
            if found != _clean(
                found
            ):  # a password from the environment or the profile: S3 knows none, and errors would show it
                client = session.client("s3", endpoint_url=_clean(found), verify=self._verify(), config=config)
            return client
        except boto.BotoCoreError as error:
            raise StoreRefusedError(f"s3://{self.name} cannot be reached: {error}; correct the AWS settings") from error
        except ValueError:  # its text has the whole URL, with a password where there is one
            raise StoreRefusedError(
                f"the endpoint URL for s3://{self.name} is not valid; write http(s)://host:port"
            ) from None

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


class BotoStore(Store):
    """A prefix of an S3 bucket, with keys as they are: any key that S3 holds can be named here."""

    def __init__(self, bucket: S3Bucket, prefix: str) -> None:
        self.url = f"s3://{bucket.name}/{prefix}"
        self._bucket, self._prefix = bucket, prefix

    def check(self) -> None:
        endpoint = self._bucket.endpoint
        try:
            self._bucket.ask(self._prefix, "list_objects_v2", Prefix=self._prefix, MaxKeys=1)
        except StoreRefusedError as error:
            if isinstance(error.__cause__, boto.ClientError):
                raise StoreRefusedError(f"{error} (the answer is from {endpoint})") from error
            raise

    def list(self, prefix: str = "") -> pa.Table:
        return listing(len(self._prefix), self._listed(self._prefix + prefix))

    def holds_a_leading_slash(self) -> bool:
        """Say whether a key of the bucket begins with `/`, which obstore's listing of a whole bucket would hide."""
        return bool(self._bucket.ask("/", "list_objects_v2", Prefix="/", MaxKeys=1).get("KeyCount"))

    def get(self, key: str) -> StoredObject:
        return StoredObject(key, *self._read(self._prefix + key))

    def get_range(self, key: str, offset: int, length: int) -> bytes:
        if length == 0:
            return b""
        data, _ = self._read(self._prefix + key, Range=f"bytes={offset}-{offset + length - 1}")
        return exactly(self.url_of(key), data, offset, length)

    def download(self, key: str, path: Path) -> None:
        data = self.get(key).data
        with removed_on_failure(path):
            path.write_bytes(data)

    def head(self, key: str) -> tuple[int, str] | None:
        full = self._prefix + key
        try:
            reply = self._bucket.ask(full, "head_object", Key=full)
        except ObjectMissingError:
            return None
        return reply["ContentLength"], _bare(reply["ETag"])

    def put(self, key: str, data: bytes | memoryview) -> None:
        full = self._prefix + key
        self._bucket.ask(full, "put_object", Key=full, Body=bytes(data))

    def upload(self, key: str, path: Path) -> None:
        """Write a file of at most 5 GB, in one request."""
        full = self._prefix + key
        with path.open("rb") as file:
            self._bucket.ask(full, "put_object", Key=full, Body=file)

    def delete(self, keys: Iterable[str]) -> None:
        for key in keys:
            full = self._prefix + key
            with suppress(ObjectMissingError):
                self._bucket.ask(full, "delete_object", Key=full)

    def _put_if(self, key: str, data: bytes, expected_etag: str | None, attempt: int) -> bool:
        # The request is sent once, so that a False can only mean another writer, and any loss of the reply shows.
        # A second try at an unchanged key goes without quotes, against the standard: all that Ceph understands.
        full, bucket = self._prefix + key, self._bucket
        etag = f'"{expected_etag}"' if attempt % 2 == 0 else expected_etag
        condition = {"IfNoneMatch": "*"} if expected_etag is None else {"IfMatch": etag}
        try:
            bucket.client(attempts=1).put_object(Bucket=bucket.name, Key=full, Body=data, **condition)
        except boto.ClientError as error:
            if _status(error) == 412 or error.response["Error"].get("Code") == "NoSuchKey":
                return False
            raise bucket.explained(full, error) from error
        except (boto.BotoCoreError, OSError, ValueError) as error:
            raise bucket.explained(full, error) from error
        return True

    def _checks_uploads(self, key: str) -> bool | None:
        full, body = self._prefix + key, b"sent"
        right = base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
        is_taken = []
        for md5 in (right, _WRONG_MD5):
            try:
                self._bucket.ask(full, "put_object", Key=full, Body=body, ContentMD5=md5)
            except StoreRefusedError:
                is_taken.append(False)
            except StoreUnavailableError:
                return None
            else:
                is_taken.append(True)
        return not is_taken[1] if is_taken[0] else None

    def _listed(self, full: str) -> Iterator[tuple[str, int, str]]:
        """Yield (key, size in bytes, ETag) below a prefix, without zero-byte keys that end in `/`."""
        more: dict[str, str] = {}
        while True:
            page = self._bucket.ask(full, "list_objects_v2", Prefix=full, **more)
            for item in page.get("Contents", ()):
                if item["Size"] or not item["Key"].endswith("/"):
                    yield item["Key"], item["Size"], _bare(item["ETag"])
            if not page.get("IsTruncated"):
                return
            more = {"ContinuationToken": page["NextContinuationToken"]}

    def _read(self, full: str, **span: str) -> tuple[bytes, str]:
        """Return an object's bytes and ETag; boto3 repeats a request that fails, but not a body that breaks off."""
        bucket = self._bucket
        for attempt in range(1, _CONTROL_ATTEMPTS + 1):
            try:
                reply = bucket.client().get_object(Bucket=bucket.name, Key=full, **span)
                data = reply["Body"].read()
                expected = reply.get("ContentLength")
                if len(data) != expected:
                    raise boto.IncompleteReadError(actual_bytes=len(data), expected_bytes=expected)
                return data, _bare(reply["ETag"])
            except _CUT_BODY as error:
                if attempt == _CONTROL_ATTEMPTS:
                    raise bucket.explained(full, error) from error
            except _ERRORS as error:
                raise bucket.explained(full, error) from error
        raise AssertionError("unreachable")


def _is_circle(error: BaseException | None) -> bool:
    """Say whether boto3 followed a redirect to itself until Python stopped it, wherever it was just then."""
    while error is not None and not isinstance(error, RecursionError):
        error = error.__cause__ or error.__context__
    return error is not None


def _clean(endpoint: str | None) -> str | None:
    """Return an endpoint without user and password.

    Raises:
        ValueError: it is none; the text does not have it.
    """
    if endpoint is None:
        return None
    scheme, separator, rest = endpoint.partition("://")
    clean = f"{scheme}://{rest.rpartition('@')[2]}"
    try:
        parts = urlsplit(clean)
        valid = scheme in ("http", "https") and separator and parts.hostname and (parts.port or True)
        valid = valid and not parts.query and not parts.fragment
    except ValueError:
        valid = False
    if not valid:
        raise ValueError("not an endpoint")
    return clean


def _bare(etag: str) -> str:
    return etag.strip('"')


def _status(error: boto.ClientError) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 500))
