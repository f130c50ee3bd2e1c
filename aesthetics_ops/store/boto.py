"""S3 through boto3: credentials, bucket checks, conditional writes, and the keys that obstore cannot address.

In: a bucket's name and how to reach it.  Out: answers, or one of `errors.py`'s classes with the next step.
Bulk bytes do not pass here: `S3Bucket.native` makes the obstore store that carries them.
Promised: nothing here waits longer than about a minute for a store that does not answer, and no message holds a secret.
"""

import os
import re
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

import boto3
import botocore.exceptions as boto
from botocore.config import Config
from obstore.auth.boto3 import Boto3CredentialProvider
from obstore.store import S3Store

from aesthetics_ops.errors import AestheticsOpsError, ObjectMissingError, StoreRefusedError, StoreUnavailableError
from aesthetics_ops.store.access import S3Access
from aesthetics_ops.store.answers import explain_answer
from aesthetics_ops.store.limits import CLIENT_OPTIONS, RETRY_CONFIG

if TYPE_CHECKING:
    from obstore.store import ClientConfig

__all__ = ["S3Bucket"]

_Result = TypeVar("_Result")

_CONTROL_ATTEMPTS = 3
_WRONG_MD5 = "AAAAAAAAAAAAAAAAAAAAAA=="
_AWS_HOST = re.compile(r"^https://s3(\.[a-z0-9-]+)?\.amazonaws\.com/?$")
_CUT_BODY = (boto.ReadTimeoutError, boto.ResponseStreamingError, boto.IncompleteReadError)
_NO_ANSWER = (*_CUT_BODY, boto.HTTPClientError, boto.ConnectionError)
_NO_CREDENTIALS_NOW = (boto.CredentialRetrievalError, boto.MetadataRetrievalError)


class S3Bucket:
    """One bucket through boto3, with keys as they are: any key that S3 holds can be named here."""

    def __init__(self, name: str, access: S3Access | None) -> None:
        self.name = name
        self._access = access
        self._lock = threading.Lock()
        self._clients: dict[tuple[int, int], Any] = {}
        self._session: boto3.Session | None = access.session if access else None

    @property
    def endpoint(self) -> str:
        """The server's URL, without any user name or password in it."""
        parts = urlsplit(str(self._client().meta.endpoint_url))
        return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()

    def check(self, prefix: str) -> None:
        """Make sure that the bucket exists and the prefix can be listed.

        Raises:
            StoreRefusedError: no such bucket, access denied, or no credentials.
            StoreUnavailableError: no answer.
        """
        endpoint = self.endpoint
        try:
            self._ask(prefix, "list_objects_v2", Prefix=prefix, MaxKeys=1)
        except StoreRefusedError as error:
            raise StoreRefusedError(f"{error} (the answer is from {endpoint})") from error

    def native(self) -> S3Store:
        """Make the obstore store for this bucket: its region, endpoint, credentials and time limits."""
        client, access = self._client(), self._access
        region, endpoint = client.meta.region_name, client.meta.endpoint_url
        if _AWS_HOST.match(endpoint):  # obstore does not follow AWS from one region to another
            region = self._region()
            endpoint = f"https://s3.{region}.amazonaws.com"
        options: ClientConfig = {**CLIENT_OPTIONS, "allow_http": endpoint.startswith("http://")}
        verify: bool | str | None = access.verify if access else None
        if verify is None:
            verify = os.environ.get("AWS_CA_BUNDLE")
        if verify is False:
            options["allow_invalid_certificates"] = True
        elif isinstance(verify, str) and Path(verify).is_file():
            options["root_certificate"] = Path(verify).read_bytes()
        try:
            # boto3 renews credentials that have less than 10 minutes left, so nothing is used after its end
            provider = Boto3CredentialProvider(self._default_session(), ttl=timedelta(minutes=5))
        except ValueError as error:
            raise self._explained("", boto.NoCredentialsError()) from error
        except boto.BotoCoreError as error:
            raise self._explained("", error) from error
        provider.config = {}  # the bucket's region, not the session's
        return S3Store(
            self.name,
            region=region,
            endpoint=endpoint,
            virtual_hosted_style_request=False,
            credential_provider=provider,
            client_options=options,
            retry_config=RETRY_CONFIG,
        )

    def list(self, prefix: str) -> Iterator[tuple[str, int, str]]:
        """Yield (key, size in bytes, ETag) below a prefix, without zero-byte keys that end in `/`."""
        more: dict[str, str] = {}
        while True:
            page = self._ask(prefix, "list_objects_v2", Prefix=prefix, **more)
            for item in page.get("Contents", ()):
                if item["Size"] or not item["Key"].endswith("/"):
                    yield item["Key"], item["Size"], item["ETag"].strip('"')
            if not page.get("IsTruncated"):
                return
            more = {"ContinuationToken": page["NextContinuationToken"]}

    def starts_with_slash(self) -> bool:
        """Say whether a key begins with `/`, which obstore's listing of a whole bucket would hide."""
        return bool(self._ask("/", "list_objects_v2", Prefix="/", MaxKeys=1).get("KeyCount"))

    def get(self, key: str, first: int = 0, last: int | None = None) -> tuple[bytes, str]:
        """Return a whole object, or bytes first..last of it, and its ETag; a cut body is asked for again."""
        span = {} if last is None else {"Range": f"bytes={first}-{last}"}

        def read() -> tuple[bytes, str]:
            reply = self._client().get_object(Bucket=self.name, Key=key, **span)
            data = reply["Body"].read()
            expected = reply.get("ContentLength")
            if len(data) != expected:
                raise boto.IncompleteReadError(actual_bytes=len(data), expected_bytes=expected)
            return data, reply["ETag"].strip('"')

        return self._repeated(key, read)

    def head(self, key: str) -> tuple[int, str]:
        """Return an object's size in bytes and ETag."""
        reply = self._ask(key, "head_object", Key=key)
        return reply["ContentLength"], reply["ETag"].strip('"')

    def put(self, key: str, data: bytes | memoryview) -> None:
        """Write a whole object."""
        self._ask(key, "put_object", Key=key, Body=bytes(data))

    def put_if(self, key: str, data: bytes, expected_etag: str | None, *, quoted: bool) -> bool:
        """Write an object only if it has this ETag, or does not exist; False when that does not hold.

        The request is sent once, so that a False can only mean another writer, and any loss of the reply shows.

        Args:
            key: the object.
            data: its new bytes.
            expected_etag: without quotes; None to create.
            quoted: whether to send the ETag in quotes, as the standard says and Ceph does not understand.

        Raises:
            StoreUnavailableError: no answer, or a conflict with a write in progress; the write may have happened.
            StoreRefusedError: denied, or not a thing that this store does.
        """
        etag = f'"{expected_etag}"' if quoted else expected_etag
        condition = {"IfNoneMatch": "*"} if expected_etag is None else {"IfMatch": etag}
        try:
            self._client(attempts=1).put_object(Bucket=self.name, Key=key, Body=data, **condition)
        except boto.ClientError as error:
            if _status(error) == 412 or error.response["Error"].get("Code") == "NoSuchKey":
                return False
            raise self._explained(key, error) from error
        except boto.BotoCoreError as error:
            raise self._explained(key, error) from error
        return True

    def refuses_wrong_md5(self, key: str) -> bool:
        """Say whether the server compares what it receives with the Content-MD5 that was sent; writes the key if not."""
        try:
            self._ask(key, "put_object", Key=key, Body=b"sent", ContentMD5=_WRONG_MD5)
        except StoreRefusedError:
            return True
        return False

    def upload(self, key: str, path: Path) -> None:
        """Write a file of at most 5 GB."""
        with path.open("rb") as file:
            self._ask(key, "put_object", Key=key, Body=file)

    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects; missing ones are fine."""
        for key in keys:
            with suppress(ObjectMissingError):
                self._ask(key, "delete_object", Key=key)

    def _region(self) -> str:
        try:
            reply = self._client().head_bucket(Bucket=self.name)
        except boto.ClientError as error:
            reply = error.response  # a denial names the region too
        except boto.BotoCoreError as error:
            raise self._explained("", error) from error
        headers: dict[str, str] = reply.get("ResponseMetadata", {}).get("HTTPHeaders", {})
        return headers.get("x-amz-bucket-region") or self._client().meta.region_name

    def _ask(self, key: str, operation: str, **arguments: Any) -> Any:
        try:
            return getattr(self._client(), operation)(Bucket=self.name, **arguments)
        except (boto.ClientError, boto.BotoCoreError) as error:
            raise self._explained(key, error) from error

    def _repeated(self, key: str, action: Callable[[], _Result]) -> _Result:
        # boto3 repeats a request that fails, but not a body that breaks off
        for attempt in range(1, _CONTROL_ATTEMPTS + 1):
            try:
                return action()
            except _CUT_BODY as error:
                if attempt == _CONTROL_ATTEMPTS:
                    raise self._explained(key, error) from error
            except (boto.ClientError, boto.BotoCoreError) as error:
                raise self._explained(key, error) from error
        raise AssertionError("unreachable")

    def _default_session(self) -> boto3.Session:
        if self._session is None:
            self._session = boto3.Session()
        return self._session

    def _client(self, attempts: int = _CONTROL_ATTEMPTS) -> Any:
        # one client per process, since connections must not be shared across a fork
        with self._lock:
            client = self._clients.get((os.getpid(), attempts))
            if client is None:
                client = self._clients[os.getpid(), attempts] = self._new_client(attempts)
            return client

    def _new_client(self, attempts: int) -> Any:
        access = self._access
        config = Config(
            retries={"mode": "standard", "total_max_attempts": attempts},
            connect_timeout=5,
            read_timeout=20,
            max_pool_connections=16,
            s3={"addressing_style": "path"},
        )
        try:
            return self._default_session().client(
                "s3",
                endpoint_url=access.endpoint_url if access else None,
                verify=access.verify if access else None,
                config=config,
            )
        except _NO_CREDENTIALS_NOW as error:
            raise self._explained("", error) from error
        except boto.BotoCoreError as error:
            raise StoreRefusedError(f"s3://{self.name} cannot be reached: {error}; correct the AWS settings") from error
        except ValueError:  # its text has the whole URL, with a password where there is one
            raise StoreRefusedError(
                f"the endpoint URL for s3://{self.name} is not valid; write http(s)://host:port"
            ) from None

    def _explained(self, key: str, error: boto.ClientError | boto.BotoCoreError) -> AestheticsOpsError:
        url = f"s3://{self.name}/{key}"
        if isinstance(error, boto.ClientError):
            answer = error.response["Error"]
            code, message = answer.get("Code", ""), answer.get("Message", "")
            return explain_answer(url, _status(error), "" if code.isdigit() else code, message)
        if isinstance(error, boto.NoCredentialsError | boto.PartialCredentialsError):
            return StoreRefusedError(
                f"no complete AWS credentials for s3://{self.name}; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
                "a profile, or the Airflow connection"
            )
        if isinstance(error, _NO_CREDENTIALS_NOW):
            return StoreUnavailableError(
                f"no answer about the credentials for s3://{self.name} ({type(error).__name__}); "
                "check what provides them (role, process or instance), or try again later"
            )
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


def _status(error: boto.ClientError) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 500))
