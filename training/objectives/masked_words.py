"""Masked words: guess the word pieces that were hidden, from the rest of the sentence and the image.

Source: Devlin et al., NAACL 2019; Tan & Bansal, EMNLP 2019, section 3.1. Also of sentences that do not belong to their
image, as LXMERT's author confirmed.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.batch import Batch, EncoderOutputs
from training.models.heads import Transform
from training.objectives.objective import Objective, ObjectiveOptions
from training.objectives.sizes import Sizes


@dataclass(frozen=True, kw_only=True)
class MaskedWordsOptions(ObjectiveOptions):
    """How masked words count."""

    @property
    def needs(self) -> tuple[str, ...]:
        return ("masked_words",)

    def build(self, sizes: Sizes) -> "MaskedWordsObjective":
        return MaskedWordsObjective(self, sizes)


class MaskedWordsObjective(Objective):
    """A transform and a decoder that is the table of word embeddings, with a bias of its own."""

    def __init__(self, options: MaskedWordsOptions, sizes: Sizes) -> None:
        super().__init__(options, terms=("masked_words",))
        self.transform = Transform(sizes.hidden_size)
        self.bias = nn.Parameter(torch.zeros(sizes.vocab_size))

    def forward(self, outputs: EncoderOutputs, batch: Batch) -> dict[str, Tensor]:
        """Return the mean cross-entropy over the batch's masked positions; 0 where there are none."""
        masked = batch.masked_words
        if masked is None:
            raise ValueError("masked words: the batch has none, expected masking to be on")
        states_ME = outputs.text.flatten(0, 1)[masked.positions]
        scores = F.linear(self.transform(states_ME), outputs.word_embeddings, self.bias)
        summed = F.cross_entropy(scores.float(), masked.labels, reduction="sum")
        return {"masked_words": summed / max(len(masked.labels), 1)}
