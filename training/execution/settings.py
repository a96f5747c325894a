"""How a run is executed: what `pretrain`, `finetune` and `detector` take alike, and what no recipe knows of."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detectors.devices import AskedDevice, device_of
from training.data.order import parts_of_rank
from training.execution.launch import Task, launch, steps_done
from training.execution.progress import read_metrics, read_skipped
from training.execution.worker import Place, TrainTask, train_run
from training.runs.folder import Run


@dataclass(frozen=True, kw_only=True)
class Execution:
    """Where a run is computed, in which parts, and what stays of it."""

    accumulation: int = 1
    """Number of parts into which each worker cuts its share of a step, to save memory."""
    recompute: bool = False
    """Compute activations again for the gradient instead of keeping them: less memory, a third more time."""
    loader_workers: int = 1
    """Number of processes that make batches for each worker; with 0 the worker makes them itself."""
    checkpoint_every: int = 1000
    """Number of steps between two checkpoints; the last step always leaves one."""
    keep: int = 2
    """Number of newest checkpoints to keep."""
    log_every: int = 10
    """Number of steps between two lines of progress."""
    workers: int = 1
    """Number of Ray workers over all machines; each takes one GPU where there are GPUs."""
    device: AskedDevice = "auto"
    """Device to train on; `auto` takes GPUs if this machine has one."""
    address: str | None = None
    """HOST:PORT of a Ray cluster; without it, the cluster of the running Ray job, or this machine."""

    def require_parts(self, batch_size: int) -> None:
        """A step's sentences or images can be divided among the workers.

        Raises:
            OrderError: they cannot.
        """
        parts_of_rank(batch_size, rank=0, num_ranks=self.workers, accumulation=self.accumulation)

    def finish(
        self,
        run: Run,
        *,
        sentences: Path,
        regions: Path | None = None,
        images: Sequence[str] = (),
        start_from: Path | None = None,
        init: str | None = None,
        trunk: str | None = None,
    ) -> dict[str, Any]:
        """The run has all its steps; returns where it is, and its last figures."""
        if steps_done(run.folder) < run.recipe.num_steps:
            task = TrainTask(
                run=run.folder.resolve(),
                regions=None if regions is None else regions.resolve(),
                images=tuple(map(from_root, images)),
                sentences=sentences.resolve(),
                start_from=None if start_from is None else start_from.resolve(),
                init=absolute(init),
                trunk=absolute(trunk),
                recompute=self.recompute,
                accumulation=self.accumulation,
                loader_workers=self.loader_workers,
                checkpoint_every=self.checkpoint_every,
                keep=self.keep,
                log_every=self.log_every,
            )
            self.launch(train_run, task, num_steps=run.recipe.num_steps)
        skipped = read_skipped(run.folder)
        named = {"skipped": skipped} if skipped else {}
        return {"out": str(run.folder), **read_metrics(run.folder)[-1], **named}

    def launch(self, train: Callable[[Task, Place], None], task: Task, *, num_steps: int) -> None:
        """Every rank has done `train`."""
        launch(
            train,
            task,
            num_steps=num_steps,
            num_workers=self.workers,
            use_gpu=device_of(self.device) == "cuda",
            address=self.address,
        )


def absolute(name: str | None) -> str | None:
    """Return a path as other processes know it, and any other name as it is."""
    return None if name is None else from_root(name)


def from_root(name: str) -> str:
    """Return a path as other processes know it, and a URL or another name as it is."""
    return str(Path(name).resolve()) if Path(name).exists() else name
