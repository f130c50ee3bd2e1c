"""Compare the tables of a version with each other and with its manifest: whether what it says of itself adds up.

In: the manifest, and its tables as files of this machine.  Out: nothing, or the first difference, by object and field.
The records are rows of the plan, the rejects are the plan's other rows, and the plan's digests are those of its recipes.  Tables are read some rows at a time; what concerns all keys at once is
asked of a database in scratch.  Memory holds a byte or two for each row of the plan, and 32 bytes for each shard.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, Final

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from aesthetics_ops.dataset.example import more_labels
from aesthetics_ops.dataset.layout import ShardFile, VersionFile, shard_key
from aesthetics_ops.dataset.manifest import Manifest
from aesthetics_ops.dataset.recipe import Converter, recipe_digest, recipe_digests
from aesthetics_ops.dataset.tables import EXTRA_SCORE, ROWS_AT_ONCE
from aesthetics_ops.errors import IntegrityError, SettingsError
from aesthetics_ops.rejects import RejectReason
from aesthetics_ops.settings import BuildSettings
from aesthetics_ops.versions.rows import Rows, VersionTables, cast_column, flags, open_rows

__all__ = ["check_tables", "settings_of"]

_FIELDS: Final = ("key", "id", "etag", "split", "label")  # of a record that stand in the plan too
_FIELDS_OF_REJECT: Final = (("key", "key"), ("id", "id"), ("etag", "etag"), ("bytes", "size"), ("split", "split"))
_IN_RECIPES: Final = [
    "key",
    "etag",
    "size",
    "id",
    "split",
    "digest",
    "label",
    "distribution",
    "votes",
    "label_std",
    "extra_scores",
]
_DIGEST_BYTES: Final = 32
_LOSSES: Final = ", ".join(f"'{reason.value}'" for reason in RejectReason if reason.is_loss)


@dataclass(frozen=True, slots=True)
class _Fates:
    """What became of the plan's rows, in its order; bool, shape (rows,).

    Attributes:
        is_record: a record has the key.
        is_lost: a reject has it, for a reason that only conversion finds.
    """

    is_record: np.ndarray
    is_lost: np.ndarray


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
        _equal(name, "rows", rows, "source.listed of the manifest", manifest.source.listed)
        for file in (VersionFile.RECORDS, VersionFile.REJECTS):
            _known_once(database, tables, file)
        fates = _Fates(
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
        _check_recipes(tables, fates)


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


def _check_rows(tables: VersionTables, fates: _Fates) -> None:
    """Every row of the plan is a record or a reject, in the plan's order; the other rejects are label rows."""
    name = tables.name(VersionFile.PLAN)
    planned = int(fates.is_record.sum())
    of_photos = sum(len(keys) - keys.null_count for keys in _column(tables, VersionFile.REJECTS, "key"))
    for file, found, expected in (
        (VersionFile.RECORDS, tables.count(VersionFile.RECORDS), planned),
        (VersionFile.REJECTS, of_photos, len(fates.is_record) - planned),
    ):
        _equal(tables.name(file), "rows of photos", found, f"those of {name}", expected)
    labels = _Labels(tables)
    records = Rows(tables.batches(VersionFile.RECORDS, [*_FIELDS, *labels.columns]))
    rejects = Rows(rows.filter(pc.is_valid(rows["key"])) for rows in tables.batches(VersionFile.REJECTS))
    first = 0
    for plan in tables.batches(VersionFile.PLAN):
        is_record = pa.array(fates.is_record[first : first + plan.num_rows])
        first += plan.num_rows
        of_records, of_rejects = plan.filter(is_record), plan.filter(pc.invert(is_record))
        number, found = records.first, records.take(of_records.num_rows)
        ours = _Part(tables.name(VersionFile.RECORDS), found, number)
        for field in _FIELDS:
            ours.require(field, f"{field} of {name}", of_records[field])
        labels.check(ours, of_records)
        number, found = rejects.first, rejects.take(of_rejects.num_rows)
        _check_rejects(_Part(tables.name(VersionFile.REJECTS), found, number), name, of_rejects)
        _check_unplaced(name, plan)


def _column(tables: VersionTables, file: VersionFile, column: str) -> Iterator[pa.ChunkedArray]:
    return (rows[column] for rows in tables.batches(file, [column]))


def _check_rejects(rejects: "_Part", name: str, planned: pa.Table) -> None:
    """Rejects are those of the plan; what planning rejected has the plan's reason and detail."""
    for ours, theirs in _FIELDS_OF_REJECT:
        rejects.require(ours, f"{theirs} of {name}", planned[theirs])
    decided = pc.is_valid(planned["reason"])
    chosen = _Part(rejects.name, rejects.rows.filter(decided), rejects.first)
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

    def check(self, records: "_Part", planned: pa.Table) -> None:
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
            raise IntegrityError(_differs(name, field, row, photo, ours, f"{field} of {records}", theirs))


def _check_recipes(tables: VersionTables, fates: _Fates) -> None:
    """The plan's digests are those of its rows; without lost photos they are the shards' and give the fingerprint."""
    manifest = tables.manifest
    assert manifest.converter is not None  # noqa: S101 - the caller looked
    converter = Converter(manifest.converter.version, manifest.converter.codecs)
    settings = settings_of(manifest)
    name = tables.name(VersionFile.PLAN)
    records = Rows(tables.batches(VersionFile.RECORDS, ["id", "shard"]))
    rejects = Rows(tables.batches(VersionFile.REJECTS, ["id", "shard"]))
    fingerprint = hashlib.sha256()
    named = {split: bytearray() for split in manifest.splits}
    row = 0
    for rows, starts in _shards_of(tables, fates):
        ends = np.r_[starts[1:], rows.num_rows].astype(np.int64)
        for first, end, found in zip(
            starts, ends, recipe_digests(rows, starts, ends, settings, converter), strict=True
        ):
            photos = rows.slice(int(first), int(end - first))
            stated, split = photos["digest"][0].as_py(), photos["split"][0].as_py()
            if found != stated:
                raise IntegrityError(
                    f"{name}: digest {stated} of rows {row + first} to {row + end - 1} is not that of their recipe (key, etag, id, "
                    f"size, label, distribution, label_std, votes, extra_scores, and the settings and converter of the manifest), {found}"
                )
            if pc.any(photos["is_lost"]).as_py():
                left = photos.filter(pc.invert(photos["is_lost"]))
                found = recipe_digest(left, settings, converter=converter) if left.num_rows else ""
            fingerprint.update(f"{split}:{found}\n".encode() if found else b"")
            held = pc.sum(photos["is_record"]).as_py()
            path = shard_key(found, ShardFile.RECORDS) if found else None
            _require_shard(tables.name(VersionFile.RECORDS), records, held, path, name)
            _require_shard(tables.name(VersionFile.REJECTS), rejects, photos.num_rows - held, path, name)
            named.setdefault(split, bytearray()).extend(bytes.fromhex(found) if held else b"")
        row += rows.num_rows
    while rejects.is_more:
        _require_shard(tables.name(VersionFile.REJECTS), rejects, ROWS_AT_ONCE, None, name)
    _check_shards(manifest, named)
    _equal(
        f"{VersionFile.MANIFEST} of version {manifest.version!r}", "fingerprint", manifest.fingerprint, "its recipes give",
        fingerprint.hexdigest(),
    )  # fmt: skip


def _require_shard(table: str, rows: Rows, count: int, path: str | None, plan: str) -> None:
    """The next rows of records or rejects name the shard whose recipe holds their photos, or none."""
    first, taken = rows.first, rows.take(count)
    expected = pa.chunked_array([pa.array([path] * taken.num_rows, pa.string())])
    _Part(table, taken, first).require("shard", f"the recipe of {plan}", expected)


def _shards_of(tables: VersionTables, fates: _Fates) -> Iterator[tuple[pa.Table, np.ndarray]]:
    """Yield the plan's placed rows, with their fates, in pieces of whole shards; and where in a piece each shard begins."""
    held: pa.Table | None = None
    first = 0
    for plan in tables.batches(VersionFile.PLAN, _IN_RECIPES):
        for field in ("is_record", "is_lost"):
            plan = plan.append_column(field, pa.array(getattr(fates, field)[first : first + plan.num_rows]))
        first += plan.num_rows
        placed = plan.filter(pc.is_valid(plan["digest"]))
        held = placed if held is None else pa.concat_tables([held, placed])
        starts = _starts(held["digest"])
        if len(starts) > 1:
            yield held.slice(0, int(starts[-1])), starts[:-1]
            held = held.slice(int(starts[-1]))
    if held is not None and held.num_rows:
        yield held, _starts(held["digest"])


def _starts(digests: pa.ChunkedArray) -> np.ndarray:
    """Return the numbers of the rows where another digest begins, int64."""
    values = digests.combine_chunks()
    if not len(values):
        return np.zeros(0, np.int64)
    return np.flatnonzero(np.r_[True, pc.not_equal(values[1:], values[:-1]).to_numpy(zero_copy_only=False)])


def _check_shards(manifest: Manifest, by_split: Mapping[str, bytearray]) -> None:
    """The manifest names the plan's shards that have records, in order; `by_split` has their digests, 32 bytes each."""
    name = f"{VersionFile.MANIFEST} of version {manifest.version!r}"
    for split, digests in by_split.items():
        shards = manifest.splits[split].shards if split in manifest.splits else ()
        planned = (digests[first : first + _DIGEST_BYTES].hex() for first in range(0, len(digests), _DIGEST_BYTES))
        pairs = zip_longest((shard.digest for shard in shards), planned, fillvalue="none")
        for number, (ours, theirs) in enumerate(pairs):
            if ours != theirs:
                raise IntegrityError(
                    f"{name} says splits.{split}.shards.{number} is {ours}, the plan's recipes give {theirs}"
                )


def settings_of(manifest: Manifest) -> BuildSettings:
    """Return the settings that a version was built with.

    Raises:
        IntegrityError: they are none that a build has, or not those of the manifest's `settings_digest`.
    """
    known = {field: value for field, value in manifest.settings.items() if field in BuildSettings.model_fields}
    try:
        settings = BuildSettings(**known)
    except SettingsError as error:
        raise IntegrityError(
            f"{VersionFile.MANIFEST} of version {manifest.version!r} has settings that no build has: {error}"
        ) from error
    if known.keys() == manifest.settings.keys():  # else a newer release has more, which the digest may be of
        name = f"{VersionFile.MANIFEST} of version {manifest.version!r}"
        _equal(name, "settings_digest", manifest.settings_digest, "its settings give", settings.digest)
    return settings


def _equal(name: str, field: str, found: Any, of: str, expected: Any) -> None:
    if found != expected:
        raise IntegrityError(f"{name}: {field} {found!r} is not {expected!r}: {of}")


@dataclass(frozen=True, slots=True)
class _Part:
    """Some rows of a table.

    Attributes:
        name: of the table, for messages.
        rows: with their id.
        first: number of the first of them in the table, from 0.
    """

    name: str
    rows: pa.Table
    first: int

    def require(self, field: str, other: str, expected: pa.ChunkedArray) -> None:
        """Compare a column with one of another table, row by row."""
        found = cast_column(self.rows[field], expected.type, f"{self.name}: {field}")
        if found.equals(expected):
            return
        for row, (ours, theirs) in enumerate(zip(found.to_pylist(), expected.to_pylist(), strict=True), self.first):
            if ours != theirs:
                photo = self.rows["id"][row - self.first].as_py()
                raise IntegrityError(_differs(self.name, field, row, photo, ours, other, theirs))


def _differs(name: str, field: str, row: int, photo: str, ours: Any, other: str, theirs: Any) -> str:
    return f"{name}: {field} of row {row}, id {photo!r}, is {ours!r}, and {other} is {theirs!r}"
