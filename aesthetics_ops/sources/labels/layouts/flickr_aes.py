"""Flickr-AES: one row per worker and photo, a vote from 1 to 5.

Source:
    Ren, Shen, Lin, Mech, Foran: Personalized image aesthetics, ICCV 2017.
"""

from typing import Final

from aesthetics_ops.sources.labels.layout import Layout

__all__ = ["FLICKR_AES"]

FLICKR_AES: Final = Layout(
    name="Flickr-AES by worker",
    needs=("worker",),
    id=("imagePair",),
    score="score",
    ratings=(1.0, 2.0, 3.0, 4.0, 5.0),
)
