"""Every question that can be asked about a scene, in families about the same things."""

from collections.abc import Iterable, Sequence
from itertools import combinations, product
from typing import TypeVar

import numpy as np

from annotations.toyworld.facts import Fact
from annotations.toyworld.marked_text import mark, read_marks
from annotations.toyworld.phrases import describe, fitting, with_article
from annotations.toyworld.questions import Family, Question, Slot, Step, choose_questions
from annotations.toyworld.references import Reference, could_be, refer
from annotations.toyworld.scene import Relation, Scene
from annotations.toyworld.vocabulary import ATTRIBUTES, CATEGORIES, COLOURS, PREDICATES

T = TypeVar("T")

KINDS: dict[str, tuple[str, ...]] = {
    "color": tuple(COLOURS),
    "size": ("large", "small"),
    "pattern": ("striped", "dotted"),
}
KIND_OF = {word: kind for kind, words in KINDS.items() for word in words}
SIDES = {"to the left of": "left", "to the right of": "right", "above": "above", "below": "below"}
CLEARLY_LARGER = 1.6  # times the area


def ask(scene: Scene, rng: np.random.Generator) -> tuple[Question, ...]:
    """Return 8 to 12 questions about the scene."""
    asker = _Asker(scene, rng)
    numbers = range(len(scene.objects))
    # What is on or in something is rare, and so are things of one colour: they are asked about first.
    telling = sorted(_shuffled(scene.relations, rng), key=lambda relation: relation.predicate not in ("on", "in"))
    alike = sorted(
        _shuffled([*combinations(numbers, 2)], rng),
        key=lambda pair: scene.objects[pair[0]].colour != scene.objects[pair[1]].colour,
    )
    # Families are made only as far as they are needed.
    sorts = (
        (asker.attribute_family(index, kind) for index, kind in _shuffled([*product(numbers, KINDS)], rng)),
        (asker.relation_family(relation) for relation in telling),
        (asker.comparison_family(one, other) for one, other in alike),
        (family() for family in _shuffled((asker.existence_family, asker.two_things_family), rng)),
    )
    return choose_questions(sorts, rng)


class _Program:
    """A question's program in the making."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self.steps: list[Step] = []

    def add(self, operation: str, argument: str = "", *dependencies: int) -> int:
        """Return the new step's number."""
        self.steps.append(Step(operation=operation, argument=argument, dependencies=dependencies))
        return len(self.steps) - 1

    def select(self, reference: Reference) -> int:
        step = self.add("select", f"{reference.category} ({self._scene.id_of(reference.index)})")
        for word in reference.attributes:
            step = self.add(f"filter {KIND_OF[word]}", word, step)
        return step

    def select_any(self, category: str, attributes: Iterable[str] = ()) -> int:
        """Select what fits; `(-)` stands for nothing, as GQA has it."""
        named = fitting(self._scene.objects, category)
        step = self.add("select", f"{category} ({','.join(str(self._scene.id_of(each)) for each in named) or '-'})")
        for word in attributes:
            step = self.add(f"filter {KIND_OF[word]}", word, step)
        return step


class _Asker:
    """Knows the templates; what they deny is drawn at random from what nobody would say."""

    def __init__(self, scene: Scene, rng: np.random.Generator) -> None:
        self._scene = scene
        self._objects = scene.objects
        self._rng = rng

    def attribute_family(self, index: int, kind: str) -> Family:
        """Return questions that the colour, size or pattern of a thing answers; none if it is not worth mentioning."""
        thing = self._objects[index]
        word = next((word for word in thing.attributes if KIND_OF[word] == kind), None)
        the = refer(index, self._objects, avoid=KINDS[kind])
        if word is None or the is None:
            return []
        wrong = self._choose([other for other in KINDS[kind] if other != word])
        told: frozenset[Fact] = the.facts | {("is", index, word)}
        family: Family = [
            self._verify_attribute(the, word, wrong),
            (self._choose_attribute(the, word, wrong, told),),
            *self._exists_with(index, word),
        ]
        if kind != "pattern":
            program = _Program(self._scene)
            program.add("query", kind, program.select(the))
            family.append(
                (
                    _question(
                        f"What {kind} is the {the}?",
                        word,
                        f"The {mark(thing.category, index)} is {word}.",
                        types=("query", "attr", "directWhich"),
                        groups=(kind, f"10q-{thing.category}_{kind}"),
                        program=program,
                        told=told,
                    ),
                )
            )
        family += self._verify_two_attributes(index)
        if sum(word in each.attributes for each in self._objects) == 1:
            program = _Program(self._scene)
            program.add("query", "name", program.add(f"filter {kind}", word, program.add("select", "scene")))
            family.append(
                (
                    _question(
                        f"Which object is {word}?",
                        mark(thing.category, index),
                        f"The {mark(thing.category, index)} is {word}.",
                        types=("query", "attr", "categoryThat"),
                        groups=("object", f"09-{word}"),
                        program=program,
                        told={("there", index), ("is", index, word)},
                        needed={("is", index, word)},
                    ),
                )
            )
        return family

    def relation_family(self, relation: Relation) -> Family:
        """Return questions that the relation answers; none if either thing can not be singled out."""
        the_other = refer(relation.object, self._objects)
        if the_other is None:
            return []
        family: Family = []
        fact: Fact = ("related", relation.subject, relation.predicate, relation.object)
        name = self._objects[relation.subject].category
        ending = f"{relation.predicate} the {the_other}"
        holding = could_be(self._scene, relation.predicate, relation.object)
        if holding == [relation.subject]:
            family.append((self._query_subject(relation, the_other, fact),))
        if relation.predicate in ("on", "in") and (the := refer(relation.subject, self._objects)):
            family.append((self._query_object(relation, the, fact),))
        if [index for index in holding if self._objects[index].category == name] == [relation.subject]:
            there = f"Yes, there is {_a(name, relation.subject)} {ending}."
            program = _Program(self._scene)
            selected = program.add(
                "relate",
                f"{name},{relation.predicate},s ({self._scene.id_of(relation.subject)})",
                program.select(the_other),
            )
            colour = self._objects[relation.subject].colour
            about_colour = _Program(self._scene)
            about_colour.steps += program.steps
            about_colour.add("query", "color", selected)
            program.add("exist", "?", selected)
            if len(fitting(self._objects, name)) > 1:
                family.append(
                    (
                        _question(
                            f"What color is the {mark(name, relation.subject)} {ending}?",
                            colour,
                            f"The {mark(name, relation.subject)} is {colour}.",
                            types=("query", "attr", "directWhich"),
                            groups=("color", f"10q-{name}_color"),
                            program=about_colour,
                            told=the_other.facts | {fact, ("is", relation.subject, colour)},
                        ),
                    )
                )
            family.append(
                (
                    _question(
                        f"Is there {_a(name, relation.subject)} {ending}?",
                        "yes",
                        there,
                        types=("verify", "rel", "existRelS"),
                        groups=(None, f"12-{name}_{relation.predicate}"),
                        program=program,
                        told=the_other.facts | {fact},
                    ),
                    *self._no_relative(relation, the_other, holding),
                )
            )
        the = refer(relation.subject, self._objects)
        if the is not None:
            family += self._verify_relation(relation, the, the_other, fact)
            family += self._choose_side(relation, the, the_other, fact)
        return family

    def comparison_family(self, one: int, other: int) -> Family:
        """Return questions about the colours of two things and about which is larger."""
        first, second = (refer(index, self._objects, avoid=COLOURS) for index in (one, other))
        things = self._objects[one], self._objects[other]
        if first is None or second is None or things[0].category == things[1].category:
            return []
        return [
            self._same_colour(first, second),
            *self._both_have_colour(first, second),
            *self._which_is_larger(one, other),
        ]

    def existence_family(self) -> Family:
        """Return questions whether there is something, only of what is there once or not at all."""
        single, absent = self._names_by_count()
        missing = self._sample(absent, 3)
        present = self._sample(single, 3)
        return [(self._exists(one), self._exists(other)) for one, other in zip(present, missing, strict=False)]

    def two_things_family(self) -> Family:
        """Return questions whether there are both of two things, or either."""
        single, absent = self._names_by_count()
        if len(single) < 2:
            return []
        one, two = self._sample(single, 2)
        missing = self._sample(absent, 3)
        return [
            (self._both_exist(one, two), self._both_exist(one, missing[0])),
            (self._either_exists(two, missing[1]), self._either_exists(missing[2], missing[0])),
        ]

    def _verify_attribute(self, the: Reference, word: str, wrong: str) -> Slot:
        questions = []
        for asked, answer in ((word, "yes"), (wrong, "no")):
            program = _Program(self._scene)
            program.add(f"verify {KIND_OF[word]}", asked, program.select(the))
            questions.append(
                _question(
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

    def _choose_attribute(self, the: Reference, word: str, wrong: str, told: frozenset[Fact]) -> Question:
        first, second = self._sample([word, wrong], 2)
        program = _Program(self._scene)
        program.add(f"choose {KIND_OF[word]}", f"{first}|{second}", program.select(the))
        return _question(
            f"Is the {the} {first} or {second}?",
            word,
            f"The {mark(the.category, the.index)} is {word}.",
            types=("choose", "attr", "chooseAttr"),
            groups=(KIND_OF[word], f"10c-{the.category}_{KIND_OF[word]}"),
            program=program,
            told=told,
        )

    def _exists_with(self, index: int, word: str) -> list[Slot]:
        """Ask whether there is a thing of this category and attribute, where no more than one is."""
        name = self._objects[index].category
        absent = [other for other in KINDS[KIND_OF[word]] if not fitting(self._objects, name, [other])]
        if any(self._objects[each].size == "medium" for each in fitting(self._objects, name)):
            absent = [other for other in absent if KIND_OF[other] != "size"]  # which some would call small or large
        if fitting(self._objects, name, [word]) != [index] or not absent:
            return []
        wrong = self._choose(absent)
        questions = []
        for asked, answer in ((word, "yes"), (wrong, "no")):
            words = describe(name, [asked])
            program = _Program(self._scene)
            program.add("exist", "?", program.select_any(name, [asked]))
            is_there = answer == "yes"
            full = f"Yes, there is {_a(words, index)}." if is_there else f"No, there is no {words}."
            questions.append(
                _question(
                    f"Is there {_a(words, index) if is_there else with_article(words)} in the picture?",
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

    def _verify_two_attributes(self, index: int) -> list[Slot]:
        thing = self._objects[index]
        the = refer(index, self._objects, avoid=ATTRIBUTES)
        if the is None or len(thing.attributes) < 2:
            return []
        first, second = self._sample(list(thing.attributes), 2)
        wrong = self._choose([other for other in KINDS[KIND_OF[second]] if other != second])
        questions = []
        for asked, answer in ((second, "yes"), (wrong, "no")):
            program = _Program(self._scene)
            selected = program.select(the)
            verified = [program.add(f"verify {KIND_OF[word]}", word, selected) for word in (first, asked)]
            program.add("and", "", *verified)
            facts: set[Fact] = {("is", index, first), ("is", index, second)} if answer == "yes" else set()
            denied: set[Fact] = set() if answer == "yes" else {("not", index, asked)}
            full = f"{first} and {second}" if answer == "yes" else f"{first} but not {asked}"
            questions.append(
                _question(
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

    def _query_subject(self, relation: Relation, the_other: Reference, fact: Fact) -> Question:
        subject, other = self._objects[relation.subject], self._objects[relation.object]
        program = _Program(self._scene)
        related = program.add(
            "relate", f"_,{relation.predicate},s ({self._scene.id_of(relation.subject)})", program.select(the_other)
        )
        program.add("query", "name", related)
        return _question(
            f"What is {relation.predicate} the {the_other}?",
            mark(subject.category, relation.subject),
            f"The {mark(subject.category, relation.subject)} is {relation.predicate} "
            f"the {mark(other.category, relation.object)}.",
            types=("query", "rel", "relS"),
            groups=("object", f"14-{other.category}_{relation.predicate},s"),
            program=program,
            told=the_other.facts | {fact},
        )

    def _query_object(self, relation: Relation, the: Reference, fact: Fact) -> Question:
        other = self._objects[relation.object]
        program = _Program(self._scene)
        related = program.add(
            "relate", f"_,{relation.predicate},o ({self._scene.id_of(relation.object)})", program.select(the)
        )
        program.add("query", "name", related)
        return _question(
            f"What is the {the} {relation.predicate}?",
            mark(other.category, relation.object),
            f"The {mark(the.category, the.index)} is {relation.predicate} the {mark(other.category, relation.object)}.",
            types=("query", "rel", "relO"),
            groups=("object", f"14-{the.category}_{relation.predicate},o"),
            program=program,
            told=the.facts | {fact},
        )

    def _no_relative(self, relation: Relation, the_other: Reference, holding: Sequence[int]) -> Slot:
        """Ask for something that is not there: rather for what is elsewhere in the picture."""
        taken = {self._objects[index].category for index in holding} | {the_other.category}
        elsewhere = sorted({thing.category for thing in self._objects} - taken)
        if relation.predicate in ("on", "in"):
            elsewhere = [name for name in elsewhere if relation.predicate in CATEGORIES[name].goes]
        if not elsewhere:
            return ()
        name = self._choose(elsewhere)
        ending = f"{relation.predicate} the {the_other}"
        program = _Program(self._scene)
        selected = program.add("relate", f"{name},{relation.predicate},s (-)", program.select(the_other))
        program.add("exist", "?", selected)
        return (
            _question(
                f"Is there {with_article(name)} {ending}?",
                "no",
                f"No, there is no {name} {ending}.",
                types=("verify", "rel", "existRelSC"),
                groups=(None, f"12-{name}_{relation.predicate}"),
                program=program,
                told=the_other.facts | {("none related", name, relation.predicate, relation.object)},
            ),
        )

    def _verify_relation(self, relation: Relation, the: Reference, the_other: Reference, fact: Fact) -> list[Slot]:
        denied = [
            predicate
            for predicate in PREDICATES
            if the.index not in could_be(self._scene, predicate, relation.object)
            and self._is_thinkable(relation, predicate)
        ]
        if not denied:
            return []
        wrong = self._choose(denied)
        untrue: Fact = ("unrelated", the.index, wrong, relation.object)
        slot = []
        for predicate, answer, known in ((relation.predicate, "yes", fact), (wrong, "no", untrue)):
            negation = "" if answer == "yes" else "not "
            program = _Program(self._scene)
            one, other = program.select(the), program.select(the_other)
            program.add("verify rel", predicate, one, other)
            slot.append(
                _question(
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

    def _choose_side(self, relation: Relation, the: Reference, the_other: Reference, fact: Fact) -> list[Slot]:
        if relation.predicate not in SIDES:
            return []
        is_beside = relation.predicate.startswith("to the")
        sides = "to the left or to the right of" if is_beside else "above or below"
        program = _Program(self._scene)
        one, other = program.select(the), program.select(the_other)
        program.add("choose rel", "to the left of|to the right of" if is_beside else "above|below", one, other)
        question = _question(
            f"Is the {the} {sides} the {the_other}?",
            SIDES[relation.predicate],
            f"The {mark(the.category, the.index)} is {relation.predicate} "
            f"the {mark(the_other.category, the_other.index)}.",
            types=("choose", "rel", "relChooser"),
            groups=("side", f"15-{the.category}_{the_other.category}"),
            program=program,
            told=the.facts | the_other.facts | {fact},
        )
        return [(question,)]

    def _same_colour(self, first: Reference, second: Reference) -> Slot:
        """Ask whether two colours are the same, and whether they differ."""
        colours = self._objects[first.index].colour, self._objects[second.index].colour
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
            program = _Program(self._scene)
            one, other = program.select(first), program.select(second)
            program.add(f"{asked} color", "", one, other)
            slot.append(
                _question(
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

    def _both_have_colour(self, first: Reference, second: Reference) -> list[Slot]:
        colour, other_colour = self._objects[first.index].colour, self._objects[second.index].colour
        if colour != other_colour and self._rng.random() < 0.8:
            return []  # of most pairs the answer would be no
        answer = "yes" if colour == other_colour else "no"
        names = mark(first.category, first.index), mark(second.category, second.index)
        full = (
            f"Yes, both the {names[0]} and the {names[1]} are {colour}."
            if answer == "yes"
            else f"No, the {names[0]} is {colour} but the {names[1]} is {other_colour}."
        )
        program = _Program(self._scene)
        verified = [program.add("verify color", colour, program.select(each)) for each in (first, second)]
        program.add("and", "", *verified)
        both: frozenset[Fact] = frozenset({("is", first.index, colour), ("is", second.index, colour)})
        unknown: frozenset[Fact] = frozenset({("not both", colour, first.index, second.index)})
        denied: frozenset[Fact] = frozenset({("not", second.index, colour)})
        question = _question(
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

    def _which_is_larger(self, one: int, other: int) -> list[Slot]:
        large, small = sorted((one, other), key=lambda index: -self._objects[index].area)
        things = self._objects[large], self._objects[small]
        references = [refer(index, self._objects, avoid=KINDS["size"]) for index in (one, other)]
        sizes = ("small", "medium", "large")
        is_clear = sizes.index(things[0].size) > sizes.index(things[1].size)
        if None in references or not is_clear or things[0].area < CLEARLY_LARGER * things[1].area:
            return []
        first, second = self._sample([each for each in references if each], 2)
        program = _Program(self._scene)
        program.add("choose larger", "", program.select(first), program.select(second))
        question = _question(
            f"Which is larger, the {first} or the {second}?",
            mark(things[0].category, large),
            f"The {mark(things[0].category, large)} is larger than the {mark(things[1].category, small)}.",
            types=("compare", "attr", "comparativeChoose"),
            groups=("object", f"16-{'_'.join(sorted(thing.category for thing in things))}_larger"),
            program=program,
            told=first.facts | second.facts | {("larger", large, small)},
        )
        return [(question,)]

    def _exists(self, name: str) -> Question:
        named = fitting(self._objects, name)
        program = _Program(self._scene)
        program.add("exist", "?", program.select_any(name))
        return _question(
            f"Is there {_a(name, *named)} in the picture?",
            "yes" if named else "no",
            f"Yes, there is {_a(name, *named)}." if named else f"No, there is no {name}.",
            types=("verify", "obj", "exist" if named else "existC"),
            groups=(None, f"03-{name}"),
            program=program,
            told={self._presence(name)},
        )

    def _both_exist(self, one: str, other: str) -> Question:
        """Ask for two things, of which the first is there."""
        program = _Program(self._scene)
        found = [program.add("exist", "?", program.select_any(name)) for name in (one, other)]
        program.add("and", "", *found)
        names = [_a(name, *fitting(self._objects, name)) for name in (one, other)]
        facts: frozenset[Fact] = frozenset({self._presence(one), self._presence(other)})
        is_there = bool(fitting(self._objects, other))
        return _question(
            f"Are there both {names[0]} and {names[1]} in the picture?",
            "yes" if is_there else "no",
            f"Yes, there are both {names[0]} and {names[1]}."
            if is_there
            else f"No, there is {names[0]} but there is no {other}.",
            types=("logical", "obj", "existAnd" if is_there else "existAndC"),
            groups=(None, f"02-{'_'.join(sorted((one, other)))}"),
            program=program,
            told=facts if is_there else {("not both there", *sorted((one, other)))},
            needed=facts if is_there else {self._presence(other)},
        )

    def _either_exists(self, one: str, other: str) -> Question:
        """Ask for one of two things, of which the second is not there."""
        program = _Program(self._scene)
        found = [program.add("exist", "?", program.select_any(name)) for name in (one, other)]
        program.add("or", "", *found)
        named = fitting(self._objects, one)
        facts: frozenset[Fact] = frozenset({self._presence(one), self._presence(other)})
        first, second = self._sample([_a(one, *named), with_article(other)], 2)
        return _question(
            f"Is there either {first} or {second} in the picture?",
            "yes" if named else "no",
            f"Yes, there is {_a(one, *named)}." if named else f"No, there is neither {first} nor {second}.",
            types=("logical", "obj", "existOr" if named else "existOrC"),
            groups=(None, f"02-{'_'.join(sorted((one, other)))}"),
            program=program,
            told={("either there", *sorted((one, other)))} if named else facts,
            needed={self._presence(one)} if named else facts,
        )

    def _names_by_count(self) -> tuple[list[str], list[str]]:
        """Return the categories of which there is one thing, and those of which there is none."""
        counts = {name: len(fitting(self._objects, name)) for name in CATEGORIES}
        return [name for name in counts if counts[name] == 1], [name for name in counts if counts[name] == 0]

    def _presence(self, name: str) -> Fact:
        named = fitting(self._objects, name)
        return ("there", named[0]) if named else ("none", name)

    def _is_thinkable(self, relation: Relation, predicate: str) -> bool:
        """Return whether such things can be on or in one another, or the predicate is another."""
        subject, other = (CATEGORIES[self._objects[index].category] for index in (relation.subject, relation.object))
        return predicate not in ("on", "in") or (other.holds == predicate and predicate in subject.goes)

    def _choose(self, words: Sequence[str]) -> str:
        return words[int(self._rng.integers(len(words)))]

    def _sample(self, items: Sequence[T], number: int) -> list[T]:
        return _shuffled(items, self._rng)[:number]


def _shuffled(items: Sequence[T], rng: np.random.Generator) -> list[T]:
    return [items[index] for index in rng.permutation(len(items))]


def _a(words: str, *objects: int) -> str:
    """Return the words after `a` or `an`, marked if they name something."""
    article = with_article(words).removesuffix(words)
    return article + (mark(words, *objects) if objects else words)


def _question(
    text: str,
    answer: str,
    full_answer: str,
    *,
    types: tuple[str, str, str],
    groups: tuple[str | None, str],
    program: _Program,
    told: Iterable[Fact],
    needed: Iterable[Fact] | None = None,
) -> Question:
    """Return the question from marked texts; what is needed is what is told unless given."""
    told = frozenset(told)
    return Question(
        text=read_marks(text),
        answer=read_marks(answer),
        full_answer=read_marks(full_answer),
        structural=types[0],
        semantic=types[1],
        detailed=types[2],
        global_group=groups[0],
        local_group=groups[1],
        program=tuple(program.steps),
        told=told,
        needed=told if needed is None else frozenset(needed),
    )
