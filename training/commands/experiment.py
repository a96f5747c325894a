"""`vinculum-train experiment`."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

import ray
import tyro
from ray.exceptions import RayError, RayTaskError
from tqdm import tqdm

from stores.atomic import replacing, write_json
from stores.programs.ray_connection import joined
from stores.programs.terminal import printable_lines
from stores.programs.volume import Volume, is_quiet
from training.execution.errors import LoopError
from training.execution.settings import from_root
from training.experiments.catalog import EXPERIMENTS, ExperimentName, run_alone, train_base_alone
from training.experiments.comparison import compare, table
from training.experiments.trial import Trial

Folder = Annotated[Path, tyro.conf.arg(metavar="DIR")]


@dataclass(frozen=True, kw_only=True)
class ExperimentCommand:
    """Train the same small model in several arms, over seeds, and print a table of paired differences.

    vinculum-train experiment --regions regions --sentences sentences --out experiment

    Run again, it makes only the trials that are missing.
    """

    sentences: Folder
    """Store of a toy world's sentences; training/experiments documents what each experiment needs."""
    regions: Folder | None = None
    """Store that vinculum extract wrote of the toy world."""
    images: tuple[str, ...] = ()
    """Image files of the toy world, as vinculum extract takes them, for visual-parsing."""
    out: Folder
    """Folder for a run of every arm and seed, comparisons.json and table.md."""
    name: ExperimentName = "alignment"
    """Experiment to run.
    `alignment` and `attention-supervision` compare kinds of supervision.
    `congruence` tests whether congruent attention tells captions of the same words apart.
    `visual-parsing` tests whether hiding what attends makes a visual parser look at words."""
    arms: tuple[str, ...] | None = None
    """Arms to compare with the first of them; by default all."""
    seeds: int = 5
    """Number of seeds; every arm is trained with seeds 0, 1, 2 and so on."""
    steps: int | None = None
    """Number of steps of every trial; by default the experiment's own.
    The base that all arms of a seed start from takes its own steps before: minutes."""
    address: str | None = None
    """HOST:PORT of a Ray cluster; without it, the cluster of the running Ray job, or this machine."""
    volume: Annotated[Volume, tyro.conf.arg(name="")] = field(default_factory=Volume)
    json: bool = False
    """Print one machine-readable summary as the last line."""

    def run(self) -> dict[str, Any]:
        """Run what is missing, print the table, and return where it is."""
        if self.seeds < 2:
            raise ValueError(f"--seeds is {self.seeds}, expected at least 2: one tells nothing of the spread")
        experiment = EXPERIMENTS[self.name]
        arms = tuple(experiment.arms) if self.arms is None else self.arms
        for arm in arms:
            if arm not in experiment.arms:
                raise ValueError(f"arm {arm!r}: no such arm, expected some of {', '.join(experiment.arms)}")
        trials = [
            Trial(
                experiment=self.name,
                arm=arm,
                seed=seed,
                regions=None if self.regions is None else self.regions.resolve(),
                images=tuple(map(from_root, self.images)),
                sentences=self.sentences.resolve(),
                out=self.out.resolve(),
                num_steps=experiment.num_steps if self.steps is None else self.steps,
            )
            for seed in range(self.seeds)
            for arm in arms
        ]
        experiment.prepare(trials[0])  # stores and steps that no trial can have end here
        with self.volume.applied(), joined(self.address):
            try:
                if experiment.train_base is not None:
                    _on_cluster(train_base_alone, trials[:: len(arms)], "what the arms of a seed start from")
                figures = _on_cluster(run_alone, trials, "trials")
            except RayTaskError as error:
                raise error.cause from None  # which says what is wrong; Ray adds where its worker was
            except RayError as error:
                reason = next(iter(str(error).splitlines()), type(error).__name__)
                raise LoopError(f"a worker was lost: {reason}; run again to go on") from error
        results = {(trial.arm, trial.seed): each for trial, each in zip(trials, figures, strict=True)}
        comparisons = compare(results, arms)
        text = table(comparisons, arms, self.seeds)
        if experiment.conclude is not None:
            text += "\n" + experiment.conclude(results)
        write_json(self.out / "comparisons.json", [asdict(each) for each in comparisons])
        with replacing(self.out / "table.md") as temporary:
            temporary.write_text(text, encoding="utf-8")
        print(printable_lines(text))
        return {"out": str(self.out), "trials": len(trials)}


def _on_cluster(work: Callable[[Trial], Any], trials: Sequence[Trial], what: str) -> list[Any]:
    """Return what the work gives for each trial, in their order; a CPU each."""
    remote = ray.remote(num_cpus=1)(work)
    results = [remote.remote(trial) for trial in trials]
    waiting = list(results)
    with tqdm(total=len(trials), desc=what, disable=is_quiet()) as bar:
        while waiting:
            done, waiting = ray.wait(waiting)
            ray.get(done)  # an error ends the experiment now, not after the others
            bar.update(len(done))
    values: list[Any] = ray.get(results)
    return values
