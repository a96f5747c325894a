"""Attention supervision: words attend to the regions that show what they mean, and these to the words.

Source: Samaran et al., ACL-IJCNLP SRW 2021, section 3.3, and its public code. "direct" supervises every head's
attention, "semi-direct" the attention rollout after every layer, "indirect" a classifier of phrases and regions (see
`phrase_grounding.py`). Every phrase's pieces are supervised; a region that shows a phrase attends to all its pieces.

The public code counts the regions' columns from the end of the padded batch, which is right for its longest pair only;
here every pair has its own. Its loss from regions to words is a binary cross-entropy whose logits are logarithms of
probabilities, and never less than log 2 / number of pieces: `bce_logprob`.

Axes: B pairs, L word pieces, R regions, Y layers, N heads, S supervised rows of attention, K their keys.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from training.batch import Batch, EncoderOutputs, Grounding
from training.models.blocks import Blocks, LayerChoice, TapKind, blocks_of, chosen_heads, chosen_layers, split
from training.models.catalog import EncoderShape
from training.models.encoder import Encoder, taps_of_layers
from training.models.rollout import rollout_of
from training.models.single_stream import SingleStreamShape
from training.objectives.objective import Objective, ObjectiveOptions
from training.objectives.phrase_grounding import PhraseGrounding, pieces_of_phrases
from training.objectives.sizes import Sizes

SupervisionMode = Literal["indirect", "direct", "semi-direct"]


@dataclass(frozen=True, kw_only=True)
class AttentionSupervisionOptions(ObjectiveOptions):
    """What is supervised, and how."""

    mode: SupervisionMode = "direct"
    layers: LayerChoice = "all"
    """Layers in which words and regions meet that are supervised; for `semi-direct`, after which the rollout counts."""
    heads: tuple[int, ...] | None = None
    """Some heads only; of `semi-direct`, those that are averaged."""
    norm: Literal["linear", "softmax"] = "linear"
    """How attention to regions, or to words, becomes a distribution over them. linear: divided by its sum. softmax: by
    a softmax of the probabilities, the public code's other way; it cannot exceed e / (e + number of keys - 1)."""
    image_to_text: Literal["ce_uniform", "bce_logprob", "none"] = "ce_uniform"
    """The loss from regions to words. ce_uniform: cross-entropy, the target spread evenly over a region's words.
    bce_logprob: the public code's."""
    tap: Literal["probs", "probs_dropped"] = "probs"
    """Attention before or after dropout; the public code has the latter."""
    epsilon: float = 0.0
    """Added to sums and to shares before the logarithm; the public code's is 1e-6, with which attention that is next to
    nothing no longer learns. With 0, `direct` is computed from the scores, exactly."""
    indirect_span: Literal["correct", "shifted"] = "correct"
    """shifted: the pieces that follow a phrase instead of its own, as in the public code."""
    indirect_size: int = 1024
    """Width of the classifier's hidden layer; 0: it is linear, as in the published configuration."""
    whole_image: bool = False
    """Whether `indirect` classifies a region that is the whole image, too."""

    def __post_init__(self) -> None:
        for name in ("layers", "heads"):
            if getattr(self, name) == ():
                raise ValueError(f"attention supervision: {name} is empty, expected at least one")
        if self.tap == "probs_dropped" and self.norm == "linear" and not self.epsilon:
            raise ValueError(
                "attention supervision: tap is 'probs_dropped' and epsilon 0, but dropped attention is 0 and has no "
                "logarithm; expected an epsilon above 0, the public code's is 1e-6"
            )

    @property
    def needs(self) -> tuple[str, ...]:
        return ("grounding",)

    def require_encoder(self, shape: EncoderShape) -> None:
        if self.mode == "semi-direct" and not isinstance(shape, SingleStreamShape):
            raise ValueError(
                f"attention supervision is semi-direct, but a {shape.kind} encoder has no attention rollout; "
                "expected direct or indirect"
            )

    def build(self, sizes: Sizes) -> "AttentionSupervision":
        return AttentionSupervision(self, sizes)


class AttentionSupervision(Objective):
    """Supervises an encoder's attention, or a classifier on top of it."""

    options: AttentionSupervisionOptions

    def __init__(self, options: AttentionSupervisionOptions, sizes: Sizes) -> None:
        super().__init__(options, terms=_terms(options))
        self.phrase_grounding: PhraseGrounding | None = None
        if options.mode == "indirect":
            self.phrase_grounding = PhraseGrounding(
                sizes.hidden_size,
                classifier_size=options.indirect_size,
                shifted=options.indirect_span == "shifted",
                whole_image=options.whole_image,
            )

    def taps(self, encoder: Encoder) -> tuple[str, ...]:
        """Return those of the supervised layers; a rollout is made of all layers."""
        layers: dict[SupervisionMode, LayerChoice]
        layers = {"indirect": (), "direct": self.options.layers, "semi-direct": "all"}
        return taps_of_layers(encoder, layers[self.options.mode])

    def forward(self, outputs: EncoderOutputs, batch: Batch) -> dict[str, Tensor]:
        """Return the mean losses of grounded pieces, and of regions that show something, over all layers and heads.

        Of `indirect`, that of all phrases and regions. Without phrases, they are 0.

        Raises:
            ValueError: the batch has no grounding, or rollout is asked of two streams.
        """
        grounding = batch.grounding
        if grounding is None:
            raise ValueError("attention supervision: the batch has no grounding, expected phrases to be asked for")
        if self.phrase_grounding is not None:
            return {"grounding": self.phrase_grounding(outputs, batch, grounding)}
        gold_BLR, blocks = gold_of_pieces(grounding, batch.text_mask), self._blocks(outputs)
        to_regions = [each.text_to_regions for each in blocks]
        losses = [self._loss(to_regions, gold_BLR, batch.region_mask, binary=False)]
        if self.options.image_to_text != "none":
            to_text, binary = [each.regions_to_text for each in blocks], self.options.image_to_text == "bce_logprob"
            losses.append(self._loss(to_text, gold_BLR.transpose(1, 2), batch.text_mask, binary=binary))
        return dict(zip(self.terms, losses, strict=True))

    def _blocks(self, outputs: EncoderOutputs) -> list[Blocks]:
        """Return the attention of each chosen layer; a rollout is that of one head."""
        chosen = chosen_layers(outputs.layers, self.options.layers)
        if self.options.mode == "direct":
            return [blocks_of(outputs, layer, self._kind) for layer in chosen]
        numbers = [outputs.layers.index(layer) for layer in chosen]
        rollouts = rollout_of(outputs, num_layers=max(numbers) + 1, kind=self._kind, heads=self.options.heads)
        return [split(rollouts[number][:, None], outputs) for number in numbers]

    @property
    def _kind(self) -> TapKind:
        """Which attention is read. Shares of probabilities among some keys are a softmax of these keys' scores."""
        options = self.options
        is_exact = options.mode == "direct" and options.norm == "linear" and not options.epsilon
        return "scores" if is_exact else options.tap

    def _loss(self, attention_BNXK: Sequence[Tensor], gold_BXK: Tensor, is_key_BK: Tensor, *, binary: bool) -> Tensor:
        """Return the mean loss of those rows of every layer's attention that have gold keys."""
        rows_S, queries_S = gold_BXK.any(2).nonzero(as_tuple=True)
        heads = self.options.heads if self.options.mode == "direct" else None
        supervised_YSNK = torch.stack([chosen_heads(each[rows_S, :, queries_S], heads) for each in attention_BNXK])
        gold_S1K, is_key_S1K = gold_BXK[rows_S, queries_S][:, None], is_key_BK[rows_S][:, None]
        by_softmax = self._kind == "scores" or self.options.norm == "softmax"
        log_shares_YSNK = log_shares(supervised_YSNK, is_key_S1K, by_softmax=by_softmax, epsilon=self.options.epsilon)
        if binary:
            losses_YSN = binary_cross_entropy(log_shares_YSNK, gold_S1K, is_key_S1K)
        else:
            losses_YSN = uniform_cross_entropy(log_shares_YSNK, gold_S1K)
        return losses_YSN.sum() / max(losses_YSN.numel(), 1)


def _terms(options: AttentionSupervisionOptions) -> tuple[str, ...]:
    if options.mode == "indirect":
        return ("grounding",)
    to_regions, to_text = "attention_text_to_regions", "attention_regions_to_text"
    return (to_regions,) if options.image_to_text == "none" else (to_regions, to_text)


def gold_of_pieces(grounding: Grounding, text_mask_BL: Tensor) -> Tensor:
    """Return bool [B, L, R]: the regions that show what a piece means; of a piece in several phrases, those of all."""
    is_of_PL = pieces_of_phrases(grounding, text_mask_BL)
    gold_PLR = is_of_PL[:, :, None] & grounding.gold[:, None]
    counts_BLR = gold_PLR.new_zeros(*text_mask_BL.shape, grounding.gold.shape[1], dtype=torch.int32)
    return counts_BLR.index_add_(0, grounding.rows, gold_PLR.int()) > 0


def log_shares(attention_XK: Tensor, is_key_XK: Tensor, *, by_softmax: bool, epsilon: float) -> Tensor:
    """Return the logarithms of how attention is shared among some keys, float32 or float64; elsewhere least numbers.

    Args:
        by_softmax: shares are a softmax of `attention_XK`, else its numbers divided by their sum.
        epsilon: added to that sum, and to the shares.
    """
    attention_XK = attention_XK.to(torch.promote_types(attention_XK.dtype, torch.float32))
    least = torch.finfo(attention_XK.dtype)
    if by_softmax:
        return attention_XK.masked_fill(~is_key_XK, least.min).log_softmax(-1)
    kept_XK = attention_XK * is_key_XK
    shares_XK = kept_XK / (kept_XK.sum(-1, keepdim=True) + epsilon).clamp(min=least.tiny)
    return (shares_XK + epsilon).clamp(min=least.tiny).log()


def uniform_cross_entropy(log_shares_XK: Tensor, gold_XK: Tensor) -> Tensor:
    """Return the cross-entropy [X] with a target that is spread evenly over the gold keys."""
    return -(log_shares_XK * gold_XK).sum(-1) / gold_XK.sum(-1)


def binary_cross_entropy(log_shares_XK: Tensor, gold_XK: Tensor, is_key_XK: Tensor) -> Tensor:
    """Return, with logarithms of shares taken for logits, the mean binary cross-entropy [X] over the keys."""
    gold_XK = gold_XK.to(log_shares_XK.dtype).expand_as(log_shares_XK)
    losses_XK = F.binary_cross_entropy_with_logits(log_shares_XK, gold_XK, reduction="none")
    return (losses_XK * is_key_XK).sum(-1) / is_key_XK.sum(-1)
