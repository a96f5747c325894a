"""What the page shows of one aligned sentence: its words, and for each of them weights over the regions."""

import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from annotations.alignment.sentences import AlignedSentence, ImageRegions
from annotations.alignment.targets import Combination, combine

COMBINATIONS: tuple[Combination, ...] = ("code", "paper", "position-only", "semantic-only")

Exhibit = dict[str, Any]
"""JSON values, which the page's script reads."""


def make_sentence_exhibit(aligned: AlignedSentence, regions: Sequence[ImageRegions | None]) -> Exhibit:
    """Return the sentence as the page's script takes it.

    Args:
        regions: of each of its images; None where the region store lacks them now.
    """
    sentence, words = aligned.sentence, aligned.words
    there = is_region(aligned)
    made = {name: combine(words.position, words.semantic, combination=name, is_region=there) for name in COMBINATIONS}
    answer = sentence.answers[0].text if sentence.answers else ""
    coverage = words.position.max(axis=1, initial=0)
    disagreement = total_variation(made["position-only"].targets, made["semantic-only"].targets)
    return {
        "id": sentence.sentence_id,
        "source": sentence.source,
        "split": sentence.split,
        "images": list(sentence.image_ids),
        "sizes": [[image.width, image.height] for image in sentence.images],
        "has_regions": [each is not None for each in regions],
        "text": _pieces(aligned, sentence.text, in_answer=False),
        "answer": _pieces(aligned, answer, in_answer=True),
        "other_answers": [f"{each.text} {each.weight:.2g}" for each in sentence.answers[1:6]],
        "details": [f"{name}: {_told(value)}" for name, value in sentence.details.items() if value not in ("", [], {})],
        "coverage": _rounded(coverage.min()) if len(words) else None,
        "disagreement": _rounded(disagreement.mean()) if len(words) else None,
        "words": [
            {
                "image": int(words.images[row]),
                "oov": bool(words.oov[row]),
                "coverage": _rounded(coverage[row]),
                "disagreement": _rounded(disagreement[row]),
                "gold": [[round(value, 1) for value in box] for box in aligned.gold_boxes(row)],
                "position": _list(words.position[row]),
                "semantic": _list(words.semantic[row]),
                "targets": {name: _list(targets.targets[row]) for name, targets in made.items()},
                "supervised": {name: bool(targets.supervised[row]) for name, targets in made.items()},
            }
            for row in range(len(words))
        ],
    }


def is_region(aligned: AlignedSentence) -> NDArray[np.bool_]:
    """Return [W, R]; False for columns beyond the regions of the word's image."""
    num_boxes = np.array(aligned.num_boxes, np.int64)[aligned.words.images]
    return np.arange(aligned.words.position.shape[1]) < num_boxes[:, None]


def total_variation(one: NDArray[np.floating], other: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return [W]; how much weight has to move for one target to become the other, 0 to 1."""
    return np.abs(one - other).sum(axis=1) / 2


def entropy_bits(targets: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return [W]; how many bits the choice of a region leaves open."""
    logarithms = np.log2(targets, out=np.zeros_like(targets), where=targets > 0)
    return -(targets * logarithms).sum(axis=1)


def _pieces(aligned: AlignedSentence, text: str, *, in_answer: bool) -> list[Any]:
    """Return the text cut at pointed words: strings, and `[string, row, row ...]` for words."""
    words = aligned.words
    rows_of: dict[tuple[int, int], list[int]] = {}
    for row in np.flatnonzero(words.in_answer == in_answer).tolist():
        rows_of.setdefault((int(words.starts[row]), int(words.ends[row])), []).append(row)
    pieces: list[Any] = []
    last = 0
    for (start, end), rows in sorted(rows_of.items()):
        if start < last:
            continue  # a word inside another, as only a pointer that cuts words makes
        pieces += [text[last:start], [text[start:end], *rows]]
        last = end
    return [piece for piece in (*pieces, text[last:]) if piece]


def _told(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _list(values: NDArray[np.floating]) -> list[float]:
    return [_rounded(value) for value in values]


def _rounded(value: float) -> float:
    return round(float(value), 3) if math.isfinite(value) else 0.0
