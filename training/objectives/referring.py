"""Referring expressions: of all regions of an image, choose the one that a sentence is about.

Source: Chen et al., ECCV 2020 (UNITER), section 4: a linear score of each region's state, and a softmax over regions.

Axes: B pairs, R regions.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from training.batch import Batch, EncoderOutputs
from training.objectives.objective import Objective, ObjectiveOptions
from training.objectives.sizes import Sizes


@dataclass(frozen=True, kw_only=True)
class ReferringOptions(ObjectiveOptions):
    """How the choice counts."""

    @property
    def needs(self) -> tuple[str, ...]:
        return ("grounding",)

    def build(self, sizes: Sizes) -> "ReferringObjective":
        return ReferringObjective(self, sizes)


class ReferringObjective(Objective):
    """One score for every region."""

    def __init__(self, options: ReferringOptions, sizes: Sizes) -> None:
        super().__init__(options, terms=("referring",))
        self.decoder = nn.Linear(sizes.hidden_size, 1)

    def scores(self, outputs: EncoderOutputs, batch: Batch) -> Tensor:
        """Return float32 [B, R]; padding is far below everything else."""
        scores_BR = self.decoder(outputs.regions)[:, :, 0].float()
        return scores_BR.masked_fill(~batch.region_mask, torch.finfo(torch.float32).min)

    def forward(self, outputs: EncoderOutputs, batch: Batch) -> dict[str, Tensor]:
        """Return minus the logarithm of what goes to the regions that show what is meant; the mean over pairs.

        Of gold boxes there is one; of detected ones there may be several, or none: such a pair has no part in it.
        """
        if batch.grounding is None:
            raise ValueError("referring: the batch has no grounding, expected phrases to be asked for")
        counts_BR = torch.zeros_like(batch.region_mask, dtype=torch.int32)
        gold_BR = counts_BR.index_add_(0, batch.grounding.rows, batch.grounding.gold.int()) > 0
        log_probs_BR = self.scores(outputs, batch).log_softmax(1)
        least = torch.finfo(log_probs_BR.dtype).min
        found_B = log_probs_BR.masked_fill(~gold_BR, least).logsumexp(1)
        is_shown_B = gold_BR.any(1)
        return {"referring": -(found_B * is_shown_B).sum() / is_shown_B.sum().clamp(min=1)}
