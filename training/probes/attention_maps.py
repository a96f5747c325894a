"""Attention maps: how a frozen model relates every word of a sentence to every region of its image.

Source: Kervadec et al., ECAI 2020, figure 4, which shows the fourth of five cross layers, its heads together.

Axes: C cross layers, L word pieces, R regions.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.batches import BatchMaker, BatchOptions
from training.model import Model
from training.records import AttentionTap
from training.runs import Run
from training.shards import JoinedShards
from training.tokenizer import Pieces


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
    attention: NDArray[np.float32]
    """float32 [C, L, R]; from words to regions, mean over the heads; rows sum to 1."""
    alignment: NDArray[np.float32] | None
    """float32 [L, R]; softmax of what the alignment decoder says; rows sum to 1. None for models without one."""

    def __post_init__(self) -> None:
        length = len(self.starts)
        num_regions = self.attention.shape[-1]
        for name, shape in (
            ("starts", (length,)),
            ("ends", (length,)),
            ("attention", (len(self.attention), length, num_regions)),
            ("alignment", (length, num_regions)),
        ):
            array: Any = getattr(self, name)
            if (array is not None or name != "alignment") and np.shape(array) != shape:
                raise ValueError(
                    f"attention maps of {self.sentence_id!r} on {self.image_id!r}: {name} is {list(np.shape(array))}, "
                    f"expected {list(shape)}"
                )

    @property
    def pieces(self) -> tuple[str, ...]:
        """[L]; what each piece is of the text."""
        spans = zip(self.starts[1:-1].tolist(), self.ends[1:-1].tolist(), strict=True)
        return "[CLS]", *(self.text[start:end] for start, end in spans), "[SEP]"

    def of_word(self, map_LR: NDArray[np.float32], start: int, end: int) -> NDArray[np.float32] | None:
        """Return float32 [R]: the mean row of the pieces of the characters `start` to `end`; None where they were cut.

        Pieces of punctuation within a word (`man's`) do not count, as alignment targets leave them out.
        """
        pieces = np.flatnonzero((self.starts < end) & (self.ends > start))
        if len(pieces) > 1:
            pieces = np.array([i for i in pieces if any(map(str.isalnum, self.pieces[i]))])
        return map_LR[pieces].mean(0) if len(pieces) else None


def read_attention_maps(
    run: Run, model: Model, shards: JoinedShards, numbers: Iterable[int]
) -> Iterator[AttentionMaps]:
    """Yield the maps of these sentences, with nothing hidden; of a sentence with two images one for each.

    One sentence at a time: maps are for looking at.
    """
    maker = BatchMaker(shards, run.tokenizer, BatchOptions(max_pieces=run.recipe.batches.max_pieces))
    taps = [name for name in model.encoder.tap_names if name.endswith(".text_to_regions")]
    for number in numbers:
        text = shards.read(number).text
        (pieces,) = run.tokenizer.encode([text], max_pieces=maker.options.max_pieces - 2)
        batch = maker.make(np.array([number]))
        batch = batch.to(next(model.parameters()).device)
        with torch.inference_mode():
            outputs = model.eval().encode(batch, taps)
            decoder = model.alignment
            scores_BLR = None if decoder is None else decoder.scores(outputs)
        for row, image_id in enumerate(batch.image_ids):
            there = slice(int(batch.region_mask[row].sum()))
            yield AttentionMaps(
                sentence_id=batch.sentence_ids[row],
                image_id=image_id,
                text=text,
                **_characters(pieces),
                attention=np.stack([_mean_over_heads(outputs.taps[name], row)[:, there] for name in taps]),
                alignment=None if scores_BLR is None else _array(scores_BLR[row, :, there].float().softmax(1)),
            )


def _characters(pieces: Pieces) -> dict[str, NDArray[np.int32]]:
    return {name: np.pad(getattr(pieces, name), 1).astype(np.int32) for name in ("starts", "ends")}


def _mean_over_heads(tap: AttentionTap, row: int) -> NDArray[np.float32]:
    return _array(tap.probs[row].float().mean(0))


def _array(tensor: Tensor) -> NDArray[np.float32]:
    return tensor.cpu().numpy()
