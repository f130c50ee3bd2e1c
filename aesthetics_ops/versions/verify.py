"""Read a version whole and compare it with what it says of itself.

In: a published version.  Out: its manifest, or the first difference in reading order, whichever shard is read first.
Four shards are read at once, and more where they are small, since then the store's answers are waited for; scratch holds the
version's tables and those shards, memory some rows of the tables and a record of each shard.
"""

import hashlib
import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from google_crc32c import extend

from aesthetics_ops.dataset.example import decode_example
from aesthetics_ops.dataset.layout import ShardFile, VersionFile, is_name, shard_key, version_prefix
from aesthetics_ops.dataset.manifest import Manifest, Shard, read_manifest
from aesthetics_ops.dataset.sidecars import stored_file
from aesthetics_ops.dataset.tables import EXTRA_SCORE, RECORDS, is_label, iterate_rows
from aesthetics_ops.dataset.tfrecord import FRAME_BYTES, read_records
from aesthetics_ops.errors import IntegrityError, ObjectMissingError
from aesthetics_ops.machine import scratch_for
from aesthetics_ops.pixels.jpeg_header import read_jpeg_header
from aesthetics_ops.store import Store, StoreThreads
from aesthetics_ops.versions.accounts import check_tables
from aesthetics_ops.versions.counts import check_counts
from aesthetics_ops.versions.statements import check_objects, check_promotion, check_statements

__all__ = ["verify_version"]

_log = logging.getLogger(__name__)

_LEAST_AT_ONCE: Final = 4  # shards
_MOST_AT_ONCE: Final = 32
_BYTES_AT_ONCE: Final = 256 << 20
_BLOCK_BYTES: Final = 256 << 10
_IN_A_SHARD: Final = (  # columns of records.parquet, beside those of votes and extra scores
    "id", "split", "shard", "offset", "length", "label", "width", "height", "bytes", "progressive", "sampling",
)  # fmt: skip
_LATE: Final = {
    column.name for column in RECORDS.columns if column.is_late
}  # null where an earlier release did not know
_TABLES: Final = (VersionFile.RECORDS, VersionFile.REJECTS, VersionFile.NEAR_DUPLICATES, VersionFile.PLAN)
_WHAT_TO_DO: Final = "do not use this version: `aesthetics-ops rollback` goes to another one, and the next build from there makes what is missing"


def verify_version(
    dataset: Store, version: str | None = None, *, progress: Callable[[int], None] = lambda size: None
) -> Manifest:
    """Read a version whole and compare it with what it says of itself.

    Every file's size and sha256, every record's framing and what records.parquet says of it, the plan's recipes, and every count
    and statistic of the manifest are checked.  Images are not decoded again: their bytes are those that were, when the version
    was validated.

    Args:
        dataset: where it is published.
        version: by default the one that LATEST names.
        progress: called with the bytes of a shard once it and all before it are found right, in reading order.

    Raises:
        NoSuchVersionError: there is no such version.
        IntegrityError: names what differs; of several differences the first in reading order.
        ScratchSpaceError: the disk has no room for a few shards.
    """
    manifest = read_manifest(dataset, version)
    shards = [(split, shard) for split, content in manifest.splits.items() for shard in content.shards]
    largest = max((shard.bytes for _, shard in shards), default=0)
    with scratch_for(_at_once(shards) * largest) as scratch:
        damaged = _fetch_files(dataset, manifest, scratch)
        with _after(damaged):  # what lies inside a damaged table says more than its sum
            check_tables(manifest, scratch)
            rows = _rows_by_shard(manifest.version, scratch / VersionFile.RECORDS, shards)
            _verify_shards(dataset, shards, rows, scratch, progress)
            check_counts(manifest, scratch)
            check_statements(manifest, scratch)
        check_objects(dataset, manifest)
        check_promotion(dataset, manifest)
    return manifest


def _at_once(shards: Sequence[tuple[str, Shard]]) -> int:
    """Return how many shards are read side by side: in all as many bytes as a few of the usual size have."""
    largest = max((shard.bytes for _, shard in shards), default=0)
    return min(_MOST_AT_ONCE, max(_LEAST_AT_ONCE, _BYTES_AT_ONCE // max(1, largest)))


def _fetch_files(dataset: Store, manifest: Manifest, scratch: Path) -> list[str]:
    """Bring the version's tables to scratch and compare every file with the manifest; return which tables differ."""
    damaged = []
    for file in [*_TABLES, *(name for name in manifest.files or () if name not in _TABLES)]:
        if not is_name(file):
            raise IntegrityError(
                f"{VersionFile.MANIFEST} of version {manifest.version!r}: files names {file!r}, which names no file"
            )
        key = version_prefix(manifest.version) + file
        try:
            dataset.download(key, scratch / file)
        except ObjectMissingError as error:
            raise IntegrityError(f"version {manifest.version!r} is incomplete: {error}") from error
        if manifest.files is None:
            continue
        found, stated = stored_file(scratch / file), manifest.files.get(file)
        if found != stated:
            said = f"{stated.bytes} and {stated.sha256}" if stated else "nothing of it"
            damaged.append(
                f"{dataset.url_of(key)} has {found.bytes} bytes and sha256 {found.sha256}, its manifest says {said}"
            )
            if file not in _TABLES:
                raise IntegrityError(f"{damaged[-1]}; {_WHAT_TO_DO}")
    return damaged


@contextmanager
def _after(damaged: list[str]) -> Iterator[None]:
    """Say first which tables are not those of the manifest, then what in them differs, where anything is found."""
    try:
        yield
    except IntegrityError as error:
        first = f"{damaged[0]}: " if damaged else ""
        raise IntegrityError(f"{first}{error}; {_WHAT_TO_DO}") from error
    if damaged:
        raise IntegrityError(f"{damaged[0]}; {_WHAT_TO_DO}")


def _rows_by_shard(version: str, records: Path, shards: Sequence[tuple[str, Shard]]) -> Iterator[pa.Table]:
    """Return for each shard the rows that records.parquet has of it: they stand in reading order."""
    columns = [name for name in pq.read_schema(records).names if name in _IN_A_SHARD or is_label(name)]
    batches = iterate_rows(records, columns, name=f"{VersionFile.RECORDS} of version {version!r}")
    batch = next(batches, None)
    for split, shard in shards:
        pieces: list[pa.RecordBatch] = []
        held = 0
        while batch is not None and held < shard.records:
            piece = batch.slice(0, shard.records - held)
            if not pc.all(pc.equal(piece["shard"], shard.path), skip_nulls=False, min_count=0).as_py():
                break
            if not pc.all(pc.equal(piece["split"], split), skip_nulls=False, min_count=0).as_py():
                raise IntegrityError(
                    f"{VersionFile.RECORDS} of version {version!r}: split of a record in {shard.path} is not {split!r}, as its "
                    "manifest has the shard"
                )
            pieces.append(piece)
            held += piece.num_rows
            batch = batch.slice(piece.num_rows)
            if not batch.num_rows:
                batch = next(batches, None)
        if held < shard.records:
            raise IntegrityError(
                f"{VersionFile.RECORDS} of version {version!r} lists {held} records of shard {shard.path} where its manifest has "
                f"records {shard.records}"
            )
        yield pa.Table.from_batches(pieces)
    if batch is not None:
        raise IntegrityError(f"{VersionFile.RECORDS} of version {version!r} lists records beyond those of its shards")


def _verify_shards(
    dataset: Store,
    shards: Sequence[tuple[str, Shard]],
    rows_by_shard: Iterator[pa.Table],
    scratch: Path,
    progress: Callable[[int], None],
) -> None:
    """Verify shards side by side, and take what is found in reading order."""
    running: deque[tuple[Shard, Future[None]]] = deque()

    def finish(at_most: int) -> None:
        while len(running) > at_most:
            shard, verified = running.popleft()
            verified.result()
            progress(shard.bytes)

    at_once = _at_once(shards)
    pool = StoreThreads(at_once, thread_name_prefix="verify")
    try:
        for number, (_, shard) in enumerate(shards):
            try:
                rows = next(rows_by_shard)
            except IntegrityError:
                finish(0)  # a difference in an earlier shard comes first
                raise
            running.append((shard, pool.submit(_verify_shard, dataset, shard, rows, scratch / f"{number}.tfrecord")))
            finish(2 * at_once)
        finish(0)
    finally:
        pool.shutdown(cancel_futures=True)
    for _ in rows_by_shard:  # its end says whether rows are left
        pass


def _verify_shard(dataset: Store, shard: Shard, rows: pa.Table, path: Path) -> None:
    name = dataset.url_of(shard.path)
    try:
        dataset.download(shard.path, path)
        with path.open("rb") as file:
            _require_sums(dataset, name, shard, file)
            file.seek(0)
            held = list(_described(read_records(file)))
    except ObjectMissingError as error:
        raise IntegrityError(f"shard {name} is missing; {_repair(dataset, shard)}") from error
    finally:
        path.unlink(missing_ok=True)
    if len(held) != rows.num_rows:
        raise IntegrityError(f"shard {name} holds {len(held)} records, and {VersionFile.RECORDS} lists {rows.num_rows}")
    told = rows.drop_columns(["split", "shard"]).to_pylist()
    for number, (record, row) in enumerate(zip(held, told, strict=True)):
        record |= {field: None for field in row if is_label(field) and field not in record}
        if {field: record.get(field) for field in row} == row:
            continue
        for field, value in record.items():
            is_stated = field in row and (row[field] is not None or is_label(field) or field not in _LATE)
            if is_stated and row[field] != value:
                raise IntegrityError(
                    f"shard {name}: record {number}, id {record['id']!r}, has {field} {value!r}, and {VersionFile.RECORDS} says "
                    f"{row[field]!r}"
                )
    _log.info("shard %s: %d records, as the manifest says", shard.digest[:12], len(held))


def _described(records: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    """Yield what records.parquet says of each record of a file."""
    offset = 0
    for record in records:
        example, length = decode_example(record), len(record) + FRAME_BYTES
        header = read_jpeg_header(example.image)
        yield {
            "id": example.id, "label": example.label, "offset": offset, "length": length, "bytes": len(example.image),
            "width": example.width_px, "height": example.height_px, "progressive": header.progressive,
            "sampling": header.frame.sampling, "label_std": example.label_std,
            "distribution": None if example.distribution is None else list(example.distribution),
            "votes": None if example.votes is None else list(example.votes),
            **{f"{EXTRA_SCORE}{name}": score for name, score in example.extra_scores.items()},
        }  # fmt: skip
        offset += length


def _require_sums(dataset: Store, name: str, shard: Shard, file: BinaryIO) -> None:
    """Read a shard's file once for its size and both sums."""
    size, sha256, crc = 0, hashlib.sha256(), 0
    while block := file.read(min(_BLOCK_BYTES, shard.bytes + 1)):
        size += len(block)
        sha256.update(block)
        crc = extend(crc, block)
    if (size, sha256.hexdigest()) != (shard.bytes, shard.sha256):
        raise IntegrityError(
            f"shard {name} has {size} bytes and sha256 {sha256.hexdigest()}, its manifest says {shard.bytes} and "
            f"{shard.sha256}; {_repair(dataset, shard)}"
        )
    if f"{crc:08x}" != shard.crc32c:
        raise IntegrityError(f"shard {name} has crc32c {crc:08x}, its manifest says {shard.crc32c}")


def _repair(dataset: Store, shard: Shard) -> str:
    return (
        f"to make it anew delete {dataset.url_of(shard_key(shard.digest, ShardFile.RESULT))} and the .validated.json beside it, "
        "then build again while its photos are there unchanged, or roll back"
    )
