"""ETags as stores write them, and as this package compares them.

In: what an answer or a listing has.  Out: the same text for the same content, wherever a server or a proxy named it.
"""

__all__ = ["bare_etag"]


def bare_etag(written: str) -> str:
    """Return an ETag without blanks, quotes and the mark of a weak one; empty where there is none.

    Source:
        RFC 9110, 8.8.3 (entity tags, weak ones) and 8.8.3.2 (comparison).
    """
    return written.strip().removeprefix("W/").strip('"')
