"""The photos of a shard to be, one by one, as the plan has them.

In: the plan's rows.  Out: a record per row, in order, with what conversion needs of it.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import pyarrow as pa

__all__ = ["PlannedPhoto", "photos_of"]

_ROWS_AT_ONCE = 1024


class PlannedPhoto(NamedTuple):
    """One photo, as the plan has it; the columns of tables.PLAN have the same names.

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


def photos_of(rows: pa.Table) -> Iterator[PlannedPhoto]:
    """Yield the photos of some of the plan's rows, a thousand at a time in memory."""
    for batch in rows.select(PlannedPhoto._fields).to_batches(max_chunksize=_ROWS_AT_ONCE):
        yield from map(PlannedPhoto._make, zip(*(column.to_pylist() for column in batch.columns), strict=True))
