"""Questions about a scene as GQA asks them, each with what it takes to answer it and what the answer tells.

No answer is a matter of opinion: things are named by words that fit no other, what is asked for is the only one that
anybody might mean, and what is denied nobody would say.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from annotations.toyworld.facts import Fact, conclude
from annotations.toyworld.marked_text import MarkedText, read_marks
from annotations.toyworld.questions.programs import Program, Step


@dataclass(frozen=True, kw_only=True)
class Question:
    """A question, its answer, and what follows from it."""

    text: MarkedText
    answer: MarkedText
    """A word or few; marked if it names an object."""
    full_answer: MarkedText
    structural: str
    """`verify`, `query`, `choose`, `logical` or `compare`."""
    semantic: str
    """`obj`, `attr` or `rel`."""
    detailed: str
    """Which template, in GQA's names."""
    global_group: str | None
    """Kind of answer, where the question is open."""
    local_group: str
    """What else is asked in these words."""
    program: tuple[Step, ...]
    told: frozenset[Fact]
    """What question and answer say together."""
    needed: frozenset[Fact]
    """What suffices to answer it."""
    entailed: tuple[int, ...] = ()
    """Which others of the scene's questions the answer answers too."""
    equivalent: tuple[int, ...] = ()
    """Which of the scene's questions ask the same, itself among them."""

    @property
    def is_binary(self) -> bool:
        return self.answer.text in ("yes", "no")


SLOTS_A_FAMILY = 3

Slot = tuple[Question, ...]
"""One question, or two of which one is to be asked: its answer is yes and the other's is no."""

Family = list[Slot]
"""Questions about the same things, some of which follow from others."""


def make_question(
    text: str,
    answer: str,
    full_answer: str,
    *,
    types: tuple[str, str, str],
    groups: tuple[str | None, str],
    program: Program,
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


def choose_questions(sorts: Iterable[Iterable[Family]], rng: np.random.Generator) -> tuple[Question, ...]:
    """Return 8 to 12 questions, fewer where a scene gives no more, and as many with yes as with no if that can be.

    Args:
        sorts: families of each sort, which are tried in their order; sorts take turns, so that a scene of many
            relations is asked about colours too.
    """
    wanted = int(rng.integers(8, 13))
    waiting = [iter(sort) for sort in sorts]
    chosen: dict[str, Question] = {}
    tally = {"yes": 0, "no": 0}
    while waiting and len(chosen) < wanted:
        sort = waiting.pop(0)
        family = next((family for family in sort if family), None)
        if family is None:
            continue  # this sort has no more
        waiting.append(sort)
        for slot in _open_first([family[number] for number in rng.permutation(len(family))])[:SLOTS_A_FAMILY]:
            question = _pick(slot, tally, rng)
            if question.text.text not in chosen and len(chosen) < wanted:
                chosen[question.text.text] = question
                if question.is_binary:
                    tally[question.answer.text] += 1
    return connect(chosen.values())


def connect(questions: Iterable[Question]) -> tuple[Question, ...]:
    """Return the questions of one scene, each with the numbers of those that it entails and equals."""
    asked = list(questions)
    known = [conclude(question.told) for question in asked]
    return tuple(
        replace(
            question,
            entailed=tuple(
                other for other, each in enumerate(asked) if other != number and each.needed <= known[number]
            ),
            equivalent=tuple(
                other
                for other, each in enumerate(asked)
                if (each.needed, each.structural, each.answer.text)
                == (question.needed, question.structural, question.answer.text)
            ),
        )
        for number, question in enumerate(asked)
    )


def _open_first(slots: list[Slot]) -> list[Slot]:
    """Return first what has no two answers to choose from: rarer, and harder to guess."""
    return sorted(slots, key=lambda slot: slot[0].structural != "query")


def _pick(slot: Slot, tally: dict[str, int], rng: np.random.Generator) -> Question:
    if len(slot) == 1:
        return slot[0]
    if tally["yes"] == tally["no"]:
        return slot[int(rng.integers(2))]
    behind = min(tally, key=lambda answer: tally[answer])
    return next(question for question in slot if question.answer.text == behind)
