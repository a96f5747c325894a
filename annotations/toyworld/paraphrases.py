"""Other words for the same thing, and how the meanings of two phrases relate."""

from collections.abc import Iterable

import numpy as np

from annotations.toyworld.marked_text import MarkedText, Mention, mark, read_marks
from annotations.toyworld.phrases import describe, fitting, with_article
from annotations.toyworld.scene import Scene
from annotations.toyworld.vocabulary import CATEGORIES

SYNONYMS = {"large": "big", "small": "little", "mug": "cup"}
HYPERNYMS = {"animal", "vehicle"}
"""Kinds that people say for a thing of that kind."""

KEPT = 0.6  # of the attributes
RENAMED = 0.3  # of the attributes and things that have a synonym or a hypernym

_MEANINGS = {synonym: word for word, synonym in SYNONYMS.items()}


def reword(caption: MarkedText, scene: Scene, rng: np.random.Generator) -> MarkedText:
    """Return the caption as somebody else would write it: single things get fewer attributes or other names."""
    parts, end = [], 0
    for mention in caption.mentions:
        words = caption.words_of(mention)
        if len(mention.objects) == 1:
            words = _other_words(mention, scene, rng)
        parts += [caption.text[end : mention.start], mark(words, *mention.objects)]
        end = mention.end
    reworded = read_marks("".join((*parts, caption.text[end:-1])))
    return reworded.as_sentence()


def relate(phrase: str, other: str) -> str:
    """Return how two phrases about one thing relate, in VGP-Typology's words.

    In Entailment1 the first phrase says all that the second says, in Entailment2 the second does.
    """
    first, second = _meaning(phrase), _meaning(other)
    is_more, is_less = _entails(first, second), _entails(second, first)
    if is_more and is_less:
        return "Equivalence"
    return "Entailment1" if is_more else "Entailment2" if is_less else "Independence"


def without_article(phrase: str) -> str:
    """Return the phrase in lower case without `a`, `an` or `the`."""
    article, _, words = phrase.lower().partition(" ")
    return words if article in ("a", "an", "the") else phrase.lower()


def _other_words(mention: Mention, scene: Scene, rng: np.random.Generator) -> str:
    index = mention.objects[0]
    thing = scene.objects[index]
    kept = [word for word in thing.attributes if rng.random() < KEPT]
    noun, kind = thing.category, CATEGORIES[thing.category].kind
    others = fitting(scene.objects, noun, kept)
    if kind in HYPERNYMS and rng.random() < RENAMED:
        noun = kind
        others = _fitting_kind(scene, kind, kept)
    words = describe(noun, kept).split(" ")
    phrase = " ".join(SYNONYMS[word] if word in SYNONYMS and rng.random() < RENAMED else word for word in words)
    return f"the {phrase}" if others == [index] else with_article(phrase)


def _fitting_kind(scene: Scene, kind: str, attributes: Iterable[str]) -> list[int]:
    names = [name for name, category in CATEGORIES.items() if category.kind == kind]
    return [index for name in names for index in fitting(scene.objects, name, attributes)]


def _meaning(phrase: str) -> tuple[frozenset[str], str]:
    *attributes, noun = (_MEANINGS.get(word, word) for word in without_article(phrase).split(" "))
    return frozenset(attributes), noun


def _entails(first: tuple[frozenset[str], str], second: tuple[frozenset[str], str]) -> bool:
    (attributes, noun), (others, other_noun) = first, second
    is_such = noun == other_noun or (noun in CATEGORIES and CATEGORIES[noun].kind == other_noun)
    return attributes >= others and is_such
