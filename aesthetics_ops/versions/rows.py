"""The tables of a version that lie on this machine, some rows at a time.

In: the manifest and a folder.  Out: rows in order, or the keys of all of them in a database in scratch.
Memory does not grow with the rows.  A page of a Parquet column has up to 1 MiB, however few rows are asked for.  So each table is
first written anew, one column after another, as pieces of a few rows.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from aesthetics_ops.dataset.database import open_database
from aesthetics_ops.dataset.layout import VersionFile
from aesthetics_ops.dataset.manifest import Manifest
from aesthetics_ops.dataset.tables import (
    NEAR_DUPLICATES,
    PLAN,
    RECORDS,
    REJECTS,
    ROWS_AT_ONCE,
    iterate_rows,
    require_values,
    require_whole,
)
from aesthetics_ops.errors import IntegrityError

__all__ = ["Rows", "VersionTables", "cast_column", "flags", "open_rows"]

_TABLES: Final = {
    VersionFile.RECORDS: RECORDS,
    VersionFile.REJECTS: REJECTS,
    VersionFile.NEAR_DUPLICATES: NEAR_DUPLICATES,
    VersionFile.PLAN: PLAN,
}
_IN_DATABASE: Final = {
    VersionFile.RECORDS: ("key",),
    VersionFile.REJECTS: ("key", "reason"),
    VersionFile.NEAR_DUPLICATES: ("group", "key", "id", "etag", "split", "shard"),
    VersionFile.PLAN: ("key",),
}
_OF_ALIKE: Final = ("key", "id", "etag", "split", "shard")
_HAS_NEAR_DUPLICATES: Final = "FROM duckdb_tables() WHERE table_name = 'near_duplicates'"
_MEMORY_LIMIT: Final = "128MiB"  # of DuckDB's own; what is more goes to scratch


class VersionTables:
    """The tables of a version, as files of this machine under the names of `VersionFile`."""

    def __init__(self, manifest: Manifest, folder: Path, *, rows_at_once: int = ROWS_AT_ONCE) -> None:
        """Read nothing yet.

        Args:
            manifest: of the version.
            folder: where its tables lie, and their columns are written to.
            rows_at_once: most rows that are held of a table.
        """
        self.manifest = manifest
        self.folder = folder
        self._rows_at_once = rows_at_once
        self._schemas: dict[VersionFile, pa.Schema] = {}  # of the tables whose columns are written

    def name(self, file: VersionFile) -> str:
        """Return what messages call a table."""
        return f"{file} of version {self.manifest.version!r}"

    def columns(self, file: VersionFile) -> list[str]:
        """Return the names of the columns that a table has.

        Raises:
            IntegrityError: not a Parquet file.
        """
        return list(self._schema(file).names)

    def count(self, file: VersionFile) -> int:
        """Return how many rows a table has; errors as `columns`."""
        with self._opened(file) as found:
            return int(found.metadata.num_rows)

    def split_columns(self, file: VersionFile) -> None:
        """Write every column of a table to a file of its own, once; every page is read, and every value that must be there is.

        Raises:
            IntegrityError: as `batches`, or a value is missing.
            OSError: the disk is full.
        """
        if file in self._schemas:
            return
        schema, rows = self._schema(file), self.count(file)
        for place, column in enumerate(schema.names):
            written = 0
            with pa.OSFile(str(self._column_path(file, place)), "wb") as sink:
                writer = None
                for batch in iterate_rows(
                    self.folder / file, [column], name=self.name(file), at_once=self._rows_at_once
                ):
                    require_values(batch, _TABLES[file], self.name(file))
                    writer = writer or pa.ipc.new_stream(sink, batch.schema)
                    writer.write_batch(batch)
                    written += batch.num_rows
                if writer is not None:
                    writer.close()
            if written != rows:
                raise IntegrityError(
                    f"{self.name(file)} is not a whole Parquet file: {column!r} has {written} of {rows} rows"
                )
        self._schemas[file] = schema

    def _column_path(self, file: VersionFile, place: int) -> Path:
        return self.folder / f"{file}.{place}.arrows"

    def _columns_of(self, file: VersionFile, columns: Sequence[str]) -> Iterator[pa.Table]:
        """Yield some columns that were written, some rows at a time."""
        schema = self._schemas[file]
        with ExitStack() as opened:
            parts = [
                Rows(
                    _pieces(
                        opened.enter_context(pa.OSFile(str(self._column_path(file, schema.get_field_index(column)))))
                    )
                )
                for column in columns
            ]
            while parts[0].is_more:
                taken = [part.take(self._rows_at_once)[column] for part, column in zip(parts, columns, strict=True)]
                yield pa.table(dict(zip(columns, taken, strict=True)))

    def batches(self, file: VersionFile, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """Yield a table in order, some rows at a time, at least once.

        Args:
            file: which table.
            columns: to read; None for all that are there, and nulls for those that an earlier release did not know.

        Raises:
            IntegrityError: not a whole Parquet file, without a column, or with one of another type.
        """
        self.split_columns(file)
        schema = self._schemas[file]
        known = {column.name: column.type for column in _TABLES[file].columns}
        wanted = list(columns) if columns is not None else [*dict.fromkeys([*schema.names, *known])]
        asked = [name for name in wanted if name in schema.names or name not in known]
        if missing := sorted(set(asked) - set(schema.names)):
            raise IntegrityError(f"{self.name(file)} has no column {', '.join(missing)}")
        if not self.count(file):
            fields = [schema.field(name) for name in asked]
            yield self._typed(file, pa.schema(fields).empty_table(), wanted, known)
            return
        for rows in self._columns_of(file, asked or schema.names[:1]):
            yield self._typed(file, rows, wanted, known)

    def _typed(self, file: VersionFile, rows: pa.Table, wanted: list[str], known: dict[str, pa.DataType]) -> pa.Table:
        columns = {}
        for name in wanted:
            if name not in rows.column_names:
                columns[name] = pa.chunked_array([pa.nulls(rows.num_rows, known[name])])
            else:
                columns[name] = cast_column(rows[name], known.get(name, rows[name].type), f"{self.name(file)}: {name}")
        return pa.table(columns)

    def _schema(self, file: VersionFile) -> pa.Schema:
        with self._opened(file) as found:
            schema = found.schema_arrow
        if len(set(schema.names)) < len(schema.names):
            raise IntegrityError(f"{self.name(file)} has two columns of one name")
        require_whole(schema, _TABLES[file], self.name(file))
        return schema

    @contextmanager
    def _opened(self, file: VersionFile) -> Iterator[pq.ParquetFile]:
        try:
            opened = pq.ParquetFile(self.folder / file)
        except (pa.ArrowException, OSError) as error:
            first = str(error).partition("\n")[0]
            raise IntegrityError(f"{self.name(file)} is not a whole Parquet file: {first}") from error
        with opened:
            yield opened


def cast_column(column: pa.ChunkedArray, kind: pa.DataType, name: str) -> pa.ChunkedArray:
    """Return a column as another type.

    Raises:
        IntegrityError: its values are none of that type; says so by its name.
    """
    try:
        return column.cast(kind)
    except pa.ArrowException as error:
        raise IntegrityError(f"{name} is {column.type}, where {kind} belongs") from error


class Rows:
    """Rows that come in pieces, taken as many at a time as are wanted."""

    def __init__(self, pieces: Iterator[pa.Table]) -> None:
        """Take rows from pieces of equal columns; there is at least one piece.

        Attributes:
            first: number of the next row, from 0.
        """
        self._pieces = pieces
        self._held = next(pieces)
        self.first = 0

    @property
    def is_more(self) -> bool:
        """Whether rows are left."""
        while not self._held.num_rows and (piece := next(self._pieces, None)) is not None:
            self._held = piece
        return bool(self._held.num_rows)

    def take(self, count: int) -> pa.Table:
        """Return the next rows; fewer at the end."""
        while self._held.num_rows < count and (piece := next(self._pieces, None)) is not None:
            self._held = pa.concat_tables([self._held, piece])
        taken, self._held = self._held.slice(0, count), self._held.slice(count)
        self.first += taken.num_rows
        return taken


def _pieces(file: pa.NativeFile) -> Iterator[pa.Table]:
    for batch in pa.ipc.open_stream(file):
        yield pa.Table.from_batches([batch])


@contextmanager
def open_rows(tables: VersionTables, *files: VersionFile) -> Iterator[duckdb.DuckDBPyConnection]:
    """Bring some columns of tables into a database beside them, in tables `records`, `rejects`, `near_duplicates` and `plan`.

    Each has the number of the row, from 0, as `row`.  Of records it has the keys; table
    `alike` has more of those that are near-duplicates, where these are brought before the records.

    Raises:
        IntegrityError: a table is not a whole Parquet file.
        OSError: the disk is full, or what else the system says no to.
    """
    with (
        TemporaryDirectory(dir=tables.folder) as place,
        open_database(Path(place), memory_limit=_MEMORY_LIMIT, threads=1) as database,
    ):
        for file in files:
            _bring(database, tables, file)
        yield database


def _bring(database: duckdb.DuckDBPyConnection, tables: VersionTables, file: VersionFile) -> None:
    table = file.removesuffix(".parquet")
    columns = _IN_DATABASE[file]
    database.execute(f"CREATE TABLE {table} (row BIGINT, {_columns(columns)})")
    has_alike = file is VersionFile.RECORDS and database.execute(_HAS_NEAR_DUPLICATES).fetchone() is not None
    if has_alike:
        database.execute(f"CREATE TABLE alike ({_columns(_OF_ALIKE)})")
    first = 0
    read = [*dict.fromkeys([*columns, *(_OF_ALIKE if has_alike else ())])]
    for batch in tables.batches(file, read):
        numbers = pa.array(np.arange(first, first + batch.num_rows))
        database.register("batch", batch.select(columns).add_column(0, "row", numbers))
        database.execute(f"INSERT INTO {table} SELECT * FROM batch")  # noqa: S608 - a name of ours
        database.unregister("batch")
        if has_alike:
            database.register("batch", batch.select(_OF_ALIKE))
            database.execute("INSERT INTO alike FROM batch SEMI JOIN near_duplicates USING (key)")
            database.unregister("batch")
        first += batch.num_rows


def _columns(names: Sequence[str]) -> str:
    return ", ".join(f'"{name}" VARCHAR' for name in names)


def flags(database: duckdb.DuckDBPyConnection, query: str, rows: int) -> np.ndarray:
    """Return which rows a query names by their numbers: bool, shape (rows,)."""
    found = np.zeros(rows, np.bool_)
    for batch in database.sql(query).to_arrow_reader():
        found[pc.fill_null(batch.column(0), 0).to_numpy(zero_copy_only=False)] = True
    return found
