"""Phrase grounding: for every phrase and region, does the region show what the phrase means?

Source: Samaran et al., ACL-IJCNLP SRW 2021, "indirect" supervision. A phrase is the maximum over its pieces' final
states, as in the public code and as the paper pools phrases elsewhere.

The published configuration's classifier is linear in the phrase and the region side by side, so that what it says is
the sum of a number for the phrase and one for the region: it ranks the regions alike for every phrase of a pair. The
public code also has one with a hidden layer; here it is the default.

Axes: P phrases, L word pieces, B pairs, R regions, E hidden size, H width of the classifier.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.batch import Batch, EncoderOutputs, Grounding


class PhraseGrounding(nn.Module):
    """Scores every grounded phrase against every region of its image."""

    def __init__(self, hidden_size: int, *, classifier_size: int, shifted: bool, whole_image: bool) -> None:
        super().__init__()
        self.phrase = nn.Linear(hidden_size, classifier_size or 1)
        self.region = nn.Linear(hidden_size, classifier_size or 1, bias=False)
        self.decoder = nn.Linear(classifier_size, 1) if classifier_size else None
        self.shifted = shifted
        self.whole_image = whole_image

    def forward(self, outputs: EncoderOutputs, batch: Batch, grounding: Grounding) -> Tensor:
        """Return the mean binary cross-entropy over all pairs of a phrase and a region of its image.

        Phrases that none of these regions shows have no part in it.
        """
        scores_PR = self.scores(outputs, batch, grounding)
        counted_BR = batch.region_mask if self.whole_image else batch.region_mask & ~is_whole_image(batch.boxes)
        counted_PR = counted_BR[grounding.rows]
        counted_PR = counted_PR & (counted_PR & grounding.gold).any(1, keepdim=True)
        losses_PR = F.binary_cross_entropy_with_logits(scores_PR, grounding.gold.to(scores_PR.dtype), reduction="none")
        return (losses_PR * counted_PR).sum() / counted_PR.sum().clamp(min=1)

    def scores(self, outputs: EncoderOutputs, batch: Batch, grounding: Grounding) -> Tensor:
        """Return the logits float [P, R]; what pointing is read from. Those of padding mean nothing."""
        is_of_PL = pieces_of_phrases(grounding, batch.text_mask, shifted=self.shifted)
        states_PLE = outputs.text[grounding.rows]
        phrases_PE = states_PLE.masked_fill(~is_of_PL[:, :, None], torch.finfo(states_PLE.dtype).min).amax(1)
        hidden_PRH = self.phrase(phrases_PE)[:, None] + self.region(outputs.regions)[grounding.rows]
        scores_PR = (hidden_PRH if self.decoder is None else self.decoder(hidden_PRH.relu()))[:, :, 0]
        return scores_PR.to(torch.promote_types(scores_PR.dtype, torch.float32))


def pieces_of_phrases(grounding: Grounding, text_mask_BL: Tensor, *, shifted: bool = False) -> Tensor:
    """Return bool [P, L]: which pieces of its sentence a phrase is.

    With `shifted`, as many from where it ends: the public code's finder of phrases takes their ends for their starts.
    """
    starts, ends = grounding.starts[:, None], grounding.ends[:, None]
    if shifted:
        starts, ends = ends, 2 * ends - starts
    places_L = torch.arange(text_mask_BL.shape[1], device=text_mask_BL.device)
    return (places_L >= starts) & (places_L < ends) & text_mask_BL[grounding.rows]


def is_whole_image(boxes_BR4: Tensor) -> Tensor:
    """Return bool [B, R]: whether a region's box is all of its image."""
    return (boxes_BR4 == boxes_BR4.new_tensor([0, 0, 1, 1])).all(-1)
