"""What ten people answer to a question: most of them the truth, as VQA counts on."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from annotations.toyworld.marked_text import MarkedText
from annotations.toyworld.phrases import fitting
from annotations.toyworld.questions.question import Question
from annotations.toyworld.scene import Scene
from annotations.toyworld.vocabulary import CATEGORIES, COLOURS

NUM_VOTES = 10
NUM_QUESTIONS = 5
DISSENTERS = (0, 0, 0, 1, 2, 3, 4)
"""How many do not give the true answer; each number is as likely."""

NUMBERS = tuple(str(number) for number in range(10))
_CHOICES = (("yes", "no"), ("left", "right"), ("above", "below"), ("large", "small"), ("striped", "dotted"))
ANSWERS = (*(answer for pair in _CHOICES for answer in pair), *COLOURS, *CATEGORIES)
"""All that a question of GQA's kind is answered with."""

QUESTION_TYPES = (
    *("what color is the", "what size is the", "what is the", "what is", "which", "how many"),
    *("is there a", "is there", "is the", "are there", "are the", "are both", "do the"),
)
"""How questions begin; the first that fits counts."""


@dataclass(frozen=True, kw_only=True)
class Poll:
    """A question and ten answers."""

    text: str
    answer: str
    """The true one, which at least six gave."""
    votes: tuple[str, ...]

    @property
    def answer_type(self) -> str:
        return "number" if self.answer in NUMBERS else "yes/no" if self.answer in ("yes", "no") else "other"

    @property
    def question_type(self) -> str:
        lower = self.text.lower()
        return next((words for words in QUESTION_TYPES if lower.startswith(f"{words} ")), "none of the above")


def hold_polls(scene: Scene, questions: Sequence[Question], rng: np.random.Generator) -> tuple[Poll, ...]:
    """Return five questions, one or two of which count something, with ten answers each."""
    names = sorted({thing.category for thing in scene.objects})
    counted = [names[index] for index in rng.permutation(len(names))[: 1 + int(rng.integers(2))]]
    asked = [
        (f"How many {CATEGORIES[name].plural} are there?", MarkedText(text=str(len(fitting(scene.objects, name)))))
        for name in counted
    ]
    chosen = (questions[index] for index in rng.permutation(len(questions))[: NUM_QUESTIONS - len(asked)])
    asked += [(question.text.text, question.answer) for question in chosen]
    return tuple(Poll(text=text, answer=answer.text, votes=_vote(answer.text, rng)) for text, answer in asked)


def _vote(answer: str, rng: np.random.Generator) -> tuple[str, ...]:
    number = DISSENTERS[int(rng.integers(len(DISSENTERS)))]
    mistakes = _mistakes(answer)
    votes = [answer] * (NUM_VOTES - number)
    votes += [mistakes[int(rng.integers(len(mistakes)))] for _ in range(number)]
    return tuple(votes[index] for index in rng.permutation(NUM_VOTES))


def _mistakes(answer: str) -> tuple[str, ...]:
    """Return one or two answers that the true one could be mistaken for."""
    if answer in NUMBERS:
        return (str(int(answer) - 1), str(int(answer) + 1)) if answer != "0" else ("1",)
    if answer in COLOURS:
        red, green, blue = COLOURS[answer]
        near = sorted((abs(r - red) + abs(g - green) + abs(b - blue), name) for name, (r, g, b) in COLOURS.items())
        return tuple(name for _, name in near[1:3])
    if answer in CATEGORIES:
        alike = [name for name in CATEGORIES if name != answer and CATEGORIES[name].kind == CATEGORIES[answer].kind]
        return tuple(alike[:2]) or ("house",)
    return tuple(other for pair in _CHOICES if answer in pair for other in pair if other != answer)
