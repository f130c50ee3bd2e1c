"""AVA as TANet's authors give it: ten counts named score2 to score11, of which the first counts the votes for 1."""

from typing import Final

from aesthetics_ops.sources.labels.layout import Layout

__all__ = ["TANET"]

TANET: Final = Layout(
    name="TANet's AVA",
    votes={f"score{rating + 1}": float(rating) for rating in range(1, 11)},
)
