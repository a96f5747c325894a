"""`vinculum-train finetune`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from training.finetune import FinetuneOptions, prepare_finetuning
from training.launch import has_gpu, launch
from training.order import parts_of_rank
from training.progress import read_metrics
from training.recipes import Precision
from training.tasks.catalog import TaskName
from training.worker import TrainTask

Folder = Annotated[Path, tyro.conf.arg(metavar="DIR")]


@dataclass(frozen=True, kw_only=True)
class FinetuneCommand:
    """Fine-tune a pre-trained run on a task; run again, it goes on from its last checkpoint.

    vinculum-train finetune --task gqa --start run --regions regions --sentences sentences --out run-gqa
    """

    task: TaskName
    """Which questions, which loss and which metric."""
    start: Folder
    """A run, or one of its checkpoints: its encoder, and of its answers those that the task has too."""
    regions: Folder
    """The store that vinculum extract wrote."""
    sentences: Folder
    """The store that vinculum align wrote, with these regions and the task's annotations."""
    out: Folder
    """Folder of the new run."""
    answers: Path | None = None
    """A JSON table of answers, such as trainval_label2ans.json; the most frequent ones of the training questions,
    unless given."""
    batch_size: int = 32
    """Sentences a step, of all workers together."""
    epochs: float = 4.0
    """Times that every question is seen."""
    steps: int | None = None
    """Instead of epochs."""
    learning_rate: float | None = None
    """The schedule's peak; the task's, unless given."""
    precision: Precision | None = None
    """The pre-trained run's, unless given."""
    seed: int = 0
    """Of the new weights and the order of questions."""
    accumulation: int = 1
    """Parts of a step's sentences that are computed one after another, to save memory."""
    loader_workers: int = 1
    """Processes that make batches, for each worker."""
    checkpoint_every: int = 1000
    """Steps."""
    keep: int = 2
    """Checkpoints that stay."""
    log_every: int = 10
    """Steps between two lines of progress."""
    workers: int = 1
    """Ray workers: one a GPU, over all machines of a cluster."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto takes GPUs if this machine has one."""
    address: str | None = None
    """A Ray cluster; without it the running Ray job's, or this machine."""
    json: bool = False
    """Print one machine-readable summary as the last line."""

    def run(self) -> dict[str, Any]:
        """Train what is missing, and return the summary."""
        parts_of_rank(self.batch_size, rank=0, num_ranks=self.workers, accumulation=self.accumulation)
        run = prepare_finetuning(
            self.task,
            self.start,
            regions=self.regions,
            sentences=self.sentences,
            out=self.out,
            options=FinetuneOptions(
                answers=self.answers,
                batch_size=self.batch_size,
                epochs=self.epochs,
                num_steps=self.steps,
                learning_rate=self.learning_rate,
                precision=self.precision,
                seed=self.seed,
            ),
        )
        launch(
            TrainTask(
                run=self.out.resolve(),
                regions=self.regions.resolve(),
                sentences=self.sentences.resolve(),
                start_from=self.start.resolve(),
                accumulation=self.accumulation,
                loader_workers=self.loader_workers,
                checkpoint_every=self.checkpoint_every,
                keep=self.keep,
                log_every=self.log_every,
            ),
            num_steps=run.recipe.num_steps,
            num_workers=self.workers,
            use_gpu=has_gpu(self.device),
            address=self.address,
        )
        last = read_metrics(self.out)[-1]
        return {"out": str(self.out), **last}
