"""How a task's official metric scores a model."""

from pathlib import Path
from typing import Any

from annotations.guards.drops import DataError
from stores.atomic import write_json
from stores.errors import StoreError
from training.data.pictures import BrokenImageError
from training.data.shards import JoinedShards
from training.model import Model
from training.runs.folder import Run
from training.tasks.catalog import find_task
from training.tasks.measure import Subject, part_name


def evaluate(
    run: Run,
    model: Model,
    shards: JoinedShards,
    *,
    task_name: str,
    split: str,
    out: Path,
    device: str = "cpu",
    **options: Any,
) -> dict[str, Any]:
    """`out` has the predictions, the official submission and the scores of one split; returns the scores.

    Args:
        options: of the task's metric, such as GQA's `choices` or the `allowed` answers.

    Raises:
        DataError: the model cannot be asked for this task, or sentences lack what the metric needs.
        StoreError: there is no sentence of this split, or an image of one gives no picture.
    """
    try:
        task = find_task(task_name)
    except ValueError as error:
        raise DataError(str(error)) from None
    sources = [source for source in task.sources if source in shards.sources] or task.sources
    out.mkdir(parents=True, exist_ok=True)
    subject = Subject(
        run=run,
        model=model.to(device).eval(),
        shards=shards,
        numbers=shards.select(splits=(split,), sources=sources, num_images=task.num_images),
        task_name=task_name,
        split=split,
        out=out,
        device=device,
    )
    try:
        scores = task.measure(subject, **options)
    except BrokenImageError as error:
        raise StoreError(
            f"{task_name}, {split}: {error}; once it is removed, its sentences have no answer and no score"
        ) from error
    if scores:
        write_json(out / f"scores-{task_name}-{split}{part_name(options.get('max_images'))}.json", scores)
    return scores
