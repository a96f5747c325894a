"""SNLI-VE: does an image entail a hypothesis, contradict it, or neither? Accuracy, and that of each label.

Source: Xie et al., 2019, https://github.com/necla-ml/SNLI-VE.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from annotations.datasets.snli_ve import LABELS
from annotations.records import Sentence
from stores.atomic import write_json
from training.figures import Figure, gold_answer, mean_of, means_by, needed_detail, with_predictions

__all__ = ["LABELS", "SnliVeScores", "score", "write_submission"]


@dataclass(frozen=True, kw_only=True)
class SnliVeScores:
    """From 0 to 1; higher is better."""

    accuracy: Figure
    per_label: Mapping[str, Figure]
    """Accuracy of the pairs of each gold label."""


def score(sentences: Iterable[Sentence], predictions: Mapping[str, str]) -> SnliVeScores:
    """Return the figures.

    Args:
        predictions: a label by sentence id.

    Raises:
        DataError: ids do not match, or a pair has no label.
    """
    judged = [
        (gold_answer(sentence), prediction == gold_answer(sentence))
        for sentence, prediction in with_predictions(sentences, predictions)
    ]
    return SnliVeScores(accuracy=mean_of([right for _, right in judged]), per_label=means_by(judged))


def write_submission(path: Path, sentences: Iterable[Sentence], predictions: Mapping[str, str]) -> None:
    """The file holds `[{"pairID": "2967846606.jpg#4r2e", "prediction": "neutral"}]`; there is no official server.

    Raises:
        DataError: ids do not match.
    """
    answered = with_predictions(sentences, predictions)
    write_json(
        path,
        [{"pairID": needed_detail(sentence, "pair_id"), "prediction": label} for sentence, label in answered],
    )
