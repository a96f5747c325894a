"""Asks what there is in the picture."""

import numpy as np

from annotations.toyworld.facts import Fact
from annotations.toyworld.phrases import fitting, indefinite, with_article
from annotations.toyworld.questions.programs import Program
from annotations.toyworld.questions.question import Family, Question, make_question
from annotations.toyworld.random_streams import sample
from annotations.toyworld.scene import Scene
from annotations.toyworld.vocabulary import CATEGORIES


def existence_family(scene: Scene, rng: np.random.Generator) -> Family:
    """Return questions whether there is something, only of what is there once or not at all."""
    single, absent = _names_by_count(scene)
    missing = sample(rng, absent, 3)
    present = sample(rng, single, 3)
    return [(_exists(scene, one), _exists(scene, other)) for one, other in zip(present, missing, strict=False)]


def two_things_family(scene: Scene, rng: np.random.Generator) -> Family:
    """Return questions whether there are both of two things, or either."""
    single, absent = _names_by_count(scene)
    if len(single) < 2:
        return []
    one, two = sample(rng, single, 2)
    missing = sample(rng, absent, 3)
    return [
        (_both_exist(scene, one, two), _both_exist(scene, one, missing[0])),
        (_either_exists(scene, rng, two, missing[1]), _either_exists(scene, rng, missing[2], missing[0])),
    ]


def _exists(scene: Scene, name: str) -> Question:
    named = fitting(scene.objects, name)
    program = Program(scene)
    program.add("exist", "?", program.select_any(name))
    return make_question(
        f"Is there {indefinite(name, *named)} in the picture?",
        "yes" if named else "no",
        f"Yes, there is {indefinite(name, *named)}." if named else f"No, there is no {name}.",
        types=("verify", "obj", "exist" if named else "existC"),
        groups=(None, f"03-{name}"),
        program=program,
        told={_presence(scene, name)},
    )


def _both_exist(scene: Scene, one: str, other: str) -> Question:
    """Ask for two things, of which the first is there."""
    program = Program(scene)
    found = [program.add("exist", "?", program.select_any(name)) for name in (one, other)]
    program.add("and", "", *found)
    names = [indefinite(name, *fitting(scene.objects, name)) for name in (one, other)]
    facts: frozenset[Fact] = frozenset({_presence(scene, one), _presence(scene, other)})
    is_there = bool(fitting(scene.objects, other))
    return make_question(
        f"Are there both {names[0]} and {names[1]} in the picture?",
        "yes" if is_there else "no",
        f"Yes, there are both {names[0]} and {names[1]}."
        if is_there
        else f"No, there is {names[0]} but there is no {other}.",
        types=("logical", "obj", "existAnd" if is_there else "existAndC"),
        groups=(None, f"02-{'_'.join(sorted((one, other)))}"),
        program=program,
        told=facts if is_there else {("not both there", *sorted((one, other)))},
        needed=facts if is_there else {_presence(scene, other)},
    )


def _either_exists(scene: Scene, rng: np.random.Generator, one: str, other: str) -> Question:
    """Ask for one of two things, of which the second is not there."""
    program = Program(scene)
    found = [program.add("exist", "?", program.select_any(name)) for name in (one, other)]
    program.add("or", "", *found)
    named = fitting(scene.objects, one)
    facts: frozenset[Fact] = frozenset({_presence(scene, one), _presence(scene, other)})
    first, second = sample(rng, [indefinite(one, *named), with_article(other)], 2)
    return make_question(
        f"Is there either {first} or {second} in the picture?",
        "yes" if named else "no",
        f"Yes, there is {indefinite(one, *named)}." if named else f"No, there is neither {first} nor {second}.",
        types=("logical", "obj", "existOr" if named else "existOrC"),
        groups=(None, f"02-{'_'.join(sorted((one, other)))}"),
        program=program,
        told={("either there", *sorted((one, other)))} if named else facts,
        needed={_presence(scene, one)} if named else facts,
    )


def _names_by_count(scene: Scene) -> tuple[list[str], list[str]]:
    """Return the categories of which there is one thing, and those of which there is none."""
    counts = {name: len(fitting(scene.objects, name)) for name in CATEGORIES}
    return [name for name in counts if counts[name] == 1], [name for name in counts if counts[name] == 0]


def _presence(scene: Scene, name: str) -> Fact:
    named = fitting(scene.objects, name)
    return ("there", named[0]) if named else ("none", name)
