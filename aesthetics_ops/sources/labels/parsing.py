"""Text that should be numbers, as score files write them."""

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["parse_numbers", "to_numbers"]

_NUMBER = r"(?i)^[+-]?((\d+\.?\d*|\.\d+)(e[+-]?\d+)?|nan|inf|infinity)$"
_COMMA_NUMBER = r"^[+-]?\d*,\d+$"


def to_numbers(found: Any) -> Any:
    """Return a column of text or numbers as float64, null where there is no number."""
    if pa.types.is_string(found.type):
        return parse_numbers(pc.utf8_trim_whitespace(pc.fill_null(found, "")))
    return found.cast(pa.float64(), safe=False)


def parse_numbers(text: Any) -> Any:
    """Return trimmed text as float64, null where it is no number: neither a blank nor words.

    A comma is a decimal point where it can be nothing else: no value of the column has a point.
    """
    text = pc.if_else(pc.equal(text, ""), pa.scalar(None, pa.string()), text)
    try:
        return text.cast(pa.float64())
    except pa.ArrowInvalid:  # which value it was remains to be found
        pass
    is_comma = pc.match_substring_regex(text, _COMMA_NUMBER)
    if pc.any(is_comma).as_py() and not pc.any(pc.match_substring(text, ".")).as_py():
        text = pc.if_else(is_comma, pc.replace_substring(text, ",", "."), text)
    is_number = pc.match_substring_regex(text, _NUMBER)
    return pc.if_else(is_number, text, pa.scalar(None, pa.string())).cast(pa.float64())
