"""Join columns to the names of photos, as `key_template` says."""

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from aesthetics_ops.key_template import KeyPart

__all__ = ["join_columns"]


def join_columns(parts: Sequence[KeyPart], columns: Mapping[str, Any]) -> tuple[Any, Any]:
    """Return the names of photos, and why a row has none.

    Args:
        parts: of the template.
        columns: text, by the names that the template calls them.

    Returns:
        Two columns of text: names, empty where there is a problem; and problems, null where there is none.
    """
    pieces: list[Any] = []
    problem: Any = None
    none = pa.scalar(None, pa.string())
    for part in parts:
        pieces.append(pa.scalar(part.text))
        if part.column is None:
            continue
        value = pc.utf8_trim_whitespace(pc.fill_null(columns[part.column], ""))
        bad = pc.if_else(pc.equal(value, ""), f"key_template finds nothing in column {part.column!r}", none)
        if part.digits:
            is_whole = pc.match_substring_regex(value, r"^\d+(\.0+)?$")
            shown = pc.binary_join_element_wise(
                "'",
                pc.utf8_slice_codeunits(value, 0, 40),
                f"' in column {part.column!r} is no whole number, as key_template asks for",
                "",
            )
            bad = pc.coalesce(bad, pc.if_else(is_whole, none, shown))
            value = pc.replace_substring_regex(pc.replace_substring_regex(value, r"\.0+$", ""), r"^0+(\d)", r"\1")
            value = pc.utf8_lpad(value, part.digits, "0")
        problem = bad if problem is None else pc.coalesce(problem, bad)
        pieces.append(value)
    names = pc.binary_join_element_wise(*pieces, "")
    return pc.if_else(pc.is_valid(problem), "", names), problem
