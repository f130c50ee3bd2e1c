"""The gates that a version must pass before it is published.

In: what is about to be published, before anything of it is written.  Out: what each gate measured, and each gate that refuses,
in words.  Pure.

A gate is one object, and `register_gate` adds one from outside.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from aesthetics_ops.dataset.candidates import RefusedGate
from aesthetics_ops.dataset.manifest import GateResult, Manifest, NearDuplicates
from aesthetics_ops.errors import SettingsError
from aesthetics_ops.rejects import RejectReason
from aesthetics_ops.settings import BuildSettings

__all__ = ["GATES", "Candidate", "Gate", "Measured", "measure_gates", "register_gate"]


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


@dataclass(frozen=True, slots=True)
class Gate:
    """One number that a version must keep within a limit.

    Attributes:
        name: unique; of the setting that holds the limit, where there is one.
        unit: of what is measured, and so of the limit: `fraction` (0 to 1), or what is counted, such as `records`.
        bound: whether the limit is the most or the least that is allowed; the limit itself is allowed.
        limit: returns it.
        measure: returns the number.
        explain: returns what was counted, for the message of a refusal: a few words on one line.
        applies: whether a build with these settings is measured at all.
    """

    name: str
    unit: str
    bound: Literal["most", "least"]
    limit: Callable[[BuildSettings], float]
    measure: Callable[[Candidate], float]
    explain: Callable[[Candidate], str]
    applies: Callable[[BuildSettings], bool] = lambda _: True

    def result(self, candidate: Candidate) -> GateResult:
        """Measure."""
        return GateResult(
            name=self.name,
            measured=self.measure(candidate),
            limit=self.limit(candidate.settings),
            unit=self.unit,
            bound=self.bound,
        )


@dataclass(frozen=True, slots=True)
class Measured:
    """What the gates say of a version.

    Attributes:
        results: of every gate, in their order.
        refused: the gates that refuse it, with examples; empty where it may be published.
    """

    results: tuple[GateResult, ...]
    refused: tuple[RefusedGate, ...]


def measure_gates(candidate: Candidate) -> Measured:
    """Return what every gate measured, and which refuse."""
    applied = [gate for gate in _registered if gate.applies(candidate.settings)]
    results = tuple(gate.result(candidate) for gate in applied)
    refused = tuple(
        RefusedGate(
            name=gate.name,
            measured=result.measured,
            limit=result.limit,
            bound=gate.bound,
            found=gate.explain(candidate),
        )
        for gate, result in zip(applied, results, strict=True)
        if not result.passed
    )
    return Measured(results, refused)


def register_gate(gate: Gate) -> None:
    """Add a gate from outside the package: every version that this process publishes must pass it from now on.

    Raises:
        SettingsError: its name is taken.
    """
    if gate.name in {known.name for known in _registered}:
        raise SettingsError(f"there is a gate {gate.name!r} already; give the new one another name")
    _registered.append(gate)


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


_HINTS: Final = {
    RejectReason.SOURCE_DENIED: "to read them the build's credentials need s3:GetObject, and kms:Decrypt where they are encrypted",
    RejectReason.SOURCE_ARCHIVED: "restore those that lie in an archive",
}


def _unwanted(reasons: Mapping[str, int]) -> dict[str, int]:
    """Return the rejects that could be mended, by reason."""
    return {reason: count for reason, count in reasons.items() if reason not in _EXPECTED_REJECTS}


def _reject_fraction(candidate: Candidate) -> float:
    lost = sum(_unwanted(candidate.reasons).values())
    return 1 - candidate.records.num_rows / (candidate.records.num_rows + lost) if lost else 0.0


def _explain_rejects(candidate: Candidate) -> str:
    unwanted = _unwanted(candidate.reasons)
    lost = sum(unwanted.values())
    counts = ", ".join(f"{count} {reason}" for reason, count in unwanted.items())
    rejects = candidate.rejects
    rows = rejects.filter(pc.is_in(rejects["reason"], pa.array(list(unwanted), pa.string())))
    keys = rows["key"].slice(0, 3).to_pylist()
    labelled = candidate.records.num_rows + lost
    hints = "".join(f"; {hint}" for reason, hint in _HINTS.items() if reason in unwanted)
    return f"{lost} of {labelled} labelled photos could not be used ({counts}; for example {keys}{hints})"


def _unmatched_fraction(candidate: Candidate) -> float:
    unmatched = candidate.reasons.get(RejectReason.LABEL_WITHOUT_PHOTO, 0)
    return unmatched / candidate.label_rows if candidate.label_rows else 0.0


def _explain_unmatched(candidate: Candidate) -> str:
    rejects = candidate.rejects
    names = rejects.filter(pc.equal(rejects["reason"], RejectReason.LABEL_WITHOUT_PHOTO))["id"]
    return (
        f"{len(names)} of {candidate.label_rows} label rows name no photo, for example {names.slice(0, 3).to_pylist()}"
    )


def _unscaled_labels(candidate: Candidate) -> float:
    """Return how many labels lie outside 0..1, and how many of its two ends no label is."""
    labels = candidate.records["label"].to_numpy()
    return float(((labels < 0) | (labels > 1)).sum() + (not (labels == 0).any()) + (not (labels == 1).any()))


def _explain_scale(candidate: Candidate) -> str:
    found = pc.min_max(candidate.records["label"]).as_py()
    return (
        f"label_scale 'minmax' maps the smallest score of the records to 0 and the largest to 1, but the labels reach from "
        f"{found['min']} to {found['max']}, since photos were rejected or read that planning expected otherwise; build again: "
        "the next plan knows them"
    )


def _shrink_fraction(candidate: Candidate) -> float:
    before = candidate.parent.records if candidate.parent else 0
    return max(0.0, 1 - candidate.records.num_rows / before) if before else 0.0


def _explain_shrinkage(candidate: Candidate) -> str:
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


def _growth_fraction(candidate: Candidate) -> float:
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


def _reject_rise(candidate: Candidate) -> float:
    return max(0.0, *(now - before for before, now in _reject_rises(candidate).values()), 0.0)


def _explain_rise(candidate: Candidate) -> str:
    reason, (before, now) = max(_reject_rises(candidate).items(), key=lambda item: item[1][1] - item[1][0])
    rejects = candidate.rejects
    keys = rejects.filter(pc.equal(rejects["reason"], reason))["key"].slice(0, 3).to_pylist()
    return f"{now:.2%} of the labelled photos are {reason}, {before:.2%} before; for example {keys}"


def _scores(labels: np.ndarray, low: float | None, high: float | None) -> np.ndarray:
    """Return scores as the score file has them, of labels as they are stored."""
    return labels if low is None or high is None else low + labels * (high - low)


def _label_shift(candidate: Candidate) -> float:
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


def _explain_shift(candidate: Candidate) -> str:
    before, now, spread = _label_means(candidate) or (0.0, 0.0, 0.0)
    return f"the mean score is {now:.4g}, {before:.4g} before, where the scores deviate by {spread:.4g}"


def _label_distance(candidate: Candidate) -> float:
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


def _explain_distance(candidate: Candidate) -> str:
    _, score, before, now = _farthest(candidate)
    return f"{now:.1%} of the scores are below {score:.4g}, {before:.1%} before"


def _pixel_means(candidate: Candidate) -> tuple[float, float] | None:
    """Return the mean number of pixels of a photo before and now; None where nothing is compared."""
    parent = _compared(candidate)
    if parent is None or not parent.images.total_pixels:
        return None
    now = pc.mean(pc.multiply(candidate.records["width"], candidate.records["height"])).as_py()
    return parent.images.total_pixels / parent.records, now


def _pixel_shift(candidate: Candidate) -> float:
    found = _pixel_means(candidate)
    return abs(math.log2(found[1] / found[0])) if found else 0.0


def _explain_pixels(candidate: Candidate) -> str:
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


def _tone_shift(name: Literal["brightness", "contrast"]) -> Callable[[Candidate], float]:
    def shift(candidate: Candidate) -> float:
        found = _measured_means(candidate, name)
        return abs(found[1] - found[0]) if found else 0.0

    return shift


def _explain_tone(name: Literal["brightness", "contrast"]) -> Callable[[Candidate], str]:
    def explain(candidate: Candidate) -> str:
        before, now = _measured_means(candidate, name) or (0.0, 0.0)
        return f"the mean {name} of a photo is {now:.1f} of 255 levels, {before:.1f} before"

    return explain


def _leak_fraction(candidate: Candidate) -> float:
    records = candidate.records.num_rows
    return candidate.near_duplicates.spanning_splits / records if records >= _ENOUGH_RECORDS else 0.0


def _explain_leaks(candidate: Candidate) -> str:
    near = candidate.near_duplicates
    alike = ", ".join(near.examples[0]) if near.examples else ""
    return (
        f"{near.spanning_splits} groups of near-duplicates have photos in several splits, for example {alike}; the score file names the "
        "splits: put such photos into one, or leave the splits to the build"
    )


GATES: Final = (
    Gate(
        name="max_reject_fraction",
        unit="fraction",
        bound="most",
        limit=lambda settings: settings.max_reject_fraction,
        measure=_reject_fraction,
        explain=_explain_rejects,
    ),
    Gate(
        name="max_unmatched_fraction",
        unit="fraction",
        bound="most",
        limit=lambda settings: settings.max_unmatched_fraction,
        measure=_unmatched_fraction,
        explain=_explain_unmatched,
    ),
    Gate(
        name="max_shrink_fraction",
        unit="fraction",
        bound="most",
        limit=lambda settings: settings.max_shrink_fraction,
        measure=_shrink_fraction,
        explain=_explain_shrinkage,
    ),
    Gate(
        name="minmax_range",
        unit="labels",
        bound="most",
        limit=lambda _: 0,
        measure=_unscaled_labels,
        explain=_explain_scale,
        applies=lambda settings: settings.label_scale == "minmax",
    ),
    Gate(
        name="min_records",
        unit="records",
        bound="least",
        limit=lambda settings: settings.min_records,
        measure=lambda candidate: candidate.records.num_rows,
        explain=lambda candidate: f"{candidate.records.num_rows} records",
    ),
    Gate(
        name="max_growth_fraction",
        unit="fraction",
        bound="most",
        limit=lambda settings: settings.max_growth_fraction,
        measure=_growth_fraction,
        explain=_explain_shrinkage,
    ),
    Gate(
        name="max_reject_rise",
        unit="fraction",
        bound="most",
        limit=lambda settings: settings.max_reject_rise,
        measure=_reject_rise,
        explain=_explain_rise,
    ),
    Gate(
        name="max_label_shift",
        unit="deviations",
        bound="most",
        limit=lambda settings: settings.max_label_shift,
        measure=_label_shift,
        explain=_explain_shift,
    ),
    Gate(
        name="max_label_distance",
        unit="fraction",
        bound="most",
        limit=lambda settings: settings.max_label_distance,
        measure=_label_distance,
        explain=_explain_distance,
    ),
    Gate(
        name="max_pixel_shift",
        unit="doublings",
        bound="most",
        limit=lambda settings: settings.max_pixel_shift,
        measure=_pixel_shift,
        explain=_explain_pixels,
    ),
    Gate(
        name="max_brightness_shift",
        unit="levels",
        bound="most",
        limit=lambda settings: settings.max_brightness_shift,
        measure=_tone_shift("brightness"),
        explain=_explain_tone("brightness"),
    ),
    Gate(
        name="max_contrast_shift",
        unit="levels",
        bound="most",
        limit=lambda settings: settings.max_contrast_shift,
        measure=_tone_shift("contrast"),
        explain=_explain_tone("contrast"),
    ),
    Gate(
        name="max_leak_fraction",
        unit="fraction",
        bound="most",
        limit=lambda settings: settings.max_leak_fraction,
        measure=_leak_fraction,
        explain=_explain_leaks,
    ),
)
"""The gates of this package, in the order in which they are measured; those that were added follow."""

_registered: Final = list(GATES)
