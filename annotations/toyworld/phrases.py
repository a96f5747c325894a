"""What people would say about a scene: phrases about one object each, and captions of the whole."""

from collections import Counter
from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from annotations.toyworld.scene import Description, Relation, SceneObject
from annotations.toyworld.vocabulary import CATEGORIES

T = TypeVar("T")

NUM_CAPTIONS = 5
NUMBER_WORDS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight")


def describe_objects(
    objects: Sequence[SceneObject], relations: Sequence[Relation], rng: np.random.Generator
) -> tuple[Description, ...]:
    """Return for every object a noun phrase, a statement, and a relation to another object if it has any."""
    descriptions = []
    for subject, thing in enumerate(objects):
        noun = noun_phrase(thing, objects)
        descriptions.append(Description(subject=subject, phrase=noun))
        attribute = thing.attributes[int(rng.integers(len(thing.attributes)))]
        descriptions.append(Description(subject=subject, phrase=f"the {thing.category} is {attribute}"))
        own = [relation for relation in relations if relation.subject == subject]
        if own:
            descriptions.append(Description(subject=subject, phrase=relation_phrase(_choose(own, rng), objects)))
    return tuple(descriptions)


def caption_scene(
    objects: Sequence[SceneObject], relations: Sequence[Relation], setting: str, rng: np.random.Generator
) -> tuple[str, ...]:
    """Return five sentences: what there is, the main things, and three relations."""
    largest = sorted(objects, key=lambda thing: -thing.area)[:2]
    main = " and ".join(noun_phrase(thing, objects) for thing in largest)
    captions = [f"There {_is_or_are(objects)} {count_phrase(objects)}.", f"{_capital(main)} {setting}."]
    # What was put on or in something is worth saying first; neighbours come next, directions last.
    telling = sorted(relations, key=lambda each: (each.predicate not in ("on", "in"), each.predicate != "near"))
    told: list[Relation] = telling[:1]
    while len(captions) + len(told) < NUM_CAPTIONS and relations:
        told.append(_choose(relations, rng))
    captions += [f"{_capital(relation_phrase(each, objects, verb=' is'))}." for each in told]
    while len(captions) < NUM_CAPTIONS:
        captions.append(f"{_capital(noun_phrase(_choose(objects, rng), objects))} {setting}.")
    return tuple(captions)


def noun_phrase(thing: SceneObject, objects: Sequence[SceneObject]) -> str:
    """Return `the large red car` if only one of the objects fits these words, else `a large red car`."""
    fitting = sum(
        other.category == thing.category and set(thing.attributes) <= set(other.attributes) for other in objects
    )
    words = _words(thing)
    return f"the {words}" if fitting == 1 else f"{_article(words)} {words}"


def relation_phrase(relation: Relation, objects: Sequence[SceneObject], *, verb: str = "") -> str:
    """Return `a red car to the left of the small house`, or with the verb ` is` the same as a sentence."""
    words = _words(objects[relation.subject])
    return f"{_article(words)} {words}{verb} {relation.predicate} {noun_phrase(objects[relation.object], objects)}"


def count_phrase(objects: Sequence[SceneObject]) -> str:
    """Return `two cats, a kite and an umbrella`."""
    parts = []
    for category, count in Counter(thing.category for thing in objects).items():
        if count == 1:
            parts.append(f"{_article(category)} {category}")
        else:
            parts.append(f"{NUMBER_WORDS[count]} {CATEGORIES[category].plural}")
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def _words(thing: SceneObject) -> str:
    """Return size, pattern, colour and category: the order in which English has them."""
    colour, *others = thing.attributes
    return " ".join((*others, colour, thing.category))


def _is_or_are(objects: Sequence[SceneObject]) -> str:
    first = objects[0].category
    return "is" if sum(thing.category == first for thing in objects) == 1 else "are"


def _article(words: str) -> str:
    return "an" if words[0] in "aeiou" else "a"


def _capital(sentence: str) -> str:
    return sentence[0].upper() + sentence[1:]


def _choose(items: Sequence[T], rng: np.random.Generator) -> T:
    return items[int(rng.integers(len(items)))]
