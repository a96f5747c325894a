"""What every task's metric is made of: figures that carry their denominator, and sentences met with predictions."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import fsum
from typing import TypeVar

from annotations.guards.drops import DataError
from annotations.records import Sentence

Json = TypeVar("Json", str, bool, list, dict)

_SHOWN = 3


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A mean, and of how many things."""

    value: float | None
    """None where there is nothing to take the mean of."""
    of: int

    def __str__(self) -> str:
        return f"{'none' if self.value is None else f'{self.value:.4f}'} (of {self.of})"


def mean_of(scores: Collection[float]) -> Figure:
    """Return the mean; of equal scores in any order it is the same to the last bit."""
    return Figure(value=fsum(scores) / len(scores) if scores else None, of=len(scores))


def means_by(named: Iterable[tuple[str | None, float]]) -> dict[str, Figure]:
    """Return the mean of the scores of each name, by name; what has no name is in none of them."""
    scores = defaultdict(list)
    for name, score in named:
        if name is not None:
            scores[name].append(score)
    return {name: mean_of(scores[name]) for name in sorted(scores)}


def with_predictions(sentences: Iterable[Sentence], predictions: Mapping[str, str]) -> Iterator[tuple[Sentence, str]]:
    """Yield every sentence with what was predicted for it; one sentence is in memory at a time.

    Args:
        predictions: by sentence id.

    Raises:
        DataError: there is no sentence, one is there twice, or sentences and predictions are not about the same ids;
            once all sentences were seen, so take none of what was yielded for the whole before the end.
    """
    seen: set[str] = set()
    missing: list[str] = []
    for sentence in sentences:
        if sentence.sentence_id in seen:
            raise DataError(f"sentence {sentence.sentence_id!r}: is there twice, expected each once")
        seen.add(sentence.sentence_id)
        if sentence.sentence_id in predictions:
            yield sentence, predictions[sentence.sentence_id]
        else:
            missing.append(sentence.sentence_id)
    if not seen:
        raise DataError("predictions: no sentences to meet them with; check the split and the source that were chosen")
    if missing:
        raise DataError(f"{_some(missing)} of {len(seen)} sentences: no prediction, expected one for each")
    if unknown := [each for each in predictions if each not in seen]:
        raise DataError(
            f"{_some(unknown)} of {len(predictions)} predictions: no such sentence among the {len(seen)}; "
            "check that both are of one split"
        )


def detail(sentence: Sentence, name: str, kind: type[Json]) -> Json | None:
    """Return one of the sentence's details; None where its source does not tell it.

    Raises:
        DataError: it is of another kind.
    """
    value = sentence.details.get(name)
    if value is None or isinstance(value, kind):
        return value
    raise DataError(f"sentence {sentence.sentence_id!r}: {name} is {value!r}, expected a {kind.__name__}")


def needed_detail(sentence: Sentence, name: str) -> str:
    """Return one of the sentence's details, a text without which its task has no metric or no submission.

    Raises:
        DataError: it is not there.
    """
    value = detail(sentence, name, str)
    if value is None:
        raise DataError(
            f"sentence {sentence.sentence_id!r} of {sentence.source}: no {name}; "
            "read the data set in its official layout"
        )
    return value


def is_answered(sentence: Sentence) -> bool:
    """Return whether people were asked; of a VQA question they may have said nothing that counts."""
    return bool(sentence.answers) or "answer_type" in sentence.details


def gold_answer(sentence: Sentence) -> str:
    """Return the best answer.

    Raises:
        DataError: there is none, as of a test split.
    """
    if not sentence.answers:
        raise DataError(
            f"sentence {sentence.sentence_id!r}: no answer to compare with; "
            "where answers are kept secret, write a submission"
        )
    return sentence.answers[0].text


def _some(ids: list[str]) -> str:
    return f"{', '.join(map(repr, ids[:_SHOWN]))}{' ...' if len(ids) > _SHOWN else ''}: {len(ids)}"
