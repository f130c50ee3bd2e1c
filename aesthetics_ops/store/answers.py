"""What a store's answer means: an HTTP status, a code and a text become one of the errors of this package."""

import re
from collections.abc import Collection, Iterator
from typing import Final

import obstore.exceptions

from aesthetics_ops.errors import (
    AccessDeniedError,
    AestheticsOpsError,
    ObjectArchivedError,
    ObjectMissingError,
    OddKeyError,
    StoreRefusedError,
    StoreUnavailableError,
)

__all__ = ["explain_answer", "explain_native", "hush", "is_busy", "is_passing", "native_answer"]

_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<Code>(\w+)</Code>")
_MESSAGE = re.compile(r"<Message>(.*?)</Message>", re.DOTALL)
_PASSING_CODES = {"RequestTimeout", "SlowDown", "TooManyRequests", "Throttling", "OperationAborted"}
_ARCHIVED_CODES = {"InvalidObjectState", "BlobArchived"}  # S3's and Azure's
# who asks is not believed, so nothing else would be served either
_UNKNOWN_CALLER = {
    "InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "TokenRefreshRequired", "InvalidSecurity", "NotSignedUp",
    "RequestTimeTooSkewed", "AccountProblem", "AllAccessDisabled", "AuthenticationFailed", "UnauthorizedAccess",
}  # fmt: skip
_REDIRECTS = {"PermanentRedirect", "TemporaryRedirect", "Redirect"}
_HIDDEN: Final = "***"
_SHORTEST_SECRET: Final = 8  # what is shorter stands in other words too
_NAMED_SECRET = re.compile(
    r"(?i)((?:x-amz-security-token|x-amz-signature|signature|authorization|\bsig)[\"']?\s*[:=]\s*[\"']?)[^\"'&<>\n]+"
)
_PASSING_STATUS = {408, 409, 425, 429, *range(500, 600)} - {501}  # 501: a condition that the server does not know
_BUSY_CODES = {"SlowDown", "TooManyRequests", "Throttling", "ServerBusy", "ServiceUnavailable"}


def is_busy(status: int | None, code: str) -> bool:
    """Say whether a store asks to be sent less."""
    return status in (429, 503) or code in _BUSY_CODES


def is_passing(status: int | None, code: str) -> bool:
    """Say whether a store may answer otherwise when it is asked again."""
    return code in _PASSING_CODES or status is None or status in _PASSING_STATUS


def explain_answer(url: str, status: int | None, code: str, message: str, *, action: str = "") -> AestheticsOpsError:
    """Return the error that stands for a store's answer about one URL.

    Args:
        url: the object or prefix that was asked for.
        status: HTTP status, or None when no answer came.
        code: the store's own word, for example NoSuchBucket; may be empty.
        message: what the store or the network library said.
        action: the right that the request needs, as a policy names it; empty where that is not known.
    """
    said = ": ".join(part for part in (code, message) if part) or f"status {status}"
    bucket = "/".join(url.split("/")[:3])
    if code == "NoSuchBucket":
        return StoreRefusedError(f"{bucket} does not exist (asked for {url!r}); create the bucket or correct the URL")
    if code in _ARCHIVED_CODES:
        return ObjectArchivedError(f"{url!r} lies in an archive ({code}); restore it, then it can be read")
    if is_passing(status, code):
        return StoreUnavailableError(f"the store did not serve {url!r}: {said}; try again later")
    if code in _REDIRECTS or status in range(300, 400):
        return StoreRefusedError(
            f"the store answered {url!r} with a redirect to another place ({said}), which is not followed, since credentials would "
            "go there too; set the bucket's region (AWS_DEFAULT_REGION, or of the connection), or name the server's own endpoint"
        )
    if status == 404:
        return ObjectMissingError(f"{url!r} does not exist; check the name, or list the prefix")
    if status in (401, 403):
        refusal = StoreRefusedError if status == 401 or code in _UNKNOWN_CALLER else AccessDeniedError
        needs = f"have {action} there" if action else "may list, read and write there"
        if action == "s3:GetObject":
            needs += ", and s3:ListBucket, without which S3 denies what does not exist"
        return refusal(f"access to {url!r} is denied: {said}; check the credentials, and that they {needs}")
    return StoreRefusedError(f"the store refused {url!r}: {said}; check the URL and the store's settings")


def native_answer(error: Exception) -> tuple[int | None, str, str]:
    """Return HTTP status, code and message of one of obstore's errors, which tells most of what it knows in its text only."""
    text = _native_text(error)
    status, code, message = (
        match[1] if match else "" for match in (p.search(text) for p in (_STATUS, _CODE, _MESSAGE))
    )
    if not message:
        message = text.partition("<?xml")[0].strip()[:300]
    number = int(status) if status else None
    if isinstance(error, FileNotFoundError):
        number = 404
    elif isinstance(error, obstore.exceptions.PermissionDeniedError):
        number = 403
    elif isinstance(error, obstore.exceptions.UnauthenticatedError):
        number = 401
    elif isinstance(error, ValueError | obstore.exceptions.NotSupportedError) or "Invalid range" in text:
        number = 400
    return number, code, message


def explain_native(url: str, error: Exception) -> AestheticsOpsError:
    """Return the error that stands for one of obstore's."""
    if isinstance(error, obstore.exceptions.InvalidPathError):
        return OddKeyError(f"{url!r}: {_native_text(error)}; rename that object")
    return explain_answer(url, *native_answer(error))


def _native_text(error: Exception) -> str:
    return str(error).partition("\n\nDebug source")[0]


def hush(error: BaseException, secrets: Collection[str] = ()) -> None:
    """Take secrets out of the text of an error, and of what led to it.

    A server may say back what it was sent, as AWS does to a wrong signature, and a scheduler logs the whole chain.

    Args:
        error: changed in place.
        secrets: to be hidden, beside what a text itself calls a signature or a token.
    """

    def hidden(text: str) -> str:
        for secret in secrets:
            text = text.replace(secret, _HIDDEN) if len(secret) >= _SHORTEST_SECRET else text
        return _NAMED_SECRET.sub(rf"\1{_HIDDEN}", text)

    for one in _chain(error):
        changed = tuple(hidden(part) if isinstance(part, str) else part for part in one.args)
        if changed != one.args:
            one.args = changed


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error, what caused it, and what was being handled then."""
    left, seen = [error], set[int]()
    while left:
        one = left.pop()
        if id(one) not in seen:
            seen.add(id(one))
            yield one
            left += [other for other in (one.__cause__, one.__context__) if other is not None]
