"""Make a shard out of records that lie in other shards: nothing is downloaded from the source, decoded or encoded.

A record's bytes depend on its photo, id and what the score file says of it alone, so the file is the one that conversion would make of the same
recipe.  In: the plan's rows of the shard, and where its records lie.  Out: the file and its result.
Promised: every record's checksums and id are compared; memory does not grow with the shard.
"""

from collections import defaultdict, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import pyarrow as pa

from aesthetics_ops.dataset.example import decode_example
from aesthetics_ops.dataset.recipe import Converter
from aesthetics_ops.dataset.results import RecordIndex, RejectedPhoto, ShardResult, StoredJpeg
from aesthetics_ops.dataset.tfrecord import FramedRecord, ShardWriter, read_framed
from aesthetics_ops.errors import IntegrityError
from aesthetics_ops.pixels.jpeg_header import read_jpeg_header
from aesthetics_ops.rejects import Rejected
from aesthetics_ops.store import Store

__all__ = ["StoredRecord", "complete", "copy_shard"]

_RUN_BYTES: Final = 4 << 20  # of records that lie side by side, read at once


@dataclass(frozen=True, slots=True)
class StoredRecord:
    """Where a record lies, and what its index entry says.

    Attributes:
        shard: key of the TFRecord file.
        offset: of the framed record in it, bytes.
        length: of the framed record, bytes.
        jpeg: as the index has it.
    """

    shard: str
    offset: int
    length: int
    jpeg: StoredJpeg


def copy_shard(
    dataset: Store,
    digest: str,
    rows: pa.Table,
    entries: Mapping[str, StoredRecord | Rejected],
    converter: Converter,
    path: Path,
) -> ShardResult:
    """Write one shard's file.

    Args:
        dataset: that the records lie in.
        digest: of the shard's recipe.
        rows: key and id of its photos, in order.
        entries: for each key where its record lies, or why there is none.
        converter: that made the records.
        path: of the file to write.

    Raises:
        IntegrityError: a record is damaged, or is another one than its index says.
        StoreRefusedError, StoreUnavailableError: the store says no, or nothing.
    """
    index, rejected = RecordIndex(), []
    ids = dict(zip(rows["key"].to_pylist(), rows["id"].to_pylist(), strict=True))
    runs = _Runs(dataset, (entry for key in ids if isinstance(entry := entries[key], StoredRecord)))
    with ShardWriter(path) as shard:
        for key, image_id in ids.items():
            entry = entries[key]
            if isinstance(entry, Rejected):
                rejected.append(RejectedPhoto(key=key, reason=entry.reason, detail=entry.detail))
                continue
            framed = runs.take(entry)
            found = decode_example(read_framed(framed))
            if found.id != image_id:
                raise IntegrityError(
                    f"the record at byte {entry.offset} of {dataset.url_of(entry.shard)} is that of {found.id!r}, "
                    f"not of {image_id!r}"
                )
            span = shard.append(FramedRecord((b"", framed, b""), len(framed)))
            index.add(key, image_id, span, complete(entry.jpeg, found.image))
    return ShardResult(
        digest=digest,
        photos=rows.num_rows,
        records=shard.records,
        bytes=shard.bytes_written,
        sha256=shard.sha256,
        crc32c=shard.crc32c,
        converter_version=converter.version,
        codecs=converter.codecs,
        index=index,
        rejected=tuple(rejected),
    )


def complete(entry: StoredJpeg, image: bytes | memoryview) -> StoredJpeg:
    """Say of a record of an earlier release's what its JPEG's header tells: how that is coded.

    Brightness and contrast stay unknown: the pixels would have to be decoded for them.
    """
    if entry.progressive is not None and entry.sampling is not None:
        return entry
    header = read_jpeg_header(image)
    return replace(entry, progressive=header.progressive, sampling=header.frame.sampling)


class _Runs:
    """Reads records from shards, neighbours with one request.

    Every shard holds its photos in one order, that of their hashes, so those of one source are asked for in the order in
    which they lie there.
    """

    def __init__(self, dataset: Store, records: Iterable[StoredRecord]) -> None:
        self._dataset = dataset
        self._wanted: dict[str, deque[StoredRecord]] = defaultdict(deque)
        for record in records:
            self._wanted[record.shard].append(record)
        self._held: dict[str, tuple[int, bytes]] = {}

    def take(self, record: StoredRecord) -> bytes:
        """Return the framed record."""
        start, data = self._held.get(record.shard, (0, b""))
        if not start <= record.offset <= record.offset + record.length <= start + len(data):
            start, data = self._held[record.shard] = self._read(record)
        taken = data[record.offset - start :][: record.length]
        if record.offset + record.length == start + len(data):
            del self._held[record.shard]
        return taken

    def _read(self, record: StoredRecord) -> tuple[int, bytes]:
        wanted = self._wanted[record.shard]
        end = record.offset
        while wanted and (end == wanted[0].offset or wanted[0].offset <= record.offset):
            following = wanted[0]
            if end > record.offset and following.offset + following.length - record.offset > _RUN_BYTES:
                break
            end = max(end, following.offset + following.length)
            wanted.popleft()
        end = max(end, record.offset + record.length)
        return record.offset, bytes(self._dataset.get_range(record.shard, record.offset, end - record.offset))
