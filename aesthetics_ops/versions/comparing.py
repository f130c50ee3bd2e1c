"""Compare rows of one table of a version with what another one says of them.

In: rows, and a column that another table has of them.  Out: nothing, or the first difference, by table, row, photo and field.
"""

from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from aesthetics_ops.errors import IntegrityError
from aesthetics_ops.versions.rows import cast_column

__all__ = ["Part", "differs", "require_equal"]


@dataclass(frozen=True, slots=True)
class Part:
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
        if (found := self.difference(field, other, expected)) is not None:
            raise IntegrityError(found[1])

    def difference(self, field: str, other: str, expected: pa.ChunkedArray) -> tuple[int, str] | None:
        """Return the first of these rows where a column differs from one of another table, from 0, and what to say of it."""
        found = cast_column(self.rows[field], expected.type, f"{self.name}: {field}")
        if found.equals(expected):
            return None
        for row, (ours, theirs) in enumerate(zip(found.to_pylist(), expected.to_pylist(), strict=True)):
            if ours != theirs:
                photo = self.rows["id"][row].as_py()
                return row, differs(self.name, field, self.first + row, photo, ours, other, theirs)
        return None


def differs(name: str, field: str, row: int, photo: str, ours: Any, other: str, theirs: Any) -> str:
    """Return what is said of a photo's row, from 0, whose field is not what another object says."""
    return f"{name}: {field} of row {row}, id {photo!r}, is {ours!r}, and {other} is {theirs!r}"


def require_equal(name: str, field: str, found: Any, of: str, expected: Any) -> None:
    """Compare one value with what another object gives; raises IntegrityError where they differ."""
    if found != expected:
        raise IntegrityError(f"{name}: {field} {found!r} is not {expected!r}: {of}")
