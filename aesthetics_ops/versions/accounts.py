"""Compare the tables of a version with each other and with its manifest: whether what it says of itself adds up.

In: the manifest, and its tables as files of this machine.  Out: nothing, or the first difference, by object and field.
The records are rows of the plan, the rejects are the plan's other rows, the plan's digests are those of its recipes, and every
count and statistic of the manifest is that of the tables.
"""

import hashlib
import math
from collections.abc import Iterator, Mapping
from itertools import zip_longest
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ValidationError

from aesthetics_ops.dataset.example import more_labels
from aesthetics_ops.dataset.layout import ShardFile, VersionFile, shard_key
from aesthetics_ops.dataset.manifest import Manifest
from aesthetics_ops.dataset.recipe import Converter, recipe_digest, recipe_digests
from aesthetics_ops.dataset.statistics import (
    count_reasons,
    image_statistics,
    jpeg_statistics,
    label_statistics,
    score_statistics,
    vote_statistics,
)
from aesthetics_ops.dataset.tables import (
    EXTRA_SCORE,
    NEAR_DUPLICATES,
    PLAN,
    RECORDS,
    REJECTS,
    all_columns,
    parse_parquet,
)
from aesthetics_ops.errors import IntegrityError
from aesthetics_ops.rejects import RejectReason
from aesthetics_ops.settings import BuildSettings

__all__ = ["check_counts", "check_tables", "settings_of"]

_MEASURED: Final = ("label", "width", "height", "bytes")  # what statistics are of; no release left one blank
_TABLES: Final = {
    VersionFile.RECORDS: RECORDS,
    VersionFile.REJECTS: REJECTS,
    VersionFile.NEAR_DUPLICATES: NEAR_DUPLICATES,
    VersionFile.PLAN: PLAN,
}
_LOSSES: Final = [reason.value for reason in RejectReason if reason.is_loss]


def check_tables(manifest: Manifest, folder: Path) -> None:
    """Compare a version's tables with each other, and its plan with the recipes that the digests name.

    Args:
        manifest: of the version.
        folder: that holds its tables, under the names of `VersionFile`.

    Raises:
        IntegrityError: the first difference; names the object, the field and both values.
    """
    records, rejects, near, plan = _tables(manifest, folder)
    _check_rows(manifest, records, rejects, plan)
    _check_near_duplicates(manifest, near, records)
    if manifest.converter is not None:
        _check_recipes(manifest, records, rejects, plan)


def check_counts(manifest: Manifest, folder: Path) -> None:
    """Compare every count and statistic of a manifest with the tables; arguments and errors as `check_tables`."""
    tables = _tables(manifest, folder)
    for column in _MEASURED:
        if tables[0][column].null_count:
            raise IntegrityError(f"{_name(manifest, VersionFile.RECORDS)} lacks values of {column!r}")
    _check_counts(manifest, *tables)


def _tables(manifest: Manifest, folder: Path) -> list[pa.Table]:
    return [
        all_columns(parse_parquet(folder / file, name=_name(manifest, file)), table) for file, table in _TABLES.items()
    ]


def _name(manifest: Manifest, file: VersionFile) -> str:
    return f"{file} of version {manifest.version!r}"


def _check_rows(manifest: Manifest, records: pa.Table, rejects: pa.Table, plan: pa.Table) -> None:
    """Every row of the plan is a record or a reject, in the plan's order; the other rejects are label rows."""
    name = _name(manifest, VersionFile.PLAN)
    _equal(name, "rows", plan.num_rows, "source.listed of the manifest", manifest.source.listed)
    for file, found in (
        (VersionFile.RECORDS, records),
        (VersionFile.REJECTS, rejects.filter(pc.is_valid(rejects["key"]))),
    ):
        _known_once(_name(manifest, file), found, name, plan)
    is_record = pc.is_in(plan["key"], pa.array(records["key"].combine_chunks()))
    of_photos = rejects.filter(pc.is_valid(rejects["key"]))
    for file, found, planned, fields in (
        (VersionFile.RECORDS, records, plan.filter(is_record), ("key", "id", "etag", "split", "label")),
        (
            VersionFile.REJECTS,
            of_photos,
            plan.filter(pc.invert(is_record)),
            ("key", "id", "etag", ("bytes", "size"), "split"),
        ),
    ):
        _equal(_name(manifest, file), "rows of photos", found.num_rows, f"those of {name}", planned.num_rows)
        for field in fields:
            ours, theirs = field if isinstance(field, tuple) else (field, field)
            _same_column(_name(manifest, file), ours, found, f"{theirs} of {name}", planned[theirs])
    _check_labels(manifest, records, plan.filter(is_record))
    _check_reasons(manifest, of_photos, plan.filter(pc.invert(is_record)))
    unplaced = plan.filter(pc.is_null(plan["digest"]))
    for field in ("split", "slot", "label"):  # votes may stand beside a photo that is left out
        if unplaced[field].null_count < unplaced.num_rows:
            row = pc.index(pc.is_valid(unplaced[field]), True).as_py()
            raise IntegrityError(
                f"{name}: {field} of photo {unplaced['key'][row].as_py()!r}, which has no digest, is not null"
            )


def _check_labels(manifest: Manifest, records: pa.Table, planned: pa.Table) -> None:
    """The records have the columns of votes, extra scores and kept columns that the manifest says, with the plan's values."""
    name, plan = _name(manifest, VersionFile.RECORDS), _name(manifest, VersionFile.PLAN)
    wanted = [feature.removeprefix("image/") for feature in more_labels(manifest.features)]
    for column in (*wanted, *manifest.settings.get("keep_columns", ())):
        if column not in records.column_names:
            raise IntegrityError(f"{name} has no column {column!r}, which the manifest's features or keep_columns name")
    scores = list(manifest.settings.get("extra_scores", ()))
    for column in wanted:
        if column.startswith(EXTRA_SCORE):
            expected = pc.list_element(planned["extra_scores"], scores.index(column.removeprefix(EXTRA_SCORE)))
        else:
            expected = planned[column]
        _same_column(name, column, records, f"{column} of {plan}", expected)


def _known_once(name: str, found: pa.Table, other: str, plan: pa.Table) -> None:
    """Every key is one of the plan's, and stands once."""
    keys = found["key"].combine_chunks()
    unknown = pc.invert(pc.is_in(keys, plan["key"].combine_chunks()))
    if pc.any(unknown).as_py():
        raise IntegrityError(
            f"{name}: key {keys[pc.index(unknown, True).as_py()].as_py()!r} is that of no row of {other}"
        )
    counts = pc.value_counts(keys)
    if len(counts) < len(keys):
        twice = counts.filter(pc.greater(counts.field("counts"), 1))[0].as_py()
        raise IntegrityError(f"{name}: key {twice['values']!r} stands {twice['counts']} times")


def _check_reasons(manifest: Manifest, rejects: pa.Table, planned: pa.Table) -> None:
    """What planning rejected has the plan's reason and detail."""
    decided = pc.is_valid(planned["reason"])
    for field in ("reason", "detail"):
        _same_column(
            _name(manifest, VersionFile.REJECTS), field, rejects.filter(decided), f"{field} of {_name(manifest, VersionFile.PLAN)}",
            planned.filter(decided)[field],
        )  # fmt: skip


def _check_near_duplicates(manifest: Manifest, near: pa.Table, records: pa.Table) -> None:
    """Every row is that of a record."""
    name = _name(manifest, VersionFile.NEAR_DUPLICATES)
    places = pc.index_in(near["key"], records["key"].combine_chunks())
    if places.null_count:
        key = near["key"][pc.index(pc.is_null(places), True).as_py()].as_py()
        raise IntegrityError(f"{name}: key {key!r} is that of no record of {_name(manifest, VersionFile.RECORDS)}")
    held = records.take(places)
    for field in ("id", "etag", "split", "shard"):
        _same_column(name, field, near, f"{field} of {_name(manifest, VersionFile.RECORDS)}", held[field])


def _check_counts(manifest: Manifest, records: pa.Table, rejects: pa.Table, near: pa.Table, plan: pa.Table) -> None:
    """Compare every count and statistic of the manifest with the tables."""
    name = f"{VersionFile.MANIFEST} of version {manifest.version!r}"
    labels = manifest.labels
    groups = near.group_by("group").aggregate([("id", "count"), ("split", "count_distinct")])
    alike = groups.filter(pc.greater(groups["id_count"], 1))
    stated: list[tuple[str, Any, Any]] = [
        ("records of the splits", manifest.records, records.num_rows),
        ("source.bytes", manifest.source.bytes, pc.sum(plan["size"]).as_py() or 0),
        ("accounting.listed", manifest.accounting.listed, plan.num_rows),
        ("accounting.label_rows", manifest.accounting.label_rows, manifest.source.label_rows),
        ("accounting.unmatched", manifest.accounting.unmatched, rejects.num_rows - pc.sum(pc.is_valid(rejects["key"])).as_py()
         if rejects.num_rows else 0),
        ("source.matched_by in all", sum(manifest.source.matched_by.values()) if manifest.source.matched_by else manifest.accounting.matched,
         manifest.accounting.matched),
        ("rejects", dict(manifest.rejects), count_reasons(rejects)),
        ("transforms", dict(manifest.transforms), _transforms(records)),
        ("labels", labels, label_statistics(records["label"], labels.scale, labels.source_min, labels.source_max)),
        ("images", manifest.images, image_statistics(records)),
        ("near_duplicates.groups", manifest.near_duplicates.groups, alike.num_rows),
        ("near_duplicates.records", manifest.near_duplicates.records, pc.sum(alike["id_count"]).as_py() or 0),
        ("near_duplicates.spanning_splits", manifest.near_duplicates.spanning_splits,
         pc.sum(pc.greater(alike["split_count_distinct"], 1)).as_py() or 0),
        *_stated_of_shards(manifest),
    ]  # fmt: skip
    if manifest.votes is not None or "distribution" in records.column_names:
        stated.append(("votes", manifest.votes, vote_statistics(records)))
    stated.append(("extra_scores", dict(manifest.extra_scores), score_statistics(records)))
    if manifest.jpegs is not None:
        stated.append(("jpegs", manifest.jpegs, jpeg_statistics(records)))
    for field, said, counted in stated:
        for part, ours, theirs in _parts(field, said, counted):
            if not _close(ours, theirs):
                raise IntegrityError(
                    f"{name} says {part} {ours!r}, and {VersionFile.RECORDS}, the other tables and the shards give {theirs!r}"
                )


def _stated_of_shards(manifest: Manifest) -> Iterator[tuple[str, Any, Any]]:
    """Yield the sums over shards that a manifest states, and what they are."""
    total = 0
    for split, content in manifest.splits.items():
        yield f"splits.{split}.records", content.records, sum(shard.records for shard in content.shards)
        yield f"splits.{split}.bytes", content.bytes, sum(shard.bytes for shard in content.shards)
        for number, shard in enumerate(content.shards):
            yield f"splits.{split}.shards.{number}.path", shard.path, shard_key(shard.digest, ShardFile.RECORDS)
        total += len(content.shards)
    yield "reuse.shards_total", manifest.reuse.shards_total, total
    yield "reuse.shards_added and shards_reused", manifest.reuse.shards_added + manifest.reuse.shards_reused, total


def _transforms(records: pa.Table) -> dict[str, int]:
    return {row["values"]: row["counts"] for row in pc.value_counts(pc.list_flatten(records["transforms"])).to_pylist()}


def _parts(field: str, said: Any, counted: Any) -> Iterator[tuple[str, Any, Any]]:
    """Yield each number of two alike values, with the path to its field."""
    if isinstance(said, BaseModel) and isinstance(counted, BaseModel):
        yield from _parts(field, said.model_dump(), counted.model_dump())
    elif isinstance(said, Mapping) and isinstance(counted, Mapping):
        for name in sorted({*said, *counted}):
            yield from _parts(f"{field}.{name}", said.get(name, 0), counted.get(name, 0))
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


def _check_recipes(manifest: Manifest, records: pa.Table, rejects: pa.Table, plan: pa.Table) -> None:
    """The plan's digests are those of its rows; without lost photos they are the shards' and give the fingerprint."""
    assert manifest.converter is not None  # noqa: S101 - the caller looked
    converter = Converter(manifest.converter.version, manifest.converter.codecs)
    settings = settings_of(manifest)
    placed = plan.filter(pc.is_valid(plan["digest"]))
    digests = placed["digest"].combine_chunks()
    starts = np.flatnonzero(np.r_[True, pc.not_equal(digests[1:], digests[:-1]).to_numpy(zero_copy_only=False)])
    if not len(digests):
        starts = starts[:0]
    ends = np.r_[starts[1:], len(digests)].astype(np.int64)
    lost = rejects.filter(pc.is_in(rejects["reason"], pa.array(_LOSSES)))["key"].combine_chunks()
    is_lost = pc.is_in(placed["key"], lost).combine_chunks().to_numpy(zero_copy_only=False)
    is_record = pc.is_in(placed["key"], records["key"].combine_chunks()).combine_chunks().to_numpy(zero_copy_only=False)
    name = _name(manifest, VersionFile.PLAN)
    built, paths = [], []
    named: dict[str, list[str]] = {split: [] for split in manifest.splits}
    for first, end, found in zip(starts, ends, recipe_digests(placed, starts, ends, settings, converter), strict=True):
        stated, split = digests[int(first)].as_py(), placed["split"][int(first)].as_py()
        if found != stated:
            raise IntegrityError(
                f"{name}: digest {stated} of rows {first} to {end - 1} is not that of their recipe (key, etag, id, size, label, "
                f"distribution, label_std, votes, extra_scores, and the settings and converter of the manifest), {found}"
            )
        if is_lost[first:end].any():
            rows = placed.slice(int(first), int(end - first)).filter(pa.array(~is_lost[first:end]))
            found = recipe_digest(rows, settings, converter=converter) if rows.num_rows else ""
        built += [(split, found)] if found else []
        held = int(is_record[first:end].sum())
        paths += [shard_key(found, ShardFile.RECORDS)] * held
        named.setdefault(split, []).extend([found] if held else [])
    _same_column(
        _name(manifest, VersionFile.RECORDS),
        "shard",
        records,
        f"the recipe of {name}",
        pa.chunked_array([paths], pa.string()),
    )
    _check_shards(manifest, built, named)


def _check_shards(manifest: Manifest, built: list[tuple[str, str]], by_split: Mapping[str, list[str]]) -> None:
    """The manifest names the plan's shards that have records, in order, and its fingerprint is that of all of them."""
    name = f"{VersionFile.MANIFEST} of version {manifest.version!r}"
    for split, planned in by_split.items():
        named = [shard.digest for shard in manifest.splits[split].shards] if split in manifest.splits else []
        if named != planned:
            pairs = zip_longest(named, planned, fillvalue="none")
            number, (ours, theirs) = next((n, pair) for n, pair in enumerate(pairs) if pair[0] != pair[1])
            raise IntegrityError(
                f"{name} says splits.{split}.shards.{number} is {ours}, the plan's recipes give {theirs}"
            )
    fingerprint = hashlib.sha256("".join(f"{split}:{digest}\n" for split, digest in built).encode()).hexdigest()
    _equal(name, "fingerprint", manifest.fingerprint, "its recipes give", fingerprint)


def settings_of(manifest: Manifest) -> BuildSettings:
    """Return the settings that a version was built with.

    Raises:
        IntegrityError: they are none that a build has, or not those of the manifest's `settings_digest`.
    """
    known = {field: value for field, value in manifest.settings.items() if field in BuildSettings.model_fields}
    try:
        settings = BuildSettings(**known)
    except ValidationError as error:
        fields = ", ".join(str(problem["loc"][0]) for problem in error.errors() if problem["loc"])
        raise IntegrityError(
            f"{VersionFile.MANIFEST} of version {manifest.version!r} has settings that no build has: {fields or error.title}"
        ) from error
    if known.keys() == BuildSettings.model_fields.keys():
        name = f"{VersionFile.MANIFEST} of version {manifest.version!r}"
        _equal(name, "settings_digest", manifest.settings_digest, "its settings give", settings.digest)
    return settings


def _equal(name: str, field: str, found: Any, of: str, expected: Any) -> None:
    if found != expected:
        raise IntegrityError(f"{name}: {field} {found!r} is not {expected!r}: {of}")


def _same_column(name: str, field: str, table: pa.Table, other: str, expected: pa.ChunkedArray) -> None:
    """Compare a column with one of another table, row by row."""
    found = table[field].cast(expected.type)
    if found.equals(expected):
        return
    for row, (ours, theirs) in enumerate(zip(found.to_pylist(), expected.to_pylist(), strict=True)):
        if ours != theirs:
            raise IntegrityError(
                f"{name}: {field} of row {row}, id {table['id'][row].as_py()!r}, is {ours!r}, and {other} is {theirs!r}"
            )
