"""One page of an S3 listing (ListObjectsV2): XML becomes keys, sizes and ETags, or the page counts as not served.

In: the bytes of an answer.  Out: a `Page`.  XML that is cut, of another kind, or that lacks what it must have is `UnservedError`.
"""

from dataclasses import dataclass
from urllib.parse import unquote_plus
from xml.etree import ElementTree as Xml

from aesthetics_ops.store.etags import bare_etag
from aesthetics_ops.store.trying import UnservedError

__all__ = ["Page", "failed_deletions", "read_page"]


@dataclass(frozen=True, slots=True)
class Page:
    """A page of a listing.

    Attributes:
        objects: (key, size in bytes, ETag without quotes), in the answer's order.
        folders: common prefixes, when a delimiter was asked for.
        following: the token that asks for the next page; None on the last.
    """

    objects: list[tuple[str, int, str]]
    folders: list[str]
    following: str | None


def read_page(data: bytes | memoryview, about: str) -> Page:
    """Read one page.

    Args:
        data: the answer's body.
        about: URL of the prefix, for messages.

    Raises:
        UnservedError: it is no page of a listing.
    """
    root = _parsed(data, about)
    if _tag_of(root) != "ListBucketResult":
        raise UnservedError(f"the answer to a listing of {about!r} is no listing, but <{_tag_of(root)[:40]}>")
    space = root.tag.removesuffix("ListBucketResult")
    encoded = (root.findtext(f"{space}EncodingType") or "").lower() == "url"
    objects = [_object(item, space, encoded, about) for item in root.iterfind(f"{space}Contents")]
    folders = [
        _name(item.findtext(f"{space}Prefix"), encoded, about) for item in root.iterfind(f"{space}CommonPrefixes")
    ]
    following = None
    if (root.findtext(f"{space}IsTruncated") or "").strip().lower() == "true":
        following = root.findtext(f"{space}NextContinuationToken")
        if not following:
            raise UnservedError(f"a page of the listing of {about!r} says that there are more, but not where")
    return Page(objects, folders, following)


def failed_deletions(data: bytes | memoryview, about: str) -> list[tuple[str, str, str]]:
    """Return (key, code, message) of what an answer to a deletion of many says was not deleted.

    Raises:
        UnservedError: it is no such answer.
    """
    root = _parsed(data, about)
    if _tag_of(root) != "DeleteResult":
        raise UnservedError(f"the answer to a deletion below {about!r} is none, but <{_tag_of(root)[:40]}>")
    space = root.tag.removesuffix("DeleteResult")
    return [
        (
            item.findtext(f"{space}Key") or "",
            item.findtext(f"{space}Code") or "",
            item.findtext(f"{space}Message") or "",
        )
        for item in root.iterfind(f"{space}Error")
    ]


def _tag_of(element: Xml.Element) -> str:
    """Return an element's name without its namespace."""
    return element.tag.rpartition("}")[2]


def _parsed(data: bytes | memoryview, about: str) -> Xml.Element:
    try:
        return Xml.fromstring(bytes(data))  # noqa: S314 - expat bounds what entities may grow to
    except Xml.ParseError as error:
        raise UnservedError(f"the answer about {about!r} is no XML ({error})") from error


def _object(item: Xml.Element, space: str, encoded: bool, about: str) -> tuple[str, int, str]:
    size = item.findtext(f"{space}Size") or ""
    if not size.isdecimal():
        raise UnservedError(f"the listing of {about!r} has an object without a size")
    etag = bare_etag(item.findtext(f"{space}ETag") or "")
    return _name(item.findtext(f"{space}Key"), encoded, about), int(size), etag


def _name(text: str | None, encoded: bool, about: str) -> str:
    if text is None:
        raise UnservedError(f"the listing of {about!r} has an object without a key")
    return unquote_plus(text) if encoded else text
