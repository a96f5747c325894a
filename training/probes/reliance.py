"""The copy test: how much worse is what was hidden of an image guessed, once the text is gone?

Source: none; a control of the claim that guessing what attends to a hidden cell makes a model look at the words. One
that copies from what is left of the image guesses as well without them.

Axes: B pairs, L word pieces.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch

from stores.errors import StoreError
from training.batch import Batch
from training.model import Model


@dataclass(frozen=True, kw_only=True)
class Reliance:
    """One term of an objective, on the same hidden cells or regions; means over pairs."""

    with_text: float
    without_text: float

    @property
    def difference(self) -> float:
        """What the text is good for; 0 of a model that copies."""
        return self.without_text - self.with_text


def reliance_on_text(model: Model, batches: Iterable[Batch], *, term: str, device: str = "cpu") -> Reliance:
    """Return a frozen model's loss term with the sentences and without them.

    Args:
        batches: in which something of the images is hidden, as the term's objective wants it.
        term: such as `masked_tokens` or `region_features`, of any objective that guesses from images alone.

    Raises:
        ValueError: no objective of the model has this term.
        StoreError: there is no batch.
    """
    heads = [head for head in model.heads.values() if term in head.terms]
    if not heads:
        raise ValueError(f"term {term!r}: no objective of this model has it, expected one of its own")
    model = model.to(device).eval()
    sums, num_pairs = [0.0, 0.0], 0
    for batch in batches:
        on_device = batch.to(torch.device(device))
        with torch.inference_mode():
            for place, each in enumerate((on_device, without_text(on_device))):
                sums[place] += float(heads[0](model.encode(each), each)[term]) * len(each)
        num_pairs += len(batch)
    if not num_pairs:
        raise StoreError("reliance on text: no batch, expected at least one")
    return Reliance(with_text=sums[0] / num_pairs, without_text=sums[1] / num_pairs)


def without_text(batch: Batch) -> Batch:
    """Return the batch with [CLS] and [SEP] for sentences; of words there is nothing to be guessed or found."""
    last_B1 = batch.text_mask.sum(1, keepdim=True) - 1
    return replace(
        batch,
        input_ids=torch.cat([batch.input_ids[:, :1], batch.input_ids.gather(1, last_B1)], 1),
        text_mask=torch.ones_like(batch.text_mask[:, :2]),
        segment_ids=None,
        masked_words=None,
        alignment=None,
        grounding=None,
        phrase_pairs=None,
    )
