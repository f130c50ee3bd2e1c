"""What the parent version has of photos that have not changed since: their records, or why they have none.

In: the plan's rows of a shard; `before` says in which of the parent's shards a photo is that has the same key, ETag, size and id, under the
same settings and converter.  Out: where each of these records lies, or its reject; then the JPEGs, read and compared.
Both may be used again, because a shard's result is a pure function of its recipe: it says nothing of a photo that depends on others, on
time or on a store.  What depends on a store, a lost photo, is in no result.
Promised: nothing here ends a build.  What is missing, damaged or another one is read from the source instead.
"""

import logging
from collections.abc import Iterator, Sequence
from typing import Final

import pyarrow as pa

from aesthetics_ops.conversion.copying import StoredRecord, complete
from aesthetics_ops.conversion.photos import PlannedPhoto
from aesthetics_ops.dataset.example import decode_example
from aesthetics_ops.dataset.layout import ShardFile, shard_key
from aesthetics_ops.dataset.recipe import Converter
from aesthetics_ops.dataset.results import RecordIndex, ShardResult, StoredJpeg
from aesthetics_ops.dataset.tables import BEFORE
from aesthetics_ops.dataset.tfrecord import read_framed
from aesthetics_ops.errors import IntegrityError, StoreRefusedError
from aesthetics_ops.pixels.photo import Converted
from aesthetics_ops.rejects import Rejected
from aesthetics_ops.store import Store

__all__ = ["RecordReader", "known_photos"]

_log = logging.getLogger(__name__)

_GAP_BYTES: Final = (
    128 << 10
)  # between two records that are read at once: about one photo, which costs less than a request


def known_photos(dataset: Store, rows: pa.Table, converter: Converter) -> dict[str, StoredRecord | Rejected]:
    """Return by key what the parent has of the photos of one shard.

    Args:
        dataset: that both lie in.
        rows: of the plan, in record order; without `before` nothing is known.
        converter: that the shard's recipe names.

    Raises:
        StoreUnavailableError: the store gives no answer.
    """
    if BEFORE not in rows.column_names:
        return {}
    columns = (rows[name].to_pylist() for name in ("key", "id", BEFORE))
    same = [(key, image_id, digest) for key, image_id, digest in zip(*columns, strict=True) if digest is not None]
    ids = {key: image_id for key, image_id, _ in same}
    known: dict[str, StoredRecord | Rejected] = {}
    for digest in dict.fromkeys(digest for _, _, digest in same):
        result = _result(dataset, digest)
        if result is None or Converter(result.converter_version, result.codecs) != converter:
            continue
        for photo in result.rejected:
            if photo.key in ids:
                known[photo.key] = Rejected(photo.reason, photo.detail)
        shard = shard_key(digest, ShardFile.RECORDS)
        for key, image_id, offset, length, jpeg in _entries(result.index):
            if ids.get(key) == image_id:
                known[key] = StoredRecord(shard, offset, length, jpeg)
    return known


def _result(dataset: Store, digest: str) -> ShardResult | None:
    """Read a shard's result; None where there is none, or it says nothing.  A damaged one is left for whoever needs it."""
    key = shard_key(digest, ShardFile.RESULT)
    try:
        result = ShardResult.read(dataset, key)
    except (IntegrityError, StoreRefusedError) as error:
        _log.warning("%s; the photos of this shard are read from their source", error)
        return None
    return result if result is not None and result.digest == digest else None


def _entries(index: RecordIndex) -> Iterator[tuple[str, str, int, int, StoredJpeg]]:
    """Yield key, id, offset and length of each record, and what its entry says of the JPEG."""
    unknown = [None] * len(
        index.key
    )  # results of earlier releases do not say how the JPEG is coded and how bright it is
    places = zip(index.key, index.id, index.offset, index.length, strict=True)
    jpegs = zip(
        index.bytes, index.width, index.height, index.transforms, index.phash, index.progressive or unknown,
        index.sampling or unknown, index.brightness or unknown, index.contrast or unknown, strict=True,
    )  # fmt: skip
    for place, jpeg in zip(places, jpegs, strict=True):
        yield *place, StoredJpeg(*jpeg)


class RecordReader:
    """Reads the JPEGs of records, neighbours with one request.  Its methods may be called from many threads at once."""

    def __init__(self, dataset: Store) -> None:
        """Begin.

        Args:
            dataset: that the records lie in.
        """
        self._dataset = dataset
        self._unreadable: set[str] = set()

    def read(self, photos: Sequence[PlannedPhoto]) -> dict[str, Converted]:
        """Return by key the photos whose records are there, whole, and those that their index says.

        Args:
            photos: those without a known record are passed over.

        Raises:
            StoreUnavailableError: the store gives no answer.
        """
        found: dict[str, Converted] = {}
        for run in _runs(photos):
            first, (_, last) = run[0][1], run[-1]
            if first.shard in self._unreadable:
                continue
            try:
                data = self._dataset.get_range(first.shard, first.offset, last.offset + last.length - first.offset)
            except (IntegrityError, StoreRefusedError) as error:
                if first.shard not in self._unreadable:
                    _log.warning("%s; the photos of this shard are read from their source", error)
                self._unreadable.add(first.shard)
                continue
            view = memoryview(data)
            for photo, record in run:
                framed = view[record.offset - first.offset :][: record.length]
                try:
                    found[photo.key] = _checked(photo, record, framed, self._dataset.url_of(record.shard))
                except IntegrityError as error:
                    _log.warning("%s; photo %r is read from its source", error, photo.key)
        return found


def _runs(photos: Sequence[PlannedPhoto]) -> Iterator[list[tuple[PlannedPhoto, StoredRecord]]]:
    """Yield photos whose records lie side by side, or nearly so, in one shard."""
    run: list[tuple[PlannedPhoto, StoredRecord]] = []
    for photo in photos:
        record = photo.known
        if not isinstance(record, StoredRecord):
            continue
        if run:
            last = run[-1][1]
            gap = record.offset - last.offset - last.length
            if record.shard != last.shard or not 0 <= gap <= _GAP_BYTES:
                yield run
                run = []
        run.append((photo, record))
    if run:
        yield run


def _checked(photo: PlannedPhoto, record: StoredRecord, framed: memoryview, shard: str) -> Converted:
    """Return what conversion made of a photo.

    Raises:
        IntegrityError: the record is damaged, or is another one than its index says.
    """
    where = f"the record at byte {record.offset} of {shard}"
    example = decode_example(read_framed(framed, where))
    jpeg = complete(record.jpeg, example.image)
    stated = (photo.id, jpeg.bytes, jpeg.width, jpeg.height)
    if (found := (example.id, len(example.image), example.width_px, example.height_px)) != stated:
        raise IntegrityError(f"{where} holds id, bytes, width and height {found}, and its index says {stated}")
    return Converted(
        jpeg=example.image,
        height_px=jpeg.height,
        width_px=jpeg.width,
        transforms=tuple(jpeg.transforms),
        phash=int(jpeg.phash, 16),
        progressive=bool(jpeg.progressive),
        sampling=jpeg.sampling or "",
        brightness=jpeg.brightness,
        contrast=jpeg.contrast,
    )
