"""PARA: photos in folders by session, and counts of the votes 1 to 5 by halves; or one row per person and photo.

Source:
    Yang, Xu, Li et al.: Personalized image aesthetics assessment with rich attributes, CVPR 2022.
"""

from typing import Final

from aesthetics_ops.sources.labels.layout import Layout

__all__ = ["PARA", "PARA_BY_PERSON", "PARA_MEANS"]

_RATINGS: Final = tuple(half / 2 for half in range(2, 11))
_ID: Final = ("sessionId", "imageName")

PARA: Final = Layout(
    name="PARA", id=_ID, votes={f"aestheticScore_{rating:g}": rating for rating in _RATINGS}, mean="aestheticScore_mean"
)
PARA_MEANS: Final = Layout(name="PARA's means", id=_ID, score="aestheticScore_mean", range=(1.0, 5.0))
PARA_BY_PERSON: Final = Layout(
    name="PARA by person", needs=("userId",), id=_ID, score="aestheticScore", ratings=_RATINGS
)
