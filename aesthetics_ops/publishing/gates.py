"""The gates that a version must pass before it is published.

In: what is about to be published, before anything of it is written.  Out: what each gate measured, and each gate that refuses,
in words.  Pure.

A gate is one object, and `register_gate` adds one from outside.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

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
    """

    settings: BuildSettings
    records: pa.Table
    rejects: pa.Table
    reasons: Mapping[str, int]
    near_duplicates: NearDuplicates
    parent: Manifest | None
    label_rows: int


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


def _unwanted(candidate: Candidate) -> dict[str, int]:
    """Return the rejects that could be mended, by reason."""
    return {reason: count for reason, count in candidate.reasons.items() if reason not in _EXPECTED_REJECTS}


def _reject_fraction(candidate: Candidate) -> float:
    lost = sum(_unwanted(candidate).values())
    return 1 - candidate.records.num_rows / (candidate.records.num_rows + lost) if lost else 0.0


def _explain_rejects(candidate: Candidate) -> str:
    unwanted = _unwanted(candidate)
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
)
"""The gates of this package, in the order in which they are measured; those that were added follow."""

_registered: Final = list(GATES)
