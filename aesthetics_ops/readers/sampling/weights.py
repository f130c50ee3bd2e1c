"""What makes some records come more often than others: weights of one's own, or a balance of labels.

In: a number for each record.  Out: the draws, and the name that a state has for them.
"""

import hashlib
from typing import Final

import numpy as np
import numpy.typing as npt

from aesthetics_ops.errors import SettingsError
from aesthetics_ops.readers.sampling.order import Weighted

__all__ = ["BALANCED", "by_label", "by_weights"]

BALANCED: Final = "balance=label"  # its name; others are called by their digest
_RANGES: Final = 10


def by_weights(weights: npt.ArrayLike, records: int) -> tuple[str, Weighted]:
    """Draw each record in proportion to its weight.

    Args:
        weights: shape (records,), finite, 0 or more, not all 0.
        records: number of records.

    Returns:
        The name, which holds a digest of the weights; the draws.

    Raises:
        SettingsError: not such weights.
    """
    numbers = _sized("weights", weights, records)
    return f"sha256={hashlib.sha256(numbers.astype('<f8').tobytes()).hexdigest()}", Weighted(numbers)


def by_label(labels: npt.ArrayLike, records: int) -> tuple[str, Weighted]:
    """Draw from each of ten equal ranges between the least and the largest label equally often.

    A range without records has no share.  Within a range all records come equally often.

    Args:
        labels: shape (records,), finite.
        records: number of records.

    Returns:
        The name; the draws.

    Raises:
        SettingsError: not such labels.
    """
    numbers = _sized("labels", labels, records)
    wrong = np.flatnonzero(~np.isfinite(numbers))
    if wrong.size:
        raise SettingsError(
            f"the label of row {wrong[0]} is {numbers[wrong[0]]}; select records whose label is a number"
        )
    if not records:
        return BALANCED, Weighted(numbers)
    low, span = numbers.min(), numbers.max() - numbers.min()
    ranges = np.minimum((numbers - low) / (span or 1.0) * _RANGES, _RANGES - 1).astype(np.int64)
    return BALANCED, Weighted(1.0 / np.bincount(ranges)[ranges])


def _sized(name: str, values: npt.ArrayLike, records: int) -> npt.NDArray[np.float64]:
    try:
        numbers = np.ascontiguousarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise SettingsError(f"{name} are not numbers: {error}; give one for each record") from error
    if numbers.shape != (records,):
        raise SettingsError(f"{name} have shape {numbers.shape}; give one number for each of {records} records")
    return numbers
