"""What the writer of a container is given, and what it gives back.

In: records, checked.  Out: one file per shard of the version, its size and digest, and what a split's folder needs beside it.
"""

import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from io import RawIOBase
from pathlib import Path
from typing import Any, ClassVar

from aesthetics_ops.dataset.example import Example
from aesthetics_ops.dataset.manifest import Manifest
from aesthetics_ops.dataset.tables import EXTRA_SCORE
from aesthetics_ops.machine import naming

__all__ = ["Container", "Field", "Part", "ShardRecords", "WrittenFile", "fields_of"]


@dataclass(frozen=True, slots=True)
class Field:
    """Something that each record has beside its photo and id.

    Attributes:
        name: as in records.parquet.
        dtype: float32 or int64.
        length: of a list; None for one number.
        value: takes it out of a record.
    """

    name: str
    dtype: str
    length: int | None
    value: Callable[[Example], Any]


def fields_of(example: Example) -> tuple[Field, ...]:
    """Return what a record has, and so every record of its version: a feature is in all of them or in none."""
    fields = [
        Field("label", "float32", None, lambda record: record.label),
        Field("width", "int64", None, lambda record: record.width_px),
        Field("height", "int64", None, lambda record: record.height_px),
    ]
    if example.distribution is not None:
        fields.append(Field("distribution", "float32", len(example.distribution), lambda record: record.distribution))
    if example.votes is not None:
        fields.append(Field("votes", "int64", len(example.votes), lambda record: record.votes))
    if example.label_std is not None:
        fields.append(Field("label_std", "float32", None, lambda record: record.label_std))
    return (*fields, *(_extra_score(name) for name in sorted(example.extra_scores)))


def _extra_score(name: str) -> Field:
    return Field(f"{EXTRA_SCORE}{name}", "float32", None, lambda record: record.extra_scores[name])


@dataclass(frozen=True, slots=True)
class ShardRecords:
    """The records of one shard, and what is known of them before they are read.

    Attributes:
        manifest: of the version.
        examples: in reading order, each checked; to be read once.
        fields: what each has.
        ids: of all, in the same order.
        jpeg_bytes: sizes of their JPEGs by records.parquet.
    """

    manifest: Manifest
    examples: Iterator[Example]
    fields: tuple[Field, ...]
    ids: Sequence[str]
    jpeg_bytes: Sequence[int]


@dataclass(frozen=True, slots=True)
class WrittenFile:
    """A file of an export that is whole.

    Attributes:
        path: relative to the export.
        bytes: its size.
        sha256: its digest, in hex.
        records: in it; 0 for what lies beside.
    """

    path: str
    bytes: int
    sha256: str
    records: int

    def document(self) -> dict[str, Any]:
        """Return it as JSON keeps it."""
        return asdict(self)


class Part(RawIOBase):
    """A file while it is written, from its first byte to its last; its size and digest come along.

    Attributes:
        path: of the file.
        size: bytes so far.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.size = path, 0
        self._sha256 = hashlib.sha256()
        with naming(path):
            self._file = path.open("wb")

    @property
    def sha256(self) -> str:
        """Digest of what was written so far, in hex."""
        return self._sha256.hexdigest()

    def writable(self) -> bool:
        """Say that it is."""
        return True

    def write(self, data: Any) -> int:
        """Append bytes.

        Raises:
            OSError: the disk is full; names the file.
        """
        view = memoryview(data).cast("B")
        with naming(self.path):
            self._file.write(view)
        self._sha256.update(view)
        self.size += len(view)
        return len(view)

    def tell(self) -> int:
        """Return the bytes so far."""
        return self.size

    def flush(self) -> None:
        """Do nothing: `close` brings all to the disk."""

    def close(self) -> None:
        """Bring what was written to the disk.

        Raises:
            OSError: the disk is full; names the file.
        """
        if not self.closed:
            super().close()
            with naming(self.path), self._file as file:
                file.flush()
                os.fsync(file.fileno())


class Container(ABC):
    """One format: how a shard is written, and what lies beside shards."""

    suffix: ClassVar[str]
    """What the names of its files end with."""

    most_bytes: ClassVar[int | None] = None
    """That a file can hold."""

    @abstractmethod
    def write(self, part: Part, records: ShardRecords) -> None:
        """Write one shard.

        Raises:
            IntegrityError: a record is damaged, or not what records.parquet says.
            OSError: the disk is full; names the file.
        """

    def beside_split(self, files: Sequence[WrittenFile], fields: tuple[Field, ...]) -> Mapping[str, bytes]:
        """Return what lies in a split's folder beside its shards, by name."""
        del files, fields
        return {}

    def beside_splits(
        self, manifest: Manifest, files: Mapping[str, Sequence[WrittenFile]], fields: tuple[Field, ...]
    ) -> Mapping[str, bytes]:
        """Return what lies beside the splits' folders, by name."""
        del manifest, files, fields
        return {}
