"""Rank correlations over models, against SciPy; partial ones against regressions of ranks; their intervals."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import pearsonr, rankdata, spearmanr

from training.experiments.correlation import spearman


def drawn(seed, *, size=20, ties=False):
    figures = np.random.default_rng(seed).normal(size=(3, size))
    return np.round(figures) if ties else figures


@settings(max_examples=15)
@given(seed=st.integers(0, 10**6), ties=st.booleans())
def test_the_plain_one_is_scipys(seed, ties):
    one, other, _ = drawn(seed, ties=ties)
    assert spearman(one, other).value == pytest.approx(spearmanr(one, other).statistic, abs=1e-12)


@settings(max_examples=15)
@given(seed=st.integers(0, 10**6), ties=st.booleans())
def test_the_partial_one_is_that_of_what_a_regression_of_ranks_leaves(seed, ties):
    one, other, third = map(rankdata, drawn(seed, ties=ties))
    columns = np.stack([np.ones_like(third), third], 1)
    left = [ranks - columns @ np.linalg.lstsq(columns, ranks, rcond=None)[0] for ranks in (one, other)]
    assert spearman(one, other, given=third).value == pytest.approx(pearsonr(*left).statistic, abs=1e-9)


def test_the_partial_one_is_that_of_the_formula():
    one, other, third = [1, 2, 3, 4, 5, 6], [2, 1, 4, 3, 6, 5], [1, 3, 2, 4, 6, 5]
    first, second, both = (spearmanr(*pair).statistic for pair in ((one, third), (other, third), (one, other)))
    expected = (both - first * second) / np.sqrt((1 - first**2) * (1 - second**2))
    assert spearman(one, other, given=third).value == pytest.approx(expected, abs=1e-12)


def test_what_two_figures_owe_to_a_third_is_taken_out():
    rng = np.random.default_rng(0)
    third = rng.normal(size=200)
    one, other = third + 0.3 * rng.normal(size=200), third + 0.3 * rng.normal(size=200)
    plain, partial = spearman(one, other), spearman(one, other, given=third)
    assert plain.low > 0.8
    assert partial.low < 0 < partial.high and abs(partial.value) < 0.2


def test_the_interval_is_the_bootstraps_and_holds_the_truth_about_as_often_as_it_says():
    one, other, third = drawn(3)
    found = spearman(one, other, given=third)
    places = np.random.default_rng(9).integers(20, size=(2000, 20))
    resampled = []
    for place in places:
        a, b, c = (rankdata(figures[place]) for figures in (one, other, third))
        ab, ac, bc = np.corrcoef(a, b)[0, 1], np.corrcoef(a, c)[0, 1], np.corrcoef(b, c)[0, 1]
        resampled.append((ab - ac * bc) / np.sqrt((1 - ac**2) * (1 - bc**2)))
    assert (found.low, found.high) == pytest.approx(np.percentile(resampled, [2.5, 97.5]), abs=0.04)
    intervals = [spearman(*drawn(seed, size=30)[:2]) for seed in range(20)]
    assert sum(each.low <= 0 <= each.high for each in intervals) >= 16


def test_too_few_models_and_figures_that_tell_nothing_are_refused():
    with pytest.raises(ValueError, match="over 3 models, expected at least 4"):
        spearman([1, 2, 3], [1, 2, 3])
    with pytest.raises(ValueError, match="over 4 models, expected at least 5"):
        spearman([1, 2, 3, 4], [1, 2, 3, 4], given=[1, 2, 4, 3])
    with pytest.raises(ValueError, match="the same for all models"):
        spearman([1, 1, 1, 1, 1], [1, 2, 3, 4, 5])
    with pytest.raises(ValueError, match="the third explains it wholly"):
        spearman([1, 2, 3, 4, 5], [2, 1, 3, 4, 5], given=[10, 20, 30, 40, 50])
    with pytest.raises(ValueError, match=r"of \[5, 4\] models, expected as many for each figure"):
        spearman([1, 2, 3, 4, 5], [1, 2, 3, 4])
