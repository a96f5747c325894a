"""Which regions show what a phrase means, when a batch is made.

Axes: W pointed words, P phrases, R regions.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray

from stores.formats.training_rows import StoredPhrases, TrainingSentence
from training.batch import Grounding
from training.data.targets import COVERING_IOU, AlignedRow, permutation


@dataclass(frozen=True, kw_only=True)
class GroundingOptions:
    """What a phrase is, which regions count, and controls."""

    min_iou: float = COVERING_IOU
    """With one of the gold boxes; a phrase that no region overlaps so much is not grounded."""
    stored_phrases: bool = False
    """A phrase is what the annotators marked, where the sentence store holds it; else, and of older stores, a run of
    neighbouring words with equal boxes. False is what recipes without this field were trained with."""
    keep_unshown: bool = False
    """Also phrases that no region overlaps so much, and those beyond the limit of pieces, at [CLS]: for measurements,
    which count them as missed."""
    permuted: bool = False
    """A control: a sentence's phrases mean as many regions, which are right no more often than by chance; the same in
    every epoch."""

    def __post_init__(self) -> None:
        if not 0 < self.min_iou <= 1:
            raise ValueError(f"min_iou is {self.min_iou}, expected above 0 and at most 1")


@dataclass(frozen=True, kw_only=True, eq=False)
class Phrases:
    """The phrases of one sentence about one of its images."""

    starts: NDArray[np.int64]
    """int64 [P]; first word piece, counted from [CLS], 0."""
    ends: NDArray[np.int64]
    """int64 [P]; one past the last word piece."""
    position: NDArray[np.float16]
    """float16 [P, R]; IoU with the gold boxes."""
    num_lost: int
    """Phrases of which no piece is left."""


def make_grounding(
    rows: Sequence[AlignedRow], options: GroundingOptions, *, is_region: NDArray[np.bool_], seed: int
) -> Grounding:
    """Return the phrases of all rows that at least one region shows, or of all.

    Args:
        is_region: bool [B, R].
        seed: of the permutations, where they are asked for.
    """
    found = [find_phrases(each, stored=options.stored_phrases) for each in rows]
    if options.keep_unshown:
        found = [_with_lost(each) for each in found]
    gold_PR = np.zeros((sum(len(each.starts) for each in found), is_region.shape[1]), bool)
    start = 0
    for each, phrases in zip(rows, found, strict=True):
        gold = gold_PR[start : start + len(phrases.starts)]
        gold[:, : phrases.position.shape[1]] = phrases.position >= options.min_iou
        if options.permuted:
            gold[:] = gold[:, permutation(each.number, is_region[each.row], seed)]
        start += len(gold)
    rows_P = np.repeat(np.array([each.row for each in rows], np.int64), [len(each.starts) for each in found])
    shown_P = gold_PR.any(1) | options.keep_unshown
    return Grounding(
        rows=torch.from_numpy(rows_P[shown_P]),
        starts=torch.from_numpy(_joined([each.starts for each in found])[shown_P]),
        ends=torch.from_numpy(_joined([each.ends for each in found])[shown_P]),
        gold=torch.from_numpy(gold_PR[shown_P]),
    )


def find_phrases(row: AlignedRow, *, stored: bool) -> Phrases:
    """Return the phrases of a sentence, as they begin; those beyond the limit of pieces are lost, or end there.

    Args:
        stored: whether they are those that the store holds, where it does; see `GroundingOptions.stored_phrases`.
    """
    pieces, marked = row.pieces, row.sentence.phrases if stored else None
    phrases = _guessed(row) if marked is None else _about_image(marked, row.image)
    starts = np.searchsorted(pieces.ends, phrases.starts, side="right")
    ends = np.searchsorted(pieces.starts, phrases.ends, side="left")
    there = starts < ends
    return Phrases(
        starts=starts[there] + 1,
        ends=ends[there] + 1,
        position=phrases.position[there],
        num_lost=int((~there).sum()),
    )


def _about_image(phrases: StoredPhrases, image: int) -> StoredPhrases:
    """Return the phrases of the text that are about one of its images, in the order in which they begin."""
    here = np.flatnonzero((phrases.images == image) & ~phrases.in_answer)
    return phrases[here[np.argsort(phrases.starts[here], kind="stable")]]


def _guessed(row: AlignedRow) -> StoredPhrases:
    """Return the phrases that the words about an image make, where nothing else is known: runs with equal boxes.

    Punctuation cuts one, neighbours with equal boxes become one, and nested ones are pieces with the boxes of all.
    """
    sentence = row.sentence
    words = np.flatnonzero((sentence.word_images == row.image) & ~sentence.word_in_answer)
    runs = _runs(sentence, words)
    first, last = (np.array([run[end] for run in runs], np.int64) for end in (0, -1))
    return StoredPhrases(
        starts=sentence.word_starts[first],
        ends=sentence.word_ends[last],
        images=sentence.word_images[first],
        in_answer=sentence.word_in_answer[first],
        position=sentence.position[first],
    )


def _with_lost(phrases: Phrases) -> Phrases:
    """Return also the phrases of which no piece is left: at [CLS], and shown by no region."""
    lost = np.zeros(phrases.num_lost, np.int64)
    return replace(
        phrases,
        starts=np.append(phrases.starts, lost),
        ends=np.append(phrases.ends, lost + 1),
        position=np.concatenate([phrases.position, np.zeros((len(lost), phrases.position.shape[1]), np.float16)]),
    )


def _runs(sentence: TrainingSentence, words: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Return neighbouring words together that have the same boxes: only space is between them, and no new caption."""
    if not len(words):
        return []
    between = [sentence.text[sentence.word_ends[one] : sentence.word_starts[other]] for one, other in pairwise(words)]
    apart = [
        bool(text.strip()) or "\n" in text or not np.array_equal(sentence.position[one], sentence.position[other])
        for text, (one, other) in zip(between, pairwise(words), strict=True)
    ]
    return np.split(words, np.flatnonzero(apart) + 1)


def _joined(parts: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    return np.concatenate([np.empty(0, np.int64), *parts])
