"""The experiments. A new one is a file like `alignment.py`, and a line in `EXPERIMENTS`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch

from training.experiments import alignment, attention_supervision, congruence, visual_parsing
from training.experiments.pretrained import prepare_base, train_base, train_matching
from training.experiments.trial import Results, Trial

ExperimentName = Literal["alignment", "attention-supervision", "congruence", "visual-parsing"]


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """What is compared, and how."""

    arms: Mapping[str, str | None]
    """The first is what all others are compared with."""
    num_steps: int
    """Of every trial, unless told otherwise; equal for all."""
    prepare: Callable[[Trial], object]
    """Begins a trial; stores and steps that no trial can have end here."""
    run_trial: Callable[[Trial], Mapping[str, float]]
    """Trains and measures one arm with one seed, as far as that is not done."""
    train_base: Callable[[Trial], None] | None = None
    """Trains what all arms of a seed start from."""
    conclude: Callable[[Results], str] | None = None
    """Returns what is told below the table."""


EXPERIMENTS: dict[str, Experiment] = {
    "alignment": Experiment(
        arms=alignment.ARMS, num_steps=1500, prepare=alignment.prepare_trial, run_trial=alignment.run_trial
    ),
    "attention-supervision": Experiment(
        arms=attention_supervision.ARMS,
        num_steps=1500,
        prepare=prepare_base,
        run_trial=attention_supervision.run_trial,
        train_base=train_matching,
    ),
    "congruence": Experiment(
        arms=congruence.ARMS,
        num_steps=1500,
        prepare=prepare_base,
        run_trial=congruence.run_trial,
        train_base=train_base,
    ),
    "visual-parsing": Experiment(
        arms=visual_parsing.ARMS,
        num_steps=800,
        prepare=visual_parsing.prepare_trial,
        run_trial=visual_parsing.run_trial,
        train_base=visual_parsing.train_base,
        conclude=visual_parsing.conclude,
    ),
}


def run_alone(trial: Trial) -> Mapping[str, float]:
    """Run the trial on one thread: trials run beside each other, and their numbers do not depend on how many do."""
    torch.set_num_threads(1)
    return EXPERIMENTS[trial.experiment].run_trial(trial)


def train_base_alone(trial: Trial) -> None:
    """Train what the trial's seed starts from, on one thread."""
    torch.set_num_threads(1)
    train = EXPERIMENTS[trial.experiment].train_base
    if train is not None:
        train(trial)
