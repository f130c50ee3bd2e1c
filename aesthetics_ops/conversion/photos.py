"""The photos of a shard to be, one by one, as the plan has them.

In: the plan's rows.  Out: a record per row, in order, with what conversion needs of it.
"""

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Final, NamedTuple

import pyarrow as pa

from aesthetics_ops.conversion.copying import StoredRecord
from aesthetics_ops.rejects import Rejected

__all__ = ["PlannedPhoto", "photos_of"]

_ROWS_AT_ONCE: Final = 1024
_NOTHING: Final[Mapping[str, StoredRecord | Rejected]] = MappingProxyType({})


class PlannedPhoto(NamedTuple):
    """One photo, as the plan has it; the columns of tables.PLAN have the same names, but for `known`.

    A NamedTuple, since one is made per photo: it takes half the time of a row as a dict, and a frozen dataclass all of it.

    Attributes:
        key: relative to the photos prefix.
        etag: of the photo when it was listed.
        size: then, bytes.
        id: what names the photo.
        label: the score, after scaling.
        distribution: shares of the votes, one for each rating; None without votes.
        votes: how many for each rating; None where no whole counts are known.
        label_std: their standard deviation; None without votes.
        extra_scores: one number for each of the setting's columns, in its order; None without such columns.
        known: where the parent has the record of this photo, or why it has none; None where the photo has to be read.
    """

    key: str
    etag: str
    size: int
    id: str
    label: float
    distribution: Sequence[float] | None
    votes: Sequence[int] | None = None
    label_std: float | None = None
    extra_scores: Sequence[float] | None = None
    known: StoredRecord | Rejected | None = None


def photos_of(rows: pa.Table, known: Mapping[str, StoredRecord | Rejected] = _NOTHING) -> Iterator[PlannedPhoto]:
    """Yield the photos of some of the plan's rows, a thousand at a time in memory.

    Args:
        rows: of the plan.
        known: by key, what the parent has of photos that have not changed since.
    """
    for batch in rows.select(PlannedPhoto._fields[:-1]).to_batches(max_chunksize=_ROWS_AT_ONCE):
        columns = [column.to_pylist() for column in batch.columns]
        yield from map(PlannedPhoto._make, zip(*columns, map(known.get, columns[0]), strict=True))
