"""Attention maps: how a frozen model relates every word of a sentence to every region of its image, and back.

Source: Kervadec et al., ECAI 2020, figure 4, which shows the fourth of five cross layers, its heads together; Abnar &
Zuidema, ACL 2020 (rollout).

Axes: C layers in which words and regions meet, N heads, L word pieces, R regions.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.batch import EncoderOutputs
from training.data.batches import BatchMaker, BatchOptions
from training.data.shards import JoinedShards
from training.data.tokenizer import Pieces
from training.model import Model
from training.models.blocks import Blocks, blocks_of, split
from training.models.rollout import rollout_of
from training.objectives.word_object_alignment import WordObjectAlignment
from training.runs.folder import Run


@dataclass(frozen=True, kw_only=True, eq=False)
class BothWays:
    """What words take from regions, and regions from words.

    Rows of two streams sum to 1; those of one stream to less, as words attend to words as well.
    """

    text_to_regions: NDArray[np.float32]
    """float32 [..., L, R]."""
    regions_to_text: NDArray[np.float32]
    """float32 [..., R, L]."""


@dataclass(frozen=True, kw_only=True, eq=False)
class AttentionMaps:
    """What one model sees of one image when it reads one sentence."""

    sentence_id: str
    image_id: str
    text: str
    starts: NDArray[np.int32]
    """int32 [L]; a piece's first character in the text; [CLS], the first, and [SEP], the last, have none: 0."""
    ends: NDArray[np.int32]
    """int32 [L]; one past its last character."""
    attention: BothWays
    """[C, N, ...]; of every head."""
    rollout: BothWays | None
    """[C, ...]; after each layer. None for two streams, whose words and regions have no map in common."""
    alignment: NDArray[np.float32] | None
    """float32 [L, R]; softmax of what the alignment decoder says; rows sum to 1. None for models without one."""

    def __post_init__(self) -> None:
        length = len(self.starts)
        *layers_heads, _, num_regions = self.attention.text_to_regions.shape
        expected = {
            "ends": (self.ends, (length,)),
            "attention": (self.attention.text_to_regions, (*layers_heads, length, num_regions)),
            "attention back": (self.attention.regions_to_text, (*layers_heads, num_regions, length)),
        }
        if self.rollout is not None:
            expected |= {
                "rollout": (self.rollout.text_to_regions, (layers_heads[0], length, num_regions)),
                "rollout back": (self.rollout.regions_to_text, (layers_heads[0], num_regions, length)),
            }
        if self.alignment is not None:
            expected["alignment"] = (self.alignment, (length, num_regions))
        for name, (array, shape) in expected.items():
            if array.shape != shape:
                raise ValueError(
                    f"attention maps of {self.sentence_id!r} on {self.image_id!r}: {name} is {list(array.shape)}, "
                    f"expected {list(shape)}"
                )

    @property
    def pieces(self) -> tuple[str, ...]:
        """[L]; what each piece is of the text."""
        spans = zip(self.starts[1:-1].tolist(), self.ends[1:-1].tolist(), strict=True)
        return "[CLS]", *(self.text[start:end] for start, end in spans), "[SEP]"

    def pieces_of(self, start: int, end: int) -> NDArray[np.int64]:
        """Return which pieces the characters `start` to `end` are; none where they were cut.

        Pieces of punctuation within a word (`man's`) do not count, as alignment targets leave them out.
        """
        pieces = np.flatnonzero((self.starts < end) & (self.ends > start))
        said = [piece for piece in pieces.tolist() if any(map(str.isalnum, self.pieces[piece]))]
        return np.array(said, np.int64) if said else pieces


def read_attention_maps(
    run: Run, model: Model, shards: JoinedShards, numbers: Iterable[int]
) -> Iterator[AttentionMaps]:
    """Yield the maps of these sentences, with nothing hidden; of a sentence with two images one for each.

    One sentence at a time: maps are for looking at.
    """
    maker = BatchMaker(shards, run.tokenizer, BatchOptions(max_pieces=run.recipe.batches.max_pieces))
    taps = [tap for layer in model.encoder.meeting_layers for tap in model.encoder.taps_of(layer)]
    for number in numbers:
        text = shards.read(number).text
        (pieces,) = run.tokenizer.encode([text], max_pieces=maker.options.max_pieces - 2)
        batch = maker.make(np.array([number]))
        batch = batch.to(next(model.parameters()).device)
        with torch.inference_mode():
            outputs = model.eval().encode(batch, taps)
            decoder = model.head(WordObjectAlignment)
            scores_BLR = None if decoder is None else decoder.scores(outputs)
            attention = [blocks_of(outputs, layer) for layer in outputs.layers]
            rollout = [split(each_BTT[:, None], outputs) for each_BTT in _rollouts(outputs)]
        for row, image_id in enumerate(batch.image_ids):
            num_regions = int(batch.region_mask[row].sum())
            yield AttentionMaps(
                sentence_id=batch.sentence_ids[row],
                image_id=image_id,
                text=text,
                **_characters(pieces),
                attention=_both_ways(attention, row, num_regions),
                rollout=_of_one_head(_both_ways(rollout, row, num_regions)) if rollout else None,
                alignment=None if scores_BLR is None else _array(scores_BLR[row, :, :num_regions].float().softmax(1)),
            )


def _characters(pieces: Pieces) -> dict[str, NDArray[np.int32]]:
    return {name: np.pad(getattr(pieces, name), 1).astype(np.int32) for name in ("starts", "ends")}


def _rollouts(outputs: EncoderOutputs) -> list[Tensor]:
    """Return the rollout after each layer; none of two streams."""
    return rollout_of(outputs) if all(layer in outputs.taps for layer in outputs.layers) else []


def _both_ways(layers: list[Blocks], row: int, num_regions: int) -> BothWays:
    return BothWays(
        text_to_regions=np.stack([_array(each.text_to_regions[row, :, :, :num_regions]) for each in layers]),
        regions_to_text=np.stack([_array(each.regions_to_text[row, :, :num_regions]) for each in layers]),
    )


def _of_one_head(heads: BothWays) -> BothWays:
    return BothWays(text_to_regions=heads.text_to_regions[:, 0], regions_to_text=heads.regions_to_text[:, 0])


def _array(tensor: Tensor) -> NDArray[np.float32]:
    return tensor.float().cpu().numpy()
