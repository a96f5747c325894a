"""One rank of a run, from its folder to its checkpoints: what Ray starts on every worker, and tests start alone."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from stores.errors import StoreError
from stores.manifest import differences
from training.batches import BatchMaker
from training.checkpoints import (
    Checkpoint,
    latest_checkpoint,
    list_checkpoints,
    load_optimizer,
    load_weights,
    save_checkpoint,
)
from training.loader import Feed, StepBatches
from training.loop import Loop, StepReport, make_average
from training.optimizers import make_optimizer
from training.order import TrainingOrder, parts_of_rank
from training.pretraining import PretrainingModel, build_pretraining_model
from training.progress import MetricsLog
from training.runs import Run, open_run
from training.shards import JoinedShards
from training.tasks.catalog import TASKS
from training.tasks.model import AnsweringModel
from training.tasks.transfer import transfer_answers

PRETRAINING = "pretraining"
"""The task of a recipe that has objectives instead."""


@dataclass(frozen=True, kw_only=True)
class TrainTask:
    """What a rank must know besides the run's folder."""

    run: Path
    regions: Path
    sentences: Path
    start_from: Path | None = None
    """A run or checkpoint whose weights are the first ones."""
    accumulation: int = 1
    """Parts of a step's pairs whose gradients are added up."""
    loader_workers: int = 1
    """Processes that make batches, for each rank."""
    checkpoint_every: int = 1000
    """Steps."""
    keep: int = 2
    """Checkpoints."""
    log_every: int = 10
    """Steps."""

    def __post_init__(self) -> None:
        for name in ("accumulation", "checkpoint_every", "keep", "log_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, expected 1 or more")
        if self.loader_workers < 0:
            raise ValueError(f"loader_workers is {self.loader_workers}, expected 0 or more")


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a rank runs."""

    rank: int = 0
    num_ranks: int = 1
    device: str = "cpu"


def train_run(task: TrainTask, place: Place, on_step: Callable[[StepReport], None] | None = None) -> None:
    """The run has all its steps and its last checkpoint; it goes on from the newest that it has.

    Raises:
        LoopError: a loss is not finite.
        OrderError: the batch can not be divided among the ranks.
        StoreError, DamagedFileError, DataError: the stores or the run's files are not as they should be.
    """
    run = open_run(task.run)
    recipe, device = run.recipe, torch.device(place.device)
    with JoinedShards(task.regions, task.sentences) as shards:
        maker = BatchMaker(shards, run.tokenizer, recipe.batches, answers=run.answers, seed=recipe.seed)
        numbers = sentences_of(run, shards)
        order = TrainingOrder(
            sentences=numbers, lengths=shards.lengths[numbers], batch_size=recipe.batch_size, seed=recipe.seed
        )
        parts = parts_of_rank(
            recipe.batch_size, rank=place.rank, num_ranks=place.num_ranks, accumulation=task.accumulation
        )
        model = build_model(run).to(device)
        optimizer = make_optimizer(model, recipe.optimization)
        average = make_average(model, recipe.optimization) if place.rank == 0 else None  # the rank that writes it
        newest = _newest_checkpoint(run, place)
        first = newest.step if newest else 0
        if newest:
            load_weights(newest, model)
            load_optimizer(newest, model, optimizer)
            if average is not None:
                load_weights(newest, average.module, average=True)
                average.n_averaged.fill_(first)  # at 0 it would begin with the weights of the next step
        elif task.start_from is not None:
            start_from(task.start_from, model, run)
        feed = Feed(
            StepBatches(maker, order, parts),
            range(first, recipe.num_steps),
            num_workers=task.loader_workers,
            device=device,
        )
        loop = Loop(
            model=_parallel(model, place),
            optimizer=optimizer,
            optimization=recipe.optimization,
            weights=lambda step: model.weights(step // order.batches_per_epoch),
            num_steps=recipe.num_steps,
            precision=recipe.precision,
            device=device,
            seed=recipe.seed,
            rank=place.rank,
            num_ranks=place.num_ranks,
            average=average,
        )
        if place.rank:
            loop.run(feed, first, lambda report: None)
            return
        with MetricsLog(run.folder, first=first, every=task.log_every, device=device, num_ranks=place.num_ranks) as log:

            def after(report: StepReport) -> None:
                log.add(report, feed.take_waited())
                is_last = report.step == recipe.num_steps
                if is_last or report.step % task.checkpoint_every == 0:
                    log.write()
                    save_checkpoint(
                        run.folder,
                        step=report.step,
                        model=model,
                        optimizer=optimizer,
                        average=None if average is None else average.module.state_dict(),
                        keep=task.keep,
                    )
                if on_step is not None:
                    on_step(report)

            loop.run(feed, first, after)


def sentences_of(run: Run, shards: JoinedShards) -> NDArray[np.int64]:
    """Return the numbers of the sentences that a run learns from."""
    task = None if run.recipe.task == PRETRAINING else TASKS[run.recipe.task]
    return shards.select(
        splits=("train",),
        sources=run.recipe.sources,
        num_images=1 if task is None else task.num_images,
        answered=task is not None,
    )


def build_model(run: Run) -> PretrainingModel | AnsweringModel:
    """Return the run's model with its first weights, which the recipe's seed decides."""
    recipe = run.recipe
    if recipe.task == PRETRAINING:
        return build_pretraining_model(recipe.encoder, recipe.objectives, recipe.sizes, seed=recipe.seed)
    task = TASKS[run.recipe.task]
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(recipe.seed)
        return AnsweringModel(
            recipe.encoder, num_answers=recipe.sizes.num_answers, num_images=task.num_images, loss=task.loss
        )


def load_run(folder: Path) -> Run:
    """Return the run in `folder`, or the one that the checkpoint in `folder` is of."""
    return open_run(latest_checkpoint(folder).folder.parent.parent)


def load_model(folder: Path, *, average: bool = False) -> tuple[Run, PretrainingModel | AnsweringModel]:
    """Return a run and its model at its newest checkpoint, or at the checkpoint that `folder` is; for evaluation."""
    checkpoint = latest_checkpoint(folder)
    run = load_run(folder)
    model = build_model(run)
    load_weights(checkpoint, model, average=average)
    return run, model.eval()


def start_from(folder: Path, model: nn.Module, run: Run) -> None:
    """The model has the encoder of another run, and of its answer head the rows of the answers that both have.

    Raises:
        StoreError: that run has another encoder, or another tokenizer, whose pieces have other numbers.
        DamagedFileError: a file of its checkpoint is damaged, or of another network.
    """
    if not isinstance(model, AnsweringModel):
        load_weights(latest_checkpoint(folder), model)
        return
    other, pretrained = load_model(folder)
    if other.tokenizer.backend.to_str() != run.tokenizer.backend.to_str():
        raise StoreError(
            f"{folder}: another tokenizer than that of {run.folder}, expected the same; words would change"
        )
    if found := list(differences("encoder", asdict(other.recipe.encoder), asdict(run.recipe.encoder))):
        raise StoreError(f"{folder}: {'; '.join(found)}; expected the same encoder")
    model.encoder.load_state_dict(pretrained.encoder.state_dict())
    head = pretrained.answer_head
    if head is not None and TASKS[run.recipe.task].answers is None:
        transfer_answers(model.head, run.answers.answers, head, other.answers.answers)


def _newest_checkpoint(run: Run, place: Place) -> Checkpoint | None:
    """Return what rank 0 sees as the newest: another machine's view of a shared disk may be seconds old."""
    newest = [next(reversed(list_checkpoints(run.folder)), None)]
    if place.num_ranks > 1:
        dist.broadcast_object_list(newest)
    return newest[0]


def _parallel(model: nn.Module, place: Place) -> nn.Module:
    if place.num_ranks == 1:
        return model
    # Ablations leave parts of an encoder without a loss; their gradients would be waited for in vain.
    return DistributedDataParallel(model, find_unused_parameters=True)
