"""AVA as the authors of multi-level spatially pooled features give it: a mean, and the set that each photo is in.

Source:
    Hosu, Goldluecke, Saupe: Effective aesthetics prediction with multi-level spatially pooled features, CVPR 2019.
"""

from typing import Final

from aesthetics_ops.sources.labels.layout import Layout

__all__ = ["MLSP"]

MLSP: Final = Layout(name="MLSP's AVA", needs=("set",), id=("image_name",), score="MOS")
