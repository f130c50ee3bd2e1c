"""What the stages say of a shard beside its file: its result, and the verdict of reading it back."""

import builtins
import logging
from dataclasses import dataclass, fields
from typing import TypeVar

from pydantic import Field

from aesthetics_ops.dataset.documents import Document
from aesthetics_ops.dataset.layout import ShardFile, shard_key
from aesthetics_ops.dataset.tfrecord import RecordSpan
from aesthetics_ops.errors import IntegrityError
from aesthetics_ops.rejects import RejectReason
from aesthetics_ops.store import Store

__all__ = [
    "RecordIndex",
    "RejectedPhoto",
    "ShardResult",
    "ShardVerdict",
    "StoredJpeg",
    "read_shard_result",
    "read_verdict",
    "withdraw",
    "write_shard_result",
    "write_verdict",
]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class StoredJpeg:
    """What the index says of the JPEG in a record.

    Attributes:
        bytes: its size.
        width: px.
        height: px.
        transforms: what was done to the photo.
        phash: 16 hex digits.
        progressive: whether it is anything but baseline in one scan; None where an earlier release made the shard.
        sampling: of its chroma, as `JpegScan.sampling` names it; None likewise.
        brightness, contrast: of its luma, levels of 0 to 255; None where an earlier release made the record.
    """

    bytes: int
    width: int
    height: int
    transforms: list[str]
    phash: str
    progressive: bool | None
    sampling: str | None
    brightness: float | None
    contrast: float | None


class RecordIndex(Document):
    """One entry per record of a shard, column by column, in file order.

    Results of earlier releases lack `progressive` and `sampling`, or `brightness` and `contrast`: these columns are then empty.
    A record that is copied from such a shard has null for the latter two.
    """

    key: list[str] = Field(default_factory=list, description="of the source photo, relative to the photos prefix")
    id: list[str] = Field(default_factory=list)
    offset: list[int] = Field(default_factory=list, description="of the framed record in the file, bytes")
    length: list[int] = Field(default_factory=list, description="of the framed record, bytes")
    bytes: list[int] = Field(default_factory=list, description="of the JPEG")
    width: list[int] = Field(default_factory=list, description="px")
    height: list[int] = Field(default_factory=list, description="px")
    transforms: list[list[str]] = Field(default_factory=list)
    phash: list[str] = Field(default_factory=list, description="perceptual hash, 16 hex digits")
    progressive: list[bool] = Field(default_factory=list, description="whether it is not baseline in one scan")
    sampling: list[str] = Field(default_factory=list, description="of the JPEG's chroma: 4:2:0, gray, ...")
    brightness: list[float | None] = Field(default_factory=list, description="mean luma, levels of 0 to 255")
    contrast: list[float | None] = Field(default_factory=list, description="standard deviation of luma, levels")

    def add(self, key: str, image_id: str, span: RecordSpan, jpeg: StoredJpeg) -> None:
        """Add the entry of the record that was written last.

        Args:
            key: of the source photo.
            image_id: of the photo.
            span: where the record lies in the file.
            jpeg: what it holds; `progressive` and `sampling` must be known.
        """
        self.key.append(key)
        self.id.append(image_id)
        self.offset.append(span.offset)
        self.length.append(span.length)
        for field in fields(jpeg):
            getattr(self, field.name).append(getattr(jpeg, field.name))


class RejectedPhoto(Document):
    """A photo of a shard's recipe that is not in its file."""

    key: str
    reason: RejectReason
    detail: str


class ShardResult(Document):
    """What a finished shard holds; a pure function of its recipe.

    Attributes:
        digest: of the recipe.
        photos: in the recipe; = records + rejected.
        records, bytes, sha256, crc32c: of the TFRecord file.
        index: where each record is.
        rejected: photos left out.
        converter_version, codecs: of the converter that made it, as in its recipe.
    """

    kind = "result of a shard"
    is_sealed = True

    digest: str
    photos: int
    records: int
    bytes: int
    sha256: str
    crc32c: str
    converter_version: int
    index: RecordIndex
    rejected: tuple[RejectedPhoto, ...]
    codecs: str = ""

    def encoded(self) -> builtins.bytes:
        """Return the result as it is stored: JSON in one line, since an index is long."""
        return self._sealed(self.model_dump_json().encode())


class ShardVerdict(Document):
    """A shard was read back and is what its result says.

    Attributes:
        digest: of its recipe.
        sha256: of the file that was read.
        records: counted as they were parsed; each had a finite label and its index entry's id.
        decoded: images counted as they decoded; each has the size that the record states.  Equals records.
        tensorflow: version that read them.
    """

    kind = "verdict on a shard"
    is_sealed = True

    digest: str
    sha256: str
    records: int
    decoded: int
    tensorflow: str


_Said = TypeVar("_Said", ShardResult, ShardVerdict)


def read_shard_result(dataset: Store, digest: str) -> ShardResult | None:
    """Read a shard's result; None while the shard is not finished.

    A damaged result says nothing of its shard: it is withdrawn, so that the shard is made anew.
    """
    try:
        return _said_of(digest, ShardResult, dataset, ShardFile.RESULT)
    except IntegrityError as error:
        _log.warning("%s; it is withdrawn, and the shard is made anew", error)
        withdraw(dataset, digest)
        return None


def write_shard_result(dataset: Store, result: ShardResult) -> None:
    """Write a shard's result, which says that its records are there."""
    dataset.put(shard_key(result.digest, ShardFile.RESULT), result.encoded())


def read_verdict(dataset: Store, digest: str) -> ShardVerdict | None:
    """Read a shard's verdict; None while it was not checked.  A damaged one is deleted, so that the shard is checked anew."""
    try:
        return _said_of(digest, ShardVerdict, dataset, ShardFile.VERDICT)
    except IntegrityError as error:
        _log.warning("%s; it is deleted, and the shard is read back anew", error)
        dataset.delete([shard_key(digest, ShardFile.VERDICT)])
        return None


def write_verdict(dataset: Store, verdict: ShardVerdict) -> None:
    """Write a shard's verdict, so that it is read back once."""
    dataset.put(shard_key(verdict.digest, ShardFile.VERDICT), verdict.encoded())


def withdraw(dataset: Store, digest: str) -> None:
    """Delete what is said of a shard, so that it is made and checked anew."""
    dataset.delete([shard_key(digest, ShardFile.RESULT), shard_key(digest, ShardFile.VERDICT)])


def _said_of(digest: str, document: type[_Said], dataset: Store, file: ShardFile) -> _Said | None:
    key = shard_key(digest, file)
    said = document.read(dataset, key)
    if said is not None and said.digest != digest:
        raise IntegrityError(f"{dataset.url_of(key)} says that it is of shard {said.digest}")
    return said
