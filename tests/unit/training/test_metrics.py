"""MAE, rank correlation and earth mover's distance of predictions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aesthetics_ops.training.metrics import emd, mean_rating, spearman, split_metrics


def test_ranks_count_and_equal_numbers_share_theirs() -> None:
    assert spearman(np.array([1.0, 2, 3, 4]), np.array([10.0, 20, 30, 4000])) == pytest.approx(1)
    assert spearman(np.array([1.0, 2, 3, 4]), np.array([4.0, 3, 2, 1])) == pytest.approx(-1)
    # ranks 0, 1.5, 1.5, 3 against 0 to 3: 4.5 / sqrt(4.5 * 5)
    assert spearman(np.array([1.0, 2, 2, 3]), np.array([1.0, 2, 3, 4])) == pytest.approx(4.5 / np.sqrt(4.5 * 5))


def test_without_a_difference_there_is_no_rank_correlation() -> None:
    assert spearman(np.array([2.0, 2, 2]), np.array([1.0, 2, 3])) is None


@given(st.lists(st.tuples(st.integers(-5, 5), st.integers(-5, 5)), min_size=2, max_size=30))
def test_it_is_the_correlation_of_the_ranks_whichever_way_round(pairs: list[tuple[int, int]]) -> None:
    one, other = np.array(pairs, np.float64).T
    found = spearman(one, other)
    assert found == spearman(other, one)
    if found is not None:
        ranks = [np.array([(np.sum(row < x) + np.sum(row <= x) - 1) / 2 for x in row]) for row in (one, other)]
        assert found == pytest.approx(np.corrcoef(ranks)[0, 1], abs=1e-9)


def test_the_distance_grows_with_how_far_votes_lie_apart() -> None:
    votes = np.eye(4)
    assert emd(votes, votes) == 0
    near, far = emd(votes[:1], votes[1:2]), emd(votes[:1], votes[3:])
    assert [near, far] == pytest.approx([0.5, np.sqrt(3 / 4)])


def test_distributions_are_judged_by_their_mean_too() -> None:
    ratings = np.array([1.0, 2, 3])
    labels = np.array([[1.0, 0, 0], [0, 0, 1]])
    predicted = np.array([[0.0, 1, 0], [0, 0, 1]])
    assert mean_rating(labels, ratings).tolist() == [1, 3]
    found = split_metrics(predicted, labels, trained_mean=2, ratings=ratings)
    assert [found.records, found.mae, found.mae_of_mean, found.spearman] == pytest.approx([2, 0.5, 1, 1])
    assert found.emd == pytest.approx(np.sqrt(1 / 3) / 2)
