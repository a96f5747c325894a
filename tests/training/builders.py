"""Small batches, encoder's outputs and sizes for the tests of training; the same seed draws the same numbers.

Axes: B pairs, L word pieces, R regions, M masked positions, P supervised pieces.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.batch import (
    Alignment,
    AttentionTap,
    Batch,
    EncoderOutputs,
    Grounding,
    HiddenTokens,
    MaskedRegions,
    MaskedWords,
    PhrasePairs,
    TokenMask,
)
from training.models.single_stream import SingleStreamShape
from training.models.trunk import TrunkShape
from training.models.two_stream import CROSS_TAPS, TwoStreamShape
from training.models.visual_parser import VisualParserShape
from training.objectives.sizes import Sizes

SIZES = Sizes(hidden_size=8, vocab_size=30, feature_dim=6, num_classes=5, num_attributes=4, num_answers=7)

SHAPE = TwoStreamShape(
    vocab_size=30,
    feature_dim=6,
    hidden_size=8,
    intermediate_size=16,
    num_heads=2,
    num_text_layers=2,
    num_region_layers=1,
    num_cross_layers=2,
    max_positions=16,
    dropout=0,
    attention_dropout=0,
)
"""An encoder that fits `SIZES`."""

SINGLE_STREAM = SingleStreamShape(
    vocab_size=30,
    feature_dim=6,
    hidden_size=8,
    intermediate_size=16,
    num_heads=2,
    num_layers=2,
    max_positions=16,
    dropout=0,
    attention_dropout=0,
)
"""Another one."""

TRUNK = TrunkShape(image_size=48, embed_dim=8, depths=(2, 2), num_heads=(2, 4), window_size=6, drop_path=0.0)
"""36 cells of 16 numbers."""

VISUAL_PARSER = VisualParserShape(
    **{name: value for name, value in vars(SINGLE_STREAM).items() if name not in ("kind", "feature_dim")},
    feature_dim=16,
    trunk=TRUNK,
)
"""One that takes pixels."""

MASK_ID = 3
"""The piece that stands for a masked one; [PAD], [CLS] and [SEP] are 0, 1 and 2."""


def make_batch(
    *,
    num_pieces: Sequence[int] = (5, 7, 4),
    num_regions: Sequence[int] = (4, 6, 3),
    sizes: Sizes = SIZES,
    seed: int = 0,
) -> Batch:
    """Return a batch of so many pieces and regions a pair, which has something for every objective.

    Every pair matches, has an answer, and every region its names. Pieces 1, 3, ... are masked, regions 0, 2, ... too,
    and pieces 0, 3, ... know their regions. Pieces 1 and 2 of every sentence are a phrase, and of the first piece 2
    is one, too; piece 1 and pieces 2 and 3 are a pair of phrases. Regions 0, 2, ... are visual tokens to be
    guessed. For ranking, the first pair is the one that matches, and all are one group.
    """
    draw = torch.Generator().manual_seed(seed)
    text_mask, region_mask = _first(num_pieces), _first(num_regions)
    (size, length), (_, width) = text_mask.shape, region_mask.shape
    input_ids = torch.randint(MASK_ID + 1, sizes.vocab_size, (size, length), generator=draw)
    input_ids[:, 0], input_ids[torch.arange(size), text_mask.sum(1) - 1] = 1, 2
    features = torch.randn(size, width, sizes.feature_dim, generator=draw)
    words = _positions(text_mask & (torch.arange(length) % 2 == 1))
    hidden = _positions(region_mask & (torch.arange(width) % 2 == 0))
    pointed = _positions(text_mask & (torch.arange(length) % 3 == 0))
    targets = torch.rand(len(pointed), width, generator=draw) * region_mask[pointed // length]
    phrases = torch.tensor([*range(size), 0])
    gold = (torch.arange(width) + torch.arange(size + 1)[:, None]) % 3 == 0
    gold[:, 0] |= ~(gold & region_mask[phrases]).any(1)
    return Batch(
        sentence_ids=tuple(f"sentence-{row}" for row in range(size)),
        image_ids=tuple(f"image-{row}" for row in range(size)),
        input_ids=input_ids.flatten().index_fill(0, words, MASK_ID).view(size, length) * text_mask,
        text_mask=text_mask,
        features=features.flatten(0, 1).index_fill(0, hidden, 0).view_as(features) * region_mask[:, :, None],
        boxes=torch.rand(size, width, 4, generator=draw).sort(2).values * region_mask[:, :, None],
        region_mask=region_mask,
        class_ids=torch.randint(sizes.num_classes, (size, width), generator=draw).masked_fill(~region_mask, -1),
        class_scores=torch.rand(size, width, generator=draw) * region_mask,
        attribute_ids=torch.randint(sizes.num_attributes, (size, width), generator=draw).masked_fill(~region_mask, -1),
        attribute_scores=torch.rand(size, width, generator=draw) * region_mask,
        is_matched=torch.ones(size, dtype=torch.bool),
        answer_ids=torch.randint(sizes.num_answers, (size,), generator=draw),
        masked_words=MaskedWords(positions=words, labels=input_ids.flatten()[words]),
        masked_regions=MaskedRegions(
            positions=hidden,
            features=features.flatten(0, 1)[hidden],
            is_blanked=torch.ones(len(hidden), dtype=torch.bool),
        ),
        alignment=Alignment(
            positions=pointed, targets=targets / targets.sum(1, keepdim=True), covers=targets > targets.mean(1, True)
        ),
        grounding=Grounding(
            rows=phrases,
            starts=torch.tensor([*[1] * size, 2]),
            ends=torch.full((size + 1,), 3),
            gold=gold & region_mask[phrases],
        ),
        phrase_pairs=PhrasePairs(
            rows=torch.arange(size),
            first_starts=torch.full((size,), 1),
            first_ends=torch.full((size,), 2),
            second_starts=torch.full((size,), 2),
            second_ends=torch.full((size,), 4),
            relations=torch.arange(size) % 5,
        ),
        caption_labels=torch.arange(size) % 3,
        token_mask=TokenMask(
            seeds=torch.zeros(size, dtype=torch.int64),
            counts=torch.full((size,), 2),
            chosen=region_mask & (torch.arange(width) % 2 == 0),
        ),
        group_size=size,
    )


def make_outputs(
    batch: Batch,
    *,
    sizes: Sizes = SIZES,
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
    num_layers: int = 2,
    num_streams: Literal[1, 2] = 1,
) -> EncoderOutputs:
    """Return what some encoder could have made of `batch`: leaves that take gradients, as the taps' scores are."""
    draw = torch.Generator().manual_seed(seed)

    def leaf(*shape: int) -> Tensor:
        return torch.randn(*shape, sizes.hidden_size, generator=draw).to(dtype).requires_grad_()

    def tap(queries: Tensor, keys: Tensor) -> AttentionTap:
        scores = 2 * torch.randn(len(batch), 2, queries.shape[1], keys.shape[1], generator=draw).to(dtype)
        scores = scores.masked_fill(~keys[:, None, None], torch.finfo(dtype).min).requires_grad_()
        return AttentionTap(scores=scores, probs=scores.softmax(3), probs_dropped=scores.softmax(3))

    text, regions = batch.text_mask, batch.region_mask
    sides = _sides(text, regions, torch.cat([text, regions], 1))
    layers = tuple(f"{'joint' if num_streams == 1 else 'cross'}.{number}" for number in range(num_layers))
    hidden = (
        _positions(batch.token_mask.chosen)
        if batch.token_mask and batch.token_mask.chosen is not None
        else torch.zeros(0, dtype=torch.int64)
    )
    names = layers if num_streams == 1 else [f"{layer}.{name}" for layer in layers for name in CROSS_TAPS]
    return EncoderOutputs(
        text=leaf(*batch.text_mask.shape),
        regions=leaf(*batch.region_mask.shape),
        pooled=leaf(len(batch)),
        word_embeddings=leaf(sizes.vocab_size),
        layers=layers,
        taps={name: tap(*sides(name)) for name in names},
        hidden_tokens=HiddenTokens(
            positions=hidden, tokens=torch.randn(batch.region_mask.numel(), sizes.hidden_size, generator=draw)[hidden]
        ),
    )


def without_work(batch: Batch) -> Batch:
    """Return the batch with nothing masked, nothing pointed at and no answer; matching alone has something to do."""
    assert batch.masked_words and batch.masked_regions and batch.alignment and batch.grounding and batch.token_mask
    return replace(
        batch,
        class_ids=torch.full_like(batch.class_ids, -1),
        attribute_ids=torch.full_like(batch.attribute_ids, -1),
        answer_ids=torch.full_like(batch.answer_ids, -100),
        masked_words=MaskedWords(positions=batch.masked_words.positions[:0], labels=batch.masked_words.labels[:0]),
        masked_regions=MaskedRegions(
            positions=batch.masked_regions.positions[:0],
            features=batch.masked_regions.features[:0],
            is_blanked=batch.masked_regions.is_blanked[:0],
        ),
        alignment=Alignment(
            positions=batch.alignment.positions[:0],
            targets=batch.alignment.targets[:0],
            covers=batch.alignment.covers[:0],
        ),
        grounding=Grounding(**{name: values[:0] for name, values in vars(batch.grounding).items()}),
        phrase_pairs=PhrasePairs(**{name: values[:0] for name, values in vars(batch.phrase_pairs).items()}),
        token_mask=TokenMask(
            seeds=batch.token_mask.seeds,
            counts=torch.zeros_like(batch.token_mask.counts),
            chosen=torch.zeros_like(batch.region_mask),
        ),
    )


def pad_batch(batch: Batch, *, pieces: int = 0, regions: int = 0) -> Batch:
    """Return the batch with so much more padding, full of numbers that nothing may depend on."""
    assert batch.masked_words and batch.masked_regions and batch.alignment and batch.grounding
    length, width = batch.text_mask.shape[1], batch.region_mask.shape[1]
    text_positions = {"length": length, "padded": length + pieces}
    return replace(
        batch,
        input_ids=F.pad(batch.input_ids, (0, pieces), value=5),
        text_mask=F.pad(batch.text_mask, (0, pieces)),
        features=F.pad(batch.features, (0, 0, 0, regions), value=7),
        boxes=F.pad(batch.boxes, (0, 0, 0, regions), value=0.7),
        region_mask=F.pad(batch.region_mask, (0, regions)),
        token_mask=None
        if batch.token_mask is None or batch.token_mask.chosen is None
        else replace(batch.token_mask, chosen=F.pad(batch.token_mask.chosen, (0, regions))),
        class_ids=F.pad(batch.class_ids, (0, regions), value=1),
        class_scores=F.pad(batch.class_scores, (0, regions), value=0.7),
        attribute_ids=F.pad(batch.attribute_ids, (0, regions), value=1),
        attribute_scores=F.pad(batch.attribute_scores, (0, regions), value=0.7),
        masked_words=replace(
            batch.masked_words, positions=_laid_out_again(batch.masked_words.positions, **text_positions)
        ),
        masked_regions=replace(
            batch.masked_regions,
            positions=_laid_out_again(batch.masked_regions.positions, length=width, padded=width + regions),
        ),
        alignment=replace(
            batch.alignment,
            positions=_laid_out_again(batch.alignment.positions, **text_positions),
            targets=F.pad(batch.alignment.targets, (0, regions)),
            covers=F.pad(batch.alignment.covers, (0, regions)),
        ),
        grounding=replace(batch.grounding, gold=F.pad(batch.grounding.gold, (0, regions))),
    )


def pad_outputs(outputs: EncoderOutputs, *, pieces: int = 0, regions: int = 0) -> EncoderOutputs:
    """Return the outputs with so much more padding, which nobody attends to; its states and attention are arbitrary."""
    text, image = _places(outputs.text.shape[1], pieces), _places(outputs.regions.shape[1], regions)
    width = outputs.regions.shape[1]
    hidden = outputs.hidden_tokens
    assert hidden
    return replace(
        outputs,
        hidden_tokens=replace(
            hidden, positions=_laid_out_again(hidden.positions, length=width, padded=width + regions)
        ),
        text=F.pad(outputs.text, (0, 0, 0, pieces), value=7),
        regions=F.pad(outputs.regions, (0, 0, 0, regions), value=7),
        taps=_taps_at(outputs, text, image),
    )


def permute_regions(batch: Batch, order: Sequence[int]) -> Batch:
    """Return the batch with every image's regions in this order, padding among them."""
    assert batch.masked_regions and batch.alignment and batch.grounding
    new_place = torch.tensor(order).argsort()
    width = len(order)
    positions = batch.masked_regions.positions
    moved = ("features", "boxes", "region_mask", "class_ids", "class_scores", "attribute_ids", "attribute_scores")
    return replace(
        batch,
        **{name: getattr(batch, name)[:, order] for name in moved},
        masked_regions=replace(
            batch.masked_regions, positions=positions // width * width + new_place[positions % width]
        ),
        alignment=replace(
            batch.alignment, targets=batch.alignment.targets[:, order], covers=batch.alignment.covers[:, order]
        ),
        grounding=replace(batch.grounding, gold=batch.grounding.gold[:, order]),
    )


def permute_outputs(outputs: EncoderOutputs, order: Sequence[int]) -> EncoderOutputs:
    """Return the outputs with every image's regions in this order, padding among them."""
    text = _places(outputs.text.shape[1], 0)
    taps = _taps_at(outputs, text, torch.tensor(order))
    hidden, width = outputs.hidden_tokens, len(order)
    assert hidden
    positions = hidden.positions // width * width + torch.tensor(order).argsort()[hidden.positions % width]
    return replace(
        outputs,
        regions=outputs.regions[:, order],
        taps=taps,
        hidden_tokens=replace(hidden, positions=positions),
    )


def take_pair(batch: Batch, row: int) -> Batch:
    """Return one pair without padding, as an encoder takes it; nothing in it is to be guessed."""
    here = slice(row, row + 1)
    pieces, regions = int(batch.text_mask[row].sum()), int(batch.region_mask[row].sum())
    return Batch(
        sentence_ids=batch.sentence_ids[here],
        image_ids=batch.image_ids[here],
        input_ids=batch.input_ids[here, :pieces],
        text_mask=batch.text_mask[here, :pieces],
        features=batch.features[here, :regions],
        boxes=batch.boxes[here, :regions],
        region_mask=batch.region_mask[here, :regions],
        class_ids=batch.class_ids[here, :regions],
        class_scores=batch.class_scores[here, :regions],
        attribute_ids=batch.attribute_ids[here, :regions],
        attribute_scores=batch.attribute_scores[here, :regions],
        is_matched=batch.is_matched[here],
        answer_ids=batch.answer_ids[here],
    )


def rows_seen(module: nn.Module) -> list[int]:
    """Return a list to which every call of `module` adds how many rows it was given."""
    seen: list[int] = []
    module.register_forward_hook(lambda _module, inputs, _output: seen.append(inputs[0].shape[:-1].numel()))
    return seen


def _first(counts: Sequence[int]) -> Tensor:
    return torch.arange(max(counts)) < torch.tensor(counts)[:, None]


def _positions(mask: Tensor) -> Tensor:
    return mask.flatten().nonzero()[:, 0]


def _laid_out_again(positions: Tensor, *, length: int, padded: int) -> Tensor:
    return positions // length * padded + positions % length


def _places(length: int, padding: int) -> Tensor:
    """Return 0, 1, ... and -1 for padding."""
    return torch.tensor([*range(length), *[-1] * padding])


def _taps_at(outputs: EncoderOutputs, text: Tensor, regions: Tensor) -> dict[str, AttentionTap]:
    """Return the taps of these word pieces and regions in their order; -1 is padding."""
    length = outputs.text.shape[1]
    sides = _sides(text, regions, torch.cat([text, regions.where(regions < 0, regions + length)]))
    found = {}
    for name, tap in outputs.taps.items():
        queries, keys = sides(name)
        scores = tap.scores[:, :, queries][..., keys].masked_fill(keys < 0, torch.finfo(tap.scores.dtype).min)
        probs = tap.probs[:, :, queries][..., keys] * (keys >= 0)
        found[name] = AttentionTap(scores=scores, probs=probs, probs_dropped=probs)
    return found


def _sides(text: Tensor, regions: Tensor, both: Tensor) -> Callable[[str], tuple[Tensor, Tensor]]:
    """Return what gives the queries and the keys of a tap by its name."""
    of_two = dict(zip(CROSS_TAPS, [(text, regions), (regions, text), (text, text), (regions, regions)], strict=True))
    return lambda name: of_two.get(name.rsplit(".", 1)[-1], (both, both))
