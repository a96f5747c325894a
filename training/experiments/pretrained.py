"""What an experiment's arms start from: of each seed one pre-trained run."""

from pathlib import Path

from training.experiments.trial import Trial
from training.presets import find_preset
from training.pretrain import Overrides, prepare

PRESET = "toy-grounded"


def base_of(trial: Trial) -> Path:
    """Return the folder of the run that all arms of the trial's seed start from."""
    return trial.out / f"base-{trial.seed}"


def prepare_base(trial: Trial) -> None:
    """The run that all arms of the trial's seed start from is begun, or was before; errors are those of `prepare`."""
    prepare(
        find_preset(PRESET),
        regions=trial.regions,
        sentences=trial.sentences,
        out=base_of(trial),
        overrides=Overrides(seed=trial.seed),
    )


def train_base(trial: Trial) -> None:
    """That run is finished."""
    prepare_base(trial)
    trial.train(base_of(trial))
