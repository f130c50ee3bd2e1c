"""AVA as it is on Kaggle: `image_num` and ten counts, vote_1 to vote_10."""

from typing import Final

from aesthetics_ops.sources.labels.layout import Layout

__all__ = ["KAGGLE"]

KAGGLE: Final = Layout(
    name="AVA with vote_1 to vote_10",
    votes={f"vote_{rating}": float(rating) for rating in range(1, 11)},
)
