"""Do states of words and of regions lie apart? k-means in two clusters against what is a word and what a region.

Source: Xue et al., NeurIPS 2021: normalised mutual information of clusters and modalities, by pair and layer; 1 where
the clusters are the modalities, near 0 (not 0: places are few) where states do not tell them. The norm is an average of
the two entropies, and there are several averages: the arithmetic is scikit-learn's default, and ours.

All pairs and restarts are clustered at once, by the products of states with each other: no centre is ever written down.

Axes: B pairs, S restarts, T places, E hidden size.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

RESTARTS = 10
"""The best of so many is taken, as scikit-learn's `n_init`."""
MAX_ITERATIONS = 300
_SEED = 0


@dataclass(frozen=True, kw_only=True, eq=False)
class MutualInformation:
    """Mutual information of two labellings of the places of every pair, by the norm of their entropies; float64 [B]."""

    arithmetic: Tensor
    geometric: Tensor
    max: Tensor


def two_clusters(states_BTE: Tensor, there_BT: Tensor) -> Tensor:
    """Return which of a pair's two clusters each place is in, bool [B, T]; False for padding.

    k-means with k-means++ starts, of ten the one with the least inertia. The same draws for every pair, so that the
    result depends on the pair alone, not on its batch.
    """
    there_B1T = there_BT[:, None]
    products_BTT = _products(states_BTE, there_BT)
    second_BST = torch.zeros_like(there_B1T)
    new_BST = _starts(products_BTT, there_BT)
    for _ in range(MAX_ITERATIONS):
        if torch.equal(new_BST, second_BST):
            break
        second_BST = new_BST
        new_BST = _nearer_to_second(~second_BST & there_B1T, second_BST, products_BTT) & there_B1T
    distances_BST = torch.where(
        second_BST, _distances(second_BST, products_BTT), _distances(~second_BST & there_B1T, products_BTT)
    )
    best_B = (distances_BST * there_B1T).sum(2).argmin(1)
    return second_BST[torch.arange(len(second_BST), device=best_B.device), best_B]


def mutual_information(one_BT: Tensor, other_BT: Tensor, there_BT: Tensor) -> MutualInformation:
    """Return that of two labellings, bool [B, T], of the places that are there; 0 where one has a single label."""
    counts = [
        [(first_BT & second_BT & there_BT).sum(1) for second_BT in (other_BT, ~other_BT)]
        for first_BT in (one_BT, ~one_BT)
    ]
    shares_B22 = torch.stack([torch.stack(row, 1) for row in counts], 1).double()
    shares_B22 = shares_B22 / shares_B22.sum((1, 2), keepdim=True).clamp(min=1)
    of_one_B, of_other_B = _entropy(shares_B22.sum(2)), _entropy(shares_B22.sum(1))
    shared_B = (of_one_B + of_other_B - _entropy(shares_B22.flatten(1))).clamp(min=0)
    norms = {
        "arithmetic": (of_one_B + of_other_B) / 2,
        "geometric": (of_one_B * of_other_B).sqrt(),
        "max": torch.maximum(of_one_B, of_other_B),
    }
    return MutualInformation(
        **{name: torch.where(norm_B > 0, shared_B / norm_B, 0.0) for name, norm_B in norms.items()}
    )


def _products(states_BTE: Tensor, there_BT: Tensor) -> Tensor:
    """Return the products of a pair's states, from their mean, with each other, float64 [B, T, T]; 0 of padding."""
    there_BT1 = there_BT[:, :, None].double()
    states_BTE = torch.where(there_BT[:, :, None], states_BTE.double(), 0.0)
    mean_B1E = states_BTE.sum(1, keepdim=True) / there_BT1.sum(1, keepdim=True).clamp(min=1)
    centred_BTE = (states_BTE - mean_B1E) * there_BT1
    with torch.autocast(centred_BTE.device.type, enabled=False):
        return centred_BTE @ centred_BTE.transpose(1, 2)


def _starts(products_BTT: Tensor, there_BT: Tensor) -> Tensor:
    """Return which places begin in the second cluster, bool [B, S, T]: of two places, the second drawn the likelier the
    farther it lies from the first (squared)."""
    draws_2S = torch.rand(2, RESTARTS, dtype=torch.float64, generator=torch.Generator().manual_seed(_SEED))
    weights_BST = there_BT[:, None].expand(-1, RESTARTS, -1).double()
    centres: list[Tensor] = []
    for draw_S in draws_2S.to(products_BTT.device):
        centres.append(_drawn(weights_BST, draw_S))
        weights_BST = (_distances(centres[-1], products_BTT) * there_BT[:, None]).clamp(min=0)
    first_BST, second_BST = centres
    return _nearer_to_second(first_BST, second_BST, products_BTT) & there_BT[:, None]


def _drawn(weights_BST: Tensor, draw_S: Tensor) -> Tensor:
    """Return one place for each draw from 0 to 1, as likely as its weight: bool [B, S, T]."""
    until_BST = weights_BST.cumsum(2)
    found_BS1 = torch.searchsorted(until_BST, draw_S[:, None] * until_BST[:, :, -1:], right=True)
    places_T = torch.arange(weights_BST.shape[2], device=weights_BST.device)
    return places_T == found_BS1.clamp(max=len(places_T) - 1)


def _nearer_to_second(first_BST: Tensor, second_BST: Tensor, products_BTT: Tensor) -> Tensor:
    return _distances(second_BST, products_BTT) < _distances(first_BST, products_BTT)


def _distances(members_BST: Tensor, products_BTT: Tensor) -> Tensor:
    """Return the squared distance of every place to the mean of these members, [B, S, T]."""
    shares_BST = members_BST / members_BST.sum(2, keepdim=True).clamp(min=1).to(products_BTT.dtype)
    with torch.autocast(products_BTT.device.type, enabled=False):
        to_mean_BST = shares_BST @ products_BTT
    of_mean_BS1 = (to_mean_BST * shares_BST).sum(2, keepdim=True)
    return products_BTT.diagonal(dim1=1, dim2=2)[:, None] - 2 * to_mean_BST + of_mean_BS1


def _entropy(shares_BX: Tensor) -> Tensor:
    return torch.special.entr(shares_BX).sum(1)
