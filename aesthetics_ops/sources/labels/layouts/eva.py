"""EVA: one row per vote, 0 to 10, between equals signs.

Source:
    Kang, Valenzise, Dufaux: EVA, an explainable visual aesthetics dataset, ATQAM/MAST 2020.
"""

from typing import Final

from aesthetics_ops.sources.labels.layout import Layout

__all__ = ["EVA"]

EVA: Final = Layout(
    name="EVA's votes",
    needs=("user_id",),
    id=("image_id",),
    score="score",
    ratings=tuple(float(rating) for rating in range(11)),
)
