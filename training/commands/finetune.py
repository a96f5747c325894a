"""`vinculum-train finetune`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import tyro

from stores.programs.volume import Volume
from training.execution.finetune import FinetuneOptions, prepare_finetuning
from training.execution.settings import Execution
from training.runs.recipes import Precision
from training.tasks.catalog import TaskName, find_task

Folder = Annotated[Path, tyro.conf.arg(metavar="DIR")]


@dataclass(frozen=True, kw_only=True)
class FinetuneCommand:
    """Fine-tune a pre-trained run on a task; run again, it goes on from its last checkpoint.

    vinculum-train finetune --task gqa --start run --regions regions --sentences sentences --out run-gqa
    """

    task: TaskName
    """Task to learn; it decides the data sets, the losses and the metric."""
    start: Folder
    """Run or checkpoint to start from: its encoder, and its answers as far as the task has them."""
    sentences: Folder
    """Store that vinculum align wrote, with these regions and the annotations of the task."""
    out: Folder
    """Folder of the new run."""
    regions: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Store of regions or grids that vinculum extract wrote."""
    images: Annotated[tuple[str, ...], tyro.conf.arg(metavar="PATH...")] = ()
    """Image files, as vinculum extract takes them, for a run that learnt from images."""
    variant: str | None = None
    """Change of the task in one thing, such as visual-parsing; an unknown one lists those that the task has."""
    answers: Path | None = None
    """JSON table of answers; by default the most frequent answers of the training questions."""
    max_pieces: int | None = None
    """Number of word pieces in a sentence at most; by default the task's, or that of the starting run."""
    batch_size: int | None = None
    """Number of sentences in a step of all workers together; by default the task's, mostly 32."""
    epochs: float | None = None
    """Number of times that every question is seen; by default the task's epochs (mostly 4) or steps."""
    steps: int | None = None
    """Number of steps, instead of epochs."""
    candidates: int | None = None
    """Number of other images or texts that retrieval compares with each pair; by default 399."""
    hardest: int | None = None
    """Number of the likeliest candidates that retrieval learns from; by default 31."""
    learning_rate: float | None = None
    """Peak of the learning rate; by default the task's."""
    warmup: float | None = None
    """Share of the steps in which the learning rate rises; by default the task's."""
    precision: Precision | None = None
    """Number format of the computation; by default that of the starting run."""
    seed: int = 0
    """Seed of the new weights, the order of questions and every random draw."""
    set: Annotated[tyro.conf.UseAppendAction[tuple[str, ...]], tyro.conf.arg(metavar="FIELD=VALUE")] = ()
    """Field of the recipe, such as objectives.matching.weight=2; give the option once for each field."""
    execution: Annotated[Execution, tyro.conf.arg(name="")] = field(default_factory=Execution)
    volume: Annotated[Volume, tyro.conf.arg(name="")] = field(default_factory=Volume)
    json: bool = False
    """Print one machine-readable summary as the last line."""

    def run(self) -> dict[str, Any]:
        """Train what is missing, and return the summary."""
        self.execution.require_parts(self.batch_size or find_task(self.task, self.variant).batch_size)
        run = prepare_finetuning(
            self.task,
            self.start,
            regions=self.regions,
            images=self.images,
            sentences=self.sentences,
            out=self.out,
            options=FinetuneOptions(
                variant=self.variant,
                answers=self.answers,
                max_pieces=self.max_pieces,
                batch_size=self.batch_size,
                epochs=self.epochs,
                num_steps=self.steps,
                candidates=self.candidates,
                hardest=self.hardest,
                learning_rate=self.learning_rate,
                warmup=self.warmup,
                precision=self.precision,
                seed=self.seed,
                fields=self.set,
            ),
        )
        with self.volume.applied():
            return self.execution.finish(
                run, regions=self.regions, images=self.images, sentences=self.sentences, start_from=self.start
            )
