"""Text that should be numbers, as score files write them."""

from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

__all__ = [
    "EXACT_BELOW",
    "UNCERTAIN_COMMA",
    "doubt_of_commas",
    "has_comma",
    "has_thousands",
    "has_uncertain_comma",
    "parse_numbers",
    "to_numbers",
    "with_points",
]

_NUMBER = r"(?i)^[+-]?((\d+\.?\d*|\.\d+)(e[+-]?\d+)?|nan|inf|infinity)$"
_COMMA_NUMBER = r"^[+-]?\d*,\d+$"
_UNCERTAIN = r"^[+-]?[1-9]\d{0,2},\d{3}$"
_THOUSANDS = r"^[+-]?\d{1,3}(([,\s\x{A0}\x{202F}'’]\d{3})+(\.\d+)?|([.\s\x{A0}\x{202F}'’]\d{3})+,\d+|(\.\d{3}){2,})$"
_POINT_NUMBER = r"(?i)^[+-]?[\d,]*(\d\.|\.\d)[\d.,]*(e[+-]?\d+)?$"  # also one with signs between thousands
_POINTS_BETWEEN = r"^[+-]?\d{1,3}((\.\d{3})+,\d+|(\.\d{3}){2,})$"  # these points stand between thousands


EXACT_BELOW: Final = 2.0**53
"""From here on a float stands for several whole numbers, so it names no photo."""

UNCERTAIN_COMMA: Final = "may have its comma between thousands or before a fraction; write it without one"
"""What is wrong with `1,234` where nothing says which it is."""

_THOUSAND: Final = 1000.0


def to_numbers(found: Any, most: float | None = None) -> Any:
    """Return a column of text or numbers as float64, null where there is no number; `most` as in `parse_numbers`."""
    if pa.types.is_string(found.type):
        return parse_numbers(pc.utf8_trim_whitespace(pc.fill_null(found, "")), most)
    return found.cast(pa.float64(), safe=False)


def parse_numbers(text: Any, most: float | None = None) -> Any:
    """Return trimmed text as float64, null where it is no number: neither a blank nor words.

    A comma is a decimal point where it can be nothing else: no number of the column has a point before a fraction, and not all commas
    may stand between thousands, or `most`, the largest number that there can be, is below 1000.
    """
    text = pc.if_else(pc.equal(text, ""), pa.scalar(None, pa.string()), text)
    try:
        return text.cast(pa.float64())
    except pa.ArrowInvalid:  # which value it was remains to be found
        pass
    is_comma = pc.match_substring_regex(text, _COMMA_NUMBER)
    if _are_decimal(text, is_comma) and (not _all_uncertain(text, is_comma) or (most is not None and most < _THOUSAND)):
        text = pc.if_else(is_comma, pc.replace_substring(text, ",", "."), text)
    is_number = pc.match_substring_regex(text, _NUMBER)
    return pc.if_else(is_number, text, pa.scalar(None, pa.string())).cast(pa.float64())


def _are_decimal(text: Any, is_comma: Any) -> bool:
    """Whether a column has commas, and no number with a point before a fraction."""
    has_point = pc.match_substring_regex(text, _POINT_NUMBER)
    is_between = pc.match_substring_regex(text, _POINTS_BETWEEN)
    return bool(pc.any(is_comma).as_py()) and not pc.any(pc.and_not(has_point, is_between)).as_py()


def _all_uncertain(text: Any, is_comma: Any) -> bool:
    """Whether all commas may stand between thousands, as in 1,234."""
    return bool(pc.all(pc.match_substring_regex(text.filter(is_comma), _UNCERTAIN)).as_py())


def with_points(column: Any) -> Any:
    """Return a column with points for commas that may stand between thousands, for files whose commas are decimal points.

    Where a whole number without a comma has three digits or more, numbers are so large that the commas stay uncertain.
    """
    if not pa.types.is_string(column.type):
        return column
    text = pc.utf8_trim_whitespace(pc.fill_null(column, ""))
    is_comma = has_comma(text)
    if not _are_decimal(text, is_comma) or not _all_uncertain(text, is_comma):
        return column
    is_large = pc.any(pc.match_substring_regex(text, r"^[+-]?[1-9]\d{2,}$")).as_py()
    return column if is_large else pc.if_else(is_comma, pc.replace_substring(text, ",", "."), column)


def has_uncertain_comma(text: Any) -> Any:
    """Whether trimmed text is a number whose comma may stand between thousands or before a fraction: 1,234."""
    return pc.match_substring_regex(text, _UNCERTAIN)


def has_thousands(text: Any) -> Any:
    """Whether trimmed text is a number with signs between thousands: 1,234.5 or 1.234,5."""
    return pc.match_substring_regex(text, _THOUSANDS)


def has_comma(text: Any) -> Any:
    """Whether trimmed text is a number with a comma as its decimal point."""
    return pc.match_substring_regex(text, _COMMA_NUMBER)


def doubt_of_commas(name: str, scores: Any) -> str | None:
    """Say that a comma was taken for a decimal point that may stand between thousands; None where none was."""
    read = with_points(scores)
    if read is scores:
        return None
    one = scores.filter(pc.match_substring(scores, ","))[0].as_py().strip()
    return f"has {one!r} in {name!r}, which is read as {one.replace(',', '.')}; write {one.replace(',', '')} if the comma is none of a fraction"
