"""A trial of an experiment: one arm with one seed, from its data to its figures."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from annotations.guards.drops import DataError
from annotations.guards.shown import shown
from stores.atomic import write_json
from training.data.shards import JoinedShards, open_shards
from training.execution.finetune import FinetuneOptions, prepare_finetuning
from training.execution.worker import Place, TrainTask, train_run
from training.probes.linear import ProbeOptions
from training.report.tables import read_figures
from training.runs.checkpoints import OPTIMIZER, list_checkpoints
from training.runs.folder import Run, open_run

RESULT = "result.json"

Results = Mapping[tuple[str, int], Mapping[str, float]]
"""Figures of trials, by arm and seed."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One arm with one seed."""

    experiment: str
    """In `training/experiments/catalog.py`."""
    arm: str
    seed: int
    sentences: Path
    regions: Path | None = None
    """A store; or instead:"""
    images: tuple[str, ...] = ()
    """Where files of images are, for an encoder that takes pixels."""
    out: Path
    """Folder of the experiment."""
    num_steps: int
    probe: ProbeOptions = field(default_factory=ProbeOptions)

    @property
    def folder(self) -> Path:
        """Return the folder of the trial's run."""
        return self.out / f"{self.arm}-{self.seed}"

    def shards(self, run: Run) -> JoinedShards:
        """Return the trial's data as the run's encoder takes it."""
        return open_shards(run.recipe.encoder, regions=self.regions, images=self.images, sentences=self.sentences)

    def train(self, folder: Path, start: Path | None = None, trunk: Path | None = None) -> None:
        """The run in `folder`, which was begun, has all its steps; its first weights are those of `start`, or new.

        Args:
            trunk: a Swin whose weights its trunk begins with.
        """
        checkpoints = list_checkpoints(folder)
        if not checkpoints or checkpoints[-1].step < open_run(folder).recipe.num_steps:
            task = TrainTask(
                run=folder,
                regions=self.regions,
                images=self.images,
                sentences=self.sentences,
                start_from=start,
                trunk=None if trunk is None else str(trunk),
            )
            train_run(replace(task, loader_workers=0, keep=1, log_every=50), Place())
        for checkpoint in list_checkpoints(folder):  # what is done goes on no more
            (checkpoint.folder / OPTIMIZER).unlink(missing_ok=True)

    def finetune(self, task: str, start: Path, folder: Path, options: FinetuneOptions) -> None:
        """`folder` is that of a finished run that fine-tunes the one in `start`."""
        prepare_finetuning(
            task,
            start,
            regions=self.regions,
            images=self.images,
            sentences=self.sentences,
            out=folder,
            options=options,
        )
        self.train(folder, start)

    def write(self, figures: Mapping[str, Any]) -> dict[str, float]:
        """The trial is done; returns its figures as they are read again."""
        write_json(self.folder / RESULT, flat(figures))
        return read_result(self.folder)


def read_result(folder: Path) -> dict[str, float]:
    """Return the figures of a trial that is done.

    Raises:
        DataError: they are damaged.
    """
    path, advice = folder / RESULT, "remove it, and run again to measure the trial"
    figures = dict(read_figures(path, advice=advice))
    if wrong := [name for name, value in figures.items() if type(value) not in (int, float)]:
        raise DataError(f"{path}: {wrong[0]} is {shown(figures[wrong[0]])}, expected a number; {advice}")
    return figures


def flat(figures: Mapping[str, Any], name: str = "") -> dict[str, float]:
    """Return the figures that have a value, by their path; of the many finer types of questions none."""
    found: dict[str, float] = {}
    for key, value in figures.items():
        path = f"{name} {key}".strip()
        if isinstance(value, dict) and "value" in value:
            found |= {path: value["value"]} if value["value"] is not None else {}
        elif isinstance(value, dict) and key not in ("per_detailed_type", "per_semantic_type"):
            found |= flat(value, path)
        elif isinstance(value, float):
            found[path] = value
    return found
