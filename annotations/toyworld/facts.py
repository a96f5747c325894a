"""Facts known about a scene once some questions are answered, and the other questions that they answer too.

A fact is a tuple that begins with its kind; objects are indices, words are as in the vocabulary:

    ("there", 2)                    object 2 exists
    ("is", 2, "red")                it has this attribute
    ("not", 2, "blue")              it has not
    ("related", 2, "on", 0)         objects[2] is on objects[0]
    ("unrelated", 2, "below", 0)    it is not below
    ("same", 0, 2)                  they have the same colour; likewise ("different", 0, 2), smaller index first
    ("larger", 0, 2)                the first is larger
    ("none", "cat", "red")          there is no red cat; without any attribute: no cat
"""

from collections.abc import Iterable

from annotations.toyworld.vocabulary import ATTRIBUTES, COLOURS

Fact = tuple[int | str, ...]

EXCLUSIVE = (tuple(COLOURS), ("large", "small"), ("striped", "dotted"))
"""Groups of words; an object has one word of each at most."""

CONVERSE = {
    "to the left of": "to the right of",
    "to the right of": "to the left of",
    "above": "below",
    "below": "above",
    "near": "near",
}


def conclude(told: Iterable[Fact]) -> frozenset[Fact]:
    """Return the facts and all that follows from them."""
    known = set(told)
    # Two rounds: what follows from one fact, then what follows from two colours.
    for _ in range(2):
        known |= {consequence for fact in known for consequence in _follow(fact)}
        known |= _compare(known)
    return frozenset(known)


def _follow(fact: Fact) -> list[Fact]:
    match fact:
        case ("is", thing, word):
            others = [other for words in EXCLUSIVE if word in words for other in words if other != word]
            return [("there", thing), *(("not", thing, other) for other in others)]
        case ("related", thing, str(predicate), other):
            facts: list[Fact] = [("there", thing), ("there", other)]
            if predicate in CONVERSE:
                converse = CONVERSE[predicate]
                facts.append(("related", other, converse, thing))
                facts += [] if converse == predicate else [("unrelated", thing, converse, other)]
            return facts
        case ("unrelated", thing, "near", other):
            return [("unrelated", other, "near", thing)]
        case ("none", category):
            return [("none", category, word) for word in ATTRIBUTES]
    return []


def _compare(known: set[Fact]) -> set[Fact]:
    """Return how two things compare whose attributes are known, and attributes of what compares with known things."""
    colours = {fact[1]: fact[2] for fact in known if fact[0] == "is" and fact[2] in COLOURS}
    sizes = {fact[1]: fact[2] for fact in known if fact[0] == "is" and fact[2] in ("large", "small")}
    facts: set[Fact] = {
        ("same" if colours[one] == colours[other] else "different", one, other)
        for one in colours
        for other in colours
        if int(one) < int(other)
    }
    facts |= {("larger", one, other) for one in sizes for other in sizes if sizes[one] == "large" != sizes[other]}
    for kind, *things in known:
        if kind == "same":
            facts |= {("is", thing, colours[each]) for thing in things for each in things if each in colours}
    return facts
