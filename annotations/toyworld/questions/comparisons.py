"""Asks how two things compare: in colour, and in size."""

import numpy as np

from annotations.toyworld.facts import Fact
from annotations.toyworld.marked_text import mark
from annotations.toyworld.questions.programs import KINDS, Program
from annotations.toyworld.questions.question import Family, Slot, make_question
from annotations.toyworld.random_streams import sample
from annotations.toyworld.references import Reference, refer
from annotations.toyworld.scene import Scene
from annotations.toyworld.vocabulary import COLOURS

CLEARLY_LARGER = 1.6  # times the area


def comparison_family(scene: Scene, rng: np.random.Generator, one: int, other: int) -> Family:
    """Return questions about the colours of two things and about which is larger."""
    first, second = (refer(index, scene.objects, avoid=COLOURS) for index in (one, other))
    things = scene.objects[one], scene.objects[other]
    if first is None or second is None or things[0].category == things[1].category:
        return []
    return [
        _same_colour(scene, first, second),
        *_both_have_colour(scene, rng, first, second),
        *_which_is_larger(scene, rng, one, other),
    ]


def _same_colour(scene: Scene, first: Reference, second: Reference) -> Slot:
    """Ask whether two colours are the same, and whether they differ."""
    colours = scene.objects[first.index].colour, scene.objects[second.index].colour
    known = "same" if colours[0] == colours[1] else "different"
    fact: Fact = (known, *sorted((first.index, second.index)))
    names = mark(first.category, first.index), mark(second.category, second.index)
    if known == "same":
        full = f"both the {names[0]} and the {names[1]} are {colours[0]}"
    else:
        full = f"the {names[0]} is {colours[0]} and the {names[1]} is {colours[1]}"
    slot = []
    for asked, words in (
        ("same", f"Are the {first} and the {second} the same color?"),
        ("different", f"Do the {first} and the {second} have different colors?"),
    ):
        answer = "yes" if asked == known else "no"
        program = Program(scene)
        one, other = program.select(first), program.select(second)
        program.add(f"{asked} color", "", one, other)
        slot.append(
            make_question(
                words,
                answer,
                f"{answer.capitalize()}, {full}.",
                types=("compare", "attr", f"two{asked.capitalize()}{'' if answer == 'yes' else 'C'}"),
                groups=(None, f"08-{first.category}_{second.category}_color"),
                program=program,
                told=first.facts | second.facts | {fact},
            )
        )
    return tuple(slot)


def _both_have_colour(scene: Scene, rng: np.random.Generator, first: Reference, second: Reference) -> list[Slot]:
    colour, other_colour = scene.objects[first.index].colour, scene.objects[second.index].colour
    if colour != other_colour and rng.random() < 0.8:
        return []  # of most pairs the answer would be no
    answer = "yes" if colour == other_colour else "no"
    names = mark(first.category, first.index), mark(second.category, second.index)
    full = (
        f"Yes, both the {names[0]} and the {names[1]} are {colour}."
        if answer == "yes"
        else f"No, the {names[0]} is {colour} but the {names[1]} is {other_colour}."
    )
    program = Program(scene)
    verified = [program.add("verify color", colour, program.select(each)) for each in (first, second)]
    program.add("and", "", *verified)
    both: frozenset[Fact] = frozenset({("is", first.index, colour), ("is", second.index, colour)})
    unknown: frozenset[Fact] = frozenset({("not both", colour, first.index, second.index)})
    denied: frozenset[Fact] = frozenset({("not", second.index, colour)})
    question = make_question(
        f"Are both the {first} and the {second} {colour}?",
        answer,
        full,
        types=("logical", "attr", "verifyAttrAnd"),
        groups=(None, f"07-{first.category}_{second.category}_{colour}"),
        program=program,
        told=first.facts | second.facts | (both if answer == "yes" else unknown),
        needed=first.facts | second.facts | (both if answer == "yes" else denied),
    )
    return [(question,)]


def _which_is_larger(scene: Scene, rng: np.random.Generator, one: int, other: int) -> list[Slot]:
    large, small = sorted((one, other), key=lambda index: -scene.objects[index].area)
    things = scene.objects[large], scene.objects[small]
    references = [refer(index, scene.objects, avoid=KINDS["size"]) for index in (one, other)]
    sizes = ("small", "medium", "large")
    is_clear = sizes.index(things[0].size) > sizes.index(things[1].size)
    if None in references or not is_clear or things[0].area < CLEARLY_LARGER * things[1].area:
        return []
    first, second = sample(rng, [each for each in references if each], 2)
    program = Program(scene)
    program.add("choose larger", "", program.select(first), program.select(second))
    question = make_question(
        f"Which is larger, the {first} or the {second}?",
        mark(things[0].category, large),
        f"The {mark(things[0].category, large)} is larger than the {mark(things[1].category, small)}.",
        types=("compare", "attr", "comparativeChoose"),
        groups=("object", f"16-{'_'.join(sorted(thing.category for thing in things))}_larger"),
        program=program,
        told=first.facts | second.facts | {("larger", large, small)},
    )
    return [(question,)]
