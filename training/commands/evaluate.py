"""`vinculum-train evaluate`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from annotations.answers import read_answer_vocabulary
from annotations.guards.drops import DataError
from detectors.devices import AskedDevice, device_of
from training.data.identity import compare_with_learnt
from training.data.shards import open_shards
from training.execution.evaluation import evaluate
from training.execution.pretrain import tell_left_out
from training.tasks.catalog import TASKS, TaskName
from training.tasks.gqa import read_choices
from training.weights.ours import load_model


@dataclass(frozen=True, kw_only=True)
class EvaluateCommand:
    """Answer a split's questions, write the official submission, and score it with the official metric.

    vinculum-train evaluate --run run-gqa --regions regions --sentences sentences --split val
    """

    source: Annotated[Path, tyro.conf.arg(name="run", metavar="DIR")]
    """Run or checkpoint to evaluate: a fine-tuned one, or a pre-trained one with --task."""
    sentences: Annotated[Path, tyro.conf.arg(metavar="DIR")]
    """Store that vinculum align wrote, with these regions and the annotations of the task."""
    regions: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Store of regions or grids that vinculum extract wrote."""
    images: Annotated[tuple[str, ...], tyro.conf.arg(metavar="PATH...")] = ()
    """Image files, as vinculum extract takes them, for a run that learnt from images."""
    task: TaskName | None = None
    """Task to evaluate a pre-trained run on; a fine-tuned run needs none."""
    split: Literal["train", "val", "test"] = "val"
    """Split whose questions are answered."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Folder for predictions, submission and scores; by default the run's."""
    answers: Path | None = None
    """JSON table of the answers that may be given, such as GQA's trainval_label2ans.json; by default the run's."""
    choices: Path | None = None
    """GQA's file of choices, for validity and plausibility; without it these are not scored."""
    max_images: int | None = None
    """Number of images that retrieval searches, with their captions; by default all of the split."""
    average: bool = False
    """Take the moving average of the weights, where the run keeps one."""
    device: AskedDevice = "auto"
    """Device to compute on; `auto` takes a GPU if this machine has one."""
    json: bool = False
    """Print one machine-readable summary as the last line."""

    def run(self) -> dict[str, Any]:
        """Predict and score, and return the scores."""
        run, model = load_model(self.source, average=self.average)
        task = self.task or run.recipe.task
        if task not in TASKS:
            raise DataError(f"{self.source}: a run of {task}, expected --task with one of {', '.join(TASKS)}")
        if self.choices is not None and task != "gqa":
            raise DataError(f"--choices goes with GQA, the task is {task}")
        if self.max_images is not None and task != "retrieval":
            raise DataError(f"--max-images goes with retrieval, the task is {task}")
        with open_shards(
            run.recipe.encoder, regions=self.regions, images=self.images, sentences=self.sentences
        ) as shards:
            tell_left_out(shards)
            compare_with_learnt(shards, run.recipe.data, run.folder)
            scores = evaluate(
                run,
                model,
                shards,
                task_name=task,
                split=self.split,
                out=self.out or run.folder,
                device=device_of(self.device),
                **({"allowed": read_answer_vocabulary(self.answers)} if self.answers else {}),
                **({"choices": read_choices(self.choices)} if self.choices else {}),
                **({"max_images": self.max_images} if self.max_images is not None else {}),
            )
        return {"run": str(self.source), "task": task, "split": self.split, **scores}
