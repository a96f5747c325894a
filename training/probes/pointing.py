"""Pointing: is one of the regions that a phrase is most attentive to, or scored highest with, one that shows it?

Source: Plummer et al., ICCV 2015 (recall at 1, 5 and 10 of Flickr30k Entities, a phrase of several boxes being found
with any of them); Samaran et al., ACL-IJCNLP SRW 2021 (attention, raw and rolled out).

Axes: P phrases, B pairs, L word pieces, R regions, K the highest.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from stores.errors import StoreError
from training.batch import Batch, EncoderOutputs, Grounding
from training.figures import Figure
from training.model import Model
from training.models.blocks import blocks_of, split
from training.models.rollout import rollout_of
from training.objectives.attention_supervision import AttentionSupervision
from training.objectives.phrase_grounding import pieces_of_phrases
from training.objectives.word_object_alignment import WordObjectAlignment

RANKS = (1, 5, 10)
"""How many of the highest regions may be looked at."""


@dataclass(frozen=True, kw_only=True)
class Pointing:
    """How one reading of a model finds regions: over all phrases with a gold box, also those that no region shows."""

    recall: Mapping[str, Figure]
    """By the number of regions looked at, `1`, `5`, `10`; at 1 it is called pointing accuracy."""
    mass: Figure
    """Mean share, of what the reading gives all regions, that goes to those that show the phrase."""


def measure_pointing(model: Model, batches: Iterable[Batch], device: str = "cpu") -> dict[str, Pointing]:
    """Return how every reading of a model finds the regions of phrases, by its name.

    `attention joint.0` is a layer's attention from words to regions, its heads' mean; `rollout joint.0` that rolled out
    (of one stream); `grounding` and `decoder` what classifiers say, where the model has learnt with them; `chance` a
    region drawn at random, `first_region` the detector's most confident one, and `best` the most that regions allow.

    Args:
        batches: with all phrases that have a gold box: `GroundingOptions(stored_phrases=True, keep_unshown=True)`.

    Raises:
        StoreError: there is no phrase.
    """
    sums: dict[str, Tensor] = {}
    num_phrases = 0
    model = model.to(device).eval()
    for batch in batches:
        on_device = batch.to(torch.device(device))
        grounding = on_device.grounding
        if grounding is None:
            raise ValueError("pointing: the batch has no grounding, expected phrases to be asked for")
        num_phrases += len(grounding.rows)
        with torch.inference_mode():
            for name, shares_PR in _readings(model, on_device, grounding):
                sums[name] = sums.get(name, 0) + _found(shares_PR, grounding.gold)
            drawn = _drawn(on_device.region_mask.sum(1)[grounding.rows], grounding.gold.sum(1))
            sums["chance"] = sums.get("chance", 0) + drawn
    if not num_phrases:
        raise StoreError("pointing: no phrase of these sentences has a gold box, expected at least one")
    return {name: _pointing(each.tolist(), num_phrases) for name, each in sums.items()}


def _pointing(sums: list[float], of: int) -> Pointing:
    *hits, mass = (Figure(value=each / of, of=of) for each in sums)
    return Pointing(recall=dict(zip(map(str, RANKS), hits, strict=True)), mass=mass)


def _readings(model: Model, batch: Batch, grounding: Grounding) -> Iterator[tuple[str, Tensor]]:
    """Yield every reading's name and shares float [P, R]: they sum to 1 over the regions of a phrase's image."""
    layers = model.encoder.meeting_layers
    taps = [tap for layer in layers for tap in model.encoder.taps_of(layer)]
    outputs = model.encode(batch, taps)
    is_of_PL = pieces_of_phrases(grounding, batch.text_mask)
    is_region_PR = batch.region_mask[grounding.rows]

    def of_phrases(to_regions_BLR: Tensor) -> Tensor:
        rows_PLR = to_regions_BLR[grounding.rows].float()
        return _shared((rows_PLR * is_of_PL[:, :, None]).sum(1), is_region_PR)

    for layer in layers:
        yield f"attention {layer}", of_phrases(blocks_of(outputs, layer).text_to_regions.mean(1))
    for layer, rollout_BTT in zip(layers, _rollouts(outputs), strict=False):
        yield f"rollout {layer}", of_phrases(split(rollout_BTT[:, None], outputs).text_to_regions[:, 0])
    supervision, decoder = model.head(AttentionSupervision), model.head(WordObjectAlignment)
    if supervision is not None and supervision.phrase_grounding is not None:
        yield "grounding", _softmax(supervision.phrase_grounding.scores(outputs, batch, grounding), is_region_PR)
    if decoder is not None:
        yield "decoder", of_phrases(_softmax(decoder.scores(outputs), batch.region_mask[:, None]))
    first_PR = torch.zeros_like(is_region_PR, dtype=torch.float32)
    first_PR[:, :1] = 1
    yield "first_region", first_PR
    yield "best", _shared(grounding.gold.float(), is_region_PR)


def _rollouts(outputs: EncoderOutputs) -> list[Tensor]:
    """Return the rollout after each layer; none of two streams."""
    return rollout_of(outputs) if all(layer in outputs.taps for layer in outputs.layers) else []


def _found(shares_PR: Tensor, gold_PR: Tensor) -> Tensor:
    """Return the sums over phrases of hits among the highest 1, 5 and 10, and of the gold regions' share: float64."""
    highest_PK = shares_PR.argsort(dim=1, descending=True, stable=True)[:, : max(RANKS)]
    is_gold_PK = gold_PR.gather(1, highest_PK)
    hits = [is_gold_PK[:, :rank].any(1).double().sum() for rank in RANKS]
    return torch.stack([*hits, (shares_PR * gold_PR).sum(dtype=torch.float64)])


def _drawn(num_regions_P: Tensor, num_gold_P: Tensor) -> Tensor:
    """Return what `_found` is of regions in an order drawn at random, on average."""
    left_P, missed_P, hits = num_regions_P.double(), torch.ones_like(num_gold_P, dtype=torch.float64), []
    for looked in range(max(RANKS)):
        missed_P = missed_P * ((left_P - num_gold_P) / left_P.clamp(min=1)).clamp(min=0)
        left_P = left_P - 1
        if looked + 1 in RANKS:
            hits.append(((1 - missed_P) * (num_gold_P > 0)).sum())
    return torch.stack([*hits, (num_gold_P / num_regions_P.clamp(min=1)).sum(dtype=torch.float64)])


def _shared(values_PR: Tensor, is_region_PR: Tensor) -> Tensor:
    """Return the values over their sum; padding has less than nothing, so that it comes last."""
    kept_PR = values_PR * is_region_PR
    shares_PR = kept_PR / kept_PR.sum(1, keepdim=True).clamp(min=torch.finfo(kept_PR.dtype).tiny)
    return shares_PR.masked_fill(~is_region_PR, -1)


def _softmax(scores: Tensor, is_region: Tensor) -> Tensor:
    return scores.float().masked_fill(~is_region, -torch.inf).softmax(-1).nan_to_num()  # of no region at all
