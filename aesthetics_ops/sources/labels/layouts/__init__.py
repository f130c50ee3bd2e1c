"""The kinds of score files whose columns are known.

A new kind is one file beside this one and one entry in `LAYOUTS`.  In the order in which they are asked: the first one
whose columns a file has reads it.
"""

from typing import Final

from aesthetics_ops.sources.labels.layout import Layout
from aesthetics_ops.sources.labels.layouts.eva import EVA
from aesthetics_ops.sources.labels.layouts.flickr_aes import FLICKR_AES
from aesthetics_ops.sources.labels.layouts.kaggle import KAGGLE
from aesthetics_ops.sources.labels.layouts.koniq import KONIQ
from aesthetics_ops.sources.labels.layouts.mlsp import MLSP
from aesthetics_ops.sources.labels.layouts.nima import NIMA
from aesthetics_ops.sources.labels.layouts.para import PARA, PARA_BY_PERSON, PARA_MEANS
from aesthetics_ops.sources.labels.layouts.tanet import TANET

__all__ = ["LAYOUTS"]

LAYOUTS: Final[tuple[Layout, ...]] = (
    TANET, KAGGLE, NIMA, KONIQ, PARA, PARA_MEANS, PARA_BY_PERSON, EVA, FLICKR_AES, MLSP,
)  # fmt: skip
