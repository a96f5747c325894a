"""`vinculum-train experiment`."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import ray
import tyro
from ray.exceptions import RayTaskError

from stores.atomic import replacing, write_json
from training.experiment import ARMS, Trial, compare, prepare_trial, run_trial, table
from training.launch import cluster

Folder = Annotated[Path, tyro.conf.arg(metavar="DIR")]


@dataclass(frozen=True, kw_only=True)
class ExperimentCommand:
    """Train the same small model with and without alignment supervision, over seeds, and print a table of differences.

    vinculum-train experiment --regions regions --sentences sentences --out experiment

    Run again, it does only the trials that are missing.
    """

    regions: Folder
    """The store that vinculum extract wrote."""
    sentences: Folder
    """With GQA's questions; of vinculum toyworld, or of GQA itself."""
    out: Folder
    """Folder for a run of every arm and seed, comparisons.json and table.md."""
    arms: tuple[str, ...] = tuple(ARMS)
    """The first is what the others are compared with."""
    seeds: int = 5
    """Seeds 0, 1, 2 ...; every arm has the same."""
    steps: int = 1500
    """Of every trial; equal for all."""
    address: str | None = None
    """A Ray cluster; without it the running Ray job's, or this machine."""
    json: bool = False
    """Print one machine-readable summary as the last line."""

    def run(self) -> dict[str, Any]:
        """Run what is missing, print the table, and return where it is."""
        if self.seeds < 2:
            raise ValueError(f"--seeds is {self.seeds}, expected at least 2: one tells nothing of the spread")
        for arm in self.arms:
            if arm not in ARMS:
                raise ValueError(f"arm {arm!r}: no such arm, expected some of {', '.join(ARMS)}")
        trials = [
            Trial(
                arm=arm,
                seed=seed,
                regions=self.regions.resolve(),
                sentences=self.sentences.resolve(),
                out=self.out.resolve() / f"{arm}-{seed}",
                num_steps=self.steps,
            )
            for seed in range(self.seeds)
            for arm in self.arms
        ]
        prepare_trial(trials[0])  # stores and steps that no trial can have end here
        with cluster(self.address):
            remote = ray.remote(num_cpus=1)(run_trial)
            try:
                figures = ray.get([remote.remote(trial) for trial in trials])
            except RayTaskError as error:
                raise error.cause from None  # which says what is wrong; Ray adds where its worker was
        results = {(trial.arm, trial.seed): each for trial, each in zip(trials, figures, strict=True)}
        comparisons = compare(results, self.arms)
        text = table(comparisons, self.arms, self.seeds)
        write_json(self.out / "comparisons.json", [asdict(each) for each in comparisons])
        with replacing(self.out / "table.md") as temporary:
            temporary.write_text(text, encoding="utf-8")
        print(text)
        return {"out": str(self.out), "trials": len(trials)}
