"""Statistics of a version's labels, images and rejects, as its manifest has them.  Pure."""

from collections.abc import Mapping
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from aesthetics_ops.dataset.database import connect
from aesthetics_ops.dataset.manifest import Images, JpegKind, Jpegs, Labels, ScoreStatistics, VoteStatistics
from aesthetics_ops.dataset.tables import EXTRA_SCORE

__all__ = [
    "BINS",
    "QUANTILES",
    "contrary_copies",
    "count_reasons",
    "image_statistics",
    "jpeg_statistics",
    "jpegs_of",
    "label_statistics",
    "score_statistics",
    "vote_statistics",
]

_HARDWARE_SAMPLINGS: Final = frozenset({"4:4:4", "4:2:2", "4:2:0", "4:4:0", "gray"})
"""How chroma may be sampled in a JPEG for a hardware decoder; docs/pixels.md says where that stands."""

BINS: Final = 20
"""Of a histogram."""

QUANTILES: Final = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
"""Of the images' sizes."""


def label_statistics(column: pa.ChunkedArray, scale: str, low: float | None, high: float | None) -> Labels:
    """Return the statistics of the stored labels; `low` and `high` are the scores that became 0 and 1."""
    values = column.to_numpy().astype(np.float64)
    counts, edges = np.histogram(values, bins=BINS)
    return Labels(
        min=values.min(),
        max=values.max(),
        mean=values.mean(),
        std=values.std(),
        histogram={"edges": tuple(edges.tolist()), "counts": tuple(counts.tolist())},
        scale=scale,
        source_min=low,
        source_max=high,
    )


def score_statistics(records: pa.Table) -> dict[str, ScoreStatistics]:
    """Return the statistics of the extra scores, by their names."""
    found = {}
    for column in records.column_names:
        if column.startswith(EXTRA_SCORE):
            values = records[column].to_numpy().astype(np.float64)
            counts, edges = np.histogram(values, bins=BINS)
            found[column.removeprefix(EXTRA_SCORE)] = ScoreStatistics(
                min=values.min(), max=values.max(), mean=values.mean(), std=values.std(),
                histogram={"edges": tuple(edges.tolist()), "counts": tuple(counts.tolist())},
            )  # fmt: skip
    return found


def vote_statistics(records: pa.Table) -> VoteStatistics | None:
    """Return the statistics of the votes; None where the records have none."""
    if "distribution" not in records.column_names:
        return None
    has_counts = "votes" in records.column_names
    shares: np.ndarray | None = None
    counts, ends = np.int64(0), []
    for batch in records.select(["distribution", *(["votes"] if has_counts else [])]).to_batches():
        some = _lists(batch["distribution"]).astype(np.float64)
        shares = (some if shares is None else np.vstack((shares, some))).sum(axis=0)  # row after row: as of all at once
        if has_counts:
            votes = _lists(batch["votes"])
            counts = counts + votes.sum(axis=0)
            ends += [votes.sum(axis=1).min(), votes.sum(axis=1).max()]
    if shares is None:
        return None
    return VoteStatistics(
        mean_distribution=tuple((shares / records.num_rows).tolist()),
        mean_std=records["label_std"].to_numpy().astype(np.float64).mean(),
        counts=tuple(np.atleast_1d(counts).tolist()) if has_counts else None,
        fewest=int(min(ends)) if has_counts else None,
        most=int(max(ends)) if has_counts else None,
    )


def _lists(column: pa.ListArray) -> np.ndarray:
    """Return lists of equally many numbers as an array, shape (rows, numbers)."""
    values: np.ndarray = pc.list_flatten(column).to_numpy()
    return values.reshape(len(column), -1)


def image_statistics(records: pa.Table) -> Images:
    """Return the quantiles of the stored images' sizes, and their mean brightness and contrast."""
    quantiles = {
        name: tuple(np.quantile(records[name].to_numpy(), QUANTILES).tolist()) for name in ("width", "height", "bytes")
    }
    pixels = pc.sum(pc.multiply(records["width"], records["height"])).as_py()
    return Images(
        quantiles=QUANTILES,
        **quantiles,
        total_pixels=pixels,
        measured=pc.count(records["brightness"]).as_py(),
        brightness=pc.mean(records["brightness"]).as_py(),
        contrast=pc.mean(records["contrast"]).as_py(),
    )


def jpeg_statistics(records: pa.Table) -> Jpegs:
    """Return how the stored JPEGs are coded, and how many of them a hardware decoder takes."""
    groups = records.group_by(["progressive", "sampling"]).aggregate([([], "count_all")]).to_pylist()
    return jpegs_of({(row["progressive"], row["sampling"]): row["count_all"] for row in groups})


def jpegs_of(counts: Mapping[tuple[bool | None, str | None], int]) -> Jpegs:
    """Return the statistics of JPEGs of which so many are progressive (or not, or unknown) and sampled in a way."""
    found = [
        JpegKind(progressive=progressive, sampling=sampling, records=count)
        for (progressive, sampling), count in counts.items()
    ]
    kinds = sorted(found, key=lambda kind: (-kind.records, str(kind.progressive), str(kind.sampling)))
    taken = (kind for kind in kinds if kind.progressive is False and kind.sampling in _HARDWARE_SAMPLINGS)
    return Jpegs(kinds=tuple(kinds), hardware=sum(kind.records for kind in taken))


def contrary_copies(records: pa.Table, alike: pa.Table) -> tuple[int, list[str]]:
    """Find records that hold one JPEG and have different labels.

    One JPEG is taken for it where perceptual hash, size in bytes, width and height are equal: nothing is read for that, and
    it holds on stores whose ETags say nothing of content.

    Args:
        records: rows of RECORDS.
        alike: rows of NEAR_DUPLICATES; others are not looked at, since equal hashes are always in a group.

    Returns:
        How many such records there are, and a few of them in words: two keys with their labels.
    """
    with connect() as db:
        db.register("records", records)
        db.register("alike", alike.select(["key"]))
        found = db.sql(_CONTRARY).fetchall()
    examples = [f"{first!r} ({low:g}) and {last!r} ({high:g})" for _, first, low, last, high in found[:3]]
    return sum(row[0] for row in found), examples


_CONTRARY: Final = """
    SELECT count(*), min_by(key, (label, key)) AS first, min(label), max_by(key, (label, key)), max(label)
    FROM records SEMI JOIN alike USING (key)
    GROUP BY phash, bytes, width, height HAVING min(label) <> max(label) ORDER BY first
"""


def count_reasons(rejects: pa.Table) -> dict[str, int]:
    """Return how many photos and label rows were left out for each reason, the most frequent first."""
    counts = {row["values"]: row["counts"] for row in pc.value_counts(rejects["reason"]).to_pylist()}
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
