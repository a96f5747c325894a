"""The experiments. A new one is a file like `alignment.py`, and a line in `EXPERIMENTS`."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

import torch

from annotations.tables import Table
from training.experiments.experiment import Experiment
from training.experiments.trial import Trial

EXPERIMENTS: Table[Experiment] = Table(
    {
        "alignment": "training.experiments.alignment:EXPERIMENT",
        "attention-supervision": "training.experiments.attention_supervision:EXPERIMENT",
        "congruence": "training.experiments.congruence:EXPERIMENT",
        "visual-parsing": "training.experiments.visual_parsing:EXPERIMENT",
    }
)

if TYPE_CHECKING:
    ExperimentName = str
else:
    ExperimentName = Literal[tuple(EXPERIMENTS)]


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
