"""Writes word vectors of the toy world's language in GloVe's text format: a word and its numbers a line.

They are made by hand, so that their cosines mean something: things of one kind are near, colours are as near as they
look, `big` is near `large`, and left is far from right.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from annotations.toyworld.drawing.backgrounds import BACKGROUNDS
from annotations.toyworld.layouts.json_files import write_lines
from annotations.toyworld.marked_text import read_marks
from annotations.toyworld.paraphrases import SYNONYMS
from annotations.toyworld.phrases import NUMBER_WORDS
from annotations.toyworld.vocabulary import CATEGORIES, COLOURS

DIMENSION = 32
NUM_NOISE = 12
"""Last numbers, in which every word differs from every other."""

_FEATURES = (
    *("animal", "building", "container", "device", "furniture", "plant", "toy", "vehicle"),
    *("thing", "colour", "size", "pattern", "number", "place", "grammar"),
    *("red", "green", "blue", "rightward", "upward"),
)
"""What the first numbers are."""

_OWN = 0.6  # length of a word's own part
_NEARLY = 0.2  # the same of words that mean the same as another

_GROUPS: dict[str, tuple[dict[str, float], tuple[str, ...]]] = {
    "things": ({"thing": 1}, ("object", "picture", "image", "images", "pattern", "color", "colors", "size")),
    "patterns": ({"pattern": 1}, ("striped", "dotted", "plain")),
    "numbers": ({"number": 1}, (*NUMBER_WORDS[1:], *map(str, range(10)), "many", "more", "total", "both", "either")),
    "large": ({"size": 1}, ("large",)),
    "larger": ({"size": 0.8}, ("larger",)),
    "small": ({"size": 1, "upward": -0.9}, ("small",)),
    "left": ({"place": 0.5, "rightward": -1}, ("left",)),
    "right": ({"place": 0.5, "rightward": 1}, ("right",)),
    "above": ({"place": 0.5, "upward": 1}, ("above",)),
    "below": ({"place": 0.5, "upward": -1}, ("below", "under")),
    "places": ({"place": 1}, ("on", "in", "near", "by", "among", "front")),
    "grammar": (
        {"grammar": 1},
        (
            *("a", "an", "the", "is", "are", "there", "and", "or", "of", "to", "do", "have", "has", "not", "no", "nor"),
            *("yes", "but", "neither", "what", "which", "how", "same", "different", "than", "at", "least", "exactly"),
            *("contains", "contain", "it", "looks", "older", "belongs", "teacher", "somebody", "will", "take", "away"),
            *("tomorrow", "child", "likes", "very", "much"),
        ),
    ),
}
"""Words with the features they share."""


def write_vectors_file(path: Path) -> None:
    """Write the vectors; they are the same for every world."""
    vectors = make_vectors()
    write_lines(path, (" ".join((word, *(f"{value:.5f}" for value in vectors[word]))) for word in sorted(vectors)))


def make_vectors() -> dict[str, NDArray[np.float64]]:
    """Return a vector of 32 numbers for every word in any file of a toy world."""
    vectors: dict[str, NDArray[np.float64]] = {}
    for features, words in _GROUPS.values():
        vectors |= {word: _vector(features, word) for word in words}
    for name, category in CATEGORIES.items():
        vectors[name] = _vector({category.kind: 1, "thing": 0.3}, name)
        vectors.setdefault(category.kind, _vector({category.kind: 1, "thing": 0.3}, category.kind, own=_NEARLY))
        vectors.setdefault(category.plural, _near(vectors[name], category.plural))
    for name, rgb in COLOURS.items():
        vectors[name] = _vector({"colour": 0.7} | _colour_features(rgb), name, own=_NEARLY)
    for word, synonym in SYNONYMS.items():
        vectors[synonym] = _near(vectors[word], synonym)
    for word in _words(read_marks(background.phrase).text for background in BACKGROUNDS.values()):
        vectors.setdefault(word, _vector({"place": 1}, word))
    return vectors


def _colour_features(rgb: Iterable[int]) -> dict[str, float]:
    return {name: 2 * value / 255 - 1 for name, value in zip(("red", "green", "blue"), rgb, strict=True)}


def _vector(features: dict[str, float], word: str, *, own: float = _OWN) -> NDArray[np.float64]:
    vector = np.zeros(DIMENSION)
    for name, value in features.items():
        vector[_FEATURES.index(name)] = value
    vector[-NUM_NOISE:] = own * _own_direction(word)
    return vector


def _near(vector: NDArray[np.float64], word: str) -> NDArray[np.float64]:
    """Return what the word means that the vector is of, a little aside."""
    moved = vector.copy()
    moved[-NUM_NOISE:] += _NEARLY * _own_direction(word)
    return moved


def _own_direction(word: str) -> NDArray[np.float64]:
    direction = np.random.default_rng(list(word.encode())).normal(size=NUM_NOISE)
    return np.asarray(direction / np.linalg.norm(direction))


def _words(texts: Iterable[str]) -> list[str]:
    return sorted({word for text in texts for word in text.split(" ")})
