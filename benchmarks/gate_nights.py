"""Simulate nights, quiet and bad ones, and print what the gates that compare with the version before measure of them.

    .venv/bin/python benchmarks/gate_nights.py
    .venv/bin/python benchmarks/gate_nights.py --records 10000 --nights 50

Of a quiet kind the largest measure of all nights is printed, of a bad kind the smallest, and how many nights were refused.  The scores are
means of votes from 1 to 10 as in AVA: normal, mean 5.4, deviation 0.73.  Photos have 0.3 to 24 megapixels.
"""

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa

from aesthetics_ops.dataset.manifest import Manifest, NearDuplicates
from aesthetics_ops.dataset.statistics import label_statistics
from aesthetics_ops.publishing.gates import Candidate, measure_gates
from aesthetics_ops.settings import BuildSettings
from aesthetics_ops.testing.manifests import bare_manifest

__all__ = ["BAD", "GATES", "QUIET", "Night", "measure", "night_before", "photos"]

GATES: Final = ("max_growth_fraction", "max_reject_rise", "max_label_shift", "max_label_distance", "max_pixel_shift")
_SETTINGS: Final = BuildSettings(photos="s3://b/photos/", labels="s3://b/AVA.txt", dataset="s3://b/set/")


@dataclass(frozen=True)
class Night:
    """What a build found.

    Attributes:
        scores: of the records.
        sides: of the photos, which are squares, px.
        corrupt: photos that were rejected.
    """

    scores: np.ndarray
    sides: np.ndarray
    corrupt: int

    def take(self, kept: np.ndarray) -> "Night":
        """Return the night without some of its records."""
        return Night(self.scores[kept], self.sides[kept], self.corrupt)

    def __add__(self, other: "Night") -> "Night":
        return Night(np.r_[self.scores, other.scores], np.r_[self.sides, other.sides], self.corrupt + other.corrupt)


def photos(rng: np.random.Generator, count: int, *, shift: float = 0.0, larger: float = 1.0) -> Night:
    """Return new photos; `shift` moves their scores by so many deviations, `larger` scales their sides."""
    scores = np.clip(rng.normal(5.4 + shift * 0.73, 0.73, count), 1, 10)
    sides = larger * np.exp(rng.uniform(np.log(550), np.log(4900), count))
    return Night(scores, sides, int(rng.binomial(count, 0.01)))


def _more(share: float, **how: float) -> Callable[[np.random.Generator, Night], Night]:
    return lambda rng, before: before + photos(rng, int(share * len(before.scores)), **how)


def _rescored(rng: np.random.Generator, before: Night) -> Night:
    return Night(np.clip(before.scores + rng.normal(0, 0.2, len(before.scores)), 1, 10), before.sides, before.corrupt)


def _with(scores: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.random.Generator, Night], Night]:
    return lambda rng, before: Night(scores(before.scores), before.sides, before.corrupt)


def _half_zero(rng: np.random.Generator, before: Night) -> Night:
    return Night(np.where(rng.random(len(before.scores)) < 0.5, 0, before.scores), before.sides, before.corrupt)


def _cut_off(rng: np.random.Generator, before: Night) -> Night:
    kept = rng.random(len(before.scores)) > 0.05
    return Night(before.scores[kept], before.sides[kept], before.corrupt + int((~kept).sum()))


QUIET: Final[dict[str, Callable[[np.random.Generator, Night], Night]]] = {
    "1 % more photos": _more(0.01),
    "10 % more photos": _more(0.1),
    "twice as many photos": _more(1),
    "10 % more, better by one deviation": _more(0.1, shift=1),
    "30 % more, better by half a deviation": _more(0.3, shift=0.5),
    "30 % more, sides 1.5 times as long": _more(0.3, larger=1.5),
    "8 % of the photos gone": lambda rng, before: before.take(rng.random(len(before.scores)) > 0.08),
    "all scores voted anew": _rescored,
}
BAD: Final[dict[str, Callable[[np.random.Generator, Night], Night]]] = {
    "scores of 1 to 5 in place of 1 to 10": _with(lambda scores: 1 + (scores - 1) * 4 / 9),
    "the votes' deviation in place of the mean": _with(lambda scores: 1.4 + (scores - 5.4) * 0.1),
    "scores turned round": _with(lambda scores: 11 - scores),
    "half of the scores are 0": _half_zero,
    "scores as whole numbers": _with(np.round),
    "all scores equal": _with(lambda scores: np.full_like(scores, scores.mean())),
    "thumbnails in place of photos": lambda rng, before: Night(before.scores, before.sides / 8, before.corrupt),
    "5 % of the photos cut off": _cut_off,
    "ten times as many photos": _more(9),
    "scores of other photos": lambda rng, before: Night(rng.permutation(before.scores), before.sides, before.corrupt),
}


def night_before(night: Night) -> Manifest:
    """Return the manifest of a version, as far as the gates look at it."""
    labels = label_statistics(pa.chunked_array([pa.array(night.scores, pa.float32())]), "none", None, None)
    made = bare_manifest(_SETTINGS.dataset, {})
    count = len(night.scores)
    return made.model_copy(
        update={
            "accounting": made.accounting.model_copy(update={"converted": count}),
            "rejects": {"corrupt": night.corrupt},
            "settings_digest": _SETTINGS.digest,
            "labels": labels,
            "images": made.images.model_copy(update={"total_pixels": int((night.sides.astype(int) ** 2).sum())}),
        }
    )


def measure(before: Manifest, night: Night) -> tuple[dict[str, float], set[str]]:
    """Return what the gates measure of a night, and the names of those that refuse it."""
    sides = pa.array(night.sides.astype(int))
    records = pa.table({"label": pa.array(night.scores, pa.float32()), "width": sides, "height": sides})
    rejects = pa.table(
        {"key": ["x.jpg"] * night.corrupt, "reason": ["corrupt"] * night.corrupt, "id": [""] * night.corrupt}
    )
    near = NearDuplicates(max_distance=None, groups=0, records=0, spanning_splits=0, examples=())
    found = measure_gates(
        Candidate(_SETTINGS, records, rejects, {"corrupt": night.corrupt}, near, before, len(night.scores))
    )
    values = {result.name: result.measured for result in found.results if result.name in GATES}
    return values, {gate.name for gate in found.refused}


def _rows(
    kinds: dict[str, Callable[[np.random.Generator, Night], Night]],
    worst: Callable[..., float],
    records: int,
    nights: int,
) -> None:
    for name, change in kinds.items():
        rng = np.random.default_rng(0)
        values, refused = [], 0
        for _ in range(nights):
            before = photos(rng, records)
            measured, gates = measure(night_before(before), change(rng, before))
            values.append(measured)
            refused += bool(gates)
        shown = " | ".join(f"{worst(found[gate] for found in values):.3f}" for gate in GATES)
        print(f"| {name} | {records:,} | {shown} | {refused} of {nights} |", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--records", type=int, nargs="*", default=[1000, 20_000], help="of the version before")
    parser.add_argument("--nights", type=int, default=200)
    options = parser.parse_args()
    print(f"| night | records before | {' | '.join(gate.removeprefix('max_') for gate in GATES)} | refused |")
    print(f"|{'---|' * (len(GATES) + 3)}")
    for records in options.records:
        _rows(QUIET, max, records, options.nights)
    for records in options.records:
        _rows(BAD, min, records, options.nights)
    return 0


if __name__ == "__main__":
    sys.exit(main())
