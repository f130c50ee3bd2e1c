"""The file of scores, whatever its format."""

from aesthetics_ops.sources.labels.file import LabelFile, LabelRows
from aesthetics_ops.sources.labels.format import LabelFormat
from aesthetics_ops.sources.labels.ids import PHOTO_SUFFIXES
from aesthetics_ops.sources.labels.reading import Labels, read_labels
from aesthetics_ops.sources.labels.registry import check_label_settings, label_formats, register_label_format
from aesthetics_ops.sources.labels.several import combine_labels, is_score_file

__all__ = [
    "PHOTO_SUFFIXES",
    "LabelFile",
    "LabelFormat",
    "LabelRows",
    "Labels",
    "check_label_settings",
    "combine_labels",
    "is_score_file",
    "label_formats",
    "read_labels",
    "register_label_format",
]
