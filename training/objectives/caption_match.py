"""Which of two captions belong to the image? Source: Samaran et al., ACL-IJCNLP SRW 2021, section 3, and its code."""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from training.batch import Batch, EncoderOutputs
from training.objectives.objective import Objective, ObjectiveOptions
from training.objectives.sizes import Sizes

LABELS = ("both", "first", "second")


@dataclass(frozen=True, kw_only=True)
class CaptionMatchOptions(ObjectiveOptions):
    """How the choice counts."""

    dropout: float = 0.1

    @property
    def needs(self) -> tuple[str, ...]:
        return ("caption_labels",)

    def build(self, sizes: Sizes) -> "CaptionMatchObjective":
        return CaptionMatchObjective(self, sizes)


class CaptionMatchObjective(Objective):
    """Three scores from the pooled state: both do, the first alone, the second alone."""

    def __init__(self, options: CaptionMatchOptions, sizes: Sizes) -> None:
        super().__init__(options, terms=("caption_match",))
        self.dropout = nn.Dropout(options.dropout)
        self.decoder = nn.Linear(sizes.hidden_size, len(LABELS))

    def scores(self, outputs: EncoderOutputs) -> Tensor:
        """Return float [B, 3]."""
        scores_B3: Tensor = self.decoder(self.dropout(outputs.pooled))
        return scores_B3

    def forward(self, outputs: EncoderOutputs, batch: Batch) -> dict[str, Tensor]:
        """Return the mean cross-entropy over the batch."""
        if batch.caption_labels is None:
            raise ValueError("caption match: the batch has no two captions, expected those of the task vgp")
        return {"caption_match": F.cross_entropy(self.scores(outputs).float(), batch.caption_labels)}
