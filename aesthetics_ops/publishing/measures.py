"""What the gates measure of a version that is about to be published, and how each tells what it counted.

In: the candidate, before anything of it is written.  Out: one number, or a few words on one line.  Pure.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from aesthetics_ops.dataset.manifest import Manifest, NearDuplicates
from aesthetics_ops.rejects import RejectReason
from aesthetics_ops.settings import BuildSettings

__all__ = [
    "Candidate",
    "explain_distance",
    "explain_leaks",
    "explain_pixels",
    "explain_rejects",
    "explain_rise",
    "explain_scale",
    "explain_shift",
    "explain_shrinkage",
    "explain_tone",
    "explain_unmatched",
    "growth_fraction",
    "label_distance",
    "label_shift",
    "leak_fraction",
    "pixel_shift",
    "reject_fraction",
    "reject_rise",
    "shrink_fraction",
    "tone_shift",
    "unmatched_fraction",
    "unscaled_labels",
]


@dataclass(frozen=True, slots=True)
class Candidate:
    """What is about to be published.

    Attributes:
        settings: of the build.
        records: rows of RECORDS.schema, all of the version.
        rejects: rows of REJECTS.schema, all of the version.
        reasons: photos and label rows left out, by reason.
        near_duplicates: the groups of photos that look alike, in numbers.
        parent: the version before; None where there is none.
        label_rows: rows of the score file.
        label_range: score that became 0, and score that became 1; None where scores are stored as they are.
    """

    settings: BuildSettings
    records: pa.Table
    rejects: pa.Table
    reasons: Mapping[str, int]
    near_duplicates: NearDuplicates
    parent: Manifest | None
    label_rows: int
    label_range: tuple[float, float] | None = None


# Left out on purpose or for nothing to be mended: these do not count against max_reject_fraction.
_EXPECTED_REJECTS: Final = frozenset(
    {
        RejectReason.NOT_A_PHOTO,
        RejectReason.UNLABELLED,
        RejectReason.EXCLUDED,
        RejectReason.DUPLICATE_PHOTO,
        RejectReason.LABEL_WITHOUT_PHOTO,
    }
)


_HINTS: Final = {  # by the scheme of the photos' URL
    ("s3", RejectReason.SOURCE_DENIED): "to read them the build's credentials need s3:GetObject, and kms:Decrypt where they are encrypted",
    ("s3", RejectReason.SOURCE_ARCHIVED): "restore those that lie in an archive",
    ("file", RejectReason.SOURCE_DENIED): "to read them the build's user needs the right to: check their owner and mode",
}  # fmt: skip


def _unwanted(reasons: Mapping[str, int]) -> dict[str, int]:
    """Return the rejects that could be mended, by reason."""
    return {reason: count for reason, count in reasons.items() if reason not in _EXPECTED_REJECTS}


def reject_fraction(candidate: Candidate) -> float:
    """Return the share of labelled photos that were left out and could be mended, 0 to 1."""
    lost = sum(_unwanted(candidate.reasons).values())
    return 1 - candidate.records.num_rows / (candidate.records.num_rows + lost) if lost else 0.0


def explain_rejects(candidate: Candidate) -> str:
    """Say how many were left out by which reason, which for example, and what helps."""
    unwanted = _unwanted(candidate.reasons)
    lost = sum(unwanted.values())
    counts = ", ".join(f"{count} {reason}" for reason, count in unwanted.items())
    rejects = candidate.rejects
    rows = rejects.filter(pc.is_in(rejects["reason"], pa.array(list(unwanted), pa.string())))
    keys = rows["key"].slice(0, 3).to_pylist()
    labelled = candidate.records.num_rows + lost
    place = candidate.settings.photos.partition("://")[0]
    hints = "".join(f"; {hint}" for (scheme, reason), hint in _HINTS.items() if scheme == place and reason in unwanted)
    return f"{lost} of {labelled} labelled photos could not be used ({counts}; for example {keys}{hints})"


def unmatched_fraction(candidate: Candidate) -> float:
    """Return the share of label rows that name no photo, 0 to 1."""
    unmatched = candidate.reasons.get(RejectReason.LABEL_WITHOUT_PHOTO, 0)
    return unmatched / candidate.label_rows if candidate.label_rows else 0.0


def explain_unmatched(candidate: Candidate) -> str:
    """Say how many label rows name no photo, and which for example."""
    rejects = candidate.rejects
    names = rejects.filter(pc.equal(rejects["reason"], RejectReason.LABEL_WITHOUT_PHOTO))["id"]
    return (
        f"{len(names)} of {candidate.label_rows} label rows name no photo, for example {names.slice(0, 3).to_pylist()}"
    )


def unscaled_labels(candidate: Candidate) -> float:
    """Return how many labels lie outside 0..1, and how many of its two ends no label is."""
    labels = candidate.records["label"].to_numpy()
    return float(((labels < 0) | (labels > 1)).sum() + (not (labels == 0).any()) + (not (labels == 1).any()))


def explain_scale(candidate: Candidate) -> str:
    """Say from where to where the labels reach, and why."""
    found = pc.min_max(candidate.records["label"]).as_py()
    return (
        f"label_scale 'minmax' maps the smallest score of the records to 0 and the largest to 1, but the labels reach from "
        f"{found['min']} to {found['max']}, since photos were rejected or read that planning expected otherwise; build again: "
        "the next plan knows them"
    )


def shrink_fraction(candidate: Candidate) -> float:
    """Return the share of the records of the version before that there are fewer now; 0 without one."""
    before = candidate.parent.records if candidate.parent else 0
    return max(0.0, 1 - candidate.records.num_rows / before) if before else 0.0


def explain_shrinkage(candidate: Candidate) -> str:
    """Say how many records there are, and were."""
    before = f", {candidate.parent.records} in version {candidate.parent.version}" if candidate.parent else ""
    return f"{candidate.records.num_rows} records{before}"


# Of fewer records a night's chance moves shares and means as far as a fault does.
_ENOUGH_RECORDS: Final = 1000


def _compared(candidate: Candidate) -> Manifest | None:
    """Return the version to compare with: the one before, where it is large enough and made with the same settings."""
    parent = candidate.parent
    if parent is None or parent.records < _ENOUGH_RECORDS or not candidate.records.num_rows:
        return None
    return parent if parent.settings_digest == candidate.settings.digest else None


def growth_fraction(candidate: Candidate) -> float:
    """Return the records that there are more, over those of the version before; 0 where nothing is compared."""
    parent = _compared(candidate)
    return max(0.0, candidate.records.num_rows / parent.records - 1) if parent else 0.0


def _reject_rises(candidate: Candidate) -> dict[str, tuple[float, float]]:
    """Return, for each reason that could be mended, the share of labelled photos before and now."""
    parent = _compared(candidate)
    if parent is None:
        return {}
    now = _unwanted(candidate.reasons)
    before = _unwanted(parent.rejects)
    of_now, of_before = candidate.records.num_rows + sum(now.values()), parent.records + sum(before.values())
    return {reason: (before.get(reason, 0) / of_before, count / of_now) for reason, count in now.items()}


def reject_rise(candidate: Candidate) -> float:
    """Return by how much the share of the reason that rose most rose, 0 to 1; 0 where nothing is compared."""
    return max(0.0, *(now - before for before, now in _reject_rises(candidate).values()), 0.0)


def explain_rise(candidate: Candidate) -> str:
    """Say which reason rose most, from where to where, and name photos for example."""
    reason, (before, now) = max(_reject_rises(candidate).items(), key=lambda item: item[1][1] - item[1][0])
    rejects = candidate.rejects
    keys = rejects.filter(pc.equal(rejects["reason"], reason))["key"].slice(0, 3).to_pylist()
    return f"{now:.2%} of the labelled photos are {reason}, {before:.2%} before; for example {keys}"


def _scores(labels: np.ndarray, low: float | None, high: float | None) -> np.ndarray:
    """Return scores as the score file has them, of labels as they are stored."""
    return labels if low is None or high is None else low + labels * (high - low)


def label_shift(candidate: Candidate) -> float:
    """Return how far the mean score moved, in standard deviations of the scores before; 0 where nothing is compared."""
    found = _label_means(candidate)
    if found is None:
        return 0.0
    before, now, spread = found
    return abs(now - before) / spread


def _label_means(candidate: Candidate) -> tuple[float, float, float] | None:
    """Return the mean score before and now, and the standard deviation before; None where nothing is compared."""
    parent = _compared(candidate)
    if parent is None or not parent.labels.std:
        return None
    low, high = parent.labels.source_min, parent.labels.source_max
    before, above = _scores(np.array([parent.labels.mean, parent.labels.mean + parent.labels.std]), low, high)
    now = _scores(candidate.records["label"].to_numpy().astype(np.float64), *(candidate.label_range or (None, None)))
    return float(before), float(now.mean()), float(above - before)


def explain_shift(candidate: Candidate) -> str:
    """Say the mean score before and now."""
    before, now, spread = _label_means(candidate) or (0.0, 0.0, 0.0)
    return f"the mean score is {now:.4g}, {before:.4g} before, where the scores deviate by {spread:.4g}"


def label_distance(candidate: Candidate) -> float:
    """Return the largest distance between the shares of records below a score, before and now, 0 to 1 (Kolmogorov and Smirnov)."""
    return _farthest(candidate)[0]


def _farthest(candidate: Candidate) -> tuple[float, float, float, float]:
    """Return the largest distance between the shares of records below a score, that score, and both shares: before, now."""
    parent = _compared(candidate)
    if parent is None or sum(parent.labels.histogram.counts) <= 0:
        return 0.0, 0.0, 0.0, 0.0
    histogram = parent.labels.histogram
    counts = np.array(histogram.counts, np.float64)
    edges = _scores(np.array(histogram.edges, np.float64), parent.labels.source_min, parent.labels.source_max)
    before = np.r_[0, np.cumsum(counts)] / counts.sum()
    labels = candidate.records["label"].to_numpy().astype(np.float64)
    now = np.sort(_scores(labels, *(candidate.label_range or (None, None))))
    # scores that lie on an edge may fall to either side of it, when both were scaled
    margin = (edges[-1] - edges[0]) * 1e-6
    shares = np.stack([np.searchsorted(now, edges + side) for side in (-margin, margin)]) / len(now)
    distances = np.abs(shares - before)
    # outside the old range everything counts: below the first edge nothing was, above the last one neither
    best = distances.argmin(axis=0)
    distance, share = distances[best, np.arange(len(edges))], shares[best, np.arange(len(edges))]
    place = int(distance.argmax())
    return float(distance[place]), float(edges[place]), float(before[place]), float(share[place])


def explain_distance(candidate: Candidate) -> str:
    """Say at which score the shares differ most."""
    _, score, before, now = _farthest(candidate)
    return f"{now:.1%} of the scores are below {score:.4g}, {before:.1%} before"


def _pixel_means(candidate: Candidate) -> tuple[float, float] | None:
    """Return the mean number of pixels of a photo before and now; None where nothing is compared."""
    parent = _compared(candidate)
    if parent is None or not parent.images.total_pixels:
        return None
    now = pc.mean(pc.multiply(candidate.records["width"], candidate.records["height"])).as_py()
    return parent.images.total_pixels / parent.records, now


def pixel_shift(candidate: Candidate) -> float:
    """Return by how many doublings the mean number of pixels of a photo moved; 0 where nothing is compared."""
    found = _pixel_means(candidate)
    return abs(math.log2(found[1] / found[0])) if found else 0.0


def explain_pixels(candidate: Candidate) -> str:
    """Say the mean number of pixels before and now."""
    before, now = _pixel_means(candidate) or (0.0, 0.0)
    return f"a photo has {now:,.0f} pixels on average, {before:,.0f} before"


def _measured_means(candidate: Candidate, name: Literal["brightness", "contrast"]) -> tuple[float, float] | None:
    """Return the photos' mean brightness or contrast before and now, levels of 0 to 255; None where nothing is compared.

    Records that an earlier release made have neither, so enough others must be there on both sides.
    """
    parent = _compared(candidate)
    before = getattr(parent.images, name) if parent else None
    if parent is None or before is None or parent.images.measured < _ENOUGH_RECORDS:
        return None
    values = candidate.records[name]
    if len(values) - values.null_count < _ENOUGH_RECORDS:
        return None
    return before, pc.mean(values).as_py()


def tone_shift(name: Literal["brightness", "contrast"]) -> Callable[[Candidate], float]:
    """Return a measure of how far the mean brightness or contrast moved, in levels of 0 to 255; 0 where nothing is compared."""

    def shift(candidate: Candidate) -> float:
        found = _measured_means(candidate, name)
        return abs(found[1] - found[0]) if found else 0.0

    return shift


def explain_tone(name: Literal["brightness", "contrast"]) -> Callable[[Candidate], str]:
    """Return what says the mean brightness or contrast before and now."""

    def explain(candidate: Candidate) -> str:
        before, now = _measured_means(candidate, name) or (0.0, 0.0)
        return f"the mean {name} of a photo is {now:.1f} of 255 levels, {before:.1f} before"

    return explain


def leak_fraction(candidate: Candidate) -> float:
    """Return the groups of near-duplicates with photos in several splits, over the records; 0 of few records."""
    records = candidate.records.num_rows
    return candidate.near_duplicates.spanning_splits / records if records >= _ENOUGH_RECORDS else 0.0


def explain_leaks(candidate: Candidate) -> str:
    """Say how many groups have photos in several splits, and which for example."""
    near = candidate.near_duplicates
    alike = ", ".join(near.examples[0]) if near.examples else ""
    return (
        f"{near.spanning_splits} groups of near-duplicates have photos in several splits, for example {alike}; the score file names the "
        "splits: put such photos into one, or leave the splits to the build"
    )
