"""What a model answers, and how a task's official metric scores it.

Axes: S sentences, A answers.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from annotations.answers import AnswerVocabulary
from annotations.drops import DataError
from annotations.records import Sentence
from stores.atomic import write_json
from training.batches import BatchMaker, BatchOptions
from training.model import Model
from training.objectives.question_answering import QuestionAnsweringObjective
from training.order import evaluation_batches
from training.runs import Run
from training.shards import JoinedShards
from training.tasks.catalog import TASKS, Task
from training.tasks.transfer import answer_key

BATCH_SIZE = 256


def evaluate(
    run: Run,
    model: Model,
    shards: JoinedShards,
    *,
    task_name: str,
    split: str,
    out: Path,
    allowed: AnswerVocabulary | None = None,
    device: str = "cpu",
    **options: Any,
) -> dict[str, Any]:
    """`out` has the answers, the official submission and the scores of one split; returns the scores.

    Args:
        allowed: the answers that may be given, as they are to be written; those of the run's table unless given. So a
            pre-trained model is asked without fine-tuning, as Kervadec et al. did for GQA.
        options: of the task's metric, such as GQA's `choices`.

    Raises:
        DataError: the model can not be asked for this task, or sentences lack what the metric needs.
        StoreError: there is no sentence of this split.
    """
    task = TASKS[task_name]
    numbers = shards.select(splits=(split,), sources=task.sources, num_images=task.num_images)
    predictions = predict(run, model, shards, numbers, task=task, allowed=allowed, device=device)
    sentences = _reader(shards, numbers)
    out.mkdir(parents=True, exist_ok=True)
    suffix = "csv" if task_name == "nlvr2" else "json"
    task.write_submission(out / f"submission-{task_name}-{split}.{suffix}", sentences(), predictions)
    write_json(out / f"predictions-{task_name}-{split}.json", predictions)
    if not any(sentence.answers for sentence in sentences()):
        return {}  # a test split, whose answers only its server knows
    scores: dict[str, Any] = json.loads(json.dumps(asdict(task.score(sentences(), predictions, **options))))
    write_json(out / f"scores-{task_name}-{split}.json", scores)
    return scores


def predict(
    run: Run,
    model: Model,
    shards: JoinedShards,
    numbers: NDArray[np.int64],
    *,
    task: Task,
    allowed: AnswerVocabulary | None = None,
    device: str = "cpu",
) -> dict[str, str]:
    """Return the best answer to every sentence, by its id.

    Raises:
        DataError: the model can not be asked for this task, or knows none of the allowed answers.
    """
    head = _answering(run, model, task)
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


def _answering(run: Run, model: Model, task: Task) -> QuestionAnsweringObjective:
    if model.question_answering is None:
        raise DataError(f"{run.folder} has no answer head, expected a run with question answering, or a fine-tuned one")
    num_images = model.question_answering.options.num_images
    if num_images != task.num_images:
        raise DataError(
            f"{run.folder} answers about {num_images} image{'s' * (num_images > 1)}, expected {task.num_images} as the "
            "task asks; see vinculum-train finetune"
        )
    return model.question_answering


def _said(run: Run, allowed: AnswerVocabulary | None) -> list[str | None]:
    """Return how every answer of the run's table is written where it is allowed; None for those that are not."""
    if allowed is None:
        return list(run.answers.answers)
    spellings = {answer_key(answer): answer for answer in reversed(allowed.answers)}
    said = [spellings.get(answer_key(answer)) for answer in run.answers.answers]
    if not any(said):
        raise DataError(f"{run.folder} knows none of the answers that are allowed, expected at least one")
    return said


def _reader(shards: JoinedShards, numbers: NDArray[np.int64]) -> Callable[[], Iterator[Sentence]]:
    """Return what reads the whole sentences, one after another, as often as they are asked for."""

    def read() -> Iterator[Sentence]:
        for number in numbers:
            yield shards.sentences.read(*shards.place(int(number))).sentence

    return read
