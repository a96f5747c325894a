"""Ranking: a pair that matches scores higher, by a margin, than each pair in which its image or its text is another.

Source: Chen et al., ECCV 2020 (UNITER), section 4, and its public code, which that of IAIS and CACR goes back to: of
many random other pairs only those that the model itself holds for the likeliest are learnt from.

Axes: B pairs, G groups of N pairs, the first of which matches, E hidden size.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.batch import Batch, EncoderOutputs
from training.objectives.matching import MatchingObjective
from training.objectives.objective import Objective, ObjectiveOptions
from training.objectives.sizes import Sizes

SCORED_AT_ONCE = 256
"""Pairs whose scores alone are asked for."""


@dataclass(frozen=True, kw_only=True)
class RankingOptions(ObjectiveOptions):
    """How far apart scores are to be, and which pairs are learnt from."""

    margin: float = 0.2
    """Between probabilities, so from 0 to 1."""
    kept: int = 31
    """Number of a group's non-matching pairs that are learnt from: the likeliest, by the model as it is."""
    begin: Literal["positive", "difference"] = "positive"
    """What the head begins with, where the run before had matching. positive: the row of "it does", as in the public
    code. difference: that less the row of "it does not"; the ranking is then that of matching's probabilities."""

    def __post_init__(self) -> None:
        if self.kept < 1:
            raise ValueError(f"ranking: {self.kept} other pairs are kept, expected 1 or more")

    @property
    def needs(self) -> tuple[str, ...]:
        return ("group_size",)

    def build(self, sizes: Sizes) -> "RankingObjective":
        return RankingObjective(self, sizes)


class RankingObjective(Objective):
    """One score for every pair, from the pooled state."""

    options: RankingOptions

    def __init__(self, options: RankingOptions, sizes: Sizes) -> None:
        super().__init__(options, terms=("ranking",))
        self.decoder = nn.Linear(sizes.hidden_size, 1)

    def begin_with(self, head: "RankingObjective | MatchingObjective") -> None:
        """The weights are those of the head of another run."""
        if isinstance(head, RankingObjective):
            self.load_state_dict(head.state_dict())
            return
        with torch.no_grad():
            for own, others in zip(self.decoder.parameters(), head.decoder.parameters(), strict=True):
                own.copy_(others[1:] if self.options.begin == "positive" else others[1:] - others[:1])

    def scores(self, outputs: EncoderOutputs) -> Tensor:
        """Return how well every pair matches, float32 [B]; its sigmoid is what margins are between."""
        scores_B: Tensor = self.decoder(outputs.pooled)[:, 0].float()
        return scores_B

    def narrow(self, batch: Batch, encode: Callable[[Batch], EncoderOutputs]) -> Batch:
        """Return the pairs that match and, of the others, the likeliest of each group: those that ranking keeps."""
        kept = self.options.kept
        if batch.group_size <= 1 + kept:
            return batch
        with torch.no_grad():
            starts = range(0, len(batch), SCORED_AT_ONCE)
            parts = [batch.take(slice(start, start + SCORED_AT_ONCE)) for start in starts]
            scores_B = torch.cat([self.scores(encode(part)) for part in parts])
        return batch.take(hardest_rows(scores_B, group_size=batch.group_size, kept=kept), group_size=1 + kept)

    def forward(self, outputs: EncoderOutputs, batch: Batch) -> dict[str, Tensor]:
        """Return the mean of max(0, margin + sigmoid(other) - sigmoid(matching)) over all other pairs of all groups.

        Raises:
            ValueError: the batch's pairs are in no groups.
        """
        if batch.group_size < 2:
            raise ValueError("ranking: the batch has no groups of pairs, expected a maker of groups")
        probs_GN = self.scores(outputs).sigmoid().view(-1, batch.group_size)
        return {"ranking": F.relu(self.options.margin + probs_GN[:, 1:] - probs_GN[:, :1]).mean()}


def hardest_rows(scores_B: Tensor, *, group_size: int, kept: int) -> Tensor:
    """Return of every group the first pair and the `kept` others of the highest scores, int64 [G * (1 + kept)].

    They stay in their order; of equal scores the first are taken.
    """
    scores_GN = scores_B.view(-1, group_size)
    hardest = scores_GN[:, 1:].argsort(dim=1, descending=True, stable=True)[:, :kept]
    places_GK = F.pad(hardest.sort(dim=1).values + 1, (1, 0))  # the matching pair's is 0
    first_G = torch.arange(0, len(scores_B), group_size, device=scores_B.device)
    return (first_G[:, None] + places_GK).flatten()
