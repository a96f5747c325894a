"""Alignment targets: for a pointed word, a distribution over the regions of its image.

Two criteria say how well region j fits word i, and are stored as they are: position, the IoU of the region with the
gold box, and semantic, the similarity of the word with the names that the detector gave the region. `combine` turns
them into targets when a batch is made. Source: Kervadec et al., ECAI 2020, equations 14 to 18, and the public code of
the same group where the paper leaves something open.

Axes: W words, R regions.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Combination = Literal["code", "paper", "position-only", "semantic-only"]

CLASS_WEIGHT = 0.75
"""Weight of the class name in the semantic criterion; the attribute's name has the rest."""

MIN_SUPPORT = 0.1
"""The public code's gate: a word whose kept scores sum to less is not supervised."""

_POSITION_WEIGHT: dict[Combination, float] = {"code": 0.5, "paper": 0.5, "position-only": 1.0, "semantic-only": 0.0}
_EPSILON = 1e-9  # the public code's, against division by the norm of a row of zeros


@dataclass(frozen=True, kw_only=True, eq=False)
class AlignmentTargets:
    """What each word's attention over the regions should be."""

    targets: NDArray[np.floating]
    """float [W, R]; every row sums to 1, or to 0 where the word has no region at all."""
    supervised: NDArray[np.bool_]
    """bool [W]; False where the criteria say too little: such a row must not enter a loss."""


def combine(
    position: ArrayLike,
    semantic: ArrayLike,
    *,
    combination: Combination = "code",
    top_k: int | None = None,
    min_support: float | None = None,
    require_iou: float = 0.0,
    is_region: ArrayLike | None = None,
    at_most_k: bool | None = None,
) -> AlignmentTargets:
    """Return targets from the two criteria, float64 where either is float64 and float32 otherwise.

    `code`: each criterion is divided by its L2 norm over the regions, both count half, the `top_k` highest scores are
    kept (ties with the last one too), and a softmax of what is kept is the target. `position-only` and `semantic-only`
    are the same with one criterion, but for `at_most_k`. `paper`: negative values become 0, each criterion is divided
    by its sum, both count half, and the row is divided by its sum.

    Args:
        position: float [W, R]; IoU, 0 to 1.
        semantic: float [W, R]; cosine similarity, -1 to 1.
        top_k: regions kept; None: 3, for `paper` all.
        min_support: a word is supervised if its positive kept scores sum to so much; None: 0.1, for `paper` more
            than nothing.
        require_iou: a word is supervised only if a region overlaps its gold box so much.
        is_region: bool [W, R]; False for columns that are padding. None: all are regions.
        at_most_k: never are more than `top_k` regions kept, of ties the first ones, and none whose score is 0 or less:
            of one criterion alone most scores are 0, and ties would spread the target over regions that say nothing.
            None: for `position-only` and `semantic-only`; `code` is what the public code does.

    Raises:
        ValueError: shapes that differ, or a `top_k` below 1.
    """
    position, semantic = _floats(position), _floats(semantic)
    dtype = np.result_type(position, semantic)
    there = np.ones(position.shape, bool) if is_region is None else np.asarray(is_region, bool)
    if not position.shape == semantic.shape == there.shape or position.ndim != 2:
        raise ValueError(
            f"position is {list(position.shape)}, semantic {list(semantic.shape)}, is_region {list(there.shape)}; "
            "expected all three [words, regions]"
        )
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k is {top_k}, expected at least 1")
    criteria = position.astype(dtype) * there, semantic.astype(dtype) * there
    weight = _POSITION_WEIGHT[combination]
    if combination == "paper":
        scores = _weighted(weight, *(_over_sum(np.maximum(each, 0)) for each in criteria))
        kept = _highest(scores, there, top_k)
        targets = _over_sum(np.where(kept, scores, 0))
    else:
        scores = _weighted(weight, *(_over_norm(each) for each in criteria))
        is_bounded = weight in (0, 1) if at_most_k is None else at_most_k
        kept = (_highest_above_0 if is_bounded else _highest)(scores, there, 3 if top_k is None else top_k)
        targets = _softmax(scores, kept)
    support = np.where(kept, np.maximum(scores, 0), 0).sum(axis=1)
    enough = support > 0 if combination == "paper" and min_support is None else support >= _gate(min_support)
    overlaps = np.max(criteria[0], axis=1, initial=0) >= require_iou
    return AlignmentTargets(targets=targets, supervised=enough & overlaps & there.any(axis=1))


def _gate(min_support: float | None) -> float:
    return MIN_SUPPORT if min_support is None else min_support


def _weighted(weight: float, position: NDArray[np.floating], semantic: NDArray[np.floating]) -> NDArray[np.floating]:
    return weight * position + (1 - weight) * semantic


def _over_norm(rows: NDArray[np.floating]) -> NDArray[np.floating]:
    return rows / (np.linalg.norm(rows, axis=1, keepdims=True) + _EPSILON)


def _over_sum(rows: NDArray[np.floating]) -> NDArray[np.floating]:
    sums = rows.sum(axis=1, keepdims=True)
    return np.divide(rows, sums, out=np.zeros_like(rows), where=sums > 0)


def _highest(scores: NDArray[np.floating], there: NDArray[np.bool_], top_k: int | None) -> NDArray[np.bool_]:
    """Return which entries are among the `top_k` highest of their row, or equal the last of them."""
    num_regions = scores.shape[1]
    if top_k is None or top_k >= num_regions:
        return there
    candidates = np.where(there, scores, -np.inf)
    last = np.partition(candidates, num_regions - top_k, axis=1)[:, num_regions - top_k, None]
    return there & (candidates >= last)


def _highest_above_0(scores: NDArray[np.floating], there: NDArray[np.bool_], top_k: int) -> NDArray[np.bool_]:
    """Return which entries are the `top_k` highest of their row, fewer where fewer are above 0; of ties the first."""
    first_best = np.argsort(np.where(there, -scores, np.inf), axis=1, kind="stable")[:, :top_k]
    kept = np.zeros(scores.shape, bool)
    np.put_along_axis(kept, first_best, True, axis=1)
    return kept & there & (scores > 0)


def _softmax(scores: NDArray[np.floating], kept: NDArray[np.bool_]) -> NDArray[np.floating]:
    """Return the softmax over the kept entries, 0 elsewhere; a row that keeps nothing is all 0."""
    highest = np.max(scores, axis=1, keepdims=True, initial=-np.inf, where=kept)
    exponentials = np.where(kept, np.exp(np.where(kept, scores - np.where(np.isfinite(highest), highest, 0), 0)), 0)
    return _over_sum(exponentials.astype(scores.dtype))


def _floats(values: ArrayLike) -> NDArray[np.floating]:
    array = np.asarray(values)
    return array if array.dtype == np.float64 else array.astype(np.float32)
