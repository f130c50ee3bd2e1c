"""Read a version whole and compare it with what it says of itself.

In: a published version.  Out: its manifest, or the first difference in reading order, whichever shard is read first.
A few shards are read at once; scratch holds `records.parquet` and those shards, memory a record and the ids of each.
"""

import hashlib
import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Final

import pyarrow.compute as pc

from aesthetics_ops.dataset.example import decode_example
from aesthetics_ops.dataset.layout import ShardFile, VersionFile, shard_key, version_key
from aesthetics_ops.dataset.manifest import Manifest, Shard, read_manifest
from aesthetics_ops.dataset.tables import count_rows, iterate_rows
from aesthetics_ops.dataset.tfrecord import read_records
from aesthetics_ops.errors import IntegrityError, ObjectMissingError
from aesthetics_ops.machine import scratch_for
from aesthetics_ops.store import Store

__all__ = ["verify_version"]

_log = logging.getLogger(__name__)

_SHARDS_AT_ONCE: Final = 4


def verify_version(
    dataset: Store, version: str | None = None, *, progress: Callable[[int], None] = lambda size: None
) -> Manifest:
    """Read a version whole and compare it with what it says of itself.

    Every shard's size, sha256 and CRCs, every record's framing and id, and the tables' counts are checked.  Images
    are not decoded again: their bytes are those that were, when the version was validated.

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
    shards = [shard for split in manifest.splits.values() for shard in split.shards]
    needed_bytes = _SHARDS_AT_ONCE * max((shard.bytes for shard in shards), default=0)
    with scratch_for(needed_bytes) as scratch:
        records = scratch / "records.parquet"
        try:
            _verify_counts(dataset, manifest)
            dataset.download(version_key(manifest.version, VersionFile.RECORDS), records)
        except ObjectMissingError as error:
            raise IntegrityError(f"version {manifest.version!r} is incomplete: {error}") from error
        _verify_shards(dataset, shards, _ids_by_shard(manifest.version, records, shards), scratch, progress)
    return manifest


def _verify_counts(dataset: Store, manifest: Manifest) -> None:
    """Compare the tables' numbers of rows, which stand in their footers, with the manifest's."""
    records, rejects, planned = (
        count_rows(dataset, version_key(manifest.version, file))
        for file in (VersionFile.RECORDS, VersionFile.REJECTS, VersionFile.PLAN)
    )
    left_out = sum(manifest.rejects.values())
    if (records, rejects, planned) != (manifest.records, left_out, manifest.source.listed):
        raise IntegrityError(
            f"version {manifest.version!r} lists {records} records, {rejects} rejects and {planned} photos, "
            f"its manifest {manifest.records}, {left_out} and {manifest.source.listed}"
        )


def _ids_by_shard(version: str, records: Path, shards: Sequence[Shard]) -> Iterator[list[str]]:
    """Return for each shard the ids that records.parquet lists for it: its rows stand in reading order."""
    batches = iterate_rows(records, ["id", "shard"], name=f"{VersionFile.RECORDS} of version {version!r}")
    batch = next(batches, None)
    for shard in shards:
        ids: list[str] = []
        while batch is not None and len(ids) < shard.records:
            piece = batch.slice(0, shard.records - len(ids))
            if not pc.all(pc.equal(piece["shard"], shard.path), skip_nulls=False, min_count=0).as_py():
                break
            ids += piece["id"].to_pylist()
            batch = batch.slice(piece.num_rows)
            if not batch.num_rows:
                batch = next(batches, None)
        if len(ids) < shard.records:
            raise IntegrityError(
                f"{VersionFile.RECORDS} of version {version!r} lists {len(ids)} records of {shard.path} where "
                f"its manifest has {shard.records}"
            )
        yield ids
    if batch is not None:
        raise IntegrityError(f"{VersionFile.RECORDS} of version {version!r} lists records beyond those of its shards")


def _verify_shards(
    dataset: Store,
    shards: Sequence[Shard],
    ids_by_shard: Iterator[list[str]],
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

    pool = ThreadPoolExecutor(_SHARDS_AT_ONCE, thread_name_prefix="verify")
    try:
        for number, shard in enumerate(shards):
            try:
                ids = next(ids_by_shard)
            except IntegrityError:
                finish(0)  # a difference in an earlier shard comes first
                raise
            running.append((shard, pool.submit(_verify_shard, dataset, shard, ids, scratch / f"{number}.tfrecord")))
            finish(2 * _SHARDS_AT_ONCE)
        finish(0)
    finally:
        pool.shutdown(cancel_futures=True)
    for _ in ids_by_shard:  # its end says whether rows are left
        pass


def _verify_shard(dataset: Store, shard: Shard, ids: list[str], path: Path) -> None:
    name = dataset.url_of(shard.path)
    try:
        dataset.download(shard.path, path)
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            if sha256 != shard.sha256:
                raise IntegrityError(
                    f"shard {name} has sha256 {sha256}, its manifest says {shard.sha256}; {_repair(dataset, shard)}"
                )
            file.seek(0)
            found = [decode_example(record).id for record in read_records(file)]
    except ObjectMissingError as error:
        raise IntegrityError(f"shard {name} is missing; {_repair(dataset, shard)}") from error
    finally:
        path.unlink(missing_ok=True)
    if found != ids:
        raise IntegrityError(f"shard {name} holds {len(found)} records that are not the {len(ids)} of records.parquet")
    _log.info("shard %s: %d records, as the manifest says", shard.digest[:12], len(found))


def _repair(dataset: Store, shard: Shard) -> str:
    return (
        f"to make it anew delete {dataset.url_of(shard_key(shard.digest, ShardFile.RESULT))} and the .validated.json beside it, "
        "then build again while its photos are there unchanged, or roll back"
    )
