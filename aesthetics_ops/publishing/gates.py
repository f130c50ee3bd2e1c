"""The gates that a version must pass before it is published.

In: what is about to be published, before anything of it is written.  Out: what each gate measured, and each gate that refuses,
in words.  Pure.

A gate is one object, and `register_gate` adds one from outside.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from aesthetics_ops.dataset.candidates import RefusedGate
from aesthetics_ops.dataset.manifest import GateResult
from aesthetics_ops.errors import SettingsError
from aesthetics_ops.publishing import measures
from aesthetics_ops.publishing.measures import Candidate
from aesthetics_ops.settings import BuildSettings

__all__ = ["GATES", "Gate", "Measured", "foreseen_refusals", "measure_gates", "register_gate"]


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
        is_foreseen: whether a plan tells it: what conversion leaves out can only take the number farther from what is allowed.
    """

    name: str
    unit: str
    bound: Literal["most", "least"]
    limit: Callable[[BuildSettings], float]
    measure: Callable[[Candidate], float]
    explain: Callable[[Candidate], str]
    applies: Callable[[BuildSettings], bool] = lambda _: True
    is_foreseen: bool = False

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
    return _measure([gate for gate in _registered if gate.applies(candidate.settings)], candidate)


def foreseen_refusals(candidate: Candidate) -> tuple[RefusedGate, ...]:
    """Return the gates that will refuse what is only planned: of `candidate.records`, the number of rows is looked at."""
    return _measure([gate for gate in _registered if gate.is_foreseen], candidate).refused


def _measure(applied: list[Gate], candidate: Candidate) -> Measured:
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


GATES: Final = (
    Gate(
        name="max_reject_fraction",
        unit="fraction",
        bound="most",
        limit=lambda settings: settings.max_reject_fraction,
        measure=measures.reject_fraction,
        explain=measures.explain_rejects,
        is_foreseen=True,
    ),
    Gate(
        name="max_unmatched_fraction",
        unit="fraction",
        bound="most",
        limit=lambda settings: settings.max_unmatched_fraction,
        measure=measures.unmatched_fraction,
        explain=measures.explain_unmatched,
        is_foreseen=True,
    ),
    Gate(
        name="max_shrink_fraction",
        unit="fraction",
        bound="most",
        limit=lambda settings: settings.max_shrink_fraction,
        measure=measures.shrink_fraction,
        explain=measures.explain_shrinkage,
    ),
    Gate(
        name="minmax_range",
        unit="labels",
        bound="most",
        limit=lambda _: 0,
        measure=measures.unscaled_labels,
        explain=measures.explain_scale,
        applies=lambda settings: settings.label_scale == "minmax",
    ),
    Gate(
        name="min_records",
        unit="records",
        bound="least",
        limit=lambda settings: settings.min_records,
        measure=lambda candidate: candidate.records.num_rows,
        explain=lambda candidate: f"{candidate.records.num_rows} records",
        is_foreseen=True,
    ),
    Gate(
        name="max_growth_fraction",
        unit="fraction",
        bound="most",
        limit=lambda settings: settings.max_growth_fraction,
        measure=measures.growth_fraction,
        explain=measures.explain_shrinkage,
    ),
    Gate(
        name="max_reject_rise",
        unit="fraction",
        bound="most",
        limit=lambda settings: settings.max_reject_rise,
        measure=measures.reject_rise,
        explain=measures.explain_rise,
    ),
    Gate(
        name="max_label_shift",
        unit="deviations",
        bound="most",
        limit=lambda settings: settings.max_label_shift,
        measure=measures.label_shift,
        explain=measures.explain_shift,
    ),
    Gate(
        name="max_label_distance",
        unit="fraction",
        bound="most",
        limit=lambda settings: settings.max_label_distance,
        measure=measures.label_distance,
        explain=measures.explain_distance,
    ),
    Gate(
        name="max_pixel_shift",
        unit="doublings",
        bound="most",
        limit=lambda settings: settings.max_pixel_shift,
        measure=measures.pixel_shift,
        explain=measures.explain_pixels,
    ),
    Gate(
        name="max_brightness_shift",
        unit="levels",
        bound="most",
        limit=lambda settings: settings.max_brightness_shift,
        measure=measures.tone_shift("brightness"),
        explain=measures.explain_tone("brightness"),
    ),
    Gate(
        name="max_contrast_shift",
        unit="levels",
        bound="most",
        limit=lambda settings: settings.max_contrast_shift,
        measure=measures.tone_shift("contrast"),
        explain=measures.explain_tone("contrast"),
    ),
    Gate(
        name="max_leak_fraction",
        unit="fraction",
        bound="most",
        limit=lambda settings: settings.max_leak_fraction,
        measure=measures.leak_fraction,
        explain=measures.explain_leaks,
    ),
)
"""The gates of this package, in the order in which they are measured; those that were added follow."""

_registered: Final = list(GATES)
