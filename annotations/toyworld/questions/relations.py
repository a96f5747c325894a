"""Asks where things are: what is on, in, near or beside what."""

from collections.abc import Sequence

import numpy as np

from annotations.toyworld.facts import Fact
from annotations.toyworld.marked_text import mark
from annotations.toyworld.phrases import fitting, indefinite, with_article
from annotations.toyworld.questions.programs import Program
from annotations.toyworld.questions.question import Family, Question, Slot, make_question
from annotations.toyworld.random_streams import choose
from annotations.toyworld.references import Reference, could_be, refer
from annotations.toyworld.scene import Relation, Scene
from annotations.toyworld.vocabulary import CATEGORIES, PREDICATES

SIDES = {"to the left of": "left", "to the right of": "right", "above": "above", "below": "below"}
"""Predicates and how one answers which of two it is."""


def relation_family(scene: Scene, rng: np.random.Generator, relation: Relation) -> Family:
    """Return questions that the relation answers; none if its object cannot be singled out."""
    the_other = refer(relation.object, scene.objects)
    if the_other is None:
        return []
    the = refer(relation.subject, scene.objects)
    alike = fitting(scene.objects, scene.objects[relation.subject].category)
    possible = could_be(scene, relation.predicate, relation.object)
    family: Family = []
    if possible == [relation.subject]:
        family.append((_query_subject(scene, relation, the_other),))
    if relation.predicate in ("on", "in") and the is not None:
        family.append((_query_object(scene, relation, the),))
    if [index for index in possible if index in alike] == [relation.subject]:
        if len(alike) > 1:
            family.append((_query_colour(scene, relation, the_other),))
        family.append(
            (_exists_related(scene, relation, the_other), *_exists_none(scene, rng, relation, the_other, possible))
        )
    if the is not None:
        family += _verify_relation(scene, rng, relation, the, the_other)
        family += _choose_side(scene, relation, the, the_other)
    return family


def _fact(relation: Relation) -> Fact:
    return ("related", relation.subject, relation.predicate, relation.object)


def _select_subject(scene: Scene, program: Program, relation: Relation, name: str, the_other: Reference) -> int:
    """Select the object; then what is related to it, of the category given or of any (`_`)."""
    argument = f"{name},{relation.predicate},s ({scene.id_of(relation.subject)})"
    return program.add("relate", argument, program.select(the_other))


def _query_colour(scene: Scene, relation: Relation, the_other: Reference) -> Question:
    thing = scene.objects[relation.subject]
    program = Program(scene)
    program.add("query", "color", _select_subject(scene, program, relation, thing.category, the_other))
    return make_question(
        f"What color is the {mark(thing.category, relation.subject)} {relation.predicate} the {the_other}?",
        thing.colour,
        f"The {mark(thing.category, relation.subject)} is {thing.colour}.",
        types=("query", "attr", "directWhich"),
        groups=("color", f"10q-{thing.category}_color"),
        program=program,
        told=the_other.facts | {_fact(relation), ("is", relation.subject, thing.colour)},
    )


def _exists_related(scene: Scene, relation: Relation, the_other: Reference) -> Question:
    name = scene.objects[relation.subject].category
    program = Program(scene)
    program.add("exist", "?", _select_subject(scene, program, relation, name, the_other))
    words = f"{indefinite(name, relation.subject)} {relation.predicate} the {the_other}"
    return make_question(
        f"Is there {words}?",
        "yes",
        f"Yes, there is {words}.",
        types=("verify", "rel", "existRelS"),
        groups=(None, f"12-{name}_{relation.predicate}"),
        program=program,
        told=the_other.facts | {_fact(relation)},
    )


def _query_subject(scene: Scene, relation: Relation, the_other: Reference) -> Question:
    subject, other = scene.objects[relation.subject], scene.objects[relation.object]
    program = Program(scene)
    program.add("query", "name", _select_subject(scene, program, relation, "_", the_other))
    return make_question(
        f"What is {relation.predicate} the {the_other}?",
        mark(subject.category, relation.subject),
        f"The {mark(subject.category, relation.subject)} is {relation.predicate} "
        f"the {mark(other.category, relation.object)}.",
        types=("query", "rel", "relS"),
        groups=("object", f"14-{other.category}_{relation.predicate},s"),
        program=program,
        told=the_other.facts | {_fact(relation)},
    )


def _query_object(scene: Scene, relation: Relation, the: Reference) -> Question:
    other = scene.objects[relation.object]
    program = Program(scene)
    related = program.add("relate", f"_,{relation.predicate},o ({scene.id_of(relation.object)})", program.select(the))
    program.add("query", "name", related)
    return make_question(
        f"What is the {the} {relation.predicate}?",
        mark(other.category, relation.object),
        f"The {mark(the.category, the.index)} is {relation.predicate} the {mark(other.category, relation.object)}.",
        types=("query", "rel", "relO"),
        groups=("object", f"14-{the.category}_{relation.predicate},o"),
        program=program,
        told=the.facts | {_fact(relation)},
    )


def _exists_none(
    scene: Scene, rng: np.random.Generator, relation: Relation, the_other: Reference, possible: Sequence[int]
) -> Slot:
    """Ask for something that is not there: rather for what is elsewhere in the picture."""
    taken = {scene.objects[index].category for index in possible} | {the_other.category}
    elsewhere = sorted({thing.category for thing in scene.objects} - taken)
    if relation.predicate in ("on", "in"):
        elsewhere = [name for name in elsewhere if relation.predicate in CATEGORIES[name].goes]
    if not elsewhere:
        return ()
    name = choose(rng, elsewhere)
    ending = f"{relation.predicate} the {the_other}"
    program = Program(scene)
    selected = program.add("relate", f"{name},{relation.predicate},s (-)", program.select(the_other))
    program.add("exist", "?", selected)
    return (
        make_question(
            f"Is there {with_article(name)} {ending}?",
            "no",
            f"No, there is no {name} {ending}.",
            types=("verify", "rel", "existRelSC"),
            groups=(None, f"12-{name}_{relation.predicate}"),
            program=program,
            told=the_other.facts | {("none related", name, relation.predicate, relation.object)},
        ),
    )


def _verify_relation(
    scene: Scene, rng: np.random.Generator, relation: Relation, the: Reference, the_other: Reference
) -> list[Slot]:
    denied = [
        predicate
        for predicate in PREDICATES
        if the.index not in could_be(scene, predicate, relation.object) and _is_thinkable(scene, relation, predicate)
    ]
    if not denied:
        return []
    wrong = choose(rng, denied)
    untrue: Fact = ("unrelated", the.index, wrong, relation.object)
    slot = []
    for predicate, answer, known in ((relation.predicate, "yes", _fact(relation)), (wrong, "no", untrue)):
        negation = "" if answer == "yes" else "not "
        program = Program(scene)
        one, other = program.select(the), program.select(the_other)
        program.add("verify rel", predicate, one, other)
        slot.append(
            make_question(
                f"Is the {the} {predicate} the {the_other}?",
                answer,
                f"{answer.capitalize()}, the {mark(the.category, the.index)} is {negation}{predicate} "
                f"the {mark(the_other.category, the_other.index)}.",
                types=("verify", "rel", "relVerify" if answer == "yes" else "relVerifyCr"),
                groups=(None, f"13-{the.category}_{predicate}"),
                program=program,
                told=the.facts | the_other.facts | {known},
            )
        )
    return [tuple(slot)]


def _choose_side(scene: Scene, relation: Relation, the: Reference, the_other: Reference) -> list[Slot]:
    if relation.predicate not in SIDES:
        return []
    is_beside = relation.predicate.startswith("to the")
    sides = "to the left or to the right of" if is_beside else "above or below"
    program = Program(scene)
    one, other = program.select(the), program.select(the_other)
    program.add("choose rel", "to the left of|to the right of" if is_beside else "above|below", one, other)
    question = make_question(
        f"Is the {the} {sides} the {the_other}?",
        SIDES[relation.predicate],
        f"The {mark(the.category, the.index)} is {relation.predicate} the {mark(the_other.category, the_other.index)}.",
        types=("choose", "rel", "relChooser"),
        groups=("side", f"15-{the.category}_{the_other.category}"),
        program=program,
        told=the.facts | the_other.facts | {_fact(relation)},
    )
    return [(question,)]


def _is_thinkable(scene: Scene, relation: Relation, predicate: str) -> bool:
    """Return whether such things can be on or in one another, or the predicate is another."""
    subject, other = (CATEGORIES[scene.objects[index].category] for index in (relation.subject, relation.object))
    return predicate not in ("on", "in") or (other.holds == predicate and predicate in subject.goes)
