"""Read a version whole and compare it with what it says of itself.

In: a published version.  Out: its manifest, or the first difference in reading order, whichever shard is read first.
Four shards are read at once, and more where they are small, since then a distant store's answers are waited for; scratch holds the
version's tables and those shards, memory some rows of the tables and a MiB, or a record, of each shard.
"""

import logging
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any, Final

from aesthetics_ops.dataset.layout import VersionFile, is_name, version_prefix
from aesthetics_ops.dataset.manifest import Manifest, Shard
from aesthetics_ops.dataset.reading_manifests import explaining_expiry, read_manifest
from aesthetics_ops.dataset.shard_entries import sizes_of
from aesthetics_ops.dataset.sidecars import stored_file
from aesthetics_ops.dataset.tables import is_label
from aesthetics_ops.errors import IntegrityError, ObjectMissingError
from aesthetics_ops.machine import scratch_for
from aesthetics_ops.store import Store, StoreThreads
from aesthetics_ops.versions.accounts import check_tables
from aesthetics_ops.versions.counts import check_counts
from aesthetics_ops.versions.rows import VersionTables
from aesthetics_ops.versions.shards import IN_A_SHARD, ShardRows, verify_shard
from aesthetics_ops.versions.statements import check_objects, check_promotion, check_statements

__all__ = ["verify_version"]

_Entry = tuple[Shard, ShardRows]  # what the manifest, and what records.parquet says of a shard

_log = logging.getLogger(__name__)

_LEAST_AT_ONCE: Final = 4  # shards
_MOST_AT_ONCE: Final = 32
_BYTES_AT_ONCE: Final = 256 << 20
_IN_A_RUN: Final = 16  # shards that one thread takes: each change of threads costs as much as a small shard
_RUN_BYTES: Final = 4 << 20
_ROWS_AT_ONCE: Final = 1 << 12  # of a table; more would take memory and no less time
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
        NoSuchVersionError: there is no such version, or it has expired meanwhile.
        IntegrityError: names what differs; of several differences the first in reading order.
        ScratchSpaceError: the disk has no room for a few shards.
    """
    manifest = read_manifest(dataset, version)
    needed_bytes = _at_once(dataset, manifest) * _largest_bytes(manifest)
    with explaining_expiry(dataset, manifest), scratch_for(needed_bytes) as scratch:
        damaged = _fetch_files(dataset, manifest, scratch)
        with _after(damaged):  # what lies inside a damaged table says more than its sum
            _verify_content(dataset, VersionTables(manifest, scratch, rows_at_once=_ROWS_AT_ONCE), progress)
        check_objects(dataset, manifest)
        check_promotion(dataset, manifest)
    return manifest


def _verify_content(
    dataset: Store,
    tables: VersionTables,
    progress: Callable[[int], None],
) -> None:
    """Compare tables and shards, side by side; of several differences say the tables' first, then the shards'."""
    for file in (VersionFile.NEAR_DUPLICATES, VersionFile.RECORDS, VersionFile.REJECTS, VersionFile.PLAN):
        tables.split_columns(file)
    beside = StoreThreads(1, thread_name_prefix="verify-tables")
    try:
        accounts = beside.submit(check_tables, tables)
        counts = beside.submit(_check_counts, tables)

        def found_right(size: int) -> None:
            if accounts.done():
                accounts.result()  # what is wrong there ends this soon
            progress(size)

        try:
            _verify_shards(dataset, tables.manifest, _runs(dataset, tables), tables.folder, found_right)
        except Exception:
            accounts.result()
            raise
        accounts.result()
        counts.result()
    finally:
        beside.shutdown(cancel_futures=True)


def _check_counts(tables: VersionTables) -> None:
    check_counts(tables)
    check_statements(tables)


def _shards_of(manifest: Manifest) -> Iterator[tuple[str, Shard]]:
    """Yield the shards in reading order, each with its split."""
    return ((split, shard) for split, content in manifest.splits.items() for shard in content.shards)


def _largest_bytes(manifest: Manifest) -> int:
    return max((max(sizes_of(content.shards), default=0) for content in manifest.splits.values()), default=0)


def _at_once(dataset: Store, manifest: Manifest) -> int:
    """Return how many shards are read side by side: in all as many bytes as a few of the usual size have.

    Files of this machine are not waited for, and more threads than a few would wait for each other.
    """
    if dataset.local_path(VersionFile.MANIFEST) is not None:
        return _LEAST_AT_ONCE
    return min(_MOST_AT_ONCE, max(_LEAST_AT_ONCE, _BYTES_AT_ONCE // max(1, _largest_bytes(manifest))))


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


def _runs(dataset: Store, tables: VersionTables) -> Iterator[list[_Entry]]:
    """Yield the shards in reading order, a few small ones at a time, as long as there is enough for every thread."""
    shards = sum(len(content.shards) for content in tables.manifest.splits.values())
    most = min(_IN_A_RUN, max(1, shards // (4 * _at_once(dataset, tables.manifest))))
    run: list[_Entry] = []
    size = 0
    try:
        for shard, rows in _rows_by_shard(tables):
            if run and (len(run) == most or size + shard.bytes > _RUN_BYTES):
                yield run
                run, size = [], 0
            run.append((shard, rows))
            size += shard.bytes
    except IntegrityError:
        yield run  # a difference in an earlier shard comes first
        raise
    yield run


def _rows_by_shard(tables: VersionTables) -> Iterator[_Entry]:
    """Yield each shard with the rows that records.parquet has of it: they stand in reading order."""
    name = tables.name(VersionFile.RECORDS)
    columns = [name for name in tables.columns(VersionFile.RECORDS) if name in IN_A_SHARD or is_label(name)]
    batches = tables.batches(VersionFile.RECORDS, ["shard", "split", *columns])
    batch: dict[str, list[Any]] = {}
    start = end = 0  # the rows of the batch that are left
    for split, shard in _shards_of(tables.manifest):
        rows: dict[str, list[Any]] = {column: [] for column in columns}
        while (missing := shard.records - len(rows["id"])) > 0:
            if start == end and (following := next(batches, None)) is not None:
                batch = {column: following[column].to_pylist() for column in following.column_names}
                start, end = 0, following.num_rows
            until = min(start + missing, end)
            taken = until - start
            if not taken or batch["shard"][start:until].count(shard.path) < taken:
                break
            if batch["split"][start:until].count(split) < taken:
                raise IntegrityError(
                    f"{name}: split of a record in {shard.path} is not {split!r}, as its manifest has the shard"
                )
            for column, values in rows.items():
                values += batch[column][start:until]
            start = until
        if missing > 0:
            raise IntegrityError(
                f"{name} lists {shard.records - missing} records of shard {shard.path} where its manifest has records "
                f"{shard.records}"
            )
        yield shard, rows
    if start < end or next(batches, None) is not None:
        raise IntegrityError(f"{name} lists records beyond those of its shards")


def _verify_shards(
    dataset: Store,
    manifest: Manifest,
    runs: Iterator[list[_Entry]],
    scratch: Path,
    progress: Callable[[int], None],
) -> None:
    """Verify shards side by side, and take what is found in reading order."""
    running: deque[tuple[list[int], Future[None]]] = deque()

    def finish(at_most: int) -> None:
        while len(running) > at_most:
            sizes, verified = running.popleft()
            verified.result()
            for size in sizes:
                progress(size)

    at_once = _at_once(dataset, manifest)
    pool = StoreThreads(at_once, thread_name_prefix="verify")
    try:
        for number in count():
            try:
                run = next(runs, None)
            except IntegrityError:
                finish(0)  # a difference in an earlier shard comes first
                raise
            if run is None:
                break
            verified = pool.submit(_verify_run, dataset, run, scratch / f"{number}.tfrecord")
            running.append(([shard.bytes for shard, _ in run], verified))
            finish(2 * at_once)
        finish(0)
    finally:
        pool.shutdown(cancel_futures=True)


def _verify_run(dataset: Store, run: list[_Entry], path: Path) -> None:
    for shard, rows in run:
        verify_shard(dataset, shard, rows, path)
