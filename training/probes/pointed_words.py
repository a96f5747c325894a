"""Words whose regions are known, for measurements: those that at least one region covers.

Axes: B pairs, L word pieces, R regions, W words.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stores.errors import StoreError
from training.batch import Batch
from training.data.batches import BatchMaker
from training.data.order import evaluation_batches
from training.data.targets import COVERING_IOU, AlignedRow, pieces_of_words


class NothingPointedError(StoreError):
    """No region covers what any word of some sentences points at; nothing can be learnt or measured of it."""


@dataclass(frozen=True, kw_only=True, eq=False)
class PointedBatch:
    """A batch with nothing hidden, and its words that point at something which a region shows."""

    batch: Batch
    rows: Tensor
    """int64 [W]; the pair that a word is of."""
    pieces: Tensor
    """float32 [W, L]; a word's share of each piece: they sum to 1."""
    covers: Tensor
    """bool [W, R]; IoU with the gold boxes of at least a half; at least one in each row."""

    def of_words(self, scores_BLR: Tensor) -> Tensor:
        """Return float [W, R]: the mean over a word's pieces, padding far below everything else."""
        scores_WLR = scores_BLR[self.rows].float()
        scores_WR = (self.pieces[:, :, None] * scores_WLR).sum(1)
        is_region_WR = self.batch.region_mask[self.rows]
        return scores_WR.masked_fill(~is_region_WR, torch.finfo(scores_WR.dtype).min)

    def to(self, device: torch.device) -> "PointedBatch":
        """Return the same on `device`."""
        return PointedBatch(
            batch=self.batch.to(device),
            rows=self.rows.to(device),
            pieces=self.pieces.to(device),
            covers=self.covers.to(device),
        )


def read_pointed(maker: BatchMaker, numbers: NDArray[np.int64]) -> PointedBatch:
    """Return the batch of these sentences, of which each has one image; by a maker that hides nothing."""
    batch = maker.make(numbers)
    length, num_regions = batch.input_ids.shape[1], batch.region_mask.shape[1]
    rows, shares, covers = list[int](), list[NDArray[np.float32]](), list[NDArray[np.bool_]]()
    sentences = [maker.shards.read(int(number)) for number in numbers]
    pieces = maker.tokenizer.encode([sentence.text for sentence in sentences], max_pieces=maker.options.max_pieces - 2)
    for row, (number, sentence) in enumerate(zip(numbers, sentences, strict=True)):
        aligned = AlignedRow(row=row, number=int(number), image=0, sentence=sentence, pieces=pieces[row])
        words, positions = pieces_of_words(aligned, answer_pointer=False)
        for word in np.unique(words):
            covered = np.zeros(num_regions, bool)
            covered[: sentence.position.shape[1]] = sentence.position[word] >= COVERING_IOU
            if covered.any():
                share = np.zeros(length, np.float32)
                own = positions[words == word]
                share[own] = 1 / len(own)
                rows.append(row)
                shares.append(share)
                covers.append(covered)
    return PointedBatch(
        batch=batch,
        rows=torch.tensor(rows, dtype=torch.int64),
        pieces=torch.from_numpy(np.array(shares, np.float32).reshape(-1, length)),
        covers=torch.from_numpy(np.array(covers, bool).reshape(-1, num_regions)),
    )


def pointed_batches(maker: BatchMaker, numbers: NDArray[np.int64], batch_size: int) -> Iterator[PointedBatch]:
    """Yield the batches of these sentences, each once, without those that have no such word."""
    for part in evaluation_batches(numbers, maker.shards.lengths[numbers], batch_size):
        pointed = read_pointed(maker, part)
        if len(pointed.rows):
            yield pointed
