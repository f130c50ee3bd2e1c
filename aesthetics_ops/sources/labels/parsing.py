"""Text that should be numbers, as score files write them."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["doubt_of_commas", "has_comma", "parse_numbers", "to_numbers"]

_NUMBER = r"(?i)^[+-]?((\d+\.?\d*|\.\d+)(e[+-]?\d+)?|nan|inf|infinity)$"
_COMMA_NUMBER = r"^[+-]?\d*,\d+$"
_POINT_NUMBER = r"(?i)^[+-]?[\d,]*(\d\.|\.\d)[\d.,]*(e[+-]?\d+)?$"  # also one with signs between thousands


def to_numbers(found: Any) -> Any:
    """Return a column of text or numbers as float64, null where there is no number."""
    if pa.types.is_string(found.type):
        return parse_numbers(pc.utf8_trim_whitespace(pc.fill_null(found, "")))
    return found.cast(pa.float64(), safe=False)


def parse_numbers(text: Any) -> Any:
    """Return trimmed text as float64, null where it is no number: neither a blank nor words.

    A comma is a decimal point where it can be nothing else: no number of the column has a point.
    """
    text = pc.if_else(pc.equal(text, ""), pa.scalar(None, pa.string()), text)
    try:
        return text.cast(pa.float64())
    except pa.ArrowInvalid:  # which value it was remains to be found
        pass
    is_comma = pc.match_substring_regex(text, _COMMA_NUMBER)
    if pc.any(is_comma).as_py() and not pc.any(pc.match_substring_regex(text, _POINT_NUMBER)).as_py():
        text = pc.if_else(is_comma, pc.replace_substring(text, ",", "."), text)
    is_number = pc.match_substring_regex(text, _NUMBER)
    return pc.if_else(is_number, text, pa.scalar(None, pa.string())).cast(pa.float64())


def has_comma(text: Any) -> Any:
    """Whether trimmed text is a number with a comma as its decimal point."""
    return pc.match_substring_regex(text, _COMMA_NUMBER)


def doubt_of_commas(name: str, scores: Any) -> str | None:
    """Say that a comma may stand between thousands; None where it can only be a decimal point."""
    if not pa.types.is_string(scores.type):
        return None
    commas = scores.filter(pc.match_substring(scores, ","))
    if not len(commas) or not pc.all(pc.match_substring_regex(commas, r"^\s*[1-9]\d{0,2},\d{3}\s*$")).as_py():
        return None
    if not np.isfinite(np.asarray(to_numbers(scores))).any():
        return None
    one = commas[0].as_py().strip()
    return f"has {one!r} in {name!r}, which is read as {one.replace(',', '.')}; write {one.replace(',', '')} if the comma is none of a fraction"
