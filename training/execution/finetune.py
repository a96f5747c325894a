"""A task meets a pre-trained run and becomes a recipe of its own."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from annotations.answers import AnswerVocabulary, read_answer_vocabulary
from annotations.guards.drops import DataError
from training.data.identity import data_as_begun
from training.data.maker_options import RankingGroupOptions
from training.data.order import TrainingOrder
from training.data.shards import JoinedShards, open_shards
from training.execution.pretrain import most_frequent_answers, require_known, sizes_of, tell_left_out
from training.models.catalog import EncoderShape
from training.models.single_stream import SingleStreamShape
from training.objectives.catalog import NO_OBJECTIVES
from training.runs.checkpoints import latest_checkpoint, require_whole
from training.runs.folder import Run, begin_run, is_begun, open_run
from training.runs.recipes import Precision, Recipe
from training.runs.set_fields import with_fields
from training.tasks.catalog import Task, find_task
from training.tasks.ranking_batches import require_candidates
from training.weights.ours import load_run, start_of

LXMERTS: dict[str, Any] = {"schedule": "linear", "warmup": 0.1, "warmup_steps": None, "clip": 5.0, "ema": 0.0}
"""How LXMERT is fine-tuned."""

MAX_ANSWERS = 3129
"""As many as VQA's usual table has; it takes answers that were given to at least nine questions."""


@dataclass(frozen=True, kw_only=True)
class FinetuneOptions:
    """How a task is learnt: with the optimizer of pre-training, otherwise as LXMERT's public code does by default."""

    variant: str | None = None
    """Variant of the task; None: the task as it is."""
    answers: Path | None = None
    max_pieces: int | None = None
    """Pieces of a sentence at most; None: as the task has it, or the pre-trained run."""
    batch_size: int | None = None
    """None: as the task has it."""
    epochs: float | None = None
    num_steps: int | None = None
    """Instead of epochs; None of either: as the task has it, or 4 epochs."""
    candidates: int | None = None
    """Other images, or texts, that a pair is ranked against; None: as the task has it."""
    hardest: int | None = None
    """How many of them are learnt from; None: as the task has it."""
    learning_rate: float | None = None
    warmup: float | None = None
    """Share of the steps in which the learning rate rises; None: as the task has it."""
    precision: Precision | None = None
    seed: int = 0
    fields: tuple[str, ...] = ()
    """Other fields of the recipe, each `FIELD=VALUE`; see `training.runs.set_fields`."""


def prepare_finetuning(
    task_name: str,
    start: Path,
    *,
    sentences: Path,
    out: Path,
    options: FinetuneOptions,
    regions: Path | None = None,
    images: Sequence[str] = (),
) -> Run:
    """`out` is the folder of the run that fine-tunes the run in `start`, new or begun before; nothing is trained.

    Raises:
        StoreError: the stores are not as they should be, or another recipe began the run.
        DataError: there is no such task, `start` is no run, features have another number of dimensions, or the table of
            answers cannot be read.
        OrderError: a step has more sentences than there are.
        DamagedFileError: the weights in `start` are damaged.
        ValueError: an option is out of its range.
    """
    task, pretrained, first = _task(task_name, options), load_run(start), latest_checkpoint(start)
    begun = open_run(out).recipe.data if is_begun(out) else None
    require_whole(first)  # before a folder is begun, and workers are waited for
    with open_shards(pretrained.recipe.encoder, regions=regions, images=images, sentences=sentences) as shards:
        tell_left_out(shards)
        answers = _answers(task, shards, options.answers)
        sizes = sizes_of(shards, pretrained.tokenizer, answers, pretrained.recipe.encoder.hidden_size)
        if sizes.feature_dim != pretrained.recipe.sizes.feature_dim:
            raise DataError(
                f"{regions} has features of {sizes.feature_dim} dimensions, expected "
                f"{pretrained.recipe.sizes.feature_dim} as {start} was trained on"
            )
        sources = tuple(source for source in task.sources if source in shards.sources) or task.sources
        if isinstance(task.batches, RankingGroupOptions):
            require_candidates(shards, task.batches.candidates)
        numbers = shards.select(splits=("train",), sources=sources, num_images=task.num_images, answered=task.answered)
        order = TrainingOrder(
            sentences=numbers,
            lengths=shards.lengths[numbers],
            batch_size=options.batch_size or task.batch_size,
            seed=options.seed,
        )
        max_pieces = options.max_pieces or task.max_pieces or pretrained.recipe.batches.max_pieces
        asked: dict[str, Any] = {
            "learning_rate": task.learning_rate if options.learning_rate is None else options.learning_rate,
            **({} if options.warmup is None else {"warmup": options.warmup}),
        }
        recipe = Recipe(
            task=task_name,
            encoder=_with_segments(pretrained.recipe.encoder, task.num_segments),
            sizes=sizes,
            objectives=task.objectives,
            batches=replace(task.batches, max_pieces=max_pieces),
            optimization=replace(pretrained.recipe.optimization, **(LXMERTS | dict(task.optimization) | asked)),
            sources=sources,
            batch_size=order.batch_size,
            num_steps=_num_steps(task, options, order.batches_per_epoch),
            precision=options.precision or pretrained.recipe.precision,
            seed=options.seed,
            data=data_as_begun(shards, begun, out) | {"start": start_of(pretrained, first)},
        )
        recipe = with_fields(recipe, options.fields)
        recipe.require_needs()
        require_known(recipe, shards)
    return begin_run(out, recipe, pretrained.tokenizer, answers)


def _task(name: str, options: FinetuneOptions) -> Task:
    """Return the task with what the options change of it."""
    try:
        task = find_task(name, options.variant)
    except ValueError as error:
        raise DataError(str(error)) from None
    if task.objectives == NO_OBJECTIVES:
        raise DataError(
            f"task {name!r}: is for measuring alone, expected one that can be learnt; fine-tune on another, such as "
            f"retrieval, and then vinculum-train evaluate --task {name}"
        )
    batches, ranking = task.batches, task.objectives.ranking
    if ranking is None or not isinstance(batches, RankingGroupOptions):
        if (options.candidates, options.hardest) != (None, None):
            raise DataError(f"task {name!r}: ranks nothing, expected --candidates and --hardest with retrieval alone")
        return task
    if options.candidates is not None:
        batches = replace(batches, candidates=options.candidates)
    if options.hardest is not None:
        ranking = replace(ranking, kept=options.hardest)
    return replace(task, batches=batches, objectives=replace(task.objectives, ranking=ranking))


def _with_segments(shape: EncoderShape, num_segments: int) -> EncoderShape:
    if isinstance(shape, SingleStreamShape) and shape.num_segments < num_segments:
        return replace(shape, num_segments=num_segments)
    return shape


def _num_steps(task: Task, options: FinetuneOptions, per_epoch: int) -> int:
    if options.num_steps is not None:
        return options.num_steps
    if options.epochs is None and task.num_steps is not None:
        return task.num_steps
    return round((task.epochs if options.epochs is None else options.epochs) * per_epoch)


def _answers(task: Task, shards: JoinedShards, path: Path | None) -> AnswerVocabulary:
    if task.answers is not None:
        if path is not None:
            raise DataError(f"{path}: the task has the answers {', '.join(task.answers)}, expected no other table")
        return AnswerVocabulary(answers=task.answers)
    if path is not None:
        return read_answer_vocabulary(path)
    if task.objectives.question_answering is None:
        return AnswerVocabulary(answers=())
    numbers = shards.select(splits=("train",), sources=task.sources, answered=True)
    return most_frequent_answers(shards, numbers, MAX_ANSWERS)
