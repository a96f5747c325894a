"""What a task's measurement is of, and what it is: a function from a frozen model's subject to named figures."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from training.data.shards import JoinedShards
from training.model import Model
from training.runs.folder import Run


@dataclass(frozen=True, kw_only=True, eq=False)
class Subject:
    """One model, and the sentences of a task's split that it is asked about."""

    run: Run
    model: Model
    """In evaluation mode, on `device`."""
    shards: JoinedShards
    numbers: NDArray[np.int64]
    """Numbers of the sentences."""
    task_name: str
    split: str
    out: Path
    """Folder for what is written besides the scores: predictions, submissions."""
    device: str


def part_name(max_images: int | None) -> str:
    """Return what the names of files have more where only so many images were looked at."""
    return "" if max_images is None else f"-{max_images}-images"


class Measure(Protocol):
    """Returns a task's figures as JSON values; empty where only a server knows what is right.

    Raises DataError where the model cannot be asked, or sentences lack what the metric needs.
    """

    def __call__(self, subject: Subject, **options: Any) -> dict[str, Any]: ...
