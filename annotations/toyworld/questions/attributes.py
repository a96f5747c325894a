"""Asks about the colour, size and pattern of one thing."""

import numpy as np

from annotations.toyworld.facts import Fact
from annotations.toyworld.marked_text import mark
from annotations.toyworld.phrases import describe, fitting, indefinite, with_article
from annotations.toyworld.questions.programs import KIND_OF, KINDS, Program
from annotations.toyworld.questions.question import Family, Question, Slot, make_question
from annotations.toyworld.random_streams import choose, sample
from annotations.toyworld.references import Reference, refer
from annotations.toyworld.scene import Scene
from annotations.toyworld.vocabulary import ATTRIBUTES


def attribute_family(scene: Scene, rng: np.random.Generator, index: int, kind: str) -> Family:
    """Return questions that the colour, size or pattern of a thing answers; none if it is not worth mentioning."""
    thing = scene.objects[index]
    word = next((word for word in thing.attributes if KIND_OF[word] == kind), None)
    the = refer(index, scene.objects, avoid=KINDS[kind])
    if word is None or the is None:
        return []
    wrong = choose(rng, [other for other in KINDS[kind] if other != word])
    family: Family = [
        _verify_attribute(scene, the, word, wrong),
        (_choose_attribute(scene, rng, the, word, wrong),),
        *_exists_with(scene, rng, index, word),
    ]
    if kind != "pattern":  # which one does not ask for
        family.append((_query_attribute(scene, the, word),))
    family += _verify_two_attributes(scene, rng, index)
    if sum(word in each.attributes for each in scene.objects) == 1:
        family.append((_which_object(scene, index, word),))
    return family


def _query_attribute(scene: Scene, the: Reference, word: str) -> Question:
    kind = KIND_OF[word]
    program = Program(scene)
    program.add("query", kind, program.select(the))
    return make_question(
        f"What {kind} is the {the}?",
        word,
        f"The {mark(the.category, the.index)} is {word}.",
        types=("query", "attr", "directWhich"),
        groups=(kind, f"10q-{the.category}_{kind}"),
        program=program,
        told=the.facts | {("is", the.index, word)},
    )


def _which_object(scene: Scene, index: int, word: str) -> Question:
    name = scene.objects[index].category
    program = Program(scene)
    program.add("query", "name", program.add(f"filter {KIND_OF[word]}", word, program.add("select", "scene")))
    return make_question(
        f"Which object is {word}?",
        mark(name, index),
        f"The {mark(name, index)} is {word}.",
        types=("query", "attr", "categoryThat"),
        groups=("object", f"09-{word}"),
        program=program,
        told={("there", index), ("is", index, word)},
        needed={("is", index, word)},
    )


def _verify_attribute(scene: Scene, the: Reference, word: str, wrong: str) -> Slot:
    questions = []
    for asked, answer in ((word, "yes"), (wrong, "no")):
        program = Program(scene)
        program.add(f"verify {KIND_OF[word]}", asked, program.select(the))
        questions.append(
            make_question(
                f"Is the {the} {asked}?",
                answer,
                f"{answer.capitalize()}, the {mark(the.category, the.index)} is {word}.",
                types=("verify", "attr", "verifyAttr" if answer == "yes" else "verifyAttrC"),
                groups=(None, f"06-{the.category}_{asked}"),
                program=program,
                told=the.facts | {("is" if answer == "yes" else "not", the.index, asked)},
            )
        )
    return tuple(questions)


def _choose_attribute(scene: Scene, rng: np.random.Generator, the: Reference, word: str, wrong: str) -> Question:
    first, second = sample(rng, [word, wrong], 2)
    program = Program(scene)
    program.add(f"choose {KIND_OF[word]}", f"{first}|{second}", program.select(the))
    return make_question(
        f"Is the {the} {first} or {second}?",
        word,
        f"The {mark(the.category, the.index)} is {word}.",
        types=("choose", "attr", "chooseAttr"),
        groups=(KIND_OF[word], f"10c-{the.category}_{KIND_OF[word]}"),
        program=program,
        told=the.facts | {("is", the.index, word)},
    )


def _exists_with(scene: Scene, rng: np.random.Generator, index: int, word: str) -> list[Slot]:
    """Ask whether there is a thing of this category and attribute, where no more than one is."""
    name = scene.objects[index].category
    absent = [other for other in KINDS[KIND_OF[word]] if not fitting(scene.objects, name, [other])]
    if any(scene.objects[each].size == "medium" for each in fitting(scene.objects, name)):
        absent = [other for other in absent if KIND_OF[other] != "size"]  # which some would call small or large
    if fitting(scene.objects, name, [word]) != [index] or not absent:
        return []
    wrong = choose(rng, absent)
    questions = []
    for asked, answer in ((word, "yes"), (wrong, "no")):
        words = describe(name, [asked])
        program = Program(scene)
        program.add("exist", "?", program.select_any(name, [asked]))
        is_there = answer == "yes"
        full = f"Yes, there is {indefinite(words, index)}." if is_there else f"No, there is no {words}."
        questions.append(
            make_question(
                f"Is there {indefinite(words, index) if is_there else with_article(words)} in the picture?",
                answer,
                full,
                types=("verify", "obj", "existAttr" if is_there else "existAttrC"),
                groups=(None, f"04-{asked}_{name}"),
                program=program,
                told={("there", index), ("is", index, asked)} if is_there else {("none", name, asked)},
                needed={("is", index, asked)} if is_there else {("none", name, asked)},
            )
        )
    return [tuple(questions)]


def _verify_two_attributes(scene: Scene, rng: np.random.Generator, index: int) -> list[Slot]:
    thing = scene.objects[index]
    the = refer(index, scene.objects, avoid=ATTRIBUTES)
    if the is None or len(thing.attributes) < 2:
        return []
    first, second = sample(rng, list(thing.attributes), 2)
    wrong = choose(rng, [other for other in KINDS[KIND_OF[second]] if other != second])
    questions = []
    for asked, answer in ((second, "yes"), (wrong, "no")):
        program = Program(scene)
        selected = program.select(the)
        verified = [program.add(f"verify {KIND_OF[word]}", word, selected) for word in (first, asked)]
        program.add("and", "", *verified)
        facts: set[Fact] = {("is", index, first), ("is", index, second)} if answer == "yes" else set()
        denied: set[Fact] = set() if answer == "yes" else {("not", index, asked)}
        full = f"{first} and {second}" if answer == "yes" else f"{first} but not {asked}"
        questions.append(
            make_question(
                f"Is the {the} {first} and {asked}?",
                answer,
                f"{answer.capitalize()}, the {mark(the.category, index)} is {full}.",
                types=("logical", "attr", "verifyAttrs" if answer == "yes" else "verifyAttrsC"),
                groups=(None, f"05-{'_'.join(sorted((first, asked)))}"),
                program=program,
                # That not both hold says of neither that it does not.
                told=the.facts | (facts or {("not both", index, *sorted((first, asked)))}),
                needed=the.facts | facts | denied,
            )
        )
    return [tuple(questions)]
