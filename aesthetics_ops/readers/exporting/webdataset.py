"""WebDataset: tar files of `KEY.jpg` and `KEY.json`, and `sizes.json`, which says how many records each holds.

In: records.  Out: POSIX tar (ustar) without times, owners or anything else that differs from run to run.
"""

import hashlib
import json
import re
import tarfile
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from aesthetics_ops.dataset.example import Example
from aesthetics_ops.readers.exporting.container import Container, Field, Part, ShardRecords, WrittenFile

__all__ = ["WebDataset", "key_of"]

_PLAIN: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_NOT_PLAIN: Final = re.compile(r"[^A-Za-z0-9_-]")
_MADE: Final = re.compile(r".*-[0-9a-f]{16}")
_BLOCK: Final = tarfile.BLOCKSIZE


def key_of(photo_id: str) -> str:
    """Return what names a record in a tar file, by its id.

    A key ends at the first dot, and a slash begins a folder, so an id of letters, digits, `_` and `-`, of 64 at most, is its own
    key.  Any other is changed so, cut, and gets 16 digits of its sha256.  Two ids never share a key.
    """
    if _PLAIN.fullmatch(photo_id) and not _MADE.fullmatch(photo_id):
        return photo_id
    digest = hashlib.sha256(photo_id.encode()).hexdigest()[:16]
    return f"{_NOT_PLAIN.sub('_', photo_id)[:47]}-{digest}"


class WebDataset(Container):
    """Tar files."""

    suffix = ".tar"

    def write(self, part: Part, records: ShardRecords) -> None:
        """Write one tar file."""
        created = int(records.manifest.created_at.timestamp())
        for example in records.examples:
            key = key_of(example.id)
            _add(part, f"{key}.jpg", example.image, created)
            _add(part, f"{key}.json", _document(example, records.fields), created)
        end = 2 * _BLOCK
        part.write(bytes(end + -(part.size + end) % tarfile.RECORDSIZE))

    def beside_split(self, files: Sequence[WrittenFile], fields: tuple[Field, ...]) -> Mapping[str, bytes]:
        """Return how many records each tar file has, as OpenCLIP's tools and others read it."""
        sizes = {file.path.rpartition("/")[2]: file.records for file in files}
        return {"sizes.json": (json.dumps(sizes, indent=1) + "\n").encode()}


def _add(part: Part, name: str, data: bytes | memoryview, created: int) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mtime, info.mode = len(data), created, 0o644
    part.write(info.tobuf(tarfile.USTAR_FORMAT))
    part.write(data)
    part.write(bytes(-len(data) % _BLOCK))


def _document(example: Example, fields: tuple[Field, ...]) -> bytes:
    document: dict[str, Any] = {"id": example.id}
    for field in fields:
        value = field.value(example)
        document[field.name] = np.asarray(value, field.dtype).tolist()
    return json.dumps(document, ensure_ascii=False).encode()
