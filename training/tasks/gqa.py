"""GQA: the suite of its official evaluation, and the file that its server takes."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import fsum
from pathlib import Path
from sys import intern
from typing import NamedTuple

from annotations.datasets.json_records import FieldError, read_members, take_words
from annotations.guards.drops import DataError
from annotations.records import Sentence
from stores.atomic import write_json
from training.figures import Figure, detail, gold_answer, mean_of, means_by, with_predictions


@dataclass(frozen=True, kw_only=True)
class GqaScores:
    """From 0 to 1 and higher is better, but for the distribution."""

    accuracy: Figure
    """Over the questions that are marked balanced; over all if none is."""
    binary: Figure
    """Accuracy of those of structural type other than `query`; one of no known type is neither binary nor open."""
    open: Figure
    """Accuracy of those of structural type `query`."""
    per_structural_type: Mapping[str, Figure]
    """Accuracy of `query`, `verify`, `choose`, `logical`, `compare`."""
    per_semantic_type: Mapping[str, Figure]
    """Accuracy of `attr`, `cat`, `global`, `obj`, `rel`."""
    per_detailed_type: Mapping[str, Figure]
    """Accuracy of `verifyAttr`, `relS` ..."""
    consistency: Figure
    """Mean, over questions answered right that entail others, of the accuracy over those others, balanced or not."""
    num_entailed_absent: int
    """Entailed questions that consistency is without, as they are not among the sentences; officially 0."""
    validity: Figure | None
    """Share of answers that could be one, such as a colour; None without a file of choices."""
    plausibility: Figure | None
    """Share of answers that make sense in the world; None without a file of choices."""
    distribution: Figure
    """How far answers are from the true distribution in their group of questions, over questions that have a group:
    chi-square / 100. **Lower is better**, and it grows with the number of questions: compare within one split."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Choices:
    """What may be answered to one question."""

    valid: tuple[str, ...]
    plausible: tuple[str, ...]


_IN_COMMON = Choices(valid=("color", "material", "shape"), plausible=("color", "material", "shape"))
"""Choices of a question about what two things have in common, whatever the file has: as officially."""


class _Asked(NamedTuple):
    """What is kept of a question, so that the sentence need not be: `val` has two million."""

    question_id: str
    gold: str
    predicted: str
    is_balanced: bool
    structural: str | None
    semantic: str | None
    detailed: str | None
    group: str | None
    entailed: Sequence[str]

    @property
    def is_right(self) -> bool:
        return self.predicted == self.gold


def score(
    sentences: Iterable[Sentence], predictions: Mapping[str, str], *, choices: Mapping[str, Choices] | None = None
) -> GqaScores:
    """Return the official figures; source: the public eval.py of https://cs.stanford.edu/people/dorarad/gqa.

    Consistency needs the questions that are not balanced too. Answers are compared letter by letter, as officially.

    Args:
        predictions: answers by sentence id.
        choices: by question id, from `read_choices`.

    Raises:
        DataError: ids do not match, or a question has no answer or no choices.
    """
    asked = [_asked(sentence, prediction) for sentence, prediction in with_predictions(sentences, predictions)]
    scored = [each for each in asked if each.is_balanced] or asked
    consistency, num_absent = _consistency(scored, {each.question_id: each.is_right for each in asked})
    allowed = None if choices is None else [(each.predicted, _choices_of(each, choices)) for each in scored]
    return GqaScores(
        accuracy=mean_of([each.is_right for each in scored]),
        binary=mean_of([each.is_right for each in scored if each.structural not in (None, "query")]),
        open=mean_of([each.is_right for each in scored if each.structural == "query"]),
        per_structural_type=means_by((each.structural, each.is_right) for each in scored),
        per_semantic_type=means_by((each.semantic, each.is_right) for each in scored),
        per_detailed_type=means_by((each.detailed, each.is_right) for each in scored),
        consistency=consistency,
        num_entailed_absent=num_absent,
        validity=None if allowed is None else mean_of([answer in each.valid for answer, each in allowed]),
        plausibility=None if allowed is None else mean_of([answer in each.plausible for answer, each in allowed]),
        distribution=_distribution(scored),
    )


def read_choices(path: Path) -> dict[str, Choices]:
    """Return `{val,testdev}_choices.json`, `{"02930152": {"valid": ["yes", "no"], "plausible": [...]}}`.

    Raises:
        DataError: no such file, or not the layout.
    """
    choices = {}
    for question_id, record in read_members(path):
        try:
            # Interned, as each answer is there a million times.
            valid, plausible = (tuple(map(intern, take_words(record, kind))) for kind in ("valid", "plausible"))
        except FieldError as error:
            raise DataError(f"{path}: question {question_id!r}: {error}, expected lists of answers") from error
        choices[question_id] = Choices(valid=valid, plausible=plausible)
    return choices


def write_submission(path: Path, sentences: Iterable[Sentence], predictions: Mapping[str, str]) -> None:
    """The file holds `[{"questionId": "02930152", "prediction": "yes"}]`, in the order of the sentences.

    Raises:
        DataError: ids do not match.
    """
    answered = with_predictions(sentences, predictions)
    write_json(path, [{"questionId": _question_id(sentence), "prediction": answer} for sentence, answer in answered])


def _consistency(scored: Iterable[_Asked], is_right: Mapping[str, bool]) -> tuple[Figure, int]:
    shares, num_absent = [], 0
    for each in scored:
        others = [other for other in each.entailed if other != each.question_id] if each.is_right else []
        present = [is_right[other] for other in others if other in is_right]
        num_absent += len(others) - len(present)
        if present:
            shares.append(sum(present) / len(present))
    return mean_of(shares), num_absent


def _distribution(scored: Iterable[_Asked]) -> Figure:
    """Answers that are right for no question of the group do not count, as officially; those that nobody gave do."""
    gold: defaultdict[str, Counter[str]] = defaultdict(Counter)
    predicted: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for each in scored:
        if each.group is not None:
            gold[each.group][each.gold] += 1
            predicted[each.group][each.predicted] += 1
    num_questions = sum(answers.total() for answers in gold.values())
    weighted = [
        answers.total() * (predicted[group][answer] - count) ** 2 / count
        for group, answers in gold.items()
        for answer, count in answers.items()
    ]
    return Figure(value=fsum(weighted) / num_questions / 100 if num_questions else None, of=num_questions)


def _choices_of(asked: _Asked, choices: Mapping[str, Choices]) -> Choices:
    if asked.question_id not in choices:
        raise DataError(f"question {asked.question_id!r}: no choices; check that they are of the questions' split")
    return _IN_COMMON if "Common" in (asked.detailed or "") else choices[asked.question_id]


def _asked(sentence: Sentence, prediction: str) -> _Asked:
    types = detail(sentence, "types", dict) or {}
    groups = detail(sentence, "groups", dict) or {}
    return _Asked(
        question_id=_question_id(sentence),
        gold=gold_answer(sentence),
        predicted=prediction,
        is_balanced=bool(detail(sentence, "is_balanced", bool)),
        structural=types.get("structural"),
        semantic=types.get("semantic"),
        detailed=types.get("detailed"),
        group=groups.get("global"),
        entailed=detail(sentence, "entailed", list) or (),
    )


def _question_id(sentence: Sentence) -> str:
    return str(sentence.details.get("question_id", sentence.sentence_id))
