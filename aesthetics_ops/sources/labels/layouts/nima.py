"""What NIMA's trainings read: JSON with a list of ten counts or shares, for ratings 1 to 10."""

from typing import Final

from aesthetics_ops.sources.labels.layout import Layout

__all__ = ["NIMA"]

NIMA: Final = Layout(
    name="NIMA's lists of votes",
    votes={f"label[{place}]": place + 1.0 for place in range(10)},
)
