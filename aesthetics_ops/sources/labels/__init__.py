"""The file of scores, whatever its format."""

from aesthetics_ops.sources.labels.ava import AVA_RANGE
from aesthetics_ops.sources.labels.reading import Labels, read_labels

__all__ = ["AVA_RANGE", "Labels", "read_labels"]
