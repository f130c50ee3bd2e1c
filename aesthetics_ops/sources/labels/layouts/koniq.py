"""KonIQ-10k: counts of the votes 1 to 5, their sum, mean and deviation; with a header or without.

Source:
    Hosu, Lin, Sziranyi, Saupe: KonIQ-10k, IEEE TIP 2020.
"""

from collections.abc import Sequence
from typing import Final

from aesthetics_ops.sources.labels.layout import Layout

__all__ = ["KONIQ"]

_NAMES: Final = ("image_name", "c1", "c2", "c3", "c4", "c5", "c_total", "MOS", "SD", "MOS_zscore")


def _names_of(fields: Sequence[str]) -> Sequence[str] | None:
    """The columns' names, if the fields are a name, five counts, their sum, and up to three numbers more."""
    counts = fields[1:7]
    if not 7 <= len(fields) <= len(_NAMES) or not all(count.isdecimal() and len(count) < 10 for count in counts):
        return None
    *votes, total = map(int, counts)
    return _NAMES[: len(fields)] if 0 < sum(votes) == total else None


KONIQ: Final = Layout(
    name="KonIQ-10k",
    needs=("c_total",),
    id=("image_name",),
    votes={f"c{rating}": float(rating) for rating in range(1, 6)},
    mean="MOS",
    rows_alike=_names_of,
)
