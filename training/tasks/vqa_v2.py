"""VQA v2: the accuracy of its official evaluation, and the file that its server takes."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from annotations.answers import normalize_answer
from annotations.guards.drops import DataError
from annotations.records import Sentence
from stores.atomic import write_json
from training.figures import Figure, detail, mean_of, means_by, with_predictions


@dataclass(frozen=True, kw_only=True)
class VqaScores:
    """From 0 to 1; higher is better."""

    accuracy: Figure
    """Over all questions."""
    per_answer_type: Mapping[str, Figure]
    """`yes/no`, `number`, `other`; over the questions whose type is told."""
    per_question_type: Mapping[str, Figure]
    """By the words the question begins with, `how many`."""


class _Scored(NamedTuple):
    accuracy: float
    answer_type: str | None
    question_type: str | None


def score(sentences: Iterable[Sentence], predictions: Mapping[str, str]) -> VqaScores:
    """Return the official accuracies.

    A prediction scores the mean, over each person left out, of min(1, those of the others who said it / 3): the weight
    that readers give the answer, from ten people or from a table of soft scores. Both sides are normalised; a
    prediction of which nothing is left, such as `a` or `?`, is right as far as people's answers were so. The
    official code compares an answer that all ten gave letter by letter; here it is normalised as well, so that `two`
    and `2` are one answer always. Source: https://visualqa.org/evaluation.html, and the public vqaEval.py.

    Args:
        predictions: answers by sentence id, in any spelling that normalises.

    Raises:
        DataError: ids do not match, or a question has neither answers nor an answer type, as those of the test split.
    """
    scored = [
        _Scored(
            accuracy=_accuracy(sentence, prediction),
            answer_type=detail(sentence, "answer_type", str),
            question_type=detail(sentence, "question_type", str),
        )
        for sentence, prediction in with_predictions(sentences, predictions)
    ]
    return VqaScores(
        accuracy=mean_of([each.accuracy for each in scored]),
        per_answer_type=means_by((each.answer_type, each.accuracy) for each in scored),
        per_question_type=means_by((each.question_type, each.accuracy) for each in scored),
    )


def write_submission(path: Path, sentences: Iterable[Sentence], predictions: Mapping[str, str]) -> None:
    """The file holds `[{"question_id": 458752000, "answer": "net"}]`, by rising question id.

    Raises:
        DataError: ids do not match, or a question's id is not a number.
    """
    answers = {
        _question_number(sentence): prediction for sentence, prediction in with_predictions(sentences, predictions)
    }
    write_json(path, [{"question_id": number, "answer": answers[number]} for number in sorted(answers)])


def _accuracy(sentence: Sentence, prediction: str) -> float:
    # People may have said nothing that counts, or nothing that is in a published table: then nothing is right.
    if not sentence.answers and "answer_type" not in sentence.details:
        raise DataError(
            f"question {sentence.sentence_id!r}: no answers to compare with; of a test split, write a submission"
        )
    answer = normalize_answer(prediction)
    if not answer:
        return float(sentence.details.get("nothing_score", 0.0))
    return max((each.weight for each in sentence.answers if normalize_answer(each.text) == answer), default=0.0)


def _question_number(sentence: Sentence) -> int:
    written = str(sentence.details.get("question_id", sentence.sentence_id))
    if not (written.isascii() and written.isdecimal()):
        raise DataError(f"question {sentence.sentence_id!r}: its id is {written!r}, expected a number as VQA's are")
    return int(written)
