"""What passes between the reading of a label file and its formats: the file as it came, and the rows found in it."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from aesthetics_ops.errors import LabelError
from aesthetics_ops.settings import BuildSettings

__all__ = ["LabelFile", "LabelRows", "line_at", "skip_blank"]


@dataclass(frozen=True, slots=True)
class LabelFile:
    """The label file as it came.

    Attributes:
        data: all of it.
        start: where its first line begins, after a byte order mark and blank lines.
        url: where it lies, for messages.
        settings: of the build.
        beside: returns the file of a name that lies beside it, or None where there is none.  It reads only what a format
            asks for.
    """

    data: bytes
    start: int
    url: str
    settings: BuildSettings
    beside: Callable[[str], bytes | None]

    def error(self, what: str) -> LabelError:
        """Return the error about this file; `what` follows its name."""
        return LabelError(f"label file {self.url!r} {what}")


@dataclass(frozen=True, slots=True)
class LabelRows:
    """The rows as a format has them: Arrow arrays of one length, or None for what the format or file lacks.

    `columns` says which of the file's columns hold the `id`, `score` and `split`; it is empty where columns have no names.
    `other_names` holds, by column, what else may name the photos; planning chooses by what the photos are called.
    """

    row: Any  # int64
    name: Any  # string
    score: Any  # string, or any number
    split: Any = None  # string
    problem: Any = None  # string: what only this format can find wrong
    distribution: Any = None
    excluded: Any = None  # string
    columns: Mapping[str, str] = field(default_factory=dict)
    other_names: Mapping[str, Any] = field(default_factory=dict)  # strings


def skip_blank(data: bytes, start: int) -> int:
    """Return where the first byte that is not blank stands, from `start`."""
    match = re.compile(rb"\s*").match(data, start)
    return match.end() if match else start


def line_at(file: LabelFile, start: int) -> str:
    """Return the text from `start` to the end of its line."""
    match = re.compile(rb"[^\r\n]*").match(file.data, start)
    return match[0].decode() if match else ""
