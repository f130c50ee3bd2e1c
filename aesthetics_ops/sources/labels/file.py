"""What passes between the reading of a label file and its formats: the file as it came, and the rows found in it."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from aesthetics_ops.errors import LabelError
from aesthetics_ops.settings import BuildSettings

__all__ = ["BYTE_ORDER_MARK", "LONGEST_LINE", "LabelFile", "LabelRows", "first_line", "line_at", "skip_blank"]

BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"  # in UTF-8

LONGEST_LINE: Final = 1 << 20
"""Bytes of a line that are looked at: no header is longer, and a file without lines is none of scores."""


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
        seen: how its fields are told apart, and its first row, for messages about its columns; empty where that says nothing.
        note: what has to be said about how it was read, after its name; None where there is nothing.
    """

    data: bytes
    start: int
    url: str
    settings: BuildSettings
    beside: Callable[[str], bytes | None]
    note: str | None = None
    seen: str = ""

    def error(self, what: str) -> LabelError:
        """Return the error about this file, in one line; `what` follows its name."""
        line = re.sub(r"[\x00-\x1f\x7f]+", " ", what)
        return LabelError(f"label file {self.url!r} {line}")


@dataclass(frozen=True, slots=True)
class LabelRows:
    """The rows as a format has them: Arrow arrays of one length, or None for what the format or file lacks.

    `columns` says which of the file's columns hold the `id`, `score` and `split`; it is empty where columns have no names.
    `layout` names the kind of file, where it is known, and `range` holds the lowest and highest score that it has.
    `note` says what was taken for granted, after the file's name.  `sheet` names the sheet of a workbook.
    `other_names` holds, by column, what else may name the photos; planning chooses by what the photos are called.
    `extra` and `kept` hold the columns that the settings ask for beside these, by the names that the settings use.
    """

    row: Any  # int64
    name: Any  # string
    score: Any  # string, or any number; None where the score is what `rate_counts` returned
    split: Any = None  # string
    problem: Any = None  # string: what only this format can find wrong
    distribution: Any = None  # fixed-size lists of float32, one share for each of `ratings`
    excluded: Any = None  # string
    columns: Mapping[str, str] = field(default_factory=dict)
    other_names: Mapping[str, Any] = field(default_factory=dict)  # strings
    votes: Any = None  # int64: how many; null where there are only shares
    counts: Any = None  # fixed-size lists of int64, the votes for each of `ratings`; null where there are only shares
    deviation: Any = None  # float64: standard deviation of the votes
    extra: Mapping[str, Any] = field(default_factory=dict)  # strings, or any numbers
    kept: Mapping[str, Any] = field(default_factory=dict)  # likewise
    ratings: tuple[float, ...] = ()
    layout: str | None = None
    range: tuple[float, float] | None = None
    note: str | None = None
    sheet: str | None = None


def first_line(data: bytes) -> int:
    """Return where the first line with content begins, after byte order marks and blank lines."""
    after_marks = 0
    while data.startswith(BYTE_ORDER_MARK, after_marks):  # two, where a program added one to a text that had it
        after_marks += len(BYTE_ORDER_MARK)
    content = skip_blank(data, after_marks)
    return max(after_marks, *(data.rfind(end, 0, content) + 1 for end in (b"\n", b"\r")))


def skip_blank(data: bytes, start: int) -> int:
    """Return where the first byte that is not blank stands, from `start`."""
    match = re.compile(rb"\s*").match(data, start)
    return match.end() if match else start


def line_at(file: LabelFile, start: int) -> str:
    """Return the text from `start` to the end of its line, or the first LONGEST_LINE bytes of it."""
    match = re.compile(rb"[^\r\n]{0,%d}" % LONGEST_LINE).match(file.data, start)
    return match[0].decode(errors="replace") if match else ""
