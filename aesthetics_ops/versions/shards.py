"""Compare a shard's file with what its manifest and records.parquet say of it.

In: the manifest's entry, and the rows of its records.  Out: nothing, or the first difference, by record and field.
A file is read once for both its sums.  Each record is then compared, byte for byte, with what its row and its image make, which
costs a fifth of parsing it; only where they differ is it parsed, to name the field, or to find that another writer wrote the
same in another way.
"""

import hashlib
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Final

from google_crc32c import extend

from aesthetics_ops.dataset.example import Example, decode_example
from aesthetics_ops.dataset.layout import ShardFile, VersionFile, shard_key
from aesthetics_ops.dataset.manifest import Shard
from aesthetics_ops.dataset.tables import EXTRA_SCORE, RECORDS, is_label
from aesthetics_ops.dataset.tfrecord import FRAME_BYTES, RecordSpan, image_if_framed, read_records
from aesthetics_ops.errors import IntegrityError, ObjectMissingError, StoreRefusedError
from aesthetics_ops.pixels.jpeg_header import read_jpeg_codings
from aesthetics_ops.store import Store

__all__ = ["IN_A_SHARD", "ShardRows", "verify_shard"]

_log = logging.getLogger(__name__)

ShardRows = Mapping[str, Sequence[Any]]
"""Columns of the rows of one shard, in its order: those of `IN_A_SHARD`, votes and extra scores, where the table has them."""

IN_A_SHARD: Final = (
    "id", "offset", "length", "label", "width", "height", "bytes", "progressive", "sampling",
)  # fmt: skip
_LATE: Final = {
    column.name for column in RECORDS.columns if column.is_late
}  # null where an earlier release did not know
_ALWAYS: Final = tuple(name for name in IN_A_SHARD if name not in _LATE)
_OF_VOTES: Final = ("distribution", "votes", "label_std")
_BLOCK_BYTES: Final = 256 << 10
_IN_MEMORY: Final = 1 << 20  # bytes; a larger shard goes through a file


def verify_shard(dataset: Store, shard: Shard, rows: ShardRows, path: Path) -> None:
    """Read a shard, and compare its bytes and its records with what is said of them.

    Args:
        dataset: that holds it.
        shard: what the manifest says.
        rows: what records.parquet says.
        path: of a file for it, which is removed again.

    Raises:
        IntegrityError: it is missing, or something differs; names the shard, and the record and field.
        ScratchSpaceError: the disk has no room for it.
    """
    try:
        with _opened(dataset, shard, path) as file:
            _require_sums(dataset, shard, file)
            file.seek(0)
            if not _holds(file, shard.bytes, rows):
                file.seek(0)
                _require_records(dataset.url_of(shard.path), file, rows)
    except ObjectMissingError as error:
        raise IntegrityError(f"shard {dataset.url_of(shard.path)} is missing; {_repair(dataset, shard)}") from error
    _log.info("shard %s: %d records, as the manifest says", shard.digest[:12], len(rows["id"]))


@contextmanager
def _opened(dataset: Store, shard: Shard, path: Path) -> Iterator[BinaryIO]:
    """Fetch a shard: a small one into memory, which spares the disk most of its work, unless the store has more than is stated."""
    if shard.bytes <= _IN_MEMORY and (data := _first_bytes(dataset, shard)) is not None and len(data) <= shard.bytes:
        yield BytesIO(data)
        return
    try:
        dataset.download(shard.path, path)
        with path.open("rb") as file:
            yield file
    finally:
        path.unlink(missing_ok=True)


def _first_bytes(dataset: Store, shard: Shard) -> bytes | memoryview | None:
    """Return a shard's bytes, and one of those that are too many; None where the store refuses, as for an object without bytes."""
    try:
        return dataset.get_first(shard.path, shard.bytes + 1)
    except ObjectMissingError:
        raise
    except StoreRefusedError:
        return None


def _require_sums(dataset: Store, shard: Shard, file: BinaryIO) -> None:
    """Read a shard's file once for its size and both sums."""
    size, sha256, crc = 0, hashlib.sha256(), 0
    while block := file.read(min(_BLOCK_BYTES, shard.bytes + 1)):
        size += len(block)
        sha256.update(block)
        crc = extend(crc, block)
    if (size, sha256.hexdigest()) != (shard.bytes, shard.sha256):
        raise IntegrityError(
            f"shard {dataset.url_of(shard.path)} has {size} bytes and sha256 {sha256.hexdigest()}, its manifest says {shard.bytes} and "
            f"{shard.sha256}; {_repair(dataset, shard)}"
        )
    if f"{crc:08x}" != shard.crc32c:
        raise IntegrityError(
            f"shard {dataset.url_of(shard.path)} has crc32c {crc:08x}, its manifest says {shard.crc32c}"
        )


def _holds(file: BinaryIO, size: int, rows: ShardRows) -> bool:
    """Say whether a file of `size` bytes is what a writer of ours makes of these rows and the images in it."""
    if any(None in rows[name] for name in _ALWAYS) or not _lie_in_order(rows, size):
        return False
    examples, sizes, codings = _examples(rows), iter(rows["bytes"]), _codings(rows)
    for spans in _blocks(rows["length"]):
        block = file.read(sum(span.length for span in spans))
        images = []
        for span, example, image_bytes in zip(spans, examples, sizes, strict=False):  # the spans end first
            if (image := image_if_framed(block, span, example, image_bytes)) is None:
                return False
            images.append(image)
        if not _are_coded(block, images, list(islice(codings, len(images)))):
            return False
    return True


def _lie_in_order(rows: ShardRows, size: int) -> bool:
    """Say whether records lie one after the other from the first to the last byte of a file, each longer than its image."""
    at = 0
    for offset, length, image_bytes in zip(rows["offset"], rows["length"], rows["bytes"], strict=True):
        if offset != at or not 0 <= image_bytes < length <= size - at:
            return False
        at += length
    return bool(at == size)


def _blocks(lengths: Iterable[int]) -> Iterator[list[RecordSpan]]:
    """Yield records that are read together, with their places in what is read: some small ones, or a large one."""
    block: list[RecordSpan] = []
    at = 0
    for length in lengths:
        if block and at + length > _IN_MEMORY:
            yield block
            block, at = [], 0
        block.append(RecordSpan(at, length))
        at += length
    if block:
        yield block


def _examples(rows: ShardRows) -> Iterator[Example]:
    """Return what each row says of its record, without the image."""
    nothing = [None] * len(rows["id"])
    columns = [rows[name] for name in ("label", "id", "height", "width")]
    columns += [rows.get(name, nothing) for name in _OF_VOTES]
    scores = [name for name in rows if name.startswith(EXTRA_SCORE)]
    if not scores:
        return map(partial(Example, b""), *columns)
    named = [name.removeprefix(EXTRA_SCORE) for name in scores]
    extra = (
        {name: score for name, score in zip(named, values, strict=True) if score is not None}
        for values in zip(*(rows[name] for name in scores), strict=True)
    )
    return map(partial(Example, b""), *columns, extra)


def _codings(rows: ShardRows) -> Iterator[tuple[bool | None, str | None]]:
    """Return how each row says that its image is coded: whether as a progressive one, and how chroma is sampled."""
    nothing = [None] * len(rows["id"])
    return zip(rows.get("progressive", nothing), rows.get("sampling", nothing), strict=True)


def _are_coded(data: bytes, images: list[slice], said: list[tuple[bool | None, str | None]]) -> bool:
    """Say whether images that lie in `data` are coded as their rows say, where these say anything of that."""
    stated = [(image, coding) for image, coding in zip(images, said, strict=True) if coding != (None, None)]
    if not stated:
        return True
    found = read_jpeg_codings(data, [image for image, _ in stated])
    return all(
        coding == theirs or all(ours in (None, each) for ours, each in zip(coding, theirs, strict=True))
        for (_, coding), theirs in zip(stated, found, strict=True)
    )


def _require_records(name: str, file: BinaryIO, rows: ShardRows) -> None:
    """Parse every record, and name the first field that is not what its row says."""
    held = list(_described(read_records(file)))
    told = [dict(zip(rows, values, strict=True)) for values in zip(*rows.values(), strict=True)]
    if len(held) != len(told):
        raise IntegrityError(f"shard {name} holds {len(held)} records, and {VersionFile.RECORDS} lists {len(told)}")
    for number, (record, row) in enumerate(zip(held, told, strict=True)):
        record |= {field: None for field in row if is_label(field) and field not in record}
        for field, value in record.items():
            is_stated = field in row and (row[field] is not None or is_label(field) or field not in _LATE)
            if is_stated and row[field] != value:
                raise IntegrityError(
                    f"shard {name}: record {number}, id {record['id']!r}, has {field} {value!r}, and {VersionFile.RECORDS} says "
                    f"{row[field]!r}"
                )


def _described(records: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    """Yield what records.parquet says of each record of a file."""
    offset = 0
    for record in records:
        example, length = decode_example(record), len(record) + FRAME_BYTES
        ((is_progressive, sampling),) = read_jpeg_codings(example.image, [slice(0, len(example.image))])
        yield {
            "id": example.id, "label": example.label, "offset": offset, "length": length, "bytes": len(example.image),
            "width": example.width_px, "height": example.height_px, "progressive": is_progressive, "sampling": sampling,
            "label_std": example.label_std,
            "distribution": None if example.distribution is None else list(example.distribution),
            "votes": None if example.votes is None else list(example.votes),
            **{f"{EXTRA_SCORE}{name}": score for name, score in example.extra_scores.items()},
        }  # fmt: skip
        offset += length


def _repair(dataset: Store, shard: Shard) -> str:
    return (
        f"to make it anew delete {dataset.url_of(shard_key(shard.digest, ShardFile.RESULT))} and the .validated.json beside it, "
        "then build again while its photos are there unchanged, or roll back"
    )
