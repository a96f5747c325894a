"""Word-object alignment: words that point at something find, among the regions, those that show it.

Source: Kervadec et al., ECAI 2020, sections 3.2 and 3.3. The paper cuts the prediction to its three highest regions,
which makes the divergence from a dense target infinite; the public code of the same group cuts the target instead and
predicts over all regions. Its decoder also is another one than the paper's. Both are here, the code's by default.

Axes: B pairs, L word pieces, R regions, P supervised pieces, E hidden size, J joint size.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.batch import Batch, EncoderOutputs
from training.models.layers import NORM_EPSILON, FeedForward
from training.objectives.objective import Objective, ObjectiveOptions
from training.objectives.sizes import Sizes

KEPT = 3
"""Regions that a prediction is cut to, where it is."""

_LEAST_MASS = 1e-6


@dataclass(frozen=True, kw_only=True)
class AlignmentOptions(ObjectiveOptions):
    """Decoder and loss; which targets, is an option of the batches."""

    weight: float = 5.0
    """The public code's for pre-training: 2.5, and 2 for the pairs without labels. The paper gives none."""
    decoder: Literal["code", "paper"] = "code"
    """code: linear to twice the width, GELU, layer norm, linear to the joint size. paper: feed-forward with residual
    and layer norm, at the encoder's width."""
    joint_size: int = 256
    """Width in which words and regions meet, of the decoder `code`."""
    topk_on: Literal["target", "pred_eval_only", "pred_restricted"] = "target"
    """Where the three highest matter. target: nowhere here, the targets are cut to them. pred_eval_only: when
    alignments are read out; the loss is the same, its targets are to be dense (`combination="paper"`).
    pred_restricted: in the loss, on the regions that the prediction holds for the highest; the paper's equations,
    made finite."""

    @property
    def needs(self) -> tuple[str, ...]:
        return ("alignment",)

    def build(self, sizes: Sizes) -> "WordObjectAlignment":
        return WordObjectAlignment(self, sizes)


class WordObjectAlignment(Objective):
    """Scores every word against every region."""

    options: AlignmentOptions

    def __init__(self, options: AlignmentOptions, sizes: Sizes) -> None:
        super().__init__(options, terms=("word_object_alignment",))
        self.text_decoder = _decoder(options, sizes.hidden_size)
        self.region_decoder = _decoder(options, sizes.hidden_size)

    def forward(self, outputs: EncoderOutputs, batch: Batch) -> dict[str, Tensor]:
        """Return the mean Kullback-Leibler divergence of prediction from target over the batch's supervised pieces.

        Words without a pointer, and pairs that do not match, are not among them; without any, it is 0.
        """
        alignment = batch.alignment
        if alignment is None:
            raise ValueError("word-object alignment: the batch has no targets, expected them to be asked for")
        length = outputs.text.shape[1]
        rows_P = alignment.positions // length
        text_PJ = self.text_decoder(outputs.text.flatten(0, 1)[alignment.positions])
        regions_PRJ = self.region_decoder(outputs.regions)[rows_P]
        scores_PR = _scaled((regions_PRJ @ text_PJ[:, :, None])[:, :, 0], text_PJ)
        divergence = restricted_divergence if self.options.topk_on == "pred_restricted" else dense_divergence
        losses_P, counted_P = divergence(scores_PR.float(), alignment.targets, batch.region_mask[rows_P])
        return {"word_object_alignment": losses_P.sum() / counted_P.sum().clamp(min=1)}

    def scores(self, outputs: EncoderOutputs) -> Tensor:
        """Return float [B, L, R], before any softmax: what alignments are read from."""
        text_BLJ = self.text_decoder(outputs.text)
        return _scaled(text_BLJ @ self.region_decoder(outputs.regions).transpose(1, 2), text_BLJ)


def dense_divergence(scores_PR: Tensor, targets_PR: Tensor, is_region_PR: Tensor) -> tuple[Tensor, Tensor]:
    """Return KL(target || softmax of the scores over all regions) [P], and that every row counts [P]."""
    log_probs_PR = scores_PR.masked_fill(~is_region_PR, torch.finfo(scores_PR.dtype).min).log_softmax(1)
    losses_P = F.kl_div(log_probs_PR, targets_PR.to(scores_PR.dtype), reduction="none").sum(1)
    return losses_P, torch.ones_like(losses_P, dtype=torch.bool)


def restricted_divergence(scores_PR: Tensor, targets_PR: Tensor, is_region_PR: Tensor) -> tuple[Tensor, Tensor]:
    """Return KL(target || prediction) on the prediction's highest regions, renormalised there [P], and which count [P].

    A row whose target has next to nothing there does not count; its loss is 0.
    """
    highest_PR = highest_regions(scores_PR, is_region_PR)
    kept_PR = targets_PR.to(scores_PR.dtype) * highest_PR
    mass_P1 = kept_PR.sum(1, keepdim=True)
    counted_P = mass_P1[:, 0] >= _LEAST_MASS
    losses_P, _ = dense_divergence(scores_PR, kept_PR / mass_P1.clamp(min=_LEAST_MASS), highest_PR)
    return losses_P * counted_P, counted_P


def highest_regions(scores_XR: Tensor, is_region_XR: Tensor) -> Tensor:
    """Return bool [X, R]: the `KEPT` highest regions of every row; exactly so many where there are."""
    masked = scores_XR.detach().masked_fill(~is_region_XR, torch.finfo(scores_XR.dtype).min)
    highest = masked.topk(min(KEPT, scores_XR.shape[-1]), dim=-1).indices
    return torch.zeros_like(is_region_XR).scatter(-1, highest, True) & is_region_XR


def _scaled(scores: Tensor, text_J: Tensor) -> Tensor:
    return scores / math.sqrt(text_J.shape[-1])


def _decoder(options: AlignmentOptions, hidden_size: int) -> nn.Module:
    if options.decoder == "paper":
        return FeedForward(hidden_size, hidden_size, dropout=0.0)
    return nn.Sequential(
        nn.Linear(hidden_size, 2 * hidden_size),
        nn.GELU(),
        nn.LayerNorm(2 * hidden_size, eps=NORM_EPSILON),
        nn.Linear(2 * hidden_size, options.joint_size),
    )
