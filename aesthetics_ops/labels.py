"""Read the file of scores, whatever its format, into one table.

In: the file's bytes (AVA.txt, CSV, Parquet or JSON lines), and what lies beside AVA.txt.  Out: one row per label row,
in file order, each either with a score or with the problem it has.
Pure and columnar: no network, no clock.  A row that makes no sense is data; a file that makes no sense is an error.

Here the format is recognised and the rows are judged; `ava.py` and `label_tables.py` read them.
"""

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from aesthetics_ops.ava import AVA_RANGE, read_ava
from aesthetics_ops.label_file import LabelFile, LabelRows, line_at, skip_blank
from aesthetics_ops.label_tables import read_csv, read_jsonl, read_parquet
from aesthetics_ops.settings import BuildSettings

__all__ = ["AVA_RANGE", "Labels", "read_labels"]

_SPLITS = {
    "train": "train", "training": "train", "test": "test",
    "validation": "validation", "valid": "validation", "val": "validation", "dev": "validation",
}  # fmt: skip
_BY_KEY = r"/|\.[A-Za-z][A-Za-z0-9]{0,7}$"
_NUMBER = r"(?i)^[+-]?((\d+\.?\d*|\.\d+)(e[+-]?\d+)?|nan|inf|infinity)$"
_LARGEST = float(np.finfo(np.float32).max)  # records hold float32


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
    return Labels(_label_table(rows, low, high), kind, rows.distribution is not None)


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


# from rows to labels


def _label_table(rows: LabelRows, low: float | None, high: float | None) -> Any:
    name = pc.utf8_trim_whitespace(pc.fill_null(rows.name, ""))
    by_key = pc.match_substring_regex(name, _BY_KEY)
    if pc.any(pc.match_substring(name, "/")).as_py():
        name = pc.replace_substring_regex(name, r"^(\./|/)+", "")
    score, score_problem = _scores(rows.score, low, high)
    nothing = pa.nulls(len(rows.row), pa.string())
    split, split_problem = (nothing, nothing) if rows.split is None else _splits(rows.split)
    nameless = pc.if_else(pc.equal(name, ""), "no name", pa.scalar(None, pa.string()))
    problem = pc.coalesce(nameless, nothing if rows.problem is None else rows.problem, score_problem, split_problem)
    return pa.table(
        {
            "row": rows.row,
            "name": name,
            "by_key": by_key,
            "score": pc.if_else(pc.is_null(problem), score, None),
            "distribution": _no_distributions(len(rows.row)) if rows.distribution is None else rows.distribution,
            "split": split,
            "problem": problem,
            "excluded": nothing if rows.excluded is None else rows.excluded,
        }
    )


def _scores(found: Any, low: float | None, high: float | None) -> tuple[Any, Any]:
    """Scores as float64, and the problem of each that cannot be used."""
    if pa.types.is_string(found.type):
        text = pc.utf8_trim_whitespace(pc.fill_null(found, ""))
        score = _parse_numbers(text)
    else:
        text = None
        score = found.cast(pa.float64(), safe=False)
    values = np.asarray(score)  # null becomes NaN
    bad = ~(np.abs(values) <= _LARGEST)
    bad |= values < (-np.inf if low is None else low)
    bad |= values > (np.inf if high is None else high)
    where = pa.array(np.flatnonzero(bad))
    values, taken = values[bad], score.take(where)
    text = pc.fill_null(taken.cast(pa.string()), "") if text is None else text.take(where)
    reasons = {
        "score is missing{}": np.asarray(pc.equal(text, "")),
        "score '{}' is not a number": np.asarray(taken.is_null()),
        "score '{}' is not finite": ~np.isfinite(values),
        "score {} does not fit a float32": np.abs(values) > _LARGEST,
        f"score {{}} is below label_min {low}": values < (-np.inf if low is None else low),
        f"score {{}} is above label_max {high}": np.full(len(values), True),
    }
    return score, _scatter(_first_reason(reasons, text), bad)


def _parse_numbers(text: Any) -> Any:
    """Text as float64, null where it is no number: neither a blank nor words."""
    text = pc.if_else(pc.equal(text, ""), pa.scalar(None, pa.string()), text)
    try:
        return text.cast(pa.float64())
    except pa.ArrowInvalid:  # which value it was remains to be found
        is_number = pc.match_substring_regex(text, _NUMBER)
        return pc.if_else(is_number, text, pa.scalar(None, pa.string())).cast(pa.float64())


def _splits(found: Any) -> tuple[Any, Any]:
    """Split names as this package writes them, and the problem of each row that has none of them."""
    text = pc.utf8_trim_whitespace(pc.fill_null(found, ""))
    split = pa.array(_SPLITS.values()).take(pc.index_in(pc.utf8_lower(text), pa.array(_SPLITS)))
    bad = np.asarray(pc.is_null(split))
    text = text.take(pa.array(np.flatnonzero(bad)))
    missing = np.asarray(pc.equal(text, ""))
    reasons = {"split is missing{}": missing, "split '{}' is not one of train, validation, test": ~missing}
    return split, _scatter(_first_reason(reasons, text), bad)


def _first_reason(reasons: dict[str, Any], text: Any) -> Any:
    """The first reason that holds for each text, with the text, shortened, in the place of the braces."""
    chosen = pa.array(np.argmax(list(reasons.values()), axis=0))
    before, after = zip(*(reason.split("{}") for reason in reasons), strict=True)
    shown = pc.utf8_slice_codeunits(text, 0, 40)
    return pc.binary_join_element_wise(pa.array(before).take(chosen), shown, pa.array(after).take(chosen), "")


def _scatter(values: Any, where: Any) -> Any:
    """Put `values`, in order, where `where` is true; null elsewhere."""
    return values.take(pa.array(np.cumsum(where) - 1, mask=~where))


def _no_distributions(count: int) -> Any:
    """A column of nulls in blocks that share their memory: 40 bytes for every row would be a lot for nothing."""
    block = pa.nulls(1 << 16, pa.list_(pa.float32(), 10))
    whole, rest = divmod(count, len(block))
    return pa.chunked_array([*[block] * whole, block[:rest]], block.type)
