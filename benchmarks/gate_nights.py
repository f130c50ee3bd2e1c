"""Simulate nights, quiet and bad ones, and print what the gates that compare with the version before measure of them.

    .venv/bin/python benchmarks/gate_nights.py
    .venv/bin/python benchmarks/gate_nights.py --records 10000 --nights 50

Of a quiet kind the largest measure of all nights is printed, of a bad kind the smallest, and how many nights were refused.  The scores are
means of votes from 1 to 10 as in AVA: normal, mean 5.4, deviation 0.73.  Photos have 0.3 to 24 megapixels.  How bright they are is that of the
JPEGs under samples/photos, drawn with replacement; a fault is done to their pixels.
"""

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import pyarrow as pa

from aesthetics_ops.dataset.manifest import Manifest, NearDuplicates
from aesthetics_ops.dataset.statistics import label_statistics
from aesthetics_ops.pixels.photo import Converted, convert_photo
from aesthetics_ops.pixels.tone import tone_of
from aesthetics_ops.publishing.gates import measure_gates
from aesthetics_ops.publishing.measures import Candidate
from aesthetics_ops.settings import BuildSettings
from aesthetics_ops.testing.manifests import bare_manifest

__all__ = ["BAD", "GATES", "QUIET", "Night", "measure", "night_before", "photos"]

GATES: Final = (
    "max_growth_fraction", "max_reject_rise", "max_label_shift", "max_label_distance", "max_pixel_shift", "max_brightness_shift",
    "max_contrast_shift",
)  # fmt: skip
_SAMPLES: Final = Path(__file__).parents[1] / "samples" / "photos"
_GAMMA: Final = 2.2
_LIGHT: Final = np.linspace(0, 1, 256) ** _GAMMA  # of each level
_SETTINGS: Final = BuildSettings(photos="s3://b/photos/", labels="s3://b/AVA.txt", dataset="s3://b/set/")


@dataclass(frozen=True)
class Night:
    """What a build found.

    Attributes:
        scores: of the records.
        sides: of the photos, which are squares, px.
        corrupt: photos that were rejected.
        samples: which sample photo each is, by its number.
        tones: brightness and contrast of each, shape (photos, 2).
    """

    scores: np.ndarray
    sides: np.ndarray
    corrupt: int
    samples: np.ndarray
    tones: np.ndarray

    def take(self, kept: np.ndarray) -> "Night":
        """Return the night without some of its records."""
        return Night(self.scores[kept], self.sides[kept], self.corrupt, self.samples[kept], self.tones[kept])

    def __add__(self, other: "Night") -> "Night":
        return Night(
            np.r_[self.scores, other.scores],
            np.r_[self.sides, other.sides],
            self.corrupt + other.corrupt,
            np.r_[self.samples, other.samples],
            np.r_[self.tones, other.tones],
        )


@cache
def _pictures() -> list[np.ndarray]:
    """Return the sample photos that become records, at 1/8 of their size, BGR."""
    files = (path.read_bytes() for path in sorted(_SAMPLES.glob("*.jpg")))
    whole = [photo.jpeg for data in files if isinstance(photo := convert_photo(data, _SETTINGS.pixels), Converted)]
    return [np.asarray(cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_REDUCED_COLOR_8)) for jpeg in whole]


def tones_of(fault: Callable[[np.ndarray], np.ndarray] = lambda picture: picture) -> np.ndarray:
    """Return brightness and contrast of each sample photo once this was done to it: shape (photos, 2)."""
    grays = (np.asarray(cv2.cvtColor(fault(picture), cv2.COLOR_BGR2GRAY), np.uint8) for picture in _pictures())
    return np.array([tone_of(gray) for gray in grays])


@cache
def _sample_tones() -> np.ndarray:
    return tones_of()


def _levels(curve: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Return what gives each of the 256 levels another one, 0 to 1 in the curve."""
    table = np.rint(255 * curve).astype(np.uint8)
    return lambda picture: table[picture]


def _gray(picture: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)


def photos(
    rng: np.random.Generator,
    count: int,
    *,
    shift: float = 0.0,
    larger: float = 1.0,
    darkest: float = 1.0,
    flattest: float = 1.0,
) -> Night:
    """Return new photos.

    Args:
        rng: for all that is drawn.
        count: of photos.
        shift: moves their scores by so many deviations.
        larger: scales their sides.
        darkest: share of the sample photos that they are drawn from, the darkest first.
        flattest: likewise, those of the least contrast first; one of both stays 1.
    """
    scores = np.clip(rng.normal(5.4 + shift * 0.73, 0.73, count), 1, 10)
    sides = larger * np.exp(rng.uniform(np.log(550), np.log(4900), count))
    corrupt = int(rng.binomial(count, 0.01))
    tones = _sample_tones()
    order = tones[:, int(flattest < 1)].argsort()
    samples = order[rng.integers(0, round(darkest * flattest * len(tones)), count)]
    return Night(scores, sides, corrupt, samples, tones[samples])


def _more(share: float, **how: float) -> Callable[[np.random.Generator, Night], Night]:
    return lambda rng, before: before + photos(rng, int(share * len(before.scores)), **how)


def _rescored(rng: np.random.Generator, before: Night) -> Night:
    return replace(before, scores=np.clip(before.scores + rng.normal(0, 0.2, len(before.scores)), 1, 10))


def _with(scores: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.random.Generator, Night], Night]:
    return lambda rng, before: replace(before, scores=scores(before.scores))


def _half_zero(rng: np.random.Generator, before: Night) -> Night:
    return replace(before, scores=np.where(rng.random(len(before.scores)) < 0.5, 0, before.scores))


def _cut_off(rng: np.random.Generator, before: Night) -> Night:
    kept = rng.random(len(before.scores)) > 0.05
    return replace(before.take(kept), corrupt=before.corrupt + int((~kept).sum()))


def _done_to(
    fault: Callable[[np.ndarray], np.ndarray], share: float = 1.0
) -> Callable[[np.random.Generator, Night], Night]:
    """Return the night on which this was done to the pixels of a share of the photos."""
    tones = cache(lambda: tones_of(fault))

    def change(rng: np.random.Generator, before: Night) -> Night:
        done = rng.random(len(before.samples)) < share
        return replace(before, tones=np.where(done[:, None], tones()[before.samples], before.tones))

    return change


QUIET: Final[dict[str, Callable[[np.random.Generator, Night], Night]]] = {
    "1 % more photos": _more(0.01),
    "10 % more photos": _more(0.1),
    "twice as many photos": _more(1),
    "10 % more, better by one deviation": _more(0.1, shift=1),
    "30 % more, better by half a deviation": _more(0.3, shift=0.5),
    "30 % more, sides 1.5 times as long": _more(0.3, larger=1.5),
    "10 % more, from the darkest quarter": _more(0.1, darkest=0.25),
    "30 % more, from the darker half": _more(0.3, darkest=0.5),
    "30 % more, from the half of less contrast": _more(0.3, flattest=0.5),
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
    "thumbnails in place of photos": lambda rng, before: replace(before, sides=before.sides / 8),
    "5 % of the photos cut off": _cut_off,
    "ten times as many photos": _more(9),
    "all photos black": _done_to(np.zeros_like),
    "a quarter of the photos black": _done_to(np.zeros_like, 0.25),
    "half of the photos darker by two stops": _done_to(_levels((_LIGHT / 4) ** (1 / _GAMMA)), 0.5),
    "all photos darker by one stop": _done_to(_levels((_LIGHT / 2) ** (1 / _GAMMA))),
    "linear light stored as if it were sRGB": _done_to(_levels(_LIGHT)),
    "gamma applied twice": _done_to(_levels(np.linspace(0, 1, 256) ** (1 / _GAMMA))),
    "negatives in place of photos": _done_to(_levels(np.linspace(1, 0, 256))),
    "washed out: levels from 64 to 191": _done_to(_levels(np.linspace(64, 191, 256) / 255)),
    "scores of other photos": lambda rng, before: replace(before, scores=rng.permutation(before.scores)),
    "gray in place of colour": _done_to(_gray),
    "red and blue swapped": _done_to(lambda picture: picture[:, :, ::-1].copy()),
}


def night_before(night: Night) -> Manifest:
    """Return the manifest of a version, as far as the gates look at it."""
    labels = label_statistics(pa.chunked_array([pa.array(night.scores, pa.float32())]), "none", None, None)
    made = bare_manifest(_SETTINGS.dataset, {})
    count = len(night.scores)
    brightness, contrast = night.tones.mean(axis=0).tolist()
    images = {
        "total_pixels": int((night.sides.astype(int) ** 2).sum()), "measured": count, "brightness": brightness,
        "contrast": contrast,
    }  # fmt: skip
    return made.model_copy(
        update={
            "accounting": made.accounting.model_copy(update={"converted": count}),
            "rejects": {"corrupt": night.corrupt},
            "settings_digest": _SETTINGS.digest,
            "labels": labels,
            "images": made.images.model_copy(update=images),
        }
    )


def measure(before: Manifest, night: Night) -> tuple[dict[str, float], set[str]]:
    """Return what the gates measure of a night, and the names of those that refuse it."""
    sides = pa.array(night.sides.astype(int))
    labels, brightness, contrast = (pa.array(values, pa.float32()) for values in (night.scores, *night.tones.T))
    records = pa.table(
        {"label": labels, "width": sides, "height": sides, "brightness": brightness, "contrast": contrast}
    )
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
