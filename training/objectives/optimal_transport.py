"""Optimal transport: what it costs to carry a sentence's words to an image's regions; little where they match.

Source: Chen et al., ECCV 2020, section 3.2, and its public code, which also pushes pairs apart that do not match; the
plan is found by IPOT (Xie et al., UAI 2020). Its iterates are products of many small numbers, taken here as sums of
their logarithms: the same plan, of any costs.

Axes: B pairs, L word pieces, R regions, E hidden size.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from training.batch import Batch, EncoderOutputs
from training.objectives.objective import Objective, ObjectiveOptions
from training.objectives.sizes import Sizes

LEAST_NORM = 1e-5
"""A shorter state is divided by this instead of by its norm."""


@dataclass(frozen=True, kw_only=True)
class OptimalTransportOptions(ObjectiveOptions):
    """What is carried, how the plan is found, and how its cost counts."""

    weight: float = 0.1
    special_pieces: bool = False
    """[CLS] and [SEP] are carried too, as in UNITER's code; ViLT's leaves them out."""
    beta: float = 0.5
    """Size of IPOT's steps: the smaller, the sooner the plan is close to the best."""
    num_iterations: int = 50
    """At 50, costs of random pairs are within a hundredth of the least."""

    def __post_init__(self) -> None:
        if self.beta <= 0 or self.num_iterations < 1:
            raise ValueError(
                f"optimal transport: beta {self.beta} and {self.num_iterations} iterations, "
                "expected beta above 0 and at least one iteration"
            )

    def build(self, sizes: Sizes) -> "OptimalTransport":
        return OptimalTransport(self, sizes)


class OptimalTransport(Objective):
    """Has no weights: the states themselves come closer."""

    options: OptimalTransportOptions

    def __init__(self, options: OptimalTransportOptions, sizes: Sizes) -> None:
        super().__init__(options, terms=("optimal_transport",))

    def forward(self, outputs: EncoderOutputs, batch: Batch) -> dict[str, Tensor]:
        """Return the distances of pairs that match, less those of pairs that do not, over the number of all pairs."""
        distances_B = transport_distance(
            cosine_costs(outputs.text, outputs.regions),
            batch.text_mask if self.options.special_pieces else batch.is_word,
            batch.region_mask,
            beta=self.options.beta,
            num_iterations=self.options.num_iterations,
        )
        return {"optimal_transport": torch.where(batch.is_matched, distances_B, -distances_B).mean()}


def cosine_costs(text_BLE: Tensor, regions_BRE: Tensor) -> Tensor:
    """Return 1 - cosine of every word with every region, float32 [B, L, R], whatever the states are."""
    with torch.autocast(text_BLE.device.type, enabled=False):
        text_BLE = F.normalize(text_BLE.float(), dim=2, eps=LEAST_NORM)
        regions_BRE = F.normalize(regions_BRE.float(), dim=2, eps=LEAST_NORM)
        return 1 - text_BLE @ regions_BRE.transpose(1, 2)


def transport_distance(
    costs_BLR: Tensor, text_mask: Tensor, region_mask: Tensor, *, beta: float = 0.5, num_iterations: int = 50
) -> Tensor:
    """Return what each pair's transport costs [B]; its gradient goes through the costs, not through the plan.

    A pair without a word or without a region costs nothing.
    """
    plan_BLR = transport_plan(costs_BLR, text_mask, region_mask, beta=beta, num_iterations=num_iterations)
    return (costs_BLR * plan_BLR).sum((1, 2))


@torch.no_grad()
def transport_plan(
    costs_BLR: Tensor, text_mask: Tensor, region_mask: Tensor, *, beta: float = 0.5, num_iterations: int = 50
) -> Tensor:
    """Return how much of each word goes to each region, [B, L, R]; 0 where either is padding.

    Every word sends one over the number of words, exactly; every region gets one over the number of regions, the more
    exactly the more iterations.
    """
    word_share_B11 = -text_mask.sum(1).clamp(min=1).to(costs_BLR.dtype).log()[:, None, None]
    region_share_B11 = -region_mask.sum(1).clamp(min=1).to(costs_BLR.dtype).log()[:, None, None]
    is_pad_BLR = ~(text_mask[:, :, None] & region_mask[:, None])
    kernel_BLR = (-costs_BLR / beta).masked_fill(is_pad_BLR, -torch.inf)
    least = torch.finfo(costs_BLR.dtype).min  # of nothing, which then is scaled by a finite number and stays nothing
    plan_BLR, by_word_BL1 = torch.zeros_like(kernel_BLR), word_share_B11
    for _ in range(num_iterations):  # all in logarithms
        plan_BLR = kernel_BLR + plan_BLR
        got_B1R = (plan_BLR + by_word_BL1).logsumexp(1, keepdim=True).clamp(min=least)
        plan_BLR = plan_BLR + (region_share_B11 - got_B1R)
        sent_BL1 = plan_BLR.logsumexp(2, keepdim=True).clamp(min=least)
        by_word_BL1 = word_share_B11 - sent_BL1
        plan_BLR = plan_BLR + by_word_BL1
    return plan_BLR.exp()
