"""What people write for where something lies, as the URL that names it.  Pure, but for `~`, which asks for a home."""

import posixpath
import re
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from aesthetics_ops.errors import SettingsError

__all__ = ["as_url", "behind_user", "is_shared", "prefix_parts", "shown", "split_urls", "without_secrets"]

_AWS = re.compile(r"(?:(?P<bucket>[^/]+)\.)?s3(?:[.-][a-z0-9-]+)*\.amazonaws\.com(?:\.cn)?", re.IGNORECASE)
# what is at the end of presigned URLs, of S3 and of Azure, and of URLs that other programs take credentials in
_SIGNED = re.compile(
    r"[?&](X-Amz-(Signature|Credential|Security-Token)|X-Goog-Signature|Signature|sig|(aws)?[_-]?(secret[_-]?)?access[_-]?key([_-]?id)?|"
    r"(aws)?[_-]?secret([_-]?key)?|(session|access|security)?[_-]?token|password|passwd|pwd)=",
    re.IGNORECASE,
)
_ADDRESS = re.compile(r"(\[[^\]]*\]|[^:]*)(:\d*)?")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(/*)(.*)", re.DOTALL)


_BETWEEN = re.compile(r"\s*[\r\n]\s*|\s*,\s*(?=[A-Za-z][A-Za-z0-9+.-]*://|[/~]|$)")


def split_urls(text: str) -> tuple[str, ...]:
    """Return the paths and URLs that stand in a text, one a line or with commas between; a comma in a name is no such comma."""
    return tuple(part for part in map(str.strip, _BETWEEN.split(text)) if part)


def as_url(text: str) -> str:
    """Return the URL for an absolute path, one that starts with `~`, or a URL.

    Blanks around it are dropped: a prefix that ends with one is written with its slash.  Schemes are lower case in what is
    returned; `file:/directory/` and `file://localhost/directory/` become `file:///directory/`.  Nothing else in a URL is
    changed or decoded: `%`, `#`, `?` and blanks in s3://, gs:// and az:// stand for themselves.

    Raises:
        SettingsError: a relative path, a web address, or a URL that is not complete, with what to write instead; or a home
            that is not there.
    """
    text = text.strip()
    if _SIGNED.search(text) and not text.lower().startswith(("http:", "https:")):
        raise SettingsError(
            f"{shown(text)!r} with a signature or a key is a presigned URL or like one, and anyone who sees it can use it; "
            "write it as s3://bucket/key, without what follows the '?', and give credentials instead"
        )
    if text.startswith(("/", "~")):
        try:
            path = str(Path(text).expanduser())
        except RuntimeError as error:
            raise SettingsError(f"{text!r} starts with a home that is not there; write an absolute path") from error
        return "file://" + quote(path + "/" * (text.endswith("/") and not path.endswith("/")))
    found = _SCHEME.fullmatch(text)
    scheme, slashes, rest = (found[1].lower(), found[2], found[3]) if found else ("", "", "")
    if scheme == "file":
        return _file_url(text, slashes, rest)
    if scheme in ("http", "https"):
        raise SettingsError(f"{without_secrets(shown(text))!r} is a web address; {_instead(text)}")
    if not slashes:
        what = "no URL" if scheme else "a relative path" if text else "nothing"
        raise SettingsError(
            f"{shown(text)!r} is {what}; write an absolute path such as '/data/photos', or a URL such as 's3://bucket/prefix/'"
        )
    if len(slashes) < 2:
        raise SettingsError(f"{shown(text)!r} lacks a slash; write {shown(f'{scheme}://{rest}')!r}")
    if not rest:
        raise SettingsError(f"{text!r} names nothing; write a URL such as 's3://bucket/prefix/'")
    if "@" in rest and re.match(
        "[^/]*[:@]", rest.lstrip("/")
    ):  # no bucket's name has one, and a password may have slashes
        raise SettingsError(
            f"{without_secrets(text)!r} with a user and a password would stand in every manifest; write it without, and give "
            "credentials instead"
        )
    return f"{scheme}:{slashes}{rest}"


def _file_url(text: str, slashes: str, rest: str) -> str:
    """Return the one form of a file URL, which names no host."""
    host, _, path = rest.partition("/") if len(slashes) == 2 else ("", "", rest)
    if not slashes or host.lower() not in ("", "localhost"):
        raise SettingsError(f"{shown(text)!r} names no absolute path; write {'file:///' + shown(rest)!r} for one")
    return f"file:///{path}"


def prefix_parts(url: str) -> tuple[str, ...]:
    """Return what a prefix is made of, its scheme first, the same for every way to write it."""
    scheme, _, rest = url.partition("://")
    if scheme == "file":
        rest = posixpath.normpath(unquote(rest.removeprefix("localhost")))
        return (scheme, *rest.strip("/").split("/")) if rest.strip("/") else (scheme,)
    return (scheme, *rest.rstrip("/").split("/"))


def is_shared(one: str, other: str) -> bool:
    """Say whether two prefixes are equal, or one lies inside the other."""
    parts, others = prefix_parts(one), prefix_parts(other)
    shorter = min(len(parts), len(others))
    return parts[:shorter] == others[:shorter]


def shown(text: str) -> str:
    """Return what a message shows of a text that might hold a password, a key or a signature: no more than is sure to be none."""
    found = _SIGNED.search(text)
    if found:
        text = text[: found.start()].partition("?")[0]
    return without_secrets(text) if "@" in text else text


def without_secrets(url: str) -> str:
    """Return a URL's scheme, host and port: no user, no password, no path, and no query that might be a signature."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        scheme, rest = "", url
    address = behind_user(rest)
    host = "..." if address is None else re.split(r"[/?#]", address)[0]
    return f"{scheme}{separator}{host}"


def behind_user(rest: str) -> str | None:
    """Return what follows user and password in a URL without its scheme: host, port, path, query.

    A password may hold any sign, and so may a query.  Where a `@` may stand in either, what is before it may be the password and
    what is behind it the query: then nothing is sure to be the host, and None is returned.
    """
    first = re.split(r"[/?#]", rest)[0]
    if "@" not in rest[len(first) :]:
        return rest[rest.find("@", first.rfind("@")) + 1 :] if "@" in first else rest
    if "@" in first or _ADDRESS.fullmatch(first):
        return None
    return rest.rpartition("@")[2]


def _instead(text: str) -> str:
    try:
        parts = urlsplit(text)
    except ValueError:  # brackets, or what looks like a slash, in a password
        parts = urlsplit("")
    found = _AWS.fullmatch(parts.netloc.rpartition("@")[2])
    if found:
        path = parts.path.lstrip("/")
        return f"write {'s3://' + (found['bucket'] + '/' if found['bucket'] else '') + path!r}"
    return "write s3://bucket/prefix/, and name a server that is not AWS's in AWS_ENDPOINT_URL or in the connection's endpoint_url"
