"""What people write for where something lies, as the URL that names it.  Pure, but for `~`, which asks for a home."""

import re
from pathlib import Path
from urllib.parse import quote, urlsplit

from aesthetics_ops.errors import SettingsError

__all__ = ["as_url", "without_secrets"]

_AWS = re.compile(r"(?:(?P<bucket>[^/]+)\.)?s3(?:[.-][a-z0-9-]+)*\.amazonaws\.com(?:\.cn)?", re.IGNORECASE)


def as_url(text: str) -> str:
    """Return the URL for an absolute path or one that starts with `~`; a URL is returned as it is.

    Nothing in a URL is decoded: `%`, `#`, `?` and blanks in s3://, gs:// and az:// stand for themselves.

    Raises:
        SettingsError: a web address, with what to write instead; or a home that is not there.
    """
    if text.startswith(("/", "~")):
        try:
            path = str(Path(text).expanduser())
        except RuntimeError as error:
            raise SettingsError(f"{text!r} starts with a home that is not there; write an absolute path") from error
        return "file://" + quote(path + "/" * (text.endswith("/") and not path.endswith("/")))
    if re.match(r"https?://", text, re.IGNORECASE):
        raise SettingsError(f"{without_secrets(text)!r} is a web address; {_instead(text)}")
    return text


def without_secrets(url: str) -> str:
    """Return a URL's scheme, host and port: no user, no password, no path, and no query that might be a signature."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        scheme, rest = "", url
    host = re.split(r"[/?#]", rest.rpartition("@")[2])[0]
    return f"{scheme}{separator}{host}"


def _instead(text: str) -> str:
    parts = urlsplit(text)
    found = _AWS.fullmatch(parts.netloc)
    if found:
        path = parts.path.lstrip("/")
        return f"write {'s3://' + (found['bucket'] + '/' if found['bucket'] else '') + path!r}"
    return "write s3://bucket/prefix/, and name a server that is not AWS's in AWS_ENDPOINT_URL or in the connection's endpoint_url"
