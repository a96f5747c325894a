"""How are two phrases related that name the same thing in two captions of an image?

Source: Samaran et al., ACL-IJCNLP SRW 2021, section 3, and its public code; the relations are VGP-Typology's.

Axes: Q phrase pairs, L word pieces, E hidden size.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from annotations.datasets.vgp import TYPES
from training.batch import Batch, EncoderOutputs
from training.objectives.objective import Objective, ObjectiveOptions
from training.objectives.sizes import Sizes


@dataclass(frozen=True, kw_only=True)
class PhraseRelationsOptions(ObjectiveOptions):
    """How relations count."""

    @property
    def needs(self) -> tuple[str, ...]:
        return ("phrase_pairs",)

    def build(self, sizes: Sizes) -> "PhraseRelationsObjective":
        return PhraseRelationsObjective(self, sizes)


class PhraseRelationsObjective(Objective):
    """A linear map of both phrases, their product and the size of their difference, to five scores."""

    def __init__(self, options: PhraseRelationsOptions, sizes: Sizes) -> None:
        super().__init__(options, terms=("phrase_relations",))
        self.decoder = nn.Linear(4 * sizes.hidden_size, len(TYPES))

    def scores(self, outputs: EncoderOutputs, batch: Batch) -> Tensor:
        """Return float [Q, 5], a score of each relation, in the order of `TYPES`."""
        pairs = batch.phrase_pairs
        if pairs is None:
            raise ValueError("phrase relations: the batch has no two captions, expected those of the task vgp")
        one_QE = pooled_phrases(outputs.text, pairs.rows, pairs.first_starts, pairs.first_ends)
        other_QE = pooled_phrases(outputs.text, pairs.rows, pairs.second_starts, pairs.second_ends)
        scores_Q5: Tensor = self.decoder(compared(one_QE, other_QE))
        return scores_Q5

    def forward(self, outputs: EncoderOutputs, batch: Batch) -> dict[str, Tensor]:
        """Return the mean cross-entropy over the pairs whose relation is known; 0 without any."""
        scores_Q5 = self.scores(outputs, batch).float()
        relations_Q = batch.phrase_pairs.relations  # type: ignore[union-attr]
        summed = F.cross_entropy(scores_Q5, relations_Q, ignore_index=-100, reduction="sum")
        return {"phrase_relations": summed / (relations_Q >= 0).sum().clamp(min=1)}


def pooled_phrases(text_BLE: Tensor, rows_Q: Tensor, starts_Q: Tensor, ends_Q: Tensor) -> Tensor:
    """Return float [Q, E]: the largest value of each dimension over the pieces of each phrase."""
    places_L = torch.arange(text_BLE.shape[1], device=text_BLE.device)
    inside_QL = (places_L >= starts_Q[:, None]) & (places_L < ends_Q[:, None])
    states_QLE = text_BLE[rows_Q].masked_fill(~inside_QL[:, :, None], torch.finfo(text_BLE.dtype).min)
    return states_QLE.amax(1)


def compared(one_QE: Tensor, other_QE: Tensor) -> Tensor:
    """Return float [Q, 4E]: both, their product, the size of their difference."""
    return torch.cat([one_QE, other_QE, one_QE * other_QE, (one_QE - other_QE).abs()], 1)
