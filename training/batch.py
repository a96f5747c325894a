"""What crosses the seams of training: a batch, and what an encoder makes of it.

Axes: B pairs of a sentence and an image, L word pieces, R regions, D feature_dim, E hidden size, N heads, M masked
positions, P supervised word pieces, A answers. A position is a row of a [B, L] or [B, R] array laid out flat.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, Self

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class OnDevice:
    """Tensors that are moved together."""

    def to(self, device: torch.device) -> Self:
        """Return the same with every tensor on `device`; copies from pinned memory do not wait."""
        return type(self)(**{each.name: _moved(getattr(self, each.name), device) for each in fields(self)})

    def pin_memory(self) -> Self:
        """Return the same with every tensor in pinned memory."""
        return type(self)(**{each.name: _pinned(getattr(self, each.name)) for each in fields(self)})


@dataclass(frozen=True, kw_only=True, eq=False)
class MaskedWords(OnDevice):
    """Word pieces that are to be guessed."""

    positions: Tensor
    """int64 [M]; into [B, L]."""
    labels: Tensor
    """int64 [M]; the pieces that were there."""


@dataclass(frozen=True, kw_only=True, eq=False)
class MaskedRegions(OnDevice):
    """Regions whose features are to be guessed."""

    positions: Tensor
    """int64 [M]; into [B, R]."""
    features: Tensor
    """float [M, D]; what was there."""
    is_blanked: Tensor
    """bool [M]; whether there are zeros now, or something else."""


@dataclass(frozen=True, kw_only=True, eq=False)
class TokenMask(OnDevice):
    """Which visual tokens are to be guessed, as far as it is drawn; the rest is for the encoder, which sees first."""

    seeds: Tensor
    """int64 [B]; the cell that hiding begins with."""
    counts: Tensor
    """int64 [B]; cells to hide, 0 of pairs that hide none."""
    chosen: Tensor | None = None
    """bool [B, R]; the cells themselves, where attention has no say; None: those that the seed attends to most."""
    beside_seed: bool = False
    """The seed is hidden beside so many others, instead of as the first of them."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Alignment(OnDevice):
    """Word pieces that know which regions they mean; only of sentences that belong to their image."""

    positions: Tensor
    """int64 [P]; into [B, L]. Position 0 of a sentence, [CLS], stands for what its answer points at."""
    targets: Tensor
    """float32 [P, R]; rows sum to 1, columns beyond an image's regions are 0."""
    covers: Tensor
    """bool [P, R]; whether a region's IoU with the gold boxes is at least a half: what measurements go by."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Grounding(OnDevice):
    """Phrases and the regions that show what they mean; only of sentences that belong to their image."""

    rows: Tensor
    """int64 [P]; the pair that a phrase is of."""
    starts: Tensor
    """int64 [P]; its first word piece, counted from [CLS], 0."""
    ends: Tensor
    """int64 [P]; one past its last word piece."""
    gold: Tensor
    """bool [P, R]; several are legal, and each row has at least one, unless all phrases were asked for."""


@dataclass(frozen=True, kw_only=True, eq=False)
class PhrasePairs(OnDevice):
    """Phrases of two captions of one image that name the same thing in different words."""

    rows: Tensor
    """int64 [Q]; the pair of the batch that both phrases are of."""
    first_starts: Tensor
    """int64 [Q]; of the phrase in the first caption, its first word piece, counted from [CLS], 0."""
    first_ends: Tensor
    """int64 [Q]; one past its last."""
    second_starts: Tensor
    """int64 [Q]; the same of the phrase in the second caption."""
    second_ends: Tensor
    """int64 [Q]."""
    relations: Tensor
    """int64 [Q]; a value of `annotations.datasets.vgp.TYPES`; -100 where nobody has said."""


@dataclass(frozen=True, kw_only=True, eq=False)
class SideFields(OnDevice):
    """What pairs have of their images, B of them; also of any I images, to be paired."""

    features: Tensor
    """float16 or float32 [B, R, D]; D is 0 where an encoder is to make them."""
    boxes: Tensor
    """float32 [B, R, 4]; x1, y1, x2, y2 over the image's width and height."""
    region_mask: Tensor
    """bool [B, R]; False for padding."""
    class_ids: Tensor
    """int64 [B, R]; the detector's; -1 where there is none."""
    class_scores: Tensor
    """float32 [B, R]."""
    attribute_ids: Tensor
    """int64 [B, R]; the detector's; -1 where there is none."""
    attribute_scores: Tensor
    """float32 [B, R]."""
    pixels: Tensor | None = None
    """uint8 [I, 3, H, W]; of images whose regions are cells that an encoder is to make."""
    image_rows: Tensor | None = None
    """int64 [B]; which of the I images each pair has."""
    visual_attention: Tensor | None = None
    """float [B, R, R]; of cells, how much each attended to each in the last layer of what saw them, mean over heads."""

    def take(self, rows: slice | Tensor) -> "SideFields":
        """Return the fields of these pairs, int64 [rows]; of pixels, those images that they have."""
        taken = {name: values[rows] for name, values in self.tensors().items() if name != "pixels"}
        if self.pixels is not None:
            images, taken["image_rows"] = taken["image_rows"].unique(return_inverse=True)
            taken["pixels"] = self.pixels[images]
        return SideFields(**taken)

    def tensors(self) -> dict[str, Any]:
        """Return the fields that there are, by name."""
        named = ((each.name, getattr(self, each.name)) for each in fields(self))
        return {name: values for name, values in named if values is not None}


@dataclass(frozen=True, kw_only=True, eq=False)
class Batch(OnDevice):
    """Pairs of a sentence and an image, as an encoder takes them and objectives score them."""

    sentence_ids: tuple[str, ...]
    """[B]."""
    image_ids: tuple[str, ...]
    """[B]."""
    input_ids: Tensor
    """int64 [B, L]; [CLS] pieces [SEP], masked where they are to be guessed, then padding. Of two captions, the second
    follows with a [SEP] of its own."""
    text_mask: Tensor
    """bool [B, L]; False for padding."""
    features: Tensor
    """float16 or float32 [B, R, D]; masked where they are to be guessed."""
    boxes: Tensor
    """float32 [B, R, 4]; x1, y1, x2, y2 over the image's width and height."""
    region_mask: Tensor
    """bool [B, R]; False for padding."""
    class_ids: Tensor
    """int64 [B, R]; the detector's; -1 where there is none."""
    class_scores: Tensor
    """float32 [B, R]."""
    attribute_ids: Tensor
    """int64 [B, R]; the detector's; -1 where there is none."""
    attribute_scores: Tensor
    """float32 [B, R]."""
    is_matched: Tensor
    """bool [B]; False where the sentence was exchanged for another image's."""
    answer_ids: Tensor
    """int64 [B]; one accepted answer, -100 where there is none in the vocabulary or the pair does not match."""
    answer_scores: Tensor | None = None
    """float32 [B, A]; soft scores of all answers, where a task asks for them."""
    masked_words: MaskedWords | None = None
    masked_regions: MaskedRegions | None = None
    alignment: Alignment | None = None
    grounding: Grounding | None = None
    phrase_pairs: PhrasePairs | None = None
    caption_labels: Tensor | None = None
    """int64 [B]; of two captions, 0: both belong to the image, 1: the first alone, 2: the second alone."""
    pixels: Tensor | None = None
    """uint8 [I, 3, H, W]; of images whose regions are cells that an encoder is to make; `features` are then empty."""
    image_rows: Tensor | None = None
    """int64 [B]; which of the I images each pair has."""
    visual_attention: Tensor | None = None
    """float [B, R, R]; of cells, how much each attended to each in the last layer of what saw them, mean over heads."""
    token_mask: TokenMask | None = None
    skipped_images: tuple[str, ...] = ()
    """Images that give no picture, with the reason; others of the step are in their place."""
    segment_ids: Tensor | None = None
    """int64 [B, L]; 1 for the second caption and its [SEP]; None: all are of the first."""
    images_per_sentence: int = 1
    """2 where rows 2i and 2i + 1 are one sentence with its two images."""
    group_size: int = 1
    """So many rows, one after another, are compared: the first is of a pair that matches, the others are that pair with
    another image, or with another text."""

    def __len__(self) -> int:
        return len(self.input_ids)

    def names(self) -> tuple[str, ...]:
        """Return the sentences' ids."""
        return self.sentence_ids

    def broken(self) -> list[str]:
        """Return the sentences whose images have features that are not finite."""
        return [
            f"{self.sentence_ids[row]} (the features of image {self.image_ids[row]} are not finite)"
            for row, is_whole in enumerate(self.features.isfinite().all(2).all(1).tolist())
            if not is_whole
        ]

    def skipped(self) -> tuple[str, ...]:
        """Return the images that gave no picture and have others in their place, and why."""
        return self.skipped_images

    def take(self, rows: slice | Tensor, *, group_size: int = 1) -> Self:
        """Return these pairs, int64 [rows]; in groups of `group_size`.

        Raises:
            ValueError: the batch has masked or pointed words or regions, which are numbered within the whole of it.
        """
        numbers = range(len(self))[rows] if isinstance(rows, slice) else rows.tolist()
        taken: dict[str, Any] = {"group_size": group_size}
        if self.pixels is not None and self.image_rows is not None:
            images, taken["image_rows"] = self.image_rows[rows].unique(return_inverse=True)
            taken["pixels"] = self.pixels[images]
        for each in fields(self):
            value = getattr(self, each.name)
            if each.name in ("pixels", "image_rows", "skipped_images"):
                continue
            if isinstance(value, OnDevice):
                raise ValueError(f"the batch has {each.name}, expected none where pairs are taken out of it")
            if isinstance(value, Tensor):
                taken[each.name] = value[rows]
            elif isinstance(value, tuple):
                taken[each.name] = tuple(value[number] for number in numbers)
        return type(self)(**taken)

    @property
    def is_word(self) -> Tensor:
        """bool [B, L]; pieces of text, without [CLS], [SEP] and padding."""
        followed = torch.zeros_like(self.text_mask)
        followed[:, 1:-1] = self.text_mask[:, 2:]
        if self.segment_ids is not None:  # the last piece of a segment is its [SEP]
            followed[:, 1:-1] &= self.segment_ids[:, 1:-1] == self.segment_ids[:, 2:]
        return followed


@dataclass(frozen=True, kw_only=True, eq=False)
class AttentionTap:
    """One attention layer's inside, of N heads from Q queries to K keys."""

    scores: Tensor
    """float [B, N, Q, K]; query times key over the root of the head's width, with the mask added."""
    probs: Tensor
    """float [B, N, Q, K]; softmax of the scores, before dropout."""
    probs_dropped: Tensor
    """float [B, N, Q, K]; after dropout, what multiplies the values; `probs` outside training."""


@dataclass(frozen=True, kw_only=True, eq=False)
class HiddenTokens:
    """Visual tokens that an encoder hid from its layers."""

    positions: Tensor
    """int64 [M]; into [B, R]."""
    tokens: Tensor
    """float [M, E]; what was there; takes no gradient."""


@dataclass(frozen=True, kw_only=True, eq=False)
class EncoderOutputs:
    """What objectives, tasks and probes see of an encoder."""

    text: Tensor
    """float [B, L, E]."""
    regions: Tensor
    """float [B, R, E]."""
    pooled: Tensor
    """float [B, E]; of the first word piece."""
    word_embeddings: Tensor
    """float [vocabulary, E]; the encoder's own table, to which decoders of words are tied."""
    layers: tuple[str, ...] = ()
    """The encoder's layers in which words and regions attend to each other, the first first."""
    taps: Mapping[str, AttentionTap] = field(default_factory=dict)
    """By the names of the attentions that were asked for."""
    states: Mapping[str, tuple[Tensor, Tensor]] = field(default_factory=dict)
    """By the layers, what `text` and `regions` are after each; empty unless asked for."""
    hidden_tokens: HiddenTokens | None = None
    """Where the batch has a token mask, and the encoder visual tokens."""


def _moved(value: Any, device: torch.device) -> Any:
    if isinstance(value, Tensor):
        return value.to(device, non_blocking=True)
    return value.to(device) if is_dataclass(value) and isinstance(value, OnDevice) else value


def _pinned(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.pin_memory()
    return value.pin_memory() if isinstance(value, OnDevice) else value
