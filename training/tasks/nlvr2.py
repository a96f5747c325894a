"""NLVR2: accuracy and consistency as its official evaluation has them, and the file that it takes."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from annotations.datasets.nlvr2 import LABELS
from annotations.guards.drops import DataError
from annotations.records import Sentence
from stores.atomic import replacing
from training.figures import Figure, gold_answer, mean_of, needed_detail, with_predictions


@dataclass(frozen=True, kw_only=True)
class Nlvr2Scores:
    """From 0 to 1; higher is better."""

    accuracy: Figure
    """Over statements about a pair of images."""
    consistency: Figure
    """Share of the unique statements that were judged right about all of their pairs."""
    per_set: Mapping[str, Mapping[str, Figure]]
    """Both of each published set by itself, as papers have them: `dev`, `test1` is Test-P, `test2` is Test-U."""


def score(sentences: Iterable[Sentence], predictions: Mapping[str, str]) -> Nlvr2Scores:
    """Return the official figures; source: https://github.com/lil-lab/nlvr, nlvr2/eval/metrics.py.

    Args:
        predictions: `True` or `False` by sentence id.

    Raises:
        DataError: ids do not match, a prediction is neither, or a statement has no label.
    """
    right_of = defaultdict[str, list[bool]](list)
    for sentence, prediction in _judged(sentences, predictions):
        right_of[needed_detail(sentence, "sentence_group")].append(prediction == gold_answer(sentence))
    of_sets = defaultdict[str, list[list[bool]]](list)
    for group, right in right_of.items():
        of_sets[group.partition("-")[0]].append(right)
    return Nlvr2Scores(
        **_figures(list(right_of.values())),
        per_set={name: _figures(groups) for name, groups in sorted(of_sets.items())},
    )


def write_submission(path: Path, sentences: Iterable[Sentence], predictions: Mapping[str, str]) -> None:
    """The file holds a line `dev-850-0-0,False` for each statement, in their order.

    Raises:
        DataError: ids do not match, or a prediction is neither `True` nor `False`.
    """
    lines = [
        f"{needed_detail(sentence, 'identifier')},{prediction}\n"
        for sentence, prediction in _judged(sentences, predictions)
    ]
    with replacing(path) as temporary:
        temporary.write_text("".join(lines), encoding="utf-8")


def _figures(groups: Sequence[Sequence[bool]]) -> dict[str, Figure]:
    """Return both figures of statements that were judged right or wrong about each of their pairs."""
    return {
        "accuracy": mean_of([right for group in groups for right in group]),
        "consistency": mean_of([all(group) for group in groups]),
    }


def _judged(sentences: Iterable[Sentence], predictions: Mapping[str, str]) -> Iterator[tuple[Sentence, str]]:
    for sentence, prediction in with_predictions(sentences, predictions):
        if prediction not in LABELS:
            raise DataError(f"statement {sentence.sentence_id!r}: prediction is {prediction!r}, expected True or False")
        yield sentence, prediction
