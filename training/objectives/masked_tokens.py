"""Masked visual tokens: guess what an image's cells were before they were hidden, from the words and the other cells.

Source: Xue et al., NeurIPS 2021, section 3.3. What is guessed takes no gradient: a parser could make it constant, and
so right. The head is BERT's, since the paper has none. Section 4.1: of pairs that match alone, as of masked words.

Axes: B pairs, M hidden cells, E hidden size.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from training.batch import Batch, EncoderOutputs
from training.models.heads import Transform
from training.objectives.objective import Objective, ObjectiveOptions
from training.objectives.sizes import Sizes


@dataclass(frozen=True, kw_only=True)
class MaskedTokensOptions(ObjectiveOptions):
    """How hidden visual tokens count."""

    weight: float = 0.01
    matched_only: bool = False
    """Cells are to be guessed of pairs that match alone, as the paper has it; they are hidden of all. False is what
    recipes without this field were trained with."""

    @property
    def needs(self) -> tuple[str, ...]:
        return ("token_mask",)

    def build(self, sizes: Sizes) -> "MaskedTokensObjective":
        return MaskedTokensObjective(self, sizes)


class MaskedTokensObjective(Objective):
    """A transform, and a projection to the width of visual tokens, which is that of the encoder's states."""

    options: MaskedTokensOptions

    def __init__(self, options: MaskedTokensOptions, sizes: Sizes) -> None:
        super().__init__(options, terms=("masked_tokens",))
        self.transform = Transform(sizes.hidden_size)
        self.decoder = nn.Linear(sizes.hidden_size, sizes.hidden_size)

    def forward(self, outputs: EncoderOutputs, batch: Batch) -> dict[str, Tensor]:
        """Return the squared distance of hidden tokens from what is guessed, summed, over the number of pairs.

        Both are of pairs that match, where `matched_only` asks for these; without any it is 0.
        """
        hidden = outputs.hidden_tokens
        if batch.token_mask is None:
            raise ValueError("masked tokens: the batch has no token mask, expected one; see mask_tokens")
        if hidden is None:
            raise ValueError("masked tokens: the encoder hides nothing, expected one with visual tokens")
        asked_B = batch.is_matched if self.options.matched_only else torch.ones_like(batch.is_matched)
        is_asked_M = asked_B[hidden.positions // outputs.regions.shape[1]]
        states_ME = outputs.regions.flatten(0, 1)[hidden.positions[is_asked_M]]
        guessed_ME = self.decoder(self.transform(states_ME)).float()
        distance = (hidden.tokens[is_asked_M].detach().float() - guessed_ME).square().sum()
        return {"masked_tokens": distance / asked_B.sum().clamp(min=1)}
