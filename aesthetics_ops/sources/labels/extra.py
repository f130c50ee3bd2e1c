"""What a score file says of photos beside their score: more scores, and columns that are kept as they are.

In: columns of text or numbers, by name.  Out: numbers, or the problem of each row; columns with the type that they have.
"""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from aesthetics_ops.sources.labels.parsing import UNCERTAIN_COMMA, has_uncertain_comma, to_numbers

__all__ = ["different_in_photos", "mean_scores", "read_extra_scores", "typed"]

_LARGEST: Final = float(np.finfo(np.float32).max)  # records hold float32
_WHOLE: Final = r"^-?(0|[1-9]\d{0,17})$"
_LONG: Final = r"^-?\d{16,}(\.\d*)?$"  # a float may not hold all of its digits
_EXACT_DIGITS: Final = 15  # that every float64 holds
_NUMBER: Final = r"^-?((0|[1-9]\d*)(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?$"


def read_extra_scores(columns: Mapping[str, Any]) -> tuple[Any, Any]:
    """Read the columns of `extra_scores`.

    Args:
        columns: text or numbers, at least one column; all of one length.

    Returns:
        Fixed-size lists of float64, one number for each column; and strings, the problem of each row that has something
        else in one of them, null where there is none.
    """
    rows = len(next(iter(columns.values())))
    scores = np.empty((rows, len(columns)))
    problem = pa.nulls(rows, pa.string())
    for place, (name, column) in enumerate(columns.items()):
        numbers = np.asarray(to_numbers(column))  # null becomes NaN
        scores[:, place] = numbers
        bad = ~(np.abs(numbers) <= _LARGEST)
        if bad.any():
            problem = pc.coalesce(problem, _problems(name, column, numbers, bad))
    is_good = np.asarray(pc.is_null(problem))
    return (
        pa.FixedSizeListArray.from_arrays(
            pa.array(np.where(is_good[:, np.newaxis], scores, 0).ravel()), len(columns), mask=pa.array(~is_good)
        ),
        problem,
    )


def _problems(name: str, column: Any, numbers: np.ndarray, bad: np.ndarray) -> Any:
    """What is wrong with the bad values of a column: strings, null elsewhere."""
    where = pa.array(np.flatnonzero(bad))
    text = pc.utf8_trim_whitespace(pc.fill_null(column.take(where).cast(pa.string()), ""))
    text = text.combine_chunks() if isinstance(text, pa.ChunkedArray) else text
    found = numbers[bad]
    reason = np.select(
        [np.asarray(pc.equal(text, "")), np.isnan(found) & ~np.asarray(pc.equal(pc.utf8_lower(text), "nan")), ~np.isfinite(found)],
        [0, 1, 2],
        default=3,
    )  # fmt: skip
    reason = np.where(np.isnan(found) & np.asarray(has_uncertain_comma(text)), 4, reason)
    after = pa.array(
        ["is missing", "is not a number", "is not finite", "does not fit a float32", UNCERTAIN_COMMA]
    ).take(pa.array(reason))
    shown = pc.binary_join_element_wise(" '", pc.utf8_slice_codeunits(text, 0, 40), "' ", "")
    said = pc.binary_join_element_wise(f"extra score {name!r}", pc.if_else(pc.equal(text, ""), " ", shown), after, "")
    return said.take(pa.array(np.cumsum(bad) - 1, mask=~bad))


def mean_scores(columns: Mapping[str, Any], row: Any, photo: np.ndarray, photos: int) -> tuple[dict[str, Any], Any]:
    """Return the mean of each column over the rows of each photo.

    Args:
        columns: text or numbers, by name.
        row: int64, where each row stands.
        photo: the photo that each row is for, from 0.
        photos: how many there are.

    Returns:
        The means, float64, by name; and strings, the problem of each photo with a row that has no such number, or null.
    """
    scores, problem = read_extra_scores(columns)
    votes = np.bincount(photo, minlength=photos)
    bad = np.asarray(pc.is_valid(problem))
    first = np.unique(photo[bad], return_index=True)
    said = pc.binary_join_element_wise(
        "row ", row.filter(pa.array(bad)).cast(pa.string()), ": ", problem.filter(pa.array(bad)), ""
    )
    place = np.full(photos, -1)
    place[first[0]] = first[1]
    values = scores.values.to_numpy().reshape(-1, len(columns))
    means = {
        name: pa.array(np.bincount(photo, values[:, number], photos) / votes) for number, name in enumerate(columns)
    }
    return means, said.take(pa.array(place, mask=place < 0))


def different_in_photos(column: Any, photo: np.ndarray) -> tuple[int, int] | None:
    """Return two rows of one photo, from 0, that have different values in a column; None where there are none."""
    encoded = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    encoded = (encoded.chunk(0) if isinstance(encoded, pa.ChunkedArray) else encoded).dictionary_encode()
    codes = np.asarray(encoded.indices.fill_null(-1))
    first = np.unique(photo, return_index=True)[1][photo]
    differs = np.flatnonzero(codes != codes[first])
    return (int(first[differs[0]]), int(differs[0])) if len(differs) else None


def typed(column: Any) -> Any:
    """Return a kept column with the type that its values have: int64, a float, or text; blanks and NaN are null.

    Text becomes numbers where each of its values is one as numbers are written: 007 and 1,5 stay text, and so do whole numbers
    with more digits than a number has.
    """
    kind = column.type
    if pa.types.is_floating(kind):
        column = column.cast(pa.float32()) if pa.types.is_float16(kind) else column
        return pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)
    if pa.types.is_integer(kind) and not (pa.types.is_uint64(kind) and (pc.max(column).as_py() or 0) >= 1 << 63):
        return column.cast(pa.int64())
    if pa.types.is_decimal(kind) and kind.precision <= _EXACT_DIGITS:
        return column.cast(pa.float64(), safe=False)
    column = column if pa.types.is_string(kind) else column.cast(pa.string())
    text = pc.if_else(pc.equal(pc.utf8_trim_whitespace(column), ""), pa.scalar(None, pa.string()), column)
    plain = pc.utf8_trim_whitespace(text)
    plain = pc.if_else(pc.match_substring_regex(plain, "(?i)^nan$"), pa.scalar(None, pa.string()), plain)
    if plain.null_count < len(plain) and pc.all(pc.match_substring_regex(plain, _NUMBER)).as_py():
        if pc.all(pc.match_substring_regex(plain, _WHOLE)).as_py():
            return plain.cast(pa.int64())
        numbers = plain.cast(pa.float64())
        if pc.all(pc.is_finite(numbers)).as_py() and not pc.any(pc.match_substring_regex(plain, _LONG)).as_py():
            return numbers
    return text
