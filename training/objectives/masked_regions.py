"""Masked regions: guess the feature, class and attribute of regions that were hidden; their boxes stay visible.

Source: Tan & Bansal, EMNLP 2019, section 3.1. The paper says squared error and cross-entropy, at masked regions. Its
public code takes Smooth-L1, weighs cross-entropy by the detector's confidence and takes it at every region, masked or
not, adds attributes, and divides all three by the number of all regions and by the share that is masked. UNITER (Chen
et al., ECCV 2020, section 3.2) takes squared error, and classes by cross-entropy or by divergence.

Axes: X regions, C names.
"""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.batch import Batch, EncoderOutputs
from training.models.heads import Transform
from training.objectives.objective import Objective, ObjectiveOptions
from training.objectives.sizes import Sizes

MEANS_OF_MASKED = ("masked_only", "masked_kl")
"""Labels with which losses are means over masked regions, as the papers have them."""


@dataclass(frozen=True, kw_only=True)
class MaskedRegionsOptions(ObjectiveOptions):
    """What is guessed, and how it counts."""

    labels: Literal["conf_all", "masked_only", "masked_conf", "masked_kl"] = "conf_all"
    """Classes and attributes of all regions by their confidence (the code), of masked ones alike (the paper), of
    masked ones by their confidence, or of masked ones by the divergence from the detector's distribution (UNITER's
    MRC-kl), of which shards hold the likeliest name and its score: the rest is spread evenly."""
    feature_loss: Literal["smooth_l1", "l2"] = "smooth_l1"
    """Loss of features: the code's, or the paper's; the mean over the feature's dimensions."""
    features: bool = True
    classes: bool = True
    attributes: bool = True
    normalizer: float = 1 / 0.15
    """Factor of every term that is a mean over all regions: one over the share that is masked. With the labels
    `masked_only` and `masked_kl` there is none: all terms are means over the masked regions."""

    def __post_init__(self) -> None:
        if not (self.features or self.classes or self.attributes):
            raise ValueError("masked regions: nothing of them is guessed, expected features, classes or attributes")

    @property
    def needs(self) -> tuple[str, ...]:
        return ("masked_regions",)

    def build(self, sizes: Sizes) -> "MaskedRegionsObjective":
        return MaskedRegionsObjective(self, sizes)


class MaskedRegionsObjective(Objective):
    """A transform that three linear decoders share."""

    options: MaskedRegionsOptions

    def __init__(self, options: MaskedRegionsOptions, sizes: Sizes) -> None:
        asked = {"features": options.features, "classes": options.classes, "attributes": options.attributes}
        super().__init__(options, terms=tuple(f"region_{name}" for name, is_asked in asked.items() if is_asked))
        self.transform = Transform(sizes.hidden_size)
        if options.features:
            self.feature_decoder = nn.Linear(sizes.hidden_size, sizes.feature_dim)
        if options.classes:
            self.class_decoder = nn.Linear(sizes.hidden_size, sizes.num_classes)
        if options.attributes:
            self.attribute_decoder = nn.Linear(sizes.hidden_size, sizes.num_attributes)

    def forward(self, outputs: EncoderOutputs, batch: Batch) -> dict[str, Tensor]:
        """Return `region_features`, `region_classes` and `region_attributes`, as far as they are asked for."""
        masked = batch.masked_regions
        if masked is None:
            raise ValueError("masked regions: the batch has none, expected masking to be on")
        states_XE = outputs.regions.flatten(0, 1)
        masked_ME = self.transform(states_XE[masked.positions])
        asked_XE = masked_ME if self.options.labels != "conf_all" else self.transform(states_XE)
        num_regions = batch.region_mask.sum().clamp(min=1)
        terms = {}
        if self.options.features:
            guessed_MD, true_MD = self.feature_decoder(masked_ME).float(), masked.features.float()
            measure = F.smooth_l1_loss if self.options.feature_loss == "smooth_l1" else F.mse_loss
            per_region_M = measure(guessed_MD, true_MD, reduction="none").mean(1)
            terms["region_features"] = self._over_masked(per_region_M, num_regions)
        if self.options.classes:
            scores = self.class_decoder(asked_XE)
            terms["region_classes"] = self._label_loss(scores, batch.class_ids, batch.class_scores, batch)
        if self.options.attributes:
            scores = self.attribute_decoder(asked_XE)
            terms["region_attributes"] = self._label_loss(scores, batch.attribute_ids, batch.attribute_scores, batch)
        return terms

    def _over_masked(self, losses_M: Tensor, num_regions: Tensor) -> Tensor:
        """Return what the masked regions' losses come to: as the code has it, or their mean."""
        if self.options.labels in MEANS_OF_MASKED:
            return losses_M.sum() / max(len(losses_M), 1)
        return losses_M.sum() / num_regions * self.options.normalizer

    def _label_loss(self, scores: Tensor, ids_BR: Tensor, confidences_BR: Tensor, batch: Batch) -> Tensor:
        """Return the cross-entropy with the detector's names; a region of padding or without a name has none."""
        there_BR = batch.region_mask & (ids_BR >= 0)
        ids_X, confidences_X = ids_BR.masked_fill(~there_BR, -100).flatten(), (confidences_BR * there_BR).flatten()
        if self.options.labels != "conf_all" and batch.masked_regions is not None:
            ids_X, confidences_X = ids_X[batch.masked_regions.positions], confidences_X[batch.masked_regions.positions]
        if self.options.labels == "masked_kl":
            return divergence_from_detector(scores.float(), ids_X, confidences_X)
        losses_X = F.cross_entropy(scores.float(), ids_X, ignore_index=-100, reduction="none")
        if self.options.labels == "masked_only":
            return losses_X.sum() / (ids_X >= 0).sum().clamp(min=1)
        return (losses_X * confidences_X).sum() / batch.region_mask.sum().clamp(min=1) * self.options.normalizer


def divergence_from_detector(scores_XC: Tensor, ids_X: Tensor, confidences_X: Tensor) -> Tensor:
    """Return the mean KL(detector || softmax of the scores) over regions with a name, id 0 or more; 0 without any.

    The detector's distribution is taken to be its confidence for that name, and the rest evenly for all others.
    """
    is_named_X, num_others = ids_X >= 0, max(scores_XC.shape[1] - 1, 1)
    log_probs_XC = scores_XC.log_softmax(1)
    named_X = log_probs_XC.gather(1, ids_X.clamp(min=0)[:, None])[:, 0]
    others_X = (log_probs_XC.sum(1) - named_X) / num_others
    rest_X = 1 - confidences_X
    entropy_X = -(torch.xlogy(confidences_X, confidences_X) + torch.xlogy(rest_X, rest_X / num_others))
    losses_X = -(confidences_X * named_X + rest_X * others_X) - entropy_X
    return (losses_X * is_named_X).sum() / is_named_X.sum().clamp(min=1)
