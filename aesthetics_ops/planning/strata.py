"""Splits with equal distributions of scores, which no photo leaves when others come.

In: the usable photos in table `photo`, groups in view `near`, and the splits that the parent version gave, in view `kept`.
Out: table `stratified`, one row per usable photo: its row in `photo`, and its split.

Scores are cut into bins of equally many photos; the edges are those of the first version that was stratified.  A photo
that has a split keeps it, whatever its score is now.  In each bin, those without one go in order of their hash: as many to
test and validation as these lack there.  So each split has its share of each bin, and each night adds only what came.
"""

from typing import Final

import duckdb
import numpy as np
import pyarrow as pa

from aesthetics_ops.dataset.layout import SPLITS
from aesthetics_ops.settings import BuildSettings

__all__ = ["find_edges", "make_stratified"]

_MOST_BINS: Final = 20
_FEWEST_IN_BIN: Final = 25  # photos; with fewer, a split's share of a bin would be rounding

# A unit is a photo, or a group of near-duplicates, which is to come into one split.
_MEMBERS: Final = """
    CREATE OR REPLACE TEMP TABLE members AS
    SELECT p.rowid AS n, p.score, near."group" AS alike, coalesce(near."group", p.id) AS name, kept.split AS kept
    FROM photo p LEFT JOIN near USING (key) LEFT JOIN kept USING (id) WHERE p.reason IS NULL
"""
_UNITS: Final = """
    SELECT unit, md5_number_upper($salt || ':' || name) / 18446744073709551616.0 AS share, score, photos,
        coalesce(list_position($splits, kept) - 1, -1) AS kept
    FROM (SELECT n AS unit, name, score, kept, 1 AS photos FROM members WHERE alike IS NULL
        UNION ALL
        SELECT min(n), alike, avg(score), CASE WHEN count(DISTINCT kept) = 1 THEN min(kept) END, count(*)
        FROM members WHERE alike IS NOT NULL GROUP BY alike)
    ORDER BY share, name
"""
_STRATIFIED: Final = """
    CREATE OR REPLACE TEMP TABLE stratified AS
    SELECT n, split FROM (SELECT n, coalesce(first, n) AS unit
        FROM members LEFT JOIN (SELECT alike, min(n) AS first FROM members WHERE alike IS NOT NULL GROUP BY alike) USING (alike))
    JOIN decided USING (unit)
"""


def find_edges(db: duckdb.DuckDBPyConnection) -> tuple[float, ...]:
    """Return where the bins of the usable photos' scores begin, but for the first one; ascending, each once."""
    scores = np.sort(db.sql("SELECT score FROM photo WHERE reason IS NULL").fetchnumpy()["score"])
    bins = min(_MOST_BINS, max(1, len(scores) // _FEWEST_IN_BIN))
    edges = np.unique(scores[np.arange(1, bins) * len(scores) // bins])
    return tuple(edges[edges > scores[0]].tolist())


def make_stratified(db: duckdb.DuckDBPyConnection, settings: BuildSettings, edges: tuple[float, ...] | None) -> None:
    """Make table `stratified`.

    Args:
        db: with tables `photo`, `near` and `kept` (id, unique; split).
        settings: shares and salt of the splits.
        edges: of the bins; None decides by the hash alone where there is no split to keep.
    """
    db.execute(_MEMBERS)
    units = db.execute(_UNITS, {"salt": settings.split_salt, "splits": list(SPLITS)}).fetchnumpy()
    shares = (settings.test_fraction, settings.validation_fraction)
    kept = np.asarray(units["kept"], np.int64)
    found = kept.copy()
    new = np.flatnonzero(kept < 0)
    if edges is None:
        share = units["share"][new]
        found[new] = _position("train")
        found[new[share < sum(shares)]] = _position("validation")
        found[new[share < shares[0]]] = _position("test")
    else:
        bins = np.searchsorted(np.array(edges, np.float64), units["score"], side="right")
        found[new] = _fill(bins, np.asarray(units["photos"]), kept, new, shares)
    split = pa.array(SPLITS).take(pa.array(found))
    db.register("decided", pa.table({"unit": units["unit"], "split": split}))
    db.execute(_STRATIFIED)
    db.unregister("decided")


def _position(split: str) -> int:
    return SPLITS.index(split)


def _fill(
    bins: np.ndarray, photos: np.ndarray, kept: np.ndarray, new: np.ndarray, shares: tuple[float, float]
) -> np.ndarray:
    """Give each new unit a split.

    Args:
        bins: of each unit, in order of their hashes, shape (n,).
        photos: in each, shape (n,).
        kept: position of its split in SPLITS, or -1, shape (n,).
        new: the units without a split, ascending, shape (m,).
        shares: of test and of validation.

    Returns:
        Positions in SPLITS, shape (m,).
    """
    count = int(bins.max()) + 1
    # rounded along the bins, so that the whole has its share too
    ends = np.cumsum(np.bincount(bins, photos, count))
    wanted_test = np.diff(np.rint(ends * shares[0]), prepend=0)
    wanted_validation = np.diff(np.rint(ends * sum(shares)), prepend=0) - wanted_test

    def lacking(wanted: np.ndarray, split: str) -> np.ndarray:
        has = kept == _position(split)
        return np.maximum(0, wanted - np.bincount(bins[has], photos[has], count))

    test, validation = lacking(wanted_test, "test"), lacking(wanted_validation, "validation")
    order = np.argsort(bins[new], kind="stable")
    of_bin, size = bins[new][order], photos[new][order]
    middle = np.cumsum(size) - size / 2
    first = np.r_[0, np.cumsum(np.bincount(of_bin, size, count))][of_bin]
    middle -= first
    found = np.full(len(new), _position("train"))
    chosen = np.full(len(new), _position("train"))
    chosen[middle < (test + validation)[of_bin]] = _position("validation")
    chosen[middle < test[of_bin]] = _position("test")
    found[order] = chosen
    return found
