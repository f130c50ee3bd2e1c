"""Compare the tables of a version with each other and with its manifest: whether what it says of itself adds up.

In: the manifest, and its tables as files of this machine.  Out: nothing, or the first difference, by object and field.
The records are rows of the plan, the rejects are the plan's other rows, and the plan's digests are those of its recipes.  Tables are read some rows at a time; what concerns all keys at once is
asked of a database in scratch.  Memory holds a byte or two for each row of the plan, and 32 bytes for each shard.
"""

from collections.abc import Iterator
from typing import Final

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from aesthetics_ops.dataset.example import more_labels
from aesthetics_ops.dataset.layout import VersionFile
from aesthetics_ops.dataset.tables import EXTRA_SCORE
from aesthetics_ops.errors import IntegrityError
from aesthetics_ops.rejects import RejectReason
from aesthetics_ops.versions.comparing import Part, differs, require_equal
from aesthetics_ops.versions.recipes import Fates, check_recipes
from aesthetics_ops.versions.rows import Rows, VersionTables, flags, open_rows

__all__ = ["check_tables"]

_FIELDS: Final = ("key", "id", "etag", "split", "label")  # of a record that stand in the plan too
_FIELDS_OF_REJECT: Final = (("key", "key"), ("id", "id"), ("etag", "etag"), ("bytes", "size"), ("split", "split"))
_LOSSES: Final = ", ".join(f"'{reason.value}'" for reason in RejectReason if reason.is_loss)


def check_tables(tables: VersionTables) -> None:
    """Compare a version's tables with each other, and its plan with the recipes that the digests name.

    Args:
        tables: of the version; their folder takes a database for as long as this runs.

    Raises:
        IntegrityError: a difference; names the object, the field and both values.
    """
    manifest, name = tables.manifest, tables.name(VersionFile.PLAN)
    with open_rows(
        tables, VersionFile.NEAR_DUPLICATES, VersionFile.RECORDS, VersionFile.REJECTS, VersionFile.PLAN
    ) as database:
        rows = tables.count(VersionFile.PLAN)
        require_equal(name, "rows", rows, "source.listed of the manifest", manifest.source.listed)
        for file in (VersionFile.RECORDS, VersionFile.REJECTS):
            _known_once(database, tables, file)
        fates = Fates(
            flags(database, "SELECT row FROM plan SEMI JOIN records USING (key)", rows),
            flags(
                database,
                f"SELECT row FROM plan SEMI JOIN (FROM rejects WHERE reason IN ({_LOSSES})) USING (key)",  # noqa: S608 - words of ours
                rows,
            ),
        )
        _check_rows(tables, fates)
        _check_near_duplicates(database, tables)
    if manifest.converter is not None:
        check_recipes(tables, fates)


def _known_once(database: duckdb.DuckDBPyConnection, tables: VersionTables, file: VersionFile) -> None:
    """Every key is one of the plan's, and stands once; label rows among the rejects have none."""
    found = f"(FROM {file.removesuffix('.parquet')} {'WHERE key IS NOT NULL' if file is VersionFile.REJECTS else ''})"
    unknown = database.execute(f"SELECT key FROM {found} ANTI JOIN plan USING (key) ORDER BY row LIMIT 1").fetchone()  # noqa: S608 - names of ours
    if unknown is not None:
        raise IntegrityError(
            f"{tables.name(file)}: key {unknown[0]!r} is that of no row of {tables.name(VersionFile.PLAN)}"
        )
    twice = database.execute(
        f"SELECT key, count(*) FROM {found} GROUP BY key HAVING count(*) > 1 ORDER BY min(row) LIMIT 1"  # noqa: S608
    ).fetchone()
    if twice is not None:
        raise IntegrityError(f"{tables.name(file)}: key {twice[0]!r} stands {twice[1]} times")


def _check_rows(tables: VersionTables, fates: Fates) -> None:
    """Every row of the plan is a record or a reject, in the plan's order; the other rejects are label rows."""
    name = tables.name(VersionFile.PLAN)
    planned = int(fates.is_record.sum())
    of_photos = sum(len(keys) - keys.null_count for keys in _column(tables, VersionFile.REJECTS, "key"))
    for file, found, expected in (
        (VersionFile.RECORDS, tables.count(VersionFile.RECORDS), planned),
        (VersionFile.REJECTS, of_photos, len(fates.is_record) - planned),
    ):
        require_equal(tables.name(file), "rows of photos", found, f"those of {name}", expected)
    labels = _Labels(tables)
    records = Rows(tables.batches(VersionFile.RECORDS, [*_FIELDS, *labels.columns]))
    rejects = Rows(rows.filter(pc.is_valid(rows["key"])) for rows in tables.batches(VersionFile.REJECTS))
    first = 0
    for plan in tables.batches(VersionFile.PLAN):
        is_record = pa.array(fates.is_record[first : first + plan.num_rows])
        first += plan.num_rows
        of_records, of_rejects = plan.filter(is_record), plan.filter(pc.invert(is_record))
        number, found = records.first, records.take(of_records.num_rows)
        ours = Part(tables.name(VersionFile.RECORDS), found, number)
        for field in _FIELDS:
            ours.require(field, f"{field} of {name}", of_records[field])
        labels.check(ours, of_records)
        number, found = rejects.first, rejects.take(of_rejects.num_rows)
        _check_rejects(Part(tables.name(VersionFile.REJECTS), found, number), name, of_rejects)
        _check_unplaced(name, plan)


def _column(tables: VersionTables, file: VersionFile, column: str) -> Iterator[pa.ChunkedArray]:
    return (rows[column] for rows in tables.batches(file, [column]))


def _check_rejects(rejects: Part, name: str, planned: pa.Table) -> None:
    """Rejects are those of the plan; what planning rejected has the plan's reason and detail."""
    for ours, theirs in _FIELDS_OF_REJECT:
        rejects.require(ours, f"{theirs} of {name}", planned[theirs])
    decided = pc.is_valid(planned["reason"])
    chosen = Part(rejects.name, rejects.rows.filter(decided), rejects.first)
    for field in ("reason", "detail"):
        chosen.require(field, f"{field} of {name}", planned.filter(decided)[field])


def _check_unplaced(name: str, plan: pa.Table) -> None:
    """A row without digest has no place, and any other has one; votes may stand beside a photo that is left out."""
    unplaced, placed = plan.filter(pc.is_null(plan["digest"])), plan.filter(pc.is_valid(plan["digest"]))
    for field in ("split", "slot", "label"):
        if unplaced[field].null_count < unplaced.num_rows:
            row = pc.index(pc.is_valid(unplaced[field]), True).as_py()
            raise IntegrityError(
                f"{name}: {field} of photo {unplaced['key'][row].as_py()!r}, which has no digest, is not null"
            )
        if placed[field].null_count:
            row = pc.index(pc.is_null(placed[field]), True).as_py()
            raise IntegrityError(
                f"{name}: {field} of photo {placed['key'][row].as_py()!r}, which has a digest, is null"
            )


class _Labels:
    """The columns of votes, extra scores and kept columns that the manifest says the records have."""

    def __init__(self, tables: VersionTables) -> None:
        """Make sure that they are there.

        Attributes:
            columns: of votes and extra scores.
        """
        manifest = tables.manifest
        self._plan = tables.name(VersionFile.PLAN)
        self._scores = list(manifest.settings.get("extra_scores", ()))
        self.columns = [feature.removeprefix("image/") for feature in more_labels(manifest.features)]
        there = tables.columns(VersionFile.RECORDS)
        for column in (*self.columns, *manifest.settings.get("keep_columns", ())):
            if column not in there:
                raise IntegrityError(
                    f"{tables.name(VersionFile.RECORDS)} has no column {column!r}, which the manifest's features or "
                    "keep_columns name"
                )

    def check(self, records: Part, planned: pa.Table) -> None:
        """Compare their values with the plan's."""
        for column in self.columns:
            expected = planned[column] if not column.startswith(EXTRA_SCORE) else self._score(column, planned)
            records.require(column, f"{column} of {self._plan}", expected)

    def _score(self, column: str, planned: pa.Table) -> pa.ChunkedArray:
        try:
            return pc.list_element(planned["extra_scores"], self._scores.index(column.removeprefix(EXTRA_SCORE)))
        except (ValueError, pa.ArrowException) as error:
            raise IntegrityError(
                f"{self._plan}: extra_scores has no place for {column!r} of the manifest's features: {error}"
            ) from error


def _check_near_duplicates(database: duckdb.DuckDBPyConnection, tables: VersionTables) -> None:
    """Every row is that of a record."""
    name, records = tables.name(VersionFile.NEAR_DUPLICATES), tables.name(VersionFile.RECORDS)
    unknown = database.execute(
        "SELECT key FROM near_duplicates ANTI JOIN records USING (key) ORDER BY row LIMIT 1"
    ).fetchone()
    if unknown is not None:
        raise IntegrityError(f"{name}: key {unknown[0]!r} is that of no record of {records}")
    for field in ("id", "etag", "split", "shard"):
        found = database.execute(
            f"SELECT n.row, n.id, n.{field}, r.{field} FROM near_duplicates n JOIN alike r USING (key) "  # noqa: S608
            f"WHERE n.{field} IS DISTINCT FROM r.{field} ORDER BY n.row LIMIT 1"
        ).fetchone()
        if found is not None:
            row, photo, ours, theirs = found
            raise IntegrityError(differs(name, field, row, photo, ours, f"{field} of {records}", theirs))
