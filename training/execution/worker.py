"""One rank of a run, from its folder to its checkpoints: what Ray starts on every worker, and tests start alone."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel

from training.data.identity import require_learnt_data
from training.data.loader import Feed, PictureBatches
from training.data.order import TrainingOrder, parts_of_rank
from training.data.shards import JoinedShards, open_shards
from training.execution.loop import Loop, StepReport, make_average
from training.execution.progress import MetricsLog
from training.execution.stop_request import stop_is_requested
from training.model import Model
from training.models.recomputation import recompute_activations
from training.runs.checkpoints import Checkpoint, list_checkpoints, load_optimizer, load_weights, save_checkpoint
from training.runs.folder import Run, open_run, require_begun_with
from training.runs.optimizers import make_optimizer
from training.runs.recipes import PRETRAINING
from training.tasks.catalog import TASKS
from training.tasks.makers import build_maker
from training.weights.bert import begin_with_bert
from training.weights.ours import begin_with_swin, build_model, start_from
from training.weights.published import read_published


@dataclass(frozen=True, kw_only=True)
class TrainTask:
    """What a rank must know besides the run's folder."""

    run: Path
    sentences: Path
    regions: Path | None = None
    """The store of regions or grids; or instead:"""
    images: tuple[str, ...] = ()
    """Where files of images are."""
    start_from: Path | None = None
    """A run or checkpoint whose weights are the first ones."""
    init: str | None = None
    """A published BERT whose weights are the first ones of the encoder's text side."""
    trunk: str | None = None
    """A published Swin whose weights are the first ones of the encoder's trunk."""
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
    recompute: bool = False
    """Activations of layers are computed again for the gradient, instead of kept."""

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

    One that is asked to stop has a checkpoint of the step that it was at, and no more.

    Raises:
        LoopError: a loss is not finite.
        OrderError: the batch cannot be divided among the ranks.
        StoreError, DamagedFileError, DataError: the stores or the run's files are not as they should be.
    """
    run, device = open_run(task.run), torch.device(place.device)
    with open_shards(run.recipe.encoder, regions=task.regions, images=task.images, sentences=task.sentences) as shards:
        require_learnt_data(shards, run.recipe.data, run.folder)
        order = order_of(run, shards)
        state = begin_state(run, place, task.start_from, task.init, task.trunk)
        if task.recompute:
            recompute_activations(state.model.encoder)
        feed = Feed(
            _batches(run, shards, order, task, place),
            range(state.first, run.recipe.num_steps),
            num_workers=task.loader_workers,
            device=device,
        )
        loop = _loop(run, state, order, place)
        if place.rank:  # only the first one writes
            loop.run(feed, state.first, lambda report: None)
            return
        with MetricsLog(
            run.folder,
            first=state.first,
            every=task.log_every,
            device=device,
            num_ranks=place.num_ranks,
            model=state.model,
        ) as log:

            def after(report: StepReport) -> None:
                log.add(report, feed.take_waited())
                is_last = report.is_stopped or report.step == run.recipe.num_steps
                if is_last or report.step % task.checkpoint_every == 0:
                    log.write()
                    state.save(run.folder, report.step, keep=task.keep)
                if on_step is not None:
                    on_step(report)

            loop.run(feed, state.first, after)


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainingState:
    """What steps change, and how many were done before."""

    model: Model
    optimizer: torch.optim.Optimizer
    average: AveragedModel | None
    """Moving average of the weights, where the recipe keeps one; on the rank that writes it."""
    first: int
    """The next step, counted from 0."""

    def save(self, folder: Path, step: int, *, keep: int) -> None:
        """The run has a checkpoint after `step` steps."""
        save_checkpoint(
            folder,
            step=step,
            model=self.model,
            optimizer=self.optimizer,
            average=None if self.average is None else self.average.module.state_dict(),
            keep=keep,
        )


def begin_state(
    run: Run, place: Place, start: Path | None, init: str | None, trunk: str | None = None
) -> TrainingState:
    """Return the state of the run's newest checkpoint, or the first one, begun with a run's, or BERT's and Swin's."""
    model = build_model(run).to(place.device)
    optimizer = make_optimizer(model, run.recipe.optimization)
    average = make_average(model, run.recipe.optimization) if place.rank == 0 else None
    newest = newest_checkpoint(run.folder, place)
    if newest:
        load_weights(newest, model)
        load_optimizer(newest, model, optimizer)
        if average is not None:
            load_weights(newest, average.module, average=True)
            average.n_averaged.fill_(newest.step)  # at 0 it would begin with the weights of the next step
    elif start is not None:
        start_from(start, model, run)
    else:
        if init is not None:
            bert = read_published(init)
            require_begun_with(run.recipe.data, "init", bert.sha256)
            begin_with_bert(bert, model, run.tokenizer)
        if trunk is not None:
            require_begun_with(run.recipe.data, "trunk", begin_with_swin(trunk, model))
    return TrainingState(model=model, optimizer=optimizer, average=average, first=newest.step if newest else 0)


def order_of(run: Run, shards: JoinedShards) -> TrainingOrder:
    """Return the order in which a run reads the sentences that it learns from."""
    task = None if run.recipe.task == PRETRAINING else TASKS[run.recipe.task]
    numbers = shards.select(
        splits=("train",),
        sources=run.recipe.sources,
        num_images=1 if task is None else task.num_images,
        answered=task is not None and task.answered,
    )
    if run.recipe.batches.in_groups:
        numbers = shards.one_of_each(numbers)
    return TrainingOrder(
        sentences=numbers,
        lengths=shards.lengths[numbers],
        batch_size=run.recipe.batch_size,
        seed=run.recipe.seed,
    )


def _batches(run: Run, shards: JoinedShards, order: TrainingOrder, task: TrainTask, place: Place) -> PictureBatches:
    parts = parts_of_rank(
        run.recipe.batch_size, rank=place.rank, num_ranks=place.num_ranks, accumulation=task.accumulation
    )
    maker = build_maker(shards, run.tokenizer, run.recipe.batches, answers=run.answers, seed=run.recipe.seed)
    return PictureBatches(maker, order, parts)


def _loop(run: Run, state: TrainingState, order: TrainingOrder, place: Place) -> Loop:
    return Loop(
        model=_parallel(state.model, place),
        optimizer=state.optimizer,
        optimization=run.recipe.optimization,
        weights=lambda step: state.model.weights(
            step, num_steps=run.recipe.num_steps, epoch=step // order.batches_per_epoch
        ),
        num_steps=run.recipe.num_steps,
        precision=run.recipe.precision,
        device=torch.device(place.device),
        seed=run.recipe.seed,
        rank=place.rank,
        num_ranks=place.num_ranks,
        average=state.average,
        stop_is_asked=lambda: stop_is_requested(run.folder),
    )


def newest_checkpoint(run: Path, place: Place) -> Checkpoint | None:
    """Return what rank 0 sees as the newest: another machine's view of a shared disk may be seconds old."""
    newest = [next(reversed(list_checkpoints(run)), None)]
    if place.num_ranks > 1:
        dist.broadcast_object_list(newest)
    return newest[0]


def _parallel(model: nn.Module, place: Place) -> nn.Module:
    if place.num_ranks == 1:
        return model
    # Ablations leave parts of an encoder without a loss; their gradients would be waited for in vain.
    return DistributedDataParallel(model, find_unused_parameters=True)
