"""Congruence: words attend to each other as the regions that they attend to do, and regions as their words.

Sources: Pandey et al., ACL 2023 (CACR), and Ren et al., ACL-IJCNLP 2021 (IAIS), and their public code, which is another
thing: it takes probabilities of each block by itself instead of scores, softmaxes those once more, stops the gradient
through the cross blocks, and means rows where the papers sum. All of it is options here; by default, what CACR's paper
says with its code's mean over rows. Of the paper itself, equation 7 has one index pair turned round, and algorithm 1
means where the equations sum: the product of matrices is taken, the mean is an option.

Everything is restricted to words and regions that are there before anything is made of it. Axes: B pairs, N heads (1
where they are merged), L word pieces, R regions, Q and K rows and columns of any block.
"""

import math
import zlib
from dataclasses import dataclass, fields
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from training.batch import Batch, EncoderOutputs
from training.models.blocks import Blocks, LayerChoice, blocks_of, chosen_layers
from training.models.encoder import Encoder, taps_of_layers
from training.objectives.objective import Objective, ObjectiveOptions
from training.objectives.sizes import Sizes

Method = Literal["cacr", "iais-singular", "iais-distributed"]
SoftmaxOn = Literal["both", "pseudo", "neither"]

IAIS_FLOOR = 1e-6
"""What the public code adds to probabilities before it takes the logarithm of a product of two of them."""

PUBLISHED_SOFTMAX: dict[Method, SoftmaxOn] = {
    "cacr": "both",
    "iais-singular": "pseudo",
    "iais-distributed": "neither",
}


@dataclass(frozen=True, kw_only=True)
class CongruenceOptions(ObjectiveOptions):
    """What is compared with what, and how it counts.

    The public code of each method: `space="block_prob"`, `schedule="exponential"`, and its `method`.
    """

    weight: float = 1.0
    """At the end of the run, where there is a schedule. The public code adds this loss to each part of a step in full
    and divides the others by the number of parts; here all are divided."""
    schedule: Literal["constant", "exponential"] = "constant"
    """exponential: times exp(5 (t - 1)) as t goes from 0 to 1 over the run."""
    method: Method = "cacr"
    """What a modality's attention is compared with. cacr: the other's, carried over by the cross block, C S C'.
    iais-singular: the same, each row of C being its highest entry alone, the first of equal ones. iais-distributed: the
    product of the two cross blocks."""
    space: Literal["raw", "block_prob"] = "raw"
    """raw: scores, as in the paper. block_prob: probabilities of each block by itself, as in the code."""
    softmax_on: SoftmaxOn | None = None
    """Which of the two probabilities become distributions by another softmax; others' rows are divided by their sums.
    None: as the public code of the method. Raw scores always need it."""
    heads: Literal["mean", "each"] = "mean"
    """The mean of the heads' scores or probabilities, or each head by itself."""
    reduce: Literal["sum", "mean"] = "sum"
    """Whether the products of cacr and iais-distributed are sums, or means as in CACR's algorithm 1."""
    temperature: float = 1.0
    """What the carried-over matrix is divided by, before its softmax."""
    detach_cross: bool | None = None
    """Whether cross blocks learn nothing. None: as in the public code, cacr's do not. iais-singular's never do."""
    rows: Literal["mean", "sum"] = "mean"
    """Over the words or regions of a pair; mean: the code's, sum: the papers'."""
    halves: Literal["both", "text", "regions"] = "both"
    """Whose attention is compared: that among words, among regions. The code takes turns."""
    layers: LayerChoice = "last"
    """Their losses' mean is taken."""
    control_seed: int | None = None
    """A control: with a number, every pair's words are taken for those of other regions, always the same ones."""

    def __post_init__(self) -> None:
        if self.space == "raw" and self.softmax_on not in (None, "both"):
            raise ValueError(
                f"congruence: softmax on {self.softmax_on} of raw scores, which are no probabilities, expected both"
            )
        if self.temperature <= 0:
            raise ValueError(f"congruence: temperature {self.temperature}, expected one above 0")

    def weight_at(self, done: float, epoch: int) -> float:
        return self.weight * (math.exp(5 * (done - 1)) if self.schedule == "exponential" else 1.0)

    def build(self, sizes: Sizes) -> "Congruence":
        return Congruence(self, sizes)


class Congruence(Objective):
    """Has no weights: attention itself is taught."""

    options: CongruenceOptions

    def __init__(self, options: CongruenceOptions, sizes: Sizes) -> None:
        super().__init__(options, terms=tuple(f"congruence_{half}" for half in _halves(options)))

    def taps(self, encoder: Encoder) -> tuple[str, ...]:
        """Return those of the chosen layers."""
        return taps_of_layers(encoder, self.options.layers)

    def forward(self, outputs: EncoderOutputs, batch: Batch) -> dict[str, Tensor]:
        """Return each half's mean over the pairs that match; 0 where none does."""
        counted_B = batch.is_matched & batch.is_word.any(1) & batch.region_mask.any(1)
        return {
            f"congruence_{half}": losses_B.masked_fill(~counted_B, 0).sum() / counted_B.sum().clamp(min=1)
            for half, losses_B in congruence_of_pairs(outputs, batch, self.options).items()
        }


def congruence_of_pairs(outputs: EncoderOutputs, batch: Batch, options: CongruenceOptions) -> dict[str, Tensor]:
    """Return the divergence of every pair, matched or not, by half ("text", "regions"), each float32 [B]."""
    other_BR = None if options.control_seed is None else other_regions(batch, options.control_seed)
    with torch.autocast(batch.text_mask.device.type, enabled=False):
        by_layer = [
            divergences(scores, batch.is_word, batch.region_mask, options, other_BR)
            for scores in _scores_of_layers(outputs, options.layers)
        ]
    return {half: torch.stack([layer[half] for layer in by_layer]).mean(0) for half in _halves(options)}


def text_entropy_of_pairs(outputs: EncoderOutputs, batch: Batch, options: CongruenceOptions) -> Tensor:
    """Return how flat attention among words is, float32 [B]: a row's entropy over that of a uniform one, rows' mean.

    Flat attention is congruent with flat attention: a low divergence means something only where this is not near 1.
    It is nan of a pair with less than two words.
    """
    by_layer = []
    for scores in _scores_of_layers(outputs, options.layers):
        attention_BNLL = _values(scores.text, batch.is_word, options)
        probs_BNLL, log_probs_BNLL = _distribution(attention_BNLL, batch.is_word, by_softmax=options.space == "raw")
        entropy_BNLL = -(probs_BNLL * log_probs_BNLL).masked_fill(~batch.is_word[:, None, None], 0)
        by_layer.append(_over_rows(entropy_BNLL.sum(-1), batch.is_word, "mean"))
    num_words_B = batch.is_word.sum(1)
    return torch.stack(by_layer).mean(0) / num_words_B.log().masked_fill(num_words_B < 2, torch.nan)


def divergences(
    scores: Blocks,
    is_word_BL: Tensor,
    is_region_BR: Tensor,
    options: CongruenceOptions,
    other_BR: Tensor | None = None,
) -> dict[str, Tensor]:
    """Return the symmetric Kullback-Leibler divergence of every pair by half ("text", "regions"), each [B].

    `scores` are those of one layer, before any softmax; what they are of padding does not matter. `other_BR` are the
    regions that each is taken for.
    """
    text = _values(scores.text, is_word_BL, options)
    regions = _values(scores.regions, is_region_BR, options)
    to_regions = _values(scores.text_to_regions, is_region_BR, options)
    to_text = _values(scores.regions_to_text, is_word_BL, options)
    if other_BR is not None:
        to_regions = to_regions.take_along_dim(other_BR[:, None, None], 3)
        to_text = to_text.take_along_dim(other_BR[:, None, :, None], 2)
    halves = {
        "text": (text, carried_over(regions, to_regions, to_text, is_region_BR, options), is_word_BL),
        "regions": (regions, carried_over(text, to_text, to_regions, is_word_BL, options), is_region_BR),
    }
    return {half: _divergence(*halves[half], options) for half in _halves(options)}


def carried_over(
    attention_BNKK: Tensor, cross_BNQK: Tensor, back_BNKQ: Tensor, is_there_BK: Tensor, options: CongruenceOptions
) -> Tensor:
    """Return what the other modality's attention is in this one's place, [B, N, Q, Q]; the pseudo matrix.

    `cross_BNQK` leads there and `back_BNKQ` back; columns of padding are 0 in all. CACR's is sum over k, p of
    cross[i, k] attention[k, p] cross[j, p]: every pair of i and j gets the others' relations in proportion.
    """
    if options.detach_cross or (options.detach_cross is None and options.method == "cacr"):
        cross_BNQK, back_BNKQ = cross_BNQK.detach(), back_BNKQ.detach()
    if options.method == "iais-distributed":
        carried_BNQQ, power = cross_BNQK @ back_BNKQ, 1
    elif options.method == "iais-singular":
        highest_BNQ = cross_BNQK.masked_fill(~is_there_BK[:, None, None], -torch.inf).argmax(-1)
        hard_BNQK = F.one_hot(highest_BNQ, cross_BNQK.shape[-1]).to(cross_BNQK.dtype)
        carried_BNQQ, power = hard_BNQK @ attention_BNKK @ hard_BNQK.transpose(2, 3), 0
    else:
        carried_BNQQ, power = cross_BNQK @ attention_BNKK @ cross_BNQK.transpose(2, 3), 2
    if options.reduce == "mean":
        carried_BNQQ = carried_BNQQ / is_there_BK.sum(1).clamp(min=1)[:, None, None, None] ** power
    return carried_BNQQ


def other_regions(batch: Batch, seed: int) -> Tensor:
    """Return for every region another one of its image, int64 [B, R]; a lone one and padding stay what they are.

    A pair's regions are turned in a circle, by a step that seed and the pair's ids decide, so that none stays.
    """
    pairs = zip(batch.sentence_ids, batch.image_ids, strict=True)
    drawn = [zlib.crc32(f"{seed} {sentence_id} {image_id}".encode()) for sentence_id, image_id in pairs]
    num_regions_B = batch.region_mask.sum(1)
    steps_B = 1 + torch.tensor(drawn, device=num_regions_B.device) % (num_regions_B - 1).clamp(min=1)
    number_BR = batch.region_mask.cumsum(1) - 1
    turned_BR = (number_BR + steps_B[:, None]) % num_regions_B.clamp(min=1)[:, None]
    real_first_BR = batch.region_mask.long().argsort(dim=1, descending=True, stable=True)
    own_BR = torch.arange(batch.region_mask.shape[1], device=turned_BR.device).expand_as(turned_BR)
    return torch.where(batch.region_mask, real_first_BR.gather(1, turned_BR), own_BR)


def _scores_of_layers(outputs: EncoderOutputs, choice: LayerChoice) -> list[Blocks]:
    """Return the chosen layers' scores, float32."""
    blocks = [blocks_of(outputs, layer, "scores") for layer in chosen_layers(outputs.layers, choice)]
    return [Blocks(**{each.name: getattr(scores, each.name).float() for each in fields(scores)}) for scores in blocks]


def _values(scores_BNQK: Tensor, is_key_BK: Tensor, options: CongruenceOptions) -> Tensor:
    """Return what products are made of: scores or a block's own probabilities, 0 in columns of padding."""
    is_pad_B11K = ~is_key_BK[:, None, None]
    if options.space == "block_prob":
        scores_BNQK = scores_BNQK.masked_fill(is_pad_B11K, torch.finfo(scores_BNQK.dtype).min).softmax(-1)
    values_BNQK = scores_BNQK.masked_fill(is_pad_B11K, 0)
    return values_BNQK.mean(1, keepdim=True) if options.heads == "mean" else values_BNQK


def _divergence(own_BNQQ: Tensor, pseudo_BNQQ: Tensor, is_there_BQ: Tensor, options: CongruenceOptions) -> Tensor:
    """Return KL(pseudo || own) + KL(own || pseudo) over rows that are there, [B]."""
    softmax_on = options.softmax_on or ("both" if options.space == "raw" else PUBLISHED_SOFTMAX[options.method])
    floor = IAIS_FLOOR if softmax_on == "neither" else None
    own, log_own = _distribution(own_BNQQ, is_there_BQ, by_softmax=softmax_on == "both", floor=floor)
    pseudo, log_pseudo = _distribution(
        pseudo_BNQQ / options.temperature, is_there_BQ, by_softmax=softmax_on != "neither", floor=floor
    )
    both_ways_BNQQ = ((own - pseudo) * (log_own - log_pseudo)).masked_fill(~is_there_BQ[:, None, None], 0)
    return _over_rows(both_ways_BNQQ.sum(-1), is_there_BQ, options.rows)


def _distribution(
    values_BNQK: Tensor, is_key_BK: Tensor, *, by_softmax: bool, floor: float | None = None
) -> tuple[Tensor, Tensor]:
    """Return rows that sum to 1 over the keys that are there, and their logarithms, finite everywhere."""
    is_pad_B11K, limits = ~is_key_BK[:, None, None], torch.finfo(values_BNQK.dtype)
    if by_softmax:
        log_probs_BNQK = values_BNQK.masked_fill(is_pad_B11K, limits.min).log_softmax(-1)
        return log_probs_BNQK.exp(), log_probs_BNQK
    values_BNQK = values_BNQK.masked_fill(is_pad_B11K, 0)
    probs_BNQK = values_BNQK / values_BNQK.sum(-1, keepdim=True).clamp(min=limits.tiny)
    return probs_BNQK, (probs_BNQK + (floor or limits.tiny)).log()


def _over_rows(values_BNQ: Tensor, is_row_BQ: Tensor, rows: Literal["mean", "sum"]) -> Tensor:
    """Return the sum or mean over rows that are there, and the mean over heads, [B]."""
    summed_BN = values_BNQ.masked_fill(~is_row_BQ[:, None], 0).sum(-1)
    if rows == "mean":
        summed_BN = summed_BN / is_row_BQ.sum(1, keepdim=True).clamp(min=1)
    return summed_BN.mean(1)


def _halves(options: CongruenceOptions) -> tuple[str, ...]:
    return ("text", "regions") if options.halves == "both" else (options.halves,)
