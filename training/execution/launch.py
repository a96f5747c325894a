"""Starts a run's ranks on Ray Train, one here or many on a cluster; what they write is in the run's folder."""

import shutil
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, TypeVar

import ray
import ray.train
import ray.train.torch
import torch
import torch.distributed as dist
from ray.train import ControllerError, FailureConfig, RunConfig, ScalingConfig, TrainingFailedError, WorkerGroupError
from ray.train.torch import TorchTrainer
from tqdm import tqdm

from annotations.guards.drops import DataError
from stores.atomic import locked, remove_leftovers
from stores.errors import StoreError, told
from stores.programs.ray_connection import joined
from stores.programs.stopping import ending_on_request
from stores.programs.terminal import printable
from stores.programs.volume import is_quiet
from training.data.order import OrderError
from training.execution.errors import LoopError
from training.execution.progress import showing
from training.execution.stop_request import request_stop, stop_is_requested, withdraw_stop
from training.execution.worker import Place
from training.runs.checkpoints import list_checkpoints

RETRIES = 3
"""How often in a row, with no checkpoint between, ranks that were lost are started anew."""
PATIENCE_SECONDS = 60.0
"""How long ranks that were asked to stop may take to write a checkpoint."""
SIGNS_OF_LOSS = ("gloo", "NCCL", "DataLoader worker (pid")
"""In messages of plain RuntimeErrors, by which a rank notices that another rank, or a loader's process, is gone."""


class RankTask(Protocol):
    """What ranks are told; goes from process to process."""

    @property
    def run(self) -> Path:
        """The run's folder, which all ranks see."""

    @property
    def loader_workers(self) -> int:
        """Processes that make batches, for each rank."""


Task = TypeVar("Task", bound=RankTask)


def launch(
    train: Callable[[Task, Place], None],
    task: Task,
    *,
    num_steps: int,
    num_workers: int,
    use_gpu: bool,
    address: str | None,
) -> None:
    """Every rank has done `train`, on so many workers of a running cluster, or on this machine.

    Ranks that are lost, with their machine or for want of memory, are started anew and go on from the last checkpoint.

    Raises:
        LoopError: the ranks could not go on, or were lost too often; says why.
        StoreError: another process trains this run.
        ValueError: the cluster has no room for so many workers.
        ConnectionError: there is no cluster at the address.
    """
    with locked(task.run), joined(address):
        remove_leftovers(task.run)
        withdraw_stop(task.run)
        resources = _resources_of_worker(num_workers, use_gpu)
        if not is_quiet():
            tqdm.write(printable(_where_it_begins(task.run, num_steps)), file=sys.stderr)
        try:
            with (
                showing(task.run, num_steps=num_steps),
                ending_on_request(lambda: _ask_to_stop(task.run), patience=PATIENCE_SECONDS),
            ):
                _fit_with_retries(train, task, num_workers, resources)
        finally:
            withdraw_stop(task.run)


def _ask_to_stop(run: Path) -> None:
    request_stop(run)
    tqdm.write("asked to stop: workers write a checkpoint; ask again to stop without", file=sys.stderr)


def _fit_with_retries(
    train: Callable[[Task, Place], None], task: Task, num_workers: int, resources: dict[str, float]
) -> None:
    """The ranks have done all steps, or what they were at when they were asked to stop."""
    times_lost = 0
    while True:
        before = steps_done(task.run)
        try:
            _fit(train, task, num_workers, resources)
            return
        except TrainingFailedError as error:
            causes = _causes(error)
        if stop_is_requested(task.run):
            return
        after = steps_done(task.run)
        times_lost = 1 if after > before else times_lost + 1
        if times_lost > RETRIES:
            raise LoopError(f"workers were lost {times_lost} times: {causes}; run again to go on from step {after}")
        tqdm.write(printable(f"lost workers: {causes}; they start anew from step {after}"), file=sys.stderr)


def _where_it_begins(run: Path, num_steps: int) -> str:
    """Return the line that says from which step a run goes on."""
    done = steps_done(run)
    if not done:
        return f"{run}: begins with step 1 of {num_steps}; it has no checkpoint yet"
    return f"{run}: goes on with step {done + 1} of {num_steps}, from its checkpoint after step {done}"


def steps_done(run: Path) -> int:
    """Return after how many steps the run's newest checkpoint was written."""
    return max((each.step for each in list_checkpoints(run)), default=0)


def _resources_of_worker(num_workers: int, use_gpu: bool) -> dict[str, float]:
    """Return what each worker takes, so that all find room; of CPUs as many as they can have."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if use_gpu:
        with_gpu = [node for node in nodes if node.get("GPU", 0) >= 1]
        num_gpus = sum(int(node["GPU"]) for node in with_gpu)
        if num_workers > num_gpus:
            raise ValueError(f"{num_workers} workers need a GPU each, the cluster has {num_gpus}; expected no more")
        return {"GPU": 1, "CPU": min(node.get("CPU", 0) // node["GPU"] for node in with_gpu)}
    cpus = [int(node.get("CPU", 0)) for node in nodes]
    if num_workers > sum(cpus):
        raise ValueError(f"{num_workers} workers need a CPU each, the cluster has {sum(cpus)}; expected no more")
    return {"CPU": next(each for each in range(max(cpus), 0, -1) if sum(cpu // each for cpu in cpus) >= num_workers)}


def _fit(train: Callable[[Task, Place], None], task: Task, num_workers: int, resources: dict[str, float]) -> None:
    """The ranks have done all steps; what Ray Train notes for itself is gone."""
    notes = task.run / "ray"
    trainer = _Trainer(
        _train,
        train_loop_config={"train": train, "task": task},
        scaling_config=ScalingConfig(
            num_workers=num_workers, use_gpu="GPU" in resources, resources_per_worker=resources
        ),
        run_config=RunConfig(
            name=f"attempt-{time.time_ns()}",
            storage_path=str(notes),
            # Ray Train would try again in silence, and also what cannot succeed.
            failure_config=FailureConfig(
                max_failures=0,
                controller_failure_limit=0,  # type: ignore[call-arg]
                max_preemption_failures=0,
            ),
        ),
    )
    try:
        trainer.fit()
    finally:
        shutil.rmtree(notes, ignore_errors=True)


class _Trainer(TorchTrainer):
    def _register_sigint_handler(self, controller: Any) -> None:
        """Leave Ctrl-C a KeyboardInterrupt, upon which the cluster is left and its ranks end; Ray Train's own way ends
        the process without a word."""


def _train(config: dict[Any, Any]) -> None:
    """Train one rank. What would fail again is a LoopError: all can be sent from process to process."""
    context = ray.train.get_context()
    place = Place(
        rank=context.get_world_rank(),
        num_ranks=context.get_world_size(),
        device=str(ray.train.torch.get_device()),
    )
    if place.device == "cpu":
        # The loader's processes want cores too; threads that wait for one that is not running wait busily.
        torch.set_num_threads(max(1, torch.get_num_threads() - config["task"].loader_workers))
    try:
        config["train"](config["task"], place)
    except torch.OutOfMemoryError as error:
        advice = "try --accumulation 2, which takes each step in two parts"
        raise LoopError(f"rank {place.rank}: {_reason(error)}; {advice}") from None
    except (LoopError, StoreError, DataError, OrderError, OSError, ValueError) as error:
        raise LoopError(told(error)) from None
    except Exception as error:
        if is_of_a_lost_process(error):
            raise
        raise LoopError(f"rank {place.rank}: {_told_with_place(error)}") from None


def is_of_a_lost_process(error: Exception) -> bool:
    """Return whether a rank fails because another one, or a process that loads for it, is gone."""
    if isinstance(error, dist.DistError):
        return True
    return type(error) is RuntimeError and any(sign in str(error) for sign in SIGNS_OF_LOSS)


def _told_with_place(error: Exception) -> str:
    """Return an error that nobody expected, with the line of code that raised it."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error}, at {last.filename}:{last.lineno}"


def _causes(failure: TrainingFailedError) -> str:
    """Return why ranks were lost.

    Raises:
        LoopError: one said why it cannot go on, and would say so again.
    """
    if isinstance(failure, ControllerError):
        return _reason(failure.controller_failure)
    if not isinstance(failure, WorkerGroupError):
        return _reason(failure)
    for error in failure.worker_failures.values():
        if isinstance(error, LoopError):
            raise LoopError(str(error)) from failure
    return "; ".join(f"rank {rank}: {_reason(error)}" for rank, error in failure.worker_failures.items())


def _reason(error: BaseException) -> str:
    """Return the one line of an error's many that says why."""
    error = getattr(error, "health_check_failure", error)
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return next((line for line in lines if line.startswith("The actor is dead because ")), lines[0])[:500]
