"""Which records a filter chooses: a condition in SQL over the columns of records.parquet.

In: a table and a condition such as `label > 0.5 AND width >= 640`.  Out: the numbers of the rows that it holds for.
Promised: a condition reads nothing but the table, which it may name `records`.  DuckDB is imported at the first filter.
"""

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from aesthetics_ops.errors import SettingsError

if TYPE_CHECKING:
    import duckdb

__all__ = ["matching_rows"]

_TABLE = "records"
# Files, extensions and Python's own variables are out of reach, and no condition changes that.
_CLOSED = (
    "SET python_enable_replacements = false; SET enable_external_access = false; SET autoload_known_extensions = false; "
    "SET lock_configuration = true"
)


def matching_rows(table: pa.Table, where: str) -> NDArray[np.int64]:
    """Return the numbers of the rows that a condition holds for.

    Args:
        table: whose columns the condition names.
        where: what could stand after WHERE in DuckDB's SQL.  A row for which it is null is left out.

    Returns:
        Ascending row numbers, from 0; shape (matches,).

    Raises:
        SettingsError: not a condition, or one that these rows cannot answer; says what DuckDB says, and the columns.
    """
    import duckdb

    from aesthetics_ops.dataset.database import connect

    if not isinstance(where, str):
        raise _refused(where, "it is not text", table)
    if not where.strip():
        raise _refused(where, "it is empty", table)
    number = "_row"
    while number in table.column_names:
        number = f"_{number}"
    rows = table.append_column(number, pa.array(np.arange(table.num_rows, dtype=np.int64)))
    with connect(threads=1) as database:
        database.execute(_CLOSED)
        database.register(_TABLE, rows)
        try:
            condition = duckdb.SQLExpression(where)
            types = database.view(_TABLE).project(condition).types
            if any(str(kind) != "BOOLEAN" for kind in types):
                raise _refused(
                    where, f"it is a {str(types[0]).strip(chr(34))}, not a condition that is true or false", table
                )
            chosen = database.view(_TABLE).filter(condition).project(duckdb.ColumnExpression(number))
            found, again = (np.sort(chosen.fetchnumpy()[number]) for _ in range(2))
            if not np.array_equal(found, again):
                raise _refused(where, "it chooses other rows each time, so no state could name them", table)
        except duckdb.Error as error:
            raise _refused(where, _reason(error), table) from error
        except (TypeError, UnicodeError) as error:  # text that is none, such as half of a surrogate pair
            raise _refused(where, "it is not text", table) from error
    return np.asarray(found, dtype=np.int64)


def _reason(error: "duckdb.Error") -> str:
    """Return DuckDB's reason: its first line, without the kind of error before it."""
    line = str(error).strip().partition("\n")[0]
    return line.partition(": ")[2] or line


def _refused(where: object, reason: str, table: pa.Table) -> SettingsError:
    return SettingsError(
        f"the filter {where!r} cannot be used: {reason}; the columns are {', '.join(table.column_names)}"
    )
