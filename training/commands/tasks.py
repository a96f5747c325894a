"""`vinculum-train tasks`."""

from dataclasses import dataclass
from typing import Any

from stores.programs.terminal import printable_lines
from training.report.tables import markdown_table
from training.tasks.catalog import TASKS, Task, find_task


@dataclass(frozen=True, kw_only=True)
class TasksCommand:
    """List the tasks of fine-tuning and evaluation: what each asks, what it costs, and its variants.

    vinculum-train tasks
    """

    task: str | None = None
    """Task to describe in full; by default a table lists all."""
    json: bool = False
    """Print one machine-readable summary as the last line."""

    def run(self) -> dict[str, Any]:
        """Print the table of all, and return what is known of each, or of the one that is asked for."""
        if self.task is not None:
            return {"task": self.task, **_described(find_task(self.task))}
        described = {name: _described(task) for name, task in TASKS.items()}
        if self.json:
            return {"tasks": described}
        head = ["task", "a step", "length", "variants", "what it asks"]
        rows = [
            [name, each["step"] or "", each["length"] or "", str(len(each["variants"])), each["about"]]
            for name, each in described.items()
        ]
        print(printable_lines(markdown_table([head, *rows])))
        return {"more": "vinculum-train tasks --task NAME, also its variants, data sets and learning rate"}


def _described(task: Task) -> dict[str, Any]:
    objectives = list(task.objectives.asked())
    length = f"{task.epochs:g} epochs" if task.num_steps is None else f"{task.num_steps} steps"
    return {
        "about": task.about,
        "step": f"{task.batch_size} sentences" if objectives else None,
        "length": length if objectives else None,
        "learning_rate": task.learning_rate if objectives else None,
        "images": task.num_images,
        "objectives": objectives,
        "sources": list(task.sources),
        "answers": None if task.answers is None else list(task.answers),
        "variants": list(task.variants),
    }
