"""From criteria of words to alignment targets of word pieces, when a batch is made.

Axes: W pointed words, R regions, P supervised word pieces.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from annotations.alignment.targets import Combination, combine
from stores.formats.training_rows import TrainingSentence
from training.batch import Alignment
from training.data.tokenizer import Pieces

COVERING_IOU = 0.5
"""From so much overlap on, a region shows what a word means."""


@dataclass(frozen=True, kw_only=True)
class TargetOptions:
    """Which targets words have: every ablation is a choice here, never another shard."""

    combination: Combination = "code"
    """code, paper, position-only, semantic-only; see `annotations/alignment/targets.py`."""
    top_k: int | None = None
    """Regions kept; 3, of `paper` all."""
    min_support: float | None = None
    """Words whose kept scores sum to less are not supervised; 0.1, of `paper` more than nothing."""
    at_most_k: bool = False
    """Never are more regions kept, nor one with a score of 0, as arms of one criterion have it; see `combine`. False is
    what recipes without this field were trained with."""
    require_iou: float = 0.0
    """Words that no region overlaps so much are not supervised."""
    answer_pointer: bool = True
    """[CLS] has the target of the answer's first word, where the answer points at something."""
    share: float = 1.0
    """Share of the sentences that have their targets; the same ones in every epoch."""
    permuted: bool = False
    """A control: every sentence's targets sit on its regions in another order, the same in every epoch."""

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise ValueError(f"share of supervised sentences is {self.share}, expected from 0 to 1")


@dataclass(frozen=True, kw_only=True, eq=False)
class AlignedRow:
    """One pair of a batch whose words may be supervised."""

    row: int
    """In the batch."""
    number: int
    """Number of the sentence in its store."""
    image: int
    """Which of the sentence's images."""
    sentence: TrainingSentence
    pieces: Pieces


def make_alignment(
    rows: Sequence[AlignedRow], options: TargetOptions, *, length: int, is_region: NDArray[np.bool_], seed: int
) -> Alignment:
    """Return the targets of all supervised pieces of the rows; a word's pieces share its target.

    Args:
        length: L, word pieces of the batch's longest sentence with its special ones.
        is_region: bool [B, R].
        seed: of the permutations, where they are asked for.
    """
    rows = [each for each in rows if _has_targets(each.number, options.share)]
    pointed = [pieces_of_words(each, answer_pointer=options.answer_pointer) for each in rows]
    rows_P = np.repeat(np.array([each.row for each in rows], np.int64), [len(words) for words, _ in pointed])
    position_PR, semantic_PR = np.zeros((2, len(rows_P), is_region.shape[1]), np.float32)
    start = 0
    for each, (words, _) in zip(rows, pointed, strict=True):
        width = min(each.sentence.position.shape[1], is_region.shape[1])
        position_PR[start : start + len(words), :width] = each.sentence.position[words, :width]
        semantic_PR[start : start + len(words), :width] = each.sentence.semantic[words, :width]
        start += len(words)
    made = combine(
        position_PR,
        semantic_PR,
        combination=options.combination,
        top_k=options.top_k,
        min_support=options.min_support,
        require_iou=options.require_iou,
        at_most_k=options.at_most_k,
        is_region=is_region[rows_P],
    )
    targets_PR, covers_PR = made.targets, position_PR >= COVERING_IOU
    if options.permuted:
        orders = [permutation(each.number, is_region[each.row], seed) for each in rows]
        orders_PR = np.repeat(
            np.array(orders, np.int64).reshape(len(rows), is_region.shape[1]),
            [len(words) for words, _ in pointed],
            axis=0,
        )
        targets_PR = np.take_along_axis(targets_PR, orders_PR, axis=1)
    pieces_P = np.concatenate([np.empty(0, np.int64), *(pieces for _, pieces in pointed)])
    return Alignment(
        positions=torch.from_numpy((rows_P * length + pieces_P)[made.supervised]),
        targets=torch.from_numpy(targets_PR[made.supervised].astype(np.float32)),
        covers=torch.from_numpy(covers_PR[made.supervised]),
    )


def pieces_of_words(row: AlignedRow, *, answer_pointer: bool) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return, for every piece that a pointed word supervises, the word and the piece; pieces count from [CLS], 0.

    A piece belongs to the words whose characters it shares, by the tokenizer's offsets. Pieces of punctuation within a
    word (`man's`, `t-shirt`) have no target, those after it have the word's. Words beyond the limit of pieces are lost.
    """
    sentence, pieces = row.sentence, row.pieces
    here = sentence.word_images == row.image
    words = np.flatnonzero(here & ~sentence.word_in_answer)
    first = np.searchsorted(pieces.ends, sentence.word_starts[words], side="right")
    last = np.searchsorted(pieces.starts, sentence.word_ends[words], side="left")
    found = [
        (word, piece + 1)
        for word, start, end in zip(words, first, last, strict=True)
        for piece in range(start, end)
        if end - start == 1 or _says_something(sentence.text[pieces.starts[piece] : pieces.ends[piece]])
    ]
    if answer_pointer and (in_answer := np.flatnonzero(here & sentence.word_in_answer)).size:
        found.append((in_answer[0], 0))
    words_and_pieces = np.array(found, np.int64).reshape(-1, 2)
    return words_and_pieces[:, 0], words_and_pieces[:, 1]


def _says_something(piece: str) -> bool:
    return any(letter.isalnum() for letter in piece)


def _has_targets(number: int, share: float) -> bool:
    """Return whether a sentence is among the share; multiplication by the golden ratio spreads numbers evenly."""
    return (number * 0x9E3779B97F4A7C15 % 2**64) < share * 2**64


def permutation(number: int, is_region_R: NDArray[np.bool_], seed: int) -> NDArray[np.int64]:
    """Return an order of the columns that moves regions among each other and leaves padding where it is.

    Args:
        number: of the sentence; each has an order of its own.
    """
    order, there = np.arange(len(is_region_R)), np.flatnonzero(is_region_R)
    order[there] = np.random.default_rng([seed, number]).permutation(there)
    return order
