"""Question answering: choose the answer out of a table, in pre-training and in the tasks that ask.

Source: Tan & Bansal, EMNLP 2019, sections 3.1, 3.2 and 4, and its public code. For NLVR2 the pooled states of a
statement with either image are put side by side; the paper writes one sigmoid there, the code a softmax over two.

Axes: B pairs, S sentences, A answers.
"""

from dataclasses import dataclass
from typing import Literal

import torch.nn.functional as F
from torch import Tensor

from training.batch import Batch, EncoderOutputs
from training.models.heads import AnswerHead
from training.objectives.objective import Objective, ObjectiveOptions
from training.objectives.sizes import Sizes

AnswerLoss = Literal["soft", "single"]
"""soft: binary cross-entropy with every answer's score, summed over answers. single: cross-entropy with one answer."""


@dataclass(frozen=True, kw_only=True)
class QuestionAnsweringOptions(ObjectiveOptions):
    """How and from when on answers count."""

    from_epoch: int = 0
    """0 as in LXMERT's public code; the paper's own runs began with the second half of 20 epochs, at weight 2."""
    loss: AnswerLoss = "single"
    num_images: int = 1
    """Images of each sentence; their pooled states are put side by side."""

    @property
    def needs(self) -> tuple[str, ...]:
        return ("answer_scores",) if self.loss == "soft" else ()

    def weight_at(self, done: float, epoch: int) -> float:
        return super().weight_at(done, epoch) if epoch >= self.from_epoch else 0.0

    def build(self, sizes: Sizes) -> "QuestionAnsweringObjective":
        return QuestionAnsweringObjective(self, sizes)


class QuestionAnsweringObjective(Objective):
    """One score for every answer, from the pooled state."""

    options: QuestionAnsweringOptions

    def __init__(self, options: QuestionAnsweringOptions, sizes: Sizes) -> None:
        super().__init__(options, terms=("question_answering",))
        self.head = AnswerHead(options.num_images * sizes.hidden_size, 2 * sizes.hidden_size, sizes.num_answers)

    def scores(self, outputs: EncoderOutputs) -> Tensor:
        """Return one score for every answer, float [S, A]."""
        num_images = self.options.num_images
        scores_SA: Tensor = self.head(outputs.pooled.reshape(len(outputs.pooled) // num_images, -1))
        return scores_SA

    def forward(self, outputs: EncoderOutputs, batch: Batch) -> dict[str, Tensor]:
        """Return the mean loss over sentences; for `single`, over those that match and whose answer is in the table.

        Without any, it is 0.
        """
        # All pairs go through the head: to pick those with an answer, a GPU would have to wait for their number.
        scores_SA = self.scores(outputs).float()
        if self.options.loss == "soft":
            if batch.answer_scores is None:
                raise ValueError("question answering: the batch has no soft scores, expected them to be asked for")
            targets_SA = batch.answer_scores[:: self.options.num_images]
            summed = F.binary_cross_entropy_with_logits(scores_SA, targets_SA, reduction="sum")
            return {"question_answering": summed / len(scores_SA)}
        ids_S = batch.answer_ids[:: self.options.num_images]
        summed = F.cross_entropy(scores_SA, ids_S, ignore_index=-100, reduction="sum")
        return {"question_answering": summed / (ids_S >= 0).sum().clamp(min=1)}
