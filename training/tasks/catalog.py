"""The tasks of fine-tuning. A new one is a file like `vqa_v2.py`, with its official metric, and a line in `TASKS`."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from annotations.records import Sentence
from training.objectives.question_answering import AnswerLoss
from training.tasks import gqa, nlvr2, vqa_v2

TaskName = Literal["vqa-v2", "gqa", "nlvr2"]


@dataclass(frozen=True, kw_only=True)
class Task:
    """One task: which sentences, which answers, and how it is officially scored."""

    sources: tuple[str, ...]
    """The data sets whose sentences are asked."""
    loss: AnswerLoss
    score: Callable[..., Any]
    """(sentences, predictions) -> a dataclass of figures."""
    write_submission: Callable[[Path, Iterable[Sentence], Mapping[str, str]], None]
    num_images: int = 1
    answers: tuple[str, ...] | None = None
    """The table of answers, where the task has its own; else it is a file's, or that of the training questions."""
    learning_rate: float = 5e-5
    """Peak, as LXMERT's public code has it."""


TASKS: dict[str, Task] = {
    "vqa-v2": Task(sources=("vqa-v2",), loss="soft", score=vqa_v2.score, write_submission=vqa_v2.write_submission),
    "gqa": Task(
        sources=("gqa",), loss="soft", score=gqa.score, write_submission=gqa.write_submission, learning_rate=1e-5
    ),
    "nlvr2": Task(
        sources=("nlvr2",),
        loss="single",
        score=nlvr2.score,
        write_submission=nlvr2.write_submission,
        num_images=2,
        answers=("False", "True"),
    ),
}
