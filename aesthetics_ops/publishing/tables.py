"""The tables that a version carries beside its shards: one row per record, one per photo or label row left out.

In: the plan, and what became of its shards.  Rows of shards that the parent version has are taken from its tables, so
that a night costs what changed and not what is there.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from aesthetics_ops.builds import Build, LostPhoto
from aesthetics_ops.dataset.example import more_labels
from aesthetics_ops.dataset.layout import BuildFile, ShardFile, VersionFile, build_key, shard_key
from aesthetics_ops.dataset.manifest import Manifest
from aesthetics_ops.dataset.parent import building_on
from aesthetics_ops.dataset.results import RecordIndex, ShardResult
from aesthetics_ops.dataset.sidecars import read_table
from aesthetics_ops.dataset.tables import EXTRA_SCORE, PLAN, RECORDS, REJECTS, Table, all_columns, read_parquet
from aesthetics_ops.rejects import RejectReason
from aesthetics_ops.store import Store

__all__ = ["Inherited", "MoreColumns", "Outcome", "ShardRows", "join_tables", "make_tables", "rows_of"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a build's planned shards.

    Attributes:
        built: planned digest to the digest that was built, for the shards of partitions; an empty text stands for a
            shard that lost all its photos.
        lost: the photos that were planned, and gone or changed when they were read.
    """

    built: Mapping[str, str]
    lost: tuple[LostPhoto, ...]

    def digest(self, planned: str) -> str:
        """Return the digest that a planned shard has now; an empty text where nothing is left of it."""
        return self.built.get(planned, planned)


@dataclass(frozen=True, slots=True)
class ShardRows:
    """What a new shard adds to the tables, in a tenth of the memory that its result takes.

    Attributes:
        records: RecordIndex without ids, and the key of the file.
        rejects: key, shard, reason, detail.
    """

    records: pa.Table
    rejects: pa.Table


@dataclass(frozen=True, slots=True)
class Inherited:
    """Rows of shards that another version has too.

    Attributes:
        shards: keys of their files.
        records: rows of RECORDS; those of other shards are passed over.
        rejects: rows of REJECTS, likewise.
    """

    shards: frozenset[str]
    records: pa.Table
    rejects: pa.Table

    @classmethod
    def nothing(cls) -> "Inherited":
        """Return what there is without a version before."""
        return cls(frozenset(), RECORDS.schema.empty_table(), REJECTS.schema.empty_table())


_INDEX_SCHEMA = pa.schema(
    [*(RECORDS.schema.field(name) for name in RecordIndex.model_fields if name != "id"), ("shard", pa.string())]
)

_NOTED_LATER = ("progressive", "sampling")  # results of earlier releases do not have these

_LEFT_OUT_SCHEMA = pa.schema([(name, pa.string()) for name in ("key", "shard", "reason", "detail")])


def rows_of(result: ShardResult) -> ShardRows:
    """Return what a shard's result adds to the tables."""
    path = shard_key(result.digest, ShardFile.RECORDS)
    index = {name: getattr(result.index, name) for name in _INDEX_SCHEMA.names if name != "shard"}
    for name in _NOTED_LATER:
        index[name] = index[name] or pa.nulls(result.records, RECORDS.schema.field(name).type)
    records = pa.table({**index, "shard": pa.repeat(path, result.records)}, schema=_INDEX_SCHEMA)
    return ShardRows(records, _left_out((photo.key, path, photo.reason, photo.detail) for photo in result.rejected))


def make_tables(
    build: Build,
    plan: pa.Table,
    outcome: Outcome,
    added: Mapping[str, ShardRows],
    parent: Manifest | None,
    more: "MoreColumns",
) -> tuple[pa.Table, pa.Table]:
    """Return the records and the rejects of the version.

    Args:
        build: whose dataset has the parent's tables and the label rows without a photo.
        plan: rows of PLAN.schema, without slot; of votes and extra scores what the records have at least.
        outcome: what became of the planned shards.
        added: rows of the shards that the parent does not have, by digest; the others' are the parent's.
        parent: the version before; None where there is none.
        more: what the records have beside RECORDS.
    """
    unmatched = read_parquet(build.dataset, build_key(build.id, BuildFile.UNMATCHED))
    return join_tables(plan, outcome, added, _parents(build.dataset, parent), unmatched, more)


def join_tables(
    plan: pa.Table,
    outcome: Outcome,
    added: Mapping[str, ShardRows],
    inherited: Inherited,
    unmatched: pa.Table,
    more: "MoreColumns",
) -> tuple[pa.Table, pa.Table]:
    """Return the records and the rejects of a version.

    Args:
        plan: rows of PLAN.schema, without slot; of votes and extra scores what the records have at least.
        outcome: what became of the planned shards.
        added: rows of shards, by digest.
        inherited: rows of the other shards.
        unmatched: rows of UNMATCHED.
        more: what the records have beside RECORDS.
    """
    with duckdb.connect() as db:
        planned = plan["digest"].unique().cast(pa.string()).drop_null()
        actual = [outcome.digest(digest) for digest in planned.to_pylist()]
        paths = [shard_key(digest, ShardFile.RECORDS) if digest else None for digest in actual]
        db.register("plan", plan.append_column("position", pa.array(np.arange(plan.num_rows))))
        db.register("shard", pa.table({"digest": planned, "shard": pa.array(paths, pa.string())}))
        new = list(added.values())
        db.register("new_records", pa.concat_tables([_INDEX_SCHEMA.empty_table(), *(rows.records for rows in new)]))
        db.register("new_rejects", pa.concat_tables([_lost_rows(outcome), *(rows.rejects for rows in new)]))
        db.register("inherited", pa.table({"shard": pa.array(sorted(inherited.shards), pa.string())}))
        db.register("unmatched", unmatched)
        db.register("old_records", all_columns(inherited.records, RECORDS))
        db.register("old_rejects", all_columns(inherited.rejects, REJECTS))
        records = _with_labels(db.sql(_RECORDS).to_arrow_table(), plan, more)
        rejects = db.sql(_REJECTS).to_arrow_table().cast(REJECTS.schema)
    return records, rejects


def _parents(dataset: Store, parent: Manifest | None) -> Inherited:
    if parent is None:
        return Inherited.nothing()
    shards = frozenset(shard.path for split in parent.splits.values() for shard in split.shards)
    records, rejects = (
        _read_parents(dataset, parent, *table)
        for table in ((VersionFile.RECORDS, RECORDS), (VersionFile.REJECTS, REJECTS))
    )
    return Inherited(shards, records, rejects)


@dataclass(frozen=True, slots=True)
class MoreColumns:
    """What the score file says of records beside the score.

    Attributes:
        votes: names of the plan's columns of votes that the records have.
        extra_scores: names of the scores in the plan's column.
        kept: key, and columns that the records keep; None where none are.
    """

    votes: tuple[str, ...] = ()
    extra_scores: tuple[str, ...] = ()
    kept: pa.Table | None = None

    @classmethod
    def of(cls, features: Mapping[str, Any], kept: pa.Table | None) -> "MoreColumns":
        """Return the columns of records that have these features, as manifests say it."""
        names = [feature.removeprefix("image/") for feature in more_labels(features)]
        return cls(
            votes=tuple(column.name for column in RECORDS.optional if column.name in names),
            extra_scores=tuple(name.removeprefix(EXTRA_SCORE) for name in names if name.startswith(EXTRA_SCORE)),
            kept=kept,
        )


def _with_labels(found: pa.Table, plan: pa.Table, more: MoreColumns) -> pa.Table:
    """Return the records with what the score file says of them beside the score.

    Args:
        found: columns of RECORDS, and `position`: each record's row in the plan.
        plan: rows of PLAN.schema, those columns at least that are wanted.
        more: which these are.
    """
    records = found.select(RECORDS.names).cast(RECORDS.schema)
    rows = found["position"]
    for name in more.votes:
        records = records.append_column(name, plan[name].take(rows).cast(PLAN.schema.field(name).type))
    if more.extra_scores:
        lists = plan["extra_scores"].take(rows)
        for place, name in enumerate(more.extra_scores):
            records = records.append_column(f"{EXTRA_SCORE}{name}", pc.list_element(lists, place))
    if more.kept is not None:
        places = pc.index_in(records["key"], more.kept["key"].combine_chunks())
        for name in more.kept.column_names[1:]:
            records = records.append_column(name, more.kept[name].take(places))
    return records


def _read_parents(dataset: Store, parent: Manifest, file: VersionFile, table: Table) -> pa.Table:
    """Return the rows of a parent's table, without what the plan and the score file say anew."""
    with building_on(parent.version):
        return read_table(dataset, parent, file, [], if_there=table.names)


_RECORDS = """
    WITH held AS (
        FROM new_records
        UNION ALL BY NAME
        SELECT key, shard, "offset", length, bytes, width, height, transforms, phash, progressive, sampling
        FROM old_records WHERE shard IN (FROM inherited))
    SELECT plan.id, plan.key, plan.etag, plan.split, shard.shard, held."offset", held.length, plan.label,
        held.width, held.height, held.bytes, held.transforms, held.phash, held.progressive, held.sampling, position
    FROM plan JOIN shard USING (digest) JOIN held ON held.key = plan.key AND held.shard = shard.shard
    ORDER BY position
"""

_LOSSES = ", ".join(f"'{reason}'" for reason in RejectReason if reason.is_loss)  # of a build, not of a shard
_REJECTS = f"""
    WITH held AS (
        FROM new_rejects
        UNION ALL BY NAME
        SELECT key, shard, reason, detail FROM old_rejects WHERE shard IN (FROM inherited)
            AND reason NOT IN ({_LOSSES})),
    photo AS (
        SELECT plan.id, plan.key, plan.etag, plan.size AS bytes, plan.split, shard.shard,
            coalesce(plan.reason, held.reason) AS reason, coalesce(plan.detail, held.detail) AS detail, position
        FROM plan LEFT JOIN shard USING (digest)
        LEFT JOIN held ON held.key = plan.key AND held.shard IS NOT DISTINCT FROM shard.shard)
    SELECT * EXCLUDE position FROM (
        FROM photo WHERE reason IS NOT NULL
        UNION ALL BY NAME
        SELECT name AS id, '{RejectReason.LABEL_WITHOUT_PHOTO}' AS reason, 'row ' || row || ' of the score file' AS detail,
            (SELECT count(*) FROM plan) + row AS position
        FROM unmatched)
    ORDER BY position
"""  # noqa: S608


def _lost_rows(outcome: Outcome) -> pa.Table:
    paths = {digest: shard_key(now, ShardFile.RECORDS) if now else None for digest, now in outcome.built.items()}
    return _left_out((photo.key, paths[photo.digest], photo.reason, photo.detail) for photo in outcome.lost)


def _left_out(rows: Iterable[tuple[str, str | None, str, str]]) -> pa.Table:
    columns = list(zip(*rows, strict=True)) or [()] * len(_LEFT_OUT_SCHEMA)
    return pa.table(dict(zip(_LEFT_OUT_SCHEMA.names, columns, strict=True)), schema=_LEFT_OUT_SCHEMA)
