"""The model of fine-tuning: an encoder, and one score for every answer of a task.

Source: Tan & Bansal, EMNLP 2019, section 4, and its public code. For NLVR2 the pooled states of a statement with either
image are put side by side; the paper writes one sigmoid there, the code a softmax over two.

Axes: B pairs, S sentences, A answers.
"""

from collections.abc import Collection
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from training.models.heads import AnswerHead
from training.models.two_stream import TwoStreamEncoder, TwoStreamShape, initialize
from training.records import Batch, EncoderOutputs

AnswerLoss = Literal["soft", "single"]
"""soft: binary cross-entropy with every answer's score, summed over answers. single: cross-entropy with one answer."""


class AnsweringModel(nn.Module):
    """Maps a batch to the loss of its answers; `scores` is what predictions are read from."""

    def __init__(self, shape: TwoStreamShape, *, num_answers: int, num_images: int, loss: AnswerLoss) -> None:
        super().__init__()
        self.encoder = TwoStreamEncoder(shape)
        self.head = AnswerHead(num_images * shape.hidden_size, 2 * shape.hidden_size, num_answers)
        self.num_images = num_images
        self.loss = loss
        initialize(self.head)

    @property
    def answer_head(self) -> AnswerHead | None:
        """The head that chooses answers."""
        return self.head

    def encode(self, batch: Batch, taps: Collection[str] = ()) -> EncoderOutputs:
        """Return the encoder's outputs, with the attentions that are asked for."""
        outputs: EncoderOutputs = self.encoder(batch, taps)
        return outputs

    def scores(self, batch: Batch) -> Tensor:
        """Return one score for every answer, float [S, A]."""
        pooled_BE = self.encode(batch).pooled
        scores_SA: Tensor = self.head(pooled_BE.reshape(len(pooled_BE) // self.num_images, -1))
        return scores_SA

    def weights(self, epoch: int) -> dict[str, float]:
        """Return the weight of every term in an epoch, counted from 0."""
        return {"answers": 1.0}

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Return the mean loss over the batch's sentences; for `single`, over those whose answer is in the table."""
        scores_SA = self.scores(batch).float()
        if self.loss == "soft":
            if batch.answer_scores is None:
                raise ValueError("answers: the batch has no soft scores, expected them to be asked for")
            targets_SA = batch.answer_scores[:: self.num_images]
            summed = F.binary_cross_entropy_with_logits(scores_SA, targets_SA, reduction="sum")
            return {"answers": summed / len(scores_SA)}
        ids_S = batch.answer_ids[:: self.num_images]
        summed = F.cross_entropy(scores_SA, ids_S, ignore_index=-100, reduction="sum")
        return {"answers": summed / (ids_S >= 0).sum().clamp(min=1)}
