"""What a format of score files is: how it is recognised and read, and which settings go with it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from aesthetics_ops.sources.labels.file import LabelFile, LabelRows

__all__ = ["LabelFormat"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelFormat:
    """One format of score files.

    Attributes:
        name: what the setting `label_format` calls it: lower case, unique.
        title: what messages call its content, a plural: "AVA scores".
        recognises: whether a file looks like this, by its content.  A text format is asked about UTF-8 text only, which
            is not blank.
        read: returns the rows; raises LabelError for a file that makes no sense.
        blocks: returns the rows of a large file in blocks, none of them empty; None where it is small or has to be read at once.
            A block raises NeedsAllRowsError where it cannot be read alone, and LabelError as `read` does, or another one.
        is_text: its files are UTF-8 text.  The other formats are asked first, about any bytes.
        has_columns: its files name their columns, so `id_column`, `score_column` and `split_column` choose among them.
        settings: other settings that it goes by, where not every format does.
        default_range: lowest and highest score that the format itself allows; None where each file has its own.
    """

    name: str
    title: str
    recognises: Callable[[LabelFile], bool]
    read: Callable[[LabelFile], LabelRows]
    blocks: Callable[[LabelFile], Iterator[LabelRows] | None] = lambda _: None
    is_text: bool = True
    has_columns: bool = False
    settings: tuple[str, ...] = ()
    default_range: tuple[float, float] | None = None
