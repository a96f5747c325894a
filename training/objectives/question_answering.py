"""Question answering: choose the answer out of a table. Source: Tan & Bansal, EMNLP 2019, sections 3.1 and 3.2."""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from training.models.heads import AnswerHead
from training.objectives.sizes import Sizes
from training.records import Batch, EncoderOutputs


@dataclass(frozen=True, kw_only=True)
class QuestionAnsweringOptions:
    """How and from when on answers count."""

    weight: float = 1.0
    from_epoch: int = 0
    """0 as in LXMERT's public code; the paper's own runs began with the second half of 20 epochs, at weight 2."""


class QuestionAnsweringObjective(nn.Module):
    """One score for every answer, from the pooled state."""

    def __init__(self, options: QuestionAnsweringOptions, sizes: Sizes) -> None:
        super().__init__()
        self.terms = ("question_answering",)
        self.head = AnswerHead(sizes.hidden_size, 2 * sizes.hidden_size, sizes.num_answers)

    def forward(self, outputs: EncoderOutputs, batch: Batch) -> dict[str, Tensor]:
        """Return the mean cross-entropy over the pairs that match and have an answer in the table; 0 without any."""
        # All pairs go through the head: to pick those with an answer, a GPU would have to wait for their number.
        scores_BA = self.head(outputs.pooled).float()
        summed = F.cross_entropy(scores_BA, batch.answer_ids, ignore_index=-100, reduction="sum")
        return {"question_answering": summed / (batch.answer_ids >= 0).sum().clamp(min=1)}
