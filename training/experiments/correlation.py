"""Do two figures of many models go together, beyond what both owe to a third? Rank correlations over models.

Models that have learnt better may well answer better and let more flow between words and regions; given their training
loss, what is left tells more than the plain correlation. It still is one of models, not of causes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from training.experiments.comparison import RESAMPLES


@dataclass(frozen=True, kw_only=True)
class Correlation:
    """Spearman's, over models."""

    value: float
    low: float
    """Lower end of its 95 % bootstrap interval over models."""
    high: float
    num_models: int


def spearman(one: Sequence[float], other: Sequence[float], *, given: Sequence[float] | None = None) -> Correlation:
    """Return the correlation of the ranks of two figures; partial where a third is given: of what it does not explain.

    Resamples in which a figure is the same for all models, or the third explains it wholly, have none and do not count.

    Raises:
        ValueError: figures of different numbers of models or of too few, or one that is the same for all.
    """
    told = [one, other] if given is None else [one, other, given]
    if len(set(map(len, told))) > 1:
        raise ValueError(f"correlation: of {list(map(len, told))} models, expected as many for each figure")
    figures = np.array(told, float)
    num_models = figures.shape[1]
    if num_models < len(figures) + 2:
        raise ValueError(f"correlation over {num_models} models, expected at least {len(figures) + 2}")
    (value,) = _of_ranks(figures[:, None])
    if np.isnan(value):
        raise ValueError("correlation: a figure is the same for all models, or the third explains it wholly")
    drawn = np.random.default_rng(0).integers(num_models, size=(RESAMPLES, num_models))
    low, high = np.nanpercentile(_of_ranks(figures[:, drawn]), [2.5, 97.5])
    return Correlation(value=float(value), low=float(low), high=float(high), num_models=num_models)


def _of_ranks(figures: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the correlation in every resample, nan where there is none; figures are [2 or 3, resamples, models]."""
    ranks = rankdata(figures, axis=2)
    ranks -= ranks.mean(2, keepdims=True)
    if len(ranks) == 3:
        one, other, given = ranks
        ranks = np.stack([_unexplained(one, given), _unexplained(other, given)])
    one, other = ranks
    size = np.sqrt((one**2).sum(1) * (other**2).sum(1))
    return np.where(size > 1e-9, (one * other).sum(1) / np.where(size > 1e-9, size, 1), np.nan)


def _unexplained(ranks: NDArray[np.float64], given: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the residuals of the regression of ranks on ranks, both from their means."""
    square = (given**2).sum(1, keepdims=True)
    slope = (ranks * given).sum(1, keepdims=True) / np.where(square > 0, square, 1)
    return ranks - slope * given
