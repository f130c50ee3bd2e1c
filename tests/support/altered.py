"""Photos and scores on a server, and readings that come altered."""

import uuid
from collections.abc import Callable

from aesthetics_ops.testing.odd_s3 import OddS3
from tests.support.nights import PHOTOS, Source, photo

__all__ = ["filled", "once"]


def filled(server: OddS3) -> Source:
    """Return a source whose photos lie on a server, put there without a request."""
    source = Source(f"s3://bucket/{uuid.uuid4().hex}/", {name: number % 9 + 1 for number, name in enumerate(PHOTOS)})
    root = source.url.removeprefix("s3://")
    for name in PHOTOS:
        server.objects[f"{root}photos/{name}.jpg"] = photo(name)
    lines = ["id,score", *(f"{name},{score}" for name, score in source.scores.items())]
    server.objects[f"{root}scores.csv"] = "\n".join(lines).encode()
    return source


def once(alter: Callable[[bytes], bytes]) -> Callable[[str, str, bytes], bytes]:
    """Alter the first reading of each object."""
    read: set[str] = set()

    def first(method: str, key: str, data: bytes) -> bytes:
        is_first = method == "get" and key not in read
        read.add(key)
        return alter(data) if is_first else data

    return first
