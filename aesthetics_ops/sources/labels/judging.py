"""Judge the rows of a label file, whatever its format: each has a score, or the problem why it cannot be used."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from aesthetics_ops.errors import SettingsError
from aesthetics_ops.settings import BuildSettings
from aesthetics_ops.sources.labels.extra import read_extra_scores
from aesthetics_ops.sources.labels.file import LabelRows
from aesthetics_ops.sources.labels.parsing import (
    UNCERTAIN_COMMA,
    has_comma,
    has_thousands,
    has_uncertain_comma,
    parse_numbers,
)

__all__ = ["SPLITS_BY_NAME", "judge_rows", "splits_of_files"]

SPLITS_BY_NAME = {
    "train": "train", "training": "train", "test": "test",
    "validation": "validation", "valid": "validation", "val": "validation", "dev": "validation",
}  # fmt: skip

_LARGEST = float(np.finfo(np.float32).max)  # records hold float32


def splits_of_files(settings: BuildSettings) -> dict[str, str]:
    """Return the split of each pattern in `file_splits`.

    Raises:
        SettingsError: one is no pattern and split, or of no known split.
    """
    chosen = {}
    for text in settings.file_splits:
        name, _, split = (part.strip() for part in text.rpartition("="))
        if not name or split.casefold() not in SPLITS_BY_NAME:
            raise SettingsError(
                f"file_splits has {text!r}; write a file's name and its split, train, validation or test, such as first.csv=train"
            )
        chosen[name] = SPLITS_BY_NAME[split.casefold()]
    return chosen


# from rows to labels


def judge_rows(rows: LabelRows, low: float | None, high: float | None, settings: BuildSettings) -> Any:
    """Return the rows of `Labels.table`; scores below `low` or above `high` are a problem."""
    name = pc.utf8_trim_whitespace(pc.fill_null(rows.name, ""))
    by_key = pc.match_substring(name, "/")
    if pc.any(by_key).as_py():
        name = pc.replace_substring_regex(name, r"^(\./|/)+", "")
    score, score_problem = _scores(rows.score, low, high)
    nothing = pa.nulls(len(rows.row), pa.string())
    split, split_problem = (nothing, nothing) if rows.split is None else _splits(rows.split)
    nameless = pc.if_else(pc.equal(name, ""), "no name", pa.scalar(None, pa.string()))
    extra, extra_problem = read_extra_scores(rows.extra) if rows.extra else (None, nothing)
    known = nothing if rows.problem is None else rows.problem
    problem = pc.coalesce(known, nameless, score_problem, extra_problem, split_problem)
    count = len(rows.row)
    return pa.table(
        {
            "row": rows.row,
            "name": name,
            "by_key": by_key,
            "score": pc.if_else(pc.is_null(problem), score, None),
            "distribution": _nulls(pa.list_(pa.float32(), 10), count)
            if rows.distribution is None
            else rows.distribution,
            "votes": _nulls(pa.list_(pa.int64(), len(rows.ratings) or 10), count)
            if rows.counts is None
            else rows.counts,
            "label_std": _nulls(pa.float64(), count) if rows.deviation is None else rows.deviation,
            "extra_scores": _nulls(pa.list_(pa.float64(), 1), count) if extra is None else extra,
            "split": split,
            "problem": problem,
            "excluded": _excluded(rows, score, pc.is_valid(problem), settings),
        }
    )


def _excluded(rows: LabelRows, score: Any, is_problem: Any, settings: BuildSettings) -> Any:
    """Why rows are left out that could be used: what the format says, or a limit in the settings; null where they are not."""
    none = pa.scalar(None, pa.string())
    found = [pa.nulls(len(rows.row), pa.string()) if rows.excluded is None else rows.excluded]
    if settings.min_votes is not None and rows.votes is not None:
        few = pc.fill_null(pc.less(rows.votes, settings.min_votes), True)
        votes = pc.coalesce(rows.votes.cast(pa.string()), "an unknown number of")
        said = pc.binary_join_element_wise(votes, f" votes, below min_votes {settings.min_votes}", "")
        found.append(pc.if_else(pc.and_not(few, is_problem), said, none))
    if settings.label_range:
        low, high = settings.label_range
        outside = pc.fill_null(pc.or_(pc.less(score, low), pc.greater(score, high)), False)
        said = pc.binary_join_element_wise(
            "score ", score.cast(pa.string()), f" is outside label_range {low:g} to {high:g}", ""
        )
        found.append(pc.if_else(pc.and_not(outside, is_problem), said, none))
    return pc.coalesce(*found) if len(found) > 1 else found[0]


def _scores(found: Any, low: float | None, high: float | None) -> tuple[Any, Any]:
    """Scores as float64, and the problem of each that cannot be used."""
    if pa.types.is_string(found.type):
        text = pc.utf8_trim_whitespace(pc.fill_null(found, ""))
        score = parse_numbers(text, high)
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
        "score '{}' " + UNCERTAIN_COMMA + ", or set label_max if it is below 1000": np.asarray(
            pc.and_(taken.is_null(), has_uncertain_comma(text))
        ),
        "score '{}' has signs between thousands; write it without them": np.asarray(
            pc.and_(taken.is_null(), has_thousands(text))
        ),
        "score '{}' has a comma, where other scores have decimal points": np.asarray(
            pc.and_(taken.is_null(), has_comma(text))
        ),
        "score '{}' is not a number": np.asarray(taken.is_null()),
        "score '{}' is not finite": ~np.isfinite(values),
        "score {} does not fit a float32": np.abs(values) > _LARGEST,
        f"score {{}} is below label_min {low}": values < (-np.inf if low is None else low),
        f"score {{}} is above label_max {high}": np.full(len(values), True),
    }
    return score, _scatter(_first_reason(reasons, text), bad)


def _splits(found: Any) -> tuple[Any, Any]:
    """Split names as this package writes them, and the problem of each row that has none of them."""
    text = pc.utf8_trim_whitespace(pc.fill_null(found, ""))
    split = pa.array(SPLITS_BY_NAME.values()).take(pc.index_in(pc.utf8_lower(text), pa.array(SPLITS_BY_NAME)))
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


def _nulls(kind: Any, count: int) -> Any:
    """A column of nulls in blocks that share their memory: 40 bytes for every row would be a lot for nothing."""
    block = pa.nulls(1 << 16, kind)
    whole, rest = divmod(count, len(block))
    return pa.chunked_array([*[block] * whole, block[:rest]], block.type)
