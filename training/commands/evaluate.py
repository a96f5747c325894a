"""`vinculum-train evaluate`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from annotations.answers import read_answer_vocabulary
from annotations.guards.drops import DataError
from training.data.identity import compare_with_learnt
from training.data.shards import open_shards
from training.execution.evaluation import evaluate
from training.execution.launch import has_gpu
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
    """A fine-tuned run, or a pre-trained one with --task; or one of their checkpoints."""
    sentences: Annotated[Path, tyro.conf.arg(metavar="DIR")]
    """The store that vinculum align wrote, with these regions and the task's annotations."""
    regions: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """The store of regions or grids that vinculum extract wrote."""
    images: Annotated[tuple[str, ...], tyro.conf.arg(metavar="PATH...")] = ()
    """Instead, for a run that learnt from them: the images themselves."""
    task: TaskName | None = None
    """Of a pre-trained run, which is asked as it is; a fine-tuned one knows its own."""
    split: Literal["train", "val", "test"] = "val"
    """Whose questions are asked."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Folder for predictions, submission and scores; the run's unless given."""
    answers: Path | None = None
    """A JSON table of the answers that may be given, such as GQA's trainval_label2ans.json."""
    choices: Path | None = None
    """GQA's choices file, for validity and plausibility."""
    max_images: int | None = None
    """Of retrieval: search only so many images of the split, and their captions; 1000 images are 5 million pairs."""
    average: bool = False
    """Take the moving average of the weights, where the run keeps one."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto takes a GPU if this machine has one."""
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
                device="cuda" if has_gpu(self.device) else "cpu",
                **({"allowed": read_answer_vocabulary(self.answers)} if self.answers else {}),
                **({"choices": read_choices(self.choices)} if self.choices else {}),
                **({"max_images": self.max_images} if self.max_images is not None else {}),
            )
        return {"run": str(self.source), "task": task, "split": self.split, **scores}
