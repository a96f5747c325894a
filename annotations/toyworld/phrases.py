"""What people would say about a scene: phrases about one object each, and captions of the whole."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TypeVar

import numpy as np

from annotations.toyworld.marked_text import MarkedText, mark, read_marks
from annotations.toyworld.scene import Description, Relation, Scene, SceneObject
from annotations.toyworld.vocabulary import CATEGORIES, COLOURS, PATTERNS, SIZES

T = TypeVar("T")

NUM_CAPTIONS = 5
_ADJECTIVES = (*SIZES, *PATTERNS, *COLOURS)
NUMBER_WORDS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight")


def describe_objects(
    objects: Sequence[SceneObject], relations: Sequence[Relation], rng: np.random.Generator
) -> tuple[Description, ...]:
    """Return for every object a noun phrase, a statement, and a relation to another object if it has any."""
    descriptions = []
    for subject, thing in enumerate(objects):
        phrases = [noun_phrase(subject, objects)]
        attribute = thing.attributes[int(rng.integers(len(thing.attributes)))]
        phrases.append(f"{mark(f'the {thing.category}', subject)} is {attribute}")
        own = [relation for relation in relations if relation.subject == subject]
        if own:
            phrases.append(relation_phrase(_choose(own, rng), objects))
        descriptions += [Description(subject=subject, phrase=read_marks(phrase)) for phrase in phrases]
    return tuple(descriptions)


def caption_scene(
    objects: Sequence[SceneObject], relations: Sequence[Relation], setting: str, rng: np.random.Generator
) -> tuple[MarkedText, ...]:
    """Return five sentences: what there is, the main things, and three relations; `setting` is marked."""
    largest = sorted(range(len(objects)), key=lambda index: -objects[index].area)[:2]
    main = " and ".join(noun_phrase(index, objects) for index in largest)
    captions = [f"there {_is_or_are(objects)} {count_phrase(objects)}", f"{main} {setting}"]
    # What was put on or in something is worth saying first; neighbours come next, directions last.
    telling = sorted(relations, key=lambda each: (each.predicate not in ("on", "in"), each.predicate != "near"))
    told: list[Relation] = telling[:1]
    while len(captions) + len(told) < NUM_CAPTIONS and relations:
        told.append(_choose(relations, rng))
    captions += [relation_phrase(each, objects, verb=" is") for each in told]
    while len(captions) < NUM_CAPTIONS:
        captions.append(f"{noun_phrase(_choose(range(len(objects)), rng), objects)} {setting}")
    return tuple(read_marks(caption).as_sentence() for caption in captions)


def relate_things(scene: Scene, rng: np.random.Generator) -> tuple[MarkedText, ...]:
    """Return up to five different relations of things by their names alone, `a car above a house`.

    None is of two things of one name. They are written as Winoground's captions are.
    """
    names = [thing.category for thing in scene.objects]
    told = [each for each in scene.relations if names[each.subject] != names[each.object]]
    captions: dict[tuple[str, str, str], MarkedText] = {}
    for number in rng.permutation(len(told)).tolist():
        subject, predicate, other = told[number].subject, told[number].predicate, told[number].object
        words = [mark(with_article(names[index]), index) for index in (subject, other)]
        captions.setdefault((names[subject], predicate, names[other]), read_marks(f"{words[0]} {predicate} {words[1]}"))
    return tuple(captions.values())[:NUM_CAPTIONS]


def noun_phrase(index: int, objects: Sequence[SceneObject]) -> str:
    """Return, marked, `the large red car` if only one of the objects fits these words, else `a large red car`."""
    thing = objects[index]
    words = describe(thing.category, thing.attributes)
    is_only = fitting(objects, thing.category, thing.attributes) == [index]
    return mark(f"the {words}" if is_only else with_article(words), index)


def relation_phrase(relation: Relation, objects: Sequence[SceneObject], *, verb: str = "") -> str:
    """Return, marked, `a red car above the small house`, or with the verb ` is` the same as a sentence."""
    thing = objects[relation.subject]
    subject = mark(with_article(describe(thing.category, thing.attributes)), relation.subject)
    return f"{subject}{verb} {relation.predicate} {noun_phrase(relation.object, objects)}"


def count_phrase(objects: Sequence[SceneObject]) -> str:
    """Return, marked, `two cats, a kite and an umbrella`."""
    parts = []
    for category, count in Counter(thing.category for thing in objects).items():
        words = with_article(category) if count == 1 else f"{NUMBER_WORDS[count]} {CATEGORIES[category].plural}"
        parts.append(mark(words, *fitting(objects, category)))
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def describe(noun: str, attributes: Iterable[str]) -> str:
    """Return size, pattern, colour and noun: the order in which English has them."""
    return " ".join((*sorted(attributes, key=_ADJECTIVES.index), noun))


def with_article(words: str) -> str:
    """Return the words after `a` or `an`."""
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def indefinite(words: str, *objects: int) -> str:
    """Return the words after `a` or `an`, marked without it if they name something."""
    article = with_article(words).removesuffix(words)
    return article + (mark(words, *objects) if objects else words)


def fitting(objects: Sequence[SceneObject], category: str, attributes: Iterable[str] = ()) -> list[int]:
    """Return the indices of the objects of a category that have all these attributes."""
    wanted = set(attributes)
    return [
        index for index, thing in enumerate(objects) if thing.category == category and wanted <= set(thing.attributes)
    ]


def _is_or_are(objects: Sequence[SceneObject]) -> str:
    first = objects[0].category
    return "is" if sum(thing.category == first for thing in objects) == 1 else "are"


def _choose(items: Sequence[T], rng: np.random.Generator) -> T:
    return items[int(rng.integers(len(items)))]
