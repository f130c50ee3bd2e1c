"""How well predictions agree with labels.

In: predictions and labels of a split, in reading order.  Out: numbers.  Pure.
"""

import numpy as np
from numpy.typing import NDArray

from aesthetics_ops.training.receipt import SplitMetrics

__all__ = ["emd", "mean_rating", "spearman", "split_metrics"]

Floats = NDArray[np.floating]


def split_metrics(
    predicted: Floats, labels: Floats, *, trained_mean: float, ratings: Floats | None = None
) -> SplitMetrics:
    """Compare predictions with labels.

    Args:
        predicted: scores, shape (n,); or shares of the votes, shape (n, ratings).
        labels: of the same shape.
        trained_mean: mean score of the training split.
        ratings: what the shares are for, shape (ratings,); None for scores.
    """
    distance = None
    if ratings is not None:
        distance = emd(predicted, labels)
        predicted, labels = mean_rating(predicted, ratings), mean_rating(labels, ratings)
    predicted, labels = predicted.astype(np.float64), labels.astype(np.float64)
    return SplitMetrics(
        records=len(labels),
        mae=float(np.abs(predicted - labels).mean()),
        mae_of_mean=float(np.abs(labels - trained_mean).mean()),
        spearman=spearman(predicted, labels),
        emd=distance,
    )


def mean_rating(shares: Floats, ratings: Floats) -> Floats:
    """Return the mean rating of distributions, shape (n,); shares need not add up to 1."""
    weights = shares.astype(np.float64)
    means: Floats = weights @ ratings / np.maximum(weights.sum(axis=1), np.finfo(np.float64).tiny)
    return means


def emd(predicted: Floats, labels: Floats) -> float:
    """Return the mean earth mover's distance of distributions: root of the mean squared difference of cumulated shares.

    Args:
        predicted: shape (n, ratings), rows of shares.
        labels: of the same shape.

    Source:
        Talebi, Milanfar: NIMA, Neural Image Assessment, IEEE TIP 2018, equation 1 with r = 2.
    """
    apart = np.cumsum(predicted.astype(np.float64) - labels.astype(np.float64), axis=1)
    return float(np.sqrt(np.square(apart).mean(axis=1)).mean())


def spearman(one: Floats, other: Floats) -> float | None:
    """Return the rank correlation of two rows of numbers, -1 to 1; equal numbers share their mean rank; None where one is all equal."""
    ranks = [_ranks(values) - (len(values) - 1) / 2 for values in (one, other)]
    scale = float(np.sqrt((ranks[0] @ ranks[0]) * (ranks[1] @ ranks[1])))
    return None if scale == 0 else float(np.clip(ranks[0] @ ranks[1] / scale, -1, 1))


def _ranks(values: Floats) -> Floats:
    _, which, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    ranks: Floats = ((ends - counts + ends - 1) / 2)[which]
    return ranks
