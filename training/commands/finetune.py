"""`vinculum-train finetune`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import tyro

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
    """Which questions, which loss and which metric."""
    start: Folder
    """A run, or one of its checkpoints: its encoder, and of its answers those that the task has too."""
    sentences: Folder
    """The store that vinculum align wrote, with these regions and the task's annotations."""
    out: Folder
    """Folder of the new run."""
    regions: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """The store of regions or grids that vinculum extract wrote."""
    images: Annotated[tuple[str, ...], tyro.conf.arg(metavar="PATH...")] = ()
    """Instead, for a run that learnt from them: the images themselves."""
    variant: str | None = None
    """The task with one thing changed, such as another attention supervision, or visual-parsing for its recipe; an
    unknown one lists those that the task has."""
    answers: Path | None = None
    """A JSON table of answers, such as trainval_label2ans.json; the most frequent ones of the training questions,
    unless given."""
    max_pieces: int | None = None
    """Word pieces of a sentence; those of the task, or of the pre-trained run, unless given."""
    batch_size: int | None = None
    """Sentences a step, of all workers together; the task's, 32 of most, unless given."""
    epochs: float | None = None
    """Times that every question is seen; the task's, 4 of most, unless given, or its steps."""
    steps: int | None = None
    """Instead of epochs."""
    candidates: int | None = None
    """Of retrieval: other images, or texts, that each pair is compared with; 399, unless given."""
    hardest: int | None = None
    """Of retrieval: how many of these are learnt from, the likeliest; 31, unless given."""
    learning_rate: float | None = None
    """The schedule's peak; the task's, unless given."""
    warmup: float | None = None
    """Share of the steps in which the learning rate rises; the task's, unless given."""
    precision: Precision | None = None
    """The pre-trained run's, unless given."""
    seed: int = 0
    """Of the new weights and the order of questions."""
    execution: Annotated[Execution, tyro.conf.arg(name="")] = field(default_factory=Execution)
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
            ),
        )
        return self.execution.finish(
            run, regions=self.regions, images=self.images, sentences=self.sentences, start_from=self.start
        )
