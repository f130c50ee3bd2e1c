"""The tables that a version carries beside its shards: one row per record, one per photo or label row left out.

In: the plan, and what became of its shards.  Rows of shards that the parent version has are taken from its tables, so
that a night costs what changed and not what is there.
Nothing here grows in memory with the photos: rows are read from files, joined in a database in scratch, and written to files.
"""

# ruff: noqa: S608 - what is put into the queries are names of columns and of files of this module's own

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from typing import Any, Final

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from aesthetics_ops.builds import Build, LostPhoto
from aesthetics_ops.dataset.database import open_database
from aesthetics_ops.dataset.example import more_labels
from aesthetics_ops.dataset.layout import BuildFile, ShardFile, VersionFile, build_key, shard_key
from aesthetics_ops.dataset.manifest import Manifest
from aesthetics_ops.dataset.parent import building_on
from aesthetics_ops.dataset.results import RecordIndex, ShardResult
from aesthetics_ops.dataset.sidecars import download_table
from aesthetics_ops.dataset.spilled import ROWS_OF_CHUNK, Spilled, spill
from aesthetics_ops.dataset.tables import EXTRA_SCORE, PLAN, RECORDS, REJECTS, ROWS_AT_ONCE, read_parquet
from aesthetics_ops.rejects import RejectReason
from aesthetics_ops.store import Store

__all__ = ["AddedRows", "Inherited", "MoreColumns", "Outcome", "ShardRows", "join_tables", "make_tables", "rows_of"]

_MIB_OF_MILLION: Final = 384  # of DuckDB's own, for each million photos; what is more goes to scratch
_MOST_MIB: Final = 1152
_THREADS: Final = 2  # each holds some of that


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
        records: rows of RECORDS, in memory or in a Parquet file; those of other shards are passed over.
        rejects: rows of REJECTS, likewise.
    """

    shards: frozenset[str]
    records: pa.Table | Path
    rejects: pa.Table | Path

    @classmethod
    def nothing(cls) -> "Inherited":
        """Return what there is without a version before."""
        return cls(frozenset(), RECORDS.schema.empty_table(), REJECTS.schema.empty_table())


_INDEX_SCHEMA = pa.schema(
    [*(RECORDS.schema.field(name) for name in RecordIndex.model_fields if name != "id"), ("shard", pa.string())]
)

_NOTED_LATER = ("progressive", "sampling", "brightness", "contrast")  # results of earlier releases do not have these

_LEFT_OUT_SCHEMA = pa.schema([(name, pa.string()) for name in ("key", "shard", "reason", "detail")])


def rows_of(result: ShardResult) -> ShardRows:
    """Return what a shard's result adds to the tables."""
    path = shard_key(result.digest, ShardFile.RECORDS)
    index = {name: getattr(result.index, name) for name in _INDEX_SCHEMA.names if name != "shard"}
    for name in _NOTED_LATER:
        index[name] = index[name] or pa.nulls(result.records, RECORDS.schema.field(name).type)
    records = pa.table({**index, "shard": pa.repeat(path, result.records)}, schema=_INDEX_SCHEMA)
    return ShardRows(records, _left_out((photo.key, path, photo.reason, photo.detail) for photo in result.rejected))


class AddedRows:
    """Rows of shards that no version before has, on their way: two Parquet files, so that memory does not grow with them."""

    def __init__(self, folder: Path) -> None:
        """Begin without rows.

        Args:
            folder: an existing one in scratch, for the files.
        """
        self.records = folder / "added_records.parquet"
        self.rejects = folder / "added_rejects.parquet"
        self._writers = [
            pq.ParquetWriter(self.records, _INDEX_SCHEMA),
            pq.ParquetWriter(self.rejects, _LEFT_OUT_SCHEMA),
        ]
        self._held: list[ShardRows] = []

    def add(self, rows: ShardRows) -> None:
        """Add a shard's.

        Raises:
            OSError: the disk is full.
        """
        self._held.append(rows)
        if sum(held.records.num_rows + held.rejects.num_rows for held in self._held) >= ROWS_AT_ONCE:
            self._write()

    def close(self) -> None:
        """Make the files whole."""
        self._write()
        for writer in self._writers:
            writer.close()

    def _write(self) -> None:
        records, rejects = self._writers
        if self._held:
            records.write_table(pa.concat_tables([rows.records for rows in self._held]))
            rejects.write_table(pa.concat_tables([rows.rejects for rows in self._held]))
        self._held.clear()


def make_tables(
    build: Build,
    plan: Path,
    outcome: Outcome,
    added: AddedRows,
    parent: Manifest | None,
    more: "MoreColumns",
    scratch: Path,
) -> tuple[Spilled, Spilled]:
    """Return the records and the rejects of the version.

    Args:
        build: whose dataset has the parent's tables and the label rows without a photo.
        plan: Parquet file of PLAN.schema.
        outcome: what became of the planned shards.
        added: rows of the shards that the parent does not have; the others' are the parent's.
        parent: the version before; None where there is none.
        more: what the records have beside RECORDS.
        scratch: a folder for the tables, and for what does not fit in memory meanwhile.
    """
    unmatched = read_parquet(build.dataset, build_key(build.id, BuildFile.UNMATCHED))
    with TemporaryDirectory(dir=scratch) as folder:
        inherited = _parents(build.dataset, parent, Path(folder))
        return join_tables(plan, outcome, added, inherited, unmatched, more, scratch)


def join_tables(
    plan: pa.Table | Path,
    outcome: Outcome,
    added: AddedRows,
    inherited: Inherited,
    unmatched: pa.Table,
    more: "MoreColumns",
    scratch: Path,
) -> tuple[Spilled, Spilled]:
    """Return the records and the rejects of a version.

    Args:
        plan: rows of PLAN.schema, without slot; of votes and extra scores what the records have at least.
        outcome: what became of the planned shards.
        added: rows of shards, closed.
        inherited: rows of the other shards.
        unmatched: rows of UNMATCHED.
        more: what the records have beside RECORDS.
        scratch: a folder for the tables, which are new files in it, and for what does not fit in memory meanwhile.
    """
    place = Path(mkdtemp(dir=scratch))
    try:
        with open_database(place, memory_limit=_memory_limit(plan), threads=_THREADS) as db:
            _attach_plan(db, plan)
            planned = [
                digest for (digest,) in db.sql("SELECT DISTINCT digest FROM plan WHERE digest IS NOT NULL").fetchall()
            ]
            paths = [
                shard_key(digest, ShardFile.RECORDS) if digest else None for digest in map(outcome.digest, planned)
            ]
            known = sorted({path for path in paths if path})
            places = {path: number for number, path in enumerate(known)}
            numbers = pa.array([None if path is None else places[path] for path in paths], pa.int32())
            texts = (pa.array(column, pa.string()) for column in (planned, paths))
            db.register("shard", pa.table([*texts, numbers], names=["digest", "shard", "number"]))
            db.register("inherited", pa.table({"shard": pa.array(sorted(inherited.shards), pa.string())}))
            db.register("unmatched", unmatched)
            db.register("lost", _lost_rows(outcome))
            _attach(db, "new_records", added.records, _INDEX_SCHEMA)
            _attach(db, "new_rejects", added.rejects, _LEFT_OUT_SCHEMA)
            _attach(db, "old_records", inherited.records, RECORDS.schema)
            _attach(db, "old_rejects", inherited.rejects, REJECTS.schema)
            return _records(db, known, more, place), _rejects(db, place)
    finally:
        for file in place.glob("rows.duckdb*"):
            file.unlink()


def _memory_limit(plan: pa.Table | Path) -> str:
    """Return what the database holds in memory at most, by the plan's rows: with less it writes more of them to scratch and back."""
    photos = pq.read_metadata(plan).num_rows if isinstance(plan, Path) else plan.num_rows
    return f"{min(_MOST_MIB, _MIB_OF_MILLION * max(1, photos // 1_000_000))}MiB"


def _attach_plan(db: duckdb.DuckDBPyConnection, plan: pa.Table | Path) -> None:
    """Give the plan a name in SQL, each row with its position."""
    if isinstance(plan, Path):
        db.sql(
            f"CREATE TEMP VIEW plan AS SELECT *, file_row_number AS position FROM read_parquet({_quoted(plan)}, file_row_number = true)"
        )
    else:
        db.register("plan", plan.append_column("position", pa.array(np.arange(plan.num_rows))))


def _attach(db: duckdb.DuckDBPyConnection, name: str, rows: pa.Table | Path, schema: pa.Schema) -> None:
    """Give rows a name in SQL; columns that an earlier release did not write are null."""
    if not isinstance(rows, Path):
        source = f"{name}_held"
        db.register(source, rows)
        there = rows.column_names
    else:
        source = f"read_parquet({_quoted(rows)})"
        there = pq.read_schema(rows).names
    columns = ", ".join(f'"{column}"' if column in there else f'NULL AS "{column}"' for column in schema.names)
    db.sql(f"CREATE TEMP VIEW {name} AS SELECT {columns} FROM {source}")


def _quoted(path: Path) -> str:
    return "'" + str(path).replace("'", "''") + "'"


def _parents(dataset: Store, parent: Manifest | None, folder: Path) -> Inherited:
    if parent is None:
        return Inherited.nothing()
    shards = frozenset(shard.path for split in parent.splits.values() for shard in split.shards)
    with building_on(parent.version):
        records, rejects = (
            download_table(dataset, parent, file, folder / file) for file in (VersionFile.RECORDS, VersionFile.REJECTS)
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


def _records(db: duckdb.DuckDBPyConnection, shards: list[str], more: MoreColumns, folder: Path) -> Spilled:
    """Write the records; `shards` are the keys that the numbers in the database stand for."""
    kept = None if more.kept is None else more.kept.unify_dictionaries()
    columns = [*more.votes, *(["extra_scores"] if more.extra_scores else [])]
    selected = "".join(f', plan."{name}"' for name in columns)
    joined = ""
    if kept is not None:
        keys = pa.table({"key": kept["key"], "kept_place": pa.array(np.arange(kept.num_rows))})
        db.register("kept", keys)
        selected, joined = f"{selected}, kept.kept_place", "LEFT JOIN kept ON kept.key = plan.key"
    found = db.sql(_RECORDS.format(selected=selected, joined=joined)).to_arrow_reader(ROWS_OF_CHUNK)
    paths = pa.array(shards, pa.string())

    def whole(rows: pa.Table) -> pa.Table:
        return _with_labels(rows, paths, more, kept)

    empty = whole(found.schema.empty_table())
    return spill((whole(pa.Table.from_batches([batch])) for batch in found), empty.schema, folder / "records.arrow")


def _with_labels(found: pa.Table, paths: pa.Array, more: MoreColumns, kept: pa.Table | None) -> pa.Table:
    """Return records with what the score file says of them beside the score.

    Args:
        found: columns of RECORDS, `number` in place of the shard, and of `more` what the plan has.
        paths: keys of the shards' files, by number.
        more: what is wanted beside RECORDS.
        kept: its kept columns, by `kept_place` of what was found.
    """
    shards = paths.take(found["number"].combine_chunks())
    records = found.append_column("shard", shards).select(RECORDS.names).cast(RECORDS.schema)
    for name in more.votes:
        records = records.append_column(name, found[name].cast(PLAN.schema.field(name).type))
    if more.extra_scores:
        lists = found["extra_scores"].cast(PLAN.schema.field("extra_scores").type)
        for place, name in enumerate(more.extra_scores):
            records = records.append_column(f"{EXTRA_SCORE}{name}", pc.list_element(lists, place))
    if kept is not None:
        for name in kept.column_names[1:]:
            records = records.append_column(name, kept[name].take(found["kept_place"]))
    return records


def _rejects(db: duckdb.DuckDBPyConnection, folder: Path) -> Spilled:
    found = db.sql(_REJECTS).to_arrow_reader(ROWS_OF_CHUNK)
    rows = (pa.Table.from_batches([batch]).cast(REJECTS.schema) for batch in found)
    return spill(rows, REJECTS.schema, folder / "rejects.arrow")


_RECORDS = """
    WITH every AS (
        FROM new_records
        UNION ALL BY NAME
        SELECT key, shard, "offset", length, bytes, width, height, transforms, phash, progressive, sampling,
            brightness, contrast
        FROM old_records WHERE shard IN (FROM inherited)),
    held AS (
        SELECT every.* EXCLUDE shard, number
        FROM every JOIN (SELECT DISTINCT shard, number FROM shard WHERE number IS NOT NULL) USING (shard))
    SELECT plan.id, plan.key, plan.etag, plan.split, held.number, held."offset", held.length, plan.label,
        held.width, held.height, held.bytes, held.transforms, held.phash, held.progressive, held.sampling,
        held.brightness, held.contrast{selected}
    FROM plan JOIN shard USING (digest) JOIN held ON held.key = plan.key AND held.number = shard.number {joined}
    ORDER BY position
"""

_LOSSES = ", ".join(f"'{reason}'" for reason in RejectReason if reason.is_loss)  # of a build, not of a shard
_REJECTS = f"""
    WITH held AS (
        FROM lost
        UNION ALL BY NAME
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
"""


def _lost_rows(outcome: Outcome) -> pa.Table:
    paths = {digest: shard_key(now, ShardFile.RECORDS) if now else None for digest, now in outcome.built.items()}
    return _left_out((photo.key, paths[photo.digest], photo.reason, photo.detail) for photo in outcome.lost)


def _left_out(rows: Iterable[tuple[str, str | None, str, str]]) -> pa.Table:
    columns = list(zip(*rows, strict=True)) or [()] * len(_LEFT_OUT_SCHEMA)
    return pa.table(dict(zip(_LEFT_OUT_SCHEMA.names, columns, strict=True)), schema=_LEFT_OUT_SCHEMA)
