"""Read the file of scores, whatever its format, into one table.

In: the file's bytes (AVA.txt, CSV, Parquet or JSON lines), and what lies beside AVA.txt.  Out: one row per label row,
in file order, each either with a score or with the problem it has.
Pure and columnar: no network, no clock.  A row that makes no sense is data; a file that makes no sense is an error.
"""

import re
from dataclasses import dataclass
from typing import Any

from aesthetics_ops.settings import BuildSettings
from aesthetics_ops.sources.labels.ava import AVA_RANGE, read_ava
from aesthetics_ops.sources.labels.csv import read_csv
from aesthetics_ops.sources.labels.file import LabelFile, line_at, skip_blank
from aesthetics_ops.sources.labels.jsonl import read_jsonl
from aesthetics_ops.sources.labels.judging import judge_rows
from aesthetics_ops.sources.labels.parquet import read_parquet

__all__ = ["Labels", "read_labels"]


@dataclass(frozen=True, slots=True)
class Labels:
    """What the label file says.

    Attributes:
        table: one row per label row, in file order.  `row` (int64): line number, in Parquet the row, from 1.  `name`
            (string): what names the photo, without blanks and a leading / or ./ around it; Unicode as in the file.
            `by_key` (bool): the name is a key relative to the photos prefix; otherwise the stem of one.  `score`
            (float64): null exactly where there is a problem.  `distribution` (10 float32): shares of the votes for
            ratings 1 to 10, or null.  `split` (string): train, validation or test; null without a split column.
            `problem` (string): why the row cannot be used, or null.  `excluded` (string): the excluded tag or challenge
            that the photo has, or null.
        format: ava, csv, parquet or jsonl, as found.
        has_distribution: the file has vote counts.
    """

    table: Any  # pa.Table
    format: str
    has_distribution: bool


def read_labels(
    data: bytes, *, source: str, settings: BuildSettings, tags: bytes | None = None, challenges: bytes | None = None
) -> Labels:
    """Read a label file.

    Args:
        data: the file.
        source: its URL, for messages.
        settings: format, columns, range and exclusions to go by.
        tags: tags.txt beside AVA.txt, lines of "id name"; None if there is no such file.
        challenges: challenges.txt, likewise.

    Raises:
        LabelError: the file is empty, not text, of another format than declared, has a broken line, lacks a column or
            any row; or the settings ask for what this file cannot give.
    """
    bom_bytes = 3 if data.startswith(b"\xef\xbb\xbf") else 0
    first_content = skip_blank(data, bom_bytes)
    first_line = max(bom_bytes, *(data.rfind(end, 0, first_content) + 1 for end in (b"\n", b"\r")))
    file = LabelFile(data, first_line, source, settings)
    kind = _find_format(file)
    _check_settings(file, kind)
    match kind:
        case "ava":
            rows = read_ava(file, tags, challenges)
        case "parquet":
            rows = read_parquet(file)
        case "jsonl":
            rows = read_jsonl(file)
        case _:
            rows = read_csv(file)
    if not len(rows.row):
        raise file.error("has no rows; it must have one per scored photo")
    default_range = AVA_RANGE if kind == "ava" else (None, None)
    low, high = (
        default if declared is None else declared
        for declared, default in zip((settings.label_min, settings.label_max), default_range, strict=True)
    )
    return Labels(judge_rows(rows, low, high), kind, rows.distribution is not None)


def _find_format(file: LabelFile) -> str:
    data, declared = file.data, file.settings.label_format
    first_content = skip_blank(data, file.start)
    if first_content == len(data):
        raise file.error("is empty; it must have one row per scored photo")
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise file.error("is UTF-16 text; save it as UTF-8")
    for magic, what in {
        b"\x1f\x8b": "gzip-compressed; unpack it",
        b"PK\x03\x04": "a zip or Excel file; save it as CSV",
    }.items():
        if data.startswith(magic):
            raise file.error(f"is {what}, or give another file as labels")
    if data.startswith(b"PAR1"):
        found = "parquet"
    else:
        _check_utf8(file)
        words = line_at(file, file.start).split()
        found = "csv"
        if data[first_content] == ord("{"):
            found = "jsonl"
        elif data[first_content] == ord("["):
            raise file.error(
                "is a JSON array; write JSON lines: one object per line, without brackets and commas around"
            )
        elif len(words) > 1 and all(re.fullmatch(r"-?\d+", word) for word in words):
            found = "ava"
    if declared not in ("auto", found) and (declared, found) != (
        "ava",
        "csv",
    ):  # that one is told by its first bad line
        raise file.error(f"looks like {found}, but label_format is {declared!r}; set label_format to auto or {found}")
    return found if declared == "auto" else declared


def _check_utf8(file: LabelFile) -> None:
    if file.data.isascii():
        return
    try:
        file.data.decode()
    except UnicodeDecodeError as error:
        raise file.error(
            f"is not UTF-8 text: byte {error.start} is 0x{file.data[error.start]:02x}; save it as UTF-8"
        ) from error


def _check_settings(file: LabelFile, kind: str) -> None:
    settings = file.settings
    if kind == "ava":
        for name in ("id_column", "score_column", "split_column"):
            if (column := getattr(settings, name)) is not None:
                raise file.error(f"is AVA scores, which have no columns, but {name} is {column!r}; leave {name} empty")
        return
    for name in ("exclude_tags", "exclude_challenges"):
        if getattr(settings, name):
            raise file.error(f"is {kind}, but {name} needs AVA scores; leave {name} empty or give an AVA.txt")
    if settings.label_scale == "unit" and (settings.label_min is None or settings.label_max is None):
        raise file.error(f"is {kind} without a declared range, but label_scale is 'unit'; set label_min and label_max")
