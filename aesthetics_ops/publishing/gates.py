"""The gates that a version must pass before it is published."""

from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from aesthetics_ops.builds import BuildPlan
from aesthetics_ops.dataset.manifest import GateResult, Manifest
from aesthetics_ops.errors import GateError
from aesthetics_ops.rejects import RejectReason

__all__ = ["pass_gates"]

# Left out on purpose or for nothing to be mended: these do not count against max_reject_fraction.
_EXPECTED_REJECTS: Final = (
    RejectReason.NOT_A_PHOTO,
    RejectReason.UNLABELLED,
    RejectReason.EXCLUDED,
    RejectReason.DUPLICATE_PHOTO,
    RejectReason.LABEL_WITHOUT_PHOTO,
)


def pass_gates(
    record: BuildPlan, converted: int, reasons: dict[str, int], rejects: pa.Table, parent: Manifest | None
) -> tuple[GateResult, ...]:
    """Measure every gate; raise one error that names all that refuse."""
    settings = record.settings
    unwanted = {reason: count for reason, count in reasons.items() if reason not in _EXPECTED_REJECTS}
    candidates = converted + sum(unwanted.values())
    before = parent.records if parent else 0
    gates = (
        GateResult(name="max_reject_fraction", measured=1 - converted / candidates, limit=settings.max_reject_fraction),
        GateResult(
            name="max_shrink_fraction",
            measured=max(0.0, 1 - converted / before) if before else 0.0,
            limit=settings.max_shrink_fraction,
        ),
        GateResult(name="min_records", measured=converted, limit=settings.min_records),
    )
    counts = ", ".join(f"{count} {reason}" for reason, count in unwanted.items())
    keys = (
        rejects.filter(pc.is_in(rejects["reason"], pa.array(list(unwanted), pa.string())))["key"]
        .slice(0, 3)
        .to_pylist()
    )
    words = {
        "max_reject_fraction": f"{candidates - converted} of {candidates} labelled photos could not be used ({counts}; for example {keys})",
        "max_shrink_fraction": f"{converted} records, {before} in version {parent.version if parent else None}",
        "min_records": f"{converted} records",
    }
    refusals = [
        f"{gate.name} allows {gate.limit:g}, measured {gate.measured:.4g}: {words[gate.name]}"
        for gate in gates
        if (gate.measured < gate.limit if gate.name == "min_records" else gate.measured > gate.limit)
    ]
    if refusals:
        raise GateError(
            f"not published; {'; '.join(refusals)}; mend the photos or scores, or change the gate's setting"
        )
    return gates
