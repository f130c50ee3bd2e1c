"""Compare every count and statistic of a manifest with the tables of its version, which are read some rows at a time.

In: the manifest, and its tables as files of this machine.  Out: nothing, or the first difference, by field.
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any, Final

import pyarrow.compute as pc
from pydantic import BaseModel

from aesthetics_ops.dataset.layout import ShardFile, VersionFile, shard_key
from aesthetics_ops.dataset.manifest import Labels, Manifest
from aesthetics_ops.dataset.shard_entries import ShardColumns, records_of, sizes_of
from aesthetics_ops.errors import IntegrityError
from aesthetics_ops.versions.rows import VersionTables, open_rows
from aesthetics_ops.versions.tallies import record_statistics

__all__ = ["check_counts"]


def check_counts(tables: VersionTables) -> None:
    """Compare every count and statistic of a manifest with the tables.

    Args:
        tables: of the version; their folder takes a database for as long as this runs.

    Raises:
        IntegrityError: the first difference; names the field and both values.
    """
    name = f"{VersionFile.MANIFEST} of version {tables.manifest.version!r}"
    rows, statistics = list(_counted(tables)), list(_statistics(tables))
    for field, said, counted in chain(rows, _stated_of_shards(tables.manifest), statistics):
        for part, ours, theirs in _parts(field, said, counted):
            if not _close(ours, theirs):
                raise IntegrityError(
                    f"{name} says {part} {ours!r}, and {VersionFile.RECORDS}, the other tables and the shards give {theirs!r}"
                )


def _counted(tables: VersionTables) -> Iterator[tuple[str, Any, Any]]:
    """Yield what a manifest states of rows, and how many there are."""
    manifest = tables.manifest
    matched, near = manifest.accounting.matched, manifest.near_duplicates
    unmatched, reasons = 0, Counter[str]()
    for rows in tables.batches(VersionFile.REJECTS, ["key", "reason"]):
        unmatched += rows["key"].null_count
        reasons.update({row["values"]: row["counts"] for row in pc.value_counts(rows["reason"]).to_pylist()})
    with open_rows(tables, VersionFile.NEAR_DUPLICATES) as database:
        groups, alike, spanning = database.execute(_GROUPS).fetchall()[0]
    source_bytes = sum(
        pc.sum(sizes).as_py() or 0 for sizes in (rows["size"] for rows in tables.batches(VersionFile.PLAN, ["size"]))
    )
    yield "records of the splits", manifest.records, tables.count(VersionFile.RECORDS)
    yield "source.bytes", manifest.source.bytes, source_bytes
    yield "accounting.listed", manifest.accounting.listed, tables.count(VersionFile.PLAN)
    yield "accounting.label_rows", manifest.accounting.label_rows, manifest.source.label_rows
    yield "accounting.unmatched", manifest.accounting.unmatched, unmatched
    yield (
        "source.matched_by in all",
        sum(manifest.source.matched_by.values()) if manifest.source.matched_by else matched,
        matched,
    )
    yield "rejects", dict(manifest.rejects), dict(reasons)
    yield "near_duplicates.groups", near.groups, groups
    yield "near_duplicates.records", near.records, alike
    yield "near_duplicates.spanning_splits", near.spanning_splits, spanning


_GROUPS: Final = """
    SELECT count(*), coalesce(sum(alike), 0), coalesce(sum(spans), 0)
    FROM (SELECT count(id) AS alike, (min(split) <> max(split))::INT AS spans FROM near_duplicates GROUP BY "group")
    WHERE alike > 1
"""


def _statistics(tables: VersionTables) -> Iterator[tuple[str, Any, Any]]:
    """Yield the statistics of the records that a manifest states, and what they are."""
    manifest, labels = tables.manifest, tables.manifest.labels
    found = record_statistics(
        lambda columns: tables.batches(VersionFile.RECORDS, columns),
        tables.columns(VersionFile.RECORDS),
        tables.name(VersionFile.RECORDS),
    )
    counted = Labels(**found.label, scale=labels.scale, source_min=labels.source_min, source_max=labels.source_max)
    yield "transforms", dict(manifest.transforms), dict(found.transforms)
    yield "labels", labels, counted
    yield "images", manifest.images, found.images
    if manifest.votes is not None or found.votes is not None:
        yield "votes", manifest.votes, found.votes
    yield "extra_scores", dict(manifest.extra_scores), found.scores
    if manifest.jpegs is not None:
        yield "jpegs", manifest.jpegs, found.jpegs


def _stated_of_shards(manifest: Manifest) -> Iterator[tuple[str, Any, Any]]:
    """Yield the sums over shards that a manifest states, and what they are."""
    total = 0
    for split, content in manifest.splits.items():
        yield f"splits.{split}.records", content.records, sum(records_of(content.shards))
        yield f"splits.{split}.bytes", content.bytes, sum(sizes_of(content.shards))
        if not isinstance(content.shards, ShardColumns):  # which make each path out of the digest
            for number, shard in enumerate(content.shards):
                yield f"splits.{split}.shards.{number}.path", shard.path, shard_key(shard.digest, ShardFile.RECORDS)
        total += len(content.shards)
    yield "reuse.shards_total", manifest.reuse.shards_total, total
    yield "reuse.shards_added and shards_reused", manifest.reuse.shards_added + manifest.reuse.shards_reused, total


def _parts(field: str, said: Any, counted: Any) -> Iterator[tuple[str, Any, Any]]:
    """Yield each number of two alike values, with the path to its field."""
    if isinstance(said, BaseModel) and isinstance(counted, BaseModel):
        yield from _parts(field, said.model_dump(), counted.model_dump())
    elif isinstance(said, Mapping) and isinstance(counted, Mapping):
        for name in sorted({*said, *counted}):
            yield from _parts(f"{field}.{name}", said.get(name), counted.get(name))
    elif isinstance(said, tuple) and isinstance(counted, tuple) and len(said) == len(counted):
        for number, (ours, theirs) in enumerate(zip(said, counted, strict=True)):
            yield from _parts(f"{field}.{number}", ours, theirs)
    else:
        yield field, said, counted


def _close(ours: Any, theirs: Any) -> bool:
    """Say whether two values are equal; another release of NumPy may round the last digit of a mean in another way."""
    if isinstance(ours, float) and isinstance(theirs, int | float):
        return math.isclose(ours, theirs, rel_tol=1e-9, abs_tol=1e-12)
    return bool(ours == theirs)
