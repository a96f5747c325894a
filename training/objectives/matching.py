"""Matching: does the sentence belong to the image? Source: Tan & Bansal, EMNLP 2019, section 3.1."""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from training.batch import Batch, EncoderOutputs
from training.objectives.objective import Objective, ObjectiveOptions
from training.objectives.sizes import Sizes


@dataclass(frozen=True, kw_only=True)
class MatchingOptions(ObjectiveOptions):
    """How matching counts."""

    pooled: bool = True
    """The pooled state is asked; False: the state of [CLS] as it is, as SOHO has it."""

    def build(self, sizes: Sizes) -> "MatchingObjective":
        return MatchingObjective(self, sizes)


class MatchingObjective(Objective):
    """Two scores from the pooled state, or that of [CLS]: it does not, it does."""

    options: MatchingOptions

    def __init__(self, options: MatchingOptions, sizes: Sizes) -> None:
        super().__init__(options, terms=("matching",))
        self.decoder = nn.Linear(sizes.hidden_size, 2)

    def scores(self, outputs: EncoderOutputs) -> Tensor:
        """Return how well every pair matches, float32 [B]: the logarithm of the odds, whose sigmoid is the probability.

        The score of "it does" alone would rank otherwise: the other one differs from pair to pair, too.
        """
        scores_B2 = self._both(outputs)
        return scores_B2[:, 1] - scores_B2[:, 0]

    def forward(self, outputs: EncoderOutputs, batch: Batch) -> dict[str, Tensor]:
        """Return the mean cross-entropy over the batch."""
        return {"matching": F.cross_entropy(self._both(outputs), batch.is_matched.long())}

    def _both(self, outputs: EncoderOutputs) -> Tensor:
        """Return the scores of "it does not" and "it does", float32 [B, 2]."""
        return self.decoder(outputs.pooled if self.options.pooled else outputs.text[:, 0]).float()
