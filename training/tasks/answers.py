"""What a model answers, and how a task of questions scores it.

Axes: S sentences, A answers.
"""

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from annotations.answers import AnswerVocabulary
from annotations.guards.drops import DataError
from annotations.records import Sentence
from stores.atomic import write_json
from stores.programs.terminal import printable
from training.data.batches import BatchMaker, BatchOptions
from training.data.order import evaluation_batches
from training.data.shards import JoinedShards
from training.figures import is_answered
from training.model import Model
from training.objectives.question_answering import QuestionAnsweringObjective
from training.runs.folder import Run
from training.tasks.measure import Subject
from training.tasks.transfer import answer_key

BATCH_SIZE = 256


@dataclass(frozen=True, kw_only=True)
class AnswerMetric:
    """The measurement of a task whose questions are answered out of a table."""

    score: Callable[..., Any]
    """(sentences, predictions) -> a dataclass of figures."""
    write_submission: Callable[[Path, Iterable[Sentence], Mapping[str, str]], None]
    suffix: str = "json"
    """Suffix of the submission's file."""
    num_images: int = 1
    """Images of each sentence."""

    def __call__(self, subject: Subject, *, allowed: AnswerVocabulary | None = None, **options: Any) -> dict[str, Any]:
        """Write the answers and the official submission; return the scores.

        Args:
            allowed: the answers that may be given, as they are to be written; those of the run's table unless given.
                So a pre-trained model is asked without fine-tuning, as Kervadec et al. did for GQA.
            options: of the metric, such as GQA's `choices`.
        """
        predictions = predict(
            subject.run,
            subject.model,
            subject.shards,
            subject.numbers,
            num_images=self.num_images,
            allowed=allowed,
            device=subject.device,
        )
        sentences = whole_sentences(subject.shards, subject.numbers)
        name = f"{subject.task_name}-{subject.split}"
        self.write_submission(subject.out / f"submission-{name}.{self.suffix}", sentences(), predictions)
        write_json(subject.out / f"predictions-{name}.json", predictions)
        unanswered = {sentence.sentence_id for sentence in sentences() if not is_answered(sentence)}
        if len(unanswered) == len(predictions):
            return {}  # a test split, whose answers only its server knows
        known = {name: answer for name, answer in predictions.items() if name not in unanswered}
        answered = (sentence for sentence in sentences() if sentence.sentence_id in known)
        scores: dict[str, Any] = json.loads(json.dumps(asdict(self.score(answered, known, **options))))
        if not unanswered:
            return scores
        print(
            printable(f"{name}: {len(unanswered)} of {len(predictions)} have no answer and are not scored"),
            file=sys.stderr,
        )
        return scores | {"num_without_answer": len(unanswered)}


def predict(
    run: Run,
    model: Model,
    shards: JoinedShards,
    numbers: NDArray[np.int64],
    *,
    num_images: int = 1,
    allowed: AnswerVocabulary | None = None,
    device: str = "cpu",
) -> dict[str, str]:
    """Return the best answer to every sentence, by its id.

    Raises:
        DataError: the model cannot be asked for this task, or knows none of the allowed answers.
    """
    head = _answering(run, model, num_images)
    said = _said(run, allowed)
    is_allowed_A = torch.tensor([each is not None for each in said], device=device)
    maker = BatchMaker(shards, run.tokenizer, BatchOptions(max_pieces=run.recipe.batches.max_pieces))
    model = model.to(device).eval()
    found: dict[str, str] = {}
    for batch_numbers in evaluation_batches(numbers, shards.lengths[numbers], BATCH_SIZE):
        batch = maker.make(batch_numbers).to(torch.device(device))
        with torch.inference_mode():
            scores_SA = head.scores(model.encode(batch)).float()
        best_S = scores_SA.masked_fill(~is_allowed_A, -torch.inf).argmax(1).tolist()
        ids = batch.sentence_ids[:: batch.images_per_sentence]
        found |= {sentence_id: said[best] for sentence_id, best in zip(ids, best_S, strict=True)}
    return found


def whole_sentences(shards: JoinedShards, numbers: NDArray[np.int64]) -> Callable[[], Iterator[Sentence]]:
    """Return what reads the whole sentences, one after another, as often as they are asked for."""

    def read() -> Iterator[Sentence]:
        for number in numbers:
            yield shards.sentences.read(*shards.place(int(number))).sentence

    return read


def _answering(run: Run, model: Model, num_images: int) -> QuestionAnsweringObjective:
    head = model.head(QuestionAnsweringObjective)
    if head is None:
        raise DataError(f"{run.folder} has no answer head, expected a run with question answering, or a fine-tuned one")
    found = head.options.num_images
    if found != num_images:
        raise DataError(
            f"{run.folder} answers about {found} image{'s' * (found > 1)}, expected {num_images} as the task asks; "
            "see vinculum-train finetune"
        )
    return head


def _said(run: Run, allowed: AnswerVocabulary | None) -> list[str | None]:
    """Return how every answer of the run's table is written where it is allowed; None for those that are not."""
    if allowed is None:
        return list(run.answers.answers)
    spellings = {answer_key(answer): answer for answer in reversed(allowed.answers)}
    said = [spellings.get(answer_key(answer)) for answer in run.answers.answers]
    if not any(said):
        raise DataError(f"{run.folder} knows none of the answers that are allowed, expected at least one")
    return said
