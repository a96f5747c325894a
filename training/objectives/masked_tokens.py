"""Masked visual tokens: guess what an image's cells were before they were hidden, from the words and the other cells.

Source: Xue et al., NeurIPS 2021, section 3.3. What is guessed takes no gradient: a parser could make it constant, and
so right. The head is BERT's, since the paper has none.

Axes: M hidden cells, E hidden size.
"""

from dataclasses import dataclass

from torch import Tensor, nn

from training.models.heads import Transform
from training.objectives.sizes import Sizes
from training.records import Batch, EncoderOutputs


@dataclass(frozen=True, kw_only=True)
class MaskedTokensOptions:
    """How hidden visual tokens count."""

    weight: float = 0.01


class MaskedTokensObjective(nn.Module):
    """A transform, and a projection to the width of visual tokens, which is that of the encoder's states."""

    def __init__(self, options: MaskedTokensOptions, sizes: Sizes) -> None:
        super().__init__()
        self.terms = ("masked_tokens",)
        self.transform = Transform(sizes.hidden_size)
        self.decoder = nn.Linear(sizes.hidden_size, sizes.hidden_size)

    def forward(self, outputs: EncoderOutputs, batch: Batch) -> dict[str, Tensor]:
        """Return the squared distance of all hidden tokens from what is guessed, summed, over the number of pairs."""
        hidden = outputs.hidden_tokens
        if batch.token_mask is None:
            raise ValueError("masked tokens: the batch has no token mask, expected one; see mask_tokens")
        if hidden is None:
            raise ValueError("masked tokens: the encoder hides nothing, expected one with visual tokens")
        states_ME = outputs.regions.flatten(0, 1)[hidden.positions]
        guessed_ME = self.decoder(self.transform(states_ME)).float()
        return {"masked_tokens": (hidden.tokens.detach().float() - guessed_ME).square().sum() / len(batch)}
